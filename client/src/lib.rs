//! A typed client for a killick server: the names and the semantics of the `killick` crate, over a
//! connection.
//!
//! ```no_run
//! use killick_client::{Client, Error, Options};
//!
//! #[tokio::main(flavor = "local")]
//! async fn main() -> Result<(), Error> {
//!     let client = Client::connect(&"unix:/run/killick.sock".parse()?, Options::default()).await?;
//!     client.store_at("workers/7/inbox", "hello", false).await?; // false: only into an empty cell
//!     let loaded = client.load_at("workers/7/inbox").await?; // one round trip
//!     assert_eq!(loaded.text(), Some("hello"));
//!
//!     let worker = client.walk("workers/7").await?; // a handle: keeps the node, confines to it
//!     assert_eq!(worker.names().await?, ["inbox"]);
//!     Ok(())
//! }
//! ```
//!
//! | | |
//! |---|---|
//! | [`Client`] | one connection at a time, dialled again when it has ended; takes paths |
//! | [`Anchor`], [`Loader`], [`Storer`] | handles: the server keeps the node while one is held, and no longer than the connection |
//! | [`Grant`] | what was given away of an anchor, to take it back |
//! | [`Chan`], [`SendCloser`], [`Sender`], [`Closer`], [`Recver`] | ends of a channel, which [`Anchor::new_chan`] makes |
//! | [`Process`] | a program that the host has started: [`Anchor::exec`] |
//! | [`Value`] | text, bytes, any Cap'n Proto pointer, capabilities in it included |
//! | [`Watch`] | the state of a node, then how it changes; nothing queues |
//! | [`Batch`] | many operations, a bounded number of them in flight, results in order |
//! | [`Error`] | what happened, and above all whether anything may have been done |
//!
//! # Where it runs
//! Cap'n Proto's capabilities belong to one thread, so a [`Client`] and all that comes from it are
//! neither `Send` nor `Sync`. [`Client::connect`] starts one task with
//! [`spawn_local`](tokio::task::spawn_local), which reads, writes, and makes the calls to capabilities
//! that this client hosts. So it has to run on a
//! [`LocalRuntime`](tokio::runtime::LocalRuntime), as `#[tokio::main(flavor = "local")]` makes one, or
//! within a [`LocalSet`](tokio::task::LocalSet). No thread is started. A program with many threads
//! gives the client one of them and talks to it by channels, or connects once a thread.
//!
//! # What an error says
//! | error | was it done? | again? |
//! |---|---|---|
//! | [`Path`](Error::Path), [`Address`](Error::Address) | no: nothing was sent | never |
//! | [`Connect`](Error::Connect) | no: no server was reached, or it does not let this client in | if [`is_transient`](Error::is_transient) |
//! | [`NotFound`](Error::NotFound), [`NoHost`](Error::NoHost) | no: nothing is there | when somebody has been there |
//! | [`Refused`](Error::Refused) | no: the cell held something else | as the caller sees fit |
//! | [`Denied`](Error::Denied) | no: it is not granted, or no more | if [`is_transient`](Error::is_transient) |
//! | [`Limit`](Error::Limit) | no | if [`is_transient`](Error::is_transient) |
//! | [`Closed`](Error::Closed), [`NoReceivers`](Error::NoReceivers) | no: nothing was sent, nothing is left to receive | never: they stay so |
//! | [`NotStarted`](Error::NotStarted), [`Ended`](Error::Ended) | no: there is no such process, or none any more | as the caller sees fit |
//! | [`Disconnected`](Error::Disconnected), [`TimedOut`](Error::TimedOut) | no: it only reads, or was never sent | yes |
//! | [`UnknownOutcome`](Error::UnknownOutcome) | perhaps: it was sent, and no answer of who would do it came | look first |
//! | [`HostGone`](Error::HostGone) | no: a capability's host has gone | no: the capability is dead |
//! | [`Unreachable`](Error::Unreachable) | no: another host of the cluster has gone, or is not reached | yes |
//! | [`Failed`](Error::Failed), [`Unimplemented`](Error::Unimplemented) | no: the server says why | no |
//! | [`Protocol`](Error::Protocol) | no: it only reads; the answer makes no sense | no |
//!
//! Only operations that change a cell or a channel end with an unknown outcome: to receive is one of these,
//! for a value whose receiver did not get the answer is lost. A walk does not: what it creates
//! lives as long as the handle that it gives, and no handle was given. On an
//! [adopted](Anchor::adopt) anchor, which another client may host, they do with whatever error comes back.
//!
//! # When a connection ends
//! With it go, at the server, all its handles, the nodes that only they kept, the values that were
//! stored [bound](Value::bound), and the capabilities that this client hosts, with every value that
//! holds one. Plain values stay, unless the server itself has gone.
//!
//! At this end its handles are dead: each call on one is [`Error::Disconnected`] at once, and
//! [`Anchor::disconnected`] tells as soon as it happens. The [`Client`] dials again with the next
//! operation, backing off as [`Retry`] says, and does again what it can tell was not done: whatever was
//! not sent yet, and what only reads. It stores nothing a second time.
//!
//! # Several hosts
//! In a cluster `/<id>/…` leads to whichever host has that id, through the contacted one: the same paths,
//! handles and errors. [`Client::hosts`] tells which there are, a [watch](Client::watch_at) of `/` who comes
//! and [how who goes](Change::gone). With [`Options::direct`] the client goes there by itself, where it can.
//!
//! What waits for a host that goes meanwhile, and reads, is [`Error::HostGone`]; what changes something is
//! [`Error::UnknownOutcome`]. What is asked of one that is known to have gone is [`Error::Unreachable`].
//!
//! # Time
//! Each operation takes [`Options::timeout`] at most, dialling and all attempts included; a handle can
//! have [its own](Anchor::with_timeout). An operation that is dropped before it is done, or out of time,
//! is given up at the server too, and what it would have returned is released. If it was to change a
//! cell or a channel, it may have done so. A send or a receive that is to wait for as long as it takes needs a
//! handle [without a time limit](Recver::with_timeout). A call on a capability that another client hosts is given up there as well,
//! but never answered: it counts against the server's limit of the bytes of open calls
//! (`max_call_bytes`) until this connection ends. What waits for something to happen has no limit of time:
//! [`Watch::next`], [`Anchor::wait`] and [`Client::wait_at`] take as long as that does.
//!
//! A server whose machine has vanished without a word, by a cable or a crash, is noticed within two minutes, over
//! TCP and TLS: the system asks after it when it says nothing for one. The connection then ends as any other does:
//! calls are [`Error::Disconnected`], or [`Error::UnknownOutcome`], and watches and waits of a [`Client`] go on
//! over another one. Who has to know sooner asks for something beside them, with a time limit.
//!
//! # What there is not
//! A [`Storer`] cannot tell what it [cleared](Storer::clear): the wire does not.

