//! The bounds, each with the error that names it, and what a refused walk leaves behind.

use crate::testing::{Ledger, Tracked};
use crate::tests::tree;
use crate::{Limits, PathError, StoreAtError, Tree, WalkError};

fn tree_with(limits: Limits) -> Tree<Tracked> {
    Tree::new(limits)
}

#[test]
fn a_name_may_be_as_long_as_the_limit_and_no_longer() {
    let tree = tree_with(Limits { name_bytes: 4, ..Limits::default() });
    assert_eq!(tree.root().walk("abcd/wxyz").unwrap().name(), "wxyz");
    let expected = PathError::NameTooLong { offset: 5, len: 6, limit: 4 };
    assert_eq!(tree.root().walk("abcd/vwxyz1/..").unwrap_err(), WalkError::Path(expected));
    assert_eq!(tree.root().lookup("abcd/vwxyz1/.."), Err(expected));
}

#[test]
fn a_name_of_255_bytes_is_taken_whatever_the_limit_asks_for_beyond() {
    let tree = tree_with(Limits { name_bytes: usize::MAX, ..Limits::default() });
    assert_eq!(tree.limits().name_bytes, 255);
    assert_eq!(tree.root().walk([b'n'; 255]).unwrap().name().len(), 255);
    let expected = PathError::NameTooLong { offset: 0, len: 256, limit: 255 };
    assert_eq!(tree.root().walk([b'n'; 256]).unwrap_err(), WalkError::Path(expected));
}

#[test]
fn a_path_longer_than_the_limit_is_refused_before_it_is_read() {
    let tree = tree_with(Limits { path_bytes: 5, ..Limits::default() });
    assert!(tree.root().walk("a/b/c").is_ok());
    let expected = PathError::PathTooLong { len: 6, limit: 5 };
    for text in ["a/b/c/", "//////", "\\\\\\\\\\\\", "../../"] {
        assert_eq!(tree.root().walk(text).unwrap_err(), WalkError::Path(expected), "{text}");
        assert_eq!(tree.root().lookup(text), Err(expected), "{text}");
    }
}

#[test]
fn a_walk_of_a_million_components_is_an_error() {
    let (tree, root) = tree();
    let text = "a/".repeat(1_000_000);
    let expected = PathError::PathTooLong { len: 2_000_000, limit: 64 * 1024 };
    assert_eq!(root.walk(&text).unwrap_err(), WalkError::Path(expected));
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn depth_counts_from_the_root_and_not_from_where_a_walk_starts() {
    let tree = tree_with(Limits { depth: 3, ..Limits::default() });
    let mut at = tree.root();
    for _ in 0..3 {
        at = at.walk("x").unwrap();
    }
    assert_eq!((tree.root().depth(), at.depth()), (0, 3));
    let expected = PathError::TooDeep { depth: 4, limit: 3 };
    assert_eq!(at.walk("x").unwrap_err(), WalkError::Path(expected));
    assert_eq!(at.lookup("x"), Err(expected));
    assert_eq!(tree.root().walk("x/x/x/x").unwrap_err(), WalkError::Path(expected));
    assert_eq!(at.walk(".").unwrap(), at, "the deepest node still names itself");
    let further = PathError::TooDeep { depth: 5, limit: 3 };
    assert_eq!(at.walk("x/./x").unwrap_err(), WalkError::Path(further));
}

#[test]
fn a_node_takes_as_many_children_as_the_limit_and_then_says_so() {
    let tree = tree_with(Limits { children: 2, ..Limits::default() });
    let at = tree.root().walk("p").unwrap();
    let [a, _b] = ["a", "b"].map(|name| at.walk(name).unwrap());
    let expected = WalkError::TooManyChildren { limit: 2, depth: 1 };
    assert_eq!(at.walk("c").unwrap_err(), expected);
    let text = expected.to_string();
    assert!(text.contains("depth 1") && text.contains("limit of 2 children"), "{text}");
    assert_eq!(at.walk("a").unwrap(), a, "those that exist are found");
    assert!(at.walk("a/below").is_ok(), "the limit is each node's own");
    drop(a);
    assert!(at.walk("c").is_ok(), "a child that went made room");
}

#[test]
fn a_tree_takes_as_many_nodes_as_the_limit_root_included() {
    let tree = tree_with(Limits { nodes: 4, ..Limits::default() });
    let root = tree.root();
    let kept = root.walk("a/b").unwrap();
    let expected = WalkError::TooManyNodes { limit: 4 };
    assert_eq!(root.walk("c/d").unwrap_err(), expected);
    assert!(expected.to_string().ends_with("limit of 4 nodes"), "{expected}");
    assert_eq!(tree.nodes(), 3);
    let last = root.walk("c").unwrap();
    assert_eq!(root.walk("d").unwrap_err(), expected);
    drop((kept, last));
    assert!(root.walk("x/y/z").is_ok(), "the nodes that went made room");
}

#[test]
fn a_failing_walk_leaves_no_node_behind() {
    let tree = tree_with(Limits { nodes: 5, children: 2, depth: 6, ..Limits::default() });
    let root = tree.root();
    let [a, _b] = ["a", "b"].map(|name| root.walk(name).unwrap());
    for text in ["a/1/2/3", "c", "a/b/../x", "a/b c", "a/b/c/d/e/f/g", "./c/d"] {
        root.walk(text).unwrap_err();
        assert_eq!(tree.nodes(), 3, "{text}");
        assert!(a.ls().is_empty(), "{text}");
    }
}

#[test]
fn store_at_gives_the_value_back_when_the_walk_fails() {
    let ledger = Ledger::default();
    let tree = tree_with(Limits { children: 0, ..Limits::default() });
    match tree.root().store_at("a", ledger.value(7), true) {
        Err(StoreAtError::Walk(error, Some(value))) => {
            assert_eq!(error, WalkError::TooManyChildren { limit: 0, depth: 0 });
            assert_eq!(value.id(), 7);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((tree.nodes(), ledger.live()), (1, 0));
}

#[test]
fn the_root_alone_is_there_under_limits_of_nothing() {
    let limits = Limits { name_bytes: 0, path_bytes: 0, depth: 0, children: 0, nodes: 0 };
    let tree = tree_with(limits);
    assert_eq!(tree.nodes(), 1);
    assert_eq!(tree.root().walk("").unwrap(), tree.root());
    let expected = PathError::PathTooLong { len: 1, limit: 0 };
    assert_eq!(tree.root().walk("a").unwrap_err(), WalkError::Path(expected));
}
