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
fn walker_never_lacks_room_for_what_is_just_dying() {
    check("walker_never_lacks_room_for_what_is_just_dying", Some(3), || {
        let tree = tree_of_two_nodes();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held));
        drop(walk(&tree, "a"));
        other.join().unwrap();
        assert_empty(&tree);
    });
}
