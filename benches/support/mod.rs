//! What the benches share: one trait over killick and over the other trees, so that every
//! workload and every check says the same thing to each of them.

use std::ops::Deref;
use std::sync::Arc;

pub(crate) mod args;
pub(crate) mod baselines;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod fixtures;
pub(crate) mod harness;
pub(crate) mod model;
pub(crate) mod report;
pub(crate) mod shapes;
pub(crate) mod threads;
pub(crate) mod workload;

use baselines::dashmap_path::DashMapPath;
use baselines::global_mutex::GlobalMutex;
use baselines::global_rwlock::GlobalRwLock;
use baselines::papaya_map::PapayaMap;
use baselines::per_node_map::PerNodeMap;
use baselines::per_node_mutex::PerNodeMutex;
use baselines::scc_map::SccMap;

/// A tree of named, counted registers of `u64`.
///
/// The contract is killick's: a node exists while a handle refers to it, it has children, or its
/// cell holds a value; when none does it vanishes, and its parent is tested next. Empty components
/// and `.` are dropped from a path. A cell's revision rises by one with each change.
pub(crate) trait TreeImpl: Sized + Send + Sync + 'static {
    /// What tables, results and errors call it.
    const NAME: &'static str;
    /// Whether listing a node's children costs in their number, not in that of the whole tree.
    const LISTS_CHILDREN: bool = true;
    /// Whether there is memory for chains of a thousand nodes.
    const FITS_CHAINS: bool = true;
    /// The most nodes there is memory for.
    const LARGEST: usize = usize::MAX;
    /// A counted reference to a node.
    type Handle: Clone + Send + Sync + 'static;
    /// A counted reference to a value.
    type Value: Deref<Target = u64>;

    /// A tree of its root alone.
    fn new() -> Self;
    /// A handle to the root.
    fn root(&self) -> Self::Handle;
    /// How many nodes there are, the root included.
    fn nodes(&self) -> usize;

    /// The node at `path` under `base`; what is missing is created.
    fn walk(base: &Self::Handle, path: &str) -> Self::Handle;
    /// The node at `path` under `base`, if there is one.
    fn lookup(base: &Self::Handle, path: &str) -> Option<Self::Handle>;
    /// Whether both refer to one node.
    fn same(a: &Self::Handle, b: &Self::Handle) -> bool;

    /// The value, counted, and the revision.
    fn load(handle: &Self::Handle) -> (Option<Self::Value>, u64);
    /// The value and the revision, read in place.
    fn read(handle: &Self::Handle) -> (Option<u64>, u64);
    /// The value and the revision at `path` under `base`, read in place, by no handle.
    fn read_at(base: &Self::Handle, path: &str) -> (Option<u64>, u64);
    /// Replaces the value; the revision after it.
    fn store(handle: &Self::Handle, value: Option<u64>) -> u64;

    /// Calls `each` on the children's names at one moment, sorted.
    fn ls_names(handle: &Self::Handle, each: impl FnMut(&str));
    /// Calls `each` on the children at one moment, sorted by name; all are held until the end.
    fn ls_handles(handle: &Self::Handle, each: impl FnMut(&str, &Self::Handle));

    /// Frees what is due to be freed, so that nobody else is billed for it.
    fn settle() {}
}

/// Something to be done for each implementation.
pub(crate) trait PerImpl {
    /// What comes of it.
    type Output;
    /// Does it for `T`.
    fn of<T: TreeImpl>(&self) -> Self::Output;
}

/// Which implementations take part.
#[derive(Debug, Default)]
pub(crate) struct Impls {
    /// Those whose names hold one of these; all, if there are none.
    pub(crate) filters: Vec<String>,
}

