//! The epoch: while a [`Guard`] lives, nothing that was reachable under it is freed.
//!
//! This is `crossbeam-epoch` with its default collector. Reclamation is the only part of the crate
//! where a thread waits for others without blocking: memory retired under one epoch is freed once
//! every guard of that epoch is gone.

use crossbeam_epoch as epoch;

#[cfg(crossbeam_loom)]
use super::model::pin;
#[cfg(not(crossbeam_loom))]
use epoch::pin;

/// A pinned epoch.
pub(crate) struct Guard(epoch::Guard);

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
    pub(crate) unsafe fn defer(&self, ptr: *mut (), free: unsafe fn(*mut ())) {
        let call = move || {
            // SAFETY: this function's contract.
            unsafe { free(ptr) }
        };
        // SAFETY: the closure borrows nothing, and may run later on any thread by this function's
        // contract.
        unsafe { self.0.defer_unchecked(call) }
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
/// Wait-free apart from the destructors that it runs; never needed for correctness.
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
    // One flush moves this thread's garbage to the global queue and tries to advance the epoch; an
    // object is freed two epochs after it was retired.
    for _ in 0..4 {
        pin().flush();
    }
}
