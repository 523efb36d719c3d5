//! What is counted of each connection, for people to see.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A number that one thread changes and others read: no read-modify-write, so it costs that thread
/// what a variable of its own does.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn get(&self) -> u64 {
        // Relaxed, here and below: a number for people to read.
        self.0.load(Ordering::Relaxed)
    }

    /// Only on the thread that changes it.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Only on the thread that changes it.
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }
}

/// The counts of one connection; its worker changes them.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) id: u64,
    pub(crate) peer: String,
    pub(crate) worker: usize,
    pub(crate) opened: Instant,
    pub(crate) calls: Count,
    pub(crate) running: Count,
    pub(crate) read: Count,
    pub(crate) written: Count,
    pub(crate) handles: Count,
    pub(crate) hosted: Count,
}

/// The open connections of a server. Its lock is taken when one comes or goes, and by those who look.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<u64, Arc<Stats>>,
    /// The calls of connections that have ended.
    calls: u64,
}

impl Clients {
    fn with<T>(&self, use_it: impl FnOnce(&mut Table) -> T) -> T {
        // No code that can panic runs while it is locked.
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a connection.
    pub(crate) fn open(&self, id: u64, peer: String, worker: usize) -> Arc<Stats> {
        let stats = Arc::new(Stats {
            id,
            peer,
            worker,
            opened: Instant::now(),
            calls: Count::default(),
            running: Count::default(),
            read: Count::default(),
            written: Count::default(),
            handles: Count::default(),
            hosted: Count::default(),
        });
        self.with(|table| table.open.insert(id, stats.clone()));
        stats
    }

    /// Removes one that has ended.
    pub(crate) fn close(&self, stats: &Stats) {
        self.with(|table| {
            table.calls += stats.calls.get();
            table.open.remove(&stats.id)
        });
    }

    /// Those that are open, by their numbers.
    pub(crate) fn list(&self) -> Vec<Arc<Stats>> {
        self.with(|table| table.open.values().cloned().collect())
    }

    /// The calls of all that ever were.
    pub(crate) fn calls(&self) -> u64 {
        self.with(|table| {
            table.calls + table.open.values().map(|stats| stats.calls.get()).sum::<u64>()
        })
    }
}
