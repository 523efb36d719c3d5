//! Nodes and counted references to them.

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::block::{BlockRef, Packed};
use super::link::{AtomicLink, Link, Target};
use super::value::AtomicValue;
use crate::node::shared::Shared;
use crate::node::state::{Acquire, Release, State};
use crate::sync::Guard;

/// The fixed part of a node; its name follows. `node/mod.rs` says who may touch which field when.
pub(crate) struct Node<V> {
    pub(crate) state: State,
    pub(crate) hash: u32,
    /// The parent; for the root, what the tree shares, marked with [`ROOT`]. Never changes.
    parent: *mut (),
    pub(crate) children: AtomicLink<V>,
    pub(crate) cell: AtomicValue<V>,
}

/// Marks the `parent` word of a root.
const ROOT: usize = 1;

type NodeBlock<'g, V> = BlockRef<'g, Node<V>, Packed, u8>;

/// A node that may be read for `'g`. Uncounted.
pub(crate) struct NodeRef<'g, V>(NodeBlock<'g, V>);

impl<V> Clone for NodeRef<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for NodeRef<'_, V> {}

impl<V> PartialEq for NodeRef<'_, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<'g, V> std::ops::Deref for NodeRef<'g, V> {
    type Target = Node<V>;

    #[inline]
    fn deref(&self) -> &Node<V> {
        self.0.head()
    }
}

impl<'g, V> NodeRef<'g, V> {
    fn alloc(name: &[u8], hash: u32, parent: *mut (), depth: usize) -> Self {
        let node = Node {
            state: State::new(1),
            hash,
            parent,
            children: AtomicLink::new(Link::NOTHING),
            cell: AtomicValue::new(),
        };
        NodeRef(BlockRef::alloc_copy(node, Packed::new(name.len(), depth), name))
    }

    pub(super) fn as_ptr(self) -> *mut () {
        self.0.as_ptr()
    }

    /// # Safety
    /// `ptr` came from [`as_ptr`](Self::as_ptr) of a node of the same type, and the node may be read
    /// for 'g.
    #[inline]
    pub(super) unsafe fn from_ptr(ptr: *mut ()) -> Self {
        // SAFETY: the contract is the same.
        NodeRef(unsafe { BlockRef::from_ptr(ptr) })
    }

    /// Where it lies: its identity while it is held.
    pub(crate) fn addr(self) -> usize {
        self.0.as_ptr().addr()
    }

    #[inline]
    pub(crate) fn name(self) -> &'g [u8] {
        self.0.items()
    }

    /// Its distance from the root.
    #[inline]
    pub(crate) fn depth(self) -> usize {
        self.0.len_word().extra()
    }

    #[inline]
    pub(crate) fn is_called(self, name: &[u8]) -> bool {
        same_name(self.name(), name)
    }

    /// The parent; nothing for the root. It may be read as long as this node was alive, or linked,
    /// at some moment under the guard that gives 'g (P1).
    pub(crate) fn parent(self) -> Option<NodeRef<'g, V>> {
        let parent = self.0.head().parent;
        if parent.addr() & ROOT != 0 {
            return None;
        }
        // SAFETY: set from `as_ptr` of a node; P1 says it may be read.
        Some(unsafe { NodeRef::from_ptr(parent) })
    }

    /// A counted reference to this node, unless it is dead.
    #[inline]
    pub(crate) fn acquire(self, tree: &Shared) -> Option<Held<V>> {
        match self.state.acquire() {
            Acquire::Held => Some(Held::adopt(self, tree)),
            Acquire::Dead => None,
        }
    }

    /// Takes over a reference that was counted before, and whose owner hands it on (P4).
    pub(crate) fn adopt_reference(self, tree: &Shared) -> Held<V> {
        Held::adopt(self, tree)
    }

    /// Frees a dead and unlinked node once no guard can reach it. By P2 the caller is the one that
    /// saw its count reach zero. Its children word is empty and its cell holds nothing.
    pub(crate) fn retire(self, guard: &Guard) {
        self.0.retire(guard);
    }

    /// [`retire`](Self::retire) for the root: what the whole tree shares goes with it.
    pub(crate) fn retire_root(self, guard: &Guard) {
        let tree = self.0.head().parent.map_addr(|addr| addr & !ROOT);
        self.0.retire(guard);
        // SAFETY: made by `Held::new_root`; every handle keeps the root alive, so what is left are
        // references under guards, which `defer` waits for.
        unsafe { guard.defer(tree, free_shared) };
    }
}

