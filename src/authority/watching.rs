//! Watches that end when they are revoked.

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::{Authority, Charge, Denied, Revocable, Revoked, lock};

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
