//! Blocks: a header and a run of items in one allocation, behind one thin pointer.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, align_of, needs_drop, offset_of, size_of};
use std::ptr::NonNull;

use crate::sync::{FAN_BITS, Guard, Witness, alloc, dealloc, mutated};

/// The bits of an address. Words that lead to blocks use the others, and their low bits, for marks.
pub(super) const ADDRESS: usize = (1 << 48) - 1;

/// How a block's header word gives the number of its items.
///
/// # Safety
/// `len` is a pure function of the value, which never changes once the block is made.
pub(crate) unsafe trait Length: Copy {
    fn len(self) -> usize;
}

/// A plain count.
#[derive(Clone, Copy)]
pub(crate) struct Count(u32);

/// The number of places in a branch.
#[derive(Clone, Copy)]
pub(crate) struct Fan;

/// A count of at most 255 and 24 bits for the holder's own use.
#[derive(Clone, Copy)]
pub(crate) struct Packed(u32);

// SAFETY: a constant.
unsafe impl Length for () {
    #[inline]
    fn len(self) -> usize {
        0
    }
}

// SAFETY: pure, and the field is never written after construction.
unsafe impl Length for Count {
    #[inline]
    fn len(self) -> usize {
        self.0 as usize
    }
}

// SAFETY: a constant.
unsafe impl Length for Fan {
    #[inline]
    fn len(self) -> usize {
        1 << FAN_BITS
    }
}

// SAFETY: pure, and the field is never written after construction.
unsafe impl Length for Packed {
    #[inline]
    fn len(self) -> usize {
        (self.0 & 0xFF) as usize
    }
}

impl Count {
    pub(crate) fn new(len: usize) -> Self {
        Count(u32::try_from(len).expect("a block holds fewer than 2^32 items"))
    }
}

impl Packed {
    /// # Panics
    /// If `len` exceeds 255 or `extra` 24 bits, which [`Limits`](crate::Limits) rules out.
    #[inline]
    pub(crate) fn new(len: usize, extra: usize) -> Self {
        assert!(len <= 0xFF && extra < 1 << 24, "length {len} or extra {extra} does not fit");
        Packed((extra as u32) << 8 | len as u32)
    }

    #[inline]
    pub(crate) fn extra(self) -> usize {
        (self.0 >> 8) as usize
    }
}

/// The memory of one block. The items start right after `len`, inside the header's trailing padding
/// if there is any: a node of 36 bytes and a name of four occupies 40.
#[repr(C)]
pub(crate) struct Block<H, L, T> {
    head: H,
    len: L,
    witness: Witness,
    items: [T; 0],
}

impl<H, L: Length, T> Block<H, L, T> {
    fn layout(len: L) -> Layout {
        let size = (offset_of!(Self, items) + len.len() * size_of::<T>()).max(size_of::<Self>());
        Layout::from_size_align(size, align_of::<Self>())
            .expect("a block is far smaller than the address space")
            .pad_to_align()
    }
}

/// Copies `from`. What is short, as most names are, in two pieces that overlap, without a call.
#[inline]
fn copy<T: Copy>(to: &mut [MaybeUninit<T>], from: &[T]) {
    #[inline]
    fn ends<const N: usize, T: Copy>(to: &mut [MaybeUninit<T>], from: &[T]) {
        let end = from.len() - N;
        to[..N].write_copy_of_slice(&from[..N]);
        to[end..].write_copy_of_slice(&from[end..]);
    }
    match from.len() {
        0 => {}
        1 => ends::<1, T>(to, from),
        2..4 => ends::<2, T>(to, from),
        4..8 => ends::<4, T>(to, from),
        8..=16 => ends::<8, T>(to, from),
        _ => {
            to.write_copy_of_slice(from);
        }
    }
}

/// A pointer to a block that may be read for `'g`. Copies freely; owns nothing.
pub(crate) struct BlockRef<'g, H, L, T> {
    ptr: NonNull<Block<H, L, T>>,
    _life: PhantomData<&'g Block<H, L, T>>,
}

impl<H, L, T> Clone for BlockRef<'_, H, L, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H, L, T> Copy for BlockRef<'_, H, L, T> {}

impl<H, L, T> PartialEq for BlockRef<'_, H, L, T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.ptr == other.ptr
    }
}

impl<'g, H, L: Length, T> BlockRef<'g, H, L, T> {
    /// Allocates a block. It is private to the caller until published, and leaks unless it is
    /// published or freed.
    ///
    /// # Panics
    /// If `items` does not yield as many items as `len` says. Aborts when memory is exhausted.
    pub(crate) fn alloc(head: H, len: L, items: impl IntoIterator<Item = T>) -> Self {
        let this = Self::alloc_bare(head, len);
        let mut written = 0;
        for item in items {
            assert!(written < len.len(), "more items than the block's length says");
            // SAFETY: `written < len`, and the layout has room for `len` items.
            let place = unsafe { this.items_ptr().add(written) };
            // SAFETY: within the allocation, aligned, and not shared yet.
            unsafe { place.write(item) };
            written += 1;
        }
        assert!(written == len.len(), "fewer items than the block's length says");
        this
    }

