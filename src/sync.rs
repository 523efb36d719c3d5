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
        AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, AtomicUsize as Counter, Ordering,
        Ordering::*,
    };

    /// The seed of a tree's hash: random, one for each tree.
    pub(crate) type Seed = foldhash::fast::RandomState;

    /// The most nodes that a small array of children holds. Builds that look for mistakes
    /// (`--cfg killick_check`, fuzzing) have small arrays and few hashes, so that every form of the
    /// table and every collision is met.
    pub(crate) const SMALL_MAX: usize = if cfg!(any(fuzzing, killick_check)) { 4 } else { 16 };

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

    pub(crate) use atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering, Ordering::*};

    // Counts that order nothing: a model would only multiply executions.
    pub(crate) use std::sync::atomic::AtomicUsize as Counter;

    pub(crate) use crate::raw::model::{Witness, alloc, dealloc, hash_bits, mutated};

    /// Models replay executions, so nothing in them may be random.
    pub(crate) type Seed = foldhash::fast::FixedState;

    pub(crate) const SMALL_MAX: usize = 2;
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
