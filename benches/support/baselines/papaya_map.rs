//! papaya's hash table as the children of a node.
//!
//! Each has a collector of its own, of some 18 KB. Sharing one between them is not sound in papaya
//! 0.2.5: dropping any map reclaims at once what all others have put off.

use std::sync::Arc;

use foldhash::fast::FixedState;
use papaya::HashMap;

use super::per_node_map::{Map, Node};

pub(crate) struct PapayaMap(HashMap<Arc<str>, Arc<Node<PapayaMap>>, FixedState>);

impl Map for PapayaMap {
    const NAME: &'static str = "papaya per node";
    const SMALL: bool = false;

    fn with_hasher(hasher: FixedState) -> Self {
        PapayaMap(HashMap::with_hasher(hasher))
    }
    fn get(&self, name: &str) -> Option<Arc<Node<Self>>> {
        self.0.pin().get(name).cloned()
    }
    fn insert(&self, node: &Arc<Node<Self>>) -> bool {
        self.0.pin().try_insert(Arc::clone(&node.name), Arc::clone(node)).is_ok()
    }
    fn remove(&self, node: &Arc<Node<Self>>) {
        let same = |_: &Arc<str>, linked: &Arc<Node<Self>>| Arc::ptr_eq(linked, node);
        // Another one in its place stays there.
        let _unlinked = self.0.pin().remove_if(&node.name, same);
    }
    fn clear(&self) {
        self.0.pin().clear();
    }
    fn for_each(&self, each: impl FnMut(&Arc<Node<Self>>)) {
        self.0.pin().values().for_each(each);
    }
}
