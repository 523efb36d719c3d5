//! A concurrent map a node, over its children: what one gets by putting maps that others wrote into
//! one another. The protocol around them is killick's.
//!
//! A node counts its handles, its children, and its value; a count of zero is final. Whoever brings
//! it to zero unlinks the node, and only then releases the parent: so a parent without references
//! has no children. A step down counts nothing but the memory of the node stepped on. A node is
//! created under a reference to its parent, which may be dead: then the walk starts over. A dead
//! node that is still linked is unlinked by whoever needs its place.
//!
//! Maps own the nodes, and a node knows its parent weakly: a map may keep for long what was taken
//! out of it. A node that never had a child has no map. The maps' iterators are weak, so a listing
//! is not one moment. A cell is behind a mutex of its own, since its value and its revision change
//! together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use foldhash::fast::FixedState;

use super::{HandleList, NameList, Register, Segments, lock, tree_hasher};
use crate::support::TreeImpl;

/// Children by name.
pub(crate) trait Map: Sized + Send + Sync + 'static {
    /// What tables, results and errors call the tree made of these maps.
    const NAME: &'static str;
    /// Whether a map is so small that each of a million nodes can have one.
    const SMALL: bool;

    fn with_hasher(hasher: FixedState) -> Self;
    fn get(&self, name: &str) -> Option<Arc<Node<Self>>>;
    /// Whether `node` could be put in, its name being free.
    fn insert(&self, node: &Arc<Node<Self>>) -> bool;
    /// Takes `node` out, if it is in.
    fn remove(&self, node: &Arc<Node<Self>>);
    fn clear(&self);
    fn for_each(&self, each: impl FnMut(&Arc<Node<Self>>));
}

pub(crate) struct Node<M> {
    pub(super) name: Arc<str>,
    /// Of the root, nobody. While a node is alive its parent is.
    parent: Weak<Node<M>>,
    /// Handles, children, and one for a value.
    refs: AtomicUsize,
    register: Mutex<Register>,
    children: OnceLock<M>,
    hasher: FixedState,
}

impl<M: Map> Node<M> {
    /// A node with one reference.
    fn new(name: &str, parent: Weak<Node<M>>, hasher: FixedState) -> Arc<Self> {
        Arc::new(Node {
            name: name.into(),
            parent,
            refs: AtomicUsize::new(1),
            register: Mutex::default(),
            children: OnceLock::new(),
            hasher,
        })
    }

    fn is_alive(&self) -> bool {
        self.refs.load(Ordering::Acquire) > 0
    }

    /// Takes a reference, unless the node is dead.
    fn acquire(&self) -> bool {
        let more = |refs: usize| (refs > 0).then(|| refs + 1);
        self.refs.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    fn child(&self, name: &str) -> Option<Arc<Node<M>>> {
        self.children.get()?.get(name)
    }

    fn for_each_child(&self, each: impl FnMut(&Arc<Node<M>>)) {
        if let Some(children) = self.children.get() {
            children.for_each(each);
        }
    }
}

/// A counted reference to a node.
pub(crate) struct Handle<M: Map>(Arc<Node<M>>);

impl<M: Map> Handle<M> {
    /// Counts a reference to `node`, unless it is dead.
    fn acquire(node: &Arc<Node<M>>) -> Option<Self> {
        node.acquire().then(|| Handle(Arc::clone(node)))
    }

    /// The child of `parent` of that name, created if it is missing; `None` if `parent` is dead.
    fn child(parent: &Arc<Node<M>>, name: &str) -> Option<Self> {
        if !parent.acquire() {
            return None;
        }
        let fresh = Handle(Node::new(name, Arc::downgrade(parent), parent.hasher.clone()));
        let children = parent.children.get_or_init(|| M::with_hasher(parent.hasher.clone()));
        loop {
            if children.insert(&fresh.0) {
                return Some(fresh);
            }
            let Some(linked) = children.get(name) else { continue };
            match Handle::acquire(&linked) {
                Some(found) => return Some(found),
                None => children.remove(&linked),
            }
        }
    }

