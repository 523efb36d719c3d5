//! Tables of slots, branches of tables, and lists of nodes of one hash: what holds many children.
//!
//! ```text
//! Table:  census | slot slot slot …            Branch:  census | link link link …
//!
//! slot:   000            empty: bound to no hash
//!         .01 hash       tomb: bound to that hash, without a node
//!         .00 high half  one node of that hash
//!         .11 high half  List: nodes of that very hash
//!         1..            frozen: never written again
//! ```
//! The high 16 bits of a slot are those of the hash that it is bound to, so that most slots of other
//! hashes are passed without a look at what they hold. Who may write what when is the business of
//! `node/children`.

use std::marker::PhantomData;

use super::block::{ADDRESS, BlockRef, Count, Fan};
use super::link::AtomicLink;
use super::node::NodeRef;
use crate::sync::{
    AcqRel, Acquire, AtomicPtr, AtomicU32, AtomicU64, Guard, Relaxed, Release, mutated, weakened,
};

/// How many children a table has, and how many were announced to go so far: in one word, so that each
/// announcement knows exactly how many are left.
///
/// Besides, in trees with a limit, how many the node has room taken for: at least those linked. That is
/// counted in the table or branch that the node's word leads to.
pub(crate) struct Census {
    /// Announcements in the high half, which wraps; in the low half the children, more by [`BIAS`].
    word: AtomicU64,
    taken: AtomicU32,
}

/// Below zero for a moment: two may announce one child, one of them in vain. That must not reach the
/// high half.
const BIAS: u64 = 1 << 31;
const ONE_GOES: u64 = (1 << 32) - 1;

impl Census {
    pub(crate) fn new(children: u32) -> Self {
        let word = AtomicU64::new(BIAS + u64::from(children));
        Census { word, taken: AtomicU32::new(children) }
    }

    /// Takes room for one child, if less than `limit` is taken.
    pub(crate) fn reserve(&self, limit: usize) -> bool {
        // Relaxed: a count that publishes nothing; the limit needs only the atomicity. Nothing is taken
        // in vain: that would keep others out of room that there is.
        if mutated("room_taken_in_vain") {
            let room = (self.taken.fetch_add(1, Relaxed) as usize) < limit;
            if !room {
                self.give_back();
            }
            return room;
        }
        let mut taken = self.taken.load(Relaxed);
        while (taken as usize) < limit {
            match self.taken.compare_exchange_weak(taken, taken + 1, Relaxed, Relaxed) {
                Ok(_) => return true,
                // Lost to a concurrent walk or release: retry from the new count.
                Err(now) => taken = now,
            }
        }
        false
    }

    /// Gives back the room of one child, which is unlinked, or was not linked.
    pub(crate) fn give_back(&self) {
        // Relaxed: as in `reserve`.
        self.taken.fetch_sub(1, Relaxed);
    }

    /// Announces a child that is about to be linked, or did not go after all.
    pub(crate) fn come(&self) {
        // Relaxed: publishes nothing. Whoever announced in vain counts once more in `go`.
        self.word.fetch_add(1, Relaxed);
    }

    /// Announces a child that is about to be unlinked, or did not come after all. How many are left.
    pub(crate) fn go(&self) -> usize {
        // Release: a list that sees what follows sees the announcement; pairs with Acquire in `gone`.
        // Acquire: see `count_in_order`. [O11]
        let after = self.word.fetch_add(ONE_GOES, AcqRel).wrapping_add(ONE_GOES);
        if mutated("left_of_two_moments") {
            // An injected bug: who came so far, less who went until a moment ago.
            let now = self.word.load(Relaxed);
            return children(u64::from(now as u32) + (now >> 32) - (after >> 32));
        }
        children(after)
    }

    /// How many children there are.
    pub(crate) fn count(&self) -> usize {
        // Relaxed: a figure for limits and people, and for how much room a list needs.
        children(self.word.load(Relaxed))
    }

    /// The same, as a write: of two that go from two tables at once, and each count the other's, one sees
    /// the other go.
    pub(crate) fn count_in_order(&self) -> usize {
        // AcqRel: if this comes before the other's `go` in the order of that word, then what this thread
        // counted before happens before that, and the other sees it. [O12]
        children(self.word.fetch_add(0, AcqRel))
    }

    /// How many were announced to go so far. The caller looks at the slots next.
    pub(crate) fn gone(&self) -> u32 {
        // Acquire: whoever announced had seen the child that it was about, and so does whoever looks
        // after this; pairs with Release in `go`. [O11]
        (self.word.load(Acquire) >> 32) as u32
    }
}

