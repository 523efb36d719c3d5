//! The connections for calls that each host has here: one for each of its lives, and few in all. Which one calls
//! to it go by is the router's.
//!
//! A host makes one. One that makes more, by accident or on purpose, has the latest: the others are ended, and calls
//! under way on them are `disconnected`. One in which it says to be in another life is another's business: that
//! works on, for whoever has something of it, as what is said of a life may be a lie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::HostId;

/// Of so many lives of a host there are connections: that of the earliest is ended by the next.
const LIVES: usize = 4;
/// The most connections of one host, those included that are about to begin or to end.
const OPEN: usize = 16;

/// A place among the connections of one host.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is counted")] Arc<()>);

/// A connection that is not to end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Connection {
    id: u64,
    generation: u64,
}

/// The connections of one host.
#[derive(Default)]
struct Of {
    open: Arc<()>,
    /// The latest last.
    kept: watch::Sender<Vec<Connection>>,
}

/// The connections of all hosts.
#[derive(Default)]
pub(crate) struct Kept(Mutex<HashMap<HostId, Of>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, Of>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection of `host`, if it has not too many.
    #[cfg_attr(not(feature = "cluster"), allow(dead_code, reason = "there are no hosts"))]
    pub(crate) fn place(&self, host: HostId) -> Option<Place> {
        let mut all = self.lock();
        let of = all.entry(host).or_default();
        (Arc::strong_count(&of.open) <= OPEN).then(|| Place(of.open.clone()))
    }

    /// The connection `id` has begun, to this life of `host`: others to the same one are to end.
    pub(super) fn begin(&self, host: HostId, generation: u64, id: u64) {
        self.lock().entry(host).or_default().kept.send_modify(|kept| {
            kept.retain(|other| other.generation != generation);
            if kept.len() >= LIVES {
                kept.remove(0);
            }
            kept.push(Connection { id, generation });
        });
    }

    /// Resolves when the connection `id` of `host`, which has begun, is to end.
    pub(crate) fn replaced(&self, host: HostId, id: u64) -> impl Future<Output = ()> + use<> {
        let mut kept = self.lock().entry(host).or_default().kept.subscribe();
        async move {
            let replaced = kept.wait_for(|kept| kept.iter().all(|kept| kept.id != id)).await;
            if replaced.is_err() {
                // The server goes.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The connection `id` of `host` has ended.
    pub(super) fn end(&self, host: HostId, id: u64) {
        let mut all = self.lock();
        let Some(of) = all.get(&host) else { return };
        of.kept.send_modify(|kept| kept.retain(|kept| kept.id != id));
        if of.kept.borrow().is_empty() && Arc::strong_count(&of.open) == 1 {
            all.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_latest_of_each_life_is_kept_and_of_few_lives() {
        let (kept, host) = (Kept::default(), HostId::from_bytes([1; 16]));
        let ended = |id| kept.replaced(host, id).now_or_never().is_some();
        for id in 0..3 {
            kept.begin(host, 7, id);
        }
        assert_eq!([0, 1, 2].map(ended), [true, true, false]);
        for life in 0..LIVES as u64 - 1 {
            kept.begin(host, 8 + life, 10 + life);
        }
        assert!(!ended(2), "it is of another life");
        kept.begin(host, 99, 99);
        assert!(ended(2) && !ended(10) && !ended(99), "there are too many lives");
        kept.end(host, 99);
        assert_eq!(kept.lock()[&host].kept.borrow().len(), LIVES - 1);
    }

    #[test]
    fn one_host_has_few_places_and_gets_them_back() {
        let (kept, host) = (Kept::default(), HostId::from_bytes([1; 16]));
        let mut places: Vec<_> = std::iter::from_fn(|| kept.place(host)).take(100).collect();
        assert_eq!(places.len(), OPEN);
        assert!(kept.place(HostId::from_bytes([2; 16])).is_some(), "of another host");
        places.pop();
        assert!(kept.place(host).is_some());
        kept.begin(host, 1, 1);
        drop(places);
        kept.end(host, 1);
        assert!(!kept.lock().contains_key(&host), "nothing is left of it");
    }
}