    /// Goes down along `path` to where it ends or where nobody living is; what `then` makes of that
    /// node, of the name that is missing below it, and of the rest.
    fn descend<R>(
        &self,
        path: &str,
        then: impl FnOnce(&Arc<Node<M>>, Option<&str>, Segments<'_>) -> R,
    ) -> R {
        let mut names = Segments::new(path);
        let mut name = names.next();
        let (mut at, mut found) = (&self.0, None);
        while let Some(child) = name.and_then(|name| at.child(name)) {
            if !child.is_alive() {
                break;
            }
            at = found.insert(child);
            name = names.next();
        }
        then(at, name, names)
    }

    /// The node at `path`, created if it is missing; `None` if one on the way died meanwhile.
    fn try_walk(&self, path: &str) -> Option<Self> {
        self.descend(path, |at, missing, mut rest| {
            let Some(missing) = missing else { return Handle::acquire(at) };
            let created = Handle::child(at, missing)?;
            rest.try_fold(created, |parent, name| Handle::child(&parent.0, name))
        })
    }
}

impl<M: Map> Clone for Handle<M> {
    fn clone(&self) -> Self {
        self.0.refs.fetch_add(1, Ordering::Relaxed);
        Handle(Arc::clone(&self.0))
    }
}

impl<M: Map> Drop for Handle<M> {
    /// The last one unlinks the node, then its parent if nothing else keeps that, and so on upwards.
    fn drop(&mut self) {
        let mut child: Arc<Node<M>>;
        let mut node = &self.0;
        while node.refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            let Some(parent) = node.parent.upgrade() else { return };
            if let Some(children) = parent.children.get() {
                children.remove(node);
            }
            child = parent;
            node = &child;
        }
    }
}

/// A tree of nodes with a map each.
pub(crate) struct PerNodeMap<M: Map>(Handle<M>);

impl<M: Map> PerNodeMap<M> {
    /// Calls `each` on every node, after its children were looked for.
    fn for_each(&self, mut each: impl FnMut(&Node<M>)) {
        let mut stack = vec![Arc::clone(&self.0.0)];
        while let Some(node) = stack.pop() {
            node.for_each_child(|child| stack.push(Arc::clone(child)));
            each(&node);
        }
    }
}

impl<M: Map> Drop for PerNodeMap<M> {
    /// Takes the maps apart one by one: dropping the topmost would drop the others from within.
    fn drop(&mut self) {
        self.for_each(|node| {
            if let Some(children) = node.children.get() {
                children.clear();
            }
        });
    }
}

impl<M: Map> TreeImpl for PerNodeMap<M> {
    const NAME: &'static str = M::NAME;
    const FITS_CHAINS: bool = M::SMALL;
    const LARGEST: usize = if M::SMALL { usize::MAX } else { 2_000_000 };
    type Handle = Handle<M>;
    type Value = Arc<u64>;

    fn new() -> Self {
        PerNodeMap(Handle(Node::new("", Weak::new(), tree_hasher())))
    }
    fn root(&self) -> Handle<M> {
        self.0.clone()
    }
    fn nodes(&self) -> usize {
        let mut count = 0;
        self.for_each(|_| count += 1);
        count
    }

    fn walk(base: &Handle<M>, path: &str) -> Handle<M> {
        loop {
            if let Some(handle) = base.try_walk(path) {
                return handle;
            }
        }
    }
    fn lookup(base: &Handle<M>, path: &str) -> Option<Handle<M>> {
        base.descend(path, |at, missing, _| match missing {
            None => Handle::acquire(at),
            Some(_) => None,
        })
    }
    fn same(a: &Handle<M>, b: &Handle<M>) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    fn load(handle: &Handle<M>) -> (Option<Arc<u64>>, u64) {
        lock(&handle.0.register).load()
    }
    fn read(handle: &Handle<M>) -> (Option<u64>, u64) {
        lock(&handle.0.register).read()
    }
    fn read_at(base: &Handle<M>, path: &str) -> (Option<u64>, u64) {
        base.descend(path, |at, missing, _| {
            if missing.is_some() {
                return (None, 0);
            }
            let read = lock(&at.register).read();
            if at.is_alive() { read } else { (None, 0) }
        })
    }
    fn store(handle: &Handle<M>, value: Option<u64>) -> u64 {
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

    fn ls_names(handle: &Handle<M>, each: impl FnMut(&str)) {
        let mut names = NameList::with_capacity(0);
        handle.0.for_each_child(|child| {
            if child.is_alive() {
                names.push(&child.name);
            }
        });
        names.sorted(each);
    }
    fn ls_handles(handle: &Handle<M>, each: impl FnMut(&str, &Handle<M>)) {
        let mut children = HandleList::with_capacity(0);
        handle.0.for_each_child(|child| {
            if let Some(handle) = Handle::acquire(child) {
                children.push(&child.name, handle);
            }
        });
        children.sorted(each);
    }
}
