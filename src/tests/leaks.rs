//! Every way a value can leave, counted; and trees so deep or wide that recursion would show.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::{sizes, tree};
use crate::testing::{Ledger, Tracked, settle};
use crate::{Anchor, Limits, Tree, Value};

/// Runs `body` on an empty tree; afterwards the tree is empty again and no value is left, although
/// the tree itself is still there.
fn balanced(body: impl FnOnce(&Anchor<Tracked>, &Ledger)) {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    body(&root, &ledger);
    assert!(ledger.made() > 0, "nothing was tried");
    assert!(settle(|| ledger.live() == 0), "{} values leaked", ledger.live());
    assert!(settle(|| tree.nodes() == 1), "{} nodes are left", tree.nodes());
}

#[test]
fn a_value_that_is_cleared_is_dropped() {
    balanced(|root, ledger| {
        root.store_at("a", ledger.value(1), false).unwrap();
        root.walk("a").unwrap().clear();
        root.store_at("a", ledger.value(1), false).unwrap();
        root.store_at("a", None, true).unwrap();
        root.store_at("a", ledger.value(1), false).unwrap();
        root.walk("a").unwrap().swap(None).unwrap();
        root.store_at("a", ledger.value(1), false).unwrap();
        root.walk("a").unwrap().compare_and_store(1, None).unwrap();
        root.store_at("a", ledger.value(1), false).unwrap();
        root.walk("a").unwrap().cell().1.clear();
    });
}

#[test]
fn a_value_that_is_replaced_is_dropped() {
    balanced(|root, ledger| {
        for i in 0..1_000 {
            let anchor = root.walk("a").unwrap();
            let storer = anchor.cell().1;
            match i % 4 {
                0 => drop(root.store_at("a", ledger.value(i), true).unwrap()),
                1 => drop(storer.store(ledger.value(i), true).unwrap()),
                2 => drop(anchor.swap(ledger.value(i)).unwrap()),
                _ => drop(storer.compare_and_store(i, ledger.value(i)).unwrap()),
            }
        }
        assert!(settle(|| ledger.live() == 1), "{} values for one cell", ledger.live());
        root.store_at("a", None, true).unwrap();
    });
}

#[test]
fn a_value_that_is_refused_is_dropped_with_the_error() {
    balanced(|root, ledger| {
        root.store(ledger.value(1), true).unwrap();
        drop(root.store(ledger.value(2), false).unwrap_err());
        drop(root.compare_and_store(7, ledger.value(2)).unwrap_err());
        drop(root.store_at("", ledger.value(2), false).unwrap_err());
        drop(root.store_at("a/..", ledger.value(2), false).unwrap_err());
        assert_eq!(ledger.live(), 1);
        root.clear();
    });
}

#[test]
fn a_value_that_is_held_is_dropped_with_its_last_holder() {
    balanced(|root, ledger| {
        root.store_at("a", ledger.value(1), true).unwrap();
        let held = root.load_at("a").unwrap().value.unwrap();
        let copies = [held.clone(), held.clone()];
        root.store_at("a", None, true).unwrap();
        drop(held);
        assert!(!copies.iter().any(|copy| copy.id() != 1));
    });
}

#[test]
fn a_value_is_dropped_once_on_whatever_thread_lets_it_go() {
    balanced(|root, ledger| {
        for i in 0..if cfg!(miri) { 5 } else { 200 } {
            root.store_at("a", ledger.value(i), true).unwrap();
            let held = root.load_at("a").unwrap().value.unwrap();
            let at = root.clone();
            let other = thread::spawn(move || {
                drop(at.load_at("a").unwrap());
                at.store_at("a", None, true).unwrap();
                assert_eq!(held.id(), i);
            });
            drop(root.load_at("a").unwrap());
            other.join().unwrap();
        }
    });
}

#[test]
fn values_replaced_by_a_thread_that_ends_at_once_are_dropped() {
    balanced(|root, ledger| {
        for count in [1, 3, 64, 65, 200] {
            let (at, values) = (root.clone(), ledger.clone());
            let thread = thread::spawn(move || {
                for i in 0..count {
                    at.store_at("a/b", values.value(i), true).unwrap();
                }
                at.store_at("a/b", None, true).unwrap();
            });
            thread.join().unwrap();
        }
    });
}

