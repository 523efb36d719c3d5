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

use std::cmp::Ordering;

use super::Spare;
use super::rebuild::{self, Why};
use crate::node::shared::Shared;
use crate::path::word;
use crate::raw::link::{Link, Target};
use crate::raw::node::NodeRef;
use crate::raw::table::Entry;
use crate::sync::{Guard, PATIENCE, mutated};

/// A living child, with the start of its name: enough to put most in order without another look.
pub(crate) struct Child<'g, V> {
    prefix: u64,
    pub(crate) node: NodeRef<'g, V>,
}

impl<'g, V> Child<'g, V> {
    #[inline]
    fn new(node: NodeRef<'g, V>) -> Self {
        // Shorter names are filled up with zeros, which no name holds. The first byte decides first.
        Child { prefix: word(node.name(), 0).swap_bytes(), node }
    }

    /// The order of the names.
    #[inline]
    pub(crate) fn cmp(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| self.node.name().cmp(other.node.name()))
    }
}

/// What was linked at one moment, if S1 holds for it.
struct Trace<'g, V> {
    word: Link<'g, V>,
    /// The words that lead to tables, with the number of children announced to go.
    tables: Vec<(Link<'g, V>, u32)>,
    /// What the tables hold, or the one node that the word leads to.
    entries: Vec<Entry<'g, V>>,
}

impl<'g, V> Trace<'g, V> {
    fn of(word: Link<'g, V>, guard: &'g Guard) -> Self {
        let entries = Vec::with_capacity(super::count(word, guard));
        let mut trace = Trace { word, tables: Vec::new(), entries };
        trace.add(word, guard);
        trace
    }

    fn add(&mut self, word: Link<'g, V>, guard: &'g Guard) {
        match word.target() {
            Target::Nothing => {}
            Target::Node(node) => self.entries.push(node.into()),
            Target::Table(table) => {
                self.tables.push((word, table.census().gone()));
                for slot in table.slots() {
                    let entry = slot.load(guard).thawed();
                    if entry.has_nodes() {
                        self.entries.push(entry);
                    }
                }
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
) -> (Vec<Child<'g, V>>, Spare<V>) {
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
            let rebuilt = rebuild::whole(&owner.children, word, Why::Tidy, false, guard);
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
) -> Option<Vec<Child<'g, V>>> {
    let mut living = Vec::with_capacity(trace.entries.len());
    let mut seen = 0;
    for entry in &trace.entries {
        for node in entry.nodes() {
            seen += 1;
            if !node.state.is_dead() {
                living.push(Child::new(node));
            }
        }
    }
    loop {
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
        seen = living.len();
        living.retain(|child| !child.node.state.is_dead());
    }
}
