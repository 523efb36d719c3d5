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
mod table;

use rebuild::{Whole, Why};
use table::{Insert, Substitute};

use crate::node::shared::Shared;
use crate::node::watchers::What;
use crate::raw::link::{AtomicLink, Link, Target};
use crate::raw::node::{Chain, Dead, Held, NodeRef};
use crate::raw::table::{Branch, Census, Table};
use crate::sync::{FAN_BITS, Guard, TABLE_MAX, mutated};

pub(crate) use snapshot::{Child, living};

/// A table of more slots than this is replaced by a smaller one when a sixteenth of them is in use: far
/// fewer than one that was cleaned has, or each name that comes and goes would rebuild it.
const SMALL: usize = 128;

/// A branch whose children are this few, with none in one of its tables, becomes a table.
const JOIN: usize = TABLE_MAX / 8;

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

/// The table for one hash.
struct Spot<'g, V> {
    table: Table<'g, V>,
    /// Where it hangs, if that is not the word of the node.
    part: Option<Part<'g, V>>,
}

/// Where a table hangs in a branch.
struct Part<'g, V> {
    /// The branch that the node's word leads to.
    top: Branch<'g, V>,
    place: &'g AtomicLink<V>,
    frozen: bool,
    shift: u32,
}

impl<'g, V> Spot<'g, V> {
    /// The table for `hash` behind `word`, if it leads to any.
    #[inline]
    fn of(word: Link<'g, V>, hash: u32, guard: &'g Guard) -> Option<Self> {
        match word.target() {
            Target::Nothing | Target::Node(_) => None,
            Target::Table(table) => Some(Spot { table, part: None }),
            Target::Branch(branch) => Some(Self::below(branch, hash, guard)),
        }
    }

    fn below(top: Branch<'g, V>, hash: u32, guard: &'g Guard) -> Self {
        let (mut branch, mut shift) = (top, 0);
        loop {
            let place = &branch.items()[rebuild::place(hash, shift)];
            let word = place.load(guard);
            shift += FAN_BITS;
            match word.target() {
                Target::Branch(below) => branch = below,
                Target::Table(table) => {
                    let part = Part { top, place, frozen: word.is_marked(), shift };
                    return Spot { table, part: Some(part) };
                }
                Target::Nothing | Target::Node(_) => unreachable!("a place leads to a table"),
            }
        }
    }

    /// Replaces a table that is frozen or has no room, or the whole that it is a part of.
    fn renew(&self, owner: NodeRef<'g, V>, word: Link<'g, V>, guard: &'g Guard) -> Whole {
        let why = match &self.part {
            Some(part) if !part.frozen => {
                rebuild::part(part.place, self.table, part.shift, Why::NoRoom, guard);
                return Whole::Done;
            }
            Some(_) => Why::Tidy,
            None => Why::NoRoom,
        };
        rebuild::whole(&owner.children, word, why, false, guard)
    }

    /// Replaces a table that has `left` children, if these are few (T3).
    #[inline]
    fn tidy(
        &self,
        owner: NodeRef<'g, V>,
        word: Link<'g, V>,
        left: usize,
        guard: &'g Guard,
    ) -> Whole {
        let slots = self.table.slots().len();
        let roomy = slots > SMALL && left < slots / 16;
        if left > 0 && !roomy {
            return Whole::Done;
        }
        self.tidy_now(owner, word, left, roomy, guard)
    }

    #[cold]
    fn tidy_now(
        &self,
        owner: NodeRef<'g, V>,
        word: Link<'g, V>,
        left: usize,
        roomy: bool,
        guard: &'g Guard,
    ) -> Whole {
        let whole = || rebuild::whole(&owner.children, word, Why::Tidy, false, guard);
        match &self.part {
            None if left == 0 || roomy => whole(),
            Some(part) if left == 0 && is_few(part.top, guard) => whole(),
            Some(part) if roomy => {
                rebuild::part(part.place, self.table, part.shift, Why::Tidy, guard);
                Whole::Done
            }
            _ => Whole::Done,
        }
    }
}

/// Whether a branch has so few children that one table should hold them.
fn is_few<V>(branch: Branch<'_, V>, guard: &Guard) -> bool {
    fn add<V>(branch: Branch<'_, V>, sum: &mut usize, guard: &Guard) {
        for place in branch.items() {
            match place.load(guard).target() {
                // Two threads that unlink the last children of two tables both come here, and at least
                // one sees the other's count: hence "in order".
                Target::Table(table) => *sum += table.census().count_in_order(),
                Target::Branch(below) => add(below, sum, guard),
                Target::Nothing | Target::Node(_) => {}
            }
            if *sum > JOIN {
                return;
            }
        }
    }
    let mut sum = 0;
    add(branch, &mut sum, guard);
    sum <= JOIN
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

/// Every node that `word` leads to.
fn nodes<'g, V>(word: Link<'g, V>, guard: &'g Guard) -> Vec<NodeRef<'g, V>> {
    let mut nodes = Vec::new();
    rebuild::each_entry(word, guard, &mut |entry| nodes.extend(entry.nodes()));
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

impl<'g, V> Spot<'g, V> {
    /// The census of all children of the node, if there is a limit to keep.
    fn limited(&self, tree: &Shared) -> Option<&'g Census> {
        let census = match &self.part {
            Some(part) => part.top.head(),
            None => self.table.census(),
        };
        tree.limits_children().then_some(census)
    }

    fn link(
        &self,
        owner: NodeRef<'g, V>,
        word: Link<'g, V>,
        top: NodeRef<'g, V>,
        tree: &Shared,
        guard: &'g Guard,
    ) -> (Attempt, Whole) {
        let limited = self.limited(tree);
        if limited.is_some_and(|census| !census.reserve(tree.limits.children)) {
            let found = table::find(self.table, top.hash, top.name(), guard);
            return (found.map_or(Attempt::Full, |_| Attempt::Exists), Whole::Done);
        }
        let census = self.table.census();
        census.come();
        let attempt = table::insert(self.table, top, guard);
        if let Insert::Done = attempt {
            return (Attempt::Done, Whole::Done);
        }
        limited.into_iter().for_each(Census::give_back);
        let left = census.go();
        match attempt {
            Insert::Stale => (Attempt::Lost, self.renew(owner, word, guard)),
            _ => (Attempt::Exists, self.tidy(owner, word, left, guard)),
        }
    }

    fn unlink(
        &self,
        owner: NodeRef<'g, V>,
        word: Link<'g, V>,
        dead: NodeRef<'g, V>,
        tree: &Shared,
        guard: &'g Guard,
    ) -> (Substitute, Whole) {
        let census = self.table.census();
        let left = census.go();
        let outcome = table::substitute(self.table, dead, None, guard);
        if let Substitute::Done = outcome {
            // Only now, and not where a walker has put a fresh node in the dead one's place.
            let limited = self.limited(tree);
            limited.into_iter().for_each(Census::give_back);
            return (outcome, self.tidy(owner, word, left, guard));
        }
        census.come();
        if mutated("room_of_replaced_child_given_back") && matches!(outcome, Substitute::Gone) {
            self.limited(tree).into_iter().for_each(Census::give_back);
        }
        match outcome {
            Substitute::Stale => (outcome, self.renew(owner, word, guard)),
            _ => (outcome, Whole::Done),
        }
    }
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
