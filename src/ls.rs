//! The list of one node's children, sorted.
//!
//! Which children there are at one moment is the business of [`children::living`]. Handles are taken
//! only after that: a child that the list itself holds no longer dies, so it would seem to be there
//! at a moment when everybody else had let go. If one has died in between, those taken are given
//! back, and all begins again; until then they keep their children alive.

use std::collections::BTreeMap;

use crate::node::children::{self, Child};
use crate::prune;
use crate::raw::node::Held;
use crate::sync::Guard;

/// Which of the children are wanted: the first so many of those whose names come after that.
#[derive(Clone, Copy)]
pub(crate) struct Page<'a> {
    pub(crate) after: &'a [u8],
    pub(crate) limit: usize,
}

impl Page<'_> {
    pub(crate) const ALL: Self = Page { after: b"", limit: usize::MAX };
}

/// References to the children, sorted by name.
///
/// # Progress
/// Lock-free.
pub(crate) fn handles<V>(owner: &Held<V>, page: Page<'_>, guard: &Guard) -> Vec<Held<V>> {
    loop {
        // Before any is held: what the list itself holds no longer dies.
        let living = living(owner, page, guard);
        let acquired = living.iter().map_while(|child| child.node.acquire(owner.tree()));
        let held: Vec<_> = acquired.collect();
        if held.len() == living.len() {
            return held;
        }
        // Lost to a concurrent last release of a child: retry.
        held.into_iter().for_each(prune::release);
    }
}

/// The names of the children, sorted.
///
/// # Progress
/// Lock-free.
pub(crate) fn names<V>(owner: &Held<V>, page: Page<'_>, guard: &Guard) -> Names {
    Names::new(&living(owner, page, guard))
}

/// The names of the children, each with whether its cell holds a value; a later change of that is told to
/// the watchers of the owner's children.
pub(crate) fn watched<V: Send + Sync + 'static>(
    owner: &Held<V>,
    guard: &Guard,
) -> BTreeMap<String, bool> {
    let living = living(owner, Page::ALL, guard);
    let cells = living.iter().map(|child| {
        let content = child.node.cell.load(guard);
        let content =
            if content.is_watched() { content } else { child.node.cell.watch(true, guard) };
        (text(child.node.name()).to_owned(), !content.is_empty())
    });
    cells.collect()
}

/// The children that lived at one moment, sorted by name.
fn living<'g, V>(owner: &Held<V>, page: Page<'_>, guard: &'g Guard) -> Vec<Child<'g, V>> {
    let (mut living, spare) = children::living(owner.node_under(guard), owner.tree(), guard);
    prune::give_back(spare);
    if !page.after.is_empty() {
        living.retain(|child| child.node.name() > page.after);
    }
    if page.limit < living.len() {
        living.select_nth_unstable_by(page.limit, Child::cmp);
        living.truncate(page.limit);
    }
    living.sort_unstable_by(Child::cmp);
    living
}

/// The names of a node's children at one moment, sorted.
pub struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    fn new<V>(children: &[Child<'_, V>]) -> Self {
        let mut text = Vec::with_capacity(children.len() * 8);
        let ends = children.iter().map(|child| {
            text.extend_from_slice(child.node.name());
            text.len()
        });
        let ends = ends.collect();
        Names { text: String::from_utf8(text).expect("names are ASCII"), ends }
    }

    /// How many there are, in O(1).
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none, in O(1).
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The names, in order: each in O(1), without an allocation.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator {
        (0..self.len()).map(|i| {
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            &self.text[start..self.ends[i]]
        })
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A name as text. Names are printable ASCII: `path` lets nothing else in.
pub(crate) fn text(name: &[u8]) -> &str {
    std::str::from_utf8(name).expect("names are ASCII")
}
