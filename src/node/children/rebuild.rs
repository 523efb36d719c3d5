//! Growing, cleaning, shrinking, splitting, joining and marking: one mechanism.
//!
//! Slots are never unbound and never added. When a table has no slot left for a hash, or has become
//! too large for what it holds, all its slots are frozen, what they hold is put into a successor, and
//! the word that leads to it is exchanged. Whoever finds a frozen slot in its way does the same;
//! each builds a successor of its own, one exchange wins, and the others are freed. The children are
//! in the frozen slots until that exchange and in the successor from then on, dead ones too: their
//! pruners look for them there.
//!
//! ```text
//!   nothing ─── one node ─── table of up to TABLE_MAX slots ─── branch ─┬─ table
//!                                                                       ├─ table
//!                                                                       └─ branch …
//! ```
//! A branch divides the children by FAN_BITS bits of their hash. Each of its places always leads to a
//! table or another branch, which is rebuilt alone. So no writer moves more than one table's
//! children, however many there are; the exceptions rebuild all that a node's word leads to: a
//! branch whose children have become few, a list of a large node that finds no quiet moment
//! ([`ls`](crate::ls)), and the first watcher of a node.
//!
//! - R1: the word of a place is frozen before the slots behind it. A place that is frozen changes no
//!   more: the word of the node that owns it is what has to be exchanged.
//! - R2: what is frozen is the same for all who see it; a successor holds exactly the nodes that
//!   were linked when the last slot was frozen, and still are when it is published.
//! - R3: a successor has a slot left for one more hash, or the exchange that is to follow would never
//!   come: a table that held no tomb grows.

use super::table;
use crate::raw::block::Fan;
use crate::raw::link::{AtomicLink, Link, Target};
use crate::raw::node::NodeRef;
use crate::raw::table::{Branch, Census, Entry, Holds, Table};
use crate::sync::{FAN_BITS, Guard, TABLE_MAX, mutated};

/// The number of places of a branch.
pub(super) const FAN: usize = 1 << FAN_BITS;

/// Which place of a branch `shift` bits down is that of `hash`.
#[inline]
pub(super) fn place(hash: u32, shift: u32) -> usize {
    (hash >> shift) as usize % FAN
}

/// Freezes all that `word` leads to (R1).
pub(super) fn freeze<V>(word: Link<'_, V>, guard: &Guard) {
    match word.target() {
        Target::Nothing | Target::Node(_) => {}
        Target::Table(table) => {
            for slot in table.slots() {
                slot.freeze(guard);
            }
        }
        // As deep as the hash has bits.
        Target::Branch(branch) => {
            for place in branch.items() {
                freeze(place.freeze(guard), guard);
            }
        }
    }
}

/// Calls `visit` for each entry that `word` leads to.
pub(super) fn each_entry<'g, V>(
    word: Link<'g, V>,
    guard: &'g Guard,
    visit: &mut impl FnMut(Entry<'g, V>),
) {
    match word.target() {
        Target::Nothing => {}
        Target::Node(node) => visit(node.into()),
        Target::Table(table) => {
            for slot in table.slots() {
                visit(slot.load(guard).thawed());
            }
        }
        Target::Branch(branch) => {
            for place in branch.items() {
                each_entry(place.load(guard), guard, visit);
            }
        }
    }
}

/// What a successor has to hold.
struct Load<'g, V> {
    /// With the hash of each.
    entries: Vec<(u32, Entry<'g, V>)>,
    nodes: usize,
    /// How many slots were bound to a hash without a node.
    tombs: usize,
}

impl<V> Default for Load<'_, V> {
    fn default() -> Self {
        Load { entries: Vec::new(), nodes: 0, tombs: 0 }
    }
}

