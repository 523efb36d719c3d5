//! Watching: the present state first, then the latest, and nothing owed for what was overtaken.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures_core::Stream;

use crate::tests::tree;
use crate::{Anchor, ChildrenChange, Limits, Tree, Value};

/// Counts how often it is woken.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn numbers() -> (Tree<u32>, Anchor<u32>) {
    let tree = Tree::new(Limits::default());
    let root = tree.root();
    (tree, root)
}

fn added(names: &[(&str, bool)]) -> Vec<(String, bool)> {
    names.iter().map(|&(name, filled)| (name.to_owned(), filled)).collect()
}

#[test]
fn watch_shows_the_present_state_first_and_then_only_the_latest() {
    let (_tree, root) = numbers();
    let anchor = root.walk("a").unwrap();
    anchor.store(1, true).unwrap();
    let mut watch = anchor.watch();
    let first = watch.try_next().unwrap();
    assert_eq!((first.value.as_deref(), first.revision), (Some(&1), 1));
    assert!(watch.try_next().is_none(), "nothing has changed");
    for value in 2..100 {
        anchor.store(value, true).unwrap();
    }
    let latest = watch.try_next().unwrap();
    assert_eq!((latest.value.as_deref(), latest.revision), (Some(&99), 99));
    assert!(watch.try_next().is_none(), "what was overtaken is not owed");
    anchor.clear();
    assert!(watch.try_next().unwrap().value.is_none());
}

#[test]
fn watch_wakes_its_task_and_no_other_change_does() {
    let (_tree, root) = numbers();
    let (anchor, other) = (root.walk("a").unwrap(), root.walk("b").unwrap());
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let mut watch = pin!(anchor.watch());
    assert!(matches!(watch.as_mut().poll_next(&mut context), Poll::Ready(Some(_))));
    assert!(watch.as_mut().poll_next(&mut context).is_pending());
    other.store(1, true).unwrap();
    drop(anchor.walk("below").unwrap());
    drop(anchor.clone());
    assert_eq!(counted.0.load(Ordering::SeqCst), 0, "woken by what it does not watch");
    anchor.store(1, true).unwrap();
    assert_eq!(counted.0.load(Ordering::SeqCst), 1);
    assert!(matches!(watch.as_mut().poll_next(&mut context), Poll::Ready(Some(_))));
}

#[test]
fn watch_keeps_its_node_and_lets_it_go() {
    let (tree, root) = numbers();
    let watch = root.walk("a/b").unwrap().watch();
    let children = root.walk("a").unwrap().watch_children();
    assert_eq!(tree.nodes(), 3);
    drop(watch);
    assert_eq!(tree.nodes(), 2);
    drop(children);
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn watch_ends_after_it_has_shown_the_closed_tree() {
    let (tree, root) = numbers();
    let anchor = root.walk("a").unwrap();
    anchor.store(1, true).unwrap();
    let (mut watch, mut children) = (anchor.watch(), root.watch_children());
    watch.try_next().unwrap();
    assert_eq!(children.try_next().unwrap().added, added(&[("a", true)]));
    drop(tree);
    assert!(watch.blocking_next().unwrap().value.is_none());
    assert!(watch.blocking_next().is_none());
    assert_eq!(children.blocking_next().unwrap().emptied, ["a"]);
    assert!(children.blocking_next().is_none());
    assert!(anchor.watch().blocking_next().is_some(), "the present state comes first even now");
}

#[test]
fn wait_resolves_at_once_or_when_the_cell_is_filled() {
    let (tree, root) = numbers();
    let anchor = root.walk("a").unwrap();
    let waiting = anchor.wait();
    let thread = thread::spawn(move || waiting.blocking());
    anchor.store(7, true).unwrap();
    assert_eq!(thread.join().unwrap().as_deref(), Some(&7));
    assert_eq!(anchor.cell().0.wait().blocking().as_deref(), Some(&7));
    let in_vain = root.walk("b").unwrap().wait();
    drop(tree);
    assert!(in_vain.blocking().is_none());
}

#[test]
fn children_are_shown_as_they_come_go_are_filled_and_emptied() {
    let (_tree, root) = numbers();
    let parent = root.walk("p").unwrap();
    parent.store_at("kept", 1, true).unwrap();
    let mut watch = parent.watch_children();
    assert_eq!(watch.try_next().unwrap().added, added(&[("kept", true)]));
    let a = parent.walk("a").unwrap();
    parent.store_at("b", 1, true).unwrap();
    assert_eq!(watch.try_next().unwrap().added, added(&[("a", false), ("b", true)]));
    a.store(1, true).unwrap();
    parent.walk("kept").unwrap().clear();
    let change = watch.try_next().unwrap();
    let expected = ChildrenChange {
        removed: vec!["kept".into()],
        filled: vec!["a".into()],
        ..ChildrenChange::default()
    };
    assert_eq!(change, expected);
    a.clear();
    assert_eq!(watch.try_next().unwrap().emptied, ["a"]);
    assert!(watch.try_next().is_none());
}

#[test]
fn a_child_that_has_both_gone_and_come_is_there() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let change = ChildrenChange {
        added: vec![("a".into(), true)],
        removed: names(&["a", "b"]),
        ..ChildrenChange::default()
    };
    let mut known = [("a".into(), false), ("b".into(), false)].into();
    change.apply(&mut known);
    assert_eq!(known, [("a".into(), true)].into());
}

