//! One file for each pair of racing operations. Each model runs the tree's real code; only the
//! primitives below it are loom's. The name of a function is what its model promises.
//!
//! A model asserts the set of legal outcomes, and `check` asserts in each execution that nothing is
//! read before it is initialised or after it is freed, freed twice, or leaked.
//!
//! Which file has which pair; a list is `ls`, `names` or a page of either, a change is a store, swap,
//! clear or compare-and-store, and what reads a path (`load_at`) is a look-up and a load:
//!
//! |          | walk | lookup | list | load | change | last drop | tree's end |
//! |----------|------|--------|------|------|--------|-----------|------------|
//! | walk     | `walk_vs_walk`, `table`, `limits` | | | | | | |
//! | lookup   | `lookup_vs_create` | – | | | | | |
//! | list     | `ls_vs_create_and_prune` | – | – | | | | |
//! | load     | `load_at_vs_replace` | – | – | – | | | |
//! | change   | `store_vs_drop` (`store_at`) | `lookup_vs_create` | `ls_vs_store` | `change_vs_load` | `change_vs_load`, `clear_vs_release` | | |
//! | last drop | `walk_vs_drop`, `create_vs_cascade`, `limits` | `walk_vs_drop` | `ls_vs_create_and_prune` | `store_vs_drop` | `store_vs_drop`, `clear_vs_release` | `create_vs_cascade`, `table` | |
//! | tree's end | `walk_vs_close` | `walk_vs_close` | `walk_vs_close` | `walk_vs_close` | `store_vs_drop` | `walk_vs_close` | – |
//! | watch, wait | `watch_vs_change` | – | – | – | `watch_vs_change` | `watch_vs_change` | `watch_vs_close` |
//!
//! A dash: both only read. Two lists read only while they need not stop the changes; if they have to,
//! each freezes the table and builds the next one, as two walkers do in `table`.
#![cfg(loom)]

use std::sync::Arc;

use killick::model::spawn;
use killick::{Anchor, Limits, Tree};

mod change_vs_load;
mod clear_vs_release;
mod count_vs_create_and_prune;
mod create_vs_cascade;
mod limits;
mod load_at_vs_replace;
mod lookup_vs_create;
mod ls_vs_create_and_prune;
mod ls_vs_store;
mod mutants;
mod store_vs_drop;
mod table;
mod three_threads;
mod walk_vs_close;
mod walk_vs_drop;
mod walk_vs_walk;
mod watch_vs_change;
mod watch_vs_close;

/// A tree whose nodes hold numbers.
fn tree() -> Arc<Tree<u32>> {
    Arc::new(Tree::new(Limits::default()))
}

fn walk(tree: &Tree<u32>, path: &str) -> Anchor<u32> {
    tree.root().walk(path).expect("within the limits")
}

/// After everything was given back, the root alone is left.
fn assert_empty(tree: &Tree<u32>) {
    assert_eq!(tree.root().child_count(), 0, "nodes are left under the root");
    assert_eq!(tree.nodes(), 1, "nodes are counted that do not exist");
}
