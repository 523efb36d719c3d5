//! Threads on shared trees: what must hold at every moment, and at the end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;

use super::sizes;
use crate::testing::{Ledger, Observer, Tracked, settle};
use crate::{Anchor, Limits, StoreAtError, StoreErrorKind, Tree, WalkError, reclaim};

/// SplitMix64: the same choices for the same seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// Runs `body` on so many threads at once, each with its number and its own choices.
fn on_threads<T: Send + 'static>(
    threads: usize,
    seed: u64,
    body: impl Fn(usize, Rng) -> T + Send + Sync + 'static,
) -> Vec<T> {
    // What the process makes once is made here, not by whichever thread is first: ThreadSanitizer
    // does not see how the standard library orders that.
    reclaim();
    let body = Arc::new(body);
    let start = Arc::new(Barrier::new(threads));
    let running: Vec<_> = (0..threads)
        .map(|thread| {
            let (body, start) = (body.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                body(thread, Rng(seed << 8 | thread as u64))
            })
        })
        .collect();
    let joined = running.into_iter().map(|thread| thread.join());
    joined.map(|done| done.expect("a thread found a promise broken")).collect()
}

/// What all threads of one run share.
struct Shared {
    tree: Tree<Tracked>,
    ledger: Ledger,
    paths: Vec<String>,
    /// Where threads leave anchors for each other, each at its own path. A tree and not a lock, whose
    /// orderings ThreadSanitizer does not see.
    exchange: Tree<Tracked>,
    increments: AtomicUsize,
}

impl Shared {
    /// A few deep paths with common prefixes, and `width` siblings.
    fn new(width: usize) -> Arc<Self> {
        let mut paths: Vec<String> = Vec::new();
        for a in ["a", "b"] {
            paths.push(a.to_string());
            for b in ["a", "b"] {
                paths.push(format!("{a}/{b}"));
                paths.push(format!("{a}/{b}/c"));
            }
        }
        paths.extend((0..width).map(|i| format!("w/{i}")));
        Arc::new(Shared {
            tree: Tree::new(Limits::default()),
            ledger: Ledger::default(),
            exchange: Tree::new(Limits::default()),
            paths,
            increments: AtomicUsize::new(0),
        })
    }

    /// After the last thread: nothing is left but the root, and nothing leaked.
    fn finish(self: Arc<Self>) {
        let Ok(shared) = Arc::try_unwrap(self) else { panic!("a thread still runs") };
        let Shared { tree, ledger, paths, exchange, increments } = shared;
        drop(exchange);
        let root = tree.root();
        assert_eq!(root.load().revision, increments.into_inner() as u64, "increments were lost");
        for path in paths.iter().map(String::as_str).chain([""]) {
            root.store_at(path, None, true).unwrap();
        }
        // Values may hold anchors, so the nodes go when the values do.
        assert!(settle(|| ledger.live() == 0), "{} values leaked", ledger.live());
        assert_eq!((tree.nodes(), root.names().len()), (1, 0), "nodes are left");
        drop((root, tree));
    }
}

/// One thread's view: what it holds, and what it knows to be stored.
struct Worker {
    shared: Arc<Shared>,
    root: Anchor<Tracked>,
    rng: Rng,
    thread: usize,
    held: Vec<(usize, Anchor<Tracked>)>,
    /// For each path, the value in this thread's own child there.
    mine: Vec<Option<u64>>,
}

impl Worker {
    fn run(shared: &Arc<Shared>, thread: usize, rng: Rng) {
        let root = shared.tree.root();
        let mine = vec![None; shared.paths.len()];
        let mut worker =
            Worker { shared: shared.clone(), root, rng, thread, held: Vec::new(), mine };
        for _ in 0..sizes().stress_ops {
            worker.step();
        }
        for path in 0..worker.mine.len() {
            worker.mine[path] = None;
            worker.root.store_at(worker.own(path), None, true).unwrap();
        }
    }

    /// The path of this thread's own child of a shared node.
    fn own(&self, path: usize) -> String {
        format!("{}/own-{}", self.shared.paths[path], self.thread)
    }

    fn step(&mut self) {
        let path = self.rng.below(self.shared.paths.len());
        match self.rng.below(16) {
            0..5 => self.walk(path),
            5..8 => self.let_go(),
            8 => self.list(path),
            9 => self.exchange(path),
            10 | 11 => self.store_own(path),
            12 => self.load_own(path),
            13 => self.store_shared(path),
            14 => self.load_shared(path),
            _ => self.increment(),
        }
    }

