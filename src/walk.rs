//! The way down: from a base and a path to the node there, creating what is missing.
//!
//! One pass, under one guard, without touching a count until the last component (rule 3 of the
//! contract: taking the reference is part of the look-up).
//!
//! ```text
//! for each component:  found            → go on from it, alive or dead
//!                      missing          → build the rest of the path privately, link its top
//!                           linked      → its last node is the result
//!                           exists      → somebody was faster: go on from theirs
//!                           owner dead  → put a fresh owner, with the rest below it, in its place
//!                           full        → error
//! at the end:          take a reference; if the node is dead, put a fresh one in its place
//! ```
//! - W1: a walk never tests for death on its way. A dead node has no children, so a walk through one
//!   ends there, at "owner dead".
//! - W2: the node it stands on was linked at some moment under the guard: it was read from a
//!   non-empty children word, whose owner was therefore alive and linked, and so on up to the base.
//! - W3: a dead node is replaced only while it is linked; if somebody else has unlinked or replaced
//!   it, the walk begins again.

use std::fmt;

use crate::node::children::{self, Linked};
use crate::node::shared::Shared;
use crate::path::{Names, Path, PathError};
use crate::prune;
use crate::raw::node::{Chain, Held, NodeRef};
use crate::raw::value::Content;
use crate::sync::{Guard, mutated};

/// Why a walk failed. Nothing that it created is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalkError {
    /// The text is not a path, or is one that the tree's limits refuse.
    Path(PathError),
    /// A node on the way has as many children as [`Limits::children`](crate::Limits::children)
    /// allows.
    TooManyChildren {
        /// The limit.
        limit: usize,
        /// That node's depth, counted from the root.
        depth: usize,
    },
    /// The tree would have more nodes than [`Limits::nodes`](crate::Limits::nodes) allows. A node is
    /// counted from before it is linked until after it is unlinked: of several concurrent walks that
    /// compete for the last room, even to one path, one succeeds and others may be refused, and so
    /// may one beside a last release that has not returned yet.
    TooManyNodes {
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalkError::Path(error) => error.fmt(f),
            WalkError::TooManyChildren { limit, depth } => {
                write!(f, "a node at depth {depth} already has its limit of {limit} children")
            }
            WalkError::TooManyNodes { limit } => {
                write!(f, "the tree would exceed its limit of {limit} nodes")
            }
        }
    }
}

impl std::error::Error for WalkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WalkError::Path(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PathError> for WalkError {
    fn from(error: PathError) -> Self {
        WalkError::Path(error)
    }
}

/// A reference to the node at `path` under `base`.
///
/// # Progress
/// Lock-free: every retry follows another thread's successful exchange.
pub(crate) fn walk<V>(base: &Held<V>, path: Path<'_>, guard: &Guard) -> Result<Held<V>, WalkError> {
    loop {
        if let Some(result) = walk_once(base, &path, guard) {
            return result;
        }
        // Lost to a concurrent prune or replace of a dead node on the way: retry from the base.
    }
}

/// One pass; nothing if a dead node in the way was gone before it could be replaced (W3).
fn walk_once<V>(
    base: &Held<V>,
    path: &Path<'_>,
    guard: &Guard,
) -> Option<Result<Held<V>, WalkError>> {
    let tree = base.tree();
    let mut node = base.node_under(guard);
    let mut names = path.names();
    let mut rest = names.clone();
    while let Some(name) = names.next() {
        node = match children::find(node, name, tree, guard) {
            Some(child) => child,
            None => match create(node, rest.clone(), tree, guard) {
                Ok(Linked::Done(leaf)) => return Some(Ok(leaf)),
                Ok(Linked::Exists(child)) => child,
                Ok(Linked::OwnerDead) => return revive(node, rest, tree, guard),
                Ok(Linked::Full) => {
                    let limit = tree.limits.children;
                    let depth = node.depth();
                    return Some(Err(WalkError::TooManyChildren { limit, depth }));
                }
                Err(error) => return Some(Err(error)),
            },
        };
        rest = names.clone();
    }
    if path.len() == 0 {
        return Some(Ok(base.retain()));
    }
    match node.acquire(tree) {
        Some(held) => Some(Ok(held)),
        None if mutated("walk_adopts_the_dead") => {
            node.state.retain();
            Some(Ok(node.adopt_reference(tree)))
        }
        None => revive(node, names, tree, guard),
    }
}

/// Links the nodes called `names` under `owner`.
fn create<'g, V>(
    owner: NodeRef<'g, V>,
    names: Names<'_>,
    tree: &Shared,
    guard: &'g Guard,
) -> Result<Linked<'g, V>, WalkError> {
    let count = names.clone().count();
    if let Err(error) = reserve(tree, count) {
        // What took the last room may have been another walker's node of this very name.
        let first = names.clone().next();
        let found = first.and_then(|name| children::find(owner, name, tree, guard));
        return found.map(Linked::Exists).ok_or(error);
    }
    let chain = chain(owner, names, tree);
    let (linked, spare) = children::link(owner, chain, tree, guard);
    if !matches!(linked, Linked::Done(_)) {
        tree.forget_nodes(count);
    }
    prune::give_back(spare);
    Ok(linked)
}

