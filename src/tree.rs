//! The tree: its root, and its end.

use std::fmt;

use crate::anchor::Anchor;
use crate::authority::{Denied, Narrow, Rights};
use crate::limits::Limits;
use crate::node::shared::Shared;
use crate::prune;
use crate::raw::node::Held;
use crate::sync::Guard;

/// A tree of anchors; owns the root.
///
/// Dropping it empties every cell and refuses later stores; the [`Anchor`]s that are still held go on
/// naming their nodes, and the last of them frees what is left.
///
/// # Examples
/// ```
/// use killick::{Limits, StoreErrorKind, Tree};
///
/// let tree = Tree::new(Limits::default());
/// let anchor = tree.root().walk("a/b")?;
/// anchor.store(1, true).unwrap();
/// drop(tree);
/// assert!(anchor.load().value.is_none());
/// let refused = anchor.store(2, true).unwrap_err();
/// assert_eq!(refused.kind, StoreErrorKind::Closed);
/// assert_eq!(refused.value, Some(2)); // the caller gets it back
/// # Ok::<(), killick::WalkError>(())
/// ```
pub struct Tree<V: Send + Sync + 'static> {
    root: Anchor<V>,
}

impl<V: Send + Sync + 'static> Tree<V> {
    /// An empty tree with its own bounds and its own seed for hashing names. It cannot fail: bounds that a
    /// node's layout does not allow are lowered ([`limits`](Self::limits)).
    ///
    /// # Complexity
    /// O(1), four allocations, some 6 KiB, or 2 with a limit of nodes.
    pub fn new(limits: Limits) -> Self {
        Tree { root: Anchor::new(Held::new_root(Shared::new(limits))) }
    }

    /// The anchor at the root: a new handle, which like any other may outlive the tree.
    ///
    /// # Progress
    /// Wait-free, O(1): one reference is taken.
    pub fn root(&self) -> Anchor<V> {
        self.root.clone()
    }

    /// The bounds in force: those the tree was made with, as far as a node's layout allows. They never
    /// change.
    ///
    /// # Progress
    /// Wait-free, O(1).
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree};
    /// let tree = Tree::<()>::new(Limits { name_bytes: 1000, ..Limits::default() });
    /// assert_eq!(tree.limits().name_bytes, 255);
    /// ```
    pub fn limits(&self) -> Limits {
        self.shared().limits
    }

    /// How many nodes there are, the root included: at least 1. Exact when no other thread creates or
    /// prunes; otherwise those that are about to be linked and those not quite unlinked count as well.
    ///
    /// Without a limit of nodes, threads count apart, and one that is created by one thread and pruned by
    /// another during the call may be counted twice or taken off without having been counted.
    ///
    /// # Progress
    /// Wait-free.
    ///
    /// # Complexity
    /// O(1): with a limit one load, without 32.
    ///
    /// # Ordering
    /// None: it orders nothing that the caller does before or after it.
    pub fn nodes(&self) -> usize {
        self.shared().nodes()
    }

    /// Uses the anchor in a [`Narrow`] of this tree, if `needed` are granted. Whoever has the tree has all
    /// of it: it is for programs that offer more at their anchors than [`Narrow`] does. Revocation waits
    /// until `using` returns.
    ///
    /// # Progress
    /// As every method of `Narrow`.
    ///
    /// # Errors
    /// [`Denied::Revoked`], [`Denied::Right`].
    ///
    /// # Panics
    /// If it is of another tree.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Allowance, Denied, Limits, Right, Rights, Tree};
    /// # let tree = Tree::<u32>::new(Limits::default());
    /// let (narrow, grant) = tree.root().attenuate(Right::Ls.into(), Allowance::default());
    /// assert!(tree.open(&narrow, Rights::NONE, |anchor| *anchor == tree.root())?);
    /// let stored = tree.open(&narrow, Right::Store.into(), |anchor| anchor.store(1, true));
    /// assert_eq!(stored.unwrap_err(), Denied::Right(Right::Store));
    /// grant.revoke();
    /// assert_eq!(tree.open(&narrow, Rights::NONE, |_| ()), Err(Denied::Revoked));
    /// # Ok::<(), Denied>(())
    /// ```
    pub fn open<R>(
        &self,
        narrow: &Narrow<V>,
        needed: Rights,
        using: impl FnOnce(&Anchor<V>) -> R,
    ) -> Result<R, Denied> {
        narrow.with(needed, |anchor| {
            let same = std::ptr::eq(anchor.held().tree(), self.shared());
            assert!(same, "the anchor is of another tree");
            using(anchor)
        })
    }

    fn shared(&self) -> &Shared {
        self.root.held().tree()
    }
}

impl<V: Send + Sync + 'static> Drop for Tree<V> {
    /// Empties every cell, for good: a store from here on is refused as
    /// [`Closed`](crate::StoreErrorKind::Closed), and watches end. Nodes without a handle go with that;
    /// handles that are left stay usable, and walks from them still create nodes.
    ///
    /// Other threads may go on meanwhile. They see some cells empty already and others not; when this
    /// returns all are.
    ///
    /// # Progress
    /// Lock-free: a step is done again only after another thread's change of the same node.
    ///
    /// # Complexity
    /// O(n) for n nodes, and O(k log k) for those with more than 64 children, k of them; without
    /// recursion. Needs memory for one handle per sibling on the way.
    fn drop(&mut self) {
        self.shared().close();
        prune::take_down(self.root.held());
        self.shared().set_swept();
        self.shared().watchers.tell_all(&Guard::pin());
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for Tree<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = self.limits();
        f.debug_struct("Tree").field("nodes", &self.nodes()).field("limits", &limits).finish()
    }
}
