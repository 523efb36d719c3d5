//! The epoch: while a [`Guard`] lives, nothing that was reachable under it is freed.
//!
//! This is `crossbeam-epoch` with its default collector. Reclamation is the only part of the crate
//! where a thread waits for others without blocking: memory retired under one epoch is freed once
//! every guard of that epoch is gone.
//!
//! What a thread retires it gathers, and hands to the collector [`BATCH`] objects at a time, as one:
//! the collector's work for each is most of what a store or a prune would cost.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_epoch as epoch;

#[cfg(crossbeam_loom)]
use super::model::pin;
#[cfg(not(crossbeam_loom))]
use epoch::pin;

/// How many retired objects a thread hands to the collector at a time.
const BATCH: usize = if cfg!(crossbeam_loom) { 1 } else { 64 };

/// A pinned epoch.
pub(crate) struct Guard(epoch::Guard);

/// An object that nobody can reach any more, and what frees it.
struct Retired {
    ptr: *mut (),
    free: unsafe fn(*mut ()),
}

/// What one thread has retired and not yet handed on; handed on at its end.
struct Batch(Vec<Retired>);

thread_local! {
    static BATCH_OF_THREAD: RefCell<Batch> = const { RefCell::new(Batch(Vec::new())) };
    /// Whether the thread is freeing. Like the next one it has no destructor of its own, so it is there
    /// until the thread has ended altogether.
    static FREEING: Cell<bool> = const { Cell::new(false) };
    /// What is to be freed next; holds nothing unless the thread is freeing.
    static NEXT: ManuallyDrop<RefCell<Vec<Retired>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Frees a batch. If the thread is freeing already, because a destructor retires or pins, this is put off
/// until that one has returned: destructors that are run inside each other would need a stack without
/// end. That happens above all when the thread ends, as each pin may then begin to collect.
fn free_all(mut batch: Vec<Retired>) {
    if cfg!(crossbeam_loom) {
        // A model's threads share this state. Its panic is its finding.
        return batch.drain(..).for_each(Retired::free);
    }
    if FREEING.replace(true) {
        return NEXT.with(|next| next.borrow_mut().append(&mut batch));
    }
    while !batch.is_empty() {
        for retired in batch {
            // A destructor that panics must neither end an operation half-done that has nothing to do
            // with it nor keep the rest of the batch. What it panicked with may have one as well.
            catch_unwind(AssertUnwindSafe(|| retired.free())).unwrap_or_else(std::mem::forget);
        }
        batch = NEXT.with(|next| next.take());
    }
    FREEING.set(false);
}

impl Retired {
    fn free(self) {
        // SAFETY: `defer` was promised that this may be called once, now, on any thread.
        unsafe { (self.free)(self.ptr) }
    }
}

impl Guard {
    /// Pins the current epoch. Nests; the outermost is a full fence.
    #[inline]
    pub(crate) fn pin() -> Self {
        Guard(pin())
    }

    /// Lets go of everything reachable so far, and pins anew.
    pub(crate) fn repin(&mut self) {
        self.0.repin();
    }

    /// Runs `free(ptr)` once no guard that exists now exists any more, on whichever thread gets to
    /// it, possibly while that thread exits.
    ///
    /// # Safety
    /// `free(ptr)` must be sound to call once, later, on any thread; `ptr` must be unreachable for
    /// guards pinned from now on.
    #[inline]
    pub(crate) unsafe fn defer(&self, ptr: *mut (), free: unsafe fn(*mut ())) {
        let retired = Retired { ptr, free };
        let full = BATCH_OF_THREAD.try_with(|batch| {
            let batch = &mut batch.borrow_mut().0;
            batch.push(Retired { ..retired });
            (batch.len() >= BATCH).then(|| std::mem::replace(batch, Vec::with_capacity(BATCH)))
        });
        match full {
            Ok(None) => {}
            Ok(Some(batch)) => self.hand_on(batch),
            // The thread is at its end, and has handed on what it had.
            Err(_) => self.hand_on(vec![retired]),
        }
    }

    /// Gives a batch to the collector. Every guard that an object in it has to wait for exists when it
    /// is retired, or does not exist any more.
    #[cold]
    fn hand_on(&self, batch: Vec<Retired>) {
        // SAFETY: the closure borrows nothing, and may run later on any thread: see `defer`.
        unsafe { self.0.defer_unchecked(move || free_all(batch)) };
        // Into the queue that all threads free from: this thread may be idle for long.
        self.0.flush();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let batch = std::mem::take(&mut self.0);
        if !batch.is_empty() {
            Guard::pin().hand_on(batch);
        }
    }
}

/// Brings pending destructors of values and nodes forward.
///
/// Memory and values that leave a tree are freed late: when no operation that could still see them
/// is under way. That happens by itself as threads go on using trees; a thread that has finished,
/// and wants what it removed gone now, calls this. It frees what no operation on another thread
/// still holds back, and runs the destructors of those values on this thread.
///
/// # Progress
/// Lock-free apart from the destructors that it runs; never needed for correctness.
///
/// # Complexity
/// That of freeing what this thread has put off, and some of what others have.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use killick::{Limits, Tree};
///
/// let value = Arc::new(7);
/// let tree = Tree::new(Limits::default());
/// tree.root().store_at("a", value.clone(), true)?;
/// drop(tree);
/// for _ in 0..1000 {
///     killick::reclaim();
/// }
/// assert_eq!(Arc::strong_count(&value), 1);
/// # Ok::<(), killick::StoreAtError<Arc<i32>>>(())
/// ```
pub fn reclaim() {
    let batch = BATCH_OF_THREAD.try_with(|batch| std::mem::take(&mut batch.borrow_mut().0));
    let batch = batch.unwrap_or_default();
    if !batch.is_empty() {
        Guard::pin().hand_on(batch);
    }
    // One flush moves this thread's garbage to the global queue and tries to advance the epoch; an
    // object is freed two epochs after it was retired.
    for _ in 0..4 {
        pin().flush();
    }
}
