//! Hosts that are one tree.
//!
//! ```text
//!  ident    what a host shows the others, and whom it takes for one: keys, certificates, the secret
//!  fabric   connections between hosts, and what goes over them: packets and streams (QUIC)
//!  members  who is there (SWIM)
//!  ways     how members reach others, and what is told of seeds that nobody answers at
//!  advertised  whether others are reached where they say that they are
//!  lan      where others may be, by multicast DNS (feature `mdns`)
//!  run      the thread of both: what members know becomes the server's view of the hosts, streams of calls
//!           become connections of its workers, and who wants to reach a host gets one
//!  metrics  what is counted of all that
//!  config   what a host is told of its cluster
//!  seldom   lines of the log that others can cause
//! ```
//! The rest of the server knows of other hosts by [`hosts`](crate::hosts) alone.

mod advertised;
mod config;
mod error;
mod fabric;
mod ident;
#[cfg(feature = "mdns")]
mod lan;
mod members;
mod metrics;
mod run;
mod seldom;
#[cfg(test)]
mod tests;
mod ways;

pub(crate) use crate::hosts::HostId;
pub use config::ClusterConfig;
pub use error::ClusterError;
pub use ident::{ClusterIdentity, ClusterIdentityError, ClusterSecret, ClusterSecretError};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use members::fuzzing::run as fuzz_members;
pub use members::{BadSeed, Seed};
pub(crate) use metrics::encode as encode_metrics;
pub(crate) use run::{Handle, begin};
