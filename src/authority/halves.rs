//! One half of a cell, with an authority.

use std::fmt;

use super::{Denied, Narrow, NarrowStoreError, NarrowWait, NarrowWatch};
use crate::cell::Loaded;
use crate::watch::Watch;

/// A [`Loader`](crate::Loader) with an authority: the right to read one cell until that is revoked. Made by
/// [`Narrow::cell`]. Every method is the one of that name of [`Narrow`], and is refused as that.
pub struct NarrowLoader<V: Send + Sync + 'static>(Narrow<V>);

impl<V: Send + Sync + 'static> NarrowLoader<V> {
    pub(super) fn new(narrow: Narrow<V>) -> Self {
        NarrowLoader(narrow)
    }

    /// [`Narrow::load`].
    ///
    /// # Errors
    /// As there.
    pub fn load(&self) -> Result<Loaded<V>, Denied> {
        self.0.load()
    }

    /// [`Narrow::load_with`].
    ///
    /// # Errors
    /// As there.
    pub fn load_with<R>(&self, read: impl FnOnce(Option<&V>, u64) -> R) -> Result<R, Denied> {
        self.0.load_with(read)
    }

    /// [`Narrow::watch`].
    ///
    /// # Errors
    /// As there.
    pub fn watch(&self) -> Result<NarrowWatch<Watch<V>>, Denied> {
        self.0.watch()
    }

    /// [`Narrow::wait`].
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self) -> Result<NarrowWait<V>, Denied> {
        self.0.wait()
    }
}

impl<V: Send + Sync + 'static> Clone for NarrowLoader<V> {
    /// The same handle. Wait-free.
    fn clone(&self) -> Self {
        NarrowLoader(self.0.clone())
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for NarrowLoader<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NarrowLoader").field(&self.0).finish()
    }
}

/// A [`Storer`](crate::Storer) with an authority: the right to change one cell until that is revoked. Made by
/// [`Narrow::cell`]. Every method is the one of that name of [`Narrow`], and is refused as that.
///
/// # Examples
/// ```
/// use killick::{Allowance, Limits, Right, Tree};
///
/// let tree = Tree::new(Limits::default());
/// let (inbox, _grant) = tree.root().attenuate(Right::Store.into(), Allowance::default());
/// let (loader, storer) = inbox.cell()?;
/// assert!(loader.is_none());
/// let storer = storer.expect("it is granted");
/// assert_eq!(storer.store("a letter", false).unwrap(), 1);
/// let refused = storer.store("another", false).unwrap_err();
/// assert_eq!(refused.into_value(), Some("another"));
/// assert!(storer.clear()?);
/// # Ok::<(), killick::Denied>(())
/// ```
pub struct NarrowStorer<V: Send + Sync + 'static>(Narrow<V>);

impl<V: Send + Sync + 'static> NarrowStorer<V> {
    pub(super) fn new(narrow: Narrow<V>) -> Self {
        NarrowStorer(narrow)
    }

    /// [`Narrow::store`].
    ///
    /// # Errors
    /// As there.
    pub fn store(
        &self,
        value: impl Into<Option<V>>,
        overwrite: bool,
    ) -> Result<u64, NarrowStoreError<V>> {
        self.0.store(value, overwrite)
    }

    /// [`Narrow::compare_and_store`].
    ///
    /// # Errors
    /// As there.
    pub fn compare_and_store(
        &self,
        expected: u64,
        value: impl Into<Option<V>>,
    ) -> Result<u64, NarrowStoreError<V>> {
        self.0.compare_and_store(expected, value)
    }

    /// Empties the cell. Whether there was something in it, which is all that it tells: it needs no
    /// [`Right::Load`](crate::Right::Load).
    ///
    /// # Errors
    /// Denied.
    pub fn clear(&self) -> Result<bool, Denied> {
        self.0.empty()
    }
}

impl<V: Send + Sync + 'static> Clone for NarrowStorer<V> {
    /// The same handle. Wait-free.
    fn clone(&self) -> Self {
        NarrowStorer(self.0.clone())
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for NarrowStorer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NarrowStorer").field(&self.0).finish()
    }
}
