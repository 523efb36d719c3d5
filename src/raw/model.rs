//! Models: executions in which every access to memory is checked.
//!
//! Loom and shuttle explore interleavings of their own atomics and do not see the heap. So here freed
//! memory is kept until the execution ends, and every access asserts that what it reads is
//! initialised, for this thread, and not freed. A use after free, a double free and a leak are thus
//! failures of the model, and none of them is undefined behaviour.
//!
//! When memory is freed is up to the [`Collector`]: a stand-in that frees as early as the rules allow
//! (`model/epoch.rs`) or, under `--cfg crossbeam_loom`, the real one (`model/participants.rs`).
//!
//! The threads of a model are coroutines of one operating-system thread, so plain thread-local state
//! is shared by them, and is touched only between two switches. Shuttle is sequentially consistent:
//! what loom checks about orderings here, shuttle passes by.

#[cfg(crossbeam_loom)]
mod participants;

use std::alloc::Layout;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool as StdBool, Ordering as StdOrdering};

#[cfg(loom)]
use loom::cell::UnsafeCell;

#[cfg(not(crossbeam_loom))]
use super::epoch::Collector;
#[cfg(crossbeam_loom)]
use participants::Collector;
#[cfg(crossbeam_loom)]
pub(super) use participants::pin;

/// Loom's interface, without loom's checks.
#[cfg(shuttle)]
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(shuttle)]
impl<T> UnsafeCell<T> {
    fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }
    fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }
    fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// One execution.
pub(super) struct World {
    /// Whether there is more than one thread, and so anything to order.
    pub(super) concurrent: bool,
    pub(super) collector: Collector,
    hash_bits: u32,
    /// Objects that were made and not freed.
    live: usize,
    quarantine: Vec<(*mut u8, Layout)>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

pub(super) fn world<R>(with: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|world| with(world.as_mut().expect("outside of `model::check`")))
}

/// Runs every interleaving of `body` within the preemption bound, and prints how many there were.
///
/// # Panics
/// If an interleaving panics, leaks, or reads or frees what it must not.
#[cfg(loom)]
pub fn check(name: &str, bound: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // Limits that end an exploration early do so silently: there are none, whatever the environment.
    (builder.max_duration, builder.max_permutations) = (None, None);
    builder.max_branches = 100_000;
    builder.preemption_bound = bound;
    let executions = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = executions.clone();
    builder.check(move || {
        execution(&body);
        count.fetch_add(1, StdOrdering::Relaxed);
    });
    let executions = executions.load(StdOrdering::Relaxed);
    let bound = bound.map_or("unbounded".into(), |bound| format!("preemption bound {bound}"));
    println!("loom: {name}: {executions} executions, {bound}, complete");
}

/// Runs `body` as one execution, in which nodes and values are freed as early as the rules allow.
///
/// # Panics
/// If `body` panics, leaks, or reads or frees what it must not.
pub fn execution(body: impl FnOnce()) {
    begin();
    Collector::take_part(body);
    end();
}

/// Lets the names of this execution's trees have no other hashes than those of these bits, so that
/// names collide. Before the first tree.
pub fn use_hash_bits(bits: u32) {
    world(|world| world.hash_bits = bits);
}

/// The bits of a name's hash that are used.
pub(crate) fn hash_bits() -> u32 {
    world(|world| world.hash_bits)
}

/// How many nodes, blocks of children and values there are that were made and not freed.
#[cfg(loom)]
pub fn live() -> usize {
    world(|world| world.live)
}

/// Runs `body` on another of loom's threads.
#[cfg(loom)]
pub fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> loom::thread::JoinHandle<T> {
    world(|world| world.concurrent = true);
    loom::thread::spawn(|| Collector::take_part(body))
}

fn begin() {
    let collector = Collector::new();
    let quarantine = Vec::new();
    WORLD.set(Some(World {
        concurrent: false,
        collector,
        hash_bits: u32::MAX,
        live: 0,
        quarantine,
    }));
}

fn end() {
    Collector::end();
    let world = WORLD.take().expect("begun");
    assert_eq!(world.live, 0, "objects were leaked");
    for (ptr, layout) in world.quarantine {
        // SAFETY: from `alloc` with this layout, and put aside by `dealloc` once.
        unsafe { std::alloc::dealloc(ptr, layout) };
    }
}

/// Proof that an object is initialised, for the thread that reads it, and not freed.
pub(crate) struct Witness {
    /// Written at the start of the object's life and at its end, read at every access: loom fails if
    /// a read is not ordered after the one and before the other.
    initialised: UnsafeCell<bool>,
    freed: StdBool,
}

// SAFETY: the loom cell is written before the object is shared and when nobody reads it any more;
// loom fails the model if that is not so.
unsafe impl Sync for Witness {}

impl Witness {
    pub(crate) fn new() -> Self {
        world(|world| world.live += 1);
        let initialised = UnsafeCell::new(false);
        initialised.with_mut(|cell| {
            // SAFETY: not shared yet.
            unsafe { *cell = true }
        });
        Witness { initialised, freed: StdBool::new(false) }
    }

    pub(crate) fn check(&self) {
        assert!(!self.freed.load(StdOrdering::Relaxed), "use after free");
        self.initialised.with(|cell| {
            // SAFETY: not written during the object's life; loom fails here if that is not ordered.
            assert!(unsafe { *cell }, "read before it was initialised");
        });
    }

    pub(crate) fn retire(&self) {
        assert!(!self.freed.swap(true, StdOrdering::Relaxed), "freed twice");
        self.initialised.with_mut(|cell| {
            // SAFETY: nobody reads the object any more; loom fails here if that is not ordered.
            unsafe { *cell = false }
        });
        world(|world| world.live -= 1);
    }
}

/// # Safety
/// As for `std::alloc::alloc`.
pub(crate) unsafe fn alloc(layout: Layout) -> *mut u8 {
    // SAFETY: this function's contract.
    unsafe { std::alloc::alloc(layout) }
}

/// Puts the memory aside until the execution ends.
///
/// # Safety
/// As for `std::alloc::dealloc`.
pub(crate) unsafe fn dealloc(ptr: *mut u8, layout: Layout) {
    world(|world| world.quarantine.push((ptr, layout)));
}

/// Whether the injected bug `name` is switched on, by the environment variable `KILLICK_MUTATION`.
pub(crate) fn mutated(name: &str) -> bool {
    static MUTATION: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    MUTATION.get_or_init(|| std::env::var("KILLICK_MUTATION").ok()).as_deref() == Some(name)
}
