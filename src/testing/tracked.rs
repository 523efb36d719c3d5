//! Values whose drops are counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::{Anchor, reclaim};

/// What a live [`Tracked`] carries, to tell it from memory that held one.
const ALIVE: u64 = 0x6b69_6c6c_6963_6b21;

/// Counts the values made for it and the values dropped.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Counts>);

#[derive(Default)]
struct Counts {
    made: AtomicU64,
    dropped: AtomicU64,
}

impl Ledger {
    /// A value that this ledger counts.
    pub fn value(&self, id: u64) -> Tracked {
        self.value_holding(id, None)
    }

    /// A value that this ledger counts and that keeps an anchor until it is dropped.
    pub fn value_holding(&self, id: u64, anchor: Option<Anchor<Tracked>>) -> Tracked {
        self.0.made.fetch_add(1, SeqCst);
        Tracked { id, alive: AtomicU64::new(ALIVE), ledger: self.clone(), anchor }
    }

    /// How many were made.
    pub fn made(&self) -> u64 {
        self.0.made.load(SeqCst)
    }

    /// How many are not dropped yet.
    pub fn live(&self) -> u64 {
        let dropped = self.0.dropped.load(SeqCst);
        self.made() - dropped
    }
}

/// A value that knows its ledger, and whether it is alive.
pub struct Tracked {
    id: u64,
    alive: AtomicU64,
    ledger: Ledger,
    anchor: Option<Anchor<Tracked>>,
}

impl Tracked {
    /// What the value was made with.
    ///
    /// # Panics
    /// When the value was dropped already.
    pub fn id(&self) -> u64 {
        assert_eq!(self.alive.load(SeqCst), ALIVE, "a value was read after its drop");
        self.id
    }

    /// The anchor that the value keeps.
    pub fn anchor(&self) -> Option<&Anchor<Tracked>> {
        self.anchor.as_ref()
    }
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tracked({})", self.id())
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        assert_eq!(self.alive.swap(0, SeqCst), ALIVE, "a value was dropped twice");
        self.ledger.0.dropped.fetch_add(1, SeqCst);
    }
}

/// Runs what is due until `done` holds; whether it came to hold within some seconds.
///
/// Another thread that is just reading a tree may put destructors off, so one call of
/// [`reclaim`] proves nothing.
pub fn settle(done: impl Fn() -> bool) -> bool {
    for round in 0..10_000 {
        reclaim();
        if done() {
            return true;
        }
        if round > 100 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    false
}