/// Puts a fresh node, with the nodes called `below` under it, in the place of `dead`; nothing if
/// `dead` is no longer linked.
#[cold]
fn revive<V>(
    dead: NodeRef<'_, V>,
    below: Names<'_>,
    tree: &Shared,
    guard: &Guard,
) -> Option<Result<Held<V>, WalkError>> {
    let parent = dead.parent()?; // a root that somebody walks from is alive
    // The fresh node has the room of the dead one, so this is for those below it.
    let count = below.clone().count();
    if let Err(error) = reserve(tree, count) {
        return Some(Err(error));
    }
    let chain = chain(parent, std::iter::once(dead.name()).chain(below), tree);
    let (replaced, spare) = children::replace(parent, dead, chain, tree, guard);
    prune::give_back(spare);
    match replaced {
        Ok(leaf) => Some(Ok(leaf)),
        Err(_) => {
            tree.forget_nodes(count);
            None
        }
    }
}

fn reserve(tree: &Shared, count: usize) -> Result<(), WalkError> {
    if tree.reserve_nodes(count) {
        return Ok(());
    }
    Err(WalkError::TooManyNodes { limit: tree.limits.nodes })
}

/// New nodes called `names`, of which there is at least one, each below the one before.
fn chain<'g, 'n, V>(
    parent: NodeRef<'g, V>,
    mut names: impl Iterator<Item = &'n [u8]>,
    tree: &Shared,
) -> Chain<'g, V> {
    let first = names.next().expect("a path to create has a component");
    let mut chain = Chain::new(parent, tree.hash(first), first);
    for name in names {
        chain.push(tree.hash(name), name);
    }
    chain
}

/// The node at `path` under `base`, if there is one. It may be dead.
fn descend<'g, V>(base: &Held<V>, path: Path<'_>, guard: &'g Guard) -> Option<NodeRef<'g, V>> {
    let tree = base.tree();
    let mut node = base.node_under(guard);
    for name in path.names() {
        node = children::find(node, name, tree, guard)?;
    }
    Some(node)
}

/// A reference to the node at `path` under `base`, if there is one.
///
/// If the node that it finds is dead, the path was empty at the moment of that death or, if that
/// was before the call, when the walk read the link to it: a dead node is unlinked before another
/// takes its place.
///
/// # Progress
/// Wait-free but for the count of the last node, which is lock-free.
pub(crate) fn lookup<V>(base: &Held<V>, path: Path<'_>, guard: &Guard) -> Option<Held<V>> {
    descend(base, path, guard)?.acquire(base.tree())
}

/// What the cell at `path` under `base` holds; nothing if there is no node. Takes no reference.
///
/// # Progress
/// Wait-free.
pub(crate) fn content<'g, V>(
    base: &Held<V>,
    path: Path<'_>,
    guard: &'g Guard,
) -> Option<Content<'g, V>> {
    let node = descend(base, path, guard)?;
    let content = node.cell.load(guard);
    // A dead node is not there, though it may still be linked, and its cell knows a revision. One
    // that holds a value was alive when that was loaded.
    if content.is_empty() && node.state.is_dead() && !mutated("load_at_reads_the_dead") {
        return None;
    }
    Some(content)
}