thread_local! {
    static KEPT: RefCell<Vec<Anchor<Tracked>>> = const { RefCell::new(Vec::new()) };
    static VALUES: RefCell<Vec<Value<Tracked>>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn handles_and_values_in_thread_locals_go_when_the_thread_ends() {
    balanced(|root, ledger| {
        // The last thread-local that came goes first: once after the tree's own, once before.
        for touched_first in [true, false] {
            let (at, values) = (root.clone(), ledger.clone());
            let thread = thread::spawn(move || {
                if touched_first {
                    KEPT.with_borrow_mut(Vec::clear);
                    VALUES.with_borrow_mut(Vec::clear);
                }
                at.store_at("v", values.value(1), true).unwrap();
                VALUES.with_borrow_mut(|kept| kept.extend(at.load_at("v").unwrap().value));
                KEPT.with_borrow_mut(|kept| kept.push(at.walk("a/b/c").unwrap()));
                at.store_at("v", None, true).unwrap();
            });
            thread.join().unwrap();
        }
    });
}

/// Empties a cell as it goes.
struct Clears(Anchor<Tracked>);

impl Drop for Clears {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Lets another thread unpin, and goes on when it has.
struct Unpins(Sender<()>, Receiver<()>);

impl Drop for Unpins {
    fn drop(&mut self) {
        self.0.send(()).expect("the other thread waits");
        self.1.recv().expect("the other thread answers");
    }
}

/// Dropped in this order: many values while nothing is freed, then a few.
struct Late {
    _many: Vec<Clears>,
    _between: Unpins,
    _few: Vec<Clears>,
}

#[test]
fn destructors_at_a_threads_end_are_not_run_inside_each_other() {
    const VALUES: u64 = if cfg!(miri) { 20 } else { 2_000 };
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    balanced(|root, ledger| {
        let ((ask, asked), (answer, answered)) = (channel(), channel());
        let (at, values) = (root.clone(), ledger.clone());
        let body = move || {
            // Comes before the tree's own thread-locals, and so goes after them.
            LATE.set(None);
            let mut late: Vec<_> = (0..VALUES)
                .map(|i| {
                    let kept = at.walk(format!("n{i}/below")).unwrap();
                    let cell = at.walk(format!("v{i}")).unwrap();
                    cell.store(values.value_holding(i, Some(kept)), true).unwrap();
                    Clears(cell)
                })
                .collect();
            let last = late.split_off(late.len() - 10);
            LATE.set(Some(Late { _many: late, _between: Unpins(ask, answered), _few: last }));
        };
        // Room for a few destructors, not for one in another in another.
        let thread = thread::Builder::new().stack_size(256 << 10).spawn(body).unwrap();
        root.load_with(|_, _| asked.recv().unwrap());
        answer.send(()).unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn an_anchor_in_a_value_keeps_its_node_until_the_value_is_dropped() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    let anchor = root.walk("far/away").unwrap();
    root.store_at("a", ledger.value_holding(1, Some(anchor)), true).unwrap();
    assert_eq!(tree.nodes(), 4);
    root.store_at("a", None, true).unwrap();
    assert!(settle(|| tree.nodes() == 1), "{} nodes are left", tree.nodes());
    assert_eq!(ledger.live(), 0);
}

#[test]
fn values_whose_drop_drops_anchors_may_be_dropped_in_crowds() {
    balanced(|root, ledger| {
        for i in 0..if cfg!(miri) { 20 } else { 2_000 } {
            let anchor = root.walk(format!("n{i}/below")).unwrap();
            root.store_at("a", ledger.value_holding(i, Some(anchor)), true).unwrap();
        }
        root.store_at("a", None, true).unwrap();
    });
}

#[test]
fn a_value_may_hold_the_anchor_of_its_own_cell() {
    balanced(|root, ledger| {
        let anchor = root.walk("a/b").unwrap();
        root.store_at("a/b", ledger.value_holding(1, Some(anchor)), true).unwrap();
        root.store_at("a/b", None, true).unwrap();
    });
}

#[test]
fn values_that_hold_each_others_anchors_go_with_the_tree() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    for (at, to) in [("a", "b"), ("b", "a"), ("c", "c"), ("d/e", "a"), ("f", "")] {
        let anchor = root.walk(to).unwrap();
        root.store_at(at, ledger.value_holding(1, Some(anchor)), true).unwrap();
    }
    drop((root, tree));
    assert!(settle(|| ledger.live() == 0), "{} values leaked", ledger.live());
}

#[test]
fn a_value_may_hold_an_anchor_of_another_tree() {
    let ((one, a), (two, b)) = (tree(), tree());
    let ledger = Ledger::default();
    let (in_one, in_two) = (a.walk("x/y").unwrap(), b.walk("x/y").unwrap());
    a.store_at("v", ledger.value_holding(1, Some(in_two)), true).unwrap();
    b.store_at("v", ledger.value_holding(2, Some(in_one)), true).unwrap();
    drop((a, one));
    assert!(settle(|| ledger.live() == 1), "{} values are left", ledger.live());
    assert!(settle(|| two.nodes() == 2), "x/y in the second tree went with the value");
    drop((b, two));
    assert!(settle(|| ledger.live() == 0), "{} values leaked", ledger.live());
}

/// Runs `body` where recursion over a deep tree would overflow.
fn on_a_small_stack(body: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(2 << 20).spawn(body).unwrap().join().unwrap();
}

/// A tree for very deep chains, and the path of one.
fn deep() -> (Tree<Tracked>, String) {
    let limits = Limits { depth: usize::MAX, path_bytes: usize::MAX, ..Limits::default() };
    (Tree::new(limits), "d/".repeat(sizes().deep))
}

#[test]
fn a_very_deep_chain_is_made_by_one_walk_and_pruned_by_one_drop() {
    on_a_small_stack(|| {
        let (tree, path) = deep();
        let bottom = tree.root().walk(&path).unwrap();
        assert_eq!(tree.nodes(), 1 + sizes().deep);
        assert_eq!(tree.root().lookup(&path).unwrap(), Some(bottom.clone()));
        drop(bottom);
        assert_eq!(tree.nodes(), 1);
    });
}

#[test]
fn a_very_deep_chain_that_a_value_keeps_goes_with_the_value() {
    on_a_small_stack(|| {
        let ((tree, path), ledger) = (deep(), Ledger::default());
        tree.root().store_at(&path, ledger.value(1), false).unwrap();
        assert_eq!(tree.nodes(), 1 + sizes().deep);
        tree.root().store_at(&path, None, true).unwrap();
        assert_eq!(tree.nodes(), 1);
        assert!(settle(|| ledger.live() == 0));
    });
}

#[test]
fn a_very_deep_chain_goes_with_the_tree() {
    on_a_small_stack(|| {
        let ((tree, path), ledger) = (deep(), Ledger::default());
        tree.root().store_at(&path, ledger.value(1), false).unwrap();
        drop(tree);
        assert!(settle(|| ledger.live() == 0), "the value at the bottom leaked");
    });
}

#[test]
fn a_very_deep_chain_outlives_its_tree_by_an_anchor() {
    on_a_small_stack(|| {
        let ((tree, path), ledger) = (deep(), Ledger::default());
        let bottom = tree.root().walk(&path).unwrap();
        bottom.store(ledger.value(1), false).unwrap();
        drop(tree);
        assert!(settle(|| ledger.live() == 0), "the value at the bottom leaked");
        assert_eq!(bottom.name(), "d");
        drop(bottom);
    });
}

#[test]
fn a_very_wide_node_goes_child_by_child_and_with_the_tree() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    let wide = sizes().wide;
    let (from, to) = (wide as u64 / 2, wide as u64);
    let mut kept: Vec<_> = (0..from).map(|i| root.walk(format!("w/{i}")).unwrap()).collect();
    for i in from..to {
        root.store_at(format!("w/{i}"), ledger.value(i), false).unwrap();
    }
    let at = root.walk("w").unwrap();
    assert_eq!((at.child_count(), at.ls().len(), at.names().len()), (wide, wide, wide));
    // Neither in the order of creation nor in its reverse.
    while !kept.is_empty() {
        kept.swap_remove(kept.len() * 2 / 3);
    }
    assert_eq!(tree.nodes() as u64, 2 + to - from);
    drop((at, root, tree));
    assert!(settle(|| ledger.live() == 0), "{} values leaked", ledger.live());
}

#[test]
fn destructors_that_prune_are_not_run_inside_each_other() {
    on_a_small_stack(|| {
        let ledger = Ledger::default();
        let (tree, root) = tree();
        for n in 0..sizes().wide {
            // The value is all that keeps the other node.
            let other = root.walk(format!("other/{n}")).unwrap();
            let value = ledger.value_holding(n as u64, Some(other));
            root.store_at(format!("at/{n}"), value, true).unwrap();
        }
        // All of it is put off, until a reader goes on that stands still meanwhile.
        let still = Tree::<()>::new(Limits::default()).root();
        still.load_with(|_, _| drop((root, tree)));
        assert!(settle(|| ledger.live() == 0));
    });
}
