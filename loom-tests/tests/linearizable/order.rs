//! Whether a history has a sequential order: the search of Wing and Gong, with Lowe's memory of the
//! configurations that led nowhere.
//!
//! An operation may come next if no other that is left ended before it started, and if the
//! sequential tree gives the result that it had.
//!
//! One thing is not sequential: `ls` takes its handles one after the other, and gives them back if a
//! child died meanwhile. So a child whose last handle goes while another thread's list is under way
//! may *linger* until that list is done. It is there for everybody else, but no list shows what
//! nobody but itself keeps.

use std::collections::HashSet;

use crate::history::{Content, Event, Id, NAMES, Operation, table};

/// A node of the sequential tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    id: Id,
    handles: usize,
    content: Content,
}

impl Node {
    fn new(id: Id) -> Self {
        Node { id, handles: 0, content: (None, 0) }
    }

    fn lingers(&self) -> bool {
        self.handles == 0 && self.content.0.is_none()
    }

    /// Puts a value, or nothing, in the cell; what was there before. Nothing for nothing is no change.
    fn swap(&mut self, value: Option<u32>) -> Content {
        let (before, revision) = self.content;
        self.content = (value, revision + u64::from(before.is_some() || value.is_some()));
        (before, revision)
    }

    /// The revision after a store, or the present one if it is refused.
    fn store(&mut self, value: Option<u32>, refused: bool) -> Result<u64, u64> {
        if refused {
            return Err(self.content.1);
        }
        self.swap(value);
        Ok(self.content.1)
    }
}

/// The sequential tree: a node exists while somebody has a handle to it or it holds a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Tree {
    nodes: [Option<Node>; NAMES.len()],
    gone: Vec<Id>,
}

impl Tree {
    /// Whether the operation has this result here. If so, it is done. What it leaves without a
    /// holder lingers.
    fn apply(&mut self, event: &Event) -> bool {
        match *event {
            Event::Walk { name, got } => self.walk(name, got),
            Event::Lookup { name, got } => match got {
                Some(id) => self.hold(name, id),
                None => self.nodes[name].is_none(),
            },
            Event::Names { ref got } => got.iter().copied().eq(self.living()),
            Event::Ls { ref got } => {
                got.iter().map(|&(name, _)| name).eq(self.living())
                    && got.iter().all(|&(name, id)| self.hold(name, id))
            }
            Event::LoadAt { name, got } => {
                got == self.nodes[name].as_ref().map_or((None, 0), |node| node.content)
            }
            Event::Load { node, got } => self.change(node, |node| node.content == got),
            Event::Store { node, value, overwrite, got } => self.change(node, |node| {
                got == node.store(value, !overwrite && node.content.0.is_some())
            }),
            Event::CompareAndStore { node, expected, value, got } => {
                self.change(node, |node| got == node.store(value, node.content.1 != expected))
            }
            Event::Swap { node, value, got } => self.change(node, |node| node.swap(value) == got),
            Event::Clear { node, got } => self.change(node, |node| node.swap(None) == got),
            Event::Drop { node } => self.change(node, |node| {
                node.handles -= 1;
                true
            }),
        }
    }

    fn living(&self) -> impl Iterator<Item = usize> {
        (0..NAMES.len()).filter(|&name| self.nodes[name].is_some())
    }

    fn walk(&mut self, name: usize, id: Id) -> bool {
        if self.nodes[name].is_none() {
            if self.gone.contains(&id) || self.nodes.iter().flatten().any(|node| node.id == id) {
                return false;
            }
            self.nodes[name] = Some(Node::new(id));
        }
        self.hold(name, id)
    }

    fn hold(&mut self, name: usize, id: Id) -> bool {
        match &mut self.nodes[name] {
            Some(node) if node.id == id => {
                node.handles += 1;
                true
            }
            _ => false,
        }
    }

    /// Changes a node that the caller has a handle to.
    fn change(&mut self, id: Id, with: impl FnOnce(&mut Node) -> bool) -> bool {
        let mut nodes = self.nodes.iter_mut().flatten();
        nodes.find(|node| node.id == id && node.handles > 0).is_some_and(with)
    }

    /// Takes away those of the lingering nodes that are not in the set `kept` of names.
    fn prune(&mut self, kept: usize) {
        for (name, place) in self.nodes.iter_mut().enumerate() {
            if let Some(node) = place.take_if(|node| node.lingers() && kept >> name & 1 == 0) {
                // Sorted, so that equal trees are equal.
                let at = self.gone.partition_point(|&other| other < node.id);
                self.gone.insert(at, node.id);
            }
        }
    }

    /// The names of the lingering nodes, as a set.
    fn lingering(&self) -> usize {
        let lingers = |name: &usize| self.nodes[*name].as_ref().is_some_and(Node::lingers);
        (0..NAMES.len()).filter(lingers).map(|name| 1 << name).sum()
    }
}

/// # Panics
/// If the history has no sequential order.
pub(crate) fn assert_linearizable(history: &[Operation]) {
    assert!(is_linearizable(history), "no sequential order:\n{}", table(history));
}

fn is_linearizable(history: &[Operation]) -> bool {
    assert!(history.len() <= Set::BITS as usize, "a set of operations is a word");
    search(history, 0, &Tree::default(), &mut HashSet::new())
}

