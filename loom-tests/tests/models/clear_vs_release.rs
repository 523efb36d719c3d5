//! The end of a value and the last release of its node.

use killick::StoreErrorKind;
use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn store_at_a_revision_precedes_the_clear_or_fails() {
    check("store_at_a_revision_precedes_the_clear_or_fails", None, || {
        let tree = tree();
        tree.root().store_at("a", 1, true).unwrap();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || {
            let cleared = theirs.clear();
            (cleared.value.as_deref().copied(), cleared.revision)
        });
        let stored = mine.compare_and_store(1, 2);
        drop(mine);
        let cleared = other.join().unwrap();
        match stored {
            Ok(revision) => assert_eq!((revision, cleared), (2, (Some(2), 2))),
            Err(refused) => {
                assert_eq!((refused.kind, refused.revision), (StoreErrorKind::Conflict, 2));
                assert_eq!((refused.value, cleared), (Some(2), (Some(1), 1)));
            }
        }
        assert_empty(&tree);
    });
}

#[test]
fn one_of_two_clears_gets_the_value_and_the_node_goes_once() {
    check("one_of_two_clears_gets_the_value_and_the_node_goes_once", None, || {
        let tree = tree();
        tree.root().store_at("a", 1, true).unwrap();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || theirs.clear().value.is_some());
        let cleared = mine.clear().value.is_some();
        drop(mine);
        assert_ne!(cleared, other.join().unwrap());
        assert_empty(&tree);
    });
}

#[test]
fn three_clears_prune_two_nodes_once() {
    check("three_clears_prune_two_nodes_once", Some(2), || {
        let tree = tree();
        tree.root().store_at("a/b", 1, true).unwrap();
        let clear = |path: &str| {
            let held = walk(&tree, path);
            move || {
                let cleared = held.clear().value.is_some();
                drop(held);
                usize::from(cleared)
            }
        };
        let (one, two, three) = (spawn(clear("a/b")), spawn(clear("a/b")), clear("a"));
        let cleared = three() + one.join().unwrap() + two.join().unwrap();
        assert_eq!(cleared, 1);
        assert_empty(&tree);
    });
}

#[test]
fn store_and_clear_of_two_holders_keep_the_node_or_leave_nothing() {
    check("store_and_clear_of_two_holders_keep_the_node_or_leave_nothing", None, || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || theirs.clear().value.is_some());
        mine.store(1, true).unwrap();
        drop(mine);
        let cleared = other.join().unwrap();
        let left = tree.root().load_at("a").unwrap().value;
        assert_eq!(left.as_deref(), if cleared { None } else { Some(&1) });
        assert_eq!(tree.root().child_count(), usize::from(!cleared));
        walk(&tree, "a").clear();
        drop(left);
        assert_empty(&tree);
    });
}

#[test]
fn the_two_halves_of_a_cell_go_with_their_node() {
    check("the_two_halves_of_a_cell_go_with_their_node", None, || {
        let tree = tree();
        let (loader, storer) = walk(&tree, "a").cell();
        let other = spawn(move || {
            storer.store(1, false).unwrap();
            assert!(storer.clear());
        });
        let seen = loader.load();
        assert!(matches!((seen.value.as_deref(), seen.revision), (None, 0 | 2) | (Some(1), 1)));
        drop(loader);
        other.join().unwrap();
        drop(seen);
        assert_empty(&tree);
    });
}
