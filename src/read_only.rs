//! An anchor that only shows.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::anchor::Anchor;
use crate::cell::{Loaded, Loader};
use crate::ls::Names;
use crate::path::PathError;
use crate::watch::{Wait, Watch, WatchChildren};

/// An anchor through which nothing can be changed, nor created: what the compiler knows of
/// [`Rights::READ`](crate::Rights::READ). It costs nothing beside an [`Anchor`], has no limits, and cannot
/// be taken back: for that there is [`Narrow`](crate::Narrow).
///
/// It keeps its node, as an anchor does, and what is reached through it is read-only as well. Every method
/// is the one of that name of `Anchor`, but for [`loader`](Self::loader).
///
/// # Examples
/// ```
/// use killick::{Limits, ReadOnly, Tree};
///
/// fn report(news: &ReadOnly<&str>) -> Option<String> {
///     Some(news.lookup("today").ok()??.load().value?.to_string())
/// }
///
/// let tree = Tree::new(Limits::default());
/// tree.root().store_at("news/today", "sunny", false).unwrap();
/// let news = tree.root().walk("news")?.read_only();
/// assert_eq!(report(&news).as_deref(), Some("sunny"));
/// assert!(news.lookup("../elsewhere").is_err());
/// # Ok::<(), killick::WalkError>(())
/// ```
/// There is nothing to store with:
/// ```compile_fail
/// # use killick::{Limits, Tree};
/// let tree = Tree::new(Limits::default());
/// tree.root().read_only().store(1, true);
/// ```
pub struct ReadOnly<V: Send + Sync + 'static>(Anchor<V>);

impl<V: Send + Sync + 'static> ReadOnly<V> {
    /// [`Anchor::name`].
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// [`Anchor::depth`].
    pub fn depth(&self) -> usize {
        self.0.depth()
    }

    /// [`Anchor::lookup`].
    ///
    /// # Errors
    /// As there.
    pub fn lookup(&self, path: impl AsRef<[u8]>) -> Result<Option<Self>, PathError> {
        Ok(self.0.lookup(path)?.map(ReadOnly))
    }

    /// [`Anchor::ls`].
    pub fn ls(&self) -> Vec<Self> {
        self.0.ls().into_iter().map(ReadOnly).collect()
    }

    /// [`Anchor::names`].
    pub fn names(&self) -> Names {
        self.0.names()
    }

    /// [`Anchor::ls_after`].
    pub fn ls_after(&self, after: impl AsRef<[u8]>, limit: usize) -> Vec<Self> {
        self.0.ls_after(after, limit).into_iter().map(ReadOnly).collect()
    }

    /// [`Anchor::names_after`].
    pub fn names_after(&self, after: impl AsRef<[u8]>, limit: usize) -> Names {
        self.0.names_after(after, limit)
    }

    /// [`Anchor::child_count`].
    pub fn child_count(&self) -> usize {
        self.0.child_count()
    }

    /// [`Anchor::is_filled`].
    pub fn is_filled(&self) -> bool {
        self.0.is_filled()
    }

    /// [`Anchor::load`].
    pub fn load(&self) -> Loaded<V> {
        self.0.load()
    }

    /// [`Anchor::load_with`].
    ///
    /// # Panics
    /// As there.
    pub fn load_with<R>(&self, read: impl FnOnce(Option<&V>, u64) -> R) -> R {
        self.0.load_with(read)
    }

    /// The right to read this cell, a handle of its own: the first half of [`Anchor::cell`].
    pub fn loader(&self) -> Loader<V> {
        Loader::new(self.0.clone())
    }

    /// [`Anchor::load_at_with`].
    ///
    /// # Errors
    /// As there.
    pub fn load_at_with<R>(
        &self,
        path: impl AsRef<[u8]>,
        read: impl FnOnce(Option<&V>, u64) -> R,
    ) -> Result<R, PathError> {
        self.0.load_at_with(path, read)
    }

    /// [`Anchor::load_at`].
    ///
    /// # Errors
    /// As there.
    pub fn load_at(&self, path: impl AsRef<[u8]>) -> Result<Loaded<V>, PathError> {
        self.0.load_at(path)
    }

    /// [`Anchor::watch`].
    pub fn watch(&self) -> Watch<V> {
        self.0.watch()
    }

    /// [`Anchor::watch_children`].
    pub fn watch_children(&self) -> WatchChildren<V> {
        self.0.watch_children()
    }

    /// [`Anchor::wait`].
    pub fn wait(&self) -> Wait<V> {
        self.0.wait()
    }
}

impl<V: Send + Sync + 'static> From<Anchor<V>> for ReadOnly<V> {
    fn from(anchor: Anchor<V>) -> Self {
        ReadOnly(anchor)
    }
}

impl<V: Send + Sync + 'static> Clone for ReadOnly<V> {
    /// Another handle to the same node. Wait-free.
    fn clone(&self) -> Self {
        ReadOnly(self.0.clone())
    }
}

impl<V: Send + Sync + 'static> PartialEq for ReadOnly<V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<V: Send + Sync + 'static> Eq for ReadOnly<V> {}

impl<V: Send + Sync + 'static> Hash for ReadOnly<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for ReadOnly<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadOnly").field(&self.0).finish()
    }
}
