//! An anchor with an authority.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::{
    Allowance, Authority, Denied, Grant, Kept, NarrowError, NarrowLoader, NarrowStoreAtError,
    NarrowStoreError, NarrowStorer, NarrowWait, NarrowWatch, Resource, Revocable, Right, Rights,
};
use crate::anchor::Anchor;
use crate::cell::{Loaded, StoreAtError};
use crate::path::{self, PathError};
use crate::sync::Guard;
use crate::walk::WalkError;
use crate::watch::{Watch, WatchChildren};

/// An anchor that gives less than all: some of the [`Rights`], within an [`Allowance`], until its
/// [`Grant`] is revoked. Made by [`Anchor::attenuate`].
///
/// What is reached through it is narrowed the same way, for ever: by [`walk`](Self::walk),
/// [`lookup`](Self::lookup), [`ls`](Self::ls) and watches. A program that hands out anchors as *values*
/// passes them through [`Authority::narrow`] or [`and`](Self::and), as the `killick` server does.
///
/// Clones are the same handle. Two are equal if they refer to the same node by the same grants.
///
/// # Progress
/// Every method waits while one of the grants is being revoked, and is then refused; those that make a
/// handle wait for other threads that make or drop one of the same grant. Otherwise each is what the
/// method of that name of [`Anchor`] is. [`docs::authority`](crate::docs::authority) says more.
///
/// # Errors
/// Every method may be refused: [`Denied::Revoked`], or [`Denied::Right`] with the right that it needs.
/// Nothing was done then. Those that make a handle may meet the allowance: [`Denied::Exhausted`].
///
/// # Examples
/// ```
/// use killick::{Allowance, Denied, Limits, NarrowError, PathError, Right, Rights, Tree};
///
/// let tree = Tree::new(Limits::default());
/// tree.root().store_at("news/today", "sunny", false).unwrap();
/// let (news, grant) = tree.root().walk("news")?.attenuate(Rights::READ, Allowance::default());
///
/// let today = news.lookup("today").unwrap().expect("it is there");
/// assert_eq!(today.load().unwrap().value.as_deref(), Some(&"sunny"));
/// let refused = today.store("rain", true).unwrap_err();
/// assert_eq!(refused.to_string(), "the right 'store' is not granted");
/// assert_eq!(refused.into_value(), Some("rain")); // the caller gets it back
/// let out = news.lookup("../secrets").unwrap_err();
/// assert_eq!(out, NarrowError::Failed(PathError::DotDot { offset: 0 }));
///
/// grant.revoke();
/// assert_eq!(today.load().unwrap_err(), Denied::Revoked);
/// # Ok::<(), killick::WalkError>(())
/// ```
pub struct Narrow<V: Send + Sync + 'static> {
    handle: Revocable<Handle<V>>,
    /// The node's address and depth.
    node: (usize, usize),
}

/// What is let go of when a grant is revoked.
struct Handle<V: Send + Sync + 'static> {
    anchor: Anchor<V>,
    _kept: Kept,
}

