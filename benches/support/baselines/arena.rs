//! A tree in one vector, for whoever holds the one lock over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::FixedState;

use super::{Children, HandleList, NameList, Register, Segments, tree_hasher};

/// The place of the root.
pub(crate) const ROOT: u32 = 0;
/// Roomier child maps than this are not kept with a place that is free.
const KEPT_MAP: usize = 16;

struct Node {
    /// `None` in the root and in a place that is free: both are never pruned.
    name: Option<Arc<str>>,
    parent: u32,
    /// Handles. Atomic so that a shared lock is enough to take one.
    refs: AtomicU32,
    register: Register,
    children: Children<u32>,
}

/// Every node of one tree. A place that falls free is used again.
pub(crate) struct Arena {
    nodes: Vec<Node>,
    free: Vec<u32>,
    hasher: FixedState,
}

impl Arena {
    /// The root alone, with the one reference of its tree.
    pub(crate) fn new() -> Self {
        let hasher = tree_hasher();
        let root = Node {
            name: None,
            parent: ROOT,
            refs: AtomicU32::new(1),
            register: Register::default(),
            children: Children::with_hasher(hasher.clone()),
        };
        Arena { nodes: vec![root], free: Vec::new(), hasher }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize]
    }

    /// The place of the node at `path` under `from`.
    pub(crate) fn find(&self, from: u32, path: &str) -> Option<u32> {
        let mut at = from;
        for name in Segments::new(path) {
            at = *self.node(at).children.get(name)?;
        }
        Some(at)
    }

    /// The same, with what is missing created; the caller acquires the result.
    pub(crate) fn find_or_create(&mut self, from: u32, path: &str) -> u32 {
        let mut at = from;
        for name in Segments::new(path) {
            at = match self.node(at).children.get(name) {
                Some(&child) => child,
                None => self.create(at, name),
            };
        }
        at
    }

    fn create(&mut self, parent: u32, name: &str) -> u32 {
        let name: Arc<str> = name.into();
        let index = match self.free.pop() {
            Some(index) => {
                let node = self.node_mut(index);
                node.name = Some(Arc::clone(&name));
                node.parent = parent;
                node.register = Register::default();
                index
            }
            None => {
                let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 nodes");
                self.nodes.push(Node {
                    name: Some(Arc::clone(&name)),
                    parent,
                    refs: AtomicU32::new(0),
                    register: Register::default(),
                    children: Children::with_hasher(self.hasher.clone()),
                });
                index
            }
        };
        self.node_mut(parent).children.insert(name, index);
        index
    }

    /// Takes a reference, under a shared lock.
    pub(crate) fn acquire_shared(&self, index: u32) {
        self.node(index).refs.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a reference back, under a shared lock; whether the node is to be pruned now.
    pub(crate) fn release_shared(&self, index: u32) -> bool {
        let node = self.node(index);
        node.refs.fetch_sub(1, Ordering::AcqRel) == 1
            && !node.register.is_filled()
            && node.children.is_empty()
    }

    /// Takes a reference, under an exclusive lock.
    pub(crate) fn acquire(&mut self, index: u32) {
        *self.node_mut(index).refs.get_mut() += 1;
    }

    /// Gives a reference back, under an exclusive lock, and prunes.
    pub(crate) fn release(&mut self, index: u32) {
        *self.node_mut(index).refs.get_mut() -= 1;
        self.prune(index);
    }

    /// Unlinks `index` if nothing keeps it, then its parent, and so on upwards.
    pub(crate) fn prune(&mut self, index: u32) {
        let mut at = index;
        loop {
            let node = self.node_mut(at);
            let kept =
                *node.refs.get_mut() > 0 || node.register.is_filled() || !node.children.is_empty();
            if kept {
                return;
            }
            let Some(name) = node.name.take() else { return };
            if node.children.capacity() > KEPT_MAP {
                node.children.shrink_to_fit();
            }
            let parent = node.parent;
            self.free.push(at);
            self.node_mut(parent).children.remove(&name);
            at = parent;
        }
    }

    pub(crate) fn register(&self, index: u32) -> &Register {
        &self.node(index).register
    }

    pub(crate) fn register_mut(&mut self, index: u32) -> &mut Register {
        &mut self.node_mut(index).register
    }

    /// The cell at `path` under `from`, read in place.
    pub(crate) fn read_at(&self, from: u32, path: &str) -> (Option<u64>, u64) {
        self.find(from, path).map_or((None, 0), |index| self.register(index).read())
    }

    /// The children's names, unsorted.
    pub(super) fn names(&self, index: u32) -> NameList {
        NameList::collect(self.node(index).children.keys().map(|name| &**name))
    }

    /// The children, unsorted: takes a reference to each and has `handle` make a handle of it.
    pub(super) fn children<H>(
        &self,
        index: u32,
        mut handle: impl FnMut(u32) -> H,
    ) -> HandleList<H> {
        let children = &self.node(index).children;
        let mut all = HandleList::with_capacity(children.len());
        for (name, &child) in children {
            self.acquire_shared(child);
            all.push(name, handle(child));
        }
        all
    }
}
