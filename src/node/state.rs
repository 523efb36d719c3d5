//! A node's life in one word: how many references it has. All orderings of the count live here.
//!
//! ```text
//!            acquire, retain          release
//!              +1 (not from 0)          −1
//!                 ┌───┐               ┌───┐
//!                 │   ▼               │   ▼
//!   1 (new) ────▶ alive: n ≥ 1 ───────────────▶ 0 = dead, for ever
//! ```
//! A reference is owned by each handle, by a non-empty children word (one, however many children),
//! and by a cell that holds a value. Zero is final, so exactly one `release` sees it.

use crate::sync::{self, AtomicU32, Ordering, Relaxed, mutated, weakened};

/// More references than this are leaked ones: the process is aborted before the count can wrap.
const MAX_REFS: u32 = i32::MAX as u32;

pub(crate) struct State(AtomicU32);

/// The outcome of [`State::acquire`].
#[must_use]
pub(crate) enum Acquire {
    /// The caller owns one more reference.
    Held,
    /// The node is dead; nothing changed.
    Dead,
}

/// The outcome of [`State::release`].
#[must_use]
pub(crate) enum Release {
    /// Others still refer to the node.
    Alive,
    /// That was the last reference: the caller is the node's pruner.
    Died,
}

impl State {
    pub(crate) fn new(refs: u32) -> Self {
        State(AtomicU32::new(refs))
    }

    /// Takes a reference, unless there is none left to share.
    #[inline]
    pub(crate) fn acquire(&self) -> Acquire {
        // Acquire, here and on failure: a caller that finds the node dead looks at its parent's word
        // next, and relies on that look coming after this one (`ls`). [O5]
        let mut refs = self.0.load(weakened("dead_relaxed", sync::Acquire));
        while refs != 0 || mutated("acquire_revives_the_dead") {
            check_overflow(refs);
            // Relaxed: taking a reference publishes nothing, and what the caller reads of the node it
            // reached through an Acquire load of a link.
            let failure = weakened("dead_relaxed", sync::Acquire);
            match self.0.compare_exchange_weak(refs, refs + 1, Relaxed, failure) {
                Ok(_) => return Acquire::Held,
                // Lost to a concurrent acquire or release: retry from the new value.
                Err(now) => refs = now,
            }
        }
        Acquire::Dead
    }

    /// Takes one more reference for a caller that owns one.
    #[inline]
    pub(crate) fn retain(&self) {
        // Relaxed: the caller's own reference keeps the count above zero and orders its accesses.
        check_overflow(self.0.fetch_add(1, Relaxed));
    }

    /// Gives a reference back if it is not the last one. The caller needs no guard: the node is not
    /// touched after the exchange that gives it back.
    #[inline]
    pub(crate) fn release_shared(&self) -> bool {
        // Relaxed: only a guess for the exchange below.
        let mut refs = self.0.load(Relaxed);
        while refs > 1 {
            // Release: the caller's accesses happen before whatever the pruner does; pairs with the
            // Acquire load in `release`. Relaxed on failure: retried. [O3]
            let release = weakened("release_shared_relaxed", Ordering::Release);
            match self.0.compare_exchange_weak(refs, refs - 1, release, Relaxed) {
                Ok(_) => return true,
                // Lost to a concurrent acquire or release: retry from the new value.
                Err(now) => refs = now,
            }
        }
        false
    }

    /// Gives a reference back.
    ///
    /// The caller holds a guard that was pinned *before* the call: once the count is zero, others
    /// may unlink this node, empty its parent and free that parent, and the pruner still has to read
    /// it.
    pub(crate) fn release(&self) -> Release {
        // Release: as in `release_shared`. [O3]
        if self.0.fetch_sub(1, weakened("release_relaxed", Ordering::Release)) != 1 {
            return Release::Alive;
        }
        // Acquire: follows every other owner's release, whose decrements this value continues. [O4]
        self.0.load(weakened("release_last_relaxed", sync::Acquire));
        Release::Died
    }

    /// Whether the node is dead, which is final.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        // Acquire: as in `acquire`. [O5]
        self.0.load(weakened("dead_relaxed", sync::Acquire)) == 0
    }

    /// The number of references at this moment, for `Debug`.
    pub(crate) fn refs(&self) -> u32 {
        // Relaxed: for people to look at.
        self.0.load(Relaxed)
    }
}

#[inline]
fn check_overflow(refs: u32) {
    if refs > MAX_REFS {
        std::process::abort();
    }
}
