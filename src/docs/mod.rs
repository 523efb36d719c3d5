//! What the crate promises, and why it can.

#[doc = include_str!("authority.md")]
pub mod authority {}
#[doc = include_str!("cluster.md")]
pub mod cluster {}
#[doc = include_str!("guarantees.md")]
pub mod guarantees {}
#[doc = include_str!("limits.md")]
pub mod limits {}
#[doc = include_str!("mutations.md")]
pub mod mutations {}
#[doc = include_str!("orderings.md")]
pub mod orderings {}
#[doc = include_str!("performance.md")]
pub mod performance {}
#[doc = include_str!("processes.md")]
pub mod processes {}
#[doc = include_str!("reclamation.md")]
pub mod reclamation {}
