//! What happened in one execution.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The names of the children; an index into it stands for a name.
pub(crate) const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A node's identity: no other node of the execution has the same.
pub(crate) type Id = usize;

/// What a cell holds.
pub(crate) type Content = (Option<u32>, u64);

/// An operation and its result.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Walk {
        name: usize,
        got: Id,
    },
    Lookup {
        name: usize,
        got: Option<Id>,
    },
    Names {
        got: Vec<usize>,
    },
    Ls {
        got: Vec<(usize, Id)>,
    },
    LoadAt {
        name: usize,
        got: Content,
    },
    Load {
        node: Id,
        got: Content,
    },
    /// The error is the revision that the cell was at.
    Store {
        node: Id,
        value: Option<u32>,
        overwrite: bool,
        got: Result<u64, u64>,
    },
    CompareAndStore {
        node: Id,
        expected: u64,
        value: Option<u32>,
        got: Result<u64, u64>,
    },
    /// The result is what was there before.
    Swap {
        node: Id,
        value: Option<u32>,
        got: Content,
    },
    /// As a swap for nothing.
    Clear {
        node: Id,
        got: Content,
    },
    Drop {
        node: Id,
    },
}

/// One thread's operation, and when it was under way.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) thread: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) event: Event,
}

/// One thread's part of the history.
pub(crate) struct Recorder {
    clock: Arc<AtomicUsize>,
    thread: usize,
    pub(crate) operations: Vec<Operation>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Recorder { clock: Arc::default(), thread: 0, operations: Vec::new() }
    }

    /// A recorder for another thread, with the same clock.
    pub(crate) fn for_thread(&self, thread: usize) -> Self {
        Recorder { clock: self.clock.clone(), thread, operations: Vec::new() }
    }

    /// A number that nobody else in the execution gets. Not an atomic of shuttle's, so that time
    /// passes without a switch between threads.
    pub(crate) fn tick(&self) -> usize {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn record(&mut self, operation: impl FnOnce() -> Event) {
        let start = self.tick();
        let event = operation();
        let end = self.tick();
        self.operations.push(Operation { thread: self.thread, start, end, event });
    }
}

/// The history as a table, one line for each operation in the order of their starts.
pub(crate) fn table(history: &[Operation]) -> String {
    let mut rows: Vec<_> = history.iter().collect();
    rows.sort_by_key(|operation| operation.start);
    let line = |op: &&Operation| {
        format!("  thread {} {:>4}..{:<4} {:x?}\n", op.thread, op.start, op.end, op.event)
    };
    rows.iter().map(line).collect()
}
