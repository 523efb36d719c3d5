//! Values: a counted block with the revision that stored it, and the word that holds one.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use super::block::BlockRef;
use crate::sync::{
    AcqRel, Acquire, AtomicPtr, AtomicUsize, Guard, Relaxed, Release, mutated, weakened,
};

/// The block behind a [`Value`].
struct Stored<V> {
    refs: AtomicUsize,
    revision: u64,
    value: V,
}

type StoredBlock<'g, V> = BlockRef<'g, Stored<V>, (), ()>;

/// A counted reference to a value that a cell holds or held; dereferences to the value.
///
/// Like an [`Arc`](std::sync::Arc), and in the same single allocation it knows the revision at which
/// it was stored. The value is dropped with the last reference, on the thread that lets go of it; for
/// the cell's own reference that is some thread that uses a tree, at some time after the cell let go
/// (see [`reclaim`](crate::reclaim)).
///
/// # Examples
/// ```
/// use killick::{Limits, Tree, Value};
///
/// let tree = Tree::new(Limits::default());
/// let anchor = tree.root().walk("greeting")?;
/// anchor.store("hello".to_string(), true).unwrap();
/// let value = anchor.load().value.unwrap();
/// anchor.clear();
/// assert_eq!(*value, "hello"); // still ours, though the cell is empty now
/// assert_eq!(Value::revision(&value), 1);
/// assert!(anchor.load().value.is_none());
/// # Ok::<(), killick::WalkError>(())
/// ```
pub struct Value<V> {
    block: NonNull<()>,
    _owns: PhantomData<V>,
}

// SAFETY: as for `Arc`: any holder may read V, and the last one drops it.
unsafe impl<V: Send + Sync> Send for Value<V> {}
// SAFETY: as above.
unsafe impl<V: Send + Sync> Sync for Value<V> {}

// Moving the reference does not move what it refers to.
impl<V> Unpin for Value<V> {}

impl<V> Value<V> {
    fn new(value: V) -> Self {
        let stored = Stored { refs: AtomicUsize::new(1), revision: 0, value };
        Value::adopt(StoredBlock::alloc_copy(stored, (), &[]))
    }

    /// Takes over one reference that the caller counted (P4).
    #[inline]
    fn adopt(block: StoredBlock<'_, V>) -> Self {
        // SAFETY: `as_ptr` never returns null.
        let block = unsafe { NonNull::new_unchecked(block.as_ptr()) };
        Value { block, _owns: PhantomData }
    }

    #[inline]
    fn block(&self) -> StoredBlock<'_, V> {
        // SAFETY: the reference that this value owns keeps the block.
        unsafe { StoredBlock::from_ptr(self.block.as_ptr()) }
    }

    #[inline]
    fn stored(&self) -> &Stored<V> {
        self.block().head()
    }

    /// The revision at which the value was stored: its cell's, from then until the next change.
    ///
    /// An associated function, so that it does not hide a method of the value's own. Wait-free, O(1).
    pub fn revision(this: &Self) -> u64 {
        this.stored().revision
    }

    /// Whether the two came from one and the same store. Wait-free, O(1).
    pub fn ptr_eq(a: &Self, b: &Self) -> bool {
        a.block == b.block
    }

    /// Takes the value out of a block that was never published.
    fn into_inner(self) -> V {
        // SAFETY: P3: nobody else has the pointer; `self` is forgotten next.
        let stored = unsafe { self.block().into_head() };
        std::mem::forget(self);
        stored.value
    }
}

impl<V> Clone for Value<V> {
    #[inline]
    fn clone(&self) -> Self {
        self.stored().retain();
        Value { ..*self }
    }
}

impl<V> Stored<V> {
    #[inline]
    fn retain(&self) {
        // Relaxed: the caller's access, by reference or by guard, already orders it after the
        // initialisation; nothing is published by taking a reference.
        let before = self.refs.fetch_add(1, Relaxed);
        if before > isize::MAX as usize {
            std::process::abort(); // like `Arc`: 2^63 references can only be leaked ones
        }
    }
}