/// A set of operations, by their places in the history.
type Set = u128;

/// Whether the operations that are not in `done` have an order that starts from `tree`.
fn search(history: &[Operation], done: Set, tree: &Tree, seen: &mut HashSet<(Set, Tree)>) -> bool {
    let left = || history.iter().enumerate().filter(|(at, _)| done >> at & 1 == 0);
    let Some(first_end) = left().map(|(_, operation)| operation.end).min() else { return true };
    if !seen.insert((done, tree.clone())) {
        return false;
    }
    let started = || left().filter(|(_, operation)| operation.start < first_end);
    let lists = |but: usize| {
        started().any(|(at, other)| at != but && matches!(other.event, Event::Ls { .. }))
    };
    started().any(|(at, operation)| {
        // Whether somebody else's list may be what keeps a lingering node.
        let lent = lists(at);
        let mut next = tree.clone();
        if !lent {
            next.prune(0);
        }
        if !next.apply(&operation.event) {
            return false;
        }
        let lingering = if lent { next.lingering() } else { 0 };
        subsets(lingering).any(|kept| {
            let mut next = next.clone();
            next.prune(kept);
            search(history, done | 1 << at, &next, seen)
        })
    })
}

/// The subsets of a set, the empty one first.
fn subsets(of: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(0), move |&last| (last != of).then(|| last.wrapping_sub(of) & of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(start: usize, end: usize, event: Event) -> Operation {
        Operation { thread: 0, start, end, event }
    }

    #[test]
    fn overlapping_operations_may_take_either_order() {
        let walk = operation(0, 3, Event::Walk { name: 0, got: 7 });
        for got in [None, Some(7)] {
            let lookup = operation(1, 2, Event::Lookup { name: 0, got });
            assert!(is_linearizable(&[walk.clone(), lookup]));
        }
        let lookup = operation(1, 2, Event::Lookup { name: 0, got: Some(8) });
        assert!(!is_linearizable(&[walk, lookup]));
    }

    #[test]
    fn operations_one_after_the_other_keep_their_order() {
        let walk = operation(0, 1, Event::Walk { name: 0, got: 7 });
        let lookup = operation(2, 3, Event::Lookup { name: 0, got: None });
        assert!(!is_linearizable(&[walk, lookup]));
    }

    #[test]
    fn a_node_that_is_gone_does_not_come_back() {
        let walk = |start| operation(start, start + 1, Event::Walk { name: 0, got: 7 });
        let drop = operation(2, 3, Event::Drop { node: 7 });
        assert!(is_linearizable(&[walk(0), drop.clone()]));
        assert!(!is_linearizable(&[walk(0), drop, walk(4)]));
    }

    #[test]
    fn changes_of_one_cell_happen_one_after_the_other() {
        let walk = |start| operation(start, start + 1, Event::Walk { name: 0, got: 7 });
        let swap = |got| operation(2, 5, Event::Swap { node: 7, value: Some(1), got });
        let store = |got| {
            let event = Event::Store { node: 7, value: Some(2), overwrite: false, got };
            operation(3, 6, event)
        };
        assert!(is_linearizable(&[walk(0), swap((None, 0)), store(Err(1))]));
        assert!(is_linearizable(&[walk(0), swap((Some(2), 1)), store(Ok(1))]));
        assert!(!is_linearizable(&[walk(0), swap((None, 0)), store(Ok(1))]));
        assert!(!is_linearizable(&[walk(0), swap((None, 0)), store(Err(0))]));
    }

    #[test]
    fn a_list_mixes_no_two_moments() {
        let walk = |start, name| operation(start, start + 1, Event::Walk { name, got: 7 + name });
        let (a, b) = (walk(0, 0), walk(3, 1));
        let drop = operation(5, 6, Event::Drop { node: 7 });
        let names = |got| operation(2, 7, Event::Names { got });
        for got in [vec![0], vec![0, 1], vec![1]] {
            assert!(is_linearizable(&[a.clone(), b.clone(), drop.clone(), names(got)]));
        }
        assert!(!is_linearizable(&[a, b, drop, names(vec![])]));
    }

    #[test]
    fn subsets_are_all_of_them() {
        assert!(subsets(0).eq([0]));
        assert!(subsets(0b1010).eq([0, 0b0010, 0b1000, 0b1010]));
    }

    #[test]
    fn a_list_may_delay_an_end_but_does_not_show_what_it_alone_keeps() {
        let walk = |start, name| operation(start, start + 1, Event::Walk { name, got: 7 + name });
        let drop = |start, node| operation(start, start + 1, Event::Drop { node });
        let lookup = |got| operation(9, 10, Event::Lookup { name: 0, got });
        let ls = |got| operation(4, 13, Event::Ls { got });
        let history =
            |got, found| [walk(0, 0), walk(2, 1), drop(5, 7), drop(7, 8), lookup(found), ls(got)];
        assert!(is_linearizable(&history(vec![], None)));
        assert!(is_linearizable(&history(vec![(1, 8)], None)));
        assert!(is_linearizable(&history(vec![(0, 7), (1, 8)], Some(7))));
        assert!(!is_linearizable(&history(vec![(0, 7)], None)));
    }
}
