//! Two walkers, or a walker and a last release, where the limit has room for one node.

use std::sync::Arc;

use killick::model::{check, spawn};
use killick::{Limits, Tree, WalkError};

use crate::{assert_empty, walk};

fn tree_of_two_nodes() -> Arc<Tree<u32>> {
    Arc::new(Tree::new(Limits { nodes: 2, ..Limits::default() }))
}

#[test]
fn walkers_to_one_path_share_the_last_room_or_one_is_refused() {
    check("walkers_to_one_path_share_the_last_room_or_one_is_refused", Some(3), || {
        let tree = tree_of_two_nodes();
        let other = spawn({
            let tree = tree.clone();
            move || tree.root().walk("a")
        });
        let mine = tree.root().walk("a");
        // A node is counted before it is linked, so the slower one may find no room and no node.
        match (mine, other.join().unwrap()) {
            (Ok(mine), Ok(theirs)) => assert_eq!(mine, theirs),
            (Err(refused), Ok(_)) | (Ok(_), Err(refused)) => {
                assert_eq!(refused, WalkError::TooManyNodes { limit: 2 });
            }
            (Err(_), Err(_)) => panic!("there was room for one"),
        }
        assert_empty(&tree);
    });
}

#[test]
fn walker_beside_a_last_release_gets_the_node_or_is_refused() {
    check("walker_beside_a_last_release_gets_the_node_or_is_refused", Some(3), || {
        let tree = tree_of_two_nodes();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held));
        let mine = tree.root().walk("a");
        other.join().unwrap();
        match mine {
            Ok(mine) => assert_eq!(walk(&tree, "a"), mine),
            // The old node was unlinked, and its room not yet given back.
            Err(refused) => assert_eq!(refused, WalkError::TooManyNodes { limit: 2 }),
        }
        assert_empty(&tree);
    });
}

#[test]
fn limit_of_nodes_is_never_exceeded() {
    check("limit_of_nodes_is_never_exceeded", Some(3), || {
        let tree = tree_of_two_nodes();
        let held = walk(&tree, "a");
        let dropper = spawn(move || drop(held));
        let other = spawn({
            let tree = tree.clone();
            move || tree.root().walk("b")
        });
        let mine = tree.root().walk("a");
        let theirs = other.join().unwrap();
        dropper.join().unwrap();
        assert!(mine.is_err() || theirs.is_err(), "three nodes at a limit of two");
        drop((mine, theirs));
        assert_empty(&tree);
    });
}

fn tree_of_so_many_children(children: usize) -> Arc<Tree<u32>> {
    Arc::new(Tree::new(Limits { children, ..Limits::default() }))
}

#[test]
fn only_child_allowed_is_that_of_one_of_two_walkers() {
    check("only_child_allowed_is_that_of_one_of_two_walkers", Some(4), || {
        let tree = tree_of_so_many_children(1);
        let other = spawn({
            let tree = tree.clone();
            move || tree.root().walk("a")
        });
        let mine = tree.root().walk("b");
        let theirs = other.join().unwrap();
        assert_eq!([&mine, &theirs].iter().filter(|walked| walked.is_ok()).count(), 1);
        drop((mine, theirs));
        assert_empty(&tree);
    });
}

#[test]
fn room_in_a_table_goes_from_a_last_release_to_a_walker() {
    check("room_in_a_table_goes_from_a_last_release_to_a_walker", Some(3), || {
        let tree = tree_of_so_many_children(2);
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn(move || drop(b));
        match tree.root().walk("c") {
            Ok(c) => assert!(tree.root().ls().contains(&c)),
            Err(refused) => {
                assert_eq!(refused, WalkError::TooManyChildren { limit: 2, depth: 0 });
            }
        }
        other.join().unwrap();
        // What was taken in vain was given back.
        drop(walk(&tree, "d"));
        drop(a);
        assert_empty(&tree);
    });
}

#[test]
fn walker_that_is_refused_keeps_no_other_out_of_a_table() {
    check("walker_that_is_refused_keeps_no_other_out_of_a_table", Some(2), || {
        let tree = tree_of_so_many_children(2);
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn({
            let tree = tree.clone();
            move || tree.root().walk("c").is_ok()
        });
        drop(b);
        // There is room for one from here on, and nobody but these two wants it; the other may have had
        // it and be gone.
        let mine = tree.root().walk("d");
        let theirs = other.join().unwrap();
        assert!(mine.is_ok() || theirs, "both were refused beside a free place");
        drop((a, mine));
        assert_empty(&tree);
    });
}

#[test]
fn limit_of_children_in_a_table_is_never_exceeded() {
    check("limit_of_children_in_a_table_is_never_exceeded", Some(2), || {
        let tree = tree_of_so_many_children(2);
        let a = walk(&tree, "a");
        drop(walk(&tree, "c")); // so that the table has a slot to spare
        let b = walk(&tree, "b");
        let dropper = spawn(move || drop(a));
        let other = spawn({
            let tree = tree.clone();
            move || tree.root().walk("c")
        });
        // Takes the place of the dead one, whose room the other may not have.
        let mine = tree.root().walk("a");
        let theirs = other.join().unwrap();
        dropper.join().unwrap();
        assert!(mine.is_err() || theirs.is_err(), "three children at a limit of two");
        drop((b, mine, theirs));
        assert_empty(&tree);
    });
}
