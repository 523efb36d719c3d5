//! Nodes with very many children, and lists of them in pages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::{Anchor, Limits, Tree, WalkError};

/// More than one table holds.
const MANY: usize = 20_000;

fn wide() -> (Tree<u32>, Vec<Anchor<u32>>) {
    let tree = Tree::new(Limits::default());
    let root = tree.root();
    let held = (0..MANY).map(|n| root.walk(format!("n{n:05}")).unwrap()).collect();
    (tree, held)
}

#[test]
fn every_one_of_very_many_children_is_found_and_listed() {
    let (tree, held) = wide();
    let root = tree.root();
    assert_eq!(root.child_count(), MANY);
    for anchor in &held {
        assert_eq!(root.lookup(anchor.name()).unwrap().as_ref(), Some(anchor));
    }
    assert_eq!(root.ls(), held, "zero-padded numbers sort as numbers");
    assert!(root.lookup("n20000").unwrap().is_none());
}

#[test]
fn very_many_children_go_one_by_one_in_any_order() {
    let (tree, mut held) = wide();
    let root = tree.root();
    let mut left = MANY;
    while !held.is_empty() {
        drop(held.swap_remove(held.len() * 7 / 11));
        left -= 1;
        if left % 1000 < 2 {
            assert_eq!(root.child_count(), left);
            assert_eq!(root.names().len(), left);
        }
    }
    assert_eq!(tree.nodes(), 1);
    assert!(root.walk("n00000").is_ok(), "and they may come again");
}

#[test]
fn pages_hold_each_child_once_and_in_order() {
    let (tree, held) = wide();
    let root = tree.root();
    for limit in [1, 999, 1000, MANY, usize::MAX] {
        let mut after = String::new();
        let mut seen = 0;
        loop {
            let page = root.names_after(&after, limit);
            let Some(last) = page.iter().next_back() else { break };
            after = last.to_owned();
            assert!(page.iter().eq(held[seen..seen + page.len()].iter().map(Anchor::name)));
            seen += page.len();
            if limit == 1 && seen == 50 {
                seen = MANY; // enough of those
                break;
            }
        }
        assert_eq!(seen, MANY);
    }
    assert_eq!(root.ls_after("n19997", 5), held[19_998..]);
    assert_eq!(root.ls_after("n00000-", 1), held[1..2], "after what is no child");
    assert!(root.ls_after("", 0).is_empty());
    assert!(root.ls_after("\u{7f} no name", 5).is_empty());
}

#[test]
fn limit_of_children_is_never_exceeded_however_many() {
    const LIMIT: usize = 6000;
    let tree = Tree::<u32>::new(Limits { children: LIMIT, ..Limits::default() });
    let root = tree.root();
    let walk = |from: usize| {
        let root = root.clone();
        move || {
            let names = (from..from + 5000).map(|n| root.walk(format!("{n}")));
            names.filter_map(Result::ok).collect::<Vec<_>>()
        }
    };
    let threads = [0, 5000].map(|from| thread::spawn(walk(from)));
    let mut held: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(held.len(), root.names().len());
    // A walk that competes for the last room may be refused, so there may be some left.
    let more: Vec<_> = (10_000..20_000).map_while(|n| root.walk(format!("{n}")).ok()).collect();
    assert_eq!(held.len() + more.len(), LIMIT);
    let refused = root.walk("one-more").unwrap_err();
    assert_eq!(refused, WalkError::TooManyChildren { limit: LIMIT, depth: 0 });
    assert!(root.walk(held[0].name()).is_ok(), "what is there is found");
    drop(more);
    drop(held.pop());
    assert!(root.walk("one-more").is_ok());
    drop(held);
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn lists_are_of_one_moment_while_others_come_and_go_among_very_many() {
    let (tree, held) = wide();
    let root = tree.root();
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let (root, held) = (&root, &held);
        let churn = scope.spawn(move || {
            // At every moment exactly one of the two is there, or both.
            let mut one = root.walk("turn-0").unwrap();
            for turn in 1.. {
                one = root.walk(format!("turn-{}", turn % 64)).unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            drop(one);
        });
        for _ in 0..20 {
            let names = root.names();
            let turns = names.iter().filter(|name| name.starts_with("turn-")).count();
            assert!(
                matches!(names.len() - MANY, 0..=2) && turns <= 2,
                "{turns} of {}",
                names.len()
            );
            assert!(names.iter().take(MANY).eq(held.iter().map(Anchor::name)));
        }
        stop.store(true, Ordering::Relaxed);
        churn.join().unwrap();
    });
    drop(held);
    assert_eq!(tree.nodes(), 1);
}
