//! A list of children while a value takes over from a handle, or goes.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn child_is_listed_while_its_value_takes_over_from_its_handle() {
    check("child_is_listed_while_its_value_takes_over_from_its_handle", None, || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || {
            held.store(1, true).unwrap();
        });
        let listed = tree.root().ls();
        assert_eq!(listed.iter().map(|child| child.name()).collect::<Vec<_>>(), ["a"]);
        let seen = listed[0].load();
        assert!(matches!((seen.value.as_deref(), seen.revision), (None, 0) | (Some(1), 1)));
        other.join().unwrap();
        assert_eq!(walk(&tree, "a"), listed[0]);
        listed[0].clear();
        drop(listed);
        assert_empty(&tree);
    });
}

#[test]
fn child_that_its_value_kept_is_listed_until_that_is_cleared() {
    check("child_that_its_value_kept_is_listed_until_that_is_cleared", Some(4), || {
        let tree = tree();
        tree.root().store_at("a", 1, true).unwrap();
        let held = walk(&tree, "a");
        let other = spawn(move || assert_eq!(held.clear().value.as_deref(), Some(&1)));
        let first = tree.root().names().len();
        let second = tree.root().names().len();
        assert!(matches!((first, second), (1, 1) | (1, 0) | (0, 0)), "{first}, then {second}");
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn handle_from_a_list_keeps_the_child_whose_value_goes() {
    check("handle_from_a_list_keeps_the_child_whose_value_goes", Some(4), || {
        let tree = tree();
        tree.root().store_at("a", 1, true).unwrap();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held.clear()));
        let listed = tree.root().ls();
        let seen = listed.first().map(|child| child.load().revision);
        assert!(matches!(seen, None | Some(1 | 2)), "{seen:?}");
        other.join().unwrap();
        for child in &listed {
            assert_eq!(walk(&tree, "a"), *child);
        }
        drop(listed);
        assert_empty(&tree);
    });
}
