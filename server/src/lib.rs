//! A Cap'n Proto server over killick's tree of anchors.
//!
//! # The life of a request
//! ```text
//!  listen      accepts a connection, counts it, hands its socket to a worker
//!  access      who may connect, and the anchor that they get as their root; TLS
//!  shared      what all threads share
//!  worker      one OS thread with one single-threaded runtime: the seam where `Send` ends
//!  connection  runs the RPC system over it, to an orderly end
//!  session     what the connection holds: one object for each node, and what its client hosts
//!  service     one file for each interface of the schema, one function for each method
//!  place       a node, and what may be done there: all, or what was granted
//!  channel     values from senders to receivers; knows nothing of the wire. `end`: a right to one side;
//!              `channels`: all of a server, and an end to those that are out of everybody's reach
//!  wire        the only translator: text to path, value to and from message, error to error
//!  watching    what a watch is told of, and was told last; `hub` wakes those that wait for one cell
//!  process     programs that are started for clients, each with a connection of its own
//!  owners      the values that die with a connection
//!  bridge      capabilities that clients host: kept by their worker, called from any other through a
//!              proxy of ours; knows nothing of anchors, which `cap` tells it of
//!  hosts       who else is in the cluster, and the one connection to each: `router`; `far`: its anchor
//!  cluster     what connects hosts: certificates, QUIC, membership; with the feature of that name
//!  stats       what is counted of connections and calls; `metrics` tells it by HTTP; `refusals`: of those
//!              that are not served
//!  pki         keys, certificates and lists of those revoked, as `killick ca` and `killick cert` make them
//!  net         the stream below the messages: back-pressure, time limits, closing
//! ```
//! A node lives as long as a client holds a capability to it: the release of the last one, or the
//! end of the connection that holds it, drops the anchor, and with it the node.
//!
//! # Examples
//! ```
//! use killick_server::{Config, Address, Server};
//!
//! let server = Server::start(Config::for_test(["tcp:127.0.0.1:0".parse()?]))?;
//! assert!(matches!(&server.addresses()[0], Address::Tcp(at) if !at.ends_with(":0")));
//! server.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod access;
mod bridge;
mod cap;
mod channel;
mod channels;
#[cfg(feature = "cluster")]
mod cluster;
mod config;
mod connection;
mod end;
mod few;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
#[cfg_attr(not(feature = "cluster"), allow(dead_code, reason = "there is no other host"))]
mod hosts;
mod hub;
mod listen;
mod metrics;
mod net;
mod owners;
#[doc(hidden)]
pub mod pki;
mod place;
mod process;
mod refusals;
mod server;
mod service;
mod session;
mod shared;
mod shutdown;
mod simulated;
mod stats;
mod system;
mod watching;
mod wire;
mod worker;

pub use access::{Authorized, AuthorizedError, BadLine, LineError, Tls, TlsError};
#[cfg(feature = "cluster")]
pub use cluster::{
    BadSeed, ClusterConfig, ClusterError, ClusterIdentity, ClusterIdentityError, ClusterSecret,
    ClusterSecretError, Seed,
};
pub use config::Config;
#[cfg(all(feature = "cluster", any(test, feature = "fuzzing")))]
#[doc(hidden)]
pub use fuzzing::fuzz_members;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use fuzzing::{fuzz_session, fuzz_two_sessions};
pub use killick_client::{
    Address, AddressError, Fingerprint, FingerprintError, Identity, IdentityError, default_address,
};
pub use listen::ListenError;
pub use pki::ClusterNameError;
pub use process::{Allowed, AllowedError, launch};
pub use server::{Server, StartError, serve};
pub use shutdown::stop_signal;
pub use simulated::{Filled, Held, Simulated};
