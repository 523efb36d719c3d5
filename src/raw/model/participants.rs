//! The real collector in a model: one for each execution, and each thread takes part in it.
//!
//! Its default collector would outlive the execution's end, and with it what it has not freed. This
//! one goes at the end, when every thread has left it, and frees all that is left.

use std::cell::RefCell;

use crossbeam_epoch::{Guard, LocalHandle};

use super::world;

/// One execution's collector.
pub(in crate::raw) struct Collector(Option<crossbeam_epoch::Collector>);

loom::thread_local! {
    static PARTICIPANT: RefCell<Option<LocalHandle>> = RefCell::new(None);
}

impl Collector {
    pub(super) fn new() -> Self {
        Collector(Some(crossbeam_epoch::Collector::new()))
    }

    /// Runs `body`, a thread's or the whole execution's, as a participant.
    pub(super) fn take_part<T>(body: impl FnOnce() -> T) -> T {
        let collector = world(|world| world.collector.0.clone()).expect("not at its end");
        PARTICIPANT.with(|participant| participant.replace(Some(collector.register())));
        drop(collector);
        let result = body();
        drop(PARTICIPANT.with(|participant| participant.take()));
        result
    }

    /// Frees what is left at the end of an execution.
    pub(super) fn end() {
        // What is freed has destructors that look at the world.
        drop(world(|world| world.collector.0.take()));
    }
}

/// Pins the epoch of this thread's participant.
pub(in crate::raw) fn pin() -> Guard {
    PARTICIPANT
        .with(|participant| participant.borrow().as_ref().expect("a thread of the model").pin())
}