impl<V> Drop for Value<V> {
    #[inline]
    fn drop(&mut self) {
        // Relaxed: the only holder stays that; the load below follows the release of the others.
        let only = self.stored().refs.load(Relaxed) == 1;
        // Release: what this holder read of the value happens before its destructor; pairs with the
        // Acquire load below. [O8]
        let release = weakened("value_release_relaxed", Release);
        if !only && self.stored().refs.fetch_sub(1, release) != 1 {
            return;
        }
        // Acquire: follows every other holder's release. [O8]
        self.stored().refs.load(weakened("value_last_relaxed", Acquire));
        // SAFETY: the count reached zero: this was the last reference.
        drop(unsafe { self.block().into_head() });
    }
}

impl<V> Deref for Value<V> {
    type Target = V;

    #[inline]
    fn deref(&self) -> &V {
        &self.stored().value
    }
}

impl<V: fmt::Debug> fmt::Debug for Value<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The word that holds a node's value or, when it holds none, the cell's revision:
/// `revision << 3 | EMPTY`, or a pointer to a block that has the revision inside. Owns one reference
/// on the block. Either way it may be marked as watched.
pub(crate) struct AtomicValue<V>(AtomicPtr<()>, PhantomData<V>);

const EMPTY: usize = 0b001;
const WATCHED: usize = 0b010;
/// Of an empty word: the tree's end has been here.
const SEALED: usize = 0b100;

/// What the word held at one moment; the value may be read for `'g`.
pub(crate) struct Content<'g, V> {
    word: *mut (),
    _life: PhantomData<&'g V>,
}

impl<V> Clone for Content<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Content<'_, V> {}

impl<'g, V> Content<'g, V> {
    #[inline]
    fn block(self) -> Option<StoredBlock<'g, V>> {
        if self.is_empty() {
            return None;
        }
        let block = self.word.map_addr(|addr| addr & !WATCHED);
        // SAFETY: a word that is not empty points to a block that the cell held under the guard of
        // lifetime 'g; the cell's reference is given back only after that guard.
        Some(unsafe { StoredBlock::from_ptr(block) })
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.word.addr() & EMPTY != 0
    }

    #[inline]
    pub(crate) fn is_watched(self) -> bool {
        self.word.addr() & WATCHED != 0
    }

    #[inline]
    pub(crate) fn revision(self) -> u64 {
        match self.block() {
            Some(block) => block.head().revision,
            None => (self.word.addr() >> 3) as u64,
        }
    }

    #[inline]
    pub(crate) fn get(self) -> Option<&'g V> {
        self.block().map(|block| &block.head().value)
    }

    /// A reference to the value that outlives the guard.
    #[inline]
    pub(crate) fn to_value(self) -> Option<Value<V>> {
        let block = self.block()?;
        block.head().retain();
        Some(Value::adopt(block))
    }
}

/// What an exchange is to put into the word: a value that nobody else has seen, or nothing.
pub(crate) struct Fresh<V>(Option<Value<V>>);

impl<V> Fresh<V> {
    #[inline]
    pub(crate) fn new(value: Option<V>) -> Self {
        Fresh(value.map(Value::new))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn into_inner(self) -> Option<V> {
        self.0.map(Value::into_inner)
    }

    /// The word that stands for this content at `revision`.
    #[inline]
    fn at(&mut self, revision: u64) -> *mut () {
        match &self.0 {
            Some(value) => {
                // SAFETY: P3: not published, so this is the only reference.
                unsafe { value.block().head_mut() }.revision = revision;
                value.block.as_ptr()
            }
            None => std::ptr::without_provenance_mut((revision as usize) << 3 | EMPTY),
        }
    }
}

impl<V> AtomicValue<V> {
    /// Nothing, at revision 0.
    pub(crate) fn new() -> Self {
        AtomicValue(AtomicPtr::new(std::ptr::without_provenance_mut(EMPTY)), PhantomData)
    }