/// How many children a census word says there are.
fn children(word: u64) -> usize {
    u64::from(word as u32).saturating_sub(BIAS) as usize
}

/// Nodes whose hashes are all equal to the header. Immutable.
pub(crate) type List<'g, V> = BlockRef<'g, u32, Count, Item<V>>;

/// A node at rest inside a list.
pub(crate) struct Item<V>(*mut (), PhantomData<*const V>);

impl<'g, V> List<'g, V> {
    pub(crate) fn new(hash: u32, nodes: impl Iterator<Item = NodeRef<'g, V>> + Clone) -> Self {
        let items = nodes.clone().map(|node| Item(node.as_ptr(), PhantomData));
        List::alloc(hash, Count::new(nodes.count()), items)
    }

    /// The nodes. They may be read as long as the list may.
    pub(crate) fn nodes(self) -> impl ExactSizeIterator<Item = NodeRef<'g, V>> + Clone {
        self.items().iter().map(|item| {
            // SAFETY: from `as_ptr` of a node; a list is read while its nodes may be (P1).
            unsafe { NodeRef::from_ptr(item.0) }
        })
    }
}

/// The place for the nodes of one hash.
pub(crate) struct Slot<V>(AtomicPtr<()>, PhantomData<*const V>);

/// What a slot held at one moment.
pub(crate) struct Entry<'g, V> {
    word: *mut (),
    _life: PhantomData<&'g V>,
}

impl<V> Clone for Entry<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Entry<'_, V> {}

impl<V> PartialEq for Entry<'_, V> {
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word
    }
}

/// The meaning of an [`Entry`].
pub(crate) enum Holds<'g, V> {
    /// Nothing, and no hash either.
    Empty,
    /// Nothing, for that hash.
    Tomb(u32),
    Node(NodeRef<'g, V>),
    List(List<'g, V>),
}

const TAG: usize = 0b011;
const TOMB: usize = 0b001;
const LIST: usize = 0b011;
const FROZEN: usize = 0b100;

impl<'g, V> Entry<'g, V> {
    pub(crate) fn tomb(hash: u32) -> Self {
        let word = std::ptr::without_provenance_mut((hash as usize) << 32 | TOMB);
        Entry { word, _life: PhantomData }
    }

    pub(crate) fn list(list: List<'g, V>) -> Self {
        Self::tagged(list.as_ptr(), *list.head(), LIST)
    }

    fn tagged(ptr: *mut (), hash: u32, tag: usize) -> Self {
        let high = (hash as usize) >> 16 << ADDRESS.count_ones();
        Entry { word: ptr.map_addr(|addr| addr | high | tag), _life: PhantomData }
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.word.addr() & !FROZEN == 0
    }

    #[inline]
    pub(crate) fn is_frozen(self) -> bool {
        self.word.addr() & FROZEN != 0
    }

    /// The same without the mark.
    #[inline]
    pub(crate) fn thawed(self) -> Self {
        Entry { word: self.word.map_addr(|addr| addr & !FROZEN), _life: PhantomData }
    }

    /// Whether it holds any node.
    #[inline]
    pub(crate) fn has_nodes(self) -> bool {
        !self.is_empty() && self.word.addr() & TAG != TOMB
    }

    /// Whether it may be bound to `hash`; if not, it is not.
    #[inline]
    pub(crate) fn may_have(self, hash: u32) -> bool {
        self.word.addr() >> ADDRESS.count_ones() == (hash as usize) >> 16
    }

    /// The nodes that it holds.
    pub(crate) fn nodes(self) -> impl Iterator<Item = NodeRef<'g, V>> {
        let (node, list) = match self.holds() {
            Holds::Empty | Holds::Tomb(_) => (None, None),
            Holds::Node(node) => (Some(node), None),
            Holds::List(list) => (None, Some(list)),
        };
        node.into_iter().chain(list.into_iter().flat_map(List::nodes))
    }

    #[inline]
    pub(crate) fn holds(self) -> Holds<'g, V> {
        let ptr = self.word.map_addr(|addr| addr & ADDRESS & !(TAG | FROZEN));
        match self.word.addr() & TAG {
            TOMB => Holds::Tomb((self.word.addr() >> 32) as u32),
            LIST => {
                // SAFETY: only `Entry::list` sets this tag, and P1 gives the lifetime.
                Holds::List(unsafe { List::from_ptr(ptr) })
            }
            _ if ptr.is_null() => Holds::Empty,
            _ => {
                // SAFETY: only `From<NodeRef>` makes an untagged entry, and P1 gives the lifetime.
                Holds::Node(unsafe { NodeRef::from_ptr(ptr) })
            }
        }
    }
}

