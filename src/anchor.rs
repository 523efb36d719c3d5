//! The public handle: one counted reference to a node. Everything delegates.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::authority::{Allowance, Grant, Narrow, Rights};
use crate::cell::{self, Loaded, Loader, StoreAtError, StoreError, Storer};
use crate::ls::{self, Names, Page};
use crate::node::children;
use crate::path::PathError;
use crate::prune;
use crate::raw::node::Held;
use crate::read_only::ReadOnly;
use crate::sync::Guard;
use crate::walk::{self, WalkError};
use crate::watch::{Wait, Watch, WatchChildren};

/// A counted handle to a node: a place with a name, a register, and children.
///
/// The node lives as long as something refers to it: an anchor, a [`Loader`] or [`Storer`], a value
/// in its cell, or a child. Then it is gone, and its parent too if nothing else holds that. A path
/// names something *under* the anchor it is given to; there is no way up, so an anchor confines its
/// holder to a subtree.
///
/// Equality, and the hash that goes with it, is identity: two anchors are equal if they refer to the
/// same node. Cloning costs one atomic addition; dropping one atomic exchange, and the way up if it
/// was the last reference.
///
/// # Paths
/// Components of printable ASCII (0x21 to 0x7E, no backslash) between `/`. Empty ones and `.` are
/// dropped, so `a/b`, `/a//b/` and `./a/b` are one path, and `""` is the anchor itself. `..` is an
/// error.
///
/// # Examples
/// ```
/// use killick::{Limits, Tree};
///
/// let tree = Tree::new(Limits::default());
/// let mailbox = tree.root().walk("host/mailbox")?;
/// mailbox.store("a channel's send end", false).unwrap();
/// assert_eq!(tree.root().walk("host/mailbox")?, mailbox);
/// assert!(tree.root().walk("host/../mailbox").is_err());
///
/// drop(mailbox); // the value keeps the node
/// assert_eq!(*tree.root().load_at("host/mailbox")?.value.unwrap(), "a channel's send end");
/// tree.root().walk("host/mailbox")?.clear();
/// assert_eq!(tree.nodes(), 1); // nothing does any more: the root alone is left
/// # Ok::<(), killick::WalkError>(())
/// ```
pub struct Anchor<V: Send + Sync + 'static>(Held<V>);

