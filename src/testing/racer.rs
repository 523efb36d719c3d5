//! One of several threads on the same few paths, and what it may expect whatever the others do.
//!
//! - What a path gives is what a handle to that path names, while the handle is held; so a node that
//!   is held is found, and listed, and no name is listed twice.
//! - A node's revision only rises while it is held, and at one revision there is one content.
//! - A value is found where it was stored.
//! - A watcher sees what [`Observer`] may expect, and at the end what is there.

use std::collections::{BTreeMap, HashMap};

use super::grammar::reference_parse;
use super::observer::Observer;
use super::tracked::{Ledger, Tracked};
use super::{OBSERVERS, Op, SLOTS};
use crate::{Anchor, Limits, Loaded, Value};

/// The node below which racers work. No path of an input is long enough to name it.
pub(super) const SHARED: &str = "shared-by-all-threads-of-a-phase";

/// The children that one racer keeps for `Grow`.
const CROWD: u8 = 40;

/// A handle, its path, and what its cell was last seen to hold.
struct Held {
    path: String,
    anchor: Anchor<Tracked>,
    seen: (Option<u64>, u64),
}

pub(super) struct Racer {
    number: u64,
    root: Anchor<Tracked>,
    ledger: Ledger,
    values: u64,
    slots: [Option<Held>; SLOTS as usize],
    crowd: Vec<Held>,
    observers: Vec<Observer<Tracked>>,
    /// The revisions that its changes made, by path.
    changes: HashMap<String, Vec<u64>>,
}

impl Racer {
    pub(super) fn new(number: u64, root: Anchor<Tracked>, ledger: Ledger) -> Self {
        Racer {
            number,
            root,
            ledger,
            values: 0,
            slots: [const { None }; SLOTS as usize],
            crowd: Vec::new(),
            observers: Vec::new(),
            changes: HashMap::new(),
        }
    }

    /// The handles, with their paths.
    pub(super) fn held(&self) -> impl Iterator<Item = (&str, &Anchor<Tracked>)> {
        let held = self.slots.iter().flatten().chain(&self.crowd);
        held.map(|held| (held.path.as_str(), &held.anchor))
    }

    /// When all threads are done: what its watchers see is what is there.
    pub(super) fn settle(&mut self) {
        for observer in &mut self.observers {
            let present = observer.present();
            assert_eq!(*observer.settle(), present, "a watcher missed the last change");
        }
    }

    /// The revisions that its changes at `path` made.
    pub(super) fn changes_at(&self, path: &str) -> impl Iterator<Item = u64> {
        self.changes.get(path).into_iter().flatten().copied()
    }

