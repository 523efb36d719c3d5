//! A lock-free tree of named, reference-counted registers.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("killick packs tags and revisions into 64-bit words");

mod limits;
mod path;

mod anchor;
mod cell;
mod ls;
mod prune;
mod tree;
mod walk;

mod node;
mod raw;
mod sync;

pub use anchor::Anchor;
pub use cell::{Loaded, Loader, StoreAtError, StoreError, StoreErrorKind, Storer};
pub use limits::Limits;
pub use ls::Names;
pub use path::PathError;
/// Runs models of the tree's races.
#[cfg(loom)]
#[doc(hidden)]
pub mod model {
    pub use crate::raw::epoch::{check, spawn};
}
pub use raw::epoch::reclaim;
pub use raw::value::Value;
pub use tree::Tree;
pub use walk::WalkError;

#[doc(hidden)]
pub mod testing;

#[cfg(all(test, not(loom)))]
mod tests;
