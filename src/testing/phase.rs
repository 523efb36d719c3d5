//! Several threads at once on one tree, each with a program of operations.
//!
//! Below nodes of their own they do not meet, but in the table of their nodes' parent, which each
//! joins and leaves: so each has the results of the sequential model. On the same paths results
//! depend on who is first, and what every order has in common is tested ([`Racer`]).
//!
//! After a phase the tree is as it was before.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;

use super::racer::{Racer, SHARED};
use super::tracked::{Ledger, Tracked};
use super::{Op, World};
use crate::{Anchor, Tree};

type SharedTree = Arc<Tree<Tracked>>;

/// Runs `programs`. The tree has nothing at the paths that phases use.
pub(super) fn run(kind: u8, programs: &[Vec<Op>], tree: &SharedTree, ledger: &Ledger) {
    if tree.root().lookup(SHARED).is_err() {
        return; // the limits refuse such long names
    }
    match kind % 2 {
        0 => disjoint(programs, tree, ledger),
        _ => overlapping(programs, tree, ledger, kind & 4 != 0),
    }
}

/// Runs `body` on one thread for each program, all started together.
fn on_threads<T: Send + 'static>(
    programs: &[Vec<Op>],
    body: impl Fn(usize, Vec<Op>) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let (body, start) = (Arc::new(body), Arc::new(Barrier::new(programs.len())));
    let threads = programs.iter().cloned().enumerate().map(|(number, program)| {
        let (body, start) = (body.clone(), start.clone());
        thread::spawn(move || {
            start.wait();
            body(number, program)
        })
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().map(|thread| thread.join().expect("a thread failed")).collect()
}

fn disjoint(programs: &[Vec<Op>], tree: &SharedTree, ledger: &Ledger) {
    let limits = tree.limits();
    if limits.nodes < usize::MAX {
        return; // threads that share a limit do meet
    }
    let (tree, ledger) = (tree.clone(), ledger.clone());
    on_threads(programs, move |number, program| {
        // A limit may refuse it. No path of an input is long enough to name it.
        let Ok(root) = tree.root().walk(format!("of-its-own-for-the-thread-number-{number}"))
        else {
            return;
        };
        let mut world = World::below(root, tree.clone(), ledger.clone());
        program.iter().for_each(|op| world.apply(op));
        world.empty();
    });
}

fn overlapping(programs: &[Vec<Op>], tree: &SharedTree, ledger: &Ledger, held: bool) {
    let root = tree.root();
    let mut kept: BTreeMap<String, Anchor<Tracked>> = BTreeMap::new();
    for below in ["", "/a", "/a/b"].iter().filter(|_| held) {
        let path = format!("{SHARED}{below}");
        kept.extend(root.walk(&path).ok().map(|anchor| (path, anchor)));
    }
    let mut racers = {
        let (root, ledger) = (root.clone(), ledger.clone());
        on_threads(programs, move |number, program| {
            let mut racer = Racer::new(number as u64, root.clone(), ledger.clone());
            program.iter().for_each(|op| racer.apply(op));
            racer
        })
    };
    for (path, anchor) in &kept {
        // Each change counts once.
        let mut changes: Vec<_> = racers.iter().flat_map(|racer| racer.changes_at(path)).collect();
        changes.sort_unstable();
        assert!((1..=anchor.load().revision).eq(changes), "changes of {path} are lost");
    }
    racers.iter_mut().for_each(Racer::settle);
    compare_held(&root, &racers, &kept);
    drop(racers);
    drop(kept);
    empty(&root);
}

/// One path, one node; every node that is held is at its path, and has its children counted.
fn compare_held(
    root: &Anchor<Tracked>,
    racers: &[Racer],
    kept: &BTreeMap<String, Anchor<Tracked>>,
) {
    let held = racers.iter().flat_map(Racer::held);
    let held = held.chain(kept.iter().map(|(path, anchor)| (path.as_str(), anchor)));
    for (path, anchor) in held {
        assert_eq!(root.lookup(path).as_ref(), Ok(&Some(anchor.clone())), "{path} is another node");
        assert_eq!(anchor.child_count(), anchor.names().len(), "children of {path}");
    }
}

/// Clears what is left at the shared path, with which it goes.
fn empty(root: &Anchor<Tracked>) {
    let mut left: Vec<_> = root.lookup(SHARED).expect("a path").into_iter().collect();
    while let Some(anchor) = left.pop() {
        anchor.clear();
        left.extend(anchor.ls());
    }
    assert_eq!(root.lookup(SHARED), Ok(None), "a node outlives its values and handles");
}