impl<V: Send + Sync + 'static> Narrow<V> {
    pub(crate) fn first(anchor: Anchor<V>, rights: Rights, allowance: Allowance) -> (Self, Grant) {
        let grant = Grant::new(rights, allowance, place(&anchor), None);
        let narrow = Narrow::new(Authority::of(grant.clone()), anchor);
        // Nobody else has the grant yet, and the anchor's own node does not count.
        (narrow.unwrap_or_else(|_| unreachable!()), grant)
    }

    pub(super) fn new(authority: Authority, anchor: Anchor<V>) -> Result<Self, Denied> {
        let node = place(&anchor);
        let kept = {
            let guard = Guard::pin();
            Kept::count(&authority, anchor.held().node_under(&guard))?
        };
        let handle = Revocable::new(authority, Handle { anchor, _kept: kept })?;
        Ok(Narrow { handle, node })
    }

    /// The grants that it was reached by.
    pub fn authority(&self) -> &Authority {
        self.handle.authority()
    }

    /// Uses the anchor, if `needed` are granted.
    pub(crate) fn with<R>(
        &self,
        needed: Rights,
        using: impl FnOnce(&Anchor<V>) -> R,
    ) -> Result<R, Denied> {
        let missing = needed.iter().find(|&right| !self.rights().contains(right));
        match missing {
            None => self.handle.with(|handle| using(&handle.anchor)),
            // Who has nothing any more is told so.
            Some(right) => self.handle.with(|_| Err(Denied::Right(right)))?,
        }
    }

    /// Whether all of `needed` are granted.
    ///
    /// # Errors
    /// Denied: which of them is not.
    pub fn require(&self, needed: impl Into<Rights>) -> Result<(), Denied> {
        self.with(needed.into(), |_| ())
    }

    /// What was reached from here, with the authority that this has.
    fn reached(&self, anchor: Anchor<V>) -> Result<Self, Denied> {
        Narrow::new(self.authority().clone(), anchor)
    }

    /// What may be done through it.
    pub fn rights(&self) -> Rights {
        self.authority().rights
    }

    /// Whether it has been revoked.
    pub fn is_revoked(&self) -> bool {
        self.handle.with(|_| ()).is_err()
    }

    /// How far below the root the node is. Never changes; needs no right.
    pub fn depth(&self) -> usize {
        self.node.1
    }

    /// The last component of the path to the node. Needs no right.
    ///
    /// # Errors
    /// [`Denied::Revoked`].
    pub fn name(&self) -> Result<String, Denied> {
        self.with(Rights::NONE, |anchor| anchor.name().to_owned())
    }

    /// Whether `path` leads no deeper than is granted.
    fn check_depth(&self, anchor: &Anchor<V>, path: &[u8]) -> Result<(), Denied> {
        let (max, limit) = self.authority().depth();
        if max == usize::MAX || self.node.1 + path::count(path, &anchor.held().tree().limits) <= max
        {
            return Ok(());
        }
        Err(Denied::Exhausted { resource: Resource::Depth, limit })
    }

    /// The anchor at `path`, creating the nodes that are missing: [`Anchor::walk`]. Needs
    /// [`Right::Walk`].
    ///
    /// # Errors
    /// As there, or denied. No node that the call created is left.
    pub fn walk(&self, path: impl AsRef<[u8]>) -> Result<Self, NarrowError<WalkError>> {
        let path = path.as_ref();
        self.with(Right::Walk.into(), |anchor| {
            if let Err(denied) = self.check_depth(anchor, path) {
                // A path that is none is told as that.
                let checked = anchor.lookup(path).map_err(WalkError::Path);
                return Err(checked.map_or_else(NarrowError::Failed, |_| denied.into()));
            }
            let walked = anchor.walk(path).map_err(NarrowError::Failed)?;
            Ok(self.reached(walked)?)
        })?
    }

    /// The anchor at `path` if there is a node; creates nothing: [`Anchor::lookup`]. Needs
    /// [`Right::Lookup`].
    ///
    /// # Errors
    /// As there, or denied.
    pub fn lookup(&self, path: impl AsRef<[u8]>) -> Result<Option<Self>, NarrowError<PathError>> {
        let path = path.as_ref();
        self.with(Right::Lookup.into(), |anchor| {
            let found = anchor.lookup(path).map_err(NarrowError::Failed)?;
            self.check_depth(anchor, path)?;
            Ok(found.map(|anchor| self.reached(anchor)).transpose()?)
        })?
    }

    /// The children, sorted by name: [`Anchor::ls`]. Needs [`Right::Ls`].
    ///
    /// # Errors
    /// Denied.
    pub fn ls(&self) -> Result<Vec<Self>, Denied> {
        self.listed(Anchor::ls)
    }

    /// A page of the children: [`Anchor::ls_after`]. Needs [`Right::Ls`].
    ///
    /// # Errors
    /// Denied.
    pub fn ls_after(&self, after: impl AsRef<[u8]>, limit: usize) -> Result<Vec<Self>, Denied> {
        self.listed(|anchor| anchor.ls_after(after, limit))
    }

    fn listed(&self, list: impl FnOnce(&Anchor<V>) -> Vec<Anchor<V>>) -> Result<Vec<Self>, Denied> {
        self.with(Right::Ls.into(), |anchor| {
            let children = list(anchor);
            if !children.is_empty() {
                self.check_depth(anchor, b"child")?;
            }
            children.into_iter().map(|child| self.reached(child)).collect()
        })?
    }

    /// The names of the children, sorted: [`Anchor::names`]. Needs [`Right::Ls`].
    ///
    /// # Errors
    /// Denied.
    pub fn names(&self) -> Result<crate::Names, Denied> {
        self.with(Right::Ls.into(), Anchor::names)
    }

    /// The names of a page of the children: [`Anchor::names_after`]. Needs [`Right::Ls`].
    ///
    /// # Errors
    /// Denied.
    pub fn names_after(
        &self,
        after: impl AsRef<[u8]>,
        limit: usize,
    ) -> Result<crate::Names, Denied> {
        self.with(Right::Ls.into(), |anchor| anchor.names_after(after, limit))
    }

    /// Whether the cell holds a value. Needs [`Right::Ls`], as the list of the parent's children tells it.
    ///
    /// # Errors
    /// Denied.
    pub fn is_filled(&self) -> Result<bool, Denied> {
        self.with(Right::Ls.into(), Anchor::is_filled)
    }

    /// How many children there are. Needs [`Right::Ls`].
    ///
    /// # Errors
    /// Denied.
    pub fn child_count(&self) -> Result<usize, Denied> {
        self.with(Right::Ls.into(), Anchor::child_count)
    }

    /// The halves of the cell: [`Anchor::cell`]. Needs no right: nothing stands for a half that is not
    /// granted, that which reads by [`Right::Load`], and that which writes by [`Right::Store`].
    ///
    /// # Errors
    /// [`Denied::Revoked`].
    ///
    /// # Examples
    /// ```
    /// # use killick::{Allowance, Denied, Limits, Right, Rights, Tree};
    /// # let tree = Tree::new(Limits::default());
    /// tree.root().store("sunny", false).unwrap();
    /// let (narrow, grant) = tree.root().attenuate(Rights::READ, Allowance::default());
    /// let (loader, storer) = narrow.cell()?;
    /// assert!(storer.is_none()); // not granted
    /// let loader = loader.expect("it is granted");
    /// assert_eq!(loader.load()?.value.as_deref(), Some(&"sunny"));
    /// grant.revoke();
    /// assert_eq!(loader.load().unwrap_err(), Denied::Revoked);
    /// # Ok::<(), Denied>(())
    /// ```
    #[allow(
        clippy::type_complexity,
        reason = "the pair that `Anchor::cell` gives, each if granted"
    )]
    pub fn cell(&self) -> Result<(Option<NarrowLoader<V>>, Option<NarrowStorer<V>>), Denied> {
        self.require(Rights::NONE)?;
        let has = |right| self.rights().contains(right).then(|| self.clone());
        Ok((has(Right::Load).map(NarrowLoader::new), has(Right::Store).map(NarrowStorer::new)))
    }

    /// What the cell holds: [`Anchor::load`]. Needs [`Right::Load`].
    ///
    /// # Errors
    /// Denied.
    pub fn load(&self) -> Result<Loaded<V>, Denied> {
        self.with(Right::Load.into(), Anchor::load)
    }

    /// Calls `read` with what the cell holds: [`Anchor::load_with`]. Needs [`Right::Load`]. Revocation
    /// waits until `read` returns: do not revoke in it.
    ///
    /// # Errors
    /// Denied; `read` is not called then.
    pub fn load_with<R>(&self, read: impl FnOnce(Option<&V>, u64) -> R) -> Result<R, Denied> {
        self.with(Right::Load.into(), |anchor| anchor.load_with(read))
    }

    /// What the cell at `path` holds: [`Anchor::load_at`]. Needs [`Right::Lookup`] and [`Right::Load`].
    /// Takes no handle: nothing counts to [`Allowance::nodes`].
    ///
    /// # Errors
    /// As there, or denied.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Allowance, Denied, Limits, NarrowError, PathError, Right, Rights, Tree};
    /// # let tree = Tree::new(Limits::default());
    /// tree.root().store_at("a/b", 5, true).unwrap();
    /// let (narrow, _grant) = tree.root().attenuate(Rights::READ, Allowance::default());
    /// assert_eq!(narrow.load_at("a/b")?.value.as_deref(), Some(&5));
    /// let (blind, _grant) = tree.root().attenuate(Right::Lookup.into(), Allowance::default());
    /// let refused = blind.load_at("a/b").unwrap_err();
    /// assert_eq!(refused, NarrowError::Denied(Denied::Right(Right::Load)));
    /// # Ok::<(), NarrowError<PathError>>(())
    /// ```
    pub fn load_at(&self, path: impl AsRef<[u8]>) -> Result<Loaded<V>, NarrowError<PathError>> {
        self.read_at(path.as_ref(), |anchor, path| anchor.load_at(path))
    }

    /// Calls `read` with what the cell at `path` holds: [`Anchor::load_at_with`]. Needs
    /// [`Right::Lookup`] and [`Right::Load`]. Revocation waits until `read` returns: do not revoke in it.
    ///
    /// # Errors
    /// As there, or denied; `read` is not called then.
    pub fn load_at_with<R>(
        &self,
        path: impl AsRef<[u8]>,
        read: impl FnOnce(Option<&V>, u64) -> R,
    ) -> Result<R, NarrowError<PathError>> {
        self.read_at(path.as_ref(), |anchor, path| anchor.load_at_with(path, read))
    }

    fn read_at<R>(
        &self,
        path: &[u8],
        read: impl FnOnce(&Anchor<V>, &[u8]) -> Result<R, PathError>,
    ) -> Result<R, NarrowError<PathError>> {
        self.with(Rights::from(Right::Lookup) | Right::Load.into(), |anchor| {
            if let Err(denied) = self.check_depth(anchor, path) {
                // A path that is none is told as that.
                anchor.load_at_with(path, |_, _| ()).map_err(NarrowError::Failed)?;
                return Err(denied.into());
            }
            read(anchor, path).map_err(NarrowError::Failed)
        })?
    }

    /// Stores a value, or empties the cell if given `None`: [`Anchor::store`]. Needs [`Right::Store`].
    ///
    /// # Errors
    /// As there, or denied; with the value.
    pub fn store(
        &self,
        value: impl Into<Option<V>>,
        overwrite: bool,
    ) -> Result<u64, NarrowStoreError<V>> {
        let store = |anchor: &Anchor<V>, value| anchor.store(value, overwrite);
        self.change(Right::Store.into(), value.into(), store)
    }

    /// Stores at `path`: [`Anchor::store_at`]. Needs [`Right::Walk`] and [`Right::Store`]; for `None`,
    /// which creates nothing, [`Right::Lookup`] instead of `Walk`. The handle that it takes meanwhile counts
    /// to [`Allowance::nodes`]; what a value keeps, [`keep`](Self::keep) counts.
    ///
    /// # Errors
    /// As there, or denied; with the value. No node that the call created is left.
    ///
    /// # Examples
    /// ```
    /// # use killick::{Allowance, Limits, Right, Rights, Tree};
    /// # let tree = Tree::new(Limits::default());
    /// let rights = Rights::from(Right::Walk) | Right::Store.into();
    /// let (inbox, _grant) = tree.root().walk("inbox")?.attenuate(rights, Allowance::default());
    /// assert_eq!(inbox.store_at("today", "a letter", false).unwrap(), 1);
    /// let refused = inbox.store_at("today", "another", false).unwrap_err();
    /// assert_eq!(refused.into_value(), Some("another"));
    /// let refused = inbox.store_at("today", None, true).unwrap_err();
    /// assert_eq!(refused.to_string(), "the right 'lookup' is not granted");
    /// # Ok::<(), killick::WalkError>(())
    /// ```
    pub fn store_at(
        &self,
        path: impl AsRef<[u8]>,
        value: impl Into<Option<V>>,
        overwrite: bool,
    ) -> Result<u64, NarrowStoreAtError<V>> {
        let value = value.into();
        let reach = if value.is_some() { Right::Walk } else { Right::Lookup };
        // Before a node is created for nothing.
        let found = match self.require(Rights::from(reach) | Right::Store.into()) {
            Err(denied) => Err(NarrowError::Denied(denied)),
            Ok(()) if value.is_some() => self.walk(path).map(Some),
            Ok(()) => self.lookup(path).map_err(NarrowError::from_path),
        };
        match found {
            Ok(Some(there)) => there.store(value, overwrite).map_err(|error| match error {
                NarrowStoreError::Denied(denied, value) => {
                    NarrowStoreAtError::Denied(denied, value)
                }
                NarrowStoreError::Store(error) => {
                    NarrowStoreAtError::Failed(StoreAtError::Store(error))
                }
            }),
            Ok(None) => Ok(0),
            Err(NarrowError::Denied(denied)) => Err(NarrowStoreAtError::Denied(denied, value)),
            Err(NarrowError::Failed(error)) => {
                Err(NarrowStoreAtError::Failed(StoreAtError::Walk(error, value)))
            }
        }
    }

    /// Stores if the cell is at revision `expected`: [`Anchor::compare_and_store`]. Needs
    /// [`Right::Store`].
    ///
    /// # Errors
    /// As there, or denied; with the value.
    pub fn compare_and_store(
        &self,
        expected: u64,
        value: impl Into<Option<V>>,
    ) -> Result<u64, NarrowStoreError<V>> {
        let store = |anchor: &Anchor<V>, value| anchor.compare_and_store(expected, value);
        self.change(Right::Store.into(), value.into(), store)
    }

    /// Stores, and tells what was there before: [`Anchor::swap`]. Needs [`Right::Load`] and
    /// [`Right::Store`].
    ///
    /// # Errors
    /// As there, or denied; with the value.
    pub fn swap(&self, value: impl Into<Option<V>>) -> Result<Loaded<V>, NarrowStoreError<V>> {
        let needed = Rights::from(Right::Load) | Right::Store.into();
        self.change(needed, value.into(), |anchor, value| anchor.swap(value))
    }

    /// Empties the cell, and tells what was there: [`Anchor::clear`]. Needs [`Right::Load`] and
    /// [`Right::Store`]; who may not load empties it by [`store`](Self::store), of `None`.
    ///
    /// # Errors
    /// Denied.
    pub fn clear(&self) -> Result<Loaded<V>, Denied> {
        self.with(Rights::from(Right::Load) | Right::Store.into(), Anchor::clear)
    }

    /// Empties the cell for somebody who need not know what was there: whether there was something.
    pub(super) fn empty(&self) -> Result<bool, Denied> {
        self.with(Right::Store.into(), |anchor| anchor.clear().value.is_some())
    }

    fn change<R>(
        &self,
        needed: Rights,
        value: Option<V>,
        change: impl FnOnce(&Anchor<V>, Option<V>) -> Result<R, crate::StoreError<V>>,
    ) -> Result<R, NarrowStoreError<V>> {
        let mut value = Some(value);
        let changed = self.with(needed, |anchor| change(anchor, value.take().flatten()));
        match changed {
            Ok(changed) => changed.map_err(NarrowStoreError::Store),
            Err(denied) => Err(NarrowStoreError::Denied(denied, value.flatten())),
        }
    }

    /// What the cell holds, and whenever it changes: [`Anchor::watch`]. Needs [`Right::Watch`] and
    /// [`Right::Load`]. When it is revoked, that is the last item.
    ///
    /// # Errors
    /// Denied; it counts to [`Allowance::watches`].
    pub fn watch(&self) -> Result<NarrowWatch<Watch<V>>, Denied> {
        let needed = Rights::from(Right::Watch) | Right::Load.into();
        self.with(needed, |anchor| {
            let charge = self.authority().charge(Resource::Watches, 1)?;
            NarrowWatch::new(self.authority().clone(), anchor.watch(), charge)
        })?
    }

    /// The children, and whenever they change: [`Anchor::watch_children`]. Needs [`Right::Watch`] and
    /// [`Right::Ls`]. When it is revoked, that is the last item.
    ///
    /// # Errors
    /// Denied; it counts to [`Allowance::watches`].
    pub fn watch_children(&self) -> Result<NarrowWatch<WatchChildren<V>>, Denied> {
        let needed = Rights::from(Right::Watch) | Right::Ls.into();
        self.with(needed, |anchor| {
            let charge = self.authority().charge(Resource::Watches, 1)?;
            NarrowWatch::new(self.authority().clone(), anchor.watch_children(), charge)
        })?
    }

    /// A future of the cell's value, once it holds one: [`Anchor::wait`]. Needs [`Right::Watch`] and
    /// [`Right::Load`], also where there is a value. When it is revoked before, it resolves to that.
    ///
    /// # Errors
    /// Denied; it counts to [`Allowance::watches`].
    ///
    /// # Examples
    /// ```
    /// # use killick::{Allowance, Denied, Limits, Right, Rights, Tree};
    /// # let tree = Tree::new(Limits::default());
    /// let (reader, grant) = tree.root().attenuate(Rights::READ, Allowance::default());
    /// let (first, second) = (reader.wait()?, reader.wait()?);
    /// tree.root().store(1, true).unwrap();
    /// assert_eq!(first.blocking()?.as_deref(), Some(&1));
    /// grant.revoke();
    /// assert_eq!(second.blocking().unwrap_err(), Denied::Revoked);
    /// # Ok::<(), Denied>(())
    /// ```
    pub fn wait(&self) -> Result<NarrowWait<V>, Denied> {
        self.watch().map(NarrowWait::new)
    }

    /// The same node with fewer rights, and within limits of its own: [`Anchor::attenuate`]. Of the
    /// `rights` it gets those that this has. Needs [`Right::Attenuate`].
    ///
    /// # Errors
    /// Denied: also if it would be the 17th grant on the way.
    pub fn attenuate(&self, rights: Rights, allowance: Allowance) -> Result<(Self, Grant), Denied> {
        self.with(Right::Attenuate.into(), |anchor| {
            let above = Some(self.authority().clone());
            let grant = Grant::new(rights & self.rights(), allowance, self.node, above);
            let authority = self.authority().and(&Authority::of(grant.clone()))?;
            Ok((Narrow::new(authority, anchor.clone())?, grant))
        })?
    }

    /// The same by the grants of `authority` as well: one that came, as a value for instance, to somebody
    /// who has no more.
    ///
    /// # Errors
    /// [`Denied::Revoked`], [`Denied::Exhausted`], [`Denied::TooManyGrants`].
    pub fn and(&self, authority: &Authority) -> Result<Self, Denied> {
        let both = self.authority().and(authority)?;
        if both == *self.authority() {
            return Ok(self.clone());
        }
        self.with(Rights::NONE, |anchor| Narrow::new(both, anchor.clone()))?
    }

    /// Counts the node to all grants of this as kept alive by something else than a handle, such as a
    /// value that is about to be stored in its cell, until what is returned is dropped.
    ///
    /// # Errors
    /// [`Denied::Revoked`], [`Denied::Exhausted`].
    pub fn keep(&self) -> Result<Kept, Denied> {
        let guard = Guard::pin();
        let count =
            |anchor: &Anchor<V>| Kept::count(self.authority(), anchor.held().node_under(&guard));
        self.with(Rights::NONE, count)?
    }

    /// Resolves when one of the grants is revoked.
    pub fn revoked(&self) -> impl Future<Output = ()> + Send + Unpin + use<V> {
        self.handle.revoked()
    }
}

