//! The register in a node: one value or nothing, and the revision of what it holds.
//!
//! A change is one exchange of the cell word against the content it was decided upon, so the changes
//! of one cell are totally ordered and revisions number them. A value owns one reference on its node
//! (N1), taken before the value is visible and given back after it is gone. The thread that changes
//! the cell holds a reference of its own meanwhile, so neither step kills the node.

use crate::node::watchers::What;
use crate::raw::node::Held;
use crate::raw::value::{Content, Fresh};
use crate::sync::{Guard, mutated};

/// Why a change was not made, and what the cell held instead.
pub(crate) struct Refused<V> {
    pub(crate) why: Refusal,
    pub(crate) value: Option<V>,
    pub(crate) revision: u64,
}

#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    /// The content did not satisfy the caller's condition.
    Condition,
    /// The tree is closed.
    Closed,
}

/// Replaces the cell's content by `value`, if `condition` holds for it.
///
/// The result is what the cell held and its revision after. Nothing replacing nothing is no change.
///
/// # Progress
/// Lock-free: each retry follows another thread's change of the same cell.
pub(crate) fn update<'g, V: Send + Sync + 'static>(
    node: &Held<V>,
    value: Option<V>,
    guard: &'g Guard,
    condition: impl Fn(Content<'g, V>) -> bool,
) -> Result<(Content<'g, V>, u64), Refused<V>> {
    let cell = &node.node_under(guard);
    let mut fresh = Fresh::new(value);
    let fills = !fresh.is_empty();
    let mut spare = false; // a reference on the node for the value to own
    let outcome = loop {
        let current = cell.cell.load(guard);
        let revision = current.revision();
        let why = match () {
            () if !condition(current) => Some(Refusal::Condition),
            () if fills && node.tree().is_closed() => Some(Refusal::Closed),
            () => None,
        };
        if let Some(why) = why {
            break Err(Refused { why, value: fresh.into_inner(), revision });
        }
        if !fills && current.is_empty() {
            break Ok((current, revision));
        }
        if fills && current.is_empty() && !spare && !mutated("store_without_node_reference") {
            cell.state.retain();
            spare = true;
        }
        match cell.cell.exchange(current, fresh, guard) {
            Ok(()) => {
                // The reference moves with the value: into the cell, out of it, or on to the next.
                match (current.is_empty(), fills) {
                    (true, true) if !spare => cell.state.retain(), // an injected bug: too late
                    (true, true) => spare = false,
                    (false, false) => spare = true,
                    _ => {}
                }
                if current.is_watched() {
                    tell(node, current.is_empty() == fills, guard);
                }
                break Ok((current, revision + 1));
            }
            // Lost to a concurrent change: retry from the new content.
            Err(back) => fresh = back,
        }
    };
    if spare {
        give_back(node);
    }
    outcome
}

/// Tells the watchers of a cell, and those of the children that it is among if it was `toggled`
/// between empty and full.
#[cold]
fn tell<V: Send + Sync + 'static>(node: &Held<V>, toggled: bool, guard: &Guard) {
    let (cell, watchers) = (node.node_under(guard), &node.tree().watchers);
    let parent = cell.parent();
    let tell = |toggled| {
        if let Some(parent) = parent.filter(|_| toggled) {
            watchers.tell(parent.addr(), What::Children, guard);
        }
        watchers.tell(cell.addr(), What::Cell, guard)
            || parent.is_some_and(|parent| parent.children.load(guard).is_marked())
    };
    if !tell(toggled) {
        // The last watcher is gone. One that has come meanwhile and found the mark is told here; one
        // that comes later sets it again.
        cell.cell.watch(false, guard);
        if !mutated("unmark_for_good") && tell(false) {
            cell.cell.watch(true, guard);
            tell(true);
        }
    }
}

/// Gives back the value's reference on a node that the caller holds too.
fn give_back<V>(node: &Held<V>) {
    let shared = node.release_shared();
    debug_assert!(shared, "the caller holds a reference");
}

/// Empties the cell of a tree that has just been closed, for good: a store that decided before that
/// fails, as the word has changed, and one that decides later sees that the tree is closed.
pub(crate) fn seal<V: Send + Sync + 'static>(node: &Held<V>, guard: &Guard) {
    loop {
        let current = node.node().cell.load(guard);
        if current.is_empty() {
            if node.node().cell.seal(current) {
                return;
            }
        } else if let Ok((before, _)) = update(node, None, guard, |_| true)
            && (!before.is_empty() || mutated("seal_trusts_another_clear"))
        {
            return;
        }
        // Emptied by another thread meanwhile, and not written here yet.
    }
}
