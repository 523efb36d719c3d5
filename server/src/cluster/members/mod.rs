//! Who is in the cluster.
//!
//! Each host asks others in turn whether they are there, and passes on what it hears (SWIM, by `foca`); it
//! compares all that it knows with a random host from time to time; and it asks for the records that it has
//! heard of. What comes of it is a [`View`], which may be another on another host for seconds: nobody decides
//! for all.
//!
//! ```text
//!  core      the rules, without clock or network: driven by `driver`, and by the simulation in `tests`;
//!            of them, `twin` is about another process with this host's key
//!  identity  one life of a host      roster   what has become of whom
//!  codec     packets                 sync     what is told over streams      wire: the bytes of both
//!  record(s) what hosts tell of themselves, and what of that is missing
//!  driver    tasks and streams around a core      seeds    where to find the first others
//! ```
//!
//! # What is promised
//! * A host that stops is found by all; one that lives is not lost for ever, as those that took it for dead
//!   try it again, and what was cut apart finds itself again.
//! * A greater [`Identity`] of a host replaces a lesser, whatever the order in which they are heard of. A
//!   restart is a greater generation. A host that is taken for dead and is not comes back as the same life,
//!   renewed; one that is taken for a later life than it is (its clock was put back, or somebody lies) takes
//!   a later one yet.
//! * Of two processes that have one key, one stops, and tells nobody that the host goes: the one that comes to a
//!   cluster in which the other is, or the one that finds out that the other has begun later.
//! * Time in which the host stood still does not count: it does not take the others for dead on waking up.
//!
//! # What a member can do that lies
//! The sender of each packet and message is who the transport says; what it says of others cannot be proven.
//! It can say that a host is down, or has left: that one hears it and comes back within seconds, unless told so
//! again. It can say that a host was restarted: that one takes a later life yet, and all see it restart, though
//! what goes over its connections goes on. A life in the far future nobody believes of another, but the host itself
//! takes a later one if it is told that it is known by that: it may have been, when its clock was ahead. It can
//! give a host another address, until that one hears it, or a wrong record where none has come yet, until the host
//! says otherwise: whoever calls is still sure whom he reaches, as the transport's certificates decide that. It
//! cannot speak as another, replace a record that has come, or fill the memory of others (their number is bounded).

mod codec;
mod core;
mod driver;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod identity;
mod outbox;
mod params;
mod record;
mod records;
mod roster;
mod seeds;
mod sync;
#[cfg(test)]
mod tests;
mod timers;
mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::bytes::Bytes;

use super::HostId;
pub(crate) use crate::hosts::State;
use identity::Identity;

pub(crate) use driver::Members;
pub(crate) use params::Params;
pub(crate) use record::{Record, RecordTooLarge};
pub(crate) use seeds::Seeds;
pub use seeds::{BadSeed, Seed};

/// This host, as it was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Me {
    pub(crate) id: HostId,
    /// When it was started, in milliseconds since 1970.
    pub(crate) generation: u64,
    /// Where the others reach it.
    pub(crate) at: SocketAddr,
}

/// A host, as far as is known here.
#[derive(Clone, Debug)]
pub(crate) struct Member<T = Instant> {
    pub(crate) id: HostId,
    /// Another one is another life: what was cached of the former has ended.
    pub(crate) generation: u64,
    pub(crate) at: SocketAddr,
    pub(crate) state: State,
    /// Since when it is in that state, in that life.
    pub(crate) since: T,
    /// What it tells of itself; the one before, while the latest has not come.
    pub(crate) record: Option<Arc<Record>>,
}

impl<T> Member<T> {
    /// Whether it is worth trying.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up | State::Suspect)
    }
}

/// All hosts that are known here, this one included; those that left or failed for an hour.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) hosts: BTreeMap<HostId, Member>,
}

/// What [`Members`] needs of the connections between hosts.
pub(crate) trait Transport: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Sends a packet of at most [`MAX_PACKET`] bytes, or loses it. Never waits.
    fn send(&self, to: HostId, at: SocketAddr, packet: Bytes);

    /// A stream to a host, which arrives there at [`Members::sync`].
    fn open_sync(
        &self,
        to: HostId,
        at: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Who is at an address.
    fn meet(&self, at: SocketAddr) -> impl Future<Output = io::Result<HostId>> + Send;

    /// Whether another process is at an address that has shown to have this host's key.
    fn is_twin(&self, at: SocketAddr) -> impl Future<Output = bool> + Send;
}

/// What was counted since the host was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) packets_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Hosts that did not answer, and for which nobody else got an answer.
    pub(crate) probes_failed: u64,
    /// Hosts that came to be suspected here, by whomever.
    pub(crate) suspicions: u64,
    /// Suspicions of this host that it has contradicted.
    pub(crate) refutations: u64,
    /// How often this host came back from being taken for dead.
    pub(crate) renewals: u64,
    /// Packets whose sender is not who they say it is: dropped.
    pub(crate) forged: u64,
    /// Packets and messages that could not be read: dropped.
    pub(crate) malformed: u64,
    /// Claims of a host that was started in the future: dropped.
    pub(crate) from_the_future: u64,
    /// Claims of a host that there is no place for: dropped.
    pub(crate) no_place: u64,
    /// What foca refused.
    pub(crate) errors: u64,
    /// Comparisons of all that is known, begun here.
    pub(crate) syncs: u64,
    /// Questions for records, asked here.
    pub(crate) pulls: u64,
    /// Either, begun by others.
    pub(crate) answered: u64,
    /// Either, whoever began it, that came to no end.
    pub(crate) broken: u64,
}
