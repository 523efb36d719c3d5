//! Many children: a hash trie, copied on write.
//!
//! Each level takes 5 bits of the hash, lowest first; a place holds a node, a [`Branch`] for the
//! next level, or a [`Bucket`] for nodes whose 32 bits of hash are all equal. A change copies the
//! blocks on the way from the top to the place that changes and shares everything else with the
//! version before it. So the blocks *on the path of one hash* are exactly the ones that a change to
//! that hash makes new (in the new version) and makes obsolete (in the old one), which is how they
//! are freed: see [`super::Scope::Path`].
//!
//! Invariants:
//! - T1: the header of a branch is the number of nodes below it.
//! - T2: a branch below the top leads to at least two nodes, so a branch with one place left that
//!   holds a node or bucket is replaced by that.
//! - T3: a bucket holds at least two nodes.
//!
//! Source: Bagwell, *Ideal Hash Trees*, 2001.

use crate::raw::block::{Bitmap, BlockRef, Count};
use crate::raw::link::{Branch, Bucket, Link, Target};
use crate::raw::node::NodeRef;

pub(super) const BITS: u32 = 5;
const MASK: u32 = (1 << BITS) - 1;

/// The bit of `hash`'s place in a branch `shift` bits down.
#[inline]
fn place(hash: u32, shift: u32) -> u32 {
    1 << ((hash >> shift) & MASK)
}

/// The index of a place among those that are filled.
#[inline]
fn index(bitmap: u32, place: u32) -> usize {
    (bitmap & (place - 1)).count_ones() as usize
}

pub(super) fn find<'g, V>(
    mut branch: Branch<'g, V>,
    hash: u32,
    name: &[u8],
) -> Option<NodeRef<'g, V>> {
    let mut shift = 0;
    loop {
        match below(branch, hash, shift)?.target() {
            Target::Node(node) => return node.is(hash, name).then_some(node),
            Target::Branch(below) => branch = below,
            Target::Bucket(bucket) => return find_in_bucket(bucket, hash, name),
            Target::Nothing | Target::Small(_) => return None,
        }
        shift += BITS;
    }
}

/// A trie of one node.
pub(super) fn single<V>(node: NodeRef<'_, V>) -> Link<'_, V> {
    branch_of(1, place(node.hash, 0), std::iter::once(node.into()))
}

/// What stands in `branch`, `shift` bits down, where `hash` leads.
pub(super) fn below<'g, V>(branch: Branch<'g, V>, hash: u32, shift: u32) -> Option<Link<'g, V>> {
    let Bitmap(bitmap) = branch.len_word();
    let place = place(hash, shift);
    (bitmap & place != 0).then(|| branch.link(index(bitmap, place)))
}

fn find_in_bucket<'g, V>(bucket: Bucket<'g, V>, hash: u32, name: &[u8]) -> Option<NodeRef<'g, V>> {
    if *bucket.head() != hash {
        return None;
    }
    nodes(bucket.links()).find(|node| node.name() == name)
}

/// The nodes among `links`, which lead to nothing else.
pub(super) fn nodes<'g, V: 'g>(
    links: impl Iterator<Item = Link<'g, V>>,
) -> impl Iterator<Item = NodeRef<'g, V>> {
    links.filter_map(|link| match link.target() {
        Target::Node(node) => Some(node),
        _ => None,
    })
}

/// How many nodes there are at and below `link`.
pub(super) fn count<V>(link: Link<'_, V>) -> usize {
    match link.target() {
        Target::Nothing => 0,
        Target::Node(_) => 1,
        Target::Small(small) => small.links().len(),
        Target::Branch(branch) => *branch.head() as usize,
        Target::Bucket(bucket) => bucket.links().len(),
    }
}