    /// Applies `op`: one of the tree as a whole to what is below [`SHARED`], one of a handle to the
    /// handle, if there is one.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Walk { at, path, to } => self.walk(*at, path, *to),
            Op::Lookup { at, path, to } => self.lookup(*at, path, *to),
            Op::Ls { at, index, to } => self.ls(*at, *index, *to),
            Op::Names { at } => self.names(*at),
            Op::Clone { at, to } => self.clone_handle(*at, *to),
            Op::Drop { at } => self.slots[usize::from(*at)] = None,
            Op::Cell { at, .. } => self.cell(*at),
            Op::LoadAt { at, path } => self.load_at(*at, path),
            Op::StoreAt { at, path, fill: true, overwrite } => self.store_at(*at, path, *overwrite),
            Op::StoreAt { at, path, fill: false, .. } => self.load_at(*at, path),
            Op::Grow { at, first, count } => self.grow(*at, *first, *count),
            Op::Shrink { from, count } => self.shrink(*from, *count),
            Op::Watch { at, children } => self.watch(*at, *children),
            Op::Look { which } => self.look(*which),
            Op::Phase { .. } => {}
            Op::Load { at }
            | Op::Store { at, .. }
            | Op::Clear { at }
            | Op::Swap { at, .. }
            | Op::CompareAndStore { at, .. } => self.with_cell(*at, op),
        }
    }

    /// The path that `path` names from a slot, if it is one.
    fn path(&self, at: u8, path: &[u8]) -> Option<String> {
        let names = reference_parse(path, 0, &Limits::default()).ok()?;
        let base = self.slots[usize::from(at)].as_ref().map_or(SHARED, |held| &held.path);
        let names = names.iter().map(|name| std::str::from_utf8(name).expect("names are ASCII"));
        Some(names.fold(base.to_string(), |path, name| path + "/" + name))
    }

    /// An anchor at or above `path`, and the path from there: the slot's or, if there is none, the
    /// root.
    fn base(&self, at: u8, path: &[u8]) -> (Anchor<Tracked>, Vec<u8>) {
        match &self.slots[usize::from(at)] {
            Some(held) => (held.anchor.clone(), path.to_vec()),
            None => (self.root.clone(), [SHARED.as_bytes(), b"/", path].concat()),
        }
    }

    /// What is at `path` is what this thread holds there.
    fn check(&self, path: &str, found: Option<&Anchor<Tracked>>) {
        for (other, anchor) in self.held() {
            if other == path {
                assert_eq!(Some(anchor), found, "{path} named another node before");
            }
        }
    }

    fn keep(&mut self, to: u8, path: String, anchor: Anchor<Tracked>) {
        self.check(&path, Some(&anchor));
        let seen = content(&path, &anchor.load());
        self.slots[usize::from(to)] = Some(Held { path, anchor, seen });
    }

    fn walk(&mut self, at: u8, path: &[u8], to: u8) {
        let Some(at_path) = self.path(at, path) else { return };
        let (base, path) = self.base(at, path);
        // A limit may refuse it.
        if let Ok(anchor) = base.walk(path) {
            self.keep(to, at_path, anchor);
        }
    }

    fn lookup(&mut self, at: u8, path: &[u8], to: u8) {
        let Some(at_path) = self.path(at, path) else { return };
        let (base, path) = self.base(at, path);
        match base.lookup(path) {
            Ok(Some(anchor)) => self.keep(to, at_path, anchor),
            Ok(None) => self.check(&at_path, None),
            Err(_) => {}
        }
    }

    /// The node in a slot or, if there is none, the shared one, and its path.
    fn node(&self, at: u8) -> Option<(String, Anchor<Tracked>)> {
        match &self.slots[usize::from(at)] {
            Some(held) => Some((held.path.clone(), held.anchor.clone())),
            None => Some((SHARED.into(), self.root.lookup(SHARED).ok()??)),
        }
    }

    /// The children of `path` that this thread holds, or holds something below.
    fn own_children(&self, path: &str) -> BTreeMap<String, Option<Anchor<Tracked>>> {
        let mut children = BTreeMap::new();
        for (other, anchor) in self.held() {
            let below = other.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
            let Some(below) = below else { continue };
            let name = below.split('/').next().unwrap_or(below);
            let child: &mut Option<_> = children.entry(name.to_string()).or_default();
            if below == name {
                *child = Some(anchor.clone());
            }
        }
        children
    }

    fn ls(&mut self, at: u8, index: u8, to: u8) {
        let Some((path, anchor)) = self.node(at) else { return };
        let mut listed = anchor.ls();
        assert!(listed.is_sorted_by(|a, b| a.name() < b.name()), "names of {path}: {listed:?}");
        for (name, child) in self.own_children(&path) {
            let found = listed.iter().find(|other| other.name() == name);
            assert!(found.is_some(), "{path}/{name} is held, and is not among {listed:?}");
            assert!(child.is_none() || child.as_ref() == found, "{path}/{name} is another node");
        }
        if usize::from(index) < listed.len() {
            let child = listed.swap_remove(usize::from(index));
            drop(listed);
            self.keep(to, format!("{path}/{}", child.name()), child);
        }
    }

    fn names(&mut self, at: u8) {
        let Some((path, anchor)) = self.node(at) else { return };
        let (names, own) = (anchor.names(), self.own_children(&path));
        let names: Vec<_> = names.iter().collect();
        assert!(names.is_sorted_by(|a, b| a < b), "names of {path}: {names:?}");
        assert!(own.keys().all(|name| names.contains(&name.as_str())), "{own:?} not in {names:?}");
        anchor.child_count(); // beside a last release it may miss the child that came instead
    }

    fn clone_handle(&mut self, at: u8, to: u8) {
        let Some(held) = &self.slots[usize::from(at)] else { return };
        self.keep(to, held.path.clone(), held.anchor.clone());
    }

    fn cell(&mut self, at: u8) {
        let Some(held) = &mut self.slots[usize::from(at)] else { return };
        let (loader, storer) = held.anchor.cell();
        drop(storer);
        held.see(content(&held.path, &loader.load()));
    }

    fn load_at(&mut self, at: u8, path: &[u8]) {
        let Some(at_path) = self.path(at, path) else { return };
        let (base, path) = self.base(at, path);
        if let Ok(loaded) = base.load_at(path) {
            content(&at_path, &loaded);
        }
    }

    fn store_at(&mut self, at: u8, path: &[u8], overwrite: bool) {
        let Some(at_path) = self.path(at, path) else { return };
        let value = self.value(&at_path);
        let (base, path) = self.base(at, path);
        if let Ok(revision) = base.store_at(path, value, overwrite) {
            self.changes.entry(at_path).or_default().push(revision);
        }
    }

    /// A value that knows where it belongs.
    fn value(&mut self, path: &str) -> Tracked {
        self.values += 1;
        self.ledger.value(u64::from(mark(path)) << 32 | self.number << 24 | self.values)
    }

    /// Applies `op`, one of a cell, to the handle in a slot.
    fn with_cell(&mut self, at: u8, op: &Op) {
        let Some(mut held) = self.slots[usize::from(at)].take() else { return };
        let fills = matches!(
            op,
            Op::Store { fill: true, .. }
                | Op::Swap { fill: true, .. }
                | Op::CompareAndStore { fill: true, .. }
        );
        let value = fills.then(|| self.value(&held.path));
        if let Some(revision) = held.change(op, value) {
            self.changes.entry(held.path.clone()).or_default().push(revision);
        }
        held.see(content(&held.path, &held.anchor.load()));
        self.slots[usize::from(at)] = Some(held);
    }

    fn watch(&mut self, at: u8, children: bool) {
        let Some((_, anchor)) = self.node(at) else { return };
        if self.observers.len() == OBSERVERS {
            self.observers.remove(0);
        }
        self.observers.push(Observer::new(anchor, children));
    }

    fn look(&mut self, which: u8) {
        if !self.observers.is_empty() {
            let which = usize::from(which) % self.observers.len();
            let _new = self.observers[which].look();
        }
    }

    fn grow(&mut self, at: u8, first: u16, count: u8) {
        for number in first..first + u16::from(count % CROWD) {
            let name = format!("c{number}");
            let Some(path) = self.path(at, name.as_bytes()) else { return };
            let (base, name) = self.base(at, name.as_bytes());
            let Ok(anchor) = base.walk(name) else { return };
            self.check(&path, Some(&anchor));
            self.crowd.push(Held { path, anchor, seen: (None, 0) });
        }
        self.names(at);
    }

    fn shrink(&mut self, from: u8, count: u8) {
        let from = usize::from(from).min(self.crowd.len());
        let to = (from + usize::from(count)).min(self.crowd.len());
        self.crowd.drain(from..to);
    }
}

