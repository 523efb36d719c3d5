//! The capabilities that the server itself offers, and the bridge's types for a server of these.

use std::fmt;
use std::sync::Arc;

use killick::Grant;

use crate::bridge;
use crate::end::End;
use crate::hosts::{Far, HostId};
use crate::place::Place;
use crate::process::{Hand, Which};
use crate::session::Session;
use crate::watching::Watching;
use crate::wire::Stored;

/// An anchor of the server's tree.
pub(crate) type Node = killick::Anchor<Stored>;

/// What a capability of the server's own stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Own {
    /// The bootstrap capability: the host.
    Host,
    /// The cluster's anchor, whose children are the hosts: this one's anchor.
    Cluster(Place),
    /// The anchor of another host.
    Far(Far),
    /// What another host has of this one.
    Peer(HostId),
    /// An anchor.
    Anchor(Place),
    /// The right to read a node's cell.
    Loader(Place),
    /// The right to write a node's cell.
    Storer(Place),
    /// The right to take back what was given away.
    Grant(Grant),
    /// The right to be told of changes.
    Watch(Arc<Watching>),
    /// An end of a channel.
    Channel(End),
    /// A process that was started.
    Process(Hand),
    /// A stream of one.
    Stream(Hand, Which),
}

impl Own {
    /// The most nodes, the root apart, that are kept alive by holding it.
    pub(crate) fn nodes(&self) -> usize {
        match self {
            Own::Host | Own::Far(_) | Own::Peer(_) => 0,
            Own::Grant(_) | Own::Channel(_) | Own::Process(_) | Own::Stream(..) => 0,
            Own::Cluster(place) | Own::Anchor(place) | Own::Loader(place) | Own::Storer(place) => {
                place.nodes()
            }
            Own::Watch(watching) => watching.place().nodes(),
        }
    }
}

/// A capability as it is kept in a value, and as the key of a connection's objects.
pub(crate) type Cap = bridge::Cap<Own>;
/// The connection of a client, as all threads know it.
pub(crate) type Origin = bridge::Origin<Own>;
/// A message with its capabilities as they are kept in a value.
pub(crate) type Parcel = bridge::Parcel<Own>;
/// A claim to what a client, or another host, hosts.
pub(crate) type Token = bridge::Token<Own>;
/// A claim that does not count to what a client hosts.
pub(crate) type WeakToken = bridge::WeakToken<Own>;
/// What the clients of one worker host.
pub(crate) type Home = bridge::Home<Session>;

/// The connection, or the process, that a capability goes with, if it goes with one.
pub(crate) fn owner(cap: &Cap) -> Option<&Origin> {
    match cap {
        Cap::Own(Own::Watch(watching)) => Some(watching.origin()),
        Cap::Own(Own::Process(hand) | Own::Stream(hand, _)) => hand.owner(),
        Cap::Own(_) => None,
        Cap::Foreign(token) => Some(token.origin()),
    }
}

/// Whether a capability has gone with what it goes with.
pub(crate) fn has_ended(cap: &Cap) -> bool {
    match cap {
        Cap::Foreign(token) => token.has_ended(),
        Cap::Own(_) => owner(cap).is_some_and(|owner| !owner.is_open()),
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Own::Host => f.write_str("Host"),
            Own::Cluster(_) => f.write_str("Cluster"),
            Own::Far(far) => write!(f, "Far({far:?})"),
            Own::Peer(host) => write!(f, "Peer({host})"),
            Own::Anchor(place) => write!(f, "Anchor({place:?})"),
            Own::Loader(place) => write!(f, "Loader({place:?})"),
            Own::Storer(place) => write!(f, "Storer({place:?})"),
            Own::Grant(grant) => grant.fmt(f),
            Own::Watch(watching) => write!(f, "Watch({:?})", watching.place()),
            Own::Channel(end) => end.fmt(f),
            Own::Process(hand) => hand.fmt(f),
            Own::Stream(hand, which) => write!(f, "{which} of {hand:?}"),
        }
    }
}