/// A version of `link`, `shift` bits down, with `node`, whose name is not in it.
pub(super) fn with<'g, V>(link: Link<'g, V>, shift: u32, node: NodeRef<'g, V>) -> Link<'g, V> {
    match link.target() {
        Target::Nothing | Target::Small(_) => node.into(),
        Target::Node(leaf) if leaf.hash == node.hash => {
            bucket_of(node.hash, [link, node.into()].into_iter())
        }
        Target::Bucket(bucket) if *bucket.head() == node.hash => {
            bucket_of(node.hash, bucket.links().chain([node.into()]))
        }
        Target::Node(leaf) => join(link, leaf.hash, shift, node),
        Target::Bucket(bucket) => join(link, *bucket.head(), shift, node),
        Target::Branch(branch) => {
            let Bitmap(bitmap) = branch.len_word();
            let place = place(node.hash, shift);
            let at = index(bitmap, place);
            let old = (bitmap & place != 0).then(|| branch.link(at));
            let new = match old {
                Some(old) => with(old, shift + BITS, node),
                None => node.into(),
            };
            let (head, tail) = (branch.links().take(at), branch.links());
            let tail = tail.skip(at + usize::from(old.is_some()));
            branch_of(branch.head() + 1, bitmap | place, head.chain([new]).chain(tail))
        }
    }
}

/// The branch that tells `leaf`, all of hash `leaf_hash`, from `node`.
fn join<'g, V>(leaf: Link<'g, V>, leaf_hash: u32, shift: u32, node: NodeRef<'g, V>) -> Link<'g, V> {
    let (a, b) = (place(leaf_hash, shift), place(node.hash, shift));
    let count = count(leaf) as u32 + 1;
    if a == b {
        let below = join(leaf, leaf_hash, shift + BITS, node);
        return branch_of(count, a, [below].into_iter());
    }
    let pair = if a < b { [leaf, node.into()] } else { [node.into(), leaf] };
    branch_of(count, a | b, pair.into_iter())
}

/// A version of `link`, `shift` bits down, with `new` in the place of `old`, or without it;
/// nothing if `old` is not there.
pub(super) fn without<'g, V>(
    link: Link<'g, V>,
    shift: u32,
    old: NodeRef<'g, V>,
    new: Option<NodeRef<'g, V>>,
) -> Option<Link<'g, V>> {
    let new_link = new.map_or(Link::NOTHING, Link::from);
    match link.target() {
        Target::Node(node) => (node == old).then_some(new_link),
        Target::Bucket(bucket) => {
            let at = nodes(bucket.links()).position(|node| node == old)?;
            Some(match new {
                None if bucket.links().len() == 2 => bucket.link(1 - at),
                _ => bucket_of(*bucket.head(), edited(bucket.links(), at, new_link)),
            })
        }
        Target::Branch(branch) => {
            let Bitmap(bitmap) = branch.len_word();
            let place = place(old.hash, shift);
            if bitmap & place == 0 {
                return None;
            }
            let at = index(bitmap, place);
            let below = without(branch.link(at), shift + BITS, old, new)?;
            let count = branch.head() - u32::from(new.is_none());
            let bitmap = if below.is_nothing() { bitmap & !place } else { bitmap };
            let links = edited(branch.links(), at, below);
            // T2: what is left of a branch with one node or bucket is that.
            if bitmap.count_ones() == 1 && shift > 0 {
                let only = links.clone().next().unwrap_or(Link::NOTHING);
                if !matches!(only.target(), Target::Branch(_)) {
                    return Some(only);
                }
            }
            Some(branch_of(count, bitmap, links))
        }
        Target::Nothing | Target::Small(_) => None,
    }
}

/// `links` with the one at `at` replaced by `new`, or left out if that is nothing.
pub(super) fn edited<'g, V: 'g>(
    links: impl Iterator<Item = Link<'g, V>> + Clone,
    at: usize,
    new: Link<'g, V>,
) -> impl Iterator<Item = Link<'g, V>> + Clone {
    let keep = links.enumerate().map(move |(i, link)| if i == at { new } else { link });
    keep.filter(|link| !link.is_nothing())
}

fn branch_of<'g, V: 'g>(
    count: u32,
    bitmap: u32,
    links: impl Iterator<Item = Link<'g, V>>,
) -> Link<'g, V> {
    BlockRef::alloc(count, Bitmap(bitmap), links.map(Link::store)).into()
}

fn bucket_of<'g, V: 'g>(
    hash: u32,
    links: impl Iterator<Item = Link<'g, V>> + Clone,
) -> Link<'g, V> {
    let len = Count::new(links.clone().count());
    Bucket::alloc(hash, len, links.map(Link::store)).into()
}
