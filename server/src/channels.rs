//! All channels of a server: how many there may be, and an end to those that are out of everybody's reach.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::channel::{RecvSide, collect};
use crate::wire::Item;

/// How many channels and values a call that lacks room pays for to be looked at: what a collection costs is
/// spread over those that ask for it.
const LOOKS_A_CALL: usize = 256;

/// The channels of a server.
#[derive(Default)]
pub(crate) struct Channels {
    count: Arc<AtomicUsize>,
    /// The receive sides of those that were made. Some have gone.
    made: Mutex<Vec<Weak<RecvSide<Item>>>>,
    /// What is to be paid for the last collection before a call causes the next. Locked while one is made.
    owed: Mutex<usize>,
    due: Notify,
}

/// A place among so many channels, or processes; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    /// One of `limit` that `count` counts, if one is free.
    pub(crate) fn take(count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let more = |channels: usize| (channels < limit).then_some(channels + 1);
        // Relaxed: the count alone is decided by; it publishes nothing.
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place(count.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Relaxed: as in `take`.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among the channels that a server has at a time, and among those of whoever made it.
#[derive(Debug)]
pub(crate) struct ChannelRoom {
    _all: Place,
    _own: Place,
    _host: Option<Place>,
}

/// The channels that a client has made and that exist, and how many those may be.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) count: &'a Arc<AtomicUsize>,
    pub(crate) limit: usize,
}

impl Own<'_> {
    /// Whether there may be no more.
    pub(crate) fn is_full(self) -> bool {
        // Relaxed: it is to tell which limit was met.
        self.count.load(Ordering::Relaxed) >= self.limit
    }
}

impl Channels {
    /// Takes a place among `limit`, among those of one client, and, if that is one of another `host`, among those of
    /// all of its clients, if one is free in each.
    pub(crate) fn room(
        &self,
        limit: usize,
        own: Own<'_>,
        host: Option<Own<'_>>,
    ) -> Option<ChannelRoom> {
        let _own = Place::take(own.count, own.limit)?;
        let _host = match host {
            Some(host) => Some(Place::take(host.count, host.limit)?),
            None => None,
        };
        Some(ChannelRoom { _all: Place::take(&self.count, limit)?, _own, _host })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        // Relaxed: a count for people to read.
        self.count.load(Ordering::Relaxed)
    }

    /// One was made, with this side.
    pub(crate) fn add(&self, side: &Arc<RecvSide<Item>>) {
        let mut made = lock(&self.made);
        if made.len() == made.capacity() {
            // As many are added before the next time as are left.
            made.retain(|side| side.strong_count() > 0);
            let left = made.len();
            made.reserve(left.max(1));
        }
        made.push(Arc::downgrade(side));
    }

    /// The receive side of each that has one.
    pub(crate) fn sides(&self) -> Vec<Arc<RecvSide<Item>>> {
        lock(&self.made).iter().filter_map(Weak::upgrade).collect()
    }

    /// Ends those that nobody can receive from any more. Waits while another thread does.
    pub(crate) fn collect(&self) {
        let mut owed = lock(&self.owed);
        *owed = collect(self.sides());
    }

    /// What `take` finds, for a call; if that is nothing, once more after a [collection](Self::collect), if
    /// calls have paid for one.
    pub(crate) fn make_room<R>(&self, take: impl Fn() -> Option<R>) -> Option<R> {
        if let Some(room) = take() {
            return Some(room);
        }
        if self.count() == 0 {
            return None;
        }
        let mut owed = lock(&self.owed);
        // Another thread may have collected.
        if let Some(room) = take() {
            return Some(room);
        }
        *owed = owed.saturating_sub(LOOKS_A_CALL);
        if *owed == 0 {
            *owed = collect(self.sides());
        } else {
            self.collect_soon();
        }
        take()
    }

    /// Has them collected by a worker, some time.
    pub(crate) fn collect_soon(&self) {
        self.due.notify_one();
    }

    /// Waits until they are to be collected.
    pub(crate) async fn due(&self) {
        self.due.notified().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under it is right at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
