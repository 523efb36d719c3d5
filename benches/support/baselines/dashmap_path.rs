//! A `DashMap` from full path to node: a load costs one look-up whatever the depth, and everything
//! that a tree gives for nothing has to be kept up by hand.
//!
//! A node holds a handle to its parent, so the inner nodes of a path exist as they should. A
//! reference is taken under the shard's shared lock, and an entry is removed under its exclusive
//! lock, with a count of zero. Listing has to look at every node of the tree, and is not one moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::FixedState;

use super::{HandleList, NameList, Register, Segments, lock, tree_hasher};
use crate::support::TreeImpl;

struct Shared {
    /// Every node but the root, under its path without leading or doubled separators.
    map: DashMap<Arc<str>, Arc<Node>, FixedState>,
    /// Whether the tree is gone, so that nothing is left to unlink.
    closed: AtomicBool,
}

struct Node {
    path: Arc<str>,
    /// `None` in the root and in its children.
    parent: Option<Handle>,
    /// Handles, and one for a value.
    refs: AtomicUsize,
    register: Mutex<Register>,
    shared: Arc<Shared>,
}

/// A counted reference to a node.
pub(crate) struct Handle(Arc<Node>);

impl Handle {
    /// Counts a reference to `node`, whose shard is locked or of which there is a handle.
    fn acquire(node: &Arc<Node>) -> Handle {
        node.refs.fetch_add(1, Ordering::Relaxed);
        Handle(Arc::clone(node))
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Handle::acquire(&self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let node = &self.0;
        if node.refs.fetch_sub(1, Ordering::AcqRel) == 1
            && !node.shared.closed.load(Ordering::Relaxed)
        {
            // The node may have been found again since, or another one may stand in its place.
            let unlinked = node.shared.map.remove_if(&node.path, |_, linked| {
                Arc::ptr_eq(linked, node) && node.refs.load(Ordering::Acquire) == 0
            });
            drop(unlinked);
        }
    }
}

/// Calls `with` on the key of `path` under the node of key `base`: `path` itself where it can be.
fn with_key<R>(base: &str, path: &str, with: impl FnOnce(&str) -> R) -> R {
    let (mut names, mut bytes) = (0, 0);
    for name in Segments::new(path) {
        names += 1;
        bytes += name.len();
    }
    if names == 0 {
        return with(base);
    }
    if base.is_empty() && bytes + names - 1 == path.len() {
        return with(path);
    }
    let mut key = String::with_capacity(base.len() + bytes + names);
    key.push_str(base);
    for name in Segments::new(path) {
        if !key.is_empty() {
            key.push('/');
        }
        key.push_str(name);
    }
    with(&key)
}

impl Shared {
    fn find(&self, key: &str) -> Option<Handle> {
        self.map.get(key).map(|node| Handle::acquire(node.value()))
    }

    /// The node of `key`, created under `parent` if it is missing.
    fn find_or_link(self: &Arc<Self>, key: &str, parent: Option<Handle>) -> Handle {
        let path: Arc<str> = key.into();
        let unused_parent;
        let handle = match self.map.entry(Arc::clone(&path)) {
            Entry::Occupied(entry) => {
                unused_parent = parent;
                Handle::acquire(entry.get())
            }
            Entry::Vacant(entry) => {
                unused_parent = None;
                let node = Arc::new(Node {
                    path,
                    parent,
                    refs: AtomicUsize::new(1),
                    register: Mutex::default(),
                    shared: Arc::clone(self),
                });
                entry.insert(Arc::clone(&node));
                Handle(node)
            }
        };
        // Not before the entry is unlocked: dropping the parent may lock the same shard.
        drop(unused_parent);
        handle
    }

