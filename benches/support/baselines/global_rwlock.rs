//! One `RwLock` over the whole tree: whatever finds its node needs the lock shared, whatever
//! creates, prunes or stores needs it alone.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::arena::{Arena, ROOT};
use crate::support::TreeImpl;

/// A tree behind one reader-writer lock.
pub(crate) struct GlobalRwLock(Arc<RwLock<Arena>>);

/// A reference to the node at `index`, counted atomically under the shared lock.
pub(crate) struct Handle {
    tree: Arc<RwLock<Arena>>,
    index: u32,
}

fn read(tree: &RwLock<Arena>) -> RwLockReadGuard<'_, Arena> {
    tree.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(tree: &RwLock<Arena>) -> RwLockWriteGuard<'_, Arena> {
    tree.write().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    /// Makes a handle of a reference already taken.
    fn of(&self, index: u32) -> Handle {
        Handle { tree: Arc::clone(&self.tree), index }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        read(&self.tree).acquire_shared(self.index);
        self.of(self.index)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let unused = read(&self.tree).release_shared(self.index);
        if unused {
            // Between the two locks the node may have been found again, or pruned and its place
            // used again: `prune` tests everything anew.
            write(&self.tree).prune(self.index);
        }
    }
}

impl TreeImpl for GlobalRwLock {
    const NAME: &'static str = "global RwLock";
    type Handle = Handle;
    type Value = Arc<u64>;

    fn new() -> Self {
        GlobalRwLock(Arc::new(RwLock::new(Arena::new())))
    }
    fn root(&self) -> Handle {
        read(&self.0).acquire_shared(ROOT);
        Handle { tree: Arc::clone(&self.0), index: ROOT }
    }
    fn nodes(&self) -> usize {
        read(&self.0).len()
    }

    fn walk(base: &Handle, path: &str) -> Handle {
        if let Some(found) = Self::lookup(base, path) {
            return found;
        }
        let mut arena = write(&base.tree);
        let index = arena.find_or_create(base.index, path);
        arena.acquire(index);
        drop(arena);
        base.of(index)
    }
    fn lookup(base: &Handle, path: &str) -> Option<Handle> {
        let arena = read(&base.tree);
        let index = arena.find(base.index, path)?;
        arena.acquire_shared(index);
        drop(arena);
        Some(base.of(index))
    }
    fn same(a: &Handle, b: &Handle) -> bool {
        a.index == b.index && Arc::ptr_eq(&a.tree, &b.tree)
    }

    fn load(handle: &Handle) -> (Option<Arc<u64>>, u64) {
        read(&handle.tree).register(handle.index).load()
    }
    fn read(handle: &Handle) -> (Option<u64>, u64) {
        read(&handle.tree).register(handle.index).read()
    }
    fn read_at(base: &Handle, path: &str) -> (Option<u64>, u64) {
        read(&base.tree).read_at(base.index, path)
    }
    fn store(handle: &Handle, value: Option<u64>) -> u64 {
        let value = value.map(Arc::new);
        let (old, revision) = write(&handle.tree).register_mut(handle.index).replace(value);
        drop(old);
        revision
    }

    fn ls_names(handle: &Handle, each: impl FnMut(&str)) {
        let names = read(&handle.tree).names(handle.index);
        names.sorted(each);
    }
    fn ls_handles(handle: &Handle, each: impl FnMut(&str, &Handle)) {
        let children = read(&handle.tree).children(handle.index, |index| handle.of(index));
        children.sorted(each);
    }
}
