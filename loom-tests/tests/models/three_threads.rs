//! Three threads at one node.

use killick::model::check;

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn three_walkers_on_a_fresh_path_get_one_node() {
    check("three_walkers_on_a_fresh_path_get_one_node", Some(2), || {
        let tree = tree();
        let walker = || {
            let tree = tree.clone();
            spawn(move || walk(&tree, "a"))
        };
        let (one, two) = (walker(), walker());
        let mine = walk(&tree, "a");
        let (one, two) = (one.join().unwrap(), two.join().unwrap());
        assert!(one == mine && two == mine);
        drop((one, two, mine));
        assert_empty(&tree);
    });
}

#[test]
fn three_last_releases_prune_once() {
    check("three_last_releases_prune_once", None, || {
        let tree = tree();
        let held = [(); 3].map(|()| walk(&tree, "a/b"));
        let [one, two, three] = held;
        let others = [spawn(move || drop(one)), spawn(move || drop(two))];
        drop(three);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_empty(&tree);
    });
}

#[test]
fn store_and_clear_beside_a_last_release_leave_nothing() {
    check("store_and_clear_beside_a_last_release_leave_nothing", Some(3), || {
        let tree = tree();
        let held = [(); 3].map(|()| walk(&tree, "a"));
        let [one, two, three] = held;
        let storer = spawn(move || one.store(1, true).unwrap());
        let clearer = spawn(move || two.clear().value.is_some());
        drop(three);
        storer.join().unwrap();
        let cleared = clearer.join().unwrap();
        assert_eq!(tree.root().child_count(), usize::from(!cleared));
        walk(&tree, "a").clear();
        assert_empty(&tree);
    });
}

#[test]
fn list_beside_a_creation_and_a_last_release_shows_one_moment() {
    check("list_beside_a_creation_and_a_last_release_shows_one_moment", Some(1), || {
        let tree = tree();
        let held = walk(&tree, "a");
        let dropper = spawn(move || drop(held));
        let creator = spawn({
            let tree = tree.clone();
            move || walk(&tree, "b")
        });
        let listed = tree.root().ls();
        let names: Vec<_> = listed.iter().map(|child| child.name()).collect();
        assert!(matches!(names[..], [] | ["a"] | ["a", "b"] | ["b"]), "{names:?}");
        dropper.join().unwrap();
        let b = creator.join().unwrap();
        drop(listed);
        assert_eq!(tree.root().ls(), [b]);
        assert_empty(&tree);
    });
}
