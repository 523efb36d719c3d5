//! Capabilities as values: how they are kept where they are not alive.
//!
//! A live capability belongs to one thread and one connection. The tree is shared, so a value keeps a
//! [`CapRef`] for each capability in it: what the server hosts by what it stands for, what a client
//! hosts by a [`Token`] for the place where the worker of that client's connection keeps it.
//!
//! No connection ever gets the capability of another one as it is. It gets a *proxy*: an object of
//! ours that copies the call there and the answer back ([`proxy`]), and capabilities in either
//! become the other side's own, or proxies in turn. A proxy is settled, whatever the client's
//! capability still is or turns into, so no client can make the server follow a chain in circles.

pub(crate) mod proxy;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

use capnp::Error;
use capnp::private::capability::ClientHook;
use futures::FutureExt;
use tokio::sync::mpsc::UnboundedSender;

use crate::wire::Stored;

/// An anchor of the server's tree.
pub(crate) type Node = killick::Anchor<Stored>;

/// A capability as it is kept in a value, and as the key of a connection's objects.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum CapRef {
    /// The bootstrap capability: the host.
    Host,
    /// The cluster's anchor, whose children are the hosts.
    Cluster,
    /// An anchor.
    Anchor(Node),
    /// The right to read a node's cell.
    Loader(Node),
    /// The right to write a node's cell.
    Storer(Node),
    /// A capability that a client hosts.
    Hosted(Token),
}

/// A counted claim to a capability that a client hosts. When the last one is dropped, on whatever
/// thread, the worker of that client's connection lets go of the capability.
#[derive(Clone)]
pub(crate) struct Token(Arc<Claim>);

/// A [`Token`] that claims nothing.
#[derive(Clone)]
pub(crate) struct WeakToken(Weak<Claim>);

struct Claim {
    id: u64,
    connection: u64,
    home: UnboundedSender<u64>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // An error means that the worker has ended, and its capabilities with it.
        let _ = self.home.send(self.id);
    }
}

impl Token {
    /// A claim to the capability that the worker behind `home` keeps under `id`.
    pub(crate) fn new(id: u64, connection: u64, home: UnboundedSender<u64>) -> Self {
        Token(Arc::new(Claim { id, connection, home }))
    }

    /// What its worker keeps the capability under.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// The connection of the client that hosts the capability.
    pub(crate) fn connection(&self) -> u64 {
        self.0.connection
    }

    /// The same, without the claim.
    pub(crate) fn downgrade(&self) -> WeakToken {
        WeakToken(Arc::downgrade(&self.0))
    }
}

impl WeakToken {
    /// The token, if one is still held somewhere.
    pub(crate) fn upgrade(&self) -> Option<Token> {
        self.0.upgrade().map(Token)
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Token {}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for CapRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CapRef::Host => f.write_str("Host"),
            CapRef::Cluster => f.write_str("Cluster"),
            CapRef::Anchor(node) => write!(f, "Anchor({:?})", node.name()),
            CapRef::Loader(node) => write!(f, "Loader({:?})", node.name()),
            CapRef::Storer(node) => write!(f, "Storer({:?})", node.name()),
            CapRef::Hosted(token) => write!(f, "Hosted({})", token.id()),
        }
    }
}

/// The error of a call whose host has gone.
pub(crate) fn host_is_gone() -> Error {
    Error::disconnected("the client that hosted this capability has disconnected".into())
}

/// How many times a promise may resolve to another promise.
const MAX_RESOLUTIONS: usize = 32;

/// Waits until `hook` is no longer a promise, for at most `limit`.
pub(crate) async fn settle(
    hook: Box<dyn ClientHook>,
    limit: Duration,
) -> Result<Box<dyn ClientHook>, Error> {
    let resolved = async {
        let mut hook = hook;
        for _ in 0..MAX_RESOLUTIONS {
            if let Some(next) = hook.get_resolved() {
                hook = next;
            } else if let Some(next) = hook.when_more_resolved() {
                hook = next.await?;
            } else {
                return Ok(hook);
            }
        }
        Err(Error::failed(format!("a promise resolved to another {MAX_RESOLUTIONS} times")))
    };
    // Most are settled: those cost no timer.
    let mut resolved = Box::pin(resolved);
    if let Some(settled) = resolved.as_mut().now_or_never() {
        return settled;
    }
    tokio::time::timeout(limit, resolved).await.unwrap_or_else(|_| {
        Err(Error::failed(format!("a capability was still a promise after {limit:?}")))
    })
}

/// What `hook` has resolved to so far.
pub(crate) fn resolved_so_far(mut hook: Box<dyn ClientHook>) -> Box<dyn ClientHook> {
    for _ in 0..MAX_RESOLUTIONS {
        match hook.get_resolved() {
            Some(next) => hook = next,
            None => break,
        }
    }
    hook
}
