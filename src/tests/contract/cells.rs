//! The register in a node: values, revisions, and who gets what back.

use std::sync::Arc;

use crate::testing::{Ledger, Tracked, settle};
use crate::tests::tree;
use crate::{Anchor, Limits, Loaded, StoreError, StoreErrorKind, Tree, Value};

fn seen(loaded: &Loaded<Tracked>) -> (Option<u64>, u64) {
    (loaded.value.as_deref().map(Tracked::id), loaded.revision)
}

fn state(anchor: &Anchor<Tracked>) -> (Option<u64>, u64) {
    let loaded = anchor.load();
    assert_eq!(anchor.is_filled(), loaded.value.is_some());
    assert_eq!(
        anchor.load_with(|value, revision| (value.map(Tracked::id), revision)),
        seen(&loaded)
    );
    seen(&loaded)
}

fn refusal(error: &StoreError<Tracked>) -> (StoreErrorKind, Option<u64>, u64) {
    (error.kind, error.value.as_ref().map(Tracked::id), error.revision)
}

#[test]
fn a_fresh_cell_is_empty_at_revision_0() {
    let (_tree, root) = tree();
    assert_eq!(state(&root), (None, 0));
    assert_eq!(state(&root.walk("a").unwrap()), (None, 0));
}

#[test]
fn a_stored_value_is_loaded_by_every_way_to_read() {
    let (_tree, root) = tree();
    let a = root.walk("a").unwrap();
    let (loader, _storer) = a.cell();
    assert_eq!(a.store(Ledger::default().value(7), false).unwrap(), 1);
    assert_eq!(state(&a), (Some(7), 1));
    assert_eq!(seen(&loader.load()), (Some(7), 1));
    assert_eq!(
        loader.load_with(|value, revision| (value.map(Tracked::id), revision)),
        (Some(7), 1)
    );
    assert_eq!(seen(&root.load_at("a").unwrap()), (Some(7), 1));
    let by_path = root.load_at_with("a", |value, revision| (value.map(Tracked::id), revision));
    assert_eq!(by_path, Ok((Some(7), 1)));
}

#[test]
fn the_root_has_a_cell_like_every_node() {
    let (tree, root) = tree();
    root.store(Ledger::default().value(7), false).unwrap();
    assert_eq!(seen(&tree.root().load_at("").unwrap()), (Some(7), 1));
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn store_without_overwrite_fails_when_occupied_and_gives_the_value_back() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    root.store(ledger.value(1), false).unwrap();
    let error = root.store(ledger.value(2), false).unwrap_err();
    assert_eq!(refusal(&error), (StoreErrorKind::Occupied, Some(2), 1));
    assert_eq!(state(&root), (Some(1), 1));
}

#[test]
fn store_with_overwrite_replaces() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    root.store(ledger.value(1), true).unwrap();
    assert_eq!(root.store(ledger.value(2), true).unwrap(), 2);
    assert_eq!(state(&root), (Some(2), 2));
}

#[test]
fn storing_nothing_with_overwrite_clears() {
    let (_tree, root) = tree();
    root.store(Ledger::default().value(1), true).unwrap();
    assert_eq!(root.store(None, true).unwrap(), 2);
    assert_eq!(state(&root), (None, 2));
}

#[test]
fn storing_nothing_without_overwrite_into_an_empty_cell_succeeds_and_changes_nothing() {
    let (tree, root) = tree();
    let a = root.walk("a").unwrap();
    assert_eq!(a.store(None, false).unwrap(), 0);
    assert_eq!((state(&a), tree.nodes()), ((None, 0), 2));
}

#[test]
fn storing_nothing_without_overwrite_into_a_full_cell_fails() {
    let (_tree, root) = tree();
    root.store(Ledger::default().value(1), true).unwrap();
    let error = root.store(None, false).unwrap_err();
    assert_eq!(refusal(&error), (StoreErrorKind::Occupied, None, 1));
    assert_eq!(state(&root), (Some(1), 1));
}

#[test]
fn a_cell_that_was_cleared_takes_a_value_without_overwrite() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    root.store(ledger.value(1), false).unwrap();
    root.clear();
    assert_eq!(root.store(ledger.value(2), false).unwrap(), 3);
}

#[test]
fn each_change_raises_the_revision_by_one_and_nothing_else_does() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    let steps: [(&str, u64); 9] = [
        ("clear", 0),
        ("store nothing", 0),
        ("store", 1),
        ("refused store", 1),
        ("store", 2),
        ("swap", 3),
        ("clear", 4),
        ("clear", 4),
        ("swap nothing", 4),
    ];
    for (step, revision) in steps {
        match step {
            "clear" => drop(root.clear()),
            "store nothing" => drop(root.store(None, true)),
            "store" => drop(root.store(ledger.value(1), true)),
            "refused store" => drop(root.store(ledger.value(1), false)),
            "swap" => drop(root.swap(ledger.value(1))),
            _ => drop(root.swap(None)),
        }
        assert_eq!(root.load().revision, revision, "after {step}");
    }
}

