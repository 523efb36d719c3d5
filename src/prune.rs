//! The way up: a reference is given back, and what nobody refers to any more goes.
//!
//! The mirror image of [`walk`](crate::walk). A node whose count reaches zero is unlinked from its
//! parent and retired; if that empties the parent's children word, the word's reference on the
//! parent is given back next, and so on upwards, in a loop.

use crate::node::children::{self, Spare};
use crate::node::shared::Shared;
use crate::node::slot;
use crate::node::state::Release;
use crate::raw::node::{Dead, Held, NodeRef};
use crate::sync::{Guard, mutated};

/// How many nodes a cascade prunes under one epoch: a long one does not hold back reclamation, unless it
/// runs inside an operation that does, as a destructor's may.
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

/// A node on the way down of [`take_down`]: what is left to do there.
struct Level<V> {
    node: Held<V>,
    /// The living children that were not visited yet.
    children: Vec<Held<V>>,
    /// Those that died since, in the order in which they are linked.
    dead: Vec<Dead<V>>,
}

impl<V> Level<V> {
    fn new(node: Held<V>, guard: &Guard) -> Self {
        let linked = children::close(node.node_under(guard), guard);
        // A dead child holds no value, and nobody can give it one.
        let tree = node.tree();
        let children = linked.iter().rev().filter_map(|child| child.acquire(tree)).collect();
        Level { node, children, dead: Vec::new() }
    }

    /// Unlinks the children that have died: all at once, if they are all there are.
    fn unlink_dead(&mut self, guard: &Guard) {
        let dead = std::mem::take(&mut self.dead);
        let (owner, tree) = (self.node.node_under(guard), self.node.tree());
        let Some(spare) = children::unlink_all(owner, &dead, tree, guard) else {
            let parents = dead.iter().filter_map(|one| prune_one(one.node(guard), tree, guard));
            return parents.for_each(release);
        };
        tree.forget_nodes(dead.len());
        dead.iter().for_each(|one| one.node(guard).retire(guard));
        release(spare);
    }
}

/// Empties every cell at and below `root`, whose tree has been closed. What has no handle goes with
/// that, and where nothing of a node's children is left they are unlinked all at once.
pub(crate) fn take_down<V: Send + Sync + 'static>(root: &Held<V>) {
    let mut levels = vec![Level::new(root.retain(), &Guard::pin())];
    while let Some(level) = levels.last_mut() {
        // Pinned for one node at a time: a large tree does not hold back reclamation.
        let guard = Guard::pin();
        if let Some(child) = level.children.pop() {
            levels.push(Level::new(child, &guard));
            continue;
        }
        level.unlink_dead(&guard);
        slot::seal(&level.node, &guard);
        let node = levels.pop().map(|level| level.node);
        match levels.last_mut() {
            Some(above) => {
                above.dead.extend(node.and_then(|node| node.release(&guard)).map(Dead::new))
            }
            None => node.into_iter().for_each(release),
        }
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
