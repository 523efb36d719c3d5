//! A real tree and the model side by side.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use super::model::{Model, ModelLoaded, ModelStored, NodeId};
use super::observer::{Observer, Seen};
use super::phase;
use super::tracked::{Ledger, Tracked, settle};
use super::{OBSERVERS, Op, SLOTS};
use crate::{Anchor, Limits, Loaded, Loader, StoreAtError, StoreError, StoreErrorKind};
use crate::{Storer, Tree, Value, WalkError};

/// What a slot holds. Each keeps its node alive.
enum Handle {
    Anchor(Anchor<Tracked>),
    Loader(Loader<Tracked>),
    Storer(Storer<Tracked>),
}

/// Whether a store went well, in comparable form: why not, the revision, the value handed back.
type Stored = Result<u64, (StoreErrorKind, u64, Option<u64>)>;

/// A tree and its model, and handles into both. Every operation compares all that it returns, and
/// afterwards the number of nodes and which handles are equal.
pub struct World {
    tree: Arc<Tree<Tracked>>,
    /// Whether nobody else changes the tree.
    alone: bool,
    model: Model,
    ledger: Ledger,
    root: Anchor<Tracked>,
    slots: Vec<Option<(Handle, NodeId)>>,
    crowd: Vec<(Anchor<Tracked>, NodeId)>,
    /// Watchers, each with whether it watches the children.
    observers: Vec<(Observer<Tracked>, NodeId, bool)>,
    /// A value read some time ago: it stays what it was.
    kept: Option<(Value<Tracked>, u64, u64)>,
}

impl World {
    /// Both trees empty.
    pub fn new(limits: Limits) -> Self {
        let tree = Arc::new(Tree::new(limits));
        let (root, model) = (tree.root(), Model::new(tree.limits()));
        World::at(root, model, tree, Ledger::default(), true)
    }

    /// The subtree at `root`, a node below the tree's root that is empty, while others change the
    /// rest of the tree.
    pub(super) fn below(root: Anchor<Tracked>, tree: Arc<Tree<Tracked>>, ledger: Ledger) -> Self {
        let model = Model::below(tree.limits(), root.name(), 1);
        World::at(root, model, tree, ledger, false)
    }

    fn at(
        root: Anchor<Tracked>,
        mut model: Model,
        tree: Arc<Tree<Tracked>>,
        ledger: Ledger,
        alone: bool,
    ) -> Self {
        model.acquire(Model::ROOT);
        let slots = (0..SLOTS).map(|_| None).collect();
        let (crowd, observers) = (Vec::new(), Vec::new());
        World { tree, alone, model, ledger, root, slots, crowd, observers, kept: None }
    }

    /// Nodes in the tree.
    pub fn nodes(&self) -> usize {
        self.tree.nodes()
    }

