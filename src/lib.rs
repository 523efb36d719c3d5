//! A lock-free tree of named, reference-counted registers, in memory: one place where the parts of a
//! program find each other.
//!
//! A path such as `host/mailbox` names a register. Someone stores a channel's send end there; someone
//! else walks to it, loads it and sends. A node appears when a path to it is walked, and vanishes when
//! nobody refers to it, it has no children and its register is empty. There is no way up, so an
//! [`Anchor`] confines its holder to a subtree.
//!
//! ```
//! use std::sync::mpsc;
//! use killick::{Limits, Tree};
//!
//! let tree = Tree::new(Limits::default());
//! let (sender, receiver) = mpsc::sync_channel(1);
//!
//! // One side knows the path and stores.
//! tree.root().store_at("workers/7/inbox", sender, false)?;
//!
//! // Another walks there, loads and sends.
//! let worker = tree.root().walk("workers/7").unwrap(); // confined to what is below
//! let inbox = worker.load_at("inbox").unwrap().value.expect("somebody stored it");
//! inbox.send("hello").unwrap();
//! assert_eq!(receiver.recv(), Ok("hello"));
//!
//! // A path that nobody keeps is not there.
//! assert!(tree.root().lookup("workers/8").unwrap().is_none());
//! // A path that is none says where.
//! let error = tree.root().walk("workers/../7").unwrap_err();
//! assert_eq!(error.to_string(), "component '..' at offset 8: there is no way up");
//! # Ok::<(), killick::StoreAtError<mpsc::SyncSender<&str>>>(())
//! ```
//!
//! # The contract
//! | | |
//! |---|---|
//! | one path, one live node | at no moment do two live nodes answer to one path |
//! | dead is final | a node without references is never revived; whoever walks there gets a fresh one |
//! | look-up takes the reference | between finding a node and holding it there is no window |
//! | nothing leaks | after the last handle and the last value the tree holds its root alone |
//! | a failing call leaves nothing | no node that it created stays behind, and values come back to the caller |
//! | operations on one node are linearizable | and so is a list of one node's children; there is no transaction over several nodes |
//! | narrowed is narrowed | what is reached through a [`Narrow`] anchor has its grants, for ever, and fails once one is revoked: [`docs::authority`] |
//! | no method blocks | each says whether it is wait-free or lock-free, and the exceptions, which are those of [`Narrow`]; memory is freed later ([`docs::reclamation`]) |
//!
//! # When to use something else
//! One table of names that seldom change is as well served by a `RwLock<HashMap>`; see
//! [`docs::guarantees`]. A tree here is for paths that come and go under many threads, and for handing
//! out parts of it.
//!
//! # More
//! [`docs`] has the guarantees, authority, the memory orderings with the models that show each to be needed,
//! reclamation, limits, and performance.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("killick packs tags and revisions into 64-bit words");

// Texts and bounds; leaves.
mod limits;
mod path;

// The public handle and what it delegates to: the way down, the way up, the list, the register, and who
// watches them.
mod anchor;
mod cell;
mod ls;
mod prune;
mod tree;
mod walk;
mod watch;

// Anchors that give less than all.
mod authority;
mod read_only;

// One node; below it the only unsafe code; below that the primitives.
mod node;
mod raw;
mod sync;

pub mod docs;
#[doc(hidden)]
pub mod testing;

pub use anchor::Anchor;
pub use authority::{
    Allowance, Authority, Charge, Denied, Grant, Kept, Narrow, NarrowError, NarrowLoader,
    NarrowStoreAtError, NarrowStoreError, NarrowStorer, NarrowWait, NarrowWatch, Resource,
    Revocable, Revoked, Right, Rights, UnknownRight,
};
pub use cell::{Loaded, Loader, StoreAtError, StoreError, StoreErrorKind, Storer};
pub use limits::Limits;
pub use ls::Names;
pub use path::PathError;
pub use raw::epoch::reclaim;
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use raw::inherited::{close_all_but, inherited};
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use raw::signals::{default_signals, signal_group};
pub use raw::value::Value;
pub use read_only::ReadOnly;
pub use tree::Tree;
pub use walk::WalkError;
pub use watch::{ChildrenChange, Wait, Watch, WatchChildren};

/// Runs models of the tree's races.
#[cfg(any(loom, shuttle))]
#[doc(hidden)]
pub mod model {
    #[cfg(loom)]
    pub use crate::raw::model::{check, live, spawn};
    pub use crate::raw::model::{execution, use_hash_bits};

    /// Whether changes of the anchor's children are to be told to watchers.
    pub fn tells_of_children<V: Send + Sync + 'static>(anchor: &crate::Anchor<V>) -> bool {
        let guard = crate::sync::Guard::pin();
        anchor.held().node_under(&guard).children.load(&guard).is_marked()
    }
}

/// Compiles what the README shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