impl Held {
    /// Makes the change of `op`, and gives the revision that it made, if it made one.
    fn change(&mut self, op: &Op, value: Option<Tracked>) -> Option<u64> {
        let (fills, (_, seen)) = (value.is_some(), self.seen);
        match op {
            Op::Store { fill: true, overwrite, .. } => self.anchor.store(value, *overwrite).ok(),
            Op::Swap { .. } | Op::Clear { .. } | Op::Store { .. } => {
                let before = self.anchor.swap(value).expect("the tree is open");
                self.see(content(&self.path, &before));
                (fills || before.value.is_some()).then_some(before.revision + 1)
            }
            Op::CompareAndStore { error, .. } => {
                let expected = seen + u64::from(*error);
                let after = self.anchor.compare_and_store(expected, value).ok()?;
                (after > expected).then_some(after)
            }
            _ => None,
        }
    }

    /// A later content than the one seen last.
    fn see(&mut self, now: (Option<u64>, u64)) {
        let (path, before) = (&self.path, self.seen);
        assert!(now.1 > before.1 || now == before, "{path} went from {before:?} to {now:?}");
        self.seen = now;
    }
}

/// What was loaded at `path`.
fn content(path: &str, loaded: &Loaded<Tracked>) -> (Option<u64>, u64) {
    let id = loaded.value.as_ref().map(|value| {
        assert_eq!(Value::revision(value), loaded.revision, "the revision in a value at {path}");
        assert_eq!(value.id() >> 32, u64::from(mark(path)), "a value of another path at {path}");
        value.id()
    });
    (id, loaded.revision)
}

/// A number that tells paths from each other.
fn mark(path: &str) -> u32 {
    path.bytes().fold(0, |mark: u32, byte| mark.wrapping_mul(31) ^ u32::from(byte))
}
