//! The children of one node: a name → node table behind one word.
//!
//! The word leads to nothing, to one node, to a [`table`] of slots, or to a branch of tables. Few
//! children share a table; very many are divided among the tables of a branch by bits of their hash,
//! so that a table is never larger than one writer can [`rebuild`] without a stall.
//!
//! - C1: a name stands under a node at most once. While the word leads to one node, a second one
//!   takes an exchange of the word; in a table, a hash has one slot (T1 of [`table`]), and one
//!   exchange there decides about a name.
//! - C2: a non-empty word owns exactly one reference on its owner. `link` takes it *before* the
//!   exchange that makes the word non-empty; whose exchange makes it empty again owns that
//!   reference, and gives it back.
//! - C3: hence an owner whose word is non-empty is alive. An exchange that succeeds on the word when
//!   it is not empty proves that, and so does one that succeeds on a slot: the slot was not frozen,
//!   so the table is the one that the word leads to (T2 of [`table`]).
//! - C4: a word that is marked has a watcher. The mark survives every rebuild, and setting it is one
//!   ([`watch`]): a change either precedes it and is seen by who set it, or is made by someone who
//!   has read the mark.
//!
//! A change costs one exchange of the word or of a slot; no other child is touched, and in a table the
//! owner is not either.

mod rebuild;
mod snapshot;
mod spot;
mod table;

use rebuild::{Whole, Why};
use spot::Spot;
use table::Substitute;

use crate::node::shared::Shared;
use crate::node::watchers::What;
use crate::raw::link::{Link, Target};
use crate::raw::node::{Chain, Dead, Held, NodeRef};
use crate::raw::table::Branch;
use crate::sync::{Guard, mutated};

pub(crate) use snapshot::{Child, living};

/// The child of that name, which may be dead; or its hash, if that was needed to see that there is
/// none.
#[inline(always)]
pub(crate) fn find<'g, V>(
    owner: NodeRef<'g, V>,
    name: &[u8],
    tree: &Shared,
    guard: &'g Guard,
) -> Result<NodeRef<'g, V>, Option<u32>> {
    match owner.children.load(guard).target() {
        Target::Nothing => Err(None),
        Target::Node(only) if only.is_called(name) => Ok(only),
        Target::Node(_) => Err(None),
        Target::Table(table) => {
            let hash = tree.hash(name);
            table::find(table, hash, name, guard).ok_or(Some(hash))
        }
        Target::Branch(branch) => {
            let hash = tree.hash(name);
            find_below(branch, hash, name, guard).ok_or(Some(hash))
        }
    }
}

#[inline(never)]
fn find_below<'g, V>(
    branch: Branch<'g, V>,
    hash: u32,
    name: &[u8],
    guard: &'g Guard,
) -> Option<NodeRef<'g, V>> {
    table::find(Spot::below(branch, hash, guard).table, hash, name, guard)
}

/// The number of children behind `word`, dying ones included.
pub(crate) fn count<V>(word: Link<'_, V>, guard: &Guard) -> usize {
    match word.target() {
        Target::Nothing => 0,
        Target::Node(_) => 1,
        Target::Table(table) => table.census().count(),
        Target::Branch(branch) => {
            branch.items().iter().map(|place| count(place.load(guard), guard)).sum()
        }
    }
}

/// Has every later change of the children told to the watchers of the owner (C4).
pub(crate) fn watch<'g, V>(owner: NodeRef<'g, V>, tree: &Shared, guard: &'g Guard) -> Spare<V> {
    let mut spare = Spare(None);
    loop {
        // A write also where the mark is set: it follows or precedes that of `unwatch`.
        let word = owner.children.load_in_order(guard);
        if word.is_marked() {
            return spare;
        }
        let marked = rebuild::whole(&owner.children, word, Why::Tidy, true, guard);
        spare.take_over(marked, owner, tree);
    }
}

/// Has no later change of the children told, unless somebody sets the mark again.
pub(crate) fn unwatch<V>(owner: NodeRef<'_, V>, guard: &Guard) {
    loop {
        let word = owner.children.load(guard);
        if !word.is_marked() || owner.children.exchange(word, word.marked_if(false)) {
            return;
        }
        // Lost to a concurrent link, unlink, replace or rebuild: retry from the new word.
    }
}

/// Tells the watchers of the owner's children that these have changed.
#[cold]
fn tell<V>(owner: NodeRef<'_, V>, tree: &Shared, guard: &Guard) {
    tree.watchers.tell(owner.addr(), What::Children, guard);
}

