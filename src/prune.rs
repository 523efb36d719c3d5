//! The way up: a reference is given back, and what nobody refers to any more goes.
//!
//! The mirror image of [`walk`](crate::walk). A node whose count reaches zero is unlinked from its
//! parent and retired; if that empties the parent's children word, the word's reference on the
//! parent is given back next, and so on upwards, in a loop.

use crate::node::children::{self, Spare};
use crate::node::shared::Shared;
use crate::node::state::Release;
use crate::raw::node::{Held, NodeRef};
use crate::sync::{Guard, mutated};

/// How many nodes a cascade prunes under one epoch: a long one does not hold back reclamation.
const REPIN_EVERY: usize = 64;

/// Gives a reference back and prunes what that leaves without any.
///
/// # Progress
/// Wait-free but for contention on one counter if other references remain; else lock-free.
#[inline]
pub(crate) fn release<V>(held: Held<V>) {
    if !held.release_shared() {
        release_last(held);
    }
}

/// Gives back what was the only reference a moment ago.
fn release_last<V>(held: Held<V>) {
    if mutated("prune_pins_late") {
        return pin_late(held);
    }
    // Pinned before the count can reach zero: see `State::release`.
    let mut guard = Guard::pin();
    let mut held = Some(held);
    let mut pruned = 0;
    while let Some(reference) = held.take() {
        if pruned > 0 && pruned % REPIN_EVERY == 0 {
            // The reference keeps the node and its ancestors readable meanwhile.
            guard.repin();
        }
        let tree = reference.tree_under(&guard);
        if let Some(dead) = reference.release(&guard) {
            held = prune_one(dead, tree, &guard);
            pruned += 1;
        }
    }
}

/// Unlinks and retires a dead node. The result is the parent's reference that went with its last
/// child.
fn prune_one<V>(dead: NodeRef<'_, V>, tree: &Shared, guard: &Guard) -> Option<Held<V>> {
    let Some(parent) = dead.parent() else {
        dead.retire_root(guard);
        return None;
    };
    let (unlinked, spare) = children::unlink(parent, dead, tree, guard);
    dead.retire(guard);
    // A node's room goes to the one that took its place.
    if unlinked || mutated("room_of_replaced_given_back") {
        tree.forget_nodes(1);
    }
    spare.into_inner()
}

/// Gives back a reference that a change of the children left over.
pub(crate) fn give_back<V>(spare: Spare<V>) {
    if let Some(held) = spare.into_inner() {
        release(held);
    }
}

/// An injected bug: what [`release_last`] must not do.
#[cold]
fn pin_late<V>(held: Held<V>) {
    if let Release::Died = held.node().state.release() {
        let guard = Guard::pin();
        let tree = held.tree_under(&guard);
        if let Some(parent) = prune_one(held.node_under(&guard), tree, &guard) {
            release(parent);
        }
    }
}
