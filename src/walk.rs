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
//! - W4: room is reserved for the nodes of a chain before it is made, and is theirs once it is linked.
//!   Whoever reserved gives it back at every other end: `create` if the chain was not linked, before it
//!   hands the names on to `revive`, which reserves for itself, one less: the dead node's room goes to the
//!   one in its place.

use std::fmt;

use crate::node::children::{self, Linked};
use crate::node::shared::Shared;
use crate::path::{Missing, Names, PathError};
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
    /// allows. A child counts from before it is linked until after it is unlinked, as below.
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
                let noun = if *limit == 1 { "child" } else { "children" };
                write!(f, "a node at depth {depth} already has its limit of {limit} {noun}")
            }
            WalkError::TooManyNodes { limit } => {
                let noun = if *limit == 1 { "node" } else { "nodes" };
                write!(f, "the tree would exceed its limit of {limit} {noun}")
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
#[inline(always)]
pub(crate) fn walk<V>(base: &Held<V>, path: &[u8], guard: &Guard) -> Result<Held<V>, WalkError> {
    let tree = base.tree();
    let mut names = Names::of(path, &tree.limits)?;
    loop {
        let created = match descend(base, names, guard) {
            Descent::Found(node) => match node.acquire(tree) {
                Some(held) => return Ok(held),
                None if mutated("walk_adopts_the_dead") => {
                    node.state.retain();
                    Ok(Some(node))
                }
                None => revive(node, Names::none(), 0, tree, guard)
                    .map_err(|refused| refused.explain(node, None, tree)),
            },
            Descent::Missing(node, missing, hash) => create(node, &missing, hash, tree, guard)
                .map_err(|refused| refused.explain(node, Some(&missing), tree)),
        };
        if let Some(node) = created? {
            return Ok(node.adopt_reference(tree));
        }
        // Lost to a concurrent prune or replace of a dead node on the way: retry from the base.
        names = Names::of(path, &tree.limits)?;
    }
}

/// How a way down ended.
enum Descent<'g, 'p, V> {
    /// At the node. It may be dead.
    Found(NodeRef<'g, V>),
    /// At a node that has no child of the first of these names, with its hash if that is known.
    Missing(NodeRef<'g, V>, Missing<'p>, Option<u32>),
}

/// Goes down as far as there are nodes.
#[inline(always)]
fn descend<'g, 'p, V>(
    base: &Held<V>,
    mut names: Names<'p>,
    guard: &'g Guard,
) -> Descent<'g, 'p, V> {
    let tree = base.tree();
    let mut node = base.node_under(guard);
    loop {
        let start = names.position();
        let Some(first) = names.next() else { return Descent::Found(node) };
        match children::find(node, first, tree, guard) {
            Ok(child) => node = child,
            Err(hash) => {
                return Descent::Missing(node, Missing { start, first, below: names }, hash);
            }
        }
    }
}

/// Why nothing was created, in a word: an error takes more room than a result has in registers.
#[derive(Clone, Copy)]
enum Refused {
    Path,
    TooManyChildren,
    TooManyNodes,
}

impl Refused {
    /// The error of a walk that ended at `node`, with these components `missing` there.
    #[cold]
    fn explain<V>(
        self,
        node: NodeRef<'_, V>,
        missing: Option<&Missing<'_>>,
        tree: &Shared,
    ) -> WalkError {
        let (depth, limits) = (node.depth(), &tree.limits);
        match (self, missing) {
            (Refused::Path, Some(missing)) => missing.error(depth, limits).into(),
            (Refused::TooManyChildren, _) => {
                WalkError::TooManyChildren { limit: limits.children, depth }
            }
            _ => WalkError::TooManyNodes { limit: limits.nodes },
        }
    }
}

/// Makes the `missing` nodes under `node`. The last of them, with a reference that is the caller's;
/// nothing if somebody was faster, or if `node` was dead and gone before it could be replaced (W3).
#[inline(never)]
fn create<'g, V>(
    node: NodeRef<'g, V>,
    missing: &Missing<'_>,
    hash: Option<u32>,
    tree: &Shared,
    guard: &'g Guard,
) -> Result<Option<NodeRef<'g, V>>, Refused> {
    let count = missing.count(node.depth(), &tree.limits).ok_or(Refused::Path)?;
    if !tree.reserve_nodes(count) {
        // What took the last room may have been another walker's node of this very name.
        return match children::find(node, missing.first, tree, guard) {
            Ok(_) => Ok(None),
            Err(_) => Err(Refused::TooManyNodes),
        };
    }
    let chain = chain(node, missing.first, &missing.below, hash, tree);
    let (linked, spare) = children::link(node, chain, tree, guard);
    prune::give_back(spare);
    if let Linked::Done(leaf) = linked {
        return Ok(Some(leaf));
    }
    tree.forget_nodes(count);
    match linked {
        Linked::OwnerDead => revive(node, missing.names(), count, tree, guard),
        Linked::Full => Err(Refused::TooManyChildren),
        Linked::Exists | Linked::Done(_) => Ok(None),
    }
}

