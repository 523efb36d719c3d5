//! The epoch under loom and shuttle: a stand-in for reclamation that frees as early as the rules allow.
//!
//! Both explore interleavings of their own atomics and see neither the heap nor `crossbeam-epoch`.
//! So here a retired object remembers the guards that exist, and is freed at the moment the last of
//! them goes; freed memory is kept until the execution ends, and every access asserts that what it
//! reads is initialised, for this thread, and not freed. A use after free, a double free and a leak
//! are thus failures of the model, and none of them is undefined behaviour.
//!
//! The threads of a model are coroutines of one operating-system thread, so plain thread-local state
//! is shared by them, and is touched only between two switches. Shuttle is sequentially consistent:
//! what loom checks about orderings here, shuttle passes by.

use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool as StdBool, Ordering as StdOrdering};

#[cfg(loom)]
use loom::cell::UnsafeCell;
#[cfg(loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};

// There are no orderings to check, and so no reason to switch between threads here.
#[cfg(shuttle)]
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// One execution's reclamation.
struct World {
    /// Written by whoever retires, read by whoever pins: a guard pinned after an object was retired
    /// sees that it was unlinked, as in the real collector, where the epoch says so.
    unlinked: Rc<AtomicUsize>,
    /// Written by whoever unpins, read by whoever frees: that comes after all that was read under the
    /// guards it waited for.
    unpinned: Rc<AtomicUsize>,
    /// Whether there is more than one thread, and so anything for these two to order.
    concurrent: bool,
    hash_bits: u32,
    next_guard: u64,
    guards: Vec<u64>,
    retired: Vec<Retired>,
    /// Objects that were made and not freed.
    live: usize,
    quarantine: Vec<(*mut u8, Layout)>,
}

struct Retired {
    waits_for: Vec<u64>,
    ptr: *mut (),
    free: unsafe fn(*mut ()),
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn world<R>(with: impl FnOnce(&mut World) -> R) -> R {
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
    body();
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

/// Runs `body` on another of loom's threads.
#[cfg(loom)]
pub fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> loom::thread::JoinHandle<T> {
    world(|world| world.concurrent = true);
    loom::thread::spawn(body)
}

fn begin() {
    let world = World {
        unlinked: Rc::new(AtomicUsize::new(0)),
        unpinned: Rc::new(AtomicUsize::new(0)),
        concurrent: false,
        hash_bits: u32::MAX,
        next_guard: 0,
        guards: Vec::new(),
        retired: Vec::new(),
        live: 0,
        quarantine: Vec::new(),
    };
    WORLD.set(Some(world));
}

fn end() {
    reap();
    let world = WORLD.take().expect("begun");
    assert!(world.guards.is_empty(), "a guard outlives the execution");
    assert!(world.retired.is_empty(), "retired objects wait for no guard");
    assert_eq!(world.live, 0, "objects were leaked");
    for (ptr, layout) in world.quarantine {
        // SAFETY: from `alloc` with this layout, and put aside by `dealloc` once.
        unsafe { std::alloc::dealloc(ptr, layout) };
    }
}

/// Frees what no guard waits for.
fn reap() {
    loop {
        let due = world(|world| {
            let at = world.retired.iter().position(|retired| retired.waits_for.is_empty())?;
            Some(world.retired.remove(at))
        });
        let Some(due) = due else { return };
        cross(|world| &world.unpinned, Ordering::Acquire);
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
        cross(|world| &world.unlinked, Ordering::Release);
        world(|world| {
            assert!(world.guards.contains(&self.0.get()), "retired without a guard");
            assert!(world.retired.iter().all(|other| other.ptr != ptr), "retired twice");
            world.retired.push(Retired { waits_for: world.guards.clone(), ptr, free });
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
fn cross(edge: impl FnOnce(&World) -> &Rc<AtomicUsize>, order: Ordering) {
    if let Some(edge) = world(|world| world.concurrent.then(|| edge(world).clone())) {
        edge.fetch_add(1, order);
    }
}

fn enter() -> u64 {
    // A read-modify-write that acquires and does not release: it sees every retirement before it,
    // and hides no missing Release of the pinning thread.
    cross(|world| &world.unlinked, Ordering::Acquire);
    world(|world| {
        world.next_guard += 1;
        world.guards.push(world.next_guard);
        world.next_guard
    })
}

fn leave(guard: u64) {
    cross(|world| &world.unpinned, Ordering::Release);
    world(|world| {
        world.guards.retain(|&other| other != guard);
        for retired in &mut world.retired {
            retired.waits_for.retain(|&other| other != guard);
        }
    });
    reap();
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