#[test]
fn a_value_knows_the_revision_it_was_stored_at() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    root.store(ledger.value(1), true).unwrap();
    let first = root.load().value.unwrap();
    root.store(ledger.value(2), true).unwrap();
    let second = root.load().value.unwrap();
    assert_eq!((Value::revision(&first), Value::revision(&second)), (1, 2));
    assert!(Value::ptr_eq(&second, &root.load().value.unwrap()));
    assert!(!Value::ptr_eq(&first, &second));
}

#[test]
fn a_held_value_stays_what_it_was_when_the_cell_changes() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    root.store(ledger.value(1), true).unwrap();
    let held = root.load().value.unwrap();
    let copy = held.clone();
    root.store(ledger.value(2), true).unwrap();
    root.clear();
    assert!(settle(|| ledger.live() == 1), "only the held value is left");
    drop(held);
    assert_eq!(copy.id(), 1);
}

#[test]
fn a_node_that_is_created_again_starts_at_revision_0() {
    let (_tree, root) = tree();
    let a = root.walk("a").unwrap();
    a.store(Ledger::default().value(1), true).unwrap();
    a.clear();
    assert_eq!(state(&a), (None, 2));
    drop(a);
    assert_eq!(state(&root.walk("a").unwrap()), (None, 0));
}

#[test]
fn clear_and_swap_return_what_the_cell_held() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    assert_eq!(seen(&root.clear()), (None, 0));
    assert_eq!(seen(&root.swap(ledger.value(1)).unwrap()), (None, 0));
    assert_eq!(seen(&root.swap(ledger.value(2)).unwrap()), (Some(1), 1));
    assert_eq!(seen(&root.clear()), (Some(2), 2));
    assert_eq!(seen(&root.clear()), (None, 3));
    assert_eq!(seen(&root.swap(None).unwrap()), (None, 3));
}

#[test]
fn compare_and_store_stores_at_the_expected_revision() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    assert_eq!(root.compare_and_store(0, ledger.value(1)).unwrap(), 1);
    assert_eq!(root.compare_and_store(1, ledger.value(2)).unwrap(), 2);
    assert_eq!(root.compare_and_store(2, None).unwrap(), 3);
    assert_eq!(root.compare_and_store(3, None).unwrap(), 3, "nothing for nothing is no change");
    assert_eq!(state(&root), (None, 3));
}

#[test]
fn compare_and_store_gives_the_value_back_with_the_present_revision() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    root.store(ledger.value(1), true).unwrap();
    for expected in [0, 2, u64::MAX] {
        let error = root.compare_and_store(expected, ledger.value(2)).unwrap_err();
        assert_eq!(refusal(&error), (StoreErrorKind::Conflict, Some(2), 1));
    }
    let error = root.compare_and_store(0, None).unwrap_err();
    assert_eq!(refusal(&error), (StoreErrorKind::Conflict, None, 1));
    assert_eq!(state(&root), (Some(1), 1));
}

#[test]
fn a_storer_writes_as_its_anchor_does() {
    let (_tree, root) = tree();
    let ledger = Ledger::default();
    let a = root.walk("a").unwrap();
    let (loader, storer) = a.cell();
    assert_eq!(storer.store(ledger.value(1), false).unwrap(), 1);
    let error = storer.store(ledger.value(2), false).unwrap_err();
    assert_eq!(refusal(&error), (StoreErrorKind::Occupied, Some(2), 1));
    assert_eq!(storer.compare_and_store(1, ledger.value(3)).unwrap(), 2);
    let error = storer.compare_and_store(1, ledger.value(4)).unwrap_err();
    assert_eq!(refusal(&error), (StoreErrorKind::Conflict, Some(4), 2));
    assert_eq!(seen(&loader.load()), (Some(3), 2));
    assert!(storer.clear(), "there was a value");
    assert_eq!(seen(&loader.load()), (None, 3));
    assert!(!storer.clear(), "there is none any more");
}

#[test]
fn store_at_creates_stores_and_reports_as_store_does() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    assert_eq!(root.store_at("a/b", ledger.value(1), false).unwrap(), 1);
    assert_eq!((tree.nodes(), seen(&root.load_at("a/b").unwrap())), (3, (Some(1), 1)));
    match root.store_at("a/b", ledger.value(2), false) {
        Err(crate::StoreAtError::Store(error)) => {
            assert_eq!(refusal(&error), (StoreErrorKind::Occupied, Some(2), 1));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(root.store_at("a/b", None, true).unwrap(), 2);
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn storing_nothing_where_there_is_no_node_succeeds_and_creates_none() {
    // Where no node can be created, it is no error either.
    let tree = Tree::<Tracked>::new(Limits { nodes: 1, ..Limits::default() });
    let root = tree.root();
    assert_eq!(root.store_at("a/b", None, false).unwrap(), 0);
    assert_eq!(root.store_at("a/b", None, true).unwrap(), 0);
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn value_that_panics_keeps_no_other_from_being_dropped() {
    struct Panics {
        _counted: Arc<()>,
        panics: bool,
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(!self.panics, "a destructor that panics");
        }
    }
    let (tree, count) = (Tree::new(Limits::default()), Arc::new(()));
    let anchor = tree.root().walk("a").unwrap();
    for number in 0..300 {
        let value = Panics { _counted: count.clone(), panics: number % 50 == 7 };
        assert!(anchor.store(value, true).is_ok());
    }
    drop((anchor, tree));
    assert!(settle(|| Arc::strong_count(&count) == 1));
}
