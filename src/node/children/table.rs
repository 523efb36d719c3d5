//! One table: which slot is a name's, and what may be done to it.
//!
//! A slot is empty until the first child that needs it claims it for its hash; from then on it is
//! bound to that hash for as long as the table lives, and holds the children of exactly that hash:
//! none, one, or a list. So a name has one place in a table, and one exchange there decides about it.
//!
//! ```text
//!                      ┌───────────────────────────────┐
//!                      ▼                               │
//! empty ──claim──▶ one node ◀──────▶ list of nodes     │ link
//!                      │  unlink, link                 │
//!                      └───────unlink───▶ tomb ────────┘         any of them ──freeze──▶ frozen
//! ```
//! - T1: the slot of a hash is the first on its way that is bound to it or empty. The way begins
//!   where the hash says and goes on for at most [`REACH`] slots. None on it becomes empty again, so
//!   all who look for one hash come to the same slot.
//! - T2: a frozen slot is never written again. A table is replaced only when all its slots are
//!   frozen ([`rebuild`](super::rebuild)), so an exchange that succeeds shows that the table is the
//!   one that its word leads to, at that moment.
//! - T3: whoever is about to link counts that before, and whoever is about to unlink too; who did not,
//!   after all, counts it back. The count is one word, so who counts a table down to none, or to few,
//!   knows that, and looks whether it is due for a smaller one. The last one to go from a table that
//!   then stays empty finds none left: others that count in vain meanwhile either have counted up, and
//!   then look in their turn when they count back, or have counted down, and it finds fewer than none.

use crate::raw::node::NodeRef;
use crate::raw::table::{Entry, Holds, List, Slot, Table};
use crate::sync::{Guard, mutated};

/// How far from where its hash says a node may lie, in slots.
const REACH: usize = 32;

/// Where the way of `hash` begins in a table of that many slots.
#[inline]
fn home(hash: u32, slots: usize) -> usize {
    // Multiplied first: a branch has already told hashes apart by their low bits, and slots tell them
    // apart by their high ones.
    let mixed = hash.wrapping_mul(0x9E37_79B9);
    ((u64::from(mixed) * slots as u64) >> 32) as usize
}

/// The slots that `hash` may be bound to, in order.
#[inline]
fn way<'g, V>(table: Table<'g, V>, hash: u32) -> impl Iterator<Item = &'g Slot<V>> {
    let slots = table.slots();
    let mut next = home(hash, slots.len());
    (0..slots.len().min(REACH)).map(move |_| {
        let slot = &slots[next];
        next = if next + 1 == slots.len() { 0 } else { next + 1 };
        slot
    })
}

/// The child of that name. It may be dead.
#[inline]
pub(super) fn find<'g, V>(
    table: Table<'g, V>,
    hash: u32,
    name: &[u8],
    guard: &'g Guard,
) -> Option<NodeRef<'g, V>> {
    for slot in way(table, hash) {
        let entry = slot.load(guard);
        if entry.is_empty() {
            return None;
        }
        if !entry.may_have(hash) {
            continue;
        }
        match entry.holds() {
            Holds::Node(node) if node.is_called(name) => return Some(node),
            Holds::Node(node) if node.hash != hash => {}
            Holds::Tomb(other) if other != hash => {}
            Holds::List(list) => match find_in(list, hash, name) {
                None if *list.head() != hash => {}
                found => return found,
            },
            Holds::Node(_) | Holds::Tomb(_) | Holds::Empty => return None,
        }
    }
    None
}

#[cold]
fn find_in<'g, V>(list: List<'g, V>, hash: u32, name: &[u8]) -> Option<NodeRef<'g, V>> {
    list.nodes().find(|node| node.hash == hash && node.is_called(name))
}

/// The outcome of [`insert`].
#[must_use]
pub(super) enum Insert {
    Done,
    /// A child has that name.
    Exists,
    /// The table is being replaced, or has no slot left for this hash.
    Stale,
}

/// What an entry is to a hash.
enum Bound {
    /// Its slot holds no node, and may hold one of that hash.
    Free,
    /// It holds nodes of that hash.
    Taken,
    /// Its slot is bound to another hash.
    Elsewhere,
}

#[inline]
fn bound<V>(entry: Entry<'_, V>, hash: u32) -> Bound {
    let taken = match entry.holds() {
        Holds::Empty => return Bound::Free,
        _ if !entry.may_have(hash) => false,
        Holds::Tomb(other) if other == hash => return Bound::Free,
        Holds::Tomb(_) => false,
        Holds::Node(node) => node.hash == hash,
        Holds::List(list) => *list.head() == hash,
    };
    if taken { Bound::Taken } else { Bound::Elsewhere }
}

