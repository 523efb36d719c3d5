//! The one place where the crate chooses between the machine's primitives, loom's and shuttle's.
//!
//! In an ordinary build this is `std` and `crossbeam-epoch`, and everything that only a model needs
//! ([`Witness`], [`mutated`]) compiles to nothing. Under `--cfg loom` the atomics are loom's, under
//! `--cfg shuttle` shuttle's, and reclamation is a stand-in that frees as early as the rules allow,
//! or, under `--cfg crossbeam_loom`, the real one on loom's atomics (`raw/model.rs`).

pub(crate) use imp::*;

pub(crate) use crate::raw::epoch::Guard;

#[cfg(not(any(loom, shuttle)))]
mod imp {
    #[cfg(not(any(fuzzing, killick_check)))]
    pub(crate) use crate::raw::cache::{alloc, dealloc};
    #[cfg(any(fuzzing, killick_check))]
    pub(crate) use std::alloc::{alloc, dealloc};
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, AtomicUsize as Counter, Ordering,
        Ordering::*, fence,
    };

    /// A place for the waker of one task.
    pub(crate) struct AtomicWaker(atomic_waker::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            AtomicWaker(atomic_waker::AtomicWaker::new())
        }
        pub(crate) fn register(&self, waker: &std::task::Waker) {
            self.0.register(waker);
        }
        pub(crate) fn wake(&self) {
            self.0.wake();
        }
        pub(crate) fn clear(&self) {
            drop(self.0.take());
        }
    }

    /// The seed of a tree's hash: random, one for each tree.
    pub(crate) type Seed = foldhash::fast::RandomState;

    /// The most slots of one table: what one writer may have to move is bounded by it. Builds that
    /// look for mistakes (`--cfg killick_check`, fuzzing) have small tables and few hashes, so that
    /// every form of a table and every collision is met.
    pub(crate) const TABLE_MAX: usize = if cfg!(any(fuzzing, killick_check)) { 8 } else { 4096 };

    /// How many bits of the hash a branch divides by.
    pub(crate) const FAN_BITS: u32 = if cfg!(any(fuzzing, killick_check)) { 2 } else { 6 };

    /// After so many attempts in vain a list freezes what it lists.
    pub(crate) const PATIENCE: usize = 3;

    /// How many lists the watchers of a tree are divided among; a power of two.
    pub(crate) const WATCHER_LISTS: usize = 64;

    /// The bits of a name's hash that are used.
    #[inline(always)]
    pub(crate) const fn hash_bits() -> u32 {
        if cfg!(any(fuzzing, killick_check)) { 0xC000_0007 } else { u32::MAX }
    }

    /// A model's proof that an object is read only after it was initialised and before it is freed.
    pub(crate) struct Witness;

    impl Witness {
        #[inline(always)]
        pub(crate) fn new() -> Self {
            Witness
        }
        #[inline(always)]
        pub(crate) fn check(&self) {}
        #[inline(always)]
        pub(crate) fn retire(&self) {}
    }

    /// Whether the injected bug `name` is switched on: never, outside of models.
    #[inline(always)]
    pub(crate) const fn mutated(_name: &str) -> bool {
        false
    }
}

#[cfg(any(loom, shuttle))]
mod imp {
    #[cfg(loom)]
    use loom::sync::atomic;
    #[cfg(shuttle)]
    use shuttle::sync::atomic;

    pub(crate) use atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, Ordering::*, fence,
    };

    /// A place for the waker of one task.
    #[cfg(loom)]
    pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

    #[cfg(loom)]
    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            AtomicWaker(loom::future::AtomicWaker::new())
        }
        pub(crate) fn register(&self, waker: &std::task::Waker) {
            self.0.register_by_ref(waker);
        }
        pub(crate) fn wake(&self) {
            self.0.wake();
        }
        pub(crate) fn clear(&self) {
            drop(self.0.take_waker());
        }
    }

    /// The same; here it is an exchange under a lock, and no task switches in the middle.
    #[cfg(shuttle)]
    pub(crate) struct AtomicWaker(std::sync::Mutex<Option<std::task::Waker>>);

    #[cfg(shuttle)]
    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            AtomicWaker(std::sync::Mutex::new(None))
        }
        pub(crate) fn register(&self, waker: &std::task::Waker) {
            *self.0.lock().unwrap() = Some(waker.clone());
        }
        pub(crate) fn wake(&self) {
            let waker = self.0.lock().unwrap().take();
            waker.into_iter().for_each(std::task::Waker::wake);
        }
        pub(crate) fn clear(&self) {
            self.0.lock().unwrap().take();
        }
    }

    // Counts that order nothing: a model would only multiply executions.
    pub(crate) use std::sync::atomic::AtomicUsize as Counter;

    pub(crate) use crate::raw::model::{Witness, alloc, dealloc, hash_bits, mutated};

    /// Models replay executions, so nothing in them may be random.
    pub(crate) type Seed = foldhash::fast::FixedState;

    pub(crate) const TABLE_MAX: usize = 3;

    pub(crate) const FAN_BITS: u32 = 1;

    pub(crate) const PATIENCE: usize = 1;

    /// One: which of several it is follows from an address, and models replay executions.
    pub(crate) const WATCHER_LISTS: usize = 1;
}

/// `order`, or `Relaxed` where the injected bug `name` is switched on.
#[inline(always)]
pub(crate) fn weakened(name: &str, order: Ordering) -> Ordering {
    weakened_to(name, order, Relaxed)
}

/// `order`, or `weaker` where the injected bug `name` is switched on.
#[inline(always)]
pub(crate) fn weakened_to(name: &str, order: Ordering, weaker: Ordering) -> Ordering {
    if mutated(name) { weaker } else { order }
}
