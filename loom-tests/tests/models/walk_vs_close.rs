//! The end of a tree, and those who still walk in it.

use killick::model::check;

use crate::{spawn, tree, walk};

#[test]
fn walk_into_a_closing_tree_gives_a_node_that_ends_up_empty() {
    check("walk_into_a_closing_tree_gives_a_node_that_ends_up_empty", Some(2), || {
        let tree = tree();
        tree.root().store_at("a", 1, true).unwrap();
        let root = tree.root();
        let other = spawn(move || drop(tree));
        let mine = root.walk("a").unwrap();
        let seen = mine.load();
        // The old node before or after it was emptied, or a fresh one.
        let seen = (seen.value.as_deref(), seen.revision);
        assert!(matches!(seen, (Some(1), 1) | (None, 2) | (None, 0)), "{seen:?}");
        other.join().unwrap();
        assert!(mine.load().value.is_none());
        assert_eq!(root.lookup("a").unwrap(), Some(mine));
        assert_eq!(root.child_count(), 0);
    });
}

#[test]
fn lookup_in_a_closing_tree_finds_the_node_or_none() {
    check("lookup_in_a_closing_tree_finds_the_node_or_none", Some(2), || {
        let tree = tree();
        tree.root().store_at("a/b", 1, true).unwrap();
        let root = tree.root();
        let other = spawn(move || drop(tree));
        let found = root.lookup("a/b").unwrap();
        let seen = found.as_ref().map(|found| found.load().revision);
        assert!(matches!(seen, None | Some(1 | 2)), "{seen:?}");
        other.join().unwrap();
        assert_eq!(root.lookup("a/b").unwrap(), found);
        drop(found);
        assert_eq!(root.child_count(), 0);
    });
}

#[test]
fn load_by_path_in_a_closing_tree_reads_the_value_or_nothing() {
    check("load_by_path_in_a_closing_tree_reads_the_value_or_nothing", Some(2), || {
        let tree = tree();
        tree.root().store_at("a", 1, true).unwrap();
        let root = tree.root();
        let other = spawn(move || drop(tree));
        let first = root.load_at("a").unwrap().value;
        let second = root.load_at("a").unwrap().value;
        assert!(first.is_some() || second.is_none(), "a value came back");
        assert!([first, second].into_iter().flatten().all(|value| *value == 1));
        other.join().unwrap();
        assert!(root.load_at("a").unwrap().value.is_none());
        assert_eq!(root.child_count(), 0);
    });
}

#[test]
fn list_of_a_closing_tree_shows_what_is_left() {
    check("list_of_a_closing_tree_shows_what_is_left", Some(2), || {
        let tree = tree();
        tree.root().store_at("a", 1, true).unwrap();
        let root = tree.root();
        let other = spawn(move || drop(tree));
        let names = root.names();
        assert!(matches!(names.iter().collect::<Vec<_>>()[..], ["a"] | []), "{names:?}");
        other.join().unwrap();
        assert!(root.names().is_empty());
    });
}

#[test]
fn end_of_a_tree_and_its_last_anchor_free_it_once() {
    check("end_of_a_tree_and_its_last_anchor_free_it_once", Some(2), || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held));
        drop(tree);
        other.join().unwrap();
    });
}

#[test]
fn last_root_and_the_end_of_a_tree_free_it_once() {
    check("last_root_and_the_end_of_a_tree_free_it_once", Some(2), || {
        let tree = tree();
        tree.root().store_at("a", 1, true).unwrap();
        let root = tree.root();
        let other = spawn(move || drop(root));
        drop(tree);
        other.join().unwrap();
    });
}
