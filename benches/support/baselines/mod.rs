//! Trees behind locks and of concurrent maps: what one would write without a lock-free tree.
//!
//! They keep the contract of [`TreeImpl`](super::TreeImpl) and are written to be fast: names are
//! shared between a node and its parent's map, values are allocated and freed outside the locks,
//! listings are sorted outside them, and all maps hash with the function killick uses, seeded once
//! a tree; the maps under locks are std's. What they leave out is in their favour: they do not check the characters of
//! a path, and they enforce no limits.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;

pub(crate) mod arena;
pub(crate) mod dashmap_path;
pub(crate) mod global_mutex;
pub(crate) mod global_rwlock;
pub(crate) mod papaya_map;
pub(crate) mod per_node_map;
pub(crate) mod per_node_mutex;
pub(crate) mod scc_map;

/// Children by name.
pub(crate) type Children<T> = HashMap<Arc<str>, T, FixedState>;

/// A hash function for one tree, with a seed of its own.
fn tree_hasher() -> FixedState {
    FixedState::with_seed(RandomState::new().hash_one(0_u64))
}

/// Locks `mutex`. Poison is ignored: no change under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The components of a path, empty ones and `.` dropped.
pub(crate) struct Segments<'a> {
    rest: &'a str,
}

impl<'a> Segments<'a> {
    pub(crate) fn new(path: &'a str) -> Self {
        Segments { rest: path }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        while !self.rest.is_empty() {
            let len = self.rest.bytes().position(|b| b == b'/').unwrap_or(self.rest.len());
            let (name, rest) = self.rest.split_at(len);
            self.rest = rest.get(1..).unwrap_or_default();
            if !matches!(name, "" | ".") {
                return Some(name);
            }
        }
        None
    }
}

/// The cell of one node; whoever owns it locks it.
#[derive(Default)]
pub(crate) struct Register {
    value: Option<Arc<u64>>,
    revision: u64,
}

impl Register {
    fn is_filled(&self) -> bool {
        self.value.is_some()
    }
    fn load(&self) -> (Option<Arc<u64>>, u64) {
        (self.value.clone(), self.revision)
    }
    fn read(&self) -> (Option<u64>, u64) {
        (self.value.as_deref().copied(), self.revision)
    }
    /// Puts `value` in; what was there, to be freed after unlocking, and the revision.
    fn replace(&mut self, value: Option<Arc<u64>>) -> (Option<Arc<u64>>, u64) {
        if value.is_some() || self.value.is_some() {
            self.revision += 1;
        }
        (std::mem::replace(&mut self.value, value), self.revision)
    }
}

/// The first bytes of a name as a number that sorts as they do: settles most comparisons of names
/// without a look at them.
fn prefix(name: &str) -> u64 {
    let mut bytes = [0; 8];
    let len = name.len().min(bytes.len());
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    u64::from_be_bytes(bytes)
}

/// Names copied out from under a lock, in two allocations whatever their number.
struct NameList {
    text: String,
    /// The prefix of each name, and from where to where it stands.
    names: Vec<(u64, usize, usize)>,
}

impl NameList {
    fn with_capacity(len: usize) -> Self {
        NameList { text: String::with_capacity(len * 8), names: Vec::with_capacity(len) }
    }

    fn collect<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let mut list = NameList::with_capacity(names.len());
        names.for_each(|name| list.push(name));
        list
    }

    fn push(&mut self, name: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        self.names.push((prefix(name), start, self.text.len()));
    }

    /// Calls `each` on the names in order.
    fn sorted(mut self, mut each: impl FnMut(&str)) {
        let text = self.text.as_str();
        self.names.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| text[a.1..a.2].cmp(&text[b.1..b.2]))
        });
        for &(_, start, end) in &self.names {
            each(&text[start..end]);
        }
    }
}

/// Children with handles taken under a lock.
struct HandleList<H>(Vec<(u64, Arc<str>, H)>);

impl<H> HandleList<H> {
    fn with_capacity(len: usize) -> Self {
        HandleList(Vec::with_capacity(len))
    }

    fn push(&mut self, name: &Arc<str>, handle: H) {
        self.0.push((prefix(name), Arc::clone(name), handle));
    }

    /// Calls `each` on the children in the order of their names; releases them at the end.
    fn sorted(mut self, mut each: impl FnMut(&str, &H)) {
        self.0.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        for (_, name, handle) in &self.0 {
            each(name, handle);
        }
    }
}