    /// Whoever holds a node finds it at its path.
    fn same_as_held(&self, path: usize, anchor: &Anchor<Tracked>) {
        for (other, held) in &self.held {
            assert_eq!(*other == path, held == anchor, "{} twice", self.shared.paths[path]);
        }
    }

    fn walk(&mut self, path: usize) {
        let text = &self.shared.paths[path];
        let anchor = match text.split_once('/') {
            Some((first, rest)) if self.rng.one_in(2) => {
                self.root.walk(first).unwrap().walk(rest).unwrap()
            }
            _ if self.rng.one_in(4) => match self.root.lookup(text).unwrap() {
                Some(found) => found,
                None => return,
            },
            _ => self.root.walk(text).unwrap(),
        };
        self.same_as_held(path, &anchor);
        if self.held.len() < 6 {
            self.held.push((path, anchor));
        }
    }

    fn let_go(&mut self) {
        if !self.held.is_empty() {
            let (_, anchor) = self.held.swap_remove(self.rng.below(self.held.len()));
            if self.rng.one_in(4) {
                let (loader, storer) = anchor.cell();
                drop(anchor);
                drop(loader.clone());
                drop((storer, loader));
            }
        }
    }

    /// A listing is sorted, has no name twice, and its anchors are those that walks find.
    fn list(&mut self, path: usize) {
        let text = self.shared.paths[path].as_str();
        let parent = text.rsplit_once('/').map_or("", |(parent, _)| parent);
        let at = self.root.walk(parent).unwrap();
        let names = at.names();
        assert!(names.iter().is_sorted_by(|a, b| a < b), "{:?}", names.iter().collect::<Vec<_>>());
        let listed = at.ls();
        assert!(listed.is_sorted_by(|a, b| a.name() < b.name()), "{listed:?}");
        for child in &listed {
            assert_eq!(at.walk(child.name()).unwrap(), *child);
        }
        // What this thread holds is there, so every snapshot shows it.
        for (held, anchor) in &self.held {
            let text = self.shared.paths[*held].as_str();
            if text.rsplit_once('/').map_or("", |(parent, _)| parent) == parent {
                assert!(listed.contains(anchor), "ls of {parent:?} lacks {text}");
                assert!(names.iter().any(|name| name == anchor.name()), "names lack {text}");
            }
        }
    }

    /// An anchor that another thread left is the one that this thread finds.
    fn exchange(&mut self, path: usize) {
        let text = &self.shared.paths[path];
        let place = self.shared.exchange.root();
        let left = place.load_at(text).unwrap();
        let walked = self.root.walk(text).unwrap();
        if let Some(left) = &left.value {
            assert_eq!(left.anchor(), Some(&walked), "{text} is two nodes");
        }
        let leave = self.rng.one_in(2);
        let value = leave.then(|| self.shared.ledger.value_holding(1, Some(walked)));
        place.store_at(text, value, true).unwrap();
    }

    fn store_own(&mut self, path: usize) {
        let own = self.own(path);
        if self.rng.one_in(3) {
            self.root.store_at(own, None, true).unwrap();
            self.mine[path] = None;
        } else {
            let id = self.shared.ledger.made() << 3 | self.thread as u64;
            let stored = self.root.store_at(own, self.shared.ledger.value(id), false);
            assert_eq!(stored.is_ok(), self.mine[path].is_none());
            self.mine[path].get_or_insert(id);
        }
    }

    /// What a thread stored where no other one does survives all handles.
    fn load_own(&mut self, path: usize) {
        let loaded = self.root.load_at(self.own(path)).unwrap();
        assert_eq!(loaded.value.map(|value| value.id()), self.mine[path], "{}", self.own(path));
    }

    fn store_shared(&mut self, path: usize) {
        let text = &self.shared.paths[path];
        let anchor = self.rng.one_in(4).then(|| {
            let to = self.rng.below(self.shared.paths.len());
            self.root.walk(&self.shared.paths[to]).unwrap()
        });
        let value = (!self.rng.one_in(3)).then(|| self.shared.ledger.value_holding(1, anchor));
        match self.root.store_at(text, value, self.rng.one_in(2)) {
            Ok(_) => {}
            Err(StoreAtError::Store(error)) => {
                assert_eq!(error.kind, StoreErrorKind::Occupied, "{text}");
                assert!(error.revision > 0, "{text} is full and fresh");
            }
            Err(error) => panic!("{text}: {error}"),
        }
    }

