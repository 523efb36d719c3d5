//! A watcher, and the end of its tree.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use killick::model::check;
use killick::{Watch, WatchChildren};

use crate::{spawn, tree, walk};

/// The states that a watcher of a closed tree has not seen yet, up to the end.
fn rest(watch: &mut Watch<u32>) -> Vec<Option<u32>> {
    let mut rest = Vec::new();
    loop {
        match watch.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(state)) => rest.push(state.value.as_deref().copied()),
            Poll::Ready(None) => return rest,
            Poll::Pending => panic!("the watcher of a closed tree waits"),
        }
    }
}

#[test]
fn watch_of_a_closing_tree_shows_the_cell_empty_and_ends() {
    check("watch_of_a_closing_tree_shows_the_cell_empty_and_ends", Some(2), || {
        let tree = tree();
        let mine = walk(&tree, "a");
        mine.store(1, true).unwrap();
        let mut watch = mine.watch();
        let other = spawn(move || drop(tree));
        let mut shown: Vec<_> =
            watch.try_next().into_iter().map(|state| state.value.as_deref().copied()).collect();
        shown.extend(watch.try_next().map(|state| state.value.as_deref().copied()));
        other.join().unwrap();
        shown.extend(rest(&mut watch));
        assert!(matches!(shown[..], [Some(1), None] | [None]), "{shown:?}");
    });
}

#[test]
fn watch_that_begins_in_a_closing_tree_ends() {
    check("watch_that_begins_in_a_closing_tree_ends", Some(2), || {
        let tree = tree();
        let mine = walk(&tree, "a");
        mine.store(1, true).unwrap();
        let other = spawn(move || drop(tree));
        let mut watch = mine.watch();
        let first = watch.try_next().expect("the present state");
        other.join().unwrap();
        let rest = rest(&mut watch);
        match first.value {
            Some(_) => assert_eq!(rest, [None]),
            None => assert!(rest.is_empty(), "{rest:?}"),
        }
    });
}

#[test]
fn children_watch_that_begins_in_a_closing_tree_ends() {
    check("children_watch_that_begins_in_a_closing_tree_ends", Some(2), || {
        let tree = tree();
        let (root, held) = (tree.root(), walk(&tree, "a"));
        held.store(1, true).unwrap();
        let other = spawn(move || drop(tree));
        let mut watch = root.watch_children();
        let filled = watch.try_next().expect("the present state").added[0].1;
        other.join().unwrap();
        assert_empty_in_the_end(&mut watch, filled);
    });
}

/// What is shown of the only child, which was shown `filled` or not, up to the end.
fn assert_empty_in_the_end(watch: &mut WatchChildren<u32>, mut filled: bool) {
    loop {
        match watch.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(change)) => {
                assert_eq!((filled, change.emptied.len()), (true, 1));
                filled = false;
            }
            Poll::Ready(None) => break,
            Poll::Pending => panic!("the watcher of a closed tree waits"),
        }
    }
    assert!(!filled, "the end came before the child was shown empty");
}

#[test]
fn wait_in_a_closing_tree_gives_the_value_or_nothing() {
    check("wait_in_a_closing_tree_gives_the_value_or_nothing", Some(2), || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || {
            let stored = theirs.store(1, true).is_ok();
            drop(tree);
            stored
        });
        let mut wait = pin!(mine.wait());
        let mut context = Context::from_waker(Waker::noop());
        let first = wait.as_mut().poll(&mut context);
        assert!(other.join().unwrap());
        let end = match first {
            Poll::Pending => wait.as_mut().poll(&mut context),
            ready => ready,
        };
        match end {
            Poll::Ready(value) => assert!(value.is_none_or(|value| *value == 1)),
            Poll::Pending => panic!("the waiter in a closed tree waits"),
        }
    });
}

#[test]
fn children_watch_of_a_closing_tree_shows_them_empty_and_ends() {
    check("children_watch_of_a_closing_tree_shows_them_empty_and_ends", Some(2), || {
        let tree = tree();
        let (root, held) = (tree.root(), walk(&tree, "a"));
        held.store(1, true).unwrap();
        let mut watch = root.watch_children();
        let other = spawn(move || drop(tree));
        let filled = watch.try_next().expect("the present state").added[0].1;
        other.join().unwrap();
        assert_empty_in_the_end(&mut watch, filled);
    });
}

#[test]
fn watch_that_has_ended_misses_no_value() {
    check("watch_that_has_ended_misses_no_value", Some(2), || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let mut watch = mine.watch();
        let closer = spawn(move || drop(tree));
        let storer = spawn(move || {
            let _either = theirs.store(1, true);
        });
        let mut context = Context::from_waker(Waker::noop());
        if (0..3).any(|_| matches!(watch.poll(&mut context), Poll::Ready(None))) {
            assert!(mine.load().value.is_none(), "a value after the end");
        }
        closer.join().unwrap();
        storer.join().unwrap();
        assert_eq!(rest(&mut watch).last().unwrap_or(&None), &None);
    });
}
