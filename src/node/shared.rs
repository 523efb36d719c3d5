//! What all nodes of one tree share.

use std::hash::{BuildHasher, Hasher};

use crate::limits::Limits;
use crate::sync::{AtomicBool, Counter, Relaxed, Seed, hash_bits};

/// One per tree; freed with its root.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    hasher: Seed,
    /// Nodes that exist or are about to: counted before they are linked, given back after.
    nodes: Counter,
    closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Self {
        Shared {
            limits: limits.clamped(),
            hasher: Seed::default(),
            nodes: Counter::new(1),
            closed: AtomicBool::new(false),
        }
    }

    /// The hash of a name, with a seed of this tree's own: whoever chooses names cannot choose their
    /// hashes.
    #[inline]
    pub(crate) fn hash(&self, name: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32 & hash_bits()
    }

    /// Counts `n` more nodes, if the limit allows.
    pub(crate) fn reserve_nodes(&self, n: usize) -> bool {
        // Relaxed: a count that publishes nothing; the limit needs only the atomicity.
        let mut nodes = self.nodes.load(Relaxed);
        while n <= self.limits.nodes.saturating_sub(nodes) {
            match self.nodes.compare_exchange_weak(nodes, nodes + n, Relaxed, Relaxed) {
                Ok(_) => return true,
                // Lost to a concurrent reservation or release: retry from the new value.
                Err(now) => nodes = now,
            }
        }
        false
    }

    pub(crate) fn forget_nodes(&self, n: usize) {
        // Relaxed: as in `reserve_nodes`.
        self.nodes.fetch_sub(n, Relaxed);
    }

    pub(crate) fn nodes(&self) -> usize {
        // Relaxed: a figure for people and limits.
        self.nodes.load(Relaxed)
    }

    /// Says that the `Tree` is gone. The caller then writes to every word through which a value
    /// could be stored (`load_in_order`, `touch`, `exchange`), and so releases this to all who do.
    pub(crate) fn close(&self) {
        // Relaxed: the writes that follow are AcqRel.
        self.closed.store(true, Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: a thread whose exchange followed the closing thread's write to the same word has
        // acquired this already; for one that preceded it, the closing thread finds the value. [O9]
        self.closed.load(Relaxed)
    }
}
