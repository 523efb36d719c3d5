//! A watcher that begins to look, and a change.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};

use killick::model::{check, tells_of_children};

use crate::{assert_empty, spawn, tree, walk};

#[test]
fn store_is_seen_by_the_first_look_or_told() {
    check("store_is_seen_by_the_first_look_or_told", Some(3), || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || theirs.store(1, true).unwrap());
        let mut watch = mine.watch();
        let first = watch.try_next().expect("the present state").revision;
        other.join().unwrap();
        let second =
            watch.try_next().map(|loaded| (loaded.value.as_deref().copied(), loaded.revision));
        match first {
            0 => assert_eq!(second, Some((Some(1), 1))),
            _ => assert_eq!(second, None),
        }
        drop(watch);
        mine.clear();
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn watcher_that_goes_leaves_the_other_told() {
    check("watcher_that_goes_leaves_the_other_told", Some(2), || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        drop(mine.watch());
        // The store finds nobody and takes the mark away, as the watcher sets it again.
        let other = spawn(move || theirs.store(1, true).unwrap());
        let mut watch = mine.watch();
        let first = watch.try_next().expect("the present state").revision;
        other.join().unwrap();
        assert_eq!(watch.try_next().is_some(), first == 0);
        mine.store(2, true).unwrap();
        assert_eq!(watch.try_next().expect("told").revision, 2);
        drop(watch);
        mine.clear();
        drop(mine);
        assert_empty(&tree);
    });
}

#[test]
fn child_is_seen_by_the_first_look_or_told() {
    check("child_is_seen_by_the_first_look_or_told", Some(2), || {
        let tree = tree();
        let other = spawn({
            let tree = tree.clone();
            move || walk(&tree, "a")
        });
        let mut watch = tree.root().watch_children();
        let first = watch.try_next().expect("the present state").added.len();
        let held = other.join().unwrap();
        assert_eq!(first + watch.try_next().map_or(0, |change| change.added.len()), 1);
        drop(held);
        assert_eq!(watch.try_next().expect("told").removed, ["a"]);
        drop(watch);
        assert_empty(&tree);
    });
}

#[test]
fn child_in_a_table_is_seen_by_the_first_look_or_told() {
    check("child_in_a_table_is_seen_by_the_first_look_or_told", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        drop(b); // a table, with a slot for b
        let other = spawn({
            let tree = tree.clone();
            move || walk(&tree, "b")
        });
        let mut watch = tree.root().watch_children();
        let first = watch.try_next().expect("the present state").added.len();
        let b = other.join().unwrap();
        assert_eq!(first + watch.try_next().map_or(0, |change| change.added.len()), 2);
        drop((a, b, watch));
        assert_empty(&tree);
    });
}

#[test]
fn filled_child_is_seen_by_the_first_look_or_told() {
    check("filled_child_is_seen_by_the_first_look_or_told", Some(2), || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || theirs.store(1, true).unwrap());
        let mut watch = tree.root().watch_children();
        let first = watch.try_next().expect("the present state").added;
        other.join().unwrap();
        let filled = watch.try_next().map_or(0, |change| change.filled.len());
        assert_eq!(usize::from(first[0].1) + filled, 1);
        mine.clear();
        drop((mine, watch));
        assert_empty(&tree);
    });
}

#[test]
fn filled_child_with_an_old_mark_is_seen_by_the_first_look_or_told() {
    check("filled_child_with_an_old_mark_is_seen_by_the_first_look_or_told", Some(2), || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let mut gone = tree.root().watch_children();
        gone.try_next().expect("the present state");
        drop(gone);
        // The store finds nobody and takes the cell's mark away, as the next watcher relies on it.
        let other = spawn(move || theirs.store(1, true).unwrap());
        let mut watch = tree.root().watch_children();
        let mut filled = watch.try_next().expect("the present state").added[0].1;
        other.join().unwrap();
        filled |= watch.try_next().is_some_and(|change| change.filled == ["a"]);
        assert!(filled, "a child that was filled is shown empty");
        mine.clear();
        assert_eq!(watch.try_next().expect("told").emptied, ["a"]);
        drop((mine, watch));
        assert_empty(&tree);
    });
}

#[test]
fn children_watcher_that_goes_leaves_the_other_told() {
    check("children_watcher_that_goes_leaves_the_other_told", Some(2), || {
        let tree = tree();
        let gone = tree.root().watch_children();
        let other = spawn(move || drop(gone));
        let mut watch = tree.root().watch_children();
        assert!(watch.try_next().expect("the present state").is_empty());
        let held = walk(&tree, "a");
        other.join().unwrap();
        assert_eq!(watch.try_next().expect("told").added, [("a".to_string(), false)]);
        drop(held);
        assert_eq!(watch.try_next().expect("told").removed, ["a"]);
        drop(watch);
        assert_empty(&tree);
    });
}

