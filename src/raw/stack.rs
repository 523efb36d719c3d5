//! A stack that many threads push to, and walk through as it was at one moment.
//!
//! An item never changes once it is pushed, and never leaves alone: [`Stack::keep`] puts a copy of those
//! that are still wanted in the place of all. So one load of the top is a snapshot.

use std::marker::PhantomData;

use super::block::BlockRef;
use crate::sync::{AcqRel, Acquire, AtomicPtr, Guard, Relaxed, weakened};

struct Item<T> {
    value: T,
    /// The item below; null for the last.
    next: *mut (),
}

type ItemBlock<'g, T> = BlockRef<'g, Item<T>, (), ()>;

pub(crate) struct Stack<T>(AtomicPtr<()>, PhantomData<T>);

// SAFETY: gives shared access to T from any thread, and drops T on any: hence both bounds.
unsafe impl<T: Send + Sync> Send for Stack<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Stack<T> {}

impl<T: Send + Sync + 'static> Stack<T> {
    pub(crate) fn new() -> Self {
        Stack(AtomicPtr::new(std::ptr::null_mut()), PhantomData)
    }

    fn top(&self) -> *mut () {
        // Acquire: sees the items that the exchange published; pairs with Release there. [O13]
        self.0.load(weakened("stack_load_relaxed", Acquire))
    }

    fn exchange(&self, current: *mut (), new: *mut ()) -> bool {
        // Release: publishes the items; pairs with Acquire in `top`. Acquire: the items below are
        // another thread's. Relaxed on failure: lost to a concurrent push; the caller loads again.
        // [O13]
        let success = weakened("stack_publish_relaxed", AcqRel);
        self.0.compare_exchange(current, new, success, Relaxed).is_ok()
    }

    /// # Progress
    /// Lock-free.
    pub(crate) fn push(&self, value: T) {
        let item = ItemBlock::alloc_copy(Item { value, next: std::ptr::null_mut() }, (), &[]);
        loop {
            let top = self.top();
            // SAFETY: P3: not published, so this is the only reference.
            unsafe { item.head_mut() }.next = top;
            if self.exchange(top, item.as_ptr()) {
                return;
            }
            // Lost to a concurrent push: retry on top of that.
        }
    }

    /// The values, last pushed first, as they are at this moment.
    pub(crate) fn iter<'g>(&self, _guard: &'g Guard) -> impl Iterator<Item = &'g T> {
        items(self.top()).map(|item| &item.head().value)
    }

    /// Takes those out that `wanted` does not want, unless others push meanwhile. How many are left.
    pub(crate) fn keep(&self, wanted: impl Fn(&T) -> bool, guard: &Guard) -> Option<usize>
    where
        T: Clone,
    {
        let (top, kept, mut len) = (self.top(), Stack::new(), 0);
        for value in items::<T>(top).map(|item| &item.head().value).filter(|value| wanted(value)) {
            kept.push(value.clone());
            len += 1;
        }
        if !self.exchange(top, kept.top()) {
            return None;
        }
        std::mem::forget(kept);
        items::<T>(top).for_each(|item| item.retire(guard));
        Some(len)
    }
}

/// The items from `next` down. By P1 they may be read for `'g`.
fn items<'g, T: 'g>(mut next: *mut ()) -> impl Iterator<Item = ItemBlock<'g, T>> {
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: from `as_ptr` of an item; read from the stack, or from an item above.
        let item = unsafe { ItemBlock::<T>::from_ptr(next) };
        next = item.head().next;
        Some(item)
    })
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        // Relaxed: nobody else has the stack any more.
        items::<T>(self.0.load(Relaxed)).for_each(BlockRef::free);
    }
}
