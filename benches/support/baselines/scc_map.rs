//! scc's hash map as the children of a node.
//!
//! Its readers lock a bucket. Those of scc's indices lock nothing, but an index cannot be the value
//! in another: in scc 3.8 the collector that frees the outer one's entries waits for itself when the
//! inner one is dropped.

use std::sync::Arc;

use foldhash::fast::FixedState;
use scc::HashMap;

use super::per_node_map::{Map, Node};

pub(crate) struct SccMap(HashMap<Arc<str>, Arc<Node<SccMap>>, FixedState>);

impl Map for SccMap {
    const NAME: &'static str = "scc per node";
    const SMALL: bool = true;

    fn with_hasher(hasher: FixedState) -> Self {
        SccMap(HashMap::with_hasher(hasher))
    }
    fn get(&self, name: &str) -> Option<Arc<Node<Self>>> {
        self.0.read_sync(name, |_, node| Arc::clone(node))
    }
    fn insert(&self, node: &Arc<Node<Self>>) -> bool {
        self.0.insert_sync(Arc::clone(&node.name), Arc::clone(node)).is_ok()
    }
    fn remove(&self, node: &Arc<Node<Self>>) {
        let _unlinked = self.0.remove_if_sync(&node.name, |linked| Arc::ptr_eq(linked, node));
    }
    fn clear(&self) {
        self.0.clear_sync();
    }
    fn for_each(&self, mut each: impl FnMut(&Arc<Node<Self>>)) {
        self.0.iter_sync(|_, node| {
            each(node);
            true
        });
    }
}