/// The children of an owner whose tree has been closed, dead ones among them. Whoever links another one
/// later sees that the tree is closed: an exchange of the word follows the one made here, and one of
/// a slot fails, as the tables are frozen.
pub(crate) fn close<'g, V>(owner: NodeRef<'g, V>, guard: &'g Guard) -> Vec<NodeRef<'g, V>> {
    let word = owner.children.load_in_order(guard);
    rebuild::freeze(word, guard);
    nodes(word, guard)
}

/// From how many nodes on it pays to visit them in the order in which they lie in memory and not in that
/// of their hashes: for a million it takes a third of the time (`compare -- --filter teardown`).
const SORTED_ABOVE: usize = 64;

/// Every node that `word` leads to, always in the same order.
fn nodes<'g, V>(word: Link<'g, V>, guard: &'g Guard) -> Vec<NodeRef<'g, V>> {
    let mut nodes = Vec::new();
    rebuild::each_entry(word, guard, &mut |entry| nodes.extend(entry.nodes()));
    if nodes.len() > SORTED_ABOVE {
        nodes.sort_unstable_by_key(|node| node.addr());
    }
    nodes
}

/// Takes all children out at once, if they are exactly `dead`, in the order of [`close`]. With them goes
/// the word's reference on the owner (C2).
pub(crate) fn unlink_all<'g, V>(
    owner: NodeRef<'g, V>,
    dead: &[Dead<V>],
    tree: &Shared,
    guard: &'g Guard,
) -> Option<Held<V>> {
    let word = owner.children.load(guard);
    rebuild::freeze(word, guard);
    let linked = nodes(word, guard);
    let exactly =
        !dead.is_empty() && linked.iter().copied().eq(dead.iter().map(|one| one.node(guard)));
    (exactly && rebuild::clear(&owner.children, word, guard)).then(|| owner.adopt_reference(tree))
}

/// The outcome of [`link`].
#[must_use]
pub(crate) enum Linked<'g, V> {
    /// The chain is in the tree; the caller has the one reference on its last node.
    Done(NodeRef<'g, V>),
    /// Somebody else's node has that name.
    Exists,
    /// The owner is dead.
    OwnerDead,
    /// The owner has as many children as it may.
    Full,
}

/// One attempt to link.
enum Attempt {
    Done,
    Exists,
    OwnerDead,
    Full,
    /// Lost to a concurrent exchange, or the table has a successor by now: retry there.
    Lost,
}

/// References on an owner: at most one, for a word that is about to become non-empty, or from one
/// that has become empty (C2).
pub(crate) struct Spare<V>(Option<Held<V>>);

impl<V> Spare<V> {
    /// What is left, for the caller to give back.
    pub(crate) fn into_inner(self) -> Option<Held<V>> {
        self.0
    }

    /// Takes over the reference of a word that a rebuild has emptied.
    fn take_over(&mut self, rebuilt: Whole, owner: NodeRef<'_, V>, tree: &Shared) {
        if !matches!(rebuilt, Whole::Emptied) || mutated("rebuild_keeps_owner_reference") {
            return;
        }
        let held = owner.adopt_reference(tree);
        match self.0 {
            None => self.0 = Some(held),
            Some(_) => {
                let shared = held.release_shared();
                debug_assert!(shared, "another one is held");
            }
        }
    }
}

/// Links `chain` under `owner`.
///
/// # Progress
/// Lock-free: each retry follows another thread's successful exchange, or one of its own that gave
/// the table more room.
pub(crate) fn link<'g, V>(
    owner: NodeRef<'g, V>,
    chain: Chain<'g, V>,
    tree: &Shared,
    guard: &'g Guard,
) -> (Linked<'g, V>, Spare<V>) {
    let top = chain.top();
    let mut spare = Spare(None);
    let outcome = loop {
        let word = owner.children.load(guard);
        let attempt = match Spot::of(word, top.hash, guard) {
            None => link_few(owner, word, top, tree, &mut spare),
            Some(spot) => {
                let (attempt, rebuilt) = spot.link(owner, word, top, tree, guard);
                spare.take_over(rebuilt, owner, tree);
                attempt
            }
        };
        match attempt {
            Attempt::Done => {
                let leaf = chain.publish();
                if word.is_marked() {
                    tell(owner, tree, guard);
                }
                break Linked::Done(leaf);
            }
            Attempt::Exists => break Linked::Exists,
            Attempt::OwnerDead => break Linked::OwnerDead,
            Attempt::Full => break Linked::Full,
            Attempt::Lost => {}
        }
    };
    (outcome, spare)
}

