//! The number of nodes of a tree.
//!
//! Where there is no limit, threads count in different words, so that those that create and prune in
//! different parts of a tree share nothing. A limit has to be compared with the exact number, so with
//! one all count in one word.

use crate::sync::{Counter, Relaxed};

/// How many words threads count in; a power of two.
const STRIPES: usize = 16;

/// Alone on its lines of cache: most processors fetch them in pairs.
#[repr(align(128))]
struct Stripe(Counter);

/// A count of nodes; the root is one.
pub(crate) struct Tally(Box<[Stripe]>);

impl Tally {
    /// A count in one word, if it is to be `exact`, or in several.
    pub(crate) fn new(exact: bool) -> Self {
        let stripes = if exact { 1 } else { STRIPES };
        Tally((0..stripes).map(|at| Stripe(Counter::new(usize::from(at == 0)))).collect())
    }

    /// The word that this thread counts in.
    #[inline]
    fn own(&self) -> &Counter {
        thread_local! {
            static HERE: u8 = const { 0 };
        }
        // Threads have their own variable somewhere else each, a page apart or more.
        let here = HERE.with(|here| std::ptr::from_ref(here).addr());
        let mixed = (here >> 12).wrapping_mul(0x9E37_79B9) >> 16;
        &self.0[mixed & (self.0.len() - 1)].0
    }

    #[inline]
    pub(crate) fn add(&self, n: usize) {
        // Relaxed, here and below: a count that publishes nothing.
        self.own().fetch_add(n, Relaxed);
    }

    /// Counts `n` more unless that makes more than `limit`. The count is exact.
    pub(crate) fn add_within(&self, n: usize, limit: usize) -> bool {
        let count = self.own();
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
        self.own().fetch_sub(n, Relaxed);
    }

    /// The nodes: each word at a moment of its own, so what comes and goes meanwhile may be counted twice
    /// or, with what stays, not at all.
    pub(crate) fn sum(&self) -> usize {
        let counts = self.0.iter().map(|stripe| stripe.0.load(Relaxed));
        let sum = counts.fold(0, usize::wrapping_add).cast_signed();
        // Below the root's one where only the releases of nodes were seen that other words count.
        sum.max(1).cast_unsigned()
    }
}
