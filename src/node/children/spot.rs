//! The table that a hash belongs to, among those of a node: where children are linked and unlinked, and
//! which of the tables have to be replaced for that.

use super::Attempt;
use super::rebuild::{self, Whole, Why};
use super::table::{self, Insert, Substitute};
use crate::node::shared::Shared;
use crate::raw::link::{AtomicLink, Link, Target};
use crate::raw::node::NodeRef;
use crate::raw::table::{Branch, Census, Table};
use crate::sync::{FAN_BITS, Guard, TABLE_MAX, mutated};

/// A table of more slots than this is replaced by a smaller one when a sixteenth of them is in use: far
/// fewer than one that was cleaned has, or each name that comes and goes would rebuild it.
const SMALL: usize = 128;

/// A branch whose children are this few, with none in one of its tables, becomes a table.
const JOIN: usize = TABLE_MAX / 8;

/// The table for one hash.
pub(super) struct Spot<'g, V> {
    pub(super) table: Table<'g, V>,
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
    pub(super) fn of(word: Link<'g, V>, hash: u32, guard: &'g Guard) -> Option<Self> {
        match word.target() {
            Target::Nothing | Target::Node(_) => None,
            Target::Table(table) => Some(Spot { table, part: None }),
            Target::Branch(branch) => Some(Self::below(branch, hash, guard)),
        }
    }

    pub(super) fn below(top: Branch<'g, V>, hash: u32, guard: &'g Guard) -> Self {
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
    pub(super) fn renew(
        &self,
        owner: NodeRef<'g, V>,
        word: Link<'g, V>,
        guard: &'g Guard,
    ) -> Whole {
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

    /// The census of all children of the node, if there is a limit to keep.
    fn limited(&self, tree: &Shared) -> Option<&'g Census> {
        let census = match &self.part {
            Some(part) => part.top.head(),
            None => self.table.census(),
        };
        tree.limits_children().then_some(census)
    }

    pub(super) fn link(
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

    pub(super) fn unlink(
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
