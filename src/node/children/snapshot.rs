//! The children of one node at one moment.
//!
//! A child exists if it is linked *and* alive: a dead node stays linked until its pruner gets to it.
//! If the word leads to one node or nothing, one load says what is linked. A table is read slot by
//! slot, so it is read twice:
//!
//! ```text
//! trace the entries ── look which nodes are dead ──┬── trace again, and compare ── look again
//!                                                  t
//! ```
//! - S1: if the two traces are equal, and no child was announced to go meanwhile, then what they show
//!   was linked at *t*: whatever came between them and had gone again was announced (T3 of
//!   [`table`](super::table)), and the words that led to the tables were the same.
//! - S2: those found dead before *t* are dead at *t*. Those found alive after *t* were alive at *t*.
//!   If none was dead the first look may count as the second, with a *t* before it.
//! - S3: while the tables are frozen nothing is linked or unlinked. A list that has found no quiet
//!   moment a few times freezes them, and is done with one trace. That takes a rebuild after it.

use super::Spare;
use super::rebuild::{self, Why};
use crate::node::shared::Shared;
use crate::raw::link::{Link, Target};
use crate::raw::node::NodeRef;
use crate::raw::table::Entry;
use crate::sync::{Guard, PATIENCE, mutated};

/// What was linked at one moment, if S1 holds for it.
struct Trace<'g, V> {
    word: Link<'g, V>,
    /// The words of the places, with the number of children announced to go.
    tables: Vec<(Link<'g, V>, u32)>,
    entries: Vec<Entry<'g, V>>,
}

impl<'g, V> Trace<'g, V> {
    fn of(word: Link<'g, V>, guard: &'g Guard) -> Self {
        let mut trace = Trace { word, tables: Vec::new(), entries: Vec::new() };
        trace.entries.reserve(super::count(word, guard));
        trace.add(word, guard);
        trace
    }

    fn add(&mut self, word: Link<'g, V>, guard: &'g Guard) {
        match word.target() {
            Target::Nothing => {}
            Target::Node(node) => self.entries.push(node.into()),
            Target::Table(table) => {
                self.tables.push((word, table.census().gone()));
                let entries = table.slots().iter().map(|slot| slot.load(guard).thawed());
                self.entries.extend(entries.filter(|entry| entry.has_nodes()));
            }
            Target::Branch(branch) => {
                branch.items().iter().for_each(|place| self.add(place.load(guard), guard));
            }
        }
    }

    /// Whether another trace, made now, would be equal, and nothing was announced to go meanwhile
    /// (S1). If the tables are frozen that is so while the word leads to them (S3).
    fn still_holds(&self, owner: NodeRef<'g, V>, frozen: bool, guard: &'g Guard) -> bool {
        let word = owner.children.load(guard);
        if mutated("ls_without_validation") {
            return true;
        }
        if word != self.word || self.tables.is_empty() || frozen {
            return word == self.word;
        }
        let (mut tables, mut entries) = (self.tables.iter(), self.entries.iter());
        matches(word, &mut tables, &mut entries, guard) && entries.next().is_none()
    }

    fn nodes(&self) -> Vec<NodeRef<'g, V>> {
        let mut nodes = Vec::with_capacity(self.entries.len());
        self.entries.iter().for_each(|entry| nodes.extend(entry.nodes()));
        nodes
    }
}

/// Whether what `word` leads to is what the iterators have next.
fn matches<'g, V>(
    word: Link<'g, V>,
    tables: &mut std::slice::Iter<'_, (Link<'g, V>, u32)>,
    entries: &mut std::slice::Iter<'_, Entry<'g, V>>,
    guard: &'g Guard,
) -> bool {
    match word.target() {
        Target::Nothing | Target::Node(_) => false, // behind a word that leads to tables
        Target::Table(table) => {
            let Some(&(link, gone)) = tables.next() else { return false };
            let slots = table.slots().iter().map(|slot| slot.load(guard).thawed());
            let mut found = slots.filter(|entry| entry.has_nodes());
            link == word
                && found.all(|entry| entries.next() == Some(&entry))
                && (table.census().gone() == gone || mutated("ls_ignores_the_gone"))
        }
        Target::Branch(branch) => {
            let mut places = branch.items().iter();
            places.all(|place| matches(place.load(guard), tables, entries, guard))
        }
    }
}

/// The children that lived at one moment, in no order.
///
/// # Progress
/// Lock-free: each retry follows another thread's link, unlink or replace.
pub(crate) fn living<'g, V>(
    owner: NodeRef<'g, V>,
    tree: &Shared,
    guard: &'g Guard,
) -> (Vec<NodeRef<'g, V>>, Spare<V>) {
    let mut spare = Spare(None);
    for attempt in 0.. {
        let word = owner.children.load(guard);
        let frozen = attempt >= PATIENCE;
        if frozen {
            rebuild::freeze(word, guard);
        }
        let trace = Trace::of(word, guard);
        let living = settle(&trace, owner, frozen, guard);
        if frozen {
            let mark = word.is_marked();
            let rebuilt = rebuild::whole(&owner.children, word, Why::Tidy, mark, guard);
            spare.take_over(rebuilt, owner, tree);
        }
        if let Some(living) = living {
            return (living, spare);
        }
        // Lost to a concurrent link, unlink or replace: retry.
    }
    unreachable!("attempts go on")
}

/// The nodes of a trace that lived at one moment at which it holds, if there was one.
fn settle<'g, V>(
    trace: &Trace<'g, V>,
    owner: NodeRef<'g, V>,
    frozen: bool,
    guard: &'g Guard,
) -> Option<Vec<NodeRef<'g, V>>> {
    let mut living = trace.nodes();
    loop {
        let seen = living.len();
        living.retain(|child| !child.state.is_dead());
        // None has died since the last look (S2); the first one needs no word to hold behind a word
        // that leads to all there is.
        if living.len() == seen && trace.tables.is_empty() {
            return Some(living);
        }
        if !trace.still_holds(owner, frozen, guard) {
            return None;
        }
        if living.len() == seen {
            return Some(living);
        }
    }
}