    /// The same with items to be copied.
    ///
    /// # Panics
    /// If there are not as many as `len` says.
    #[inline]
    pub(crate) fn alloc_copy(head: H, len: L, items: &[T]) -> Self
    where
        T: Copy,
    {
        assert!(items.len() == len.len(), "as many items as the block's length says");
        let this = Self::alloc_bare(head, len);
        // SAFETY: the layout has room for `len` items, and the allocation is not shared yet.
        let place = unsafe { std::slice::from_raw_parts_mut(this.items_ptr().cast(), items.len()) };
        copy(place, items);
        this
    }

    /// A block whose items are yet to be written.
    #[inline]
    fn alloc_bare(head: H, len: L) -> Self {
        let layout = Block::<H, L, T>::layout(len);
        // SAFETY: the layout covers at least the header, so its size is not zero.
        let raw = unsafe { alloc(layout) }.cast::<Block<H, L, T>>();
        let Some(ptr) = NonNull::new(raw) else { std::alloc::handle_alloc_error(layout) };
        assert!(raw.addr() <= ADDRESS, "an address of more than 48 bits");
        let block = Block { head, len, witness: Witness::new(), items: [] };
        // SAFETY: freshly allocated with this type's alignment and at least its size.
        unsafe { ptr.write(block) };
        BlockRef { ptr, _life: PhantomData }
    }

    fn items_ptr(self) -> *mut T {
        // SAFETY: the offset lies within the allocation, whose size `layout` computed from it.
        unsafe { self.ptr.as_ptr().byte_add(offset_of!(Block<H, L, T>, items)) }.cast()
    }

    #[inline]
    fn block(self) -> &'g Block<H, L, T> {
        // SAFETY: a `BlockRef<'g>` points to an initialised block that outlives 'g: made by `alloc`
        // and not yet freed (P3), or read under a guard or counted reference of lifetime 'g (P1).
        let block = unsafe { self.ptr.as_ref() };
        block.witness.check();
        block
    }

    #[inline]
    pub(crate) fn head(self) -> &'g H {
        &self.block().head
    }

    #[inline]
    pub(crate) fn len_word(self) -> L {
        self.block().len
    }

    #[inline]
    pub(crate) fn items(self) -> &'g [T] {
        let len = self.block().len.len();
        // SAFETY: `alloc` wrote exactly `len` items; those that change afterwards are atomic.
        unsafe { std::slice::from_raw_parts(self.items_ptr(), len) }
    }

    /// The items of a block whose length the caller knows: the header is not read.
    ///
    /// # Safety
    /// The block has `len` items.
    #[inline]
    pub(super) unsafe fn items_of(self, len: usize) -> &'g [T] {
        self.block();
        // SAFETY: this function's contract, and as in `items`.
        unsafe { std::slice::from_raw_parts(self.items_ptr(), len) }
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> *mut () {
        self.ptr.as_ptr().cast()
    }

    /// # Safety
    /// `ptr` came from [`as_ptr`](Self::as_ptr) of this very type, and the block may be read for
    /// 'g.
    #[inline]
    pub(crate) unsafe fn from_ptr(ptr: *mut ()) -> Self {
        // SAFETY: `as_ptr` never returns null.
        let ptr = unsafe { NonNull::new_unchecked(ptr.cast()) };
        BlockRef { ptr, _life: PhantomData }
    }

    /// # Safety
    /// The caller is the only one who has the pointer.
    pub(super) unsafe fn head_mut(self) -> &'g mut H {
        // SAFETY: initialised by `alloc`; exclusive by this function's contract.
        unsafe { &mut (*self.ptr.as_ptr()).head }
    }

    /// Frees the block and returns its header.
    ///
    /// # Safety
    /// The caller is the only one who has the pointer, and does not use it again.
    pub(super) unsafe fn into_head(self) -> H {
        let len = self.len_word();
        let layout = Block::<H, L, T>::layout(len);
        self.block().witness.retire();
        if needs_drop::<T>() {
            let items = std::ptr::slice_from_raw_parts_mut(self.items_ptr(), len.len());
            // SAFETY: initialised by `alloc`, and dropped once, as the block is not used again.
            unsafe { items.drop_in_place() };
        }
        // SAFETY: initialised by `alloc`; moved out once, as the block is not used again.
        let block = unsafe { self.ptr.read() };
        // SAFETY: allocated by `alloc` with the layout that follows from the same length.
        unsafe { dealloc(self.ptr.as_ptr().cast(), layout) };
        block.head
    }

    /// Frees the block at once. By P3 it was never published, or its last reader is gone.
    pub(crate) fn free(self) {
        // SAFETY: P3: nobody else has the pointer, and the caller does not use it again.
        unsafe { Self::free_raw(self.as_ptr()) }
    }

    /// Frees the block once no guard can reach it. By P2 it is unlinked, and this is the only call.
    pub(crate) fn retire(self, guard: &Guard) {
        if mutated("free_without_epoch") {
            return self.free();
        }
        // SAFETY: new readers cannot reach it and it is retired once (P2); old readers hold a guard,
        // which `defer` waits for.
        unsafe { guard.defer(self.as_ptr(), Self::free_raw) }
    }

    /// # Safety
    /// `ptr` came from [`as_ptr`](Self::as_ptr) of this very type, and the block is not used again.
    pub(super) unsafe fn free_raw(ptr: *mut ()) {
        // SAFETY: this function's contract; `into_head` needs the same.
        let this = unsafe { Self::from_ptr(ptr) };
        // SAFETY: as above.
        drop(unsafe { this.into_head() });
    }
}
