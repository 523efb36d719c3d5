//! What is left when the tree is dropped before its anchors.

use std::thread;

use crate::testing::{Ledger, settle};
use crate::tests::tree;
use crate::{Limits, StoreAtError, StoreErrorKind, Tree};

#[test]
fn a_dropped_tree_drops_every_value_in_it() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    for path in ["", "a", "a/b/c", "d/e"] {
        root.store_at(path, ledger.value(1), true).unwrap();
    }
    drop(root);
    drop(tree);
    assert!(settle(|| ledger.live() == 0), "{} values are left", ledger.live());
}

#[test]
fn a_dropped_tree_drops_values_below_anchors_that_survive() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    for path in ["a", "a/b", "a/b/c", "d"] {
        root.store_at(path, ledger.value(1), true).unwrap();
    }
    let survivor = root.walk("a/b").unwrap();
    drop(tree);
    assert!(settle(|| ledger.live() == 0), "{} values are left", ledger.live());
    assert!(survivor.load().value.is_none());
    assert!(root.load_at("d").unwrap().value.is_none());
}

#[test]
fn a_value_that_is_held_outlives_the_tree() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    root.store(ledger.value(4), true).unwrap();
    let held = root.load().value.unwrap();
    drop((root, tree));
    assert_eq!(held.id(), 4);
    drop(held);
    assert!(settle(|| ledger.live() == 0));
}

#[test]
fn surviving_anchors_go_on_as_names() {
    let (tree, root) = tree();
    let a = root.walk("a").unwrap();
    drop(tree);
    let b = a.walk("b/c").unwrap();
    assert_eq!((a.name(), b.name()), ("a", "c"));
    assert_eq!(root.walk("a/b/c").unwrap(), b);
    assert_eq!(root.lookup("a").unwrap(), Some(a.clone()));
    assert_eq!(root.ls(), std::slice::from_ref(&a));
    drop(b);
    assert_eq!(a.child_count(), 0, "nodes still go when nothing holds them");
}

#[test]
fn a_closed_tree_refuses_values_and_gives_them_back() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    let a = root.walk("a").unwrap();
    let (loader, storer) = a.cell();
    drop(tree);
    let refused = [
        a.store(ledger.value(1), true).unwrap_err(),
        a.store(ledger.value(1), false).unwrap_err(),
        a.swap(ledger.value(1)).unwrap_err(),
        a.compare_and_store(0, ledger.value(1)).unwrap_err(),
        storer.store(ledger.value(1), true).unwrap_err(),
        storer.compare_and_store(0, ledger.value(1)).unwrap_err(),
    ];
    for error in &refused {
        assert_eq!(error.kind, StoreErrorKind::Closed);
        assert_eq!(error.value.as_ref().map(|value| value.id()), Some(1));
    }
    match root.store_at("a/b", ledger.value(2), true) {
        Err(StoreAtError::Store(error)) => {
            assert_eq!(error.kind, StoreErrorKind::Closed);
            assert_eq!(error.value.map(|value| value.id()), Some(2));
        }
        other => panic!("{other:?}"),
    }
    assert!(loader.load().value.is_none() && !a.is_filled());
    drop(refused);
    assert!(settle(|| ledger.live() == 0));
}

#[test]
fn a_tree_may_be_dropped_on_another_thread_while_it_is_used() {
    let ledger = Ledger::default();
    for round in 0..if cfg!(miri) { 3 } else { 200 } {
        let tree = Tree::new(Limits::default());
        let root = tree.root();
        let dropper = thread::spawn(move || drop(tree));
        for i in 0..20 {
            match root.store_at(format!("a{}/b", i % 5), ledger.value(round), true) {
                Ok(_) => {}
                Err(StoreAtError::Store(error)) => assert_eq!(error.kind, StoreErrorKind::Closed),
                Err(other) => panic!("{other}"),
            }
        }
        dropper.join().unwrap();
        let refused = root.store(ledger.value(round), true).unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::Closed);
        for i in 0..5 {
            assert!(root.load_at(format!("a{i}/b")).unwrap().value.is_none());
        }
    }
    assert!(settle(|| ledger.live() == 0), "{} values are left", ledger.live());
}