impl<'g, V> From<NodeRef<'g, V>> for Entry<'g, V> {
    fn from(node: NodeRef<'g, V>) -> Self {
        Self::tagged(node.as_ptr(), node.hash, 0)
    }
}

impl<V> Slot<V> {
    #[inline]
    pub(crate) fn load<'g>(&self, _guard: &'g Guard) -> Entry<'g, V> {
        // Acquire: sees the node or list that the exchange published; pairs with Release there. [O10]
        let word = self.0.load(weakened("slot_load_relaxed", Acquire));
        Entry { word, _life: PhantomData }
    }

    /// Puts `new` in if the slot still holds `current`.
    #[inline]
    pub(crate) fn exchange(&self, current: Entry<'_, V>, new: Entry<'_, V>) -> bool {
        // Release: publishes the node or list; pairs with Acquire in `load`. Relaxed on failure:
        // lost to a concurrent exchange or freeze; the caller loads again. [O10]
        let success = weakened("slot_publish_relaxed", Release);
        self.0.compare_exchange(current.word, new.word, success, Relaxed).is_ok()
    }

    /// Ends all writing to the slot. What it holds.
    pub(crate) fn freeze<'g>(&self, guard: &'g Guard) -> Entry<'g, V> {
        loop {
            let entry = self.load(guard);
            let frozen = entry.word.map_addr(|addr| addr | FROZEN);
            // Relaxed: publishes nothing of its own; whoever reads the frozen slot still
            // synchronizes with the exchange that filled it, whose release sequence this goes on.
            let exchange = self.0.compare_exchange(entry.word, frozen, Relaxed, Relaxed);
            if entry.is_frozen() || exchange.is_ok() {
                return entry.thawed();
            }
            // Lost to a concurrent exchange: retry from the new entry.
        }
    }

    /// Fills a slot of a table that is not published, if it is empty.
    pub(crate) fn fill(&self, entry: Entry<'_, V>) -> bool {
        // Relaxed: the table is private; the exchange that publishes it releases this.
        if !self.0.load(Relaxed).is_null() {
            return false;
        }
        self.0.store(entry.word, Relaxed);
        true
    }
}

type TableBlock<'g, V> = BlockRef<'g, Census, Count, Slot<V>>;

/// Slots for the children of one node, or of one place of a branch.
pub(crate) struct Table<'g, V> {
    block: TableBlock<'g, V>,
    slots: usize,
}

impl<V> Clone for Table<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Table<'_, V> {}

impl<'g, V> Table<'g, V> {
    /// A table of that many empty slots that says it holds that many children.
    pub(crate) fn new(slots: usize, children: usize) -> Self {
        let empty = (0..slots).map(|_| Slot(AtomicPtr::new(std::ptr::null_mut()), PhantomData));
        let block = TableBlock::alloc(Census::new(children as u32), Count::new(slots), empty);
        Table { block, slots }
    }

    pub(super) fn as_ptr(self) -> *mut () {
        self.block.as_ptr()
    }

    /// # Safety
    /// `ptr` came from [`as_ptr`](Self::as_ptr) of a table of that many slots, which may be read for
    /// 'g.
    #[inline]
    pub(super) unsafe fn from_ptr(ptr: *mut (), slots: usize) -> Self {
        // SAFETY: this function's contract.
        Table { block: unsafe { BlockRef::from_ptr(ptr) }, slots }
    }

    /// The slots. The header, which changes with every child, is not read.
    #[inline]
    pub(crate) fn slots(self) -> &'g [Slot<V>] {
        // SAFETY: `slots` is the number that the block was made with.
        unsafe { self.block.items_of(self.slots) }
    }

    pub(crate) fn census(self) -> &'g Census {
        self.block.head()
    }

    /// Frees the table once no guard can reach it. By P2 no word leads to it.
    pub(crate) fn retire(self, guard: &Guard) {
        self.block.retire(guard);
    }

    /// Frees the table at once. By P3 it was never published.
    pub(crate) fn free(self) {
        self.block.free();
    }
}

/// Places for the tables, or further branches, of a node with very many children, by some bits of
/// their hash. Its census is for the limit alone.
pub(crate) type Branch<'g, V> = BlockRef<'g, Census, Fan, AtomicLink<V>>;
