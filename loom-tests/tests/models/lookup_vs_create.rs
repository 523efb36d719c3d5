//! A look-up of what another thread creates, or keeps by a value, or lets go with one.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn nodes_of_one_walk_appear_at_once() {
    check("nodes_of_one_walk_appear_at_once", Some(4), || {
        let tree = tree();
        let other = spawn({
            let tree = tree.clone();
            move || walk(&tree, "a/b")
        });
        let above = tree.root().lookup("a").unwrap();
        let below = tree.root().lookup("a/b").unwrap();
        assert!(above.is_none() || below.is_some(), "a was there before a/b");
        let theirs = other.join().unwrap();
        assert!(below.is_none_or(|below| below == theirs));
        drop((above, theirs));
        assert_empty(&tree);
    });
}

#[test]
fn handle_found_by_lookup_keeps_the_node_after_its_creator() {
    check("handle_found_by_lookup_keeps_the_node_after_its_creator", None, || {
        let tree = tree();
        let other = spawn({
            let tree = tree.clone();
            move || drop(walk(&tree, "a"))
        });
        let found = tree.root().lookup("a").unwrap();
        other.join().unwrap();
        assert_eq!(tree.root().lookup("a").unwrap(), found);
        drop(found);
        assert_empty(&tree);
    });
}

#[test]
fn lookup_below_a_held_node_sees_its_child_or_none() {
    check("lookup_below_a_held_node_sees_its_child_or_none", None, || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn({
            let held = held.clone();
            move || held.walk("b").unwrap()
        });
        let found = held.lookup("b").unwrap();
        drop(held);
        let theirs = other.join().unwrap();
        assert!(found.as_ref().is_none_or(|found| *found == theirs));
        assert_eq!(walk(&tree, "a/b"), theirs);
        drop((found, theirs));
        assert_empty(&tree);
    });
}

#[test]
fn lookup_beside_a_store_finds_the_node_that_the_value_keeps() {
    check("lookup_beside_a_store_finds_the_node_that_the_value_keeps", Some(4), || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || {
            held.store(1, true).unwrap();
        });
        let found =
            tree.root().lookup("a").unwrap().expect("kept by its handle, then by its value");
        other.join().unwrap();
        assert_eq!(found.clear().value.as_deref(), Some(&1));
        drop(found);
        assert_empty(&tree);
    });
}

#[test]
fn lookup_beside_a_clear_finds_a_live_node_or_none() {
    check("lookup_beside_a_clear_finds_a_live_node_or_none", Some(4), || {
        let tree = tree();
        let held = walk(&tree, "a");
        held.store(1, true).unwrap();
        let other = spawn(move || {
            held.clear();
        });
        let found = tree.root().lookup("a").unwrap();
        other.join().unwrap();
        assert_eq!(tree.root().lookup("a").unwrap(), found);
        drop(found);
        assert_empty(&tree);
    });
}
