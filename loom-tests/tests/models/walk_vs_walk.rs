//! Two walkers on one fresh path.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn two_walkers_on_a_fresh_path_get_one_node() {
    check("two_walkers_on_a_fresh_path_get_one_node", None, || {
        let tree = tree();
        let other = spawn({
            let tree = tree.clone();
            move || walk(&tree, "a")
        });
        let mine = walk(&tree, "a");
        let theirs = other.join().unwrap();
        assert_eq!(mine, theirs);
        drop((mine, theirs));
        assert_empty(&tree);
    });
}

#[test]
fn two_walkers_on_paths_that_part_share_the_node_above() {
    check("two_walkers_on_paths_that_part_share_the_node_above", Some(3), || {
        let tree = tree();
        let other = spawn({
            let tree = tree.clone();
            move || walk(&tree, "a/b")
        });
        let mine = walk(&tree, "a/c");
        let theirs = other.join().unwrap();
        let above = walk(&tree, "a");
        assert_eq!(above.ls(), [theirs, mine]);
        drop(above);
        assert_empty(&tree);
    });
}
