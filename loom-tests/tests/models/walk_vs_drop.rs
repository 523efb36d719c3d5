//! A walker and the last release of what it walks to.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn walker_never_gets_a_pruned_node() {
    check("walker_never_gets_a_pruned_node", None, || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held));
        let mine = walk(&tree, "a");
        other.join().unwrap();
        // Whether it is the old node or a fresh one, it is the one that the path names.
        assert_eq!(walk(&tree, "a"), mine);
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn walkers_beside_a_last_release_hold_one_node() {
    check("walkers_beside_a_last_release_hold_one_node", Some(2), || {
        let tree = tree();
        let held = walk(&tree, "a");
        let dropper = spawn(move || drop(held));
        let walker = spawn({
            let tree = tree.clone();
            move || walk(&tree, "a")
        });
        let mine = walk(&tree, "a");
        let theirs = walker.join().unwrap();
        dropper.join().unwrap();
        assert_eq!(mine, theirs);
        drop((mine, theirs));
        assert_empty(&tree);
    });
}

#[test]
fn pruner_reads_its_parent_although_others_prune_that() {
    check("pruner_reads_its_parent_although_others_prune_that", Some(3), || {
        let tree = tree();
        let held = walk(&tree, "a/b");
        let other = spawn(move || drop(held));
        // Replaces a/b while it is dead and linked, and takes a/b and a away again.
        drop(walk(&tree, "a/b"));
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn lookup_finds_a_live_node_or_none() {
    check("lookup_finds_a_live_node_or_none", None, || {
        let tree = tree();
        let held = walk(&tree, "a/b");
        let other = spawn(move || drop(held));
        if let Some(found) = tree.root().lookup("a/b").unwrap() {
            assert_eq!(walk(&tree, "a/b"), found);
        }
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn node_is_freed_after_its_last_holder_read_it() {
    check("node_is_freed_after_its_last_holder_read_it", None, || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || assert_eq!(theirs.name(), "a"));
        assert_eq!(mine.name(), "a");
        drop(mine);
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn load_at_agrees_with_the_lookup_before_it() {
    check("load_at_agrees_with_the_lookup_before_it", Some(3), || {
        let tree = tree();
        let held = walk(&tree, "a");
        held.store(1, true).unwrap();
        held.clear();
        let other = spawn(move || drop(held));
        let found = tree.root().lookup("a").unwrap().is_some();
        let loaded = tree.root().load_at("a").unwrap();
        // Once it is gone it is gone, and a path without a node is at revision 0.
        assert!(loaded.revision == 0 || found && loaded.revision == 2);
        other.join().unwrap();
        assert_empty(&tree);
    });
}
