//! A value that comes or goes, and the last release of its node.

use killick::model::check;
use killick::{StoreErrorKind, Value};

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn value_keeps_its_node_when_the_last_handle_goes() {
    check("value_keeps_its_node_when_the_last_handle_goes", None, || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || {
            held.store(1, true).unwrap();
        });
        // Sees the value or nothing; what it sees is whole.
        let seen = tree.root().load_at("a").unwrap();
        assert!(matches!((seen.value.as_deref(), seen.revision), (None, 0) | (Some(1), 1)));
        other.join().unwrap();
        assert_eq!(tree.root().load_at("a").unwrap().value.as_deref(), Some(&1));
        walk(&tree, "a").clear();
        assert_empty(&tree);
    });
}

#[test]
fn clear_and_last_release_prune_once() {
    check("clear_and_last_release_prune_once", None, || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        mine.store(1, true).unwrap();
        let other = spawn(move || drop(theirs.clear()));
        let seen = mine.load();
        assert!(matches!((seen.value.as_deref(), seen.revision), (Some(1), 1) | (None, 2)));
        drop(mine);
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn one_of_two_stores_without_overwrite_wins() {
    check("one_of_two_stores_without_overwrite_wins", Some(3), || {
        let tree = tree();
        let mine = walk(&tree, "a");
        let theirs = mine.clone();
        let other = spawn(move || theirs.store(2, false).is_ok());
        let stored = mine.store(1, false);
        let other = other.join().unwrap();
        assert_ne!(stored.is_ok(), other);
        if let Err(refused) = stored {
            assert_eq!((refused.kind, refused.value), (StoreErrorKind::Occupied, Some(1)));
        }
        assert_eq!(mine.clear().revision, 1);
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn swaps_and_compare_and_store_number_the_changes() {
    check("swaps_and_compare_and_store_number_the_changes", Some(3), || {
        let tree = tree();
        let mine = walk(&tree, "a");
        let theirs = mine.clone();
        let other = spawn(move || theirs.swap(2).unwrap().revision);
        let stored = mine.compare_and_store(0, 1).is_ok();
        let before = other.join().unwrap();
        // Either the swap came second, or it came first and the comparison failed.
        assert_eq!(before, u64::from(stored));
        let last = mine.clear();
        assert_eq!((last.value.as_deref(), last.revision), (Some(&2), before + 1));
        assert_eq!(Value::revision(&last.value.unwrap()), before + 1);
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn store_into_a_closing_tree_is_refused_or_swept() {
    check("store_into_a_closing_tree_is_refused_or_swept", Some(3), || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || {
            let stored = held.store(1, true);
            (held, stored.is_ok())
        });
        drop(tree);
        let (held, _) = other.join().unwrap();
        assert!(held.load().value.is_none());
        assert!(held.store(2, true).is_err());
    });
}

#[test]
fn store_at_a_new_node_of_a_closing_tree_is_refused_or_swept() {
    check("store_at_a_new_node_of_a_closing_tree_is_refused_or_swept", Some(3), || {
        let tree = tree();
        let root = tree.root();
        let other = spawn(move || {
            let made = root.walk("a").unwrap();
            let stored = made.store(1, true).is_ok();
            (made, stored)
        });
        drop(tree);
        let (made, _) = other.join().unwrap();
        assert!(made.load().value.is_none());
    });
}

#[test]
fn value_is_dropped_after_its_last_reader() {
    check("value_is_dropped_after_its_last_reader", Some(3), || {
        let tree = tree();
        let mine = walk(&tree, "a");
        mine.store(1, true).unwrap();
        let value = mine.load().value.unwrap();
        let other = spawn(move || assert_eq!(*value, 1));
        mine.clear();
        drop(mine);
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn store_after_a_clear_in_a_closing_tree_is_refused_or_swept() {
    check("store_after_a_clear_in_a_closing_tree_is_refused_or_swept", Some(3), || {
        let tree = tree();
        let (root, held) = (tree.root(), walk(&tree, "a"));
        held.store(1, true).unwrap();
        // The end finds the cell just emptied by this thread, and has to write to it all the same.
        let other = spawn(move || {
            held.clear();
            let _either = held.store(2, true);
            held
        });
        drop(tree);
        let held = other.join().unwrap();
        assert!(held.load().value.is_none(), "a closed tree holds a value");
        drop(held);
        assert_eq!(root.child_count(), 0);
    });
}

#[test]
fn no_value_is_left_when_a_tree_has_been_dropped() {
    check("no_value_is_left_when_a_tree_has_been_dropped", Some(3), || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || {
            let _either = theirs.store(1, true);
        });
        drop(tree);
        assert!(mine.load().value.is_none(), "a value in a tree that is gone");
        other.join().unwrap();
        assert!(mine.load().value.is_none(), "a value in a tree that is gone");
    });
}
