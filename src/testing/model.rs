//! The contract as a sequential tree, slow and plain.

use std::collections::BTreeMap;

use super::grammar::reference_parse;
use crate::{Limits, PathError, StoreErrorKind, WalkError};

/// Which node, for ever: a node that is created again under the same path gets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

/// What a cell holds, by the number of its value, and its revision.
pub(super) type ModelLoaded = (Option<u64>, u64);

/// The revision after a store, or why nothing was stored and the present revision.
pub(super) type ModelStored = Result<u64, (StoreErrorKind, u64)>;

struct Node {
    parent: Option<NodeId>,
    name: Vec<u8>,
    depth: usize,
    handles: usize,
    value: Option<u64>,
    revision: u64,
    children: BTreeMap<Vec<u8>, NodeId>,
}

/// The reference tree. Whoever asks for a node that is not there made a mistake: it panics.
pub struct Model {
    limits: Limits,
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
}

impl Model {
    /// The root, which lives as long as the tree.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree of a root.
    pub fn new(limits: Limits) -> Self {
        Model::below(limits, "", 0)
    }

    /// What is at and below a node that is alone at first.
    pub fn below(limits: Limits, name: &str, depth: usize) -> Self {
        let mut model = Model { limits, nodes: BTreeMap::new(), next: 0 };
        model.add(None, name.into(), depth);
        model
    }

    fn add(&mut self, parent: Option<NodeId>, name: Vec<u8>, depth: usize) -> NodeId {
        let id = NodeId(self.next);
        self.next += 1;
        if let Some(parent) = parent {
            self.at_mut(parent).children.insert(name.clone(), id);
        }
        let children = BTreeMap::new();
        let node = Node { parent, name, depth, handles: 0, value: None, revision: 0, children };
        self.nodes.insert(id, node);
        id
    }

    fn at(&self, id: NodeId) -> &Node {
        &self.nodes[&id]
    }

    fn at_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("the model was asked for a node that is gone")
    }

    /// Nodes, the root included.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The last component of the node's path; nothing for the root.
    pub fn name(&self, id: NodeId) -> &[u8] {
        &self.at(id).name
    }

    /// The children, sorted by name.
    pub fn children(&self, id: NodeId) -> Vec<NodeId> {
        self.at(id).children.values().copied().collect()
    }

    /// The node at `path`, if there is one; creates nothing.
    pub fn lookup(&self, from: NodeId, path: &[u8]) -> Result<Option<NodeId>, PathError> {
        let names = reference_parse(path, self.at(from).depth, &self.limits)?;
        Ok(names.iter().try_fold(from, |at, &name| self.at(at).children.get(name).copied()))
    }

    /// The node at `path`, created if missing, with one handle more.
    ///
    /// # Errors
    /// Every reason there is to refuse: which of several limits a walk names is its own choice.
    pub fn walk(&mut self, from: NodeId, path: &[u8]) -> Result<NodeId, Vec<WalkError>> {
        let names = reference_parse(path, self.at(from).depth, &self.limits)
            .map_err(|error| vec![WalkError::Path(error)])?;
        let mut at = from;
        for (i, &name) in names.iter().enumerate() {
            let Node { ref children, depth, .. } = *self.at(at);
            at = match children.get(name) {
                Some(&child) => child,
                None => {
                    // From here on every node is missing: all of them fit or none is made.
                    let (limit, missing) = (self.limits.children, names.len() - i);
                    let mut refusals = Vec::new();
                    if children.len() >= limit {
                        refusals.push(WalkError::TooManyChildren { limit, depth });
                    }
                    if missing > self.limits.nodes.saturating_sub(self.nodes()) {
                        refusals.push(WalkError::TooManyNodes { limit: self.limits.nodes });
                    }
                    if !refusals.is_empty() {
                        return Err(refusals);
                    }
                    self.add(Some(at), name.to_vec(), depth + 1)
                }
            };
        }
        self.acquire(at);
        Ok(at)
    }

    /// Counts one handle more.
    pub fn acquire(&mut self, id: NodeId) {
        self.at_mut(id).handles += 1;
    }

    /// Counts one handle less; the node goes if nothing holds it, and its parents likewise.
    pub fn release(&mut self, id: NodeId) {
        self.at_mut(id).handles -= 1;
        self.prune(id);
    }

    fn prune(&mut self, mut id: NodeId) {
        loop {
            let node = self.at(id);
            let held = node.handles > 0 || node.value.is_some() || !node.children.is_empty();
            let Some(parent) = node.parent.filter(|_| !held) else { return };
            let name = self.nodes.remove(&id).expect("it was just looked at").name;
            self.at_mut(parent).children.remove(&name);
            id = parent;
        }
    }

    /// What the cell holds.
    pub fn load(&self, id: NodeId) -> ModelLoaded {
        let node = self.at(id);
        (node.value, node.revision)
    }

    /// What a load by path reads: a missing node is an empty cell at revision 0.
    pub fn load_at(&self, from: NodeId, path: &[u8]) -> Result<ModelLoaded, PathError> {
        Ok(self.lookup(from, path)?.map_or((None, 0), |id| self.load(id)))
    }

    /// Puts a value, or nothing, in the cell; what it held before.
    pub fn swap(&mut self, id: NodeId, value: Option<u64>) -> ModelLoaded {
        let before = self.load(id);
        let node = self.at_mut(id);
        if node.value.is_some() || value.is_some() {
            node.revision += 1;
        }
        node.value = value;
        self.prune(id);
        before
    }

    /// The revision afterwards, or why not and the present revision.
    pub fn store(&mut self, id: NodeId, value: Option<u64>, overwrite: bool) -> ModelStored {
        if !overwrite && self.at(id).value.is_some() {
            return Err((StoreErrorKind::Occupied, self.at(id).revision));
        }
        self.swap(id, value);
        Ok(self.at(id).revision)
    }

    /// Stores at `path`; nothing is stored where nothing is by creating nothing.
    pub fn store_at(
        &mut self,
        from: NodeId,
        path: &[u8],
        value: Option<u64>,
        overwrite: bool,
    ) -> Result<ModelStored, Vec<WalkError>> {
        let found = self.lookup(from, path).map_err(|error| vec![WalkError::Path(error)])?;
        if value.is_none() && found.is_none() {
            return Ok(Ok(0));
        }
        let id = self.walk(from, path)?;
        let stored = self.store(id, value, overwrite);
        self.release(id);
        Ok(stored)
    }

    /// Stores if the revision is the expected one.
    pub fn compare_and_store(
        &mut self,
        id: NodeId,
        expected: u64,
        value: Option<u64>,
    ) -> ModelStored {
        if self.at(id).revision != expected {
            return Err((StoreErrorKind::Conflict, self.at(id).revision));
        }
        self.store(id, value, true)
    }
}
