//! What a host is told of its cluster.

use std::net::SocketAddr;

use super::{ClusterIdentity, Seed};

/// How a host takes part in a cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// What it shows the others, and whom it takes for one of them.
    pub identity: ClusterIdentity,
    /// Where it listens for the others, by UDP.
    pub listen: SocketAddr,
    /// Where they reach it, if that is elsewhere: behind what translates addresses, or where it listens at every
    /// address of the machine. A port of 0 stands for that of `listen`.
    pub advertise: Option<SocketAddr>,
    /// Where to look for the others. None: others come to it.
    pub join: Vec<Seed>,
    /// Where clients reach it, as others tell them; those that it listens at with TLS, by default.
    pub client_addresses: Vec<String>,
    /// The longest datagram that it sends to them, without what UDP and IP add; for networks that lose longer ones,
    /// or several that the system is given at once. None: as long as come through. 1200 always do, and nothing less
    /// is gone by.
    pub mtu: Option<u16>,
    /// What it tells of itself besides: keys and values.
    pub tags: Vec<(String, String)>,
}

impl ClusterConfig {
    /// A host that shows `identity` and listens at `listen`, and waits for others to come.
    pub fn new(identity: ClusterIdentity, listen: SocketAddr) -> Self {
        ClusterConfig {
            identity,
            listen,
            advertise: None,
            join: Vec::new(),
            client_addresses: Vec::new(),
            mtu: None,
            tags: Vec::new(),
        }
    }
}
