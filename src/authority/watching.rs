//! Watches that end when they are revoked.

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::{Authority, Charge, Denied, Revocable, Revoked, lock};
use crate::raw::value::Value;
use crate::watch::{Watch, block};

/// What is let go of when a grant is revoked.
struct Watching<S> {
    watch: Mutex<S>,
    _charge: Charge,
}

/// A [`Watch`](crate::Watch) or a [`WatchChildren`](crate::WatchChildren) with an authority. Made by
/// [`Narrow::watch`](crate::Narrow::watch) and [`Narrow::watch_children`](crate::Narrow::watch_children).
///
/// When one of its grants is revoked it lets go of its node, shows [`Denied::Revoked`] once, and ends.
#[must_use = "a watch does nothing unless it is polled"]
pub struct NarrowWatch<S> {
    watching: Revocable<Watching<S>>,
    revoked: Revoked<Watching<S>>,
    ended: bool,
}

impl<S: Stream + Unpin + Send + 'static> NarrowWatch<S> {
    pub(super) fn new(authority: Authority, watch: S, charge: Charge) -> Result<Self, Denied> {
        let watching = Watching { watch: Mutex::new(watch), _charge: charge };
        let watching = Revocable::new(authority, watching)?;
        Ok(NarrowWatch { revoked: watching.revoked(), watching, ended: false })
    }
}

impl<S: Stream + Unpin> NarrowWatch<S> {
    /// The next item, once there is one; nothing at the end.
    ///
    /// # Progress
    /// Blocks the calling thread until then, and nobody else.
    pub fn blocking_next(&mut self) -> Option<Result<S::Item, Denied>> {
        block(|context| Pin::new(&mut *self).poll_next(context))
    }
}

impl<S: Stream + Unpin> Stream for NarrowWatch<S> {
    type Item = Result<S::Item, Denied>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if Pin::new(&mut self.revoked).poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(Err(Denied::Revoked)));
        }
        let next =
            |watching: &Watching<S>| Pin::new(&mut *lock(&watching.watch)).poll_next(context);
        match self.watching.with(next) {
            Ok(next) => {
                let next = ready!(next);
                self.ended = next.is_none();
                Poll::Ready(next.map(Ok))
            }
            Err(denied) => {
                self.ended = true;
                Poll::Ready(Some(Err(denied)))
            }
        }
    }
}

impl<S> fmt::Debug for NarrowWatch<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NarrowWatch").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// A [`Wait`](crate::Wait) with an authority: resolves to the cell's value once it holds one, to nothing if
/// the tree is dropped before, and to [`Denied::Revoked`] if one of the grants is revoked before. Made by
/// [`Narrow::wait`](crate::Narrow::wait).
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct NarrowWait<V: Send + Sync + 'static>(NarrowWatch<Watch<V>>);

impl<V: Send + Sync + 'static> NarrowWait<V> {
    pub(super) fn new(watch: NarrowWatch<Watch<V>>) -> Self {
        NarrowWait(watch)
    }

    /// What it resolves to.
    ///
    /// # Progress
    /// Blocks the calling thread until then, and nobody else.
    ///
    /// # Errors
    /// [`Denied::Revoked`].
    pub fn blocking(mut self) -> Result<Option<Value<V>>, Denied> {
        block(|context| Pin::new(&mut self).poll(context))
    }
}

impl<V: Send + Sync + 'static> Future for NarrowWait<V> {
    type Output = Result<Option<Value<V>>, Denied>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_next(context)).transpose()? {
                Some(loaded) if loaded.value.is_none() => {}
                last => return Poll::Ready(Ok(last.and_then(|loaded| loaded.value))),
            }
        }
    }
}