impl<V: Send + Sync + 'static> Anchor<V> {
    pub(crate) fn new(held: Held<V>) -> Self {
        Anchor(held)
    }

    pub(crate) fn held(&self) -> &Held<V> {
        &self.0
    }

    /// The last component of the path to this node; empty for the root. Never changes.
    ///
    /// # Progress
    /// Wait-free, O(1).
    pub fn name(&self) -> &str {
        ls::text(self.held().node().name())
    }

    /// The anchor at `path`, creating the nodes that are missing.
    ///
    /// Concurrent walks to one path give the same node. A walk that races with the last release of
    /// a node either takes its reference before that release or makes a fresh node after it; never
    /// does it return a node that the path no longer names. Several missing nodes appear at once.
    ///
    /// # Progress
    /// Lock-free: it begins again only after another thread's successful change on the path. Free of
    /// retries if every component exists and stays referenced, except for the count of the last
    /// node, on which concurrent walkers contend.
    ///
    /// # Complexity
    /// O(path bytes), and a search among siblings per component: one comparison for one child, else one
    /// look into a table of slots, at most 32 of them; beyond some thousand siblings one or two
    /// pointers to the right table before that. One allocation per created node. Linking it is one
    /// exchange, and amortized O(1) for the tables that fill up: the longest step moves one table of at
    /// most 4,096 slots, however many siblings there are.
    ///
    /// # Ordering
    /// What happened before the nodes were linked happens before the return of a walk that finds
    /// them.
    ///
    /// # Errors
    /// [`WalkError`]: the path, or a limit that it would exceed. No node that the call created is
    /// left.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, PathError, Tree, WalkError};
    /// # let tree = Tree::<()>::new(Limits::default());
    /// let ab = tree.root().walk("a/b")?;
    /// assert_eq!(tree.root().walk("/a")?.walk("./b")?, ab);
    /// let error = tree.root().walk("a b").unwrap_err();
    /// assert_eq!(error, WalkError::Path(PathError::BadByte { byte: b' ', offset: 1 }));
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn walk(&self, path: impl AsRef<[u8]>) -> Result<Self, WalkError> {
        walk::walk(self.held(), path.as_ref(), &Guard::pin()).map(Anchor::new)
    }

    /// The anchor at `path` if there is a node; creates nothing, and shows nothing to others.
    ///
    /// # Progress
    /// Wait-free, except for the count of the last node, which is lock-free.
    ///
    /// # Complexity
    /// As [`walk`](Self::walk), without allocations.
    ///
    /// # Ordering
    /// As [`walk`](Self::walk).
    ///
    /// # Errors
    /// [`PathError`]. A path beyond the depth limit is an error although nothing can be there.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, PathError, Tree};
    /// # let tree = Tree::<()>::new(Limits::default());
    /// assert!(tree.root().lookup("a")?.is_none());
    /// assert_eq!(tree.root().lookup("a/..").unwrap_err(), PathError::DotDot { offset: 2 });
    /// # Ok::<(), PathError>(())
    /// ```
    pub fn lookup(&self, path: impl AsRef<[u8]>) -> Result<Option<Self>, PathError> {
        let found = walk::lookup(self.held(), path.as_ref(), &Guard::pin())?;
        Ok(found.map(Anchor::new))
    }

    /// The children as they were at one moment, sorted by name. Each anchor knows its
    /// [`name`](Self::name).
    ///
    /// # Progress
    /// Lock-free: it begins again if the set of children has changed meanwhile. After three attempts in
    /// vain it stops the changes: those who come then help to move the children to another table, which
    /// takes them as long as it takes the list, and go on there.
    ///
    /// # Complexity
    /// O(n log n) for n children; O(n) memory.
    ///
    /// # Ordering
    /// Linearizable for the set of this node's children. While it is under way it holds them one by
    /// one: a child whose last handle goes meanwhile may stay until the list has let go of it. No list
    /// shows a child that it alone has kept.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::<()>::new(Limits::default());
    /// let (b, a) = (tree.root().walk("b")?, tree.root().walk("a")?);
    /// drop(tree.root().walk("c")?); // and gone
    /// assert_eq!(tree.root().ls(), [a, b]);
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn ls(&self) -> Vec<Self> {
        let guard = Guard::pin();
        ls::handles(self.held(), Page::ALL, &guard).into_iter().map(Anchor::new).collect()
    }

    /// The names of the children as they were at one moment, sorted. Takes no handles, and writes shared
    /// memory only if it has to stop the changes.
    ///
    /// Progress, complexity and ordering are those of [`ls`](Self::ls); it cannot fail.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::<()>::new(Limits::default());
    /// let _held = (tree.root().walk("b/c")?, tree.root().walk("a")?);
    /// assert!(tree.root().names().iter().eq(["a", "b"]));
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn names(&self) -> Names {
        let guard = Guard::pin();
        ls::names(self.held(), Page::ALL, &guard)
    }

    /// The first `limit` children whose names come after `after`, in the order of bytes; from the start if
    /// that is empty. `after` need not be the name of a child, or a name at all.
    ///
    /// Each page is exact: the children that there were at one moment. Pages are of different moments: a child
    /// that stays while all of them are read is in exactly one.
    ///
    /// Progress and ordering are those of [`ls`](Self::ls).
    ///
    /// # Complexity
    /// O(n + m log m) for m of n children.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::<()>::new(Limits::default());
    /// let held = ["a", "b", "c"].map(|name| tree.root().walk(name).unwrap());
    /// let first = tree.root().ls_after("", 2);
    /// assert_eq!(first, held[..2]);
    /// assert_eq!(tree.root().ls_after(first[1].name(), 2), held[2..]);
    /// assert!(tree.root().ls_after("c", 2).is_empty());
    /// ```
    pub fn ls_after(&self, after: impl AsRef<[u8]>, limit: usize) -> Vec<Self> {
        let guard = Guard::pin();
        let page = Page { after: after.as_ref(), limit };
        ls::handles(self.held(), page, &guard).into_iter().map(Anchor::new).collect()
    }

    /// The names of a page of the children: all as [`ls_after`](Self::ls_after) and
    /// [`names`](Self::names).
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::<()>::new(Limits::default());
    /// let _held = (tree.root().walk("b/c")?, tree.root().walk("a")?);
    /// assert!(tree.root().names_after("a", 10).iter().eq(["b"]));
    /// assert!(tree.root().names_after("", 0).is_empty());
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn names_after(&self, after: impl AsRef<[u8]>, limit: usize) -> Names {
        let guard = Guard::pin();
        ls::names(self.held(), Page { after: after.as_ref(), limit }, &guard)
    }

    /// How many children are linked, one that is on its way out included: between the last release of
    /// a child and the return of that call it may be counted or not, and so may the one that a walk
    /// puts in its place meanwhile.
    ///
    /// # Progress
    /// Wait-free; writes no shared memory.
    ///
    /// # Complexity
    /// O(1) for up to some thousand children, one count for each of the tables beyond.
    ///
    /// # Ordering
    /// None: it orders nothing that the caller does before or after it.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::<()>::new(Limits::default());
    /// let held = tree.root().walk("a/b")?;
    /// assert_eq!(tree.root().child_count(), 1); // a; b is a child of a
    /// drop(held);
    /// assert_eq!(tree.root().child_count(), 0);
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn child_count(&self) -> usize {
        let guard = Guard::pin();
        children::count(self.held().node_under(&guard).children.load(&guard), &guard)
    }

    /// How many levels the node lies below the root: what [`Limits::depth`](crate::Limits::depth) bounds,
    /// and the most nodes that this handle keeps alive besides the root. It never changes.
    ///
    /// # Progress
    /// Wait-free, O(1); writes no shared memory.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::<()>::new(Limits::default());
    /// let deep = tree.root().walk("a/b")?.walk("c")?;
    /// assert_eq!((tree.root().depth(), deep.depth()), (0, 3));
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn depth(&self) -> usize {
        let guard = Guard::pin();
        self.held().node_under(&guard).depth()
    }

    /// Whether the cell holds a value. Linearizable with every other operation on this cell.
    ///
    /// # Progress
    /// Wait-free, O(1); writes no shared memory.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let anchor = tree.root().walk("a")?;
    /// assert!(!anchor.is_filled());
    /// anchor.store(1, true).unwrap();
    /// assert!(anchor.is_filled());
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn is_filled(&self) -> bool {
        self.load_with(|value, _| value.is_some())
    }

    /// The right to read and the right to write this cell, each a handle of its own that keeps the
    /// node, and neither of which leads back to this anchor.
    ///
    /// # Progress
    /// Wait-free, O(1): two references are taken.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let (loader, storer) = tree.root().walk("a")?.cell();
    /// storer.store("for the reader", false).unwrap();
    /// assert!(storer.store("once more", false).is_err()); // occupied
    /// assert_eq!(*loader.load().value.unwrap(), "for the reader");
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn cell(&self) -> (Loader<V>, Storer<V>) {
        (Loader::new(self.clone()), Storer::new(self.clone()))
    }

    /// What the cell holds, and its revision.
    ///
    /// # Progress
    /// Wait-free, O(1). Writes the value's own count; see [`load_with`](Self::load_with).
    ///
    /// # Ordering
    /// Linearizable with every other operation on this cell; what happened before the value was
    /// stored happens before the return of a load that finds it.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let anchor = tree.root().walk("a")?;
    /// assert!(anchor.load().value.is_none());
    /// anchor.store(5, true).unwrap();
    /// let loaded = anchor.load();
    /// assert_eq!((loaded.value.as_deref(), loaded.revision), (Some(&5), 1));
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn load(&self) -> Loaded<V> {
        cell::load(self.held())
    }

    /// Calls `read` with what the cell holds and its revision, in place: writes no shared memory.
    ///
    /// Nothing that any thread removes is freed until `read` returns: keep it short.
    ///
    /// # Progress
    /// Wait-free but for `read`; O(1).
    ///
    /// # Ordering
    /// As [`load`](Self::load).
    ///
    /// # Panics
    /// If `read` does; the tree is as it was.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let anchor = tree.root().walk("a")?;
    /// assert_eq!(anchor.load_with(|value, revision| (value.copied(), revision)), (None, 0));
    /// anchor.store(5, true).unwrap();
    /// assert_eq!(anchor.load_with(|value, revision| (value.copied(), revision)), (Some(5), 1));
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn load_with<R>(&self, read: impl FnOnce(Option<&V>, u64) -> R) -> R {
        cell::load_with(self.held(), read)
    }

    /// Stores a value, or empties the cell if given `None`. Without `overwrite`, only into an empty
    /// cell. The result is the cell's revision after.
    ///
    /// Storing `None` into an empty cell succeeds either way, and changes nothing.
    ///
    /// # Progress
    /// Lock-free: it tries again only after another thread's change of the same cell, or of whether that
    /// is watched. The value that
    /// it replaces is dropped later, perhaps on another thread.
    ///
    /// # Complexity
    /// O(1), one allocation for a value.
    ///
    /// # Ordering
    /// Linearizable with every other operation on this cell; what happened before the store happens
    /// before the return of a load that finds the value.
    ///
    /// # Errors
    /// [`StoreErrorKind::Occupied`](crate::StoreErrorKind::Occupied) or
    /// [`Closed`](crate::StoreErrorKind::Closed), with the value; the cell is as it was.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, StoreErrorKind, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let anchor = tree.root().walk("a")?;
    /// assert_eq!(anchor.store("first", false).unwrap(), 1);
    /// let refused = anchor.store("second", false).unwrap_err();
    /// assert_eq!((refused.kind, refused.value), (StoreErrorKind::Occupied, Some("second")));
    /// assert_eq!(anchor.store(None, true).unwrap(), 2);
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn store(
        &self,
        value: impl Into<Option<V>>,
        overwrite: bool,
    ) -> Result<u64, StoreError<V>> {
        cell::store(self.held(), value.into(), overwrite)
    }

    /// Empties the cell. The result is what it held before.
    ///
    /// Progress, complexity and ordering are those of [`store`](Self::store); it cannot fail, and
    /// emptying an empty cell changes nothing.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let anchor = tree.root().walk("a")?;
    /// anchor.store(5, true).unwrap();
    /// assert_eq!(*anchor.clear().value.unwrap(), 5);
    /// assert!(anchor.clear().value.is_none());
    /// assert_eq!(anchor.load().revision, 2); // stored, cleared; the second clear was no change
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn clear(&self) -> Loaded<V> {
        match cell::swap(self.held(), None) {
            Ok(before) => before,
            // Only a value is ever refused; a closed tree's cells are empty.
            Err(refused) => Loaded { value: None, revision: refused.revision },
        }
    }

    /// Stores a value, or empties the cell if given `None`. The result is what it held before.
    ///
    /// Progress, complexity and ordering are those of [`store`](Self::store).
    ///
    /// # Errors
    /// [`StoreErrorKind::Closed`](crate::StoreErrorKind::Closed), with the value.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let anchor = tree.root().walk("a")?;
    /// assert!(anchor.swap(1).unwrap().value.is_none());
    /// assert_eq!(*anchor.swap(2).unwrap().value.unwrap(), 1);
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn swap(&self, value: impl Into<Option<V>>) -> Result<Loaded<V>, StoreError<V>> {
        cell::swap(self.held(), value.into())
    }

    /// Stores a value, or empties the cell if given `None`, if the cell is at revision `expected`.
    /// The result is its revision after.
    ///
    /// Progress, complexity and ordering are those of [`store`](Self::store).
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`](crate::StoreErrorKind::Conflict) or
    /// [`Closed`](crate::StoreErrorKind::Closed), with the value and the revision that the cell is
    /// at.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let anchor = tree.root().walk("a")?;
    /// assert_eq!(anchor.compare_and_store(0, "mine").unwrap(), 1);
    /// let refused = anchor.compare_and_store(0, "late").unwrap_err();
    /// assert_eq!((refused.value, refused.revision), (Some("late"), 1));
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn compare_and_store(
        &self,
        expected: u64,
        value: impl Into<Option<V>>,
    ) -> Result<u64, StoreError<V>> {
        cell::compare_and_store(self.held(), expected, value.into())
    }

    /// What the cell holds: first at present, then whenever it has changed, the latest each time.
    ///
    /// # Progress
    /// Lock-free; see [`Watch`] for what it yields. While a cell is watched each change of it also finds
    /// its watchers and wakes them; a cell that is not costs nothing.
    ///
    /// # Complexity
    /// O(1), two allocations. A change is O(w) for the watchers of the cell and a 64th of all others of
    /// the tree. To drop the watch is O(w) as well: it is among those.
    ///
    /// # Ordering
    /// What happened before a change happens before the return of a watch that shows it.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let anchor = tree.root().walk("a")?;
    /// anchor.store(1, true).unwrap();
    /// let mut watch = anchor.watch();
    /// assert_eq!(watch.try_next().unwrap().value.as_deref(), Some(&1));
    /// assert!(watch.try_next().is_none()); // not until it changes
    /// anchor.clear();
    /// assert!(watch.try_next().unwrap().value.is_none());
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn watch(&self) -> Watch<V> {
        Watch::new(self.clone())
    }

    /// The children: first all there are, then which came, went, were filled or emptied.
    ///
    /// # Progress
    /// Lock-free; see [`WatchChildren`] for what it yields. While a node's children are watched, each that
    /// comes, goes, is filled or emptied also finds the watchers and wakes them.
    ///
    /// # Complexity
    /// The first watcher of a node moves all its children to another table: O(n) for n children. A
    /// change is O(w) for the watchers of the node and a 64th of all others of the tree.
    ///
    /// # Ordering
    /// As [`watch`](Self::watch).
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::<u32>::new(Limits::default());
    /// let mut watch = tree.root().watch_children();
    /// assert!(watch.try_next().unwrap().is_empty()); // the present state: no children
    /// let held = tree.root().walk("a")?;
    /// assert_eq!(watch.try_next().unwrap().added, [("a".to_string(), false)]);
    /// drop(held);
    /// assert_eq!(watch.try_next().unwrap().removed, ["a"]);
    /// assert!(watch.try_next().is_none());
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn watch_children(&self) -> WatchChildren<V> {
        WatchChildren::new(self.clone())
    }

    /// A future of the cell's value: at once if it holds one, else when it is filled. A value that is
    /// cleared again before the future is polled is not seen, and it waits for the next.
    ///
    /// Progress, complexity and ordering are those of [`watch`](Self::watch).
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let anchor = tree.root().walk("a")?;
    /// anchor.store(1, true).unwrap();
    /// assert_eq!(anchor.wait().blocking().as_deref(), Some(&1));
    /// drop(tree);
    /// assert!(anchor.wait().blocking().is_none()); // nobody can fill it any more
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn wait(&self) -> Wait<V> {
        Wait::new(self.clone())
    }

    /// The same node for somebody who may look and change nothing: see [`ReadOnly`]. Costs nothing; cannot be
    /// taken back.
    pub fn read_only(&self) -> ReadOnly<V> {
        ReadOnly::from(self.clone())
    }

    /// The same node with some of the rights alone, and within limits, until the grant is revoked. It is
    /// what is handed to somebody who is trusted with that much: see [`Narrow`].
    ///
    /// Cannot fail. To drop the grant revokes nothing.
    ///
    /// # Progress
    /// Wait-free but for allocation. Anchors that are not narrowed pay nothing for those that are.
    ///
    /// # Complexity
    /// O(1), some allocations.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Allowance, Limits, Right, Rights, Tree, WalkError};
    /// # let tree = Tree::new(Limits::default());
    /// let allowance = Allowance { nodes: 100, ..Allowance::default() };
    /// let (inbox, grant) = tree.root().walk("inbox")?.attenuate(Right::Store.into(), allowance);
    /// inbox.store("a letter", false).unwrap();
    /// assert!(inbox.load().is_err()); // who may write need not be who may read
    /// grant.revoke();
    /// assert!(inbox.store("another", true).is_err());
    /// # Ok::<(), WalkError>(())
    /// ```
    pub fn attenuate(&self, rights: Rights, allowance: Allowance) -> (Narrow<V>, Grant) {
        Narrow::first(self.clone(), rights, allowance)
    }

    /// What the cell at `path` holds. A node that is not there reads as an empty cell at revision 0.
    ///
    /// Takes no handle: nothing of the tree is written, only the value's own count.
    ///
    /// # Progress
    /// Wait-free.
    ///
    /// # Complexity
    /// As [`lookup`](Self::lookup).
    ///
    /// # Ordering
    /// As [`load`](Self::load).
    ///
    /// # Errors
    /// [`PathError`].
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, StoreAtError, Tree};
    /// # let tree = Tree::new(Limits::default());
    /// tree.root().store_at("a/b", 5, true)?;
    /// assert_eq!(tree.root().load_at("a/b").unwrap().value.as_deref(), Some(&5));
    /// assert!(tree.root().load_at("a").unwrap().value.is_none());
    /// assert!(tree.root().load_at("a\\b").is_err());
    /// # Ok::<(), StoreAtError<i32>>(())
    /// ```
    pub fn load_at(&self, path: impl AsRef<[u8]>) -> Result<Loaded<V>, PathError> {
        let guard = Guard::pin();
        let content = walk::content(self.held(), path.as_ref(), &guard)?;
        Ok(content.map_or(Loaded { value: None, revision: 0 }, Loaded::from))
    }

    /// Calls `read` with what the cell at `path` holds and its revision, in place: writes no shared
    /// memory at all.
    ///
    /// Nothing that any thread removes is freed until `read` returns: keep it short. Otherwise as
    /// [`load_at`](Self::load_at).
    ///
    /// # Errors
    /// [`PathError`]; `read` is not called then.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, StoreAtError, Tree};
    /// # let tree = Tree::new(Limits::default());
    /// tree.root().store_at("a/b", 5, true)?;
    /// assert_eq!(tree.root().load_at_with("a/b", |value, _| value.copied()), Ok(Some(5)));
    /// assert_eq!(tree.root().load_at_with("a/c", |value, _| value.copied()), Ok(None));
    /// assert!(tree.root().load_at_with("a/..", |_, _| unreachable!()).is_err());
    /// # Ok::<(), StoreAtError<i32>>(())
    /// ```
    pub fn load_at_with<R>(
        &self,
        path: impl AsRef<[u8]>,
        read: impl FnOnce(Option<&V>, u64) -> R,
    ) -> Result<R, PathError> {
        let guard = Guard::pin();
        Ok(match walk::content(self.held(), path.as_ref(), &guard)? {
            Some(content) => read(content.get(), content.revision()),
            None => read(None, 0),
        })
    }

    /// Stores at `path`, as [`walk`](Self::walk) and [`store`](Self::store) would, and keeps no
    /// handle. Storing `None` where there is no node creates none, and succeeds.
    ///
    /// Progress, complexity and ordering are those of the two, one after the other: another thread may
    /// see the node before it sees the value.
    ///
    /// # Errors
    /// [`StoreAtError`], with the value. No node that the call created is left.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Limits, StoreAtError, Tree};
    /// # let tree = Tree::new(Limits::default());
    /// assert_eq!(tree.root().store_at("a/b", "kept", false)?, 1);
    /// let refused = tree.root().store_at("a/b", "refused", false).unwrap_err();
    /// assert_eq!(refused.into_value(), Some("refused"));
    /// # Ok::<(), StoreAtError<&str>>(())
    /// ```
    pub fn store_at(
        &self,
        path: impl AsRef<[u8]>,
        value: impl Into<Option<V>>,
        overwrite: bool,
    ) -> Result<u64, StoreAtError<V>> {
        let value = value.into();
        let found = match value {
            Some(_) => self.walk(path).map(Some),
            None => self.lookup(path).map_err(WalkError::from),
        };
        match found {
            Ok(Some(anchor)) => anchor.store(value, overwrite).map_err(StoreAtError::Store),
            Ok(None) => Ok(0),
            Err(error) => Err(StoreAtError::Walk(error, value)),
        }
    }
}

impl<V: Send + Sync + 'static> Clone for Anchor<V> {
    /// Another handle to the same node. Wait-free.
    fn clone(&self) -> Self {
        Anchor::new(self.0.retain())
    }
}

impl<V: Send + Sync + 'static> Drop for Anchor<V> {
    /// Gives the reference back. With the last one, a node without children and value is out of the tree
    /// when this returns, and so is each ancestor that nothing else keeps.
    ///
    /// # Progress
    /// Lock-free: see [`guarantees`](crate::docs::guarantees).
    ///
    /// # Complexity
    /// O(1) if other references remain, else O(1) for each node that goes.
    fn drop(&mut self) {
        prune::release(self.0.hand_over());
    }
}

impl<V: Send + Sync + 'static> PartialEq for Anchor<V> {
    fn eq(&self, other: &Self) -> bool {
        self.0.addr() == other.0.addr()
    }
}

impl<V: Send + Sync + 'static> Eq for Anchor<V> {}

impl<V: Send + Sync + 'static> Hash for Anchor<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.addr().hash(state);
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for Anchor<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchor")
            .field("name", &self.name())
            .field("filled", &self.is_filled())
            .field("children", &self.child_count())
            .field("references", &self.held().node().state.refs())
            .finish()
    }
}