#![forbid(unsafe_code)]

// Where it is and how it is reached.
mod address;
mod alive;
mod dial;
mod identity;
mod meaning;
mod options;

// The protocol: the stream, one connection over it, the calls.
mod calls;
mod connection;
mod direct;
mod greeting;
mod network;

// What is sent and what comes back.
mod error;
mod granted;
mod limit;
mod path;
mod text;
mod value;

// What people hold.
mod anchor;
mod authority;
mod batch;
mod cell;
mod channel;
mod client;
mod handle;
mod host;
mod process;
mod watch;

pub use address::{Address, AddressError, default_address};
pub use anchor::{Anchor, Child};
pub use authority::{Grant, GrantInfo};
pub use batch::Batch;
pub use cell::{Loaded, Loader, Storer};
pub use channel::{Chan, Closer, Received, Recver, SendCloser, Sender};
pub use client::Client;
pub use dial::{Stream, dial};
pub use error::Error;
pub use host::{ClientInfo, HostInfo, Member, MemberState};
pub use identity::{Fingerprint, FingerprintError, Identity, IdentityError};
pub use limit::Limit;
pub use options::{Options, Retry};
pub use process::{
    Bounds, Command, Lifetime, Process, ProcessState, ProcessStatus, Sink, Source, Stdio,
};
pub use value::{IntoValue, Kind, Value};
pub use watch::{Change, Departure, Watch, What};

// What occurs in signatures: a program needs the same versions.
pub use capnp;
pub use capnp_rpc;
pub use killick::{
    Allowance, ChildrenChange, Denied, PathError, Resource, Right, Rights, StoreErrorKind,
};
pub use killick_schema as schema;

/// What the server and its command line do in the same way. No part of what this crate promises.
#[doc(hidden)]
pub mod internal {
    pub use crate::alive::{GONE, gone, keep_alive};
    pub use crate::dial::end_is_an_end;
    pub use crate::error::{is_remote, reason};
    pub use crate::granted::{no_half, put_limits, put_rights, read_limits, read_rights};
    pub use crate::host::hosts;
    pub use crate::identity::{read_certificates, read_private};
    pub use crate::meaning::meaning;
    pub use crate::process::read_status;
    pub use crate::text::is_deceptive;
}

/// Compiles what the README shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
