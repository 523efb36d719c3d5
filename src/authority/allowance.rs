//! What may be had at a time by a grant, and the guards that count it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Authority, Denied, lock, shrink};
use crate::raw::node::NodeRef;

/// Something of which a grant may allow so much at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Nodes that are kept alive.
    Nodes,
    /// Levels below the anchor that was narrowed.
    Depth,
    /// Bytes of values.
    ValueBytes,
    /// Watches.
    Watches,
    /// Channels: nothing that the tree knows of, but what those do who make them at anchors.
    Channels,
    /// Processes: as with channels.
    Processes,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 6] = [
        Resource::Nodes,
        Resource::Depth,
        Resource::ValueBytes,
        Resource::Watches,
        Resource::Channels,
        Resource::Processes,
    ];

    /// Its name, as it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Resource::Nodes => "nodes",
            Resource::Depth => "depth",
            Resource::ValueBytes => "value-bytes",
            Resource::Watches => "watches",
            Resource::Channels => "channels",
            Resource::Processes => "processes",
        }
    }
}

impl Resource {
    /// What `count` of it are.
    pub(super) fn noun(self, count: usize) -> &'static str {
        let (one, more) = match self {
            Resource::Nodes => ("node", "nodes"),
            Resource::Depth => ("level", "levels"),
            Resource::ValueBytes => ("byte of values", "bytes of values"),
            Resource::Watches => ("watch", "watches"),
            Resource::Channels => ("channel", "channels"),
            Resource::Processes => ("process", "processes"),
        };
        if count == 1 { one } else { more }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.noun(usize::MAX))
    }
}

/// How much may be had at a time by a grant, and all that was made of it together. By default there is
/// no bound but those of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Nodes that its handles keep alive, each once, and those above them that are alive for them; the
    /// anchor that was narrowed and those above it do not count.
    pub nodes: usize,
    /// The deepest that a node may be reached, counted in components from the anchor that was narrowed.
    pub depth: usize,
    /// Bytes of values, as far as those who store them count them: [`Authority::charge`](crate::Authority::charge).
    pub value_bytes: usize,
    /// Watches.
    pub watches: usize,
    /// Channels, as far as those who make them count them.
    pub channels: usize,
    /// Processes, as far as those who start them count them.
    pub processes: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        let all = usize::MAX;
        Allowance {
            nodes: all,
            depth: all,
            value_bytes: all,
            watches: all,
            channels: all,
            processes: all,
        }
    }
}

impl Allowance {
    /// How much of `resource` there may be.
    pub fn of(&self, resource: Resource) -> usize {
        match resource {
            Resource::Nodes => self.nodes,
            Resource::Depth => self.depth,
            Resource::ValueBytes => self.value_bytes,
            Resource::Watches => self.watches,
            Resource::Channels => self.channels,
            Resource::Processes => self.processes,
        }
    }

    /// The same with `limit` for `resource`.
    #[must_use]
    pub fn with(mut self, resource: Resource, limit: usize) -> Self {
        *match resource {
            Resource::Nodes => &mut self.nodes,
            Resource::Depth => &mut self.depth,
            Resource::ValueBytes => &mut self.value_bytes,
            Resource::Watches => &mut self.watches,
            Resource::Channels => &mut self.channels,
            Resource::Processes => &mut self.processes,
        } = limit;
        self
    }
}

/// What is had by one grant.
#[derive(Default)]
pub(super) struct Used {
    counts: [AtomicUsize; Resource::ALL.len()],
    /// The nodes that are kept, by their addresses. One that was not kept by the grant's own handle any
    /// more when the guard was dropped may have given its address to another: both are counted as one
    /// then, and each is given back.
    nodes: Mutex<HashMap<usize, Reached>>,
}

/// A node that handles of a grant keep.
struct Reached {
    /// By how many handles and children in the table.
    by: usize,
    /// The parent, if it counts.
    parent: Option<usize>,
}

impl Used {
    pub(super) fn of(&self, resource: Resource) -> usize {
        match resource {
            Resource::Nodes => lock(&self.nodes).len(),
            // Relaxed, here and below: the count alone is decided by.
            _ => self.counts[resource as usize].load(Ordering::Relaxed),
        }
    }

