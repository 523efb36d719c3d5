//! Races over the tree's real code with the real `crossbeam-epoch` below it, both on loom's atomics.
//!
//! The models of `tests/models` run on a stand-in that frees as early as the rules allow. These show
//! that the rules are those of the real collector, and that the tree keeps its part: a node or value
//! is freed while others work, is not freed under a guard that can reach it, and is freed in the end.
//!
//! The collector frees by itself only at a thread's first pin and at every 128th, and only what was
//! retired two epochs before. So memory is freed *during* an execution where a model calls
//! [`reclaim`], and each such model asserts that there are executions in which it was; in the others
//! all is freed when the collector goes at the end. Frees multiply the executions: hence the bounds.
#![cfg(crossbeam_loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use killick::model::{check, live, spawn};
use killick::{Anchor, Limits, Tree, reclaim};

mod mutants;

fn tree() -> Arc<Tree<u32>> {
    Arc::new(Tree::new(Limits::default()))
}

fn walk(tree: &Tree<u32>, path: &str) -> Anchor<u32> {
    tree.root().walk(path).expect("within the limits")
}

/// Checks a model whose body tells whether memory was freed before its end.
fn check_freeing(name: &str, bound: usize, body: impl Fn() -> bool + Send + Sync + 'static) {
    let freeing = Arc::new(AtomicUsize::new(0));
    let count = freeing.clone();
    check(name, Some(bound), move || {
        count.fetch_add(usize::from(body()), Relaxed);
    });
    let freeing = freeing.load(Relaxed);
    println!("loom-epoch: {name}: memory was freed during {freeing} executions");
    assert!(freeing > 0, "nothing was freed before the end");
}

#[test]
fn value_is_not_freed_under_its_reader() {
    check_freeing("value_is_not_freed_under_its_reader", 2, || {
        let tree = tree();
        let mine = walk(&tree, "a");
        mine.store(1, true).unwrap();
        let theirs = mine.clone();
        let other = spawn(move || {
            theirs.load_with(|value, revision| {
                assert!(matches!((value, revision), (Some(1), 1) | (Some(2), 2)));
            });
        });
        mine.store(2, true).unwrap();
        reclaim();
        let freed = live() == 3; // the root, the node, and its value: the one before is gone
        other.join().unwrap();
        freed
    });
}

#[test]
fn walker_never_gets_a_freed_node() {
    check_freeing("walker_never_gets_a_freed_node", 3, || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || {
            drop(held);
            reclaim();
            live() == 1 // the root: the node is gone, and no other has come yet
        });
        let mine = walk(&tree, "a");
        let freed = other.join().unwrap();
        assert_eq!(walk(&tree, "a"), mine);
        drop(mine);
        assert_eq!((tree.root().child_count(), tree.nodes()), (0, 1));
        freed
    });
}

#[test]
fn creation_and_prune_of_one_path_leave_nothing() {
    check("creation_and_prune_of_one_path_leave_nothing", None, || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held));
        let mine = walk(&tree, "a");
        other.join().unwrap();
        assert_eq!(walk(&tree, "a"), mine);
        drop(mine);
        assert_eq!((tree.root().child_count(), tree.nodes()), (0, 1));
    });
}

#[test]
fn pruner_reads_its_parent_although_others_free_that() {
    check_freeing("pruner_reads_its_parent_although_others_free_that", 2, || {
        let tree = tree();
        let held = walk(&tree, "a/b");
        let other = spawn(move || drop(held));
        // Replaces a/b while it is dead and linked, and takes a/b and a away again.
        drop(walk(&tree, "a/b"));
        reclaim();
        let freed = live() == 1;
        other.join().unwrap();
        assert_eq!((tree.root().child_count(), tree.nodes()), (0, 1));
        freed
    });
}
