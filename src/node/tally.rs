//! The number of nodes of a tree.
//!
//! Where there is no limit, threads count in different words, so that those that create and prune in
//! different parts of a tree share nothing. Of the threads that there are at a time, some have a word to
//! themselves in every tree, and write it without an exchange; the others share the rest. A limit has to be
//! compared with the exact number, so with one all count in one word.

use std::cell::Cell;

use crate::sync::{Acquire, Counter, Relaxed, Release};

/// How many words of a count have an owner each.
const OWNED: usize = 16;
/// How many words there are in all: a power of two.
const WORDS: usize = 2 * OWNED;

/// Alone on its lines of cache: most processors fetch them in pairs.
#[repr(align(128))]
struct Word(Counter);

/// A count of nodes; the root is one.
pub(crate) struct Tally(Box<[Word]>);

impl Tally {
    /// A count in one word, if it is to be `exact`, or in several.
    pub(crate) fn new(exact: bool) -> Self {
        let words = if exact { 1 } else { WORDS };
        Tally((0..words).map(|at| Word(Counter::new(usize::from(at == 0)))).collect())
    }

    #[inline]
    pub(crate) fn add(&self, n: usize) {
        let place = place();
        let word = &self.0[place & (self.0.len() - 1)].0;
        // Relaxed, here and below: a count that publishes nothing.
        if place < OWNED && self.0.len() == WORDS {
            word.store(word.load(Relaxed).wrapping_add(n), Relaxed);
        } else {
            word.fetch_add(n, Relaxed);
        }
    }

    /// Counts `n` more unless that makes more than `limit`. The count is exact.
    pub(crate) fn add_within(&self, n: usize, limit: usize) -> bool {
        let count = &self.0[0].0;
        let mut nodes = count.load(Relaxed);
        while n <= limit.saturating_sub(nodes) {
            match count.compare_exchange_weak(nodes, nodes + n, Relaxed, Relaxed) {
                Ok(_) => return true,
                // Lost to a concurrent reservation or release: retry from the new value.
                Err(now) => nodes = now,
            }
        }
        false
    }

    #[inline]
    pub(crate) fn sub(&self, n: usize) {
        // Below zero in one word, where other threads have counted up: the sum is right.
        self.add(n.wrapping_neg());
    }

    /// The nodes: each word at a moment of its own, so what comes and goes meanwhile may be counted twice
    /// or, with what stays, not at all.
    pub(crate) fn sum(&self) -> usize {
        let counts = self.0.iter().map(|word| word.0.load(Relaxed));
        let sum = counts.fold(0, usize::wrapping_add).cast_signed();
        // Below the root's one where only the releases of nodes were seen that other words count.
        sum.max(1).cast_unsigned()
    }
}

/// Which of the words below [`OWNED`] have an owner: a bit each. In all trees they are the same.
static TAKEN: Counter = Counter::new(0);

thread_local! {
    /// The word that this thread counts in, once it knows.
    static PLACE: Cell<Option<u8>> = const { Cell::new(None) };
    /// Gives the word back.
    static OWNER: Owner = const { Owner };
}

/// The word that this thread counts in.
#[inline]
fn place() -> usize {
    PLACE.get().map_or_else(choose, usize::from)
}

/// Takes a word that has no owner, if there is one, until the thread ends.
#[cold]
fn choose() -> usize {
    let mut taken = TAKEN.load(Relaxed);
    // A thread that is at its end could not give it back.
    while OWNER.try_with(|_| ()).is_ok() && taken.count_ones() < OWNED as u32 {
        let free = taken.trailing_ones();
        // Acquire: what the last owner wrote in the word happens before this one reads it; pairs with
        // Release in `Owner::drop`. [O16]
        match TAKEN.compare_exchange_weak(taken, taken | 1 << free, Acquire, Relaxed) {
            Ok(_) => {
                PLACE.set(Some(free as u8));
                return free as usize;
            }
            // Lost to a thread that begins or ends: retry from the new value.
            Err(now) => taken = now,
        }
    }
    share()
}

/// Has this thread count in a word that it shares with others.
fn share() -> usize {
    // Threads have their own variable somewhere else each, a page apart or more.
    let here = PLACE.with(|place| std::ptr::from_ref(place).addr());
    let mixed = (here >> 12).wrapping_mul(0x9E37_79B9) >> 16;
    let place = OWNED + mixed % OWNED;
    PLACE.set(Some(place as u8));
    place
}

struct Owner;

impl Drop for Owner {
    fn drop(&mut self) {
        let place = place();
        // What the thread still does is counted elsewhere.
        share();
        if place < OWNED {
            // Release: as in `choose`. [O16]
            TAKEN.fetch_and(!(1 << place), Release);
        }
    }
}
