//! A load by path while the node there dies, and another takes its place.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn load_by_path_reads_the_node_that_took_a_dead_ones_place() {
    check("load_by_path_reads_the_node_that_took_a_dead_ones_place", Some(4), || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held));
        let mine = walk(&tree, "a");
        assert_eq!(mine.store(1, false).unwrap(), 1);
        let seen = tree.root().load_at("a").unwrap();
        assert_eq!((seen.value.as_deref(), seen.revision), (Some(&1), 1));
        other.join().unwrap();
        assert_eq!(walk(&tree, "a"), mine);
        mine.clear();
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn load_by_path_reads_no_revision_of_a_node_before() {
    check("load_by_path_reads_no_revision_of_a_node_before", Some(3), || {
        let tree = tree();
        let held = walk(&tree, "a");
        held.store(1, true).unwrap();
        let other = spawn({
            let tree = tree.clone();
            move || {
                held.clear();
                drop(held);
                tree.root().store_at("a", 2, false).unwrap();
            }
        });
        let loads = [(); 2].map(|()| tree.root().load_at("a").unwrap());
        let seen = loads.each_ref().map(|seen| (seen.value.as_deref().copied(), seen.revision));
        // The old value, the cleared cell, no node, the new value; in this order.
        let order = [(Some(1), 1), (None, 2), (None, 0), (Some(2), 1)];
        let at = seen.map(|seen| order.iter().position(|legal| *legal == seen));
        assert!(at[0].is_some() && at[0] <= at[1], "{seen:?}");
        other.join().unwrap();
        walk(&tree, "a").clear();
        drop(loads);
        assert_empty(&tree);
    });
}

#[test]
fn load_below_a_node_that_is_replaced_finds_the_value_or_nothing() {
    check("load_below_a_node_that_is_replaced_finds_the_value_or_nothing", Some(4), || {
        let tree = tree();
        let held = walk(&tree, "a/b");
        let other = spawn({
            let tree = tree.clone();
            move || {
                drop(held);
                tree.root().store_at("a/b", 1, false).unwrap();
            }
        });
        let seen = tree.root().load_at("a/b").unwrap();
        assert!(matches!((seen.value.as_deref(), seen.revision), (None, 0) | (Some(1), 1)));
        other.join().unwrap();
        walk(&tree, "a/b").clear();
        drop(seen);
        assert_empty(&tree);
    });
}

#[test]
fn names_show_the_path_while_somebody_holds_it() {
    check("names_show_the_path_while_somebody_holds_it", None, || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held));
        let mine = walk(&tree, "a");
        assert!(tree.root().names().iter().eq(["a"]));
        other.join().unwrap();
        assert_eq!(tree.root().ls(), [mine]);
        assert_empty(&tree);
    });
}
