//! One execution: a few threads that each do a few random operations.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use killick::{Anchor, Limits, Loaded, Tree};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use crate::history::{Content, Event, Id, NAMES, Operation, Recorder};

/// What happens in a scenario.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    /// The path to the node whose children are named: nothing for the root. A node that nobody holds
    /// comes with the first of them and goes with the last.
    pub(crate) above: &'static str,
    /// The most names.
    pub(crate) names: usize,
    /// Whether there are lists that take a handle to each child.
    pub(crate) listed: bool,
    /// The bits of a name's hash that are used.
    pub(crate) hash_bits: u32,
}

/// A few children of the root.
pub(crate) const ROOT: Scenario =
    Scenario { above: "", names: 3, listed: false, hash_bits: u32::MAX };
/// The same, listed.
pub(crate) const LISTED: Scenario = Scenario { listed: true, ..ROOT };
/// A few children of a node that comes and goes.
pub(crate) const TRANSIENT: Scenario = Scenario { above: "above", ..ROOT };
/// More children than the first form of a table holds: it grows, shrinks, and becomes empty.
pub(crate) const CROWD: Scenario = Scenario { names: NAMES.len(), listed: true, ..ROOT };
/// The same, where the table comes and goes.
pub(crate) const TRANSIENT_CROWD: Scenario = Scenario { names: NAMES.len(), ..TRANSIENT };
/// A crowd of at most two hashes.
pub(crate) const COLLIDING_CROWD: Scenario = Scenario { hash_bits: 1 << 31, ..CROWD };

/// Threads beside the one that prepares and cleans up.
const THREADS: usize = 4;

impl Scenario {
    fn path(&self, name: usize) -> String {
        format!("{}/{}", self.above, NAMES[name])
    }

    /// Whether the names are those of children of the root, which can be listed without keeping it.
    fn at_root(&self) -> bool {
        self.above.is_empty()
    }

    /// Whether a table grows and shrinks: many names come and go at once.
    fn crowded(&self) -> bool {
        self.names == NAMES.len()
    }
}

/// What one thread works with.
struct Worker {
    tree: Arc<Tree<u32>>,
    scenario: Scenario,
    /// How many of the names are used.
    names: usize,
    held: Vec<Anchor<u32>>,
    recorder: Recorder,
}

/// Runs a scenario, and gives its history.
pub(crate) fn run(scenario: Scenario) -> Vec<Operation> {
    killick::model::use_hash_bits(scenario.hash_bits);
    let tree = Arc::new(Tree::new(Limits::default()));
    let names = draw(1, scenario.names + 1);
    let recorder = Recorder::new();
    let mut main = Worker { tree: tree.clone(), scenario, names, held: Vec::new(), recorder };
    if draw(0, 3) == 0 {
        // A value that nobody but the tree holds.
        main.walk(draw(0, names));
        main.store(0, Some(0), true);
        main.drop(0);
    }
    let threads = (1..=THREADS).map(|thread| main.hire(thread)).collect::<Vec<_>>();
    let threads = threads.into_iter().map(|(mut worker, draws)| {
        thread::spawn(move || {
            draws.into_iter().for_each(|draw| worker.step(draw));
            worker
        })
    });
    let threads: Vec<_> = threads.collect();
    let mut workers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    main.look_at_everything();
    let mut history = main.recorder.operations;
    for worker in &mut workers {
        worker.held.clear();
        history.append(&mut worker.recorder.operations);
    }
    drop(workers);
    empty(&tree, scenario);
    history
}

/// A random number from `from` to below `to`.
pub(crate) fn draw(from: usize, to: usize) -> usize {
    thread_rng().gen_range(from..to)
}

/// Clears what the threads left, and sees that nothing else is there.
fn empty(tree: &Tree<u32>, scenario: Scenario) {
    for name in 0..NAMES.len() {
        if let Some(left) = tree.root().lookup(scenario.path(name)).unwrap() {
            left.clear();
        }
    }
    assert_eq!(tree.root().child_count(), 0, "nodes are left under the root");
    assert_eq!(tree.nodes(), 1, "nodes are counted that do not exist");
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|other| *other == name).expect("a name of the scenario")
}

fn content(loaded: Loaded<u32>) -> Content {
    (loaded.value.as_deref().copied(), loaded.revision)
}

/// What an anchor's equality compares. Freed memory is not used again in the same execution.
fn identity(anchor: &Anchor<u32>) -> Id {
    #[derive(Default)]
    struct Address(u64);
    impl Hasher for Address {
        fn write(&mut self, bytes: &[u8]) {
            bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
        }
        fn write_usize(&mut self, address: usize) {
            self.0 = address as u64;
        }
        fn finish(&self) -> u64 {
            self.0
        }
    }
    let mut address = Address::default();
    anchor.hash(&mut address);
    address.finish() as Id
}

