//! Changes of one cell, and those who read it.

use killick::StoreErrorKind;
use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn load_beside_a_swap_reads_one_of_the_two() {
    check("load_beside_a_swap_reads_one_of_the_two", None, || {
        let tree = tree();
        let mine = walk(&tree, "a");
        mine.store(1, true).unwrap();
        let theirs = mine.clone();
        let other = spawn(move || theirs.swap(2).unwrap());
        let loads = [mine.load(), mine.load()];
        let [first, second] = &loads;
        for seen in &loads {
            let seen = (seen.value.as_deref(), seen.revision);
            assert!(matches!(seen, (Some(1), 1) | (Some(2), 2)), "{seen:?}");
        }
        assert!(first.revision <= second.revision, "the cell went back");
        let before = other.join().unwrap();
        assert_eq!((before.value.as_deref(), before.revision), (Some(&1), 1));
        mine.clear();
        drop((mine, before, loads));
        assert_empty(&tree);
    });
}

#[test]
fn two_swaps_hand_the_values_on() {
    check("two_swaps_hand_the_values_on", None, || {
        let tree = tree();
        let mine = walk(&tree, "a");
        let theirs = mine.clone();
        let other = spawn(move || theirs.swap(2).unwrap().value.as_deref().copied());
        let first = mine.swap(1).unwrap().value.as_deref().copied();
        let second = other.join().unwrap();
        let last = mine.clear();
        let left = last.value.as_deref().copied();
        assert!(matches!(
            (first, second, left),
            (None, Some(1), Some(2)) | (Some(2), None, Some(1))
        ));
        assert_eq!(last.revision, 2);
        drop((mine, last));
        assert_empty(&tree);
    });
}

#[test]
fn one_of_two_stores_at_a_revision_wins() {
    check("one_of_two_stores_at_a_revision_wins", None, || {
        let tree = tree();
        let mine = walk(&tree, "a");
        let theirs = mine.clone();
        let other = spawn(move || theirs.compare_and_store(0, 2).is_ok());
        let stored = mine.compare_and_store(0, 1);
        assert_ne!(stored.is_ok(), other.join().unwrap());
        if let Err(refused) = stored {
            assert_eq!((refused.kind, refused.value), (StoreErrorKind::Conflict, Some(1)));
        }
        assert_eq!(mine.clear().revision, 1);
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn one_of_two_stores_into_a_fresh_path_wins() {
    check("one_of_two_stores_into_a_fresh_path_wins", Some(3), || {
        let tree = tree();
        let other = spawn({
            let tree = tree.clone();
            move || tree.root().store_at("a", 2, false).is_ok()
        });
        let stored = tree.root().store_at("a", 1, false).is_ok();
        assert_ne!(stored, other.join().unwrap());
        let left = walk(&tree, "a").clear();
        assert_eq!((left.value.as_deref(), left.revision), (Some(if stored { &1 } else { &2 }), 1));
        assert_empty(&tree);
    });
}