impl Impls {
    /// Does `task` for killick and then for every baseline, always in the same order.
    pub(crate) fn each<P: PerImpl>(&self, task: &P) -> Vec<(&'static str, P::Output)> {
        [
            self.one::<Killick, P>(task),
            self.one::<GlobalMutex, P>(task),
            self.one::<GlobalRwLock, P>(task),
            self.one::<PerNodeMutex, P>(task),
            self.one::<DashMapPath, P>(task),
            self.one::<PerNodeMap<PapayaMap>, P>(task),
            self.one::<PerNodeMap<SccMap>, P>(task),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn one<T: TreeImpl, P: PerImpl>(&self, task: &P) -> Option<(&'static str, P::Output)> {
        let wanted = |filter: &String| T::NAME.contains(filter.as_str());
        (self.filters.is_empty() || self.filters.iter().any(wanted))
            .then(|| (T::NAME, task.of::<T>()))
    }

    /// What they are called, in that order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        struct Name;
        impl PerImpl for Name {
            type Output = ();
            fn of<T: TreeImpl>(&self) {}
        }
        self.each(&Name).into_iter().map(|(name, ())| name).collect()
    }

    /// Frees what any of them put off.
    pub(crate) fn settle(&self) {
        struct Settle;
        impl PerImpl for Settle {
            type Output = ();
            fn of<T: TreeImpl>(&self) {
                T::settle();
            }
        }
        self.each(&Settle);
    }
}

/// How often freeing is pushed on at most: another thread may hold it back.
const MOST_PUSHES: usize = 1 << 20;

/// The tree under test.
pub(crate) struct Killick(killick::Tree<u64>);

impl TreeImpl for Killick {
    const NAME: &'static str = "killick";
    type Handle = killick::Anchor<u64>;
    type Value = killick::Value<u64>;

    fn new() -> Self {
        Killick(killick::Tree::new(killick::Limits::default()))
    }
    fn root(&self) -> Self::Handle {
        self.0.root()
    }
    fn nodes(&self) -> usize {
        self.0.nodes()
    }

    fn walk(base: &Self::Handle, path: &str) -> Self::Handle {
        base.walk(path).expect("a path within the default limits")
    }
    fn lookup(base: &Self::Handle, path: &str) -> Option<Self::Handle> {
        base.lookup(path).expect("a path within the default limits")
    }
    fn same(a: &Self::Handle, b: &Self::Handle) -> bool {
        a == b
    }

    fn load(handle: &Self::Handle) -> (Option<Self::Value>, u64) {
        let loaded = handle.load();
        (loaded.value, loaded.revision)
    }
    fn read(handle: &Self::Handle) -> (Option<u64>, u64) {
        handle.load_with(|value, revision| (value.copied(), revision))
    }
    fn read_at(base: &Self::Handle, path: &str) -> (Option<u64>, u64) {
        base.load_at_with(path, |value, revision| (value.copied(), revision))
            .expect("a path within the default limits")
    }
    fn store(handle: &Self::Handle, value: Option<u64>) -> u64 {
        handle.store(value, true).expect("a store that overwrites into an open tree")
    }

    fn ls_names(handle: &Self::Handle, each: impl FnMut(&str)) {
        handle.names().iter().for_each(each);
    }
    fn ls_handles(handle: &Self::Handle, mut each: impl FnMut(&str, &Self::Handle)) {
        let children = handle.ls();
        children.iter().for_each(|child| each(child.name(), child));
    }

    /// What was put off is freed in the order in which it was put off: once a value that is retired
    /// now is gone, so is what was before. The other times are for the epoch's own blocks, which it
    /// puts off as it frees what they hold.
    fn settle() {
        for _ in 0..3 {
            let last = Arc::new(());
            let tree = killick::Tree::new(killick::Limits::default());
            let stored = tree.root().store_at("last", Arc::clone(&last), true);
            stored.expect("a store into a new tree");
            drop(tree);
            for _ in 0..MOST_PUSHES {
                if Arc::strong_count(&last) == 1 {
                    break;
                }
                killick::reclaim();
            }
        }
        (0..16).for_each(|_| killick::reclaim());
    }
}
