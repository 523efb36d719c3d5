//! When nodes appear, what keeps them, and when they go.

use crate::testing::Ledger;
use crate::tests::tree;

#[test]
fn a_walk_creates_what_is_missing_and_a_drop_takes_it_away() {
    let (tree, root) = tree();
    let c = root.walk("a/b/c").unwrap();
    assert_eq!((tree.nodes(), c.name()), (4, "c"));
    drop(c);
    assert_eq!(tree.nodes(), 1);
    assert_eq!(root.lookup("a").unwrap(), None);
}

#[test]
fn a_second_walk_finds_the_same_node() {
    let (tree, root) = tree();
    let first = root.walk("a/b").unwrap();
    let second = root.walk("a").unwrap().walk("b").unwrap();
    assert_eq!(first, second);
    drop(first);
    assert_eq!(root.lookup("a/b").unwrap(), Some(second), "one handle is left");
    assert_eq!(tree.nodes(), 1, "and that was the last");
}

#[test]
fn a_clone_keeps_the_node() {
    let (tree, root) = tree();
    let a = root.walk("a").unwrap();
    let copy = a.clone();
    drop(a);
    assert_eq!((tree.nodes(), root.lookup("a").unwrap()), (2, Some(copy)));
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn a_value_keeps_its_node_until_it_is_cleared() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    root.walk("a/b").unwrap().store(ledger.value(1), false).unwrap();
    assert_eq!(tree.nodes(), 3);
    assert_eq!(root.load_at("a/b").unwrap().value.unwrap().id(), 1);
    root.lookup("a/b").unwrap().unwrap().clear();
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn storing_nothing_by_path_takes_the_node_away_too() {
    let (tree, root) = tree();
    root.store_at("a/b", Ledger::default().value(1), false).unwrap();
    assert_eq!(tree.nodes(), 3);
    root.store_at("a/b", None, true).unwrap();
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn a_loaded_value_does_not_keep_the_node() {
    let (tree, root) = tree();
    root.store_at("a", Ledger::default().value(1), false).unwrap();
    let value = root.load_at("a").unwrap().value.unwrap();
    root.store_at("a", None, true).unwrap();
    assert_eq!((tree.nodes(), value.id()), (1, 1));
}

#[test]
fn children_keep_their_parents_and_one_goes_without_the_others() {
    let (tree, root) = tree();
    let below = root.walk("a/b/c").unwrap();
    let beside = root.walk("a/x").unwrap();
    assert_eq!(tree.nodes(), 5);
    drop(below);
    assert_eq!(tree.nodes(), 3, "a stays for x");
    let a = root.lookup("a").unwrap().unwrap();
    drop(beside);
    assert_eq!((tree.nodes(), a.child_count()), (2, 0), "a stays for its handle");
    drop(a);
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn pruning_stops_at_a_parent_that_holds_a_value() {
    let (tree, root) = tree();
    root.store_at("a", Ledger::default().value(1), false).unwrap();
    drop(root.walk("a/b/c").unwrap());
    assert_eq!((tree.nodes(), root.names().len()), (2, 1));
}

#[test]
fn a_loader_and_a_storer_each_keep_the_node() {
    let (tree, root) = tree();
    let (loader, storer) = root.walk("a").unwrap().cell();
    assert_eq!(tree.nodes(), 2);
    drop(loader);
    assert_eq!(tree.nodes(), 2, "the storer keeps it");
    let again = storer.clone();
    drop(storer);
    assert_eq!(tree.nodes(), 2, "its clone keeps it");
    drop(again);
    assert_eq!(tree.nodes(), 1);
    let (loader, storer) = root.walk("a").unwrap().cell();
    drop(storer);
    let again = loader.clone();
    drop(loader);
    assert_eq!(tree.nodes(), 2, "the loader's clone keeps it");
    drop(again);
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn a_storer_that_clears_its_cell_still_keeps_the_node() {
    let (tree, root) = tree();
    let (_loader, storer) = root.walk("a").unwrap().cell();
    storer.store(Ledger::default().value(1), false).unwrap();
    storer.clear();
    assert_eq!(tree.nodes(), 2);
}

#[test]
fn lookup_creates_nothing_and_finds_what_is_there() {
    let (tree, root) = tree();
    let b = root.walk("a/b").unwrap();
    for missing in ["x", "x/y", "a/x", "a/b/c", "a/b/c/d"] {
        assert_eq!(root.lookup(missing).unwrap(), None, "{missing}");
    }
    assert_eq!(tree.nodes(), 3);
    assert_eq!(root.lookup("a/b").unwrap().unwrap(), b);
    assert_eq!(root.lookup("a").unwrap().unwrap().ls(), std::slice::from_ref(&b));
    assert_eq!(root.names().iter().collect::<Vec<_>>(), ["a"]);
    drop(b);
    assert_eq!(root.lookup("a/b").unwrap(), None);
}

#[test]
fn a_looked_up_anchor_is_a_handle_like_any_other() {
    let (tree, root) = tree();
    let walked = root.walk("a").unwrap();
    let found = root.lookup("a").unwrap().unwrap();
    drop(walked);
    assert_eq!(tree.nodes(), 2);
    drop(found);
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn a_load_by_path_creates_nothing() {
    let (tree, root) = tree();
    let loaded = root.load_at("a/b").unwrap();
    assert!(loaded.value.is_none());
    assert_eq!((loaded.revision, tree.nodes()), (0, 1));
    assert!(root.load_at_with("a", |value, revision| value.is_none() && revision == 0).unwrap());
}

#[test]
fn ls_is_sorted_by_name_and_gives_the_anchors_that_walks_give() {
    let (_tree, root) = tree();
    let at = root.walk("p").unwrap();
    let names = ["b", "a", "aa", "A", "0", "~", "!", "a.b", "a-b", "Z", "...", "_"];
    let walked = names.map(|name| at.walk(name).unwrap());
    let listed = at.ls();
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(listed.iter().map(|child| child.name()).collect::<Vec<_>>(), sorted);
    assert_eq!(at.names().iter().collect::<Vec<_>>(), sorted);
    for (name, walked) in names.iter().zip(&walked) {
        assert!(listed.contains(walked), "{name}");
    }
    for child in &listed {
        assert_eq!(at.walk(child.name()).unwrap(), *child);
    }
}

#[test]
fn ls_is_a_snapshot_and_its_anchors_are_handles() {
    let (tree, root) = tree();
    let kept = ["a", "b"].map(|name| root.walk(name).unwrap());
    let (before, names) = (root.ls(), root.names());
    drop(kept);
    let _later = root.walk("c").unwrap();
    assert_eq!(before.len(), 2);
    assert_eq!(names.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(tree.nodes(), 4, "the listed anchors keep their nodes");
    drop(before);
    assert_eq!(tree.nodes(), 2, "the names keep nothing");
}

#[test]
fn ls_shows_one_level_only_and_nothing_on_a_leaf() {
    let (_tree, root) = tree();
    let leaf = root.walk("a/b").unwrap();
    assert_eq!(root.names().iter().collect::<Vec<_>>(), ["a"]);
    assert!(leaf.ls().is_empty() && leaf.names().is_empty());
    assert_eq!((root.child_count(), leaf.child_count()), (1, 0));
}

#[test]
fn many_children_are_found_counted_and_gone_again() {
    let (tree, root) = tree();
    let many = if cfg!(miri) { 60 } else { 1_000 };
    let name = |i: usize| format!("child-{i}");
    let mut kept: Vec<_> = (0..many).map(|i| root.walk(name(i)).unwrap()).collect();
    while let Some(last) = kept.pop() {
        let count = kept.len() + 1;
        assert_eq!((root.child_count(), tree.nodes()), (count, 1 + count));
        assert_eq!(root.lookup(name(count - 1)).unwrap(), Some(last));
        assert_eq!(root.lookup(name(count)).unwrap(), None);
    }
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn the_four_calls_that_were_fatal_in_the_origin_are_harmless() {
    let (tree, root) = tree();
    let foo = root.walk("/foo").unwrap();
    let bar = root.walk("/foo/bar").unwrap();
    drop(foo);
    let foo = root.walk("/foo").unwrap();
    assert_eq!(foo.ls(), [bar]);
    assert_eq!(tree.nodes(), 2, "the listing was the last handle on bar's node");
}

#[test]
fn one_path_can_be_walked_and_released_ten_thousand_times() {
    let (tree, root) = tree();
    for _ in 0..if cfg!(miri) { 100 } else { 10_000 } {
        let anchor = root.walk("one/path").unwrap();
        assert_eq!((anchor.name(), tree.nodes()), ("path", 3));
        drop(anchor);
        assert_eq!(tree.nodes(), 1);
    }
}