/// Whether two names are equal. Most are short: two words that overlap, without a call.
#[inline]
fn same_name(a: &[u8], b: &[u8]) -> bool {
    fn ends<const N: usize>(name: &[u8]) -> Option<([u8; N], [u8; N])> {
        Some((*name.first_chunk()?, *name.last_chunk()?))
    }
    match a.len() {
        len if len != b.len() => false,
        0..2 => a.first() == b.first(),
        2..4 => ends::<2>(a) == ends::<2>(b),
        4..8 => ends::<4>(a) == ends::<4>(b),
        8..=16 => ends::<8>(a) == ends::<8>(b),
        _ => a == b,
    }
}

/// # Safety
/// `ptr` came from the box in [`Held::new_root`] and is not used again.
unsafe fn free_shared(ptr: *mut ()) {
    // SAFETY: this function's contract.
    drop(unsafe { Box::from_raw(ptr.cast::<Shared>()) });
}

/// A counted reference, without a destructor: whoever holds it gives it to [`Held::release`] or to a
/// type that does.
///
/// Invariant in `V`, as a cell both takes values and gives them: a handle to longer-lived values is no
/// handle to shorter-lived ones, nor the reverse.
///
/// ```compile_fail
/// use killick::{Anchor, Limits, Tree, WalkError};
///
/// let tree = Tree::<for<'a> fn(&'a str)>::new(Limits::default());
/// let any: Anchor<for<'a> fn(&'a str)> = tree.root();
/// // With this, a function that keeps its argument could be stored, and called with one that ends.
/// let forever: Anchor<fn(&'static str)> = any.clone();
/// ```
#[must_use]
pub(crate) struct Held<V> {
    node: NonNull<()>,
    tree: NonNull<Shared>,
    _takes_and_gives: PhantomData<fn(V) -> V>,
}

// SAFETY: a counted reference gives shared access to a node, whose fields are atomic or immutable,
// and to values of V, which any holder may read or drop: hence both bounds.
unsafe impl<V: Send + Sync> Send for Held<V> {}
// SAFETY: as above.
unsafe impl<V: Send + Sync> Sync for Held<V> {}

// Moving the reference does not move what it refers to.
impl<V> Unpin for Held<V> {}

impl<V> Held<V> {
    /// The root of a new tree.
    pub(crate) fn new_root(shared: Shared) -> Self {
        let tree = Box::into_raw(Box::new(shared));
        let parent = tree.cast::<()>().map_addr(|addr| addr | ROOT);
        let root = NodeRef::<V>::alloc(b"", 0, parent, 0);
        // SAFETY: just made, and freed only with the root.
        Held::adopt(root, unsafe { &*tree })
    }

    /// Takes over one reference that the caller counted (P4).
    fn adopt(node: NodeRef<'_, V>, tree: &Shared) -> Self {
        let node = node.0.as_ptr();
        // SAFETY: `as_ptr` never returns null.
        let node = unsafe { NonNull::new_unchecked(node) };
        Held { node, tree: NonNull::from_ref(tree), _takes_and_gives: PhantomData }
    }

