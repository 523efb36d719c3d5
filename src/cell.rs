//! The register at a node, as its holders see it.

use std::fmt;

use crate::anchor::Anchor;
use crate::node::slot::{self, Refusal, Refused};
use crate::raw::node::Held;
use crate::raw::value::{Content, Value};
use crate::sync::Guard;
use crate::walk::WalkError;
use crate::watch::{Wait, Watch};

/// What a cell held at one moment.
#[derive(Debug)]
pub struct Loaded<V> {
    /// The value; `None` if the cell was empty.
    pub value: Option<Value<V>>,
    /// How many times the cell had changed since its node appeared: 0 for a fresh one. Meaningful
    /// while the caller holds the node; one that was pruned and created again may start at 0.
    pub revision: u64,
}

impl<V> Clone for Loaded<V> {
    fn clone(&self) -> Self {
        Loaded { value: self.value.clone(), revision: self.revision }
    }
}

impl<V> From<Content<'_, V>> for Loaded<V> {
    fn from(content: Content<'_, V>) -> Self {
        Loaded { value: content.to_value(), revision: content.revision() }
    }
}

/// Why a cell was left as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It held a value, and the caller did not want to overwrite one.
    Occupied,
    /// It was not at the revision that the caller expected.
    Conflict,
    /// Its [`Tree`](crate::Tree) is gone.
    Closed,
}

/// A value that was not stored, and why.
pub struct StoreError<V> {
    /// Why.
    pub kind: StoreErrorKind,
    /// What was to be stored; `None` if the cell was to be emptied.
    pub value: Option<V>,
    /// The cell's revision at the time.
    pub revision: u64,
}

impl<V> StoreError<V> {
    fn new(refused: Refused<V>, condition: StoreErrorKind) -> Self {
        let kind = match refused.why {
            Refusal::Condition => condition,
            Refusal::Closed => StoreErrorKind::Closed,
        };
        StoreError { kind, value: refused.value, revision: refused.revision }
    }
}

impl<V> fmt::Debug for StoreError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("StoreError");
        debug.field("kind", &self.kind).field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl<V> fmt::Display for StoreError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.revision;
        match self.kind {
            StoreErrorKind::Occupied => {
                write!(f, "the cell already holds a value, at revision {revision}")
            }
            StoreErrorKind::Conflict => {
                write!(f, "the cell is at revision {revision}, not the expected one")
            }
            StoreErrorKind::Closed => f.write_str("the tree is closed"),
        }
    }
}

impl<V> std::error::Error for StoreError<V> {}

/// Why [`Anchor::store_at`] stored nothing.
pub enum StoreAtError<V> {
    /// There is no such path, or its node could not be created.
    Walk(WalkError, Option<V>),
    /// The cell was left as it was.
    Store(StoreError<V>),
}

impl<V> StoreAtError<V> {
    /// What was to be stored: nothing is lost by an error.
    pub fn into_value(self) -> Option<V> {
        match self {
            StoreAtError::Walk(_, value) => value,
            StoreAtError::Store(error) => error.value,
        }
    }
}

impl<V> fmt::Debug for StoreAtError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreAtError::Walk(error, _) => f.debug_tuple("Walk").field(error).finish(),
            StoreAtError::Store(error) => f.debug_tuple("Store").field(error).finish(),
        }
    }
}

impl<V> fmt::Display for StoreAtError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreAtError::Walk(error, _) => fmt::Display::fmt(error, f),
            StoreAtError::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<V> std::error::Error for StoreAtError<V> {}

pub(crate) fn load<V>(node: &Held<V>) -> Loaded<V> {
    let guard = Guard::pin();
    node.node_under(&guard).cell.load(&guard).into()
}

pub(crate) fn load_with<V, R>(node: &Held<V>, read: impl FnOnce(Option<&V>, u64) -> R) -> R {
    let guard = Guard::pin();
    let content = node.node_under(&guard).cell.load(&guard);
    read(content.get(), content.revision())
}

pub(crate) fn store<V: Send + Sync + 'static>(
    node: &Held<V>,
    value: Option<V>,
    overwrite: bool,
) -> Result<u64, StoreError<V>> {
    let guard = Guard::pin();
    // To store nothing into an empty cell changes nothing, and succeeds.
    slot::update(node, value, &guard, |content| overwrite || content.is_empty())
        .map(|(_, revision)| revision)
        .map_err(|refused| StoreError::new(refused, StoreErrorKind::Occupied))
}

