//! What kind of thing an anchor is to Rust.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::thread;

use crate::testing::{Ledger, Tracked};
use crate::tests::tree;
use crate::{Anchor, Loaded, Loader, Names, StoreError, Storer, Tree, Value};

fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn everything_a_tree_hands_out_may_cross_threads() {
    is_send_and_sync::<Tree<Tracked>>();
    is_send_and_sync::<Anchor<Tracked>>();
    is_send_and_sync::<Loader<Tracked>>();
    is_send_and_sync::<Storer<Tracked>>();
    is_send_and_sync::<Value<Tracked>>();
    is_send_and_sync::<Loaded<Tracked>>();
    is_send_and_sync::<StoreError<Tracked>>();
    is_send_and_sync::<Names>();
}

#[test]
fn anchors_are_equal_when_they_refer_to_one_node() {
    let (_tree, root) = tree();
    let a = root.walk("a").unwrap();
    let same = root.walk("a").unwrap();
    let other = root.walk("b").unwrap();
    let below = a.walk("a").unwrap();
    #[allow(clippy::mutable_key_type, reason = "an anchor hashes by which node it refers to")]
    let set = HashSet::from([a.clone(), same.clone(), a.clone(), other.clone(), below.clone()]);
    assert_eq!(set.len(), 3, "equal anchors are one key, others are told apart");
    let hasher = RandomState::new();
    assert_eq!(hasher.hash_one(&a), hasher.hash_one(&same), "equal anchors hash alike");
    assert!(a == same && a != other && a != below && a != root);
}

#[test]
fn equal_paths_in_two_trees_are_two_nodes() {
    let ((_one, a), (_two, b)) = (tree(), tree());
    assert_ne!(a, b);
    assert_ne!(a.walk("x").unwrap(), b.walk("x").unwrap());
}

#[test]
fn an_anchor_knows_its_own_name_only() {
    let (_tree, root) = tree();
    let anchor = root.walk("secret-parent/child").unwrap();
    anchor.store(Ledger::default().value(1), false).unwrap();
    assert_eq!((root.name(), anchor.name()), ("", "child"));
    for text in [format!("{anchor:?}"), format!("{anchor:#?}")] {
        assert!(text.contains("Anchor") && text.contains("child"), "{text}");
        assert!(!text.contains("secret-parent"), "{text} shows a path upwards");
    }
}

#[test]
fn errors_and_values_have_debug_text_without_demands_on_the_value() {
    struct Mute;
    let tree = Tree::new(crate::Limits::default());
    tree.root().store(Mute, true).unwrap();
    let error = tree.root().store(Mute, false).unwrap_err();
    assert!(format!("{error:?}").contains("Occupied"), "{error:?}");
    assert!(format!("{error}").contains("revision 1"), "{error}");
    let (_tree, root) = super::super::tree();
    root.store(Ledger::default().value(5), true).unwrap();
    assert_eq!(format!("{:?}", root.load().value.unwrap()), "Tracked(5)");
}

#[test]
fn a_handle_made_on_one_thread_is_good_on_another() {
    let (tree, root) = tree();
    let ledger = Ledger::default();
    let anchor = root.walk("a/b").unwrap();
    let value = ledger.value(3);
    let returned = thread::spawn(move || {
        anchor.store(value, false).unwrap();
        anchor.walk("c").unwrap()
    });
    let below = returned.join().unwrap();
    assert_eq!((tree.nodes(), root.load_at("a/b").unwrap().value.unwrap().id()), (4, 3));
    thread::spawn(move || drop(below)).join().unwrap();
    assert_eq!(tree.nodes(), 3);
}