impl<'g, V> Load<'g, V> {
    /// All that `word` leads to, which is frozen.
    fn of(word: Link<'g, V>, guard: &'g Guard) -> Self {
        let mut load = Load::default();
        if let Target::Table(table) = word.target() {
            load.entries.reserve(table.slots().len());
        }
        each_entry(word, guard, &mut |entry| match entry.holds() {
            Holds::Empty => {}
            Holds::Tomb(_) => load.tombs += 1,
            Holds::Node(node) => load.push(node.hash, entry),
            Holds::List(list) => load.push(*list.head(), entry),
        });
        load
    }

    fn push(&mut self, hash: u32, entry: Entry<'g, V>) {
        self.nodes += match entry.holds() {
            Holds::List(list) => list.nodes().len(),
            _ => 1,
        };
        self.entries.push((hash, entry));
    }

    /// The one node, if there is one alone.
    fn only(&self) -> Option<NodeRef<'g, V>> {
        match self.entries[..] {
            [(_, entry)] => match entry.holds() {
                Holds::Node(node) => Some(node),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Why something is rebuilt.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Why {
    /// A hash has no slot left.
    NoRoom,
    /// Few children are left, or nothing is wrong with it.
    Tidy,
}

impl Why {
    /// How many slots the successor of a table of `slots` should have.
    fn slots(self, load: &Load<'_, impl Sized>, slots: usize) -> usize {
        let used = load.entries.len();
        let enough = used + used / 2 + 1;
        match self {
            // As many again, if it is nearly full of nodes, and always if it has no tombs (R3).
            Why::NoRoom if load.tombs == 0 || enough >= slots => slots + slots.div_ceil(2),
            // Room for names that come and go: each leaves a tomb.
            Why::NoRoom => (2 * used + (2 * used).min(128) + 96).min(TABLE_MAX),
            Why::Tidy => enough.min(TABLE_MAX),
        }
    }
}

/// A table, or a branch, `shift` bits down, for that many slots or more.
fn build<'g, V>(load: Load<'g, V>, slots: usize, shift: u32) -> Link<'g, V> {
    let mut slots = slots.max(load.entries.len() + 1); // R3
    // More hashes than that share so many bits in no table: there are no more bits to tell by.
    while slots <= TABLE_MAX || shift >= u32::BITS {
        let table = Table::new(slots, load.nodes);
        if load.entries.iter().all(|&(hash, entry)| table::fill(table, hash, entry)) {
            return table.into();
        }
        table.free();
        slots += slots.div_ceil(2);
    }
    split(load, shift)
}

/// A branch, `shift` bits down.
fn split<'g, V>(load: Load<'g, V>, shift: u32) -> Link<'g, V> {
    let census = Census::new(load.nodes as u32);
    let mut parts: Vec<_> = (0..FAN).map(|_| Load::default()).collect();
    for (hash, entry) in load.entries {
        parts[place(hash, shift)].push(hash, entry);
    }
    let places = parts.into_iter().map(|part| {
        let slots = Why::Tidy.slots(&part, 0);
        AtomicLink::new(build(part, slots, shift + FAN_BITS))
    });
    Branch::alloc(census, Fan, places).into()
}

/// Exchanges the word in `place`, and retires the blocks behind the old one or frees those behind the
/// new one. Lists go with the nodes, from the one to the other.
fn publish<V>(place: &AtomicLink<V>, old: Link<'_, V>, new: Link<'_, V>, guard: &Guard) -> bool {
    let done = place.exchange(old, new);
    if done {
        each_block(old, guard, &mut |block| match block {
            Block::Table(table) => table.retire(guard),
            Block::Branch(branch) => branch.retire(guard),
        });
    } else {
        each_block(new, guard, &mut |block| match block {
            Block::Table(table) => table.free(),
            Block::Branch(branch) => branch.free(),
        });
    }
    done
}

/// Puts nothing in the place of what is frozen, lists included; whether the word still led there.
pub(super) fn clear<V>(place: &AtomicLink<V>, word: Link<'_, V>, guard: &Guard) -> bool {
    let done = publish(place, word, Link::NOTHING.marked_if(word.is_marked()), guard);
    if done {
        each_entry(word, guard, &mut |entry| {
            if let Holds::List(list) = entry.holds() {
                list.retire(guard);
            }
        });
    }
    done
}