pub(crate) fn swap<V: Send + Sync + 'static>(
    node: &Held<V>,
    value: Option<V>,
) -> Result<Loaded<V>, StoreError<V>> {
    let guard = Guard::pin();
    slot::update(node, value, &guard, |_| true)
        .map(|(before, _)| before.into())
        .map_err(|refused| StoreError::new(refused, StoreErrorKind::Closed))
}

pub(crate) fn compare_and_store<V: Send + Sync + 'static>(
    node: &Held<V>,
    expected: u64,
    value: Option<V>,
) -> Result<u64, StoreError<V>> {
    let guard = Guard::pin();
    slot::update(node, value, &guard, |content| content.revision() == expected)
        .map(|(_, revision)| revision)
        .map_err(|refused| StoreError::new(refused, StoreErrorKind::Conflict))
}

/// The right to read one cell, and nothing else. Keeps its node alive, as an anchor does.
///
/// # Examples
/// ```
/// use killick::{Limits, Tree};
///
/// let tree = Tree::new(Limits::default());
/// let (loader, storer) = tree.root().walk("a")?.cell();
/// assert_eq!(storer.store("hello", true).unwrap(), 1);
/// assert_eq!(*loader.load().value.unwrap(), "hello");
/// assert!(storer.compare_and_store(0, "late").is_err()); // the cell is at revision 1
/// # Ok::<(), killick::WalkError>(())
/// ```
pub struct Loader<V: Send + Sync + 'static>(Anchor<V>);

impl<V: Send + Sync + 'static> Loader<V> {
    pub(crate) fn new(anchor: Anchor<V>) -> Self {
        Loader(anchor)
    }

    /// What the cell holds: all as [`Anchor::load`].
    pub fn load(&self) -> Loaded<V> {
        self.0.load()
    }

    /// Calls `read` with what the cell holds: all as [`Anchor::load_with`].
    pub fn load_with<R>(&self, read: impl FnOnce(Option<&V>, u64) -> R) -> R {
        self.0.load_with(read)
    }

    /// What the cell holds, now and whenever it changes: all as [`Anchor::watch`].
    pub fn watch(&self) -> Watch<V> {
        self.0.watch()
    }

    /// The value, once there is one: all as [`Anchor::wait`].
    pub fn wait(&self) -> Wait<V> {
        self.0.wait()
    }
}

impl<V: Send + Sync + 'static> Clone for Loader<V> {
    fn clone(&self) -> Self {
        Loader(self.0.clone())
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for Loader<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loader").field(&self.0).finish()
    }
}

/// The right to change one cell without the right to read it. Keeps its node alive, as an anchor
/// does.
///
/// It sees revisions, and whether the cell was empty, but no value: so it has no `swap`.
///
/// # Examples
/// ```
/// use killick::{Limits, StoreErrorKind, Tree};
///
/// let tree = Tree::new(Limits::default());
/// let (_, storer) = tree.root().walk("a")?.cell();
/// assert_eq!(storer.store("mine", false).unwrap(), 1);
/// let refused = storer.store("late", false).unwrap_err();
/// assert_eq!((refused.kind, refused.value), (StoreErrorKind::Occupied, Some("late")));
/// assert!(storer.clear());
/// # Ok::<(), killick::WalkError>(())
/// ```
pub struct Storer<V: Send + Sync + 'static>(Anchor<V>);

impl<V: Send + Sync + 'static> Storer<V> {
    pub(crate) fn new(anchor: Anchor<V>) -> Self {
        Storer(anchor)
    }

    /// Stores a value, or empties the cell: all as [`Anchor::store`].
    ///
    /// # Errors
    /// As there.
    pub fn store(
        &self,
        value: impl Into<Option<V>>,
        overwrite: bool,
    ) -> Result<u64, StoreError<V>> {
        self.0.store(value, overwrite)
    }

    /// Empties the cell, as [`Anchor::clear`] does. Whether there was something in it.
    pub fn clear(&self) -> bool {
        self.0.clear().value.is_some()
    }

    /// Stores if the cell is at the expected revision: all as [`Anchor::compare_and_store`].
    ///
    /// # Errors
    /// As there.
    pub fn compare_and_store(
        &self,
        expected: u64,
        value: impl Into<Option<V>>,
    ) -> Result<u64, StoreError<V>> {
        self.0.compare_and_store(expected, value)
    }
}

impl<V: Send + Sync + 'static> Clone for Storer<V> {
    fn clone(&self) -> Self {
        Storer(self.0.clone())
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for Storer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Storer").field(&self.0).finish()
    }
}
