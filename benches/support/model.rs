//! The contract in its plainest form: what every implementation is compared with.

use std::collections::BTreeMap;

#[derive(Default)]
struct Entry {
    handles: usize,
    value: Option<u64>,
    revision: u64,
}

/// A tree as a map of canonical paths; `""` is the root.
pub(crate) struct Model {
    nodes: BTreeMap<String, Entry>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Model { nodes: BTreeMap::from([(String::new(), Entry::default())]) }
    }

    /// The canonical form of `path` under `base`.
    pub(crate) fn join(base: &str, path: &str) -> String {
        let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
        base.split('/').filter(|name| !name.is_empty()).chain(names).collect::<Vec<_>>().join("/")
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    pub(crate) fn read(&self, path: &str) -> (Option<u64>, u64) {
        self.nodes.get(path).map_or((None, 0), |node| (node.value, node.revision))
    }

    /// Names of the children, sorted.
    pub(crate) fn children(&self, path: &str) -> Vec<String> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut names: Vec<String> = self
            .nodes
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix))
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .map(String::from)
            .collect();
        names.sort_unstable();
        names
    }

    /// Counts a handle to `path`, creating what is missing.
    pub(crate) fn acquire(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            self.nodes.entry(path[..end].into()).or_default();
        }
        self.nodes.entry(path.into()).or_default().handles += 1;
    }

    /// Gives a handle to `path` back; what nothing keeps any more vanishes.
    pub(crate) fn release(&mut self, path: &str) {
        self.nodes.get_mut(path).expect("a node with a handle").handles -= 1;
        let mut at = path;
        while !at.is_empty() {
            let node = &self.nodes[at];
            if node.handles > 0 || node.value.is_some() || !self.children(at).is_empty() {
                return;
            }
            self.nodes.remove(at);
            at = at.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }

    /// Replaces the value at `path`, to which there is a handle; the revision after it.
    pub(crate) fn store(&mut self, path: &str, value: Option<u64>) -> u64 {
        let node = self.nodes.get_mut(path).expect("a node with a handle");
        if node.value.is_some() || value.is_some() {
            node.revision += 1;
        }
        node.value = value;
        node.revision
    }
}