#[test]
fn children_watcher_owes_one_look_however_long_it_sleeps() {
    let (_tree, root) = numbers();
    let mut watch = root.watch_children();
    assert!(watch.try_next().unwrap().is_empty());
    for _ in 0..1000 {
        for name in ["a", "b", "c"] {
            drop(root.walk(name).unwrap());
        }
    }
    assert!(watch.try_next().is_none(), "what came and went is not owed");
    let held = root.walk("b").unwrap();
    assert_eq!(watch.try_next().unwrap().added, added(&[("b", false)]));
    drop(held);
    drop(root.walk("b/c").unwrap());
    assert_eq!(watch.try_next().unwrap().removed, ["b"]);
}

#[test]
fn children_of_a_large_node_are_watched_through_every_form_of_its_table() {
    let (_tree, root) = numbers();
    let mut watch = root.watch_children();
    assert!(watch.try_next().unwrap().is_empty());
    let mut held = Vec::new();
    for n in 0..10_000 {
        held.push(root.walk(format!("n{n:05}")).unwrap());
        if n % 1000 == 0 {
            assert_eq!(watch.try_next().map_or(0, |change| change.added.len()), (n + 1).min(1000));
        }
    }
    watch.try_next().unwrap();
    held[5000].store(1, true).unwrap();
    assert_eq!(watch.try_next().unwrap().filled, ["n05000"]);
    held[5000].clear();
    drop(held.split_off(2));
    assert_eq!(watch.try_next().unwrap().removed.len(), 9_998);
    drop(held);
    assert_eq!(watch.try_next().unwrap().removed, ["n00000", "n00001"]);
}

#[test]
fn watchers_of_one_cell_are_all_told_also_after_others_have_gone() {
    let (_tree, root) = numbers();
    let anchor = root.walk("a").unwrap();
    let mut watches: Vec<_> = (0..100).map(|_| anchor.watch()).collect();
    for watch in &mut watches {
        watch.try_next().unwrap();
    }
    for round in 1..=99 {
        drop(watches.pop());
        anchor.store(round, true).unwrap();
        for watch in &mut watches {
            assert_eq!(watch.try_next().unwrap().value.as_deref(), Some(&round));
        }
    }
    drop(watches);
    anchor.store(0, true).unwrap(); // finds nobody, and takes the mark away
    let mut late = anchor.watch();
    late.try_next().unwrap();
    anchor.store(1, true).unwrap();
    assert_eq!(late.try_next().unwrap().value.as_deref(), Some(&1));
}

#[test]
fn no_change_is_lost_between_threads() {
    const ROUNDS: u32 = 2000;
    let (_tree, root) = numbers();
    let (ping, pong) = (root.walk("ping").unwrap(), root.walk("pong").unwrap());
    let echo = {
        let (mut watch, pong) = (ping.watch(), pong.clone());
        thread::spawn(move || {
            let mut last = 0;
            while last < ROUNDS {
                let state = watch.blocking_next().unwrap();
                last = state.value.map_or(0, |value| *value);
                pong.store(last, true).unwrap();
            }
        })
    };
    let mut watch = pong.watch();
    for round in 1..=ROUNDS {
        ping.store(round, true).unwrap();
        while watch.blocking_next().unwrap().value.map_or(0, |value| *value) != round {}
    }
    echo.join().unwrap();
}

#[test]
fn no_child_is_lost_between_threads() {
    const ROUNDS: u32 = 500;
    let (_tree, root) = numbers();
    let mut watch = root.watch_children();
    let other = {
        let root = root.clone();
        thread::spawn(move || {
            for n in 0..ROUNDS {
                root.store_at(format!("{n}"), n, true).unwrap();
                if n % 3 == 0 {
                    root.walk(format!("{n}")).unwrap().clear();
                }
            }
        })
    };
    let mut known = std::collections::BTreeMap::new();
    loop {
        let finished = other.is_finished();
        let Some(change) = watch.try_next() else {
            if finished {
                break;
            }
            thread::yield_now();
            continue;
        };
        known.extend(change.added);
        known.extend(change.filled.into_iter().map(|name| (name, true)));
        known.extend(change.emptied.into_iter().map(|name| (name, false)));
        known.retain(|name, _| !change.removed.contains(name));
    }
    other.join().unwrap();
    assert!(known.keys().map(String::as_str).eq(root.names().iter()));
    assert!(known.values().all(|&filled| filled));
}

#[test]
fn a_watched_value_is_dropped_once() {
    let (tree, root) = tree();
    let ledger = crate::testing::Ledger::default();
    let anchor = root.walk("a").unwrap();
    let mut watch = anchor.watch();
    anchor.store(ledger.value(1), true).unwrap();
    let seen = watch.try_next().unwrap().value.unwrap();
    assert_eq!(Value::revision(&seen), 1);
    anchor.store(ledger.value(2), true).unwrap();
    drop((seen, watch, anchor, root, tree));
    assert!(crate::testing::settle(|| ledger.live() == 0));
}

#[test]
fn waker_that_panics_leaves_nothing_half_done() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }
    let waker = std::task::Waker::from(Arc::new(Panics));
    let mut context = std::task::Context::from_waker(&waker);
    let tree = Tree::<u64>::new(Limits::default());
    let mut watch = tree.root().watch_children();
    assert!(watch.poll(&mut context).is_ready());
    assert!(watch.poll(&mut context).is_pending());
    let anchor = tree.root().walk("a/b").unwrap();
    assert!(tree.root().names().iter().eq(["a"]));
    assert!(watch.poll(&mut context).is_ready());
    assert!(watch.poll(&mut context).is_pending());
    drop(anchor);
    assert_eq!(tree.nodes(), 1);
}
