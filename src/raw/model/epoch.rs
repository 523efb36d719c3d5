//! The epoch under loom and shuttle: a stand-in for reclamation that frees as early as the rules allow.
//!
//! A retired object remembers the guards that exist, and is freed at the moment the last of them
//! goes. What the real collector orders by its epoch, two edges order here.

use std::cell::Cell;
use std::rc::Rc;

#[cfg(loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};

// There are no orderings to check, and so no reason to switch between threads here.
#[cfg(shuttle)]
use std::sync::atomic::{AtomicUsize, Ordering};

use super::model::world;

/// One execution's guards, and what waits for them.
pub(super) struct Collector {
    /// Written by whoever retires, read by whoever pins: a guard pinned after an object was retired
    /// sees that it was unlinked, as in the real collector, where the epoch says so.
    unlinked: Rc<AtomicUsize>,
    /// Written by whoever unpins, read by whoever frees: that comes after all that was read under the
    /// guards it waited for.
    unpinned: Rc<AtomicUsize>,
    next_guard: u64,
    guards: Vec<u64>,
    retired: Vec<Retired>,
}

struct Retired {
    waits_for: Vec<u64>,
    ptr: *mut (),
    free: unsafe fn(*mut ()),
}

impl Collector {
    pub(super) fn new() -> Self {
        Collector {
            unlinked: Rc::new(AtomicUsize::new(0)),
            unpinned: Rc::new(AtomicUsize::new(0)),
            next_guard: 0,
            guards: Vec::new(),
            retired: Vec::new(),
        }
    }

    /// Runs `body`, a thread's or the whole execution's.
    pub(super) fn take_part<T>(body: impl FnOnce() -> T) -> T {
        body()
    }

    /// Frees what is left at the end of an execution.
    pub(super) fn end() {
        reap();
        collector(|collector| {
            assert!(collector.guards.is_empty(), "a guard outlives the execution");
            assert!(collector.retired.is_empty(), "retired objects wait for no guard");
        });
    }
}

fn collector<T>(with: impl FnOnce(&mut Collector) -> T) -> T {
    world(|world| with(&mut world.collector))
}

/// Frees what no guard waits for.
fn reap() {
    loop {
        let due = collector(|collector| {
            let at = collector.retired.iter().position(|retired| retired.waits_for.is_empty())?;
            Some(collector.retired.remove(at))
        });
        let Some(due) = due else { return };
        cross(|collector| &collector.unpinned, Ordering::Acquire);
        // SAFETY: `defer` was promised that this may be called once no guard exists that did then.
        unsafe { (due.free)(due.ptr) };
    }
}

/// Brings pending destructors forward. Here they never wait for anything but guards.
pub fn reclaim() {}

/// A pinned epoch.
pub(crate) struct Guard(Cell<u64>);

impl Guard {
    pub(crate) fn pin() -> Self {
        Guard(Cell::new(enter()))
    }

    pub(crate) fn repin(&mut self) {
        leave(self.0.get());
        self.0.set(enter());
    }

    /// # Safety
    /// As for the real one.
    pub(crate) unsafe fn defer(&self, ptr: *mut (), free: unsafe fn(*mut ())) {
        cross(|collector| &collector.unlinked, Ordering::Release);
        collector(|collector| {
            assert!(collector.guards.contains(&self.0.get()), "retired without a guard");
            assert!(collector.retired.iter().all(|other| other.ptr != ptr), "retired twice");
            collector.retired.push(Retired { waits_for: collector.guards.clone(), ptr, free });
        });
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            leave(self.0.get());
        }
    }
}

/// A read-modify-write of one of the two edges, if there is anyone to order.
fn cross(edge: impl FnOnce(&Collector) -> &Rc<AtomicUsize>, order: Ordering) {
    let edge = world(|world| world.concurrent.then(|| edge(&world.collector).clone()));
    if let Some(edge) = edge {
        edge.fetch_add(1, order);
    }
}

fn enter() -> u64 {
    // A read-modify-write that acquires and does not release: it sees every retirement before it,
    // and hides no missing Release of the pinning thread.
    cross(|collector| &collector.unlinked, Ordering::Acquire);
    collector(|collector| {
        collector.next_guard += 1;
        collector.guards.push(collector.next_guard);
        collector.next_guard
    })
}

fn leave(guard: u64) {
    cross(|collector| &collector.unpinned, Ordering::Release);
    collector(|collector| {
        collector.guards.retain(|&other| other != guard);
        for retired in &mut collector.retired {
            retired.waits_for.retain(|&other| other != guard);
        }
    });
    reap();
}