    #[inline]
    pub(crate) fn node(&self) -> NodeRef<'_, V> {
        // SAFETY: the reference that this value owns keeps the node alive.
        unsafe { NodeRef::from_ptr(self.node.as_ptr()) }
    }

    /// The same node, to be read under `guard` even after the reference is given back.
    #[inline]
    pub(crate) fn node_under<'g>(&self, _guard: &'g Guard) -> NodeRef<'g, V> {
        // SAFETY: alive now, hence linked or the root, hence readable for as long as the guard (P1).
        unsafe { NodeRef::from_ptr(self.node.as_ptr()) }
    }

    #[inline]
    pub(crate) fn tree(&self) -> &Shared {
        // SAFETY: a live node keeps the root alive, and the root keeps what the tree shares.
        unsafe { self.tree.as_ref() }
    }

    /// What the tree shares, to be read under `guard` even after the reference is given back.
    pub(crate) fn tree_under<'g>(&self, _guard: &'g Guard) -> &'g Shared {
        // SAFETY: `retire_root` frees it only after every guard that exists now.
        unsafe { self.tree.as_ref() }
    }

    /// A second reference.
    #[inline]
    pub(crate) fn retain(&self) -> Self {
        self.node().state.retain();
        Held { ..*self }
    }

    /// The reference itself, for a destructor: by P4 this value is not used again.
    pub(crate) fn hand_over(&mut self) -> Self {
        Held { ..*self }
    }

    /// Gives the reference back if it is not the last. Needs no guard.
    #[inline]
    #[must_use]
    pub(crate) fn release_shared(&self) -> bool {
        self.node().state.release_shared()
    }

    /// Gives the reference back. If it was the last, the node is dead, and the caller, its pruner,
    /// is the one who unlinks and retires it.
    pub(crate) fn release(self, guard: &Guard) -> Option<NodeRef<'_, V>> {
        let node = self.node_under(guard);
        match node.state.release() {
            Release::Alive => None,
            Release::Died => Some(node),
        }
    }

    pub(crate) fn addr(&self) -> usize {
        self.node().addr()
    }
}

/// A dead node that is still linked, in the hands of its pruner.
pub(crate) struct Dead<V>(NonNull<()>, std::marker::PhantomData<V>);

impl<V> Dead<V> {
    /// By P2 the caller is the one that saw the count reach zero.
    pub(crate) fn new(node: NodeRef<'_, V>) -> Self {
        // SAFETY: `as_ptr` never returns null.
        Dead(unsafe { NonNull::new_unchecked(node.as_ptr()) }, std::marker::PhantomData)
    }

    #[inline]
    pub(crate) fn node<'g>(&self, _guard: &'g Guard) -> NodeRef<'g, V> {
        // SAFETY: only its pruner retires a node, and the pruner has not (P2).
        unsafe { NodeRef::from_ptr(self.0.as_ptr()) }
    }
}

/// A run of new nodes, each the only child of the one before, that nobody else can reach yet.
pub(crate) struct Chain<'g, V> {
    top: NodeRef<'g, V>,
    leaf: NodeRef<'g, V>,
}

impl<'g, V> Chain<'g, V> {
    /// A chain of one node, to be linked under `parent`.
    pub(crate) fn new(parent: NodeRef<'g, V>, hash: u32, name: &[u8]) -> Self {
        let top = NodeRef::alloc(name, hash, parent.as_ptr(), parent.depth() + 1);
        Chain { top, leaf: top }
    }

    /// Adds a node below the last one.
    pub(crate) fn push(&mut self, hash: u32, name: &[u8]) {
        let leaf = NodeRef::alloc(name, hash, self.leaf.as_ptr(), self.leaf.depth() + 1);
        self.leaf.children.init(leaf.into());
        self.leaf = leaf;
    }

    /// The node to link.
    pub(crate) fn top(&self) -> NodeRef<'g, V> {
        self.top
    }

    /// The last node, once the first one is linked. The caller has its one reference now (P4).
    pub(crate) fn publish(self) -> NodeRef<'g, V> {
        let leaf = self.leaf;
        std::mem::forget(self);
        leaf
    }
}

impl<V> Drop for Chain<'_, V> {
    /// Frees the nodes of a chain that was not published, in a loop.
    fn drop(&mut self) {
        let mut next = Some(self.top);
        while let Some(node) = next {
            next = match node.children.private().target() {
                Target::Node(child) => Some(child),
                _ => None,
            };
            node.0.free();
        }
    }
}
