//! What is to be done when: one heap, in one order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use foca::Timer;

use super::Identity;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Job {
    Foca(Timer<Identity>),
    /// Compare all that is known with some host.
    Sync,
    /// Ask for the records that are missing.
    Pull,
    /// Try a host that is taken for dead.
    Reconnect,
}

/// What is to be done, by time; what was asked for first comes first.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    asked: u64,
}

struct Entry {
    at: Duration,
    serial: u64,
    job: Job,
}

impl Timers {
    pub(crate) fn add(&mut self, at: Duration, job: Job) {
        let serial = self.asked;
        self.asked += 1;
        self.heap.push(Reverse(Entry { at, serial, job }));
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Job) -> bool) {
        self.heap.retain(|Reverse(entry)| keep(&entry.job));
    }

    /// When the first is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(first)| first.at)
    }

    /// The first, if it is due.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Job> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(first)| first.job)
    }
}

impl Entry {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.serial)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
