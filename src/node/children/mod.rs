//! The children of one node: a name → node table behind one word.
//!
//! The table is nothing, one node, a small array, or a trie ([`trie`]). Every version of it is
//! immutable; an operation builds the next version and exchanges the word. So one load of the word
//! *is* an atomic snapshot, and each operation takes effect at its exchange.
//!
//! - C1: a name stands in a version at most once: `link` adds one only to a version without it, and
//!   `replace` puts a node in the place of one with the same name.
//! - C2: a non-empty word owns exactly one reference on its owner. `link` takes it *before* the
//!   exchange that makes the word non-empty; whose exchange makes it empty again owns that
//!   reference, and gives it back.
//! - C3: hence an owner whose word is non-empty is alive, and an exchange that succeeds on a
//!   non-empty word proves it.

mod trie;

use crate::node::shared::Shared;
use crate::raw::block::{BlockRef, Count};
use crate::raw::link::{Link, Small, Tags, Target};
use crate::raw::node::{Chain, Held, NodeRef};
use crate::sync::{Guard, SMALL_MAX, mutated};

/// A trie that shrinks to this many nodes becomes a small array. Half of what an array holds, so
/// that a node that comes and goes at the border does not convert the table each time.
const SHRINK: usize = SMALL_MAX / 2;

/// The outcome of [`link`].
#[must_use]
pub(crate) enum Linked<'g, V> {
    /// The chain is in the tree.
    Done(Held<V>),
    /// Somebody else's node has that name. It may be dead.
    Exists(NodeRef<'g, V>),
    /// The owner is dead.
    OwnerDead,
    /// The owner has as many children as it may.
    Full,
}

/// The child of that name. It may be dead.
#[inline]
pub(crate) fn find<'g, V>(
    owner: NodeRef<'g, V>,
    hash: u32,
    name: &[u8],
    guard: &'g Guard,
) -> Option<NodeRef<'g, V>> {
    find_in(owner.children.load(guard), hash, name)
}

#[inline]
fn find_in<'g, V>(word: Link<'g, V>, hash: u32, name: &[u8]) -> Option<NodeRef<'g, V>> {
    match word.target() {
        Target::Node(node) => node.is(hash, name).then_some(node),
        Target::Small(small) => find_in_small(small, hash, name),
        Target::Branch(branch) => trie::find(branch, hash, name),
        Target::Nothing | Target::Bucket(_) => None,
    }
}

#[inline]
fn tag(hash: u32) -> u8 {
    (hash >> 24) as u8
}

#[inline]
fn find_in_small<'g, V>(small: Small<'g, V>, hash: u32, name: &[u8]) -> Option<NodeRef<'g, V>> {
    let candidates = small.head().iter().zip(small.links());
    for (_, link) in candidates.filter(|(other, _)| **other == tag(hash)) {
        if let Target::Node(node) = link.target()
            && node.is(hash, name)
        {
            return Some(node);
        }
    }
    None
}

/// The number of children in `word`, dying ones included.
pub(crate) fn count<V>(word: Link<'_, V>) -> usize {
    trie::count(word)
}

/// Adds the nodes of `word` to `to`, in no particular order.
pub(crate) fn collect<'g, V>(word: Link<'g, V>, to: &mut Vec<NodeRef<'g, V>>) {
    match word.target() {
        Target::Nothing => {}
        Target::Node(node) => to.push(node),
        Target::Small(small) => to.extend(trie::nodes(small.links())),
        Target::Bucket(bucket) => to.extend(trie::nodes(bucket.links())),
        // At most seven levels: the hash has no more bits.
        Target::Branch(branch) => branch.links().for_each(|link| collect(link, to)),
    }
}

