//! Two who change one table: as it fills up, grows, is divided, shrinks, and as hashes collide.
//!
//! In a model a table begins with two slots and has three at most: a third child makes a larger table, a
//! fourth a branch of two, and names that come and go use up the slots.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn two_who_link_in_one_table_both_find_their_child() {
    check("two_who_link_in_one_table_both_find_their_child", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn({
            let tree = tree.clone();
            move || walk(&tree, "c")
        });
        // The table is full: one of the two grows it, and both do at once.
        let d = walk(&tree, "d");
        let c = other.join().unwrap();
        assert_eq!(tree.root().ls(), [a, b, c, d]);
        assert_empty(&tree);
    });
}

#[test]
fn two_who_link_one_name_in_a_growing_table_get_one_node() {
    check("two_who_link_one_name_in_a_growing_table_get_one_node", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn({
            let tree = tree.clone();
            move || walk(&tree, "c")
        });
        let mine = walk(&tree, "c");
        let theirs = other.join().unwrap();
        assert_eq!(mine, theirs);
        drop((mine, theirs, a, b));
        assert_empty(&tree);
    });
}

#[test]
fn unlinking_meets_a_growing_table() {
    check("unlinking_meets_a_growing_table", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn(move || drop(a));
        let c = walk(&tree, "c");
        other.join().unwrap();
        assert_eq!(tree.root().ls(), [b, c]);
        assert_empty(&tree);
    });
}

#[test]
fn table_that_becomes_empty_meets_a_walker() {
    check("table_that_becomes_empty_meets_a_walker", Some(2), || {
        let tree = tree();
        // A table with one child: it is replaced by nothing as that goes.
        let (a, b) = (walk(&tree, "p/a"), walk(&tree, "p/b"));
        drop(b);
        let other = spawn(move || drop(a));
        let mine = walk(&tree, "p/c");
        other.join().unwrap();
        assert_eq!(walk(&tree, "p/c"), mine);
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn last_two_children_of_a_table_leave_nothing() {
    check("last_two_children_of_a_table_leave_nothing", Some(3), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "p/a"), walk(&tree, "p/b"));
        let other = spawn(move || drop(a));
        drop(b);
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn last_two_children_of_a_branch_leave_nothing() {
    check("last_two_children_of_a_branch_leave_nothing", Some(2), || {
        let tree = tree();
        let all = ["p/a", "p/b", "p/c", "p/d"].map(|path| walk(&tree, path));
        let [a, b, c, d] = all;
        // Of the two that stay longest one lies in each table of the branch.
        drop((b, c));
        let other = spawn(move || drop(a));
        drop(d);
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn child_is_replaced_in_a_table_while_another_grows_it() {
    check("child_is_replaced_in_a_table_while_another_grows_it", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn({
            let tree = tree.clone();
            move || (drop(a), walk(&tree, "a")).1
        });
        let c = walk(&tree, "c");
        let a = other.join().unwrap();
        assert_eq!(tree.root().ls(), [a, b, c]);
        assert_empty(&tree);
    });
}

#[test]
fn pruner_that_counts_in_vain_does_not_hide_that_none_is_left() {
    check("pruner_that_counts_in_vain_does_not_hide_that_none_is_left", Some(3), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "p/a"), walk(&tree, "p/b"));
        let other = spawn(move || drop(a));
        // Replaces p/a while it is dead, and takes the fresh one away: its pruner finds it gone.
        drop(walk(&tree, "p/a"));
        drop(b);
        other.join().unwrap();
        assert_empty(&tree);
    });
}