/// Links `node`, which the caller has counted (T3).
pub(super) fn insert<'g, V>(table: Table<'g, V>, node: NodeRef<'g, V>, guard: &'g Guard) -> Insert {
    for slot in way(table, node.hash) {
        loop {
            let entry = slot.load(guard);
            let published = match bound(entry, node.hash) {
                Bound::Elsewhere => break,
                Bound::Free => publish_one(slot, entry, node.into()),
                Bound::Taken => match with(entry, node) {
                    Some(both) => publish(slot, entry, both, guard),
                    None => return Insert::Exists,
                },
            };
            match published {
                Published::Done => return Insert::Done,
                Published::Frozen => return Insert::Stale,
                Published::Lost => {}
            }
        }
    }
    Insert::Stale
}

/// The nodes of `entry` and `node`, all of one hash; nothing if one of them has its name.
#[cold]
fn with<'g, V>(entry: Entry<'g, V>, node: NodeRef<'g, V>) -> Option<Entry<'g, V>> {
    fn add<'g, V>(
        others: impl Iterator<Item = NodeRef<'g, V>> + Clone,
        node: NodeRef<'g, V>,
    ) -> Option<Entry<'g, V>> {
        let fresh = !others.clone().any(|other| other.is_called(node.name()));
        fresh.then(|| entry_of(node.hash, others.chain([node])))
    }
    match entry.holds() {
        Holds::Node(other) => add([other].into_iter(), node),
        Holds::List(list) => add(list.nodes(), node),
        Holds::Empty | Holds::Tomb(_) => unreachable!("an entry with nodes"),
    }
}

/// The outcome of [`substitute`].
#[must_use]
pub(super) enum Substitute {
    Done,
    /// The node is not there.
    Gone,
    /// The table is being replaced.
    Stale,
}

/// Puts `new`, of the same name, in the place of `dead`, or takes that out, which the caller has
/// counted (T3).
pub(super) fn substitute<'g, V>(
    table: Table<'g, V>,
    dead: NodeRef<'g, V>,
    new: Option<NodeRef<'g, V>>,
    guard: &'g Guard,
) -> Substitute {
    let hash = dead.hash;
    for slot in way(table, hash) {
        loop {
            let entry = slot.load(guard);
            let published = match bound(entry, hash) {
                Bound::Elsewhere => break,
                Bound::Free => return Substitute::Gone,
                Bound::Taken => match entry.holds() {
                    Holds::Node(only) if only == dead => {
                        publish_one(slot, entry, new.map_or(Entry::tomb(hash), Entry::from))
                    }
                    Holds::List(list) if list.nodes().any(|node| node == dead) => {
                        let others = list.nodes().filter(|node| *node != dead);
                        publish(slot, entry, entry_of(hash, others.chain(new)), guard)
                    }
                    _ => return Substitute::Gone,
                },
            };
            match published {
                Published::Done => return Substitute::Done,
                Published::Frozen => return Substitute::Stale,
                Published::Lost => {}
            }
        }
    }
    Substitute::Gone
}

/// What a slot holds for these nodes, all of that hash.
fn entry_of<'g, V>(
    hash: u32,
    mut nodes: impl Iterator<Item = NodeRef<'g, V>> + Clone,
) -> Entry<'g, V> {
    let all = nodes.clone();
    match (nodes.next(), nodes.next()) {
        (None, _) => Entry::tomb(hash),
        (Some(only), None) => only.into(),
        _ => Entry::list(List::new(hash, all)),
    }
}

enum Published {
    Done,
    /// The slot is not written any more (T2).
    Frozen,
    /// To a concurrent exchange: retry from the new entry.
    Lost,
}

/// Exchanges the slot, where neither entry is a list.
#[inline]
fn publish_one<V>(slot: &Slot<V>, current: Entry<'_, V>, new: Entry<'_, V>) -> Published {
    if current.is_frozen() && !mutated("insert_ignores_freeze") {
        return Published::Frozen;
    }
    if slot.exchange(current, new) { Published::Done } else { Published::Lost }
}

/// Exchanges the slot, and retires the list that it held or frees the one it was to hold.
#[cold]
fn publish<V>(
    slot: &Slot<V>,
    current: Entry<'_, V>,
    new: Entry<'_, V>,
    guard: &Guard,
) -> Published {
    let published = publish_one(slot, current, new);
    let unused = if let Published::Done = published { current } else { new };
    match (unused.holds(), &published) {
        (Holds::List(list), Published::Done) => list.retire(guard),
        (Holds::List(list), _) => list.free(),
        _ => {}
    }
    published
}

/// Puts an entry into a table that is not published; whether there was a slot for it.
pub(super) fn fill<V>(table: Table<'_, V>, hash: u32, entry: Entry<'_, V>) -> bool {
    way(table, hash).any(|slot| slot.fill(entry))
}