/// Links `top` where there is no table yet, or makes one.
fn link_few<'g, V>(
    owner: NodeRef<'g, V>,
    word: Link<'g, V>,
    top: NodeRef<'g, V>,
    tree: &Shared,
    spare: &mut Spare<V>,
) -> Attempt {
    let few = match word.target() {
        Target::Node(only) if only.is_called(top.name()) => return Attempt::Exists,
        Target::Node(only) => Some(only),
        _ => None,
    };
    if usize::from(few.is_some()) >= tree.limits.children {
        return Attempt::Full;
    }
    if let Some(only) = few {
        rebuild::first_table(&owner.children, word, only);
        return Attempt::Lost;
    }
    if spare.0.is_none() && !mutated("link_without_owner_reference") {
        spare.0 = owner.acquire(tree);
        if spare.0.is_none() {
            return Attempt::OwnerDead;
        }
    }
    if !owner.children.exchange(word, Link::from(top).marked_if(word.is_marked())) {
        return Attempt::Lost;
    }
    // The word owns the spare reference now (C2).
    if spare.0.take().is_none() {
        owner.state.retain(); // an injected bug: too late
    }
    Attempt::Done
}

/// Puts `chain` in the place of `dead`, a dead child with the same name. The result is its leaf, with a
/// reference that is the caller's; nothing if `dead` is no longer linked.
///
/// The owner need not be held: as long as `dead` is linked the owner's word is not empty (C3).
pub(crate) fn replace<'g, V>(
    owner: NodeRef<'g, V>,
    dead: NodeRef<'g, V>,
    chain: Chain<'g, V>,
    tree: &Shared,
    guard: &'g Guard,
) -> (Option<NodeRef<'g, V>>, Spare<V>) {
    let mut spare = Spare(None);
    loop {
        let word = owner.children.load(guard);
        let outcome = match Spot::of(word, dead.hash, guard) {
            None => substitute_only(owner, word, dead, Some(chain.top())),
            Some(spot) => {
                let outcome = table::substitute(spot.table, dead, Some(chain.top()), guard);
                if let Substitute::Stale = outcome {
                    spare.take_over(spot.renew(owner, word, guard), owner, tree);
                }
                outcome
            }
        };
        match outcome {
            Substitute::Done => {
                let leaf = chain.publish();
                if word.is_marked() {
                    tell(owner, tree, guard);
                }
                return (Some(leaf), spare);
            }
            Substitute::Gone => return (None, spare),
            Substitute::Stale => {} // retry from the new word
        }
    }
}

/// Takes a dead child out. Whether it was there: otherwise a walker has put a fresh node in its place.
/// With the last child goes the word's reference on the owner (C2).
#[must_use]
pub(crate) fn unlink<'g, V>(
    owner: NodeRef<'g, V>,
    dead: NodeRef<'g, V>,
    tree: &Shared,
    guard: &'g Guard,
) -> (bool, Spare<V>) {
    let mut spare = Spare(None);
    loop {
        let word = owner.children.load(guard);
        let outcome = match Spot::of(word, dead.hash, guard) {
            None => {
                let outcome = substitute_only(owner, word, dead, None);
                if matches!(outcome, Substitute::Done) && !mutated("unlink_keeps_owner_reference") {
                    spare.take_over(Whole::Emptied, owner, tree);
                }
                outcome
            }
            Some(spot) => {
                let (outcome, rebuilt) = spot.unlink(owner, word, dead, tree, guard);
                spare.take_over(rebuilt, owner, tree);
                outcome
            }
        };
        if matches!(outcome, Substitute::Done) && word.is_marked() {
            tell(owner, tree, guard);
        }
        match outcome {
            Substitute::Done => return (true, spare),
            Substitute::Gone => return (false, spare),
            Substitute::Stale => {} // retry from the new word
        }
    }
}

/// Puts `new` in the place of an only child, or nothing.
fn substitute_only<'g, V>(
    owner: NodeRef<'g, V>,
    word: Link<'g, V>,
    dead: NodeRef<'g, V>,
    new: Option<NodeRef<'g, V>>,
) -> Substitute {
    match word.target() {
        Target::Node(only) if only == dead => {
            let new = new.map_or(Link::NOTHING, Link::from).marked_if(word.is_marked());
            match owner.children.exchange(word, new) {
                true => Substitute::Done,
                false => Substitute::Stale,
            }
        }
        _ => Substitute::Gone,
    }
}
