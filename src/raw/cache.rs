//! Per-thread caches of freed blocks.
//!
//! The epoch frees in bursts of dozens, which overflow the few places that an allocator keeps per
//! thread and size, and each burst then goes through its slow path. Blocks are small and of few
//! sizes, so a thread keeps some of those that it frees, by size, for the next ones it makes.
//!
//! - Sizes are multiples of 8, from 8 to [`LARGEST`] bytes; larger blocks go to the allocator.
//! - A thread keeps at most [`KEEP`] blocks of a size, 820 KiB in all; the rest, and all at its end,
//!   go back.
//! - Nothing is kept where it would hide mistakes from a tool that watches the allocator: under
//!   `--cfg killick_check`, which the sanitizer runs set, in fuzzing, and in models.

use std::alloc::{Layout, alloc as system_alloc, dealloc as system_dealloc};
use std::cell::UnsafeCell;
use std::ptr;

/// The largest block that is kept.
const LARGEST: usize = 320;
/// The most blocks of one size that a thread keeps.
const KEEP: u32 = 128;
const CLASSES: usize = LARGEST / 8;

/// The blocks of one size, each pointing to the next.
#[derive(Clone, Copy)]
struct Class {
    first: *mut u8,
    len: u32,
}

struct Cache([Class; CLASSES]);

thread_local! {
    static CACHE: UnsafeCell<Cache> =
        const { UnsafeCell::new(Cache([Class { first: ptr::null_mut(), len: 0 }; CLASSES])) };
}

/// The class of a layout, if blocks of it are kept.
#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size();
    let fits = layout.align() == 8 && size.is_multiple_of(8) && (8..=LARGEST).contains(&size);
    fits.then(|| size / 8 - 1)
}

/// # Safety
/// As for [`std::alloc::alloc`].
#[inline]
pub(crate) unsafe fn alloc(layout: Layout) -> *mut u8 {
    let kept = class_of(layout).and_then(|class| {
        CACHE
            .try_with(|cache| {
                // SAFETY: the thread's own, and nothing in here calls back.
                let class = unsafe { &mut (*cache.get()).0[class] };
                let first = class.first;
                if !first.is_null() {
                    // SAFETY: a kept block holds the pointer to the next one.
                    class.first = unsafe { first.cast::<*mut u8>().read() };
                    class.len -= 1;
                }
                first
            })
            .ok()
    });
    match kept {
        Some(block) if !block.is_null() => block,
        // SAFETY: this function's contract.
        _ => unsafe { system_alloc(layout) },
    }
}

/// # Safety
/// As for [`std::alloc::dealloc`], for a block from [`alloc`].
#[inline]
pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    let kept = class_of(layout).is_some_and(|class| {
        CACHE
            .try_with(|cache| {
                // SAFETY: as in `alloc`.
                let class = unsafe { &mut (*cache.get()).0[class] };
                if class.len == KEEP {
                    return false;
                }
                // SAFETY: the block is at least 8 bytes, aligned to 8, and nobody else's.
                unsafe { block.cast::<*mut u8>().write(class.first) };
                class.first = block;
                class.len += 1;
                true
            })
            .unwrap_or(false)
    });
    if !kept {
        // SAFETY: this function's contract; kept blocks came from the same allocator and layout.
        unsafe { system_dealloc(block, layout) };
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        for (class, kept) in self.0.iter_mut().enumerate() {
            let layout = Layout::from_size_align((class + 1) * 8, 8).expect("a small size");
            while !kept.first.is_null() {
                let block = kept.first;
                // SAFETY: as in `alloc`.
                kept.first = unsafe { block.cast::<*mut u8>().read() };
                // SAFETY: allocated by the system with the layout of its class.
                unsafe { system_dealloc(block, layout) };
            }
        }
    }
}
