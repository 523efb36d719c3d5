//! Watching a cell, or the children of a node: first the present state, then the latest.
//!
//! A watcher is told that something has changed, and looks what: see [`node::watchers`]. What it has not
//! looked at yet, later changes overtake. So nothing queues, and a watcher that sleeps for an hour
//! owes one look.
//!
//! [`node::watchers`]: crate::node::watchers

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_core::Stream;

use crate::anchor::Anchor;
use crate::cell::{self, Loaded};
use crate::ls;
use crate::node::children;
use crate::node::watchers::{Signal, What};
use crate::prune;
use crate::raw::value::Value;
use crate::sync::{AcqRel, Guard, SeqCst, fence, mutated, weakened_to};

/// A watcher in the tree's list, with a handle to what it watches.
struct Registration<V: Send + Sync + 'static> {
    anchor: Anchor<V>,
    what: What,
    signal: Arc<Signal>,
    /// The tree is gone, and the watcher has looked since.
    ended: bool,
}

impl<V: Send + Sync + 'static> Registration<V> {
    fn new(anchor: Anchor<V>, what: What) -> Self {
        let signal = Arc::new(Signal::new());
        let node = anchor.held();
        node.tree().watchers.add(node.addr(), what, signal.clone());
        let registration = Registration { anchor, what, signal, ended: false };
        registration.mark();
        // Between being listed and marked and the first look; pairs with those in `Watchers`. [O15]
        fence(weakened_to("register_fence_acqrel", SeqCst, AcqRel));
        registration
    }

    /// Has every change from now on told.
    fn mark(&self) {
        let guard = Guard::pin();
        let (held, node) = (self.anchor.held(), self.anchor.held().node_under(&guard));
        match self.what {
            What::Cell => drop(node.cell.watch(true, &guard)),
            What::Children => prune::give_back(children::watch(node, held.tree(), &guard)),
        }
    }

    /// What `look` finds, if it finds anything new: at once if something has changed since the last
    /// time; else `waker`, if there is one, is woken when something does.
    fn poll<T>(
        &mut self,
        waker: Option<&Waker>,
        mut look: impl FnMut(&Anchor<V>) -> Option<T>,
    ) -> Poll<Option<T>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            // Before the look: a change after it sets the signal again.
            waker.into_iter().for_each(|waker| self.signal.register(waker));
            if !self.signal.take() {
                return Poll::Pending;
            }
            // Before the look, too: who sees the end sees all empty.
            let tree = self.anchor.held().tree();
            self.ended = match mutated("watch_ends_early") {
                true => tree.is_closed(),
                false => tree.is_swept(),
            };
            if let Some(new) = look(&self.anchor) {
                return Poll::Ready(Some(new));
            }
        }
    }
}

impl<V: Send + Sync + 'static> Drop for Registration<V> {
    fn drop(&mut self) {
        let guard = Guard::pin();
        let (held, node) = (self.anchor.held(), self.anchor.held().node_under(&guard));
        let watchers = &held.tree().watchers;
        watchers.forget(node.addr(), &self.signal, &guard);
        // The mark of a cell is taken away by the next change that finds nobody to tell.
        while self.what == What::Children && !watchers.any(node.addr(), self.what, &guard) {
            children::unwatch(node, &guard);
            if !watchers.any(node.addr(), self.what, &guard) || mutated("unwatch_for_good") {
                return;
            }
            // One that has come meanwhile and found the mark needs it, and misses what has changed
            // since. If it has gone by now, it may have left the mark to this thread: look again.
            self.mark();
            watchers.tell(node.addr(), self.what, &guard);
        }
    }
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until there is something, and sleeps in between.
pub(crate) fn block<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// What a cell holds: first at present, then whenever it has changed. Made by
/// [`Anchor::watch`]; keeps its node alive.
///
/// Each item is the latest state: a change that was overtaken by another before the watcher looked is
/// not shown, and the revision tells how many those were. The stream ends when the
/// [`Tree`](crate::Tree) is dropped, after it has shown the cell empty.
///
/// # Examples
/// ```
/// use killick::{Limits, Tree};
///
/// let tree = Tree::new(Limits::default());
/// let anchor = tree.root().walk("a")?;
/// let mut watch = anchor.watch();
/// assert_eq!(watch.blocking_next().unwrap().revision, 0); // the present state: empty
/// anchor.store("one", true).unwrap();
/// anchor.store("two", true).unwrap();
/// let latest = watch.blocking_next().unwrap();
/// assert_eq!((latest.value.as_deref(), latest.revision), (Some(&"two"), 2)); // "one" was overtaken
/// assert!(watch.try_next().is_none()); // nothing new
/// drop(tree);
/// assert!(watch.blocking_next().unwrap().value.is_none());
/// assert!(watch.blocking_next().is_none()); // the end
/// # Ok::<(), killick::WalkError>(())
/// ```
#[must_use = "a watch does nothing unless it is polled"]
pub struct Watch<V: Send + Sync + 'static> {
    registration: Registration<V>,
    /// The revision that was shown last.
    shown: Option<u64>,
}

