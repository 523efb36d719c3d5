//! Links: the pointer words that lead from a node to its children.
//!
//! ```text
//! word, low 3 bits:  000 and null  nothing
//!                    .00           one node
//!                    .01           Table: slots for nodes; the high 16 bits say how many
//!                    .10           Branch: places for more links
//!                    1..           marked: watched, in a node; frozen, in a branch
//! ```
//! What the blocks behind a word hold is the business of [`table`](super::table).

use std::marker::PhantomData;

use super::block::ADDRESS;
use super::node::NodeRef;
use super::table::{Branch, Table};
use crate::sync::{
    AcqRel, Acquire, AtomicPtr, Guard, Relaxed, Release, mutated, weakened, weakened_to,
};

const TAG: usize = 0b011;
const TABLE: usize = 0b001;
const BRANCH: usize = 0b010;
const MARK: usize = 0b100;

/// A link that may be followed for `'g`.
pub(crate) struct Link<'g, V> {
    word: *mut (),
    _life: PhantomData<&'g V>,
}

impl<V> Clone for Link<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Link<'_, V> {}

impl<V> PartialEq for Link<'_, V> {
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word
    }
}

/// What a [`Link`] leads to.
pub(crate) enum Target<'g, V> {
    Nothing,
    Node(NodeRef<'g, V>),
    Table(Table<'g, V>),
    Branch(Branch<'g, V>),
}

impl<'g, V> Link<'g, V> {
    pub(crate) const NOTHING: Self = Link { word: std::ptr::null_mut(), _life: PhantomData };

    #[inline]
    pub(crate) fn is_marked(self) -> bool {
        self.word.addr() & MARK != 0
    }

    /// The same link with the mark.
    pub(crate) fn marked(self) -> Self {
        self.marked_if(true)
    }

    /// The same link with the mark, or without it.
    #[inline]
    pub(crate) fn marked_if(self, mark: bool) -> Self {
        let mark = if mark { MARK } else { 0 };
        Link { word: self.word.map_addr(|addr| addr & !MARK | mark), _life: PhantomData }
    }

    #[inline]
    pub(crate) fn target(self) -> Target<'g, V> {
        let ptr = self.word.map_addr(|addr| addr & ADDRESS & !(TAG | MARK));
        if ptr.is_null() {
            return Target::Nothing;
        }
        match self.word.addr() & TAG {
            TABLE => {
                let slots = self.word.addr() >> ADDRESS.count_ones();
                // SAFETY: only `From<Table>` sets this tag, with the number of the table's slots,
                // and P1 gives the lifetime.
                Target::Table(unsafe { Table::from_ptr(ptr, slots) })
            }
            BRANCH => {
                // SAFETY: only `From<Branch>` sets this tag, and P1 gives the lifetime.
                Target::Branch(unsafe { Branch::from_ptr(ptr) })
            }
            _ => {
                // SAFETY: only `From<NodeRef>` makes an untagged link, and P1 gives the lifetime.
                Target::Node(unsafe { NodeRef::from_ptr(ptr) })
            }
        }
    }
}

impl<'g, V> From<NodeRef<'g, V>> for Link<'g, V> {
    fn from(node: NodeRef<'g, V>) -> Self {
        Link { word: node.as_ptr(), _life: PhantomData }
    }
}

impl<'g, V> From<Table<'g, V>> for Link<'g, V> {
    fn from(table: Table<'g, V>) -> Self {
        let high = table.slots().len() << ADDRESS.count_ones();
        Link { word: table.as_ptr().map_addr(|addr| addr | TABLE | high), _life: PhantomData }
    }
}

impl<'g, V> From<Branch<'g, V>> for Link<'g, V> {
    fn from(branch: Branch<'g, V>) -> Self {
        Link { word: branch.as_ptr().map_addr(|addr| addr | BRANCH), _life: PhantomData }
    }
}

/// The word inside a node, or inside a branch, that leads to children.
pub(crate) struct AtomicLink<V>(AtomicPtr<()>, PhantomData<*const V>);

impl<V> AtomicLink<V> {
    /// A word that nobody else sees yet.
    pub(crate) fn new(link: Link<'_, V>) -> Self {
        AtomicLink(AtomicPtr::new(link.word), PhantomData)
    }

    /// Sets the link of a node that is not published yet.
    pub(super) fn init(&self, link: Link<'_, V>) {
        // Relaxed: the node is private; the exchange that publishes its chain releases this.
        self.0.store(link.word, Relaxed);
    }

    /// The link of a node that is not published.
    pub(super) fn private<'g>(&self) -> Link<'g, V> {
        // Relaxed: the node is private.
        Link { word: self.0.load(Relaxed), _life: PhantomData }
    }

    /// What the word leads to now.
    #[inline]
    pub(crate) fn load<'g>(&self, _guard: &'g Guard) -> Link<'g, V> {
        // Acquire: sees the blocks and nodes that the exchange which stored this word published;
        // pairs with the success order in `exchange`. [O1]
        let word = self.0.load(weakened("link_load_relaxed", Acquire));
        Link { word, _life: PhantomData }
    }

    /// Makes the word lead to `new` if it still leads to `current`.
    #[inline]
    pub(crate) fn exchange(&self, current: Link<'_, V>, new: Link<'_, V>) -> bool {
        self.0
            .compare_exchange(
                current.word,
                new.word,
                // Release: publishes the blocks and nodes behind `new`; pairs with Acquire in
                // `load`. Acquire: what `new` shares with `current`, and the `closed` flag set
                // before a `load_in_order`, reach the caller. [O2]
                weakened_to(
                    "link_exchange_without_acquire",
                    weakened("link_publish_relaxed", AcqRel),
                    Release,
                ),
                // Relaxed: lost to a concurrent exchange; the caller loads again.
                Relaxed,
            )
            .is_ok()
    }

    /// Marks the word, so that no exchange against the unmarked word succeeds any more. What it
    /// leads to.
    pub(crate) fn freeze<'g>(&self, guard: &'g Guard) -> Link<'g, V> {
        loop {
            let link = self.load(guard);
            if link.is_marked() || self.exchange(link, link.marked()) {
                return link.marked();
            }
            // Lost to a concurrent rebuild of what it leads to: retry from the new word.
        }
    }

    /// Like [`load`](Self::load), as a write: every later exchange of the word follows this one and
    /// sees what its caller wrote before.
    pub(crate) fn load_in_order<'g>(&self, guard: &'g Guard) -> Link<'g, V> {
        loop {
            let link = self.load(guard);
            if mutated("close_reads_links") || self.exchange(link, link) {
                return link;
            }
            // Lost to a concurrent link or unlink: retry from the new value.
        }
    }
}