    fn load_shared(&mut self, path: usize) {
        let text = &self.shared.paths[path];
        let loaded = self.root.load_at(text).unwrap();
        assert!(loaded.value.is_none_or(|value| value.id() == 1), "{text}");
        let seen = self.root.load_at_with(text, |value, _| value.is_none_or(|v| v.id() == 1));
        assert!(seen.unwrap(), "{text}");
        if let Some((_, anchor)) = self.held.first() {
            assert!(anchor.load().value.is_none_or(|value| value.id() == 1));
        }
    }

    /// Counts in the root's cell, which no other operation writes.
    fn increment(&mut self) {
        loop {
            let loaded = self.root.load();
            let value = self.shared.ledger.value(loaded.revision);
            match self.root.compare_and_store(loaded.revision, value) {
                Ok(revision) => {
                    assert_eq!(revision, loaded.revision + 1);
                    self.shared.increments.fetch_add(1, SeqCst);
                    return;
                }
                Err(error) => {
                    assert_eq!(error.kind, StoreErrorKind::Conflict);
                    assert!(error.revision > loaded.revision, "refused at the same revision");
                }
            }
        }
    }
}

#[test]
fn threads_on_a_narrow_tree_see_one_node_for_one_path() {
    for threads in [2, 4] {
        let shared = Shared::new(0);
        let workers = shared.clone();
        on_threads(threads, 1, move |thread, rng| Worker::run(&workers, thread, rng));
        shared.finish();
    }
}

#[test]
fn threads_on_a_crowded_node_see_one_node_for_one_path() {
    for (threads, width) in [(2, 20), (4, 3), (3, 200)] {
        let shared = Shared::new(width);
        let workers = shared.clone();
        on_threads(threads, 2, move |thread, rng| Worker::run(&workers, thread, rng));
        shared.finish();
    }
}

#[test]
fn threads_that_walk_and_release_one_path_leave_nothing() {
    let (tree, root) = super::tree();
    on_threads(4, 3, move |thread, mut rng| {
        for _ in 0..sizes().stress_ops {
            let anchor = root.walk(["x", "x/y", "x/y/z"][rng.below(3)]).unwrap();
            let copy = if thread == 0 { anchor.clone() } else { root.walk("x/y").unwrap() };
            assert!(["x", "y", "z"].contains(&anchor.name()));
            drop(anchor);
            assert!(!copy.name().is_empty());
        }
    });
    assert_eq!((tree.nodes(), tree.root().child_count()), (1, 0));
}

/// Counts a thread that is done, also when it panics.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_listing_never_misses_both_of_two_children_that_take_turns() {
    for width in [0, 1, 30] {
        let (tree, root) = super::tree();
        let beside: Vec<_> = (0..width).map(|i| root.walk(format!("by-{i}")).unwrap()).collect();
        let (ready, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        on_threads(3, 5, move |thread, _| {
            if thread == 0 {
                // One does not go before the other is there.
                let mut held = root.walk("a").unwrap();
                ready.store(true, SeqCst);
                while done.load(SeqCst) < 2 {
                    let other = if held.name() == "a" { "b" } else { "a" };
                    held = root.walk(other).unwrap();
                }
                return;
            }
            let _done = Done(&done);
            while !ready.load(SeqCst) {
                thread::yield_now();
            }
            for _ in 0..sizes().stress_ops {
                let listed = root.ls().iter().filter(|child| child.name().len() == 1).count();
                let named = root.names().iter().filter(|name| name.len() == 1).count();
                assert!((1..=2).contains(&listed), "{listed} of a and b in a listing");
                assert!((1..=2).contains(&named), "{named} of a and b among the names");
            }
        });
        assert_eq!(tree.nodes(), 1 + width);
        drop(beside);
    }
}