#[test]
fn two_watchers_are_both_told_of_one_store() {
    check("two_watchers_are_both_told_of_one_store", Some(2), || {
        let tree = tree();
        let (mine, theirs, writer) = (walk(&tree, "a"), walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || {
            let mut watch = theirs.watch();
            watch.try_next().expect("the present state");
            watch
        });
        let third = spawn(move || writer.store(1, true).unwrap());
        let mut watch = mine.watch();
        let mut shown = watch.try_next().expect("the present state").revision;
        third.join().unwrap();
        let mut theirs = other.join().unwrap();
        shown = watch.try_next().map_or(shown, |state| state.revision);
        assert_eq!(shown, 1);
        assert!(theirs.try_next().is_none_or(|state| state.revision == 1));
        mine.clear();
        assert_eq!(watch.try_next().expect("told").revision, 2);
        assert_eq!(theirs.try_next().expect("told").revision, 2);
        drop((watch, theirs, mine));
        assert_empty(&tree);
    });
}

#[test]
fn children_of_a_growing_table_are_seen_by_the_first_look_or_told() {
    check("children_of_a_growing_table_are_seen_by_the_first_look_or_told", Some(2), || {
        let tree = tree();
        let held = ["a", "b", "c"].map(|name| walk(&tree, name));
        // The fourth makes a branch of the full table, as the watcher marks it.
        let other = spawn({
            let tree = tree.clone();
            move || walk(&tree, "d")
        });
        let mut watch = tree.root().watch_children();
        let first = watch.try_next().expect("the present state").added.len();
        let d = other.join().unwrap();
        assert_eq!(first + watch.try_next().map_or(0, |change| change.added.len()), 4);
        drop(d);
        assert_eq!(watch.try_next().expect("told").removed, ["d"]);
        drop((held, watch));
        assert_empty(&tree);
    });
}

#[test]
fn second_watcher_of_a_table_sees_a_child_or_is_told() {
    check("second_watcher_of_a_table_sees_a_child_or_is_told", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        drop(b); // a table, with a slot for b
        let first_watch = tree.root().watch_children(); // the word is marked, and stays as it is
        let other = spawn({
            let tree = tree.clone();
            move || walk(&tree, "b")
        });
        let mut watch = tree.root().watch_children();
        let first = watch.try_next().expect("the present state").added.len();
        let b = other.join().unwrap();
        assert_eq!(first + watch.try_next().map_or(0, |change| change.added.len()), 2);
        drop((a, b, watch, first_watch));
        assert_empty(&tree);
    });
}

#[test]
fn last_two_watchers_of_children_leave_no_mark() {
    check("last_two_watchers_of_children_leave_no_mark", Some(2), || {
        let tree = tree();
        let elsewhere = walk(&tree, "x");
        // So many others that the list is not cleared of those that go.
        let others: Vec<_> = (0..20).map(|_| elsewhere.watch()).collect();
        let (mine, theirs) = (tree.root().watch_children(), tree.root().watch_children());
        let other = spawn(move || drop(theirs));
        drop(mine);
        other.join().unwrap();
        assert!(!tells_of_children(&tree.root()), "nobody watches");
        drop((others, elsewhere));
        assert_empty(&tree);
    });
}

#[test]
fn last_child_of_a_table_and_its_watcher_leave_nothing() {
    check("last_child_of_a_table_and_its_watcher_leave_nothing", Some(2), || {
        let tree = tree();
        let (a, b) = (walk(&tree, "a"), walk(&tree, "b"));
        let watch = tree.root().watch_children();
        drop(b); // it stays a table
        // Takes the mark away, but not the table, as the last child is about to.
        let other = spawn(move || drop(watch));
        drop(a);
        other.join().unwrap();
        assert_empty(&tree);
    });
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn waiter_gets_the_value_at_once_or_is_woken() {
    check("waiter_gets_the_value_at_once_or_is_woken", Some(3), || {
        let tree = tree();
        let (mine, theirs) = (walk(&tree, "a"), walk(&tree, "a"));
        let other = spawn(move || theirs.store(1, true).unwrap());
        {
            let woken = Arc::new(Woken::default());
            let waker = woken.clone().into();
            let mut context = Context::from_waker(&waker);
            let mut wait = pin!(mine.wait());
            let first = wait.as_mut().poll(&mut context);
            other.join().unwrap();
            let value = match first {
                Poll::Ready(value) => value,
                Poll::Pending => {
                    assert!(woken.0.load(Ordering::SeqCst), "asleep beside a value");
                    match wait.poll(&mut context) {
                        Poll::Ready(value) => value,
                        Poll::Pending => panic!("woken for nothing"),
                    }
                }
            };
            assert_eq!(value.as_deref(), Some(&1));
        }
        mine.clear();
        drop(mine);
        assert_empty(&tree);
    });
}