    fn take(&self, resource: Resource, amount: usize, limit: usize) -> Result<(), Denied> {
        let room = |used: usize| used.checked_add(amount).filter(|&sum| sum <= limit);
        let count = &self.counts[resource as usize];
        let taken = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        taken.map(drop).map_err(|_| Denied::Exhausted { resource, limit })
    }

    fn give(&self, resource: Resource, amount: usize) {
        self.counts[resource as usize].fetch_sub(amount, Ordering::Relaxed);
    }

    /// Counts `node` and those above it, up to the one at `base`, which does not count.
    fn keep<V>(&self, node: NodeRef<'_, V>, base: usize, limit: usize) -> Result<(), Denied> {
        let counts = |node: &NodeRef<'_, V>| node.addr() != base && node.parent().is_some();
        let mut nodes = lock(&self.nodes);
        let up =
            std::iter::successors(Some(node).filter(counts), |node| node.parent().filter(counts));
        let fresh = up.take_while(|node| !nodes.contains_key(&node.addr())).collect::<Vec<_>>();
        if nodes.len() + fresh.len() > limit {
            return Err(Denied::Exhausted { resource: Resource::Nodes, limit });
        }
        for node in &fresh {
            let parent = node.parent().filter(counts).map(NodeRef::addr);
            nodes.insert(node.addr(), Reached { by: 1, parent });
        }
        // The topmost of those is one more child of a node that was there already: or `node` was.
        let known = match fresh.last() {
            Some(top) => top.parent().filter(counts).map(NodeRef::addr),
            None => counts(&node).then_some(node.addr()),
        };
        if let Some(known) = known.and_then(|addr| nodes.get_mut(&addr)) {
            known.by += 1;
        }
        Ok(())
    }

    /// Takes back one [`keep`](Self::keep) of the node at `addr`.
    fn let_go(&self, addr: usize) {
        let mut nodes = lock(&self.nodes);
        let mut next = Some(addr);
        while let Some(addr) = next {
            // Not there: the one at the base, or the root.
            let Some(node) = nodes.get_mut(&addr) else { return };
            node.by -= 1;
            if node.by > 0 {
                return;
            }
            next = nodes.remove(&addr).and_then(|node| node.parent);
            shrink(&mut nodes);
        }
    }

    /// For how many nodes there is memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        lock(&self.nodes).capacity()
    }
}

/// So much of something, counted to an authority until this is dropped.
#[must_use = "it is given back when this is dropped"]
pub struct Charge {
    authority: Authority,
    resource: Resource,
    amount: usize,
}

impl Charge {
    pub(super) fn take(
        authority: &Authority,
        resource: Resource,
        amount: usize,
    ) -> Result<Self, Denied> {
        for (index, grant) in authority.grants.iter().enumerate() {
            let limit = grant.allowance().of(resource);
            if let Err(denied) = grant.counts().take(resource, amount, limit) {
                let before = &authority.grants[..index];
                before.iter().for_each(|grant| grant.counts().give(resource, amount));
                return Err(denied);
            }
        }
        Ok(Charge { authority: authority.clone(), resource, amount })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let grants = self.authority.grants.iter();
        grants.for_each(|grant| grant.counts().give(self.resource, self.amount));
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charge({} {})", self.amount, self.resource)
    }
}

/// A node, and those above it, counted to an authority as kept alive until this is dropped.
///
/// It does not keep the node: whoever has this does, or has something else that does, such as a value
/// in its cell.
#[must_use = "it is given back when this is dropped"]
pub struct Kept {
    authority: Authority,
    addr: usize,
}

impl Kept {
    /// The node is held, or its guard was pinned while it was.
    pub(super) fn count<V>(authority: &Authority, node: NodeRef<'_, V>) -> Result<Self, Denied> {
        for (index, grant) in authority.grants.iter().enumerate() {
            let limit = grant.allowance().nodes;
            if limit == usize::MAX {
                continue;
            }
            if let Err(denied) = grant.counts().keep(node, grant.base(), limit) {
                let before = &authority.grants[..index];
                before.iter().for_each(|grant| grant.counts().let_go(node.addr()));
                return Err(denied);
            }
        }
        Ok(Kept { authority: authority.clone(), addr: node.addr() })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.authority.grants.iter().for_each(|grant| grant.counts().let_go(self.addr));
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}
