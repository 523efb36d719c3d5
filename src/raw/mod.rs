//! The only module with `unsafe` code.
//!
//! It turns the crate's pointers into types that safe code can hold: blocks of memory ([`block`]),
//! what a pointer word can point to ([`link`]), tables of children ([`table`]), nodes and counted references to them ([`node`]),
//! values ([`value`]), a descriptor that this process was given (`inherited`), signals (`signals`), a stack of anything ([`stack`]), memory for all of them ([`cache`]), and the epoch that keeps all of them readable ([`epoch`]).
//!
//! # What it trusts the rest of the crate with
//! Types carry most of the argument: nothing is read without a guard or a counted reference, a
//! counted reference is made only by a successful increment, and a value leaves its slot by one
//! successful exchange. What remains is the protocol of the tree, which no type states. Safe code
//! in `node/`, `walk`, `prune` and `ls` keeps these rules, and each function here that relies on one
//! names it:
//!
//! - **P1 reach**: a [`node::NodeRef`] is obtained from a link read under the guard in hand, from a
//!   counted reference, or from the `parent` of such a node. A link is read from a node that was
//!   itself reached so. A node with a non-empty children word is alive, and so is every ancestor of
//!   a live node; therefore whatever a walk reaches was linked at some moment under its guard.
//! - **P2 unlink before retire**: a node or block is retired once, by the one thread that the
//!   protocol chooses, and only after no word of the tree leads to it.
//! - **P3 fresh is private**: what is freed at once was never published.
//! - **P4 one reference, one owner**: each increment of a node's count is given back once.

#![allow(unsafe_code)]

pub(crate) mod block;
#[cfg_attr(any(loom, shuttle, fuzzing, killick_check), expect(dead_code, reason = "see its page"))]
pub(crate) mod cache;
#[cfg_attr(all(any(loom, shuttle), not(crossbeam_loom)), path = "model/epoch.rs")]
pub(crate) mod epoch;
#[cfg(target_os = "linux")]
pub(crate) mod inherited;
pub(crate) mod link;
#[cfg(any(loom, shuttle))]
pub(crate) mod model;
pub(crate) mod node;
#[cfg(target_os = "linux")]
pub(crate) mod signals;
pub(crate) mod stack;
pub(crate) mod table;
pub(crate) mod value;