    /// Applies `op` to the tree and to the model.
    ///
    /// # Panics
    /// When they differ.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Walk { at, path, to } => self.walk(*at, path, *to),
            Op::Lookup { at, path, to } => self.lookup(*at, path, *to),
            Op::Ls { at, index, to } => self.ls(*at, *index, *to),
            Op::Names { at } => self.names(*at),
            Op::Clone { at, to } => self.clone_handle(*at, *to),
            Op::Drop { at } => self.put(*at, None),
            Op::Cell { at, loader, storer } => self.cell(*at, *loader, *storer),
            Op::Load { at } => self.load(*at),
            Op::LoadAt { at, path } => self.load_at(*at, path),
            Op::Store { at, fill, overwrite } => self.store(*at, *fill, *overwrite),
            Op::StoreAt { at, path, fill, overwrite } => {
                self.store_at(*at, path, *fill, *overwrite);
            }
            Op::Clear { at } => self.clear(*at),
            Op::Swap { at, fill } => self.swap(*at, *fill),
            Op::CompareAndStore { at, error, fill } => self.compare_and_store(*at, *error, *fill),
            Op::Grow { at, first, count } => self.grow(*at, *first, *count),
            Op::Shrink { from, count } => self.shrink(*from, *count),
            Op::Watch { at, children } => self.watch(*at, *children),
            Op::Look { which } => self.look(*which),
            Op::Phase { kind, programs } if self.alone => {
                phase::run(*kind, programs, &self.tree, &self.ledger);
            }
            Op::Phase { .. } => {}
        }
        self.compare_nodes(op);
        self.compare_identities(op);
    }

    fn compare_nodes(&self, after: impl Debug) {
        if self.alone {
            assert_eq!(self.tree.nodes(), self.model.nodes(), "nodes after {after:?}");
        }
    }

    fn compare_identities(&self, op: &Op) {
        let anchors = self.slots.iter().flatten().filter_map(|(handle, id)| match handle {
            Handle::Anchor(anchor) => Some((anchor, *id)),
            _ => None,
        });
        let anchors: Vec<_> = anchors.chain([(&self.root, Model::ROOT)]).collect();
        for (i, (a, a_id)) in anchors.iter().enumerate() {
            assert_eq!(a.name().as_bytes(), self.model.name(*a_id), "a name after {op:?}");
            for (b, b_id) in &anchors[i..] {
                assert_eq!(a == b, a_id == b_id, "identity of {a:?} and {b:?} after {op:?}");
            }
        }
        if let Some((value, id, revision)) = &self.kept {
            assert_eq!((value.id(), Value::revision(value)), (*id, *revision), "a kept value");
        }
    }

    /// The anchor in a slot; the root if there is none.
    fn anchor(&self, at: u8) -> (Anchor<Tracked>, NodeId) {
        match &self.slots[usize::from(at % SLOTS)] {
            Some((Handle::Anchor(anchor), id)) => (anchor.clone(), *id),
            _ => (self.root.clone(), Model::ROOT),
        }
    }

    /// Puts a handle, which the model counts already, in a slot; what was there goes.
    fn put(&mut self, to: u8, handle: Option<(Handle, NodeId)>) {
        let slot = &mut self.slots[usize::from(to % SLOTS)];
        if let Some((old, id)) = std::mem::replace(slot, handle) {
            drop(old);
            self.model.release(id);
        }
    }

    fn put_anchor(&mut self, to: u8, anchor: Anchor<Tracked>, id: NodeId) {
        self.put(to, Some((Handle::Anchor(anchor), id)));
    }

    fn value(&self, fill: bool) -> (Option<Tracked>, Option<u64>) {
        let id = fill.then(|| self.ledger.made());
        (id.map(|id| self.ledger.value(id)), id)
    }

    fn walk(&mut self, at: u8, path: &[u8], to: u8) {
        let (base, base_id) = self.anchor(at);
        match (base.walk(path), self.model.walk(base_id, path)) {
            (Ok(anchor), Ok(id)) => self.put_anchor(to, anchor, id),
            (Err(real), Err(model)) => refused(real, &model, path),
            (real, model) => panic!("walk {}: {real:?}, model {model:?}", text(path)),
        }
    }

    fn lookup(&mut self, at: u8, path: &[u8], to: u8) {
        let (base, base_id) = self.anchor(at);
        match (base.lookup(path), self.model.lookup(base_id, path)) {
            (Ok(Some(anchor)), Ok(Some(id))) => {
                self.model.acquire(id);
                self.put_anchor(to, anchor, id);
            }
            (Ok(None), Ok(None)) => {}
            (Err(real), Err(model)) => assert_eq!(real, model, "lookup {}", text(path)),
            (real, model) => panic!("lookup {}: {real:?}, model {model:?}", text(path)),
        }
    }

    fn ls(&mut self, at: u8, index: u8, to: u8) {
        let (base, base_id) = self.anchor(at);
        let (mut real, model) = (base.ls(), self.model.children(base_id));
        let names = real.iter().map(|child| child.name().as_bytes());
        assert!(names.eq(model.iter().map(|&id| self.model.name(id))), "ls of {base:?}");
        for child in &real {
            assert_eq!(base.lookup(child.name()).as_ref(), Ok(&Some(child.clone())), "ls identity");
        }
        if let Some(&id) = model.get(usize::from(index)) {
            let child = real.swap_remove(usize::from(index));
            drop(real);
            self.model.acquire(id);
            self.put_anchor(to, child, id);
        }
    }

    fn names(&self, at: u8) {
        let (base, base_id) = self.anchor(at);
        let (real, model) = (base.names(), self.model.children(base_id));
        let names = model.iter().map(|&id| self.model.name(id));
        assert!(real.iter().map(str::as_bytes).eq(names), "names of {base:?}");
        assert_eq!((real.len(), real.is_empty()), (model.len(), model.is_empty()), "{base:?}");
        assert_eq!(base.child_count(), model.len(), "child count of {base:?}");
    }

    fn clone_handle(&mut self, at: u8, to: u8) {
        let Some((handle, id)) = &self.slots[usize::from(at % SLOTS)] else { return };
        let copy = match handle {
            Handle::Anchor(anchor) => Handle::Anchor(anchor.clone()),
            Handle::Loader(loader) => Handle::Loader(loader.clone()),
            Handle::Storer(storer) => Handle::Storer(storer.clone()),
        };
        let id = *id;
        self.model.acquire(id);
        self.put(to, Some((copy, id)));
    }

    fn cell(&mut self, at: u8, loader_to: u8, storer_to: u8) {
        let (base, id) = self.anchor(at);
        let (loader, storer) = base.cell();
        drop(base);
        self.model.acquire(id);
        self.model.acquire(id);
        self.put(loader_to, Some((Handle::Loader(loader), id)));
        self.put(storer_to, Some((Handle::Storer(storer), id)));
    }

    fn load(&mut self, at: u8) {
        let (real, with, id) = match &self.slots[usize::from(at % SLOTS)] {
            Some((Handle::Loader(loader), id)) => (loader.load(), loader.load_with(in_place), *id),
            _ => {
                let (base, id) = self.anchor(at);
                assert_eq!(base.is_filled(), self.model.load(id).0.is_some(), "{base:?}");
                (base.load(), base.load_with(in_place), id)
            }
        };
        let expected = self.model.load(id);
        assert_eq!(with, expected, "load_with");
        self.kept = self.compare_loaded(real, expected).or(self.kept.take());
    }

    /// Compares what was loaded; gives the value to be kept.
    fn compare_loaded(
        &self,
        real: Loaded<Tracked>,
        expected: ModelLoaded,
    ) -> Option<(Value<Tracked>, u64, u64)> {
        assert_eq!((real.value.as_deref().map(Tracked::id), real.revision), expected, "loaded");
        let value = real.value?;
        assert_eq!(Value::revision(&value), expected.1, "the revision in a value");
        Some((value, expected.0?, expected.1))
    }

    fn load_at(&mut self, at: u8, path: &[u8]) {
        let (base, base_id) = self.anchor(at);
        let expected = self.model.load_at(base_id, path);
        assert_eq!(base.load_at_with(path, in_place), expected, "load_at_with {}", text(path));
        match (base.load_at(path), expected) {
            (Ok(real), Ok(expected)) => {
                self.compare_loaded(real, expected);
            }
            (real, expected) => assert_eq!(real.err(), expected.err(), "load_at {}", text(path)),
        }
    }

    fn store(&mut self, at: u8, fill: bool, overwrite: bool) {
        let (value, given) = self.value(fill);
        let (real, id) = match &self.slots[usize::from(at % SLOTS)] {
            Some((Handle::Storer(storer), id)) => (storer.store(value, overwrite), *id),
            _ => {
                let (base, id) = self.anchor(at);
                (base.store(value, overwrite), id)
            }
        };
        let expected = self.model.store(id, given, overwrite);
        compare("store", stored(real), handing_back(expected, given));
    }

    fn store_at(&mut self, at: u8, path: &[u8], fill: bool, overwrite: bool) {
        let (base, base_id) = self.anchor(at);
        let (value, given) = self.value(fill);
        let real = base.store_at(path, value, overwrite);
        match (self.model.store_at(base_id, path, given, overwrite), real) {
            (Err(expected), Err(StoreAtError::Walk(error, value))) => {
                refused(error, &expected, path);
                assert_eq!(value.map(|v| v.id()), given, "given back by {}", text(path));
            }
            (Ok(expected), real) => {
                let real = real.map_err(|error| match error {
                    StoreAtError::Store(error) => error,
                    StoreAtError::Walk(..) => panic!("store_at {}: {error}", text(path)),
                });
                compare("store_at", stored(real), handing_back(expected, given));
            }
            (Err(expected), real) => panic!("store_at {}: {real:?}, {expected:?}", text(path)),
        }
    }

    fn clear(&mut self, at: u8) {
        let id = match &self.slots[usize::from(at % SLOTS)] {
            Some((Handle::Storer(storer), id)) => {
                assert_eq!(storer.clear(), self.model.load(*id).0.is_some(), "clear");
                *id
            }
            _ => {
                let (base, id) = self.anchor(at);
                self.compare_loaded(base.clear(), self.model.load(id));
                id
            }
        };
        self.model.swap(id, None);
    }

    fn swap(&mut self, at: u8, fill: bool) {
        let (value, given) = self.value(fill);
        let (base, id) = self.anchor(at);
        let real = base.swap(value).expect("an open tree takes every swap");
        let before = self.model.swap(id, given);
        self.compare_loaded(real, before);
    }

    fn compare_and_store(&mut self, at: u8, error: u8, fill: bool) {
        let (value, given) = self.value(fill);
        let slot = &self.slots[usize::from(at % SLOTS)];
        let id = match slot {
            Some((Handle::Storer(_), id)) => *id,
            _ => self.anchor(at).1,
        };
        let revision = self.model.load(id).1 + u64::from(error);
        let real = match slot {
            Some((Handle::Storer(storer), _)) => storer.compare_and_store(revision, value),
            _ => self.anchor(at).0.compare_and_store(revision, value),
        };
        let expected = self.model.compare_and_store(id, revision, given);
        compare("compare_and_store", stored(real), handing_back(expected, given));
    }

    fn grow(&mut self, at: u8, first: u16, count: u8) {
        let (base, base_id) = self.anchor(at);
        for number in first..first.saturating_add(count.into()) {
            let name = format!("c{number}");
            match (base.walk(&name), self.model.walk(base_id, name.as_bytes())) {
                (Ok(anchor), Ok(id)) => self.crowd.push((anchor, id)),
                (Err(real), Err(model)) => refused(real, &model, name.as_bytes()),
                (real, model) => panic!("{name} below {base:?}: {real:?}, model {model:?}"),
            }
        }
        drop(base);
        self.names(at);
    }

    fn shrink(&mut self, from: u8, count: u8) {
        let from = usize::from(from).min(self.crowd.len());
        let to = (from + usize::from(count)).min(self.crowd.len());
        for (anchor, id) in self.crowd.drain(from..to) {
            drop(anchor);
            self.model.release(id);
        }
    }

    fn watch(&mut self, at: u8, children: bool) {
        if self.observers.len() == OBSERVERS {
            self.unwatch();
        }
        let (base, id) = self.anchor(at);
        self.model.acquire(id);
        self.model.acquire(id); // a watcher has a handle of its own
        self.observers.push((Observer::new(base, children), id, children));
    }

    /// The oldest watcher goes.
    fn unwatch(&mut self) {
        let (observer, id, _) = self.observers.remove(0);
        drop(observer);
        self.model.release(id);
        self.model.release(id);
    }

    /// One watcher sees what is there.
    fn look(&mut self, which: u8) {
        if self.observers.is_empty() {
            return;
        }
        let which = usize::from(which) % self.observers.len();
        let (observer, id, children) = &mut self.observers[which];
        let filled = |id| self.model.load(id).0.is_some();
        let expected = if *children {
            let name = |id| String::from_utf8(self.model.name(id).to_vec()).expect("ASCII");
            let children = self.model.children(*id).into_iter();
            Seen::Children(children.map(|child| (name(child), filled(child))).collect())
        } else {
            Seen::Cell(filled(*id), self.model.load(*id).1)
        };
        assert_eq!(
            *observer.settle(),
            expected,
            "a watcher of {:?}",
            text(self.model.name(*id)).to_string()
        );
    }

    /// Compares the whole trees, and empties them.
    pub(super) fn empty(mut self) {
        self.compare_all();
        self.let_go();
        let mut left = vec![self.root.clone()];
        while let Some(anchor) = left.pop() {
            anchor.clear();
            left.extend(anchor.ls());
        }
        assert!(self.root.names().is_empty(), "{:?} below an empty node", self.root.names());
    }

    /// Compares the whole trees, and takes them down: with `survivors`, the tree goes first and the
    /// handles after it, otherwise the handles first.
    ///
    /// # Panics
    /// When they differ, or when a value is not dropped exactly once.
    pub fn finish(mut self, survivors: bool) {
        self.compare_all();
        let anchors = self.slots.iter().flatten().filter_map(|(handle, _)| match handle {
            Handle::Anchor(anchor) => Some(anchor.clone()),
            _ => None,
        });
        let anchors: Vec<_> = if survivors { anchors.collect() } else { Vec::new() };
        if !survivors {
            self.let_go();
        }
        let World { tree, ledger, root, slots, crowd, kept, observers, .. } = self;
        drop(tree);
        for anchor in anchors.iter().chain([&root]) {
            assert!(anchor.load().value.is_none(), "{anchor:?} has a value in a closed tree");
            let refused = anchor.store(ledger.value(0), true).expect_err("the tree is closed");
            assert_eq!(refused.kind, StoreErrorKind::Closed);
            assert!(refused.value.is_some(), "a refused value comes back");
        }
        observers.into_iter().for_each(|(observer, ..)| observer.end());
        drop((root, anchors, slots, crowd, kept));
        assert!(settle(|| ledger.live() == 0), "{} values leaked", ledger.live());
    }

    /// Gives up all handles but the root's.
    fn let_go(&mut self) {
        for slot in 0..SLOTS {
            self.put(slot, None);
        }
        while !self.crowd.is_empty() {
            self.shrink(0, u8::MAX);
        }
        while !self.observers.is_empty() {
            self.unwatch();
        }
        self.compare_nodes("the last handle: values keep the rest");
    }

    /// Compares names, values and revisions of all nodes, and what watchers see.
    fn compare_all(&mut self) {
        (0..OBSERVERS).for_each(|which| self.look(which as u8));
        let mut todo = vec![(self.root.clone(), Model::ROOT)];
        while let Some((anchor, id)) = todo.pop() {
            self.compare_loaded(anchor.load(), self.model.load(id));
            let (real, model) = (anchor.ls(), self.model.children(id));
            assert_eq!(real.len(), model.len(), "children of {anchor:?}");
            for (child, id) in real.into_iter().zip(model) {
                assert_eq!(child.name().as_bytes(), self.model.name(id));
                todo.push((child, id));
            }
        }
        self.compare_nodes("a look at everything");
    }
}

fn in_place(value: Option<&Tracked>, revision: u64) -> ModelLoaded {
    (value.map(Tracked::id), revision)
}

fn stored(real: Result<u64, StoreError<Tracked>>) -> Stored {
    real.map_err(|e| (e.kind, e.revision, e.value.map(|value| value.id())))
}

fn handing_back(model: ModelStored, given: Option<u64>) -> Stored {
    model.map_err(|(kind, revision)| (kind, revision, given))
}

fn refused(real: WalkError, reasons: &[WalkError], path: &[u8]) {
    assert!(reasons.contains(&real), "walk {}: {real:?}, model {reasons:?}", text(path));
}

fn compare<T: Debug + PartialEq>(what: &str, real: T, model: T) {
    assert_eq!(real, model, "{what}: the tree on the left, the model on the right");
}

fn text(path: &[u8]) -> impl Display + '_ {
    path.escape_ascii()
}