impl<V: Send + Sync + 'static> Watch<V> {
    pub(crate) fn new(anchor: Anchor<V>) -> Self {
        Watch { registration: Registration::new(anchor, What::Cell), shown: None }
    }

    /// The next state, as [`Stream::poll_next`]: for callers without a stream library.
    ///
    /// # Progress
    /// Wait-free, O(1).
    ///
    /// # Ordering
    /// A change that happens before this is shown by it, or was overtaken by one that is; what happened
    /// before the shown value was stored happens before the return.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Loaded<V>>> {
        self.advance(Some(context.waker()))
    }

    fn advance(&mut self, waker: Option<&Waker>) -> Poll<Option<Loaded<V>>> {
        let shown = &mut self.shown;
        self.registration.poll(waker, |anchor| {
            let loaded = cell::load(anchor.held());
            (shown.replace(loaded.revision) != Some(loaded.revision)).then_some(loaded)
        })
    }

    /// The next state, once there is one that was not shown yet; nothing at the end.
    ///
    /// # Progress
    /// Blocks the calling thread until then, and nobody else. Otherwise as [`poll`](Self::poll).
    pub fn blocking_next(&mut self) -> Option<Loaded<V>> {
        block(|context| self.poll(context))
    }

    /// The next state, if there is one that was not shown yet. A task that [`poll`](Self::poll)ed stays
    /// registered.
    ///
    /// # Progress
    /// Wait-free. Otherwise as [`poll`](Self::poll).
    pub fn try_next(&mut self) -> Option<Loaded<V>> {
        match self.advance(None) {
            Poll::Ready(state) => state,
            Poll::Pending => None,
        }
    }
}

impl<V: Send + Sync + 'static> Stream for Watch<V> {
    type Item = Loaded<V>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Loaded<V>>> {
        self.poll(context)
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for Watch<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("anchor", &self.registration.anchor).finish_non_exhaustive()
    }
}

/// Resolves to a cell's value once it holds one; to nothing if the [`Tree`](crate::Tree) is dropped
/// before. Made by [`Anchor::wait`]; keeps its node alive.
///
/// # Examples
/// ```
/// use killick::{Limits, Tree};
///
/// let tree = Tree::new(Limits::default());
/// let anchor = tree.root().walk("a")?;
/// let wait = anchor.wait();
/// let other = std::thread::spawn(move || wait.blocking());
/// anchor.store("here", true).unwrap();
/// assert_eq!(other.join().unwrap().as_deref(), Some(&"here"));
///
/// let in_vain = tree.root().walk("b")?.wait();
/// drop(tree);
/// assert!(in_vain.blocking().is_none());
/// # Ok::<(), killick::WalkError>(())
/// ```
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Wait<V: Send + Sync + 'static>(Watch<V>);

impl<V: Send + Sync + 'static> Wait<V> {
    pub(crate) fn new(anchor: Anchor<V>) -> Self {
        Wait(Watch::new(anchor))
    }

    fn poll_value(&mut self, context: &mut Context<'_>) -> Poll<Option<Value<V>>> {
        loop {
            match self.0.poll(context) {
                Poll::Ready(Some(Loaded { value: None, .. })) => {}
                Poll::Ready(loaded) => return Poll::Ready(loaded.and_then(|loaded| loaded.value)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The value, once there is one; nothing if the tree is dropped before.
    ///
    /// # Progress
    /// Blocks the calling thread until then, and nobody else. Each look is O(1), and lock-free: it is
    /// repeated only after another thread has filled the cell and emptied it again.
    ///
    /// # Ordering
    /// As [`Anchor::load`](crate::Anchor::load) that finds the value.
    pub fn blocking(mut self) -> Option<Value<V>> {
        block(|context| self.poll_value(context))
    }
}

impl<V: Send + Sync + 'static> Future for Wait<V> {
    type Output = Option<Value<V>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Value<V>>> {
        self.poll_value(context)
    }
}

/// How the children of a node differ from what a [`WatchChildren`] showed last. Names are in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildrenChange {
    /// Those that came, each with whether its cell holds a value.
    pub added: Vec<(String, bool)>,
    /// Those that went.
    pub removed: Vec<String>,
    /// Those that stayed and now hold a value.
    pub filled: Vec<String>,
    /// Those that stayed and no longer hold one.
    pub emptied: Vec<String>,
}

impl ChildrenChange {
    /// Whether nothing is different, in O(1).
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.filled.is_empty()
            && self.emptied.is_empty()
    }

    /// From what was known to what is there: names of children, and whether each holds a value.
    ///
    /// # Complexity
    /// O((m + n) log (m + n)) for m and n names.
    ///
    /// # Examples
    /// ```
    /// use std::collections::BTreeMap;
    /// use killick::ChildrenChange;
    ///
    /// let of = |names: &[(&str, bool)]| -> BTreeMap<String, bool> {
    ///     names.iter().map(|(name, filled)| (name.to_string(), *filled)).collect()
    /// };
    /// let (mut known, now) = (of(&[("a", false), ("b", true)]), of(&[("b", false), ("c", true)]));
    /// let change = ChildrenChange::between(&known, &now);
    /// assert_eq!(change.added, [("c".to_string(), true)]);
    /// assert_eq!((change.removed.as_slice(), change.emptied.as_slice()), (&["a".into()][..], &["b".into()][..]));
    /// change.apply(&mut known);
    /// assert_eq!(known, now);
    /// assert!(ChildrenChange::between(&known, &now).is_empty());
    /// ```
    pub fn between(known: &BTreeMap<String, bool>, now: &BTreeMap<String, bool>) -> Self {
        let mut change = ChildrenChange::default();
        for (name, &is_filled) in now {
            match known.get(name) {
                None => change.added.push((name.clone(), is_filled)),
                Some(&before) if before == is_filled => {}
                Some(true) => change.emptied.push(name.clone()),
                Some(false) => change.filled.push(name.clone()),
            }
        }
        change.removed.extend(known.keys().filter(|name| !now.contains_key(*name)).cloned());
        change
    }

    /// Makes of what was known what is there. A child that has both gone and come is there.
    ///
    /// # Complexity
    /// O((m + n) log (m + n)) for m names of n that are known.
    pub fn apply(&self, known: &mut BTreeMap<String, bool>) {
        known.retain(|name, _| self.removed.binary_search(name).is_err());
        known.extend(self.added.iter().cloned());
        for (names, is_filled) in [(&self.filled, true), (&self.emptied, false)] {
            known.extend(names.iter().map(|name| (name.clone(), is_filled)));
        }
    }
}