/// Puts a fresh node, with the `count` nodes called `below` under it, in the place of `dead`. The last
/// of them, as [`create`]; nothing if `dead` is no longer linked.
#[cold]
fn revive<'g, V>(
    dead: NodeRef<'g, V>,
    below: Names<'_>,
    count: usize,
    tree: &Shared,
    guard: &'g Guard,
) -> Result<Option<NodeRef<'g, V>>, Refused> {
    let Some(parent) = dead.parent() else {
        return Ok(None); // a root that somebody walks from is alive
    };
    // The fresh node has the room of the dead one, so this is for those below it.
    if !tree.reserve_nodes(count) {
        return Err(Refused::TooManyNodes);
    }
    let chain = chain(parent, dead.name(), &below, Some(dead.hash), tree);
    let (replaced, spare) = children::replace(parent, dead, chain, tree, guard);
    prune::give_back(spare);
    if replaced.is_none() {
        tree.forget_nodes(count);
    }
    Ok(replaced)
}

/// A new node called `first`, and those called `below`, each below the one before; `hash` is that of the
/// first, if it is known.
fn chain<'g, V>(
    parent: NodeRef<'g, V>,
    first: &[u8],
    below: &Names<'_>,
    hash: Option<u32>,
    tree: &Shared,
) -> Chain<'g, V> {
    let hash = hash.unwrap_or_else(|| tree.hash(first));
    let mut chain = Chain::new(parent, hash, first);
    if !below.is_at_end() {
        for name in *below {
            chain.push(tree.hash(name), name);
        }
    }
    chain
}

/// What is at `path` under `base`, as `found` says; nothing if there is no node.
#[inline]
fn at<'g, V: 'g, T>(
    base: &Held<V>,
    path: &[u8],
    guard: &'g Guard,
    found: impl FnOnce(NodeRef<'g, V>) -> Option<T>,
) -> Result<Option<T>, PathError> {
    let limits = &base.tree().limits;
    match descend(base, Names::of(path, limits)?, guard) {
        Descent::Found(node) => Ok(found(node)),
        Descent::Missing(node, missing, _) => match missing.count(node.depth(), limits) {
            Some(_) => Ok(None),
            None => Err(missing.error(node.depth(), limits)),
        },
    }
}

/// A reference to the node at `path` under `base`, if there is one.
///
/// If the node that it finds is dead, the path was empty at the moment of that death or, if that
/// was before the call, when the walk read the link to it: a dead node is unlinked before another
/// takes its place.
///
/// # Progress
/// Wait-free but for the count of the last node, which is lock-free.
#[inline]
pub(crate) fn lookup<V>(
    base: &Held<V>,
    path: &[u8],
    guard: &Guard,
) -> Result<Option<Held<V>>, PathError> {
    at(base, path, guard, |node| node.acquire(base.tree()))
}

/// What the cell at `path` under `base` holds; nothing if there is no node. Takes no reference.
///
/// # Progress
/// Wait-free.
#[inline]
pub(crate) fn content<'g, V>(
    base: &Held<V>,
    path: &[u8],
    guard: &'g Guard,
) -> Result<Option<Content<'g, V>>, PathError> {
    at(base, path, guard, |node| {
        let content = node.cell.load(guard);
        // A dead node is not there, though it may still be linked, and its cell knows a revision. One
        // that holds a value was alive when that was loaded.
        let dead = content.is_empty() && node.state.is_dead();
        (!dead || mutated("load_at_reads_the_dead")).then_some(content)
    })
}
