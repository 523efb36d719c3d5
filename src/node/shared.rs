//! What all nodes of one tree share.

use std::hash::{BuildHasher, Hasher};

use crate::limits::Limits;
use crate::node::tally::Tally;
use crate::node::watchers::Watchers;
use crate::sync::{Acquire, AtomicBool, Relaxed, Release, Seed, hash_bits};

/// One per tree; freed with its root.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    hasher: Seed,
    /// Nodes that exist or are about to: counted before they are linked, given back after.
    nodes: Tally,
    closed: AtomicBool,
    swept: AtomicBool,
    pub(crate) watchers: Watchers,
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Self {
        Shared {
            limits: limits.clamped(),
            hasher: Seed::default(),
            nodes: Tally::new(limits.nodes != usize::MAX),
            closed: AtomicBool::new(false),
            swept: AtomicBool::new(false),
            watchers: Watchers::new(),
        }
    }

    /// The hash of a name, with a seed of this tree's own: which names collide differs from tree to tree.
    /// It is fast, not cryptographic; names that do collide cost time linear in their number.
    #[inline]
    pub(crate) fn hash(&self, name: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32 & hash_bits()
    }

    /// Whether there is a bound on the children of a node.
    #[inline]
    pub(crate) fn limits_children(&self) -> bool {
        self.limits.children < usize::MAX
    }

    /// Counts `n` more nodes, if the limit allows.
    #[inline]
    pub(crate) fn reserve_nodes(&self, n: usize) -> bool {
        match self.limits.nodes {
            usize::MAX => {
                self.nodes.add(n);
                true
            }
            limit => self.nodes.add_within(n, limit),
        }
    }

    #[inline]
    pub(crate) fn forget_nodes(&self, n: usize) {
        self.nodes.sub(n);
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes.sum()
    }

    /// Says that the `Tree` is gone. The caller then writes to every word through which a value
    /// could be stored (`load_in_order`, `seal`, `exchange`), and so releases this to all who do.
    pub(crate) fn close(&self) {
        // Relaxed: the writes that follow are AcqRel.
        self.closed.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: who reads a word that the closing thread has written has acquired this already; the
        // exchange of one who read it before fails, or comes first, and the closing thread finds what
        // it made. [O9]
        self.closed.load(Relaxed)
    }

    /// Says that every cell is empty, for good. The caller tells all watchers next.
    pub(crate) fn set_swept(&self) {
        // Release: all is empty; pairs with Acquire in `is_swept`. [O17]
        self.swept.store(true, Release);
    }

    pub(crate) fn is_swept(&self) -> bool {
        // Acquire: as in `set_swept`. [O17]
        self.swept.load(Acquire)
    }
}