/// The children of a node: first all that there are, then how they have changed. Made by
/// [`Anchor::watch_children`]; keeps its node alive.
///
/// Each item leads from the state shown last to the latest: a child that came and went in between is not
/// shown, nor is one that went and came again. The names are those of one moment; whether each is
/// filled is what it was at some moment since. The stream ends when the [`Tree`](crate::Tree) is
/// dropped, after it has shown every child empty.
///
/// # Examples
/// ```
/// use killick::{Limits, Tree};
///
/// let tree = Tree::new(Limits::default());
/// let workers = tree.root().walk("workers")?;
/// let one = workers.walk("1")?;
/// let mut watch = workers.watch_children();
/// assert_eq!(watch.blocking_next().unwrap().added, [("1".to_string(), false)]);
///
/// one.store("inbox", true).unwrap();
/// drop(workers.walk("2")?); // came and went: never shown
/// let change = watch.blocking_next().unwrap();
/// assert_eq!(change.filled, ["1"]);
/// assert!(change.added.is_empty() && change.removed.is_empty());
/// assert!(watch.try_next().is_none()); // nothing new
/// # Ok::<(), killick::WalkError>(())
/// ```
#[must_use = "a watch does nothing unless it is polled"]
pub struct WatchChildren<V: Send + Sync + 'static> {
    registration: Registration<V>,
    /// What was shown last, if anything.
    shown: Option<BTreeMap<String, bool>>,
}

impl<V: Send + Sync + 'static> WatchChildren<V> {
    pub(crate) fn new(anchor: Anchor<V>) -> Self {
        WatchChildren { registration: Registration::new(anchor, What::Children), shown: None }
    }

    /// The next change, as [`Stream::poll_next`]: for callers without a stream library. The first is
    /// the present state, even if that is no children at all.
    ///
    /// # Progress
    /// Lock-free, as [`Anchor::names`]; it does not wait for a change.
    ///
    /// # Complexity
    /// O(n log n) for n children, if anything has changed, and one write to each child that came.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<ChildrenChange>> {
        self.advance(Some(context.waker()))
    }

    fn advance(&mut self, waker: Option<&Waker>) -> Poll<Option<ChildrenChange>> {
        let shown = &mut self.shown;
        self.registration.poll(waker, |anchor| {
            let guard = Guard::pin();
            let now = ls::watched(anchor.held(), &guard);
            let change = match shown {
                Some(shown) => ChildrenChange::between(shown, &now),
                None => ChildrenChange::between(&BTreeMap::new(), &now),
            };
            let first = shown.replace(now).is_none();
            (first || !change.is_empty()).then_some(change)
        })
    }

    /// The next change, once there is one that was not shown yet; nothing at the end.
    ///
    /// # Progress
    /// Blocks the calling thread until then, and nobody else.
    pub fn blocking_next(&mut self) -> Option<ChildrenChange> {
        block(|context| self.poll(context))
    }

    /// The next change, if there is one that was not shown yet.
    ///
    /// # Progress
    /// As [`poll`](Self::poll).
    pub fn try_next(&mut self) -> Option<ChildrenChange> {
        match self.advance(None) {
            Poll::Ready(change) => change,
            Poll::Pending => None,
        }
    }
}

impl<V: Send + Sync + 'static> Stream for WatchChildren<V> {
    type Item = ChildrenChange;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<ChildrenChange>> {
        self.poll(context)
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for WatchChildren<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let anchor = &self.registration.anchor;
        f.debug_struct("WatchChildren").field("anchor", anchor).finish_non_exhaustive()
    }
}
