//! A mutex a node, over its map of children and its cell: Wetware's design, made safe.
//!
//! Locks are taken parent before child. A walk holds a node's lock until it has the next one, so
//! nothing can be unlinked under it. A reference is taken under the parent's lock, and a node is
//! unlinked only under its parent's lock and its own, with a count of zero: a walker gets the node
//! before it dies or finds it gone. Counts are atomic, so cloning a handle, and dropping one that
//! is not the last, take no lock.
//!
//! Without a garbage collector a walk must own each node that it steps on, because the guard of
//! the one before is given up: one increment and one decrement a level beside the lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Children, HandleList, NameList, Register, Segments, lock, tree_hasher};
use crate::support::TreeImpl;

struct Node {
    name: Arc<str>,
    /// `None` in the root.
    parent: Option<Arc<Node>>,
    /// Handles.
    refs: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    register: Register,
    children: Children<Arc<Node>>,
}

impl State {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && !self.register.is_filled()
    }

    /// The child of that name, created under `node`, whose state this is, if it is missing.
    fn child(&mut self, node: &Arc<Node>, name: &str) -> Arc<Node> {
        if let Some(child) = self.children.get(name) {
            return Arc::clone(child);
        }
        let name: Arc<str> = name.into();
        let state = State {
            register: Register::default(),
            children: Children::with_hasher(self.children.hasher().clone()),
        };
        let child = Arc::new(Node {
            name: Arc::clone(&name),
            parent: Some(Arc::clone(node)),
            refs: AtomicUsize::new(0),
            state: Mutex::new(state),
        });
        self.children.insert(name, Arc::clone(&child));
        child
    }
}

impl Drop for Node {
    /// Frees the nodes that only this one kept, without recursion.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut node) = parent.and_then(Arc::into_inner) {
            parent = node.parent.take();
        }
    }
}

/// A counted reference to a node.
pub(crate) struct Handle(Arc<Node>);

impl Handle {
    /// Counts a reference to `node`, whose parent is locked or of which there is a handle.
    fn acquire(node: Arc<Node>) -> Handle {
        node.refs.fetch_add(1, Ordering::Relaxed);
        Handle(node)
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Handle::acquire(Arc::clone(&self.0))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            prune(Arc::clone(&self.0));
        }
    }
}

/// Unlinks `node` if nothing keeps it, then its parent, and so on upwards.
fn prune(mut node: Arc<Node>) {
    while let Some(parent) = node.parent.clone() {
        let mut siblings = lock(&parent.state);
        if !siblings.children.get(&node.name).is_some_and(|linked| Arc::ptr_eq(linked, &node)) {
            return;
        }
        if node.refs.load(Ordering::Acquire) > 0 || !lock(&node.state).is_empty() {
            return;
        }
        let unlinked = siblings.children.remove(&node.name);
        let parent_kept = !siblings.is_empty();
        drop(siblings);
        drop(unlinked);
        if parent_kept || parent.refs.load(Ordering::Acquire) > 0 {
            return;
        }
        node = parent;
    }
}

/// Goes down from `node`, whose state is locked, to `name` and on along `rest`.
///
/// Tail calls where one would write a loop: a guard cannot outlive the variable it borrows from.
fn descend(
    node: &Arc<Node>,
    mut state: MutexGuard<'_, State>,
    name: &str,
    mut rest: Segments<'_>,
) -> Handle {
    let child = state.child(node, name);
    match rest.next() {
        None => Handle::acquire(child),
        Some(next) => {
            let child_state = lock(&child.state);
            drop(state);
            descend(&child, child_state, next, rest)
        }
    }
}

/// What `found` makes of the last node of the path, with the lock of its parent held.
fn visit<R>(
    state: MutexGuard<'_, State>,
    name: &str,
    mut rest: Segments<'_>,
    found: impl FnOnce(&Arc<Node>) -> R,
) -> Option<R> {
    let child = state.children.get(name)?;
    match rest.next() {
        None => Some(found(child)),
        Some(next) => {
            let child = Arc::clone(child);
            let child_state = lock(&child.state);
            drop(state);
            visit(child_state, next, rest, found)
        }
    }
}

/// A tree of nodes with a mutex each.
pub(crate) struct PerNodeMutex(Handle);

impl Drop for PerNodeMutex {
    /// Takes the tree apart, children before parents, so that no cycle stays behind.
    fn drop(&mut self) {
        let mut stack = vec![Arc::clone(&self.0.0)];
        while let Some(node) = stack.last() {
            let children = std::mem::take(&mut lock(&node.state).children);
            if children.is_empty() {
                stack.pop();
            } else {
                stack.extend(children.into_values());
            }
        }
    }
}

impl TreeImpl for PerNodeMutex {
    const NAME: &'static str = "per-node Mutex";
    type Handle = Handle;
    type Value = Arc<u64>;

    fn new() -> Self {
        let children = Children::with_hasher(tree_hasher());
        PerNodeMutex(Handle(Arc::new(Node {
            name: "".into(),
            parent: None,
            refs: AtomicUsize::new(1),
            state: Mutex::new(State { register: Register::default(), children }),
        })))
    }
    fn root(&self) -> Handle {
        self.0.clone()
    }
    fn nodes(&self) -> usize {
        let (mut count, mut stack) = (0, vec![Arc::clone(&self.0.0)]);
        while let Some(node) = stack.pop() {
            count += 1;
            stack.extend(lock(&node.state).children.values().cloned());
        }
        count
    }

    fn walk(base: &Handle, path: &str) -> Handle {
        let mut names = Segments::new(path);
        match names.next() {
            None => base.clone(),
            Some(name) => descend(&base.0, lock(&base.0.state), name, names),
        }
    }
    fn lookup(base: &Handle, path: &str) -> Option<Handle> {
        let mut names = Segments::new(path);
        match names.next() {
            None => Some(base.clone()),
            Some(name) => {
                visit(lock(&base.0.state), name, names, |node| Handle::acquire(Arc::clone(node)))
            }
        }
    }
    fn same(a: &Handle, b: &Handle) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    fn load(handle: &Handle) -> (Option<Arc<u64>>, u64) {
        lock(&handle.0.state).register.load()
    }
    fn read(handle: &Handle) -> (Option<u64>, u64) {
        lock(&handle.0.state).register.read()
    }
    fn read_at(base: &Handle, path: &str) -> (Option<u64>, u64) {
        let mut names = Segments::new(path);
        let Some(name) = names.next() else { return Self::read(base) };
        visit(lock(&base.0.state), name, names, |node| lock(&node.state).register.read())
            .unwrap_or((None, 0))
    }
    fn store(handle: &Handle, value: Option<u64>) -> u64 {
        let value = value.map(Arc::new);
        let (old, revision) = lock(&handle.0.state).register.replace(value);
        drop(old);
        revision
    }

    fn ls_names(handle: &Handle, each: impl FnMut(&str)) {
        let state = lock(&handle.0.state);
        let names = NameList::collect(state.children.keys().map(|name| &**name));
        drop(state);
        names.sorted(each);
    }
    fn ls_handles(handle: &Handle, each: impl FnMut(&str, &Handle)) {
        let state = lock(&handle.0.state);
        let mut children = HandleList::with_capacity(state.children.len());
        for (name, child) in &state.children {
            children.push(name, Handle::acquire(Arc::clone(child)));
        }
        drop(state);
        children.sorted(each);
    }
}
