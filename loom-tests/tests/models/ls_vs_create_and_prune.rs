//! A list of the children, while one comes and another goes.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

/// What `ls` may show while one thread first makes `b` and then drops `a`: never neither.
fn is_legal(names: &[&str]) -> bool {
    matches!(names, ["a"] | ["a", "b"] | ["b"])
}

#[test]
fn names_are_those_of_one_moment() {
    check("names_are_those_of_one_moment", Some(3), || {
        let tree = tree();
        let a = walk(&tree, "a");
        let other = spawn({
            let tree = tree.clone();
            move || (walk(&tree, "b"), drop(a)).0
        });
        let names = tree.root().names();
        assert!(is_legal(&names.iter().collect::<Vec<_>>()), "no moment had {names:?}");
        drop(other.join().unwrap());
        assert_empty(&tree);
    });
}

#[test]
fn handles_are_those_of_one_moment_and_hold_what_they_name() {
    check("handles_are_those_of_one_moment_and_hold_what_they_name", Some(2), || {
        let tree = tree();
        let a = walk(&tree, "a");
        let other = spawn({
            let tree = tree.clone();
            move || (walk(&tree, "b"), drop(a)).0
        });
        let listed = tree.root().ls();
        assert!(is_legal(&listed.iter().map(|child| child.name()).collect::<Vec<_>>()));
        for child in &listed {
            assert_eq!(walk(&tree, child.name()), *child);
        }
        drop(other.join().unwrap());
        drop(listed);
        assert_empty(&tree);
    });
}

#[test]
fn names_never_mix_two_moments_of_two_writers() {
    check("names_never_mix_two_moments_of_two_writers", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn(move || {
            drop(a);
            drop(b);
        });
        let names = tree.root().names();
        let names: Vec<_> = names.iter().collect();
        assert!(matches!(names[..], ["a", "b"] | ["b"] | []), "{names:?}");
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn handles_never_mix_two_moments_of_one_writer() {
    check("handles_never_mix_two_moments_of_one_writer", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn(move || {
            drop(a);
            drop(b);
        });
        let listed = tree.root().ls();
        let names: Vec<_> = listed.iter().map(|child| child.name()).collect();
        assert!(matches!(names[..], ["a", "b"] | ["b"] | []), "{names:?}");
        other.join().unwrap();
        drop(listed);
        assert_empty(&tree);
    });
}

#[test]
fn names_in_a_table_never_miss_both_of_two_that_take_turns() {
    check("names_in_a_table_never_miss_both_of_two_that_take_turns", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        drop(b); // a table, with a slot for b
        let other = spawn({
            let tree = tree.clone();
            move || {
                let b = walk(&tree, "b");
                drop(a);
                let a = walk(&tree, "a");
                drop(b);
                a
            }
        });
        let names = tree.root().names();
        assert!(!names.is_empty());
        drop(other.join().unwrap());
        assert_empty(&tree);
    });
}

#[test]
fn pages_are_of_one_moment() {
    check("pages_are_of_one_moment", Some(2), || {
        let tree = tree();
        let b = walk(&tree, "b");
        let other = spawn({
            let tree = tree.clone();
            move || (walk(&tree, "c"), drop(b)).0
        });
        let names = tree.root().names_after("a", 1);
        let names: Vec<_> = names.iter().collect();
        assert!(matches!(names[..], ["b"] | ["c"]), "no moment had {names:?} first after 'a'");
        let c = other.join().unwrap();
        assert_eq!(tree.root().ls_after("b", 1), [c]);
        assert_empty(&tree);
    });
}