    #[inline]
    pub(crate) fn load<'g>(&self, _guard: &'g Guard) -> Content<'g, V> {
        // Acquire: sees the value that the exchange published; pairs with Release there. [O6]
        let word = self.0.load(weakened("value_load_relaxed", Acquire));
        Content { word, _life: PhantomData }
    }
}

impl<V: Send + Sync + 'static> AtomicValue<V> {
    /// Replaces `current` by `fresh` at the next revision. The cell's reference to what it held is
    /// given back once no guard can read it.
    ///
    /// # Errors
    /// `fresh`, if the word no longer holds `current`.
    #[inline]
    pub(crate) fn exchange(
        &self,
        current: Content<'_, V>,
        mut fresh: Fresh<V>,
        guard: &Guard,
    ) -> Result<(), Fresh<V>> {
        let step = if mutated("revision_stays") { 0 } else { 1 };
        let mark = current.word.addr() & WATCHED;
        let word = fresh.at(current.revision() + step).map_addr(|addr| addr | mark);
        let exchanged = self.0.compare_exchange(
            current.word,
            word,
            // Release: publishes the value; pairs with Acquire in `load`. [O7]
            weakened("value_publish_relaxed", Release),
            // Relaxed: lost to a concurrent store; the caller loads again.
            Relaxed,
        );
        if exchanged.is_err() {
            return Err(fresh);
        }
        std::mem::forget(fresh);
        if let Some(block) = current.block() {
            if mutated("value_without_epoch") {
                // SAFETY: none: an injected bug. A reader may still have the word.
                unsafe { give_back::<V>(block.as_ptr()) };
                return Ok(());
            }
            // SAFETY: the cell's reference left it by the exchange above, once; readers that still
            // have the word hold guards, which `defer` waits for. V may be dropped on any thread.
            unsafe { guard.defer(block.as_ptr(), give_back::<V>) };
        }
        Ok(())
    }

    /// Marks the word as watched, or no longer. What it holds; every later exchange follows this one, and
    /// finds the mark.
    pub(crate) fn watch<'g>(&self, watched: bool, guard: &'g Guard) -> Content<'g, V> {
        let mark = if watched { WATCHED } else { 0 };
        loop {
            let current = self.load(guard);
            let word = current.word.map_addr(|addr| addr & !WATCHED | mark);
            // AcqRel: who takes the mark away after a watcher has set it sees that watcher. [O7]
            let success = weakened("value_watch_relaxed", AcqRel);
            if self.0.compare_exchange(current.word, word, success, Relaxed).is_ok() {
                return Content { word, _life: PhantomData };
            }
            // Lost to a concurrent store: retry from the new word.
        }
    }

    /// Seals an empty word, if it is still `current`: no exchange against a word that was read before
    /// succeeds any more, and whoever reads it later sees what the caller wrote before.
    pub(crate) fn seal(&self, current: Content<'_, V>) -> bool {
        if mutated("close_reads_cells") {
            return true;
        }
        let sealed = match mutated("seal_changes_nothing") {
            true => current.word,
            false => current.word.map_addr(|addr| addr | SEALED),
        };
        // Release: the `closed` flag; pairs with Acquire in `load`. [O7]
        let success = weakened("value_seal_relaxed", Release);
        self.0.compare_exchange(current.word, sealed, success, Relaxed).is_ok()
    }
}

/// # Safety
/// `ptr` is the word of a cell that owned one reference to a `Stored<V>`, which is given back here.
unsafe fn give_back<V>(ptr: *mut ()) {
    // SAFETY: this function's contract.
    drop(Value::<V>::adopt(unsafe { BlockRef::from_ptr(ptr) }));
}