    /// Creates the node of `key` and what is missing above it.
    fn create(self: &Arc<Self>, key: &str) -> Handle {
        let found = key
            .rmatch_indices('/')
            .find_map(|(end, _)| self.find(&key[..end]).map(|parent| (parent, end + 1)));
        let (mut parent, mut done) = match found {
            Some((parent, done)) => (Some(parent), done),
            None => (None, 0),
        };
        loop {
            let end = key[done..].find('/').map_or(key.len(), |len| done + len);
            let handle = self.find_or_link(&key[..end], parent);
            if end == key.len() {
                return handle;
            }
            parent = Some(handle);
            done = end + 1;
        }
    }
}

/// A tree as a map of full paths.
pub(crate) struct DashMapPath(Handle);

impl DashMapPath {
    /// The children of `handle`, found among all nodes.
    fn children(handle: &Handle) -> Vec<(Arc<str>, Handle)> {
        let base = &*handle.0.path;
        let mut children = Vec::new();
        for entry in &handle.0.shared.map {
            let below = match base {
                "" => Some(&**entry.key()),
                _ => entry.key().strip_prefix(base).and_then(|rest| rest.strip_prefix('/')),
            };
            if let Some(name) = below.filter(|name| !name.contains('/')) {
                children.push((name.into(), Handle::acquire(entry.value())));
            }
        }
        children
    }
}

impl Drop for DashMapPath {
    /// The nodes refer to the map and the map to the nodes: ends that.
    fn drop(&mut self) {
        let shared = &self.0.0.shared;
        shared.closed.store(true, Ordering::Relaxed);
        let nodes: Vec<_> = shared.map.iter().map(|node| Arc::clone(node.value())).collect();
        // While a shard is locked nothing may be freed: it would release handles.
        shared.map.clear();
        drop(nodes);
    }
}

impl TreeImpl for DashMapPath {
    const NAME: &'static str = "DashMap path";
    const LISTS_CHILDREN: bool = false;
    const FITS_CHAINS: bool = false;
    type Handle = Handle;
    type Value = Arc<u64>;

    fn new() -> Self {
        let map = DashMap::with_hasher(tree_hasher());
        let shared = Arc::new(Shared { map, closed: AtomicBool::new(false) });
        DashMapPath(Handle(Arc::new(Node {
            path: "".into(),
            parent: None,
            refs: AtomicUsize::new(1),
            register: Mutex::default(),
            shared,
        })))
    }
    fn root(&self) -> Handle {
        self.0.clone()
    }
    fn nodes(&self) -> usize {
        self.0.0.shared.map.len() + 1
    }

    fn walk(base: &Handle, path: &str) -> Handle {
        let shared = &base.0.shared;
        with_key(&base.0.path, path, |key| {
            if key.len() == base.0.path.len() {
                return base.clone();
            }
            shared.find(key).unwrap_or_else(|| shared.create(key))
        })
    }
    fn lookup(base: &Handle, path: &str) -> Option<Handle> {
        with_key(&base.0.path, path, |key| {
            if key.len() == base.0.path.len() {
                return Some(base.clone());
            }
            base.0.shared.find(key)
        })
    }
    fn same(a: &Handle, b: &Handle) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    fn load(handle: &Handle) -> (Option<Arc<u64>>, u64) {
        lock(&handle.0.register).load()
    }
    fn read(handle: &Handle) -> (Option<u64>, u64) {
        lock(&handle.0.register).read()
    }
    fn read_at(base: &Handle, path: &str) -> (Option<u64>, u64) {
        with_key(&base.0.path, path, |key| {
            if key.len() == base.0.path.len() {
                return Self::read(base);
            }
            base.0.shared.map.get(key).map_or((None, 0), |node| lock(&node.register).read())
        })
    }
    fn store(handle: &Handle, value: Option<u64>) -> u64 {
        let fills = value.is_some();
        let value = value.map(Arc::new);
        let mut register = lock(&handle.0.register);
        let (old, revision) = register.replace(value);
        match (old.is_some(), fills) {
            (false, true) => handle.0.refs.fetch_add(1, Ordering::Relaxed),
            // Never the last: the caller's handle is counted too.
            (true, false) => handle.0.refs.fetch_sub(1, Ordering::AcqRel),
            _ => 0,
        };
        drop(register);
        drop(old);
        revision
    }

    fn ls_names(handle: &Handle, each: impl FnMut(&str)) {
        let children = Self::children(handle);
        NameList::collect(children.iter().map(|(name, _)| &**name)).sorted(each);
    }
    fn ls_handles(handle: &Handle, each: impl FnMut(&str, &Handle)) {
        let mut children = HandleList::with_capacity(0);
        Self::children(handle).into_iter().for_each(|(name, child)| children.push(&name, child));
        children.sorted(each);
    }
}