/// Links `chain` under `owner`. The second result is a reference on the owner that was taken in
/// vain, for the caller to give back.
///
/// # Progress
/// Lock-free: each retry follows another thread's successful exchange of the same word.
pub(crate) fn link<'g, V>(
    owner: NodeRef<'g, V>,
    chain: Chain<'g, V>,
    tree: &Shared,
    guard: &'g Guard,
) -> (Linked<'g, V>, Option<Held<V>>) {
    let top = chain.top();
    let mut spare = None; // a reference on the owner for the word to own
    let outcome = loop {
        let word = owner.children.load(guard);
        if let Some(node) = find_in(word, top.hash, top.name()) {
            break Linked::Exists(node);
        }
        if count(word) >= tree.limits.children {
            break Linked::Full;
        }
        if word.is_nothing() && spare.is_none() && !mutated("link_without_owner_reference") {
            spare = owner.acquire(tree);
            if spare.is_none() {
                break Linked::OwnerDead;
            }
        }
        let edit = Edit::insert(word, top);
        if edit.publish(owner, guard) {
            if word.is_nothing() && spare.take().is_none() {
                owner.state.retain(); // an injected bug: too late. Otherwise the word owns `spare` now (C2)
            }
            break Linked::Done(chain.publish(tree));
        }
        // Lost to a concurrent link, unlink or replace: retry from the new word.
    };
    (outcome, spare)
}

/// Puts `chain` in the place of `dead`, a dead child with the same name.
///
/// # Errors
/// The chain, if `dead` is no longer linked. The owner need not be held: as long as `dead` is linked
/// the owner's word is not empty (C3).
pub(crate) fn replace<'g, V>(
    owner: NodeRef<'g, V>,
    dead: NodeRef<'g, V>,
    chain: Chain<'g, V>,
    tree: &Shared,
    guard: &'g Guard,
) -> Result<Held<V>, Chain<'g, V>> {
    loop {
        let word = owner.children.load(guard);
        let Some(edit) = Edit::substitute(word, dead, Some(chain.top())) else {
            return Err(chain);
        };
        if edit.publish(owner, guard) {
            return Ok(chain.publish(tree));
        }
        // Lost to a concurrent link, unlink or replace: retry from the new word.
    }
}

/// The outcome of [`unlink`].
#[must_use]
pub(crate) enum Unlinked<V> {
    /// A walker has put a fresh node in its place; the word kept its reference.
    Replaced,
    /// The child is out, others are left.
    Removed,
    /// The child is out and was the last: the word's reference on the owner (C2), for the caller to
    /// give back.
    Emptied(Held<V>),
}

/// Takes a dead child out.
pub(crate) fn unlink<'g, V>(
    owner: NodeRef<'g, V>,
    dead: NodeRef<'g, V>,
    tree: &Shared,
    guard: &'g Guard,
) -> Unlinked<V> {
    loop {
        let word = owner.children.load(guard);
        let Some(edit) = Edit::substitute(word, dead, None) else { return Unlinked::Replaced };
        let empties = edit.new.is_nothing() && !mutated("unlink_keeps_owner_reference");
        if edit.publish(owner, guard) {
            return match empties {
                true => Unlinked::Emptied(owner.adopt_reference(tree)),
                false => Unlinked::Removed,
            };
        }
        // Lost to a concurrent link, unlink or replace: retry from the new word.
    }
}

/// Which blocks of a version belong to a change.
#[derive(Clone, Copy)]
enum Scope {
    /// All of them: the change converts the table.
    Whole,
    /// The branches that a look-up of this hash passes, and the bucket of this hash.
    Path(u32),
}

/// One version of a table and the next.
struct Edit<'g, V> {
    old: Link<'g, V>,
    new: Link<'g, V>,
    scope: Scope,
}

impl<'g, V> Edit<'g, V> {
    /// `old` with one more node.
    fn insert(old: Link<'g, V>, node: NodeRef<'g, V>) -> Self {
        let (new, scope) = match old.target() {
            Target::Nothing | Target::Bucket(_) => (node.into(), Scope::Whole),
            Target::Node(only) => (packed(&[only, node]), Scope::Whole),
            Target::Small(small) if small.links().len() < SMALL_MAX => {
                (small_with(small, node), Scope::Whole)
            }
            Target::Small(small) => (trie_of(small, node), Scope::Whole),
            Target::Branch(_) => (trie::with(old, 0, node), Scope::Path(node.hash)),
        };
        Edit { old, new, scope }
    }

