//! The capabilities that the server itself offers, and the bridge's types for a server of these.

use std::fmt;

use crate::bridge;
use crate::session::Session;
use crate::wire::Stored;

/// An anchor of the server's tree.
pub(crate) type Node = killick::Anchor<Stored>;

/// What a capability of the server's own stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Own {
    /// The bootstrap capability: the host.
    Host,
    /// The cluster's anchor, whose children are the hosts.
    Cluster,
    /// An anchor.
    Anchor(Node),
    /// The right to read a node's cell.
    Loader(Node),
    /// The right to write a node's cell.
    Storer(Node),
}

impl Own {
    /// The most nodes, the root apart, that are kept alive by holding it.
    pub(crate) fn nodes(&self) -> usize {
        match self {
            Own::Host | Own::Cluster => 0,
            Own::Anchor(node) | Own::Loader(node) | Own::Storer(node) => node.depth(),
        }
    }
}

/// A capability as it is kept in a value, and as the key of a connection's objects.
pub(crate) type Cap = bridge::Cap<Own>;
/// The connection of a client, as all threads know it.
pub(crate) type Origin = bridge::Origin<Own>;
/// A message with its capabilities as they are kept in a value.
pub(crate) type Parcel = bridge::Parcel<Own>;
/// A claim that does not count to what a client hosts.
pub(crate) type WeakToken = bridge::WeakToken<Own>;
/// What the clients of one worker host.
pub(crate) type Home = bridge::Home<Session>;

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Own::Host => f.write_str("Host"),
            Own::Cluster => f.write_str("Cluster"),
            Own::Anchor(node) => write!(f, "Anchor({:?})", node.name()),
            Own::Loader(node) => write!(f, "Loader({:?})", node.name()),
            Own::Storer(node) => write!(f, "Storer({:?})", node.name()),
        }
    }
}
