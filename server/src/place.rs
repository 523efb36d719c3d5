//! A node in the hands of a client, with all rights or with some of them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use killick::{
    Allowance, Authority, Denied, Grant, NarrowError, PathError, Right, Rights, Tree, WalkError,
};

use crate::cap::Node;
use crate::wire::Stored;

/// A node, and what may be done there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// Everything.
    Whole(Node),
    /// What was granted.
    Narrow(killick::Narrow<Stored>),
}

impl Place {
    /// Uses the node, if `needed` are granted.
    pub(crate) fn with<R>(
        &self,
        tree: &Tree<Stored>,
        needed: impl Into<Rights>,
        using: impl FnOnce(&Node) -> R,
    ) -> Result<R, Denied> {
        match self {
            Place::Whole(node) => Ok(using(node)),
            Place::Narrow(narrow) => tree.open(narrow, needed.into(), using),
        }
    }

    pub(crate) fn walk(&self, path: &[u8]) -> Result<Self, NarrowError<WalkError>> {
        match self {
            Place::Whole(node) => node.walk(path).map(Place::Whole).map_err(NarrowError::Failed),
            Place::Narrow(narrow) => narrow.walk(path).map(Place::Narrow),
        }
    }

    pub(crate) fn lookup(&self, path: &[u8]) -> Result<Option<Self>, NarrowError<PathError>> {
        match self {
            Place::Whole(node) => {
                let found = node.lookup(path).map_err(NarrowError::Failed)?;
                Ok(found.map(Place::Whole))
            }
            Place::Narrow(narrow) => Ok(narrow.lookup(path)?.map(Place::Narrow)),
        }
    }

    pub(crate) fn ls(&self) -> Result<Vec<Self>, Denied> {
        Ok(match self {
            Place::Whole(node) => node.ls().into_iter().map(Place::Whole).collect(),
            Place::Narrow(narrow) => narrow.ls()?.into_iter().map(Place::Narrow).collect(),
        })
    }

    pub(crate) fn attenuate(
        &self,
        rights: Rights,
        allowance: Allowance,
    ) -> Result<(Self, Grant), Denied> {
        let (narrow, grant) = match self {
            Place::Whole(node) => node.attenuate(rights, allowance),
            Place::Narrow(narrow) => narrow.attenuate(rights, allowance)?,
        };
        Ok((Place::Narrow(narrow), grant))
    }

    /// Whether `right` is granted.
    pub(crate) fn has(&self, right: Right) -> bool {
        match self {
            Place::Whole(_) => true,
            Place::Narrow(narrow) => narrow.rights().contains(right),
        }
    }

    /// Whether `needed` are granted.
    pub(crate) fn require(&self, needed: impl Into<Rights>) -> Result<(), Denied> {
        match self {
            Place::Whole(_) => Ok(()),
            Place::Narrow(narrow) => narrow.require(needed),
        }
    }

    /// What was granted, if that is not everything.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        match self {
            Place::Whole(_) => None,
            Place::Narrow(narrow) => Some(narrow.authority()),
        }
    }

    /// The same for somebody who came to it by what was granted.
    pub(crate) fn through(&self, granted: &Authority) -> Result<Self, Denied> {
        let narrow = match self {
            Place::Whole(node) => granted.narrow(node),
            Place::Narrow(narrow) => narrow.and(granted),
        };
        narrow.map(Place::Narrow)
    }

    /// The most nodes, the root apart, that are kept alive by it.
    pub(crate) fn nodes(&self) -> usize {
        match self {
            Place::Whole(node) => node.depth(),
            Place::Narrow(narrow) => narrow.depth(),
        }
    }
}

/// Does something at once, unless what was `granted` has been revoked: that waits until it is done.
pub(crate) fn at_once<R>(
    granted: Option<&Authority>,
    using: impl FnOnce() -> R,
) -> Result<R, Denied> {
    match granted {
        None => Ok(using()),
        Some(granted) => granted.guard(())?.with(|()| using()),
    }
}

/// The output of `future`, unless what was `granted` is revoked before. When the revocation has returned the
/// future has been dropped, and has no effect any more.
pub(crate) async fn unless_revoked<F: Future + Send + 'static>(
    granted: Option<Authority>,
    future: F,
) -> Result<F::Output, Denied> {
    let Some(granted) = granted else { return Ok(future.await) };
    let held = granted.guard(Mutex::new(Box::pin(future)))?;
    let mut revoked = held.revoked();
    poll_fn(|context| {
        if Pin::new(&mut revoked).poll(context).is_ready() {
            return Poll::Ready(Err(Denied::Revoked));
        }
        let poll = |future: &Mutex<Pin<Box<F>>>| {
            future.lock().unwrap_or_else(PoisonError::into_inner).as_mut().poll(context)
        };
        match held.with(poll) {
            Ok(polled) => polled.map(Ok),
            Err(denied) => Poll::Ready(Err(denied)),
        }
    })
    .await
}

/// The output of `future`, which has no effect of its own, unless what was `granted` is revoked before.
pub(crate) async fn while_granted<F: Future>(
    granted: Option<&Authority>,
    future: F,
) -> Result<F::Output, Denied> {
    let Some(granted) = granted else { return Ok(future.await) };
    let held = granted.guard(())?;
    tokio::select! {
        biased;
        () = held.revoked() => Err(Denied::Revoked),
        output = future => Ok(output),
    }
}