    /// `old` with `new` in the place of `node`, or without it; nothing if `node` is not there.
    fn substitute(
        old: Link<'g, V>,
        node: NodeRef<'g, V>,
        new: Option<NodeRef<'g, V>>,
    ) -> Option<Self> {
        let new_link = new.map_or(Link::NOTHING, Link::from);
        let (new, scope) = match old.target() {
            Target::Node(only) if only == node => (new_link, Scope::Whole),
            Target::Small(small) => {
                let at = trie::nodes(small.links()).position(|one| one == node)?;
                (small_edited(small, at, new_link), Scope::Whole)
            }
            Target::Branch(branch) if new.is_none() && *branch.head() as usize <= SHRINK + 1 => {
                let mut rest = Vec::with_capacity(SHRINK + 1);
                collect(old, &mut rest);
                let at = rest.iter().position(|one| *one == node)?;
                rest.swap_remove(at);
                (packed(&rest), Scope::Whole)
            }
            Target::Branch(_) => (trie::without(old, 0, node, new)?, Scope::Path(node.hash)),
            _ => return None,
        };
        Some(Edit { old, new, scope })
    }

    /// Exchanges the owner's word, and retires the blocks of the old version or frees those of the
    /// new one.
    fn publish(self, owner: NodeRef<'g, V>, guard: &Guard) -> bool {
        let done = owner.children.exchange(self.old, self.new);
        if done {
            each_block(self.old, self.scope, 0, &mut |block| block.retire_block(guard));
        } else {
            each_block(self.new, self.scope, 0, &mut |block| block.free_block());
        }
        done
    }
}

/// Visits the blocks at and below `link` that are in scope, each after those below it.
fn each_block<'g, V>(
    link: Link<'g, V>,
    scope: Scope,
    shift: u32,
    visit: &mut impl FnMut(Link<'g, V>),
) {
    match (link.target(), scope) {
        (Target::Nothing | Target::Node(_), _) => {}
        (Target::Bucket(bucket), Scope::Path(hash)) if *bucket.head() != hash => {}
        (Target::Small(_) | Target::Bucket(_), _) => visit(link),
        (Target::Branch(branch), Scope::Whole) => {
            branch.links().for_each(|below| each_block(below, scope, shift + trie::BITS, visit));
            visit(link);
        }
        (Target::Branch(branch), Scope::Path(hash)) => {
            if let Some(below) = trie::below(branch, hash, shift) {
                each_block(below, scope, shift + trie::BITS, visit);
            }
            visit(link);
        }
    }
}

/// The smallest table for at most [`SMALL_MAX`] nodes.
fn packed<'g, V>(nodes: &[NodeRef<'g, V>]) -> Link<'g, V> {
    match *nodes {
        [] => Link::NOTHING,
        [only] => only.into(),
        _ => {
            let mut tags: Tags = [0; 16];
            for (place, node) in tags.iter_mut().zip(nodes) {
                *place = tag(node.hash);
            }
            small_of(tags, nodes.iter().map(|&node| node.into()))
        }
    }
}

fn small_of<'g, V: 'g>(
    tags: Tags,
    links: impl ExactSizeIterator<Item = Link<'g, V>>,
) -> Link<'g, V> {
    BlockRef::alloc(tags, Count::new(links.len()), links.map(Link::store)).into()
}

/// A version of `small`, which is not full, with one more node. Reads none of the others.
fn small_with<'g, V>(small: Small<'g, V>, node: NodeRef<'g, V>) -> Link<'g, V> {
    let len = small.links().len();
    let mut tags = *small.head();
    tags[len] = tag(node.hash);
    let mut links = small.links();
    small_of(tags, (0..len + 1).map(|_| links.next().unwrap_or(node.into())))
}

/// A version of `small` with `new`, of the same hash, in the place of the `at`th node, or without
/// that node. Reads none of the others.
fn small_edited<'g, V>(small: Small<'g, V>, at: usize, new: Link<'g, V>) -> Link<'g, V> {
    let len = small.links().len();
    let mut tags = *small.head();
    if !new.is_nothing() {
        let links = small.links().enumerate();
        return small_of(tags, links.map(|(i, link)| if i == at { new } else { link }));
    }
    if len == 2 {
        return small.link(1 - at);
    }
    tags.copy_within(at + 1..len, at);
    tags[len - 1] = 0;
    small_of(tags, (0..len - 1).map(|i| small.link(if i < at { i } else { i + 1 })))
}

/// A trie of a full array's nodes and one more.
#[cold]
fn trie_of<'g, V>(small: Small<'g, V>, node: NodeRef<'g, V>) -> Link<'g, V> {
    let mut made = trie::single(node);
    for node in trie::nodes(small.links()) {
        let next = trie::with(made, 0, node);
        // The blocks that `next` does not share were never published.
        each_block(made, Scope::Path(node.hash), 0, &mut |block| block.free_block());
        made = next;
    }
    made
}