#[cfg(test)]
impl<V: Send + Sync + 'static> Narrow<V> {
    /// The addresses of the nodes that it has `grant` count.
    pub(crate) fn counted(&self, grant: &Grant) -> Vec<usize> {
        if !self.authority().grants.contains(grant) {
            return Vec::new();
        }
        let addresses = self.with(Rights::NONE, |anchor| {
            let guard = Guard::pin();
            let node = anchor.held().node_under(&guard);
            let up = std::iter::successors(Some(node), |node| node.parent());
            let counted = up.filter(|node| node.parent().is_some()).map(|node| node.addr());
            counted.take_while(|&addr| addr != grant.base()).collect()
        });
        addresses.unwrap_or_default()
    }
}

/// The address of a node and its depth.
fn place<V: Send + Sync + 'static>(anchor: &Anchor<V>) -> (usize, usize) {
    (anchor.held().addr(), anchor.depth())
}

impl<V: Send + Sync + 'static> Clone for Narrow<V> {
    /// The same handle. Wait-free.
    fn clone(&self) -> Self {
        Narrow { handle: self.handle.clone(), node: self.node }
    }
}

impl<V: Send + Sync + 'static> PartialEq for Narrow<V> {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.authority() == other.authority()
    }
}

impl<V: Send + Sync + 'static> Eq for Narrow<V> {}

impl<V: Send + Sync + 'static> Hash for Narrow<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.node.hash(state);
        self.authority().hash(state);
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for Narrow<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Narrow");
        match self.name() {
            Ok(name) => debug.field("name", &name).field("rights", &self.rights()).finish(),
            Err(denied) => debug.field("denied", &denied).finish(),
        }
    }
}