impl Worker {
    /// A worker for another thread, some handles for it to start with, and the dice of its steps.
    fn hire(&mut self, thread: usize) -> (Worker, Vec<usize>) {
        for _ in 0..draw(0, if self.scenario.crowded() { 5 } else { 3 }) {
            self.walk(draw(0, self.names));
        }
        let worker = Worker {
            tree: self.tree.clone(),
            scenario: self.scenario,
            names: self.names,
            held: std::mem::take(&mut self.held),
            recorder: self.recorder.for_thread(thread),
        };
        let steps = draw(1, 5);
        (worker, (0..steps).map(|_| draw(0, 1 << 32)).collect())
    }

    /// One operation, or a few that belong together, chosen by `dice`.
    fn step(&mut self, dice: usize) {
        let name = (dice >> 8) % self.names;
        let kind = match dice % 16 {
            kind @ 7.. if self.held.is_empty() => kind % 7,
            kind => kind,
        };
        let at = (dice >> 16) % self.held.len().max(1);
        let value = ((dice >> 24) % 4 != 0).then(|| self.recorder.tick() as u32);
        match kind {
            0 if self.scenario.crowded() => {
                (name..name + 3).for_each(|name| self.walk(name % self.names));
            }
            0..=2 => self.walk(name),
            3 => {
                self.lookup(name);
                self.load_at(name); // no older than what the look-up saw
            }
            4 if self.scenario.at_root() => self.names(),
            5 if self.scenario.listed => self.ls(),
            4 | 5 => self.lookup(name),
            6 => self.load_at(name),
            7 => self.load(at),
            8 => self.store(at, value, dice >> 28 & 1 == 0),
            9 => self.swap(at, value),
            10 => self.compare_and_store(at, (dice >> 28) as u64 % 3, value),
            11 => self.clear(at),
            12 if self.scenario.crowded() => (0..self.held.len()).for_each(|_| self.drop(0)),
            _ => self.drop(at),
        }
    }

    /// What is there when all is over.
    fn look_at_everything(&mut self) {
        if self.scenario.at_root() {
            self.names();
        }
        (0..self.names).for_each(|name| self.load_at(name));
    }

    fn walk(&mut self, name: usize) {
        self.recorder.record(|| {
            let anchor = self.tree.root().walk(self.scenario.path(name)).unwrap();
            let got = identity(&anchor);
            self.held.push(anchor);
            Event::Walk { name, got }
        });
    }

    fn lookup(&mut self, name: usize) {
        self.recorder.record(|| {
            let found = self.tree.root().lookup(self.scenario.path(name)).unwrap();
            let got = found.as_ref().map(identity);
            self.held.extend(found);
            Event::Lookup { name, got }
        });
    }

    fn names(&mut self) {
        self.recorder
            .record(|| Event::Names { got: self.tree.root().names().iter().map(index).collect() });
    }

    fn ls(&mut self) {
        self.recorder.record(|| {
            let listed = self.tree.root().ls();
            let got = listed.iter().map(|child| (index(child.name()), identity(child))).collect();
            self.held.extend(listed);
            Event::Ls { got }
        });
    }

    fn load_at(&mut self, name: usize) {
        self.recorder.record(|| {
            let loaded = self.tree.root().load_at(self.scenario.path(name)).unwrap();
            Event::LoadAt { name, got: content(loaded) }
        });
    }

    fn load(&mut self, at: usize) {
        let anchor = &self.held[at];
        self.recorder
            .record(|| Event::Load { node: identity(anchor), got: content(anchor.load()) });
    }

    fn store(&mut self, at: usize, value: Option<u32>, overwrite: bool) {
        let anchor = &self.held[at];
        self.recorder.record(|| {
            let got = anchor.store(value, overwrite).map_err(|refused| refused.revision);
            Event::Store { node: identity(anchor), value, overwrite, got }
        });
    }

    fn swap(&mut self, at: usize, value: Option<u32>) {
        let anchor = &self.held[at];
        self.recorder.record(|| {
            let got = content(anchor.swap(value).expect("the tree is open"));
            Event::Swap { node: identity(anchor), value, got }
        });
    }

    fn compare_and_store(&mut self, at: usize, expected: u64, value: Option<u32>) {
        let anchor = &self.held[at];
        self.recorder.record(|| {
            let got = anchor.compare_and_store(expected, value);
            let got = got.map_err(|refused| refused.revision);
            Event::CompareAndStore { node: identity(anchor), expected, value, got }
        });
    }

    fn clear(&mut self, at: usize) {
        let anchor = &self.held[at];
        self.recorder
            .record(|| Event::Clear { node: identity(anchor), got: content(anchor.clear()) });
    }

    fn drop(&mut self, at: usize) {
        let anchor = self.held.swap_remove(at);
        self.recorder.record(|| {
            let node = identity(&anchor);
            drop(anchor);
            Event::Drop { node }
        });
    }
}
