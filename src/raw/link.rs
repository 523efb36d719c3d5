//! Links: the pointer words that lead from a node to its children.
//!
//! ```text
//! word, low 3 bits:  0 and null  nothing
//!                    0           one node
//!                    1           Small: 2..=16 nodes and a byte of each one's hash
//!                    2           Branch: one level of a hash trie
//!                    3           Bucket: nodes with one and the same hash
//! ```
//! Blocks are immutable once published; only an [`AtomicLink`], the word inside a node, changes.

use std::marker::PhantomData;

use super::block::{Bitmap, BlockRef, Count};
use super::node::NodeRef;
use crate::sync::{
    AcqRel, Acquire, AtomicPtr, Guard, Relaxed, Release, mutated, weakened, weakened_to,
};

const TAG: usize = 0b111;
const SMALL: usize = 1;
const BRANCH: usize = 2;
const BUCKET: usize = 3;

/// A [`Small`]'s header: the top byte of each node's hash, unused places 0.
pub(crate) type Tags = [u8; 16];

/// A few nodes.
pub(crate) type Small<'g, V> = BlockRef<'g, Tags, Count, Stored<V>>;
/// One level of the trie; the header counts the nodes below it.
pub(crate) type Branch<'g, V> = BlockRef<'g, u32, Bitmap, Stored<V>>;
/// Nodes whose hashes are all equal to the header.
pub(crate) type Bucket<'g, V> = BlockRef<'g, u32, Count, Stored<V>>;

/// A link at rest inside a block.
pub(crate) struct Stored<V>(*mut (), PhantomData<*const V>);

impl<V> Clone for Stored<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Stored<V> {}

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
    Small(Small<'g, V>),
    Branch(Branch<'g, V>),
    Bucket(Bucket<'g, V>),
}

impl<'g, V> Link<'g, V> {
    pub(crate) const NOTHING: Self = Link { word: std::ptr::null_mut(), _life: PhantomData };

    fn tagged(ptr: *mut (), tag: usize) -> Self {
        debug_assert!(ptr.addr() & TAG == 0, "blocks are aligned to 8");
        Link { word: ptr.map_addr(|addr| addr | tag), _life: PhantomData }
    }

    pub(crate) fn is_nothing(self) -> bool {
        self.word.is_null()
    }

    /// Forgets for how long the link may be followed, to put it into a block.
    pub(crate) fn store(self) -> Stored<V> {
        Stored(self.word, PhantomData)
    }

    /// Frees the block, if it is one, once no guard can reach it. By P2 no word leads to it.
    pub(crate) fn retire_block(self, guard: &Guard) {
        match self.target() {
            Target::Nothing | Target::Node(_) => {}
            Target::Small(block) => block.retire(guard),
            Target::Branch(block) => block.retire(guard),
            Target::Bucket(block) => block.retire(guard),
        }
    }

    /// Frees the block, if it is one, at once. By P3 it was never published.
    pub(crate) fn free_block(self) {
        match self.target() {
            Target::Nothing | Target::Node(_) => {}
            Target::Small(block) => block.free(),
            Target::Branch(block) => block.free(),
            Target::Bucket(block) => block.free(),
        }
    }

    #[inline]
    pub(crate) fn target(self) -> Target<'g, V> {
        let ptr = self.word.map_addr(|addr| addr & !TAG);
        if ptr.is_null() {
            return Target::Nothing;
        }
        match self.word.addr() & TAG {
            SMALL => {
                // SAFETY: only `From<Small>` sets this tag, and P1 gives the lifetime.
                Target::Small(unsafe { BlockRef::from_ptr(ptr) })
            }
            BRANCH => {
                // SAFETY: only `From<Branch>` sets this tag, and P1 gives the lifetime.
                Target::Branch(unsafe { BlockRef::from_ptr(ptr) })
            }
            BUCKET => {
                // SAFETY: only `From<Bucket>` sets this tag, and P1 gives the lifetime.
                Target::Bucket(unsafe { BlockRef::from_ptr(ptr) })
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
        Link::tagged(node.as_ptr(), 0)
    }
}

// Small and Bucket differ in their header, Branch in its length word, so the three are three types.
impl<'g, V> From<Small<'g, V>> for Link<'g, V> {
    fn from(block: Small<'g, V>) -> Self {
        Link::tagged(block.as_ptr(), SMALL)
    }
}

impl<'g, V> From<Branch<'g, V>> for Link<'g, V> {
    fn from(block: Branch<'g, V>) -> Self {
        Link::tagged(block.as_ptr(), BRANCH)
    }
}

impl<'g, V> From<Bucket<'g, V>> for Link<'g, V> {
    fn from(block: Bucket<'g, V>) -> Self {
        Link::tagged(block.as_ptr(), BUCKET)
    }
}

impl<'g, H, L: super::block::Length, V> BlockRef<'g, H, L, Stored<V>> {
    /// The links in this block. They may be followed for as long as the block may be read (P1).
    #[inline]
    pub(crate) fn links(
        self,
    ) -> impl ExactSizeIterator<Item = Link<'g, V>> + DoubleEndedIterator + Clone {
        self.items().iter().map(|stored| Link { word: stored.0, _life: PhantomData })
    }

    /// The `i`th link.
    ///
    /// # Panics
    /// If there are not that many.
    #[inline]
    pub(crate) fn link(self, i: usize) -> Link<'g, V> {
        Link { word: self.items()[i].0, _life: PhantomData }
    }
}

/// The word inside a node that leads to its children.
pub(crate) struct AtomicLink<V>(AtomicPtr<()>, PhantomData<*const V>);

impl<V> AtomicLink<V> {
    pub(crate) fn new() -> Self {
        AtomicLink(AtomicPtr::new(std::ptr::null_mut()), PhantomData)
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