enum Block<'g, V> {
    Table(Table<'g, V>),
    Branch(Branch<'g, V>),
}

/// Visits the blocks that `link` leads to, each after those that it leads to.
fn each_block<'g, V>(link: Link<'g, V>, guard: &'g Guard, visit: &mut impl FnMut(Block<'g, V>)) {
    match link.target() {
        Target::Nothing | Target::Node(_) => {}
        Target::Table(table) => visit(Block::Table(table)),
        Target::Branch(branch) => {
            branch.items().iter().for_each(|place| each_block(place.load(guard), guard, visit));
            visit(Block::Branch(branch));
        }
    }
}

/// Rebuilds the table that `place`, `shift` bits down in a branch, leads to.
pub(super) fn part<'g, V>(
    place: &'g AtomicLink<V>,
    table: Table<'g, V>,
    shift: u32,
    why: Why,
    guard: &'g Guard,
) {
    let word = Link::from(table);
    freeze(word, guard);
    if place.load(guard) == word {
        let load = Load::of(word, guard);
        let slots = why.slots(&load, table.slots().len());
        publish(place, word, build(load, slots, shift), guard);
    }
}

/// Puts a table in the place of an only child.
pub(super) fn first_table<'g, V>(
    place: &'g AtomicLink<V>,
    word: Link<'g, V>,
    only: NodeRef<'g, V>,
) {
    let table = Table::new(2, 1);
    table::fill(table, only.hash, only.into());
    if !place.exchange(word, Link::from(table).marked_if(word.is_marked())) {
        table.free();
    }
}

/// The outcome of [`whole`].
#[must_use]
pub(super) enum Whole {
    /// Another thread has exchanged the word.
    Lost,
    Done,
    /// There are no children: the word's reference on its owner (C2) is the caller's.
    Emptied,
}

/// Rebuilds all that `word`, which was read from `place` in a node, leads to; marks it if asked to, else
/// leaves it marked or not.
///
/// Watchers that come and go change the mark and not where the word leads: that is no reason to leave
/// the table, which may be an empty one that nobody else would take away.
pub(super) fn whole<'g, V>(
    place: &'g AtomicLink<V>,
    mut word: Link<'g, V>,
    why: Why,
    mark: bool,
    guard: &'g Guard,
) -> Whole {
    loop {
        let rebuilt = attempt(place, word, why, mark || word.is_marked(), guard);
        if !matches!(rebuilt, Whole::Lost) || mutated("rebuild_stops_at_a_mark") {
            return rebuilt;
        }
        let now = place.load(guard);
        if now.marked() != word.marked() {
            return Whole::Lost;
        }
        // Lost to a watcher that has come or gone: retry from the new word.
        word = now;
    }
}

/// One attempt at [`whole`].
fn attempt<'g, V>(
    place: &'g AtomicLink<V>,
    word: Link<'g, V>,
    why: Why,
    mark: bool,
    guard: &'g Guard,
) -> Whole {
    if let Target::Nothing | Target::Node(_) = word.target() {
        return match publish(place, word, word.marked_if(mark), guard) {
            true => Whole::Done,
            false => Whole::Lost,
        };
    }
    if !mutated("rebuild_without_freeze") {
        freeze(word, guard);
    }
    if place.load(guard) != word {
        return Whole::Lost;
    }
    let load = Load::of(word, guard);
    let (nodes, only) = (load.nodes, load.only());
    let new = match (nodes, only) {
        (0, _) => Link::NOTHING,
        (_, Some(only)) if why == Why::Tidy => only.into(),
        _ => {
            let slots = match word.target() {
                Target::Table(table) => table.slots().len(),
                _ => 0,
            };
            let slots = why.slots(&load, slots);
            build(load, slots, 0)
        }
    };
    match publish(place, word, new.marked_if(mark), guard) {
        false => Whole::Lost,
        true if nodes == 0 => Whole::Emptied,
        true => Whole::Done,
    }
}
