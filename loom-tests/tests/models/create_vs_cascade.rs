//! A cascade of prunes going up, and a creation below the nodes it takes.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn creation_below_a_dying_node_is_never_lost() {
    check("creation_below_a_dying_node_is_never_lost", Some(3), || {
        let tree = tree();
        let held = walk(&tree, "a/b");
        let other = spawn(move || drop(held));
        let mine = walk(&tree, "a/c");
        other.join().unwrap();
        assert_eq!(walk(&tree, "a/c"), mine);
        assert!(walk(&tree, "a").names().iter().eq(["c"]));
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn creation_below_a_held_node_meets_its_last_release() {
    check("creation_below_a_held_node_meets_its_last_release", None, || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held));
        let mine = walk(&tree, "a/c");
        other.join().unwrap();
        assert_eq!(walk(&tree, "a/c"), mine);
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn two_cascades_that_meet_leave_nothing() {
    check("two_cascades_that_meet_leave_nothing", Some(3), || {
        let tree = tree();
        let (one, two) = (walk(&tree, "a/b"), walk(&tree, "a/c"));
        let other = spawn(move || drop(one));
        drop(two);
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn siblings_come_and_go_as_the_table_changes_its_form() {
    check("siblings_come_and_go_as_the_table_changes_its_form", Some(2), || {
        let tree = tree();
        // In a model a table begins with two slots: a third child makes a larger one, a fourth a branch.
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn({
            let tree = tree.clone();
            move || (walk(&tree, "c"), drop(a)).0
        });
        let d = walk(&tree, "d");
        drop(b);
        let c = other.join().unwrap();
        assert_eq!(tree.root().ls(), [c, d]);
        assert_empty(&tree);
    });
}
