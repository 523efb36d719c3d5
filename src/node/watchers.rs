//! Who is to be told of which node's changes.
//!
//! A node has no room for its watchers. It has two marks: one in the cell word, for a watcher of the cell
//! or of the parent's children, and one in the children word. Whoever changes a word that is marked
//! looks here for the watchers of that node. So a node that nobody watches pays nothing, and a
//! watcher is told of every change that it has not seen: it puts itself here first, then sets the
//! mark by an exchange, then looks. A change precedes that exchange, and is seen, or follows it, and
//! finds the mark.
//!
//! Not every change is of a marked word: a slot of a table has no mark, and a watcher of children does not
//! write to a cell that is marked already. So there is a fence on either side, too: between the change
//! and the look for watchers (`of`), and between the mark and the look at what is watched.
//!
//! A watcher is only told *that* something changed; what, it finds out by looking. So it owes nothing for
//! changes that others have overtaken, however long it sleeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::raw::stack::Stack;
use crate::sync::{
    AcqRel, Acquire, AtomicBool, AtomicWaker, Counter, Guard, Relaxed, SeqCst, WATCHER_LISTS,
    fence, weakened, weakened_to,
};

/// What of a node is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Cell,
    Children,
}

/// How a watcher is told.
pub(crate) struct Signal {
    /// Something has changed since the watcher last looked.
    changed: AtomicBool,
    /// The watcher is gone.
    gone: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    /// One that is to look at once.
    pub(crate) fn new() -> Self {
        Signal {
            changed: AtomicBool::new(true),
            gone: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    fn tell(&self) {
        // Relaxed: the fence before makes it a release of the change; pairs with `take`. [O14]
        if !self.changed.swap(true, Relaxed) {
            // Else it was told before, and has not looked since: it was woken then. A waker that panics
            // must not end the operation that tells it half-done; what it is, is no concern here.
            let woken = catch_unwind(AssertUnwindSafe(|| self.waker.wake()));
            woken.unwrap_or_else(std::mem::forget);
        }
    }

    /// Whether something has changed since the last call.
    pub(crate) fn take(&self) -> bool {
        // Acquire: a look that follows sees the change; pairs with the fence before
        // `tell`. [O14]
        self.changed.swap(false, weakened("take_relaxed", Acquire))
    }

    /// Has `waker` woken by the next change, instead of any before.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }
}

/// A watcher and what it watches. A node that is watched is held, so its address is its own.
#[derive(Clone)]
struct Watcher {
    node: usize,
    what: What,
    signal: Arc<Signal>,
}

impl Watcher {
    fn is_gone(&self) -> bool {
        // Relaxed: one that is told in vain takes no harm, and who looks whether there is any has a fence
        // before it.
        self.signal.gone.load(Relaxed)
    }
}

struct List {
    watchers: Stack<Watcher>,
    len: Counter,
    gone: Counter,
}

/// The watchers of one tree.
pub(crate) struct Watchers(Box<[List]>);

impl Watchers {
    pub(crate) fn new() -> Self {
        let list = || List { watchers: Stack::new(), len: Counter::new(0), gone: Counter::new(0) };
        Watchers((0..WATCHER_LISTS).map(|_| list()).collect())
    }

    fn list(&self, node: usize) -> &List {
        let mixed = (node >> 3).wrapping_mul(0x9E37_79B9) >> 16;
        &self.0[mixed & (WATCHER_LISTS - 1)]
    }

    /// Adds a watcher, which sets the mark next.
    pub(crate) fn add(&self, node: usize, what: What, signal: Arc<Signal>) {
        let list = self.list(node);
        list.watchers.push(Watcher { node, what, signal });
        // Relaxed: a figure that says when to clean.
        list.len.fetch_add(1, Relaxed);
    }

    /// Forgets a watcher. Those that are gone are cleared away when they are an eighth of a list.
    pub(crate) fn forget(&self, node: usize, signal: &Signal, guard: &Guard) {
        signal.gone.store(true, Relaxed);
        signal.waker.clear();
        let list = self.list(node);
        // Relaxed: figures that say when to clean, and may miss a watcher that comes or goes meanwhile.
        let gone = list.gone.fetch_add(1, Relaxed) + 1;
        if 8 * gone >= list.len.load(Relaxed)
            && let Some(len) = list.watchers.keep(|watcher| !watcher.is_gone(), guard)
        {
            list.len.store(len, Relaxed);
            list.gone.store(0, Relaxed);
        }
    }

    /// The watchers of `what` of a node. What the caller wrote before is seen by those that are not
    /// among them, once they look.
    fn of<'g>(
        &self,
        node: usize,
        what: What,
        guard: &'g Guard,
    ) -> impl Iterator<Item = &'g Watcher> {
        // Pairs with the fence in `Registration::new`, and with itself: of two that go at once, one sees
        // the other gone. [O15]
        fence(weakened_to("tell_fence_acqrel", SeqCst, AcqRel));
        let watchers = self.list(node).watchers.iter(guard);
        watchers.filter(move |watcher| {
            (watcher.node, watcher.what) == (node, what) && !watcher.is_gone()
        })
    }

    /// Whether `what` of a node has a watcher.
    pub(crate) fn any(&self, node: usize, what: What, guard: &Guard) -> bool {
        self.of(node, what, guard).next().is_some()
    }

    /// Tells the watchers of `what` of a node. Whether there is any.
    pub(crate) fn tell(&self, node: usize, what: What, guard: &Guard) -> bool {
        self.of(node, what, guard).map(|watcher| watcher.signal.tell()).count() > 0
    }

    /// Tells all watchers.
    pub(crate) fn tell_all(&self, guard: &Guard) {
        // As in `of`. [O15]
        fence(weakened_to("tell_fence_acqrel", SeqCst, AcqRel));
        let all = self.0.iter().flat_map(|list| list.watchers.iter(guard));
        all.for_each(|watcher| watcher.signal.tell());
    }
}