#[test]
fn limits_hold_under_contention_and_give_back_what_they_took() {
    const NODES: usize = 12;
    let tree = Tree::<()>::new(Limits { nodes: NODES, children: 5, ..Limits::default() });
    let root = tree.root();
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    on_threads(4, 4, move |thread, mut rng| {
        let mut held = Vec::new();
        for i in 0..sizes().stress_ops {
            // Names are never shared, so that each success is a node of its own.
            match root.walk(format!("{thread}-{}", i % 64)) {
                Ok(anchor) if held.contains(&anchor) => {}
                Ok(anchor) => {
                    assert!(count.fetch_add(1, SeqCst) < 5, "more children than the limit");
                    held.push(anchor);
                }
                Err(WalkError::TooManyChildren { limit, depth }) => {
                    assert_eq!((limit, depth), (5, 0));
                }
                Err(WalkError::TooManyNodes { limit }) => assert_eq!(limit, NODES),
                Err(error) => panic!("{error}"),
            }
            drop(root.walk(format!("{thread}-0/{}/{i}", i % 3)));
            if !held.is_empty() && rng.one_in(2) {
                count.fetch_sub(1, SeqCst);
                held.swap_remove(rng.below(held.len()));
            }
        }
        count.fetch_sub(held.len(), SeqCst);
    });
    assert_eq!((tree.nodes(), made.load(SeqCst)), (1, 0));
    let all = tree.root().walk("x/".repeat(NODES - 1));
    assert!(all.is_ok(), "the whole tree can be used again: {all:?}");
}

#[test]
fn nodes_are_counted_by_threads_that_come_and_go() {
    // More than there are words with an owner, and each thread after the first few has another's.
    const THREADS: usize = 24;
    let tree = Tree::<u64>::new(Limits::default());
    for generation in 0..8 {
        let root = tree.root();
        let held = on_threads(THREADS, generation, move |thread, mut rng| {
            let mut held = Vec::new();
            for i in 0..sizes().stress_ops / 50 {
                held.push(root.walk(format!("{thread}/{i}")).unwrap());
                if rng.one_in(2) {
                    held.swap_remove(rng.below(held.len()));
                }
            }
            held
        });
        let named: usize = tree.root().ls().iter().map(|child| 1 + child.names().len()).sum();
        assert_eq!(tree.nodes(), 1 + named);
        thread::spawn(move || drop(held)).join().unwrap();
        assert_eq!(tree.nodes(), 1);
    }
}

/// Watchers that come, look and go beside those who change what they watch. What is left of them.
fn watch_and_change(root: &Anchor<u64>, names: usize, rng: &mut Rng) -> Vec<Observer<u64>> {
    let (mut observers, mut held) = (Vec::<Observer<u64>>::new(), Vec::new());
    for value in 0..sizes().stress_ops {
        let name = rng.below(names).to_string();
        match rng.below(8) {
            0 if observers.len() < 3 => {
                let watched = if rng.one_in(2) { root.clone() } else { root.walk(name).unwrap() };
                observers.push(Observer::new(watched, rng.one_in(2)));
            }
            0 => drop(observers.swap_remove(rng.below(3))),
            1 | 2 => {
                let which = rng.below(3);
                if let Some(observer) = observers.get_mut(which) {
                    assert_ne!(observer.look(), Poll::Ready(None), "an end that nothing brought");
                }
            }
            3 => {
                root.store_at(name, value, true).unwrap();
            }
            4 => {
                root.store_at(name, None, true).unwrap();
            }
            5 => drop(root.swap(rng.one_in(2).then_some(value)).unwrap()),
            6 if held.len() < 4 => held.push(root.walk(name).unwrap()),
            _ => held.truncate(held.len().saturating_sub(1)),
        }
    }
    observers
}

#[test]
fn watchers_see_the_last_change_whoever_comes_and_goes() {
    // One child; a table; several tables, with the small ones of checking builds.
    for names in [1, 5, 40] {
        let tree = Tree::<u64>::new(Limits::default());
        let root = tree.root();
        let left = on_threads(3, 6, move |_, mut rng| watch_and_change(&root, names, &mut rng));
        let mut left: Vec<_> = left.into_iter().flatten().collect();
        for observer in &mut left {
            let present = observer.present();
            assert_eq!(*observer.settle(), present, "a watcher missed the last change");
        }
        // Marks that nobody needs any more are not in the way of the next ones.
        drop(left);
        let mut late = Observer::new(tree.root(), true);
        late.settle();
        let held = tree.root().walk("late").unwrap();
        held.store(1, true).unwrap();
        let present = late.present();
        assert_eq!(*late.settle(), present);
        drop(tree);
        late.end();
    }
}
