//! One `Mutex` over the whole tree: the simplest tree that is correct, and hard to beat by one
//! thread alone.

use std::sync::{Arc, Mutex};

use super::arena::{Arena, ROOT};
use super::lock;
use crate::support::TreeImpl;

/// A tree behind one mutex.
pub(crate) struct GlobalMutex(Arc<Mutex<Arena>>);

/// A reference to the node at `index`, counted under the lock.
pub(crate) struct Handle {
    tree: Arc<Mutex<Arena>>,
    index: u32,
}

impl Handle {
    /// Makes a handle of a reference already taken.
    fn of(&self, index: u32) -> Handle {
        Handle { tree: Arc::clone(&self.tree), index }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        lock(&self.tree).acquire(self.index);
        self.of(self.index)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.tree).release(self.index);
    }
}

impl TreeImpl for GlobalMutex {
    const NAME: &'static str = "global Mutex";
    type Handle = Handle;
    type Value = Arc<u64>;

    fn new() -> Self {
        GlobalMutex(Arc::new(Mutex::new(Arena::new())))
    }
    fn root(&self) -> Handle {
        lock(&self.0).acquire(ROOT);
        Handle { tree: Arc::clone(&self.0), index: ROOT }
    }
    fn nodes(&self) -> usize {
        lock(&self.0).len()
    }

    fn walk(base: &Handle, path: &str) -> Handle {
        let mut arena = lock(&base.tree);
        let index = arena.find_or_create(base.index, path);
        arena.acquire(index);
        drop(arena);
        base.of(index)
    }
    fn lookup(base: &Handle, path: &str) -> Option<Handle> {
        let mut arena = lock(&base.tree);
        let index = arena.find(base.index, path)?;
        arena.acquire(index);
        drop(arena);
        Some(base.of(index))
    }
    fn same(a: &Handle, b: &Handle) -> bool {
        a.index == b.index && Arc::ptr_eq(&a.tree, &b.tree)
    }

    fn load(handle: &Handle) -> (Option<Arc<u64>>, u64) {
        lock(&handle.tree).register(handle.index).load()
    }
    fn read(handle: &Handle) -> (Option<u64>, u64) {
        lock(&handle.tree).register(handle.index).read()
    }
    fn read_at(base: &Handle, path: &str) -> (Option<u64>, u64) {
        lock(&base.tree).read_at(base.index, path)
    }
    fn store(handle: &Handle, value: Option<u64>) -> u64 {
        let value = value.map(Arc::new);
        let (old, revision) = lock(&handle.tree).register_mut(handle.index).replace(value);
        drop(old);
        revision
    }

    fn ls_names(handle: &Handle, each: impl FnMut(&str)) {
        let names = lock(&handle.tree).names(handle.index);
        names.sorted(each);
    }
    fn ls_handles(handle: &Handle, each: impl FnMut(&str, &Handle)) {
        let children = lock(&handle.tree).children(handle.index, |index| handle.of(index));
        children.sorted(each);
    }
}
