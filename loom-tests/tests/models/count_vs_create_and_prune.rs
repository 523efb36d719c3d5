//! A count of the children while one comes and another goes.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn count_is_that_of_the_living_or_of_one_dying_more() {
    check("count_is_that_of_the_living_or_of_one_dying_more", Some(4), || {
        let tree = tree();
        let a = walk(&tree, "a");
        let other = spawn({
            let tree = tree.clone();
            move || (walk(&tree, "b"), drop(a)).0
        });
        let counts = [tree.root().child_count(), tree.root().child_count()];
        // One, then two, then one again.
        assert!(matches!(counts, [1 | 2, 1 | 2]), "{counts:?}");
        drop(other.join().unwrap());
        assert_empty(&tree);
    });
}

#[test]
fn count_is_never_below_the_number_of_names_listed_after_it() {
    check("count_is_never_below_the_number_of_names_listed_after_it", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let other = spawn(move || {
            drop(a);
            drop(b);
        });
        let count = tree.root().child_count();
        let names = tree.root().names().len();
        assert!(names <= count && count <= 2, "{count}, then {names} names");
        other.join().unwrap();
        assert_empty(&tree);
    });
}

#[test]
fn node_that_takes_the_place_of_a_dead_one_is_counted_once() {
    check("node_that_takes_the_place_of_a_dead_one_is_counted_once", None, || {
        let tree = tree();
        let held = walk(&tree, "a");
        let other = spawn(move || drop(held));
        let mine = walk(&tree, "a");
        assert_eq!(tree.root().child_count(), 1);
        other.join().unwrap();
        assert_eq!((tree.root().child_count(), tree.nodes()), (1, 2));
        drop(mine);
        assert_empty(&tree);
    });
}
