//! One life of a host, as the others hear of it.

use std::net::{IpAddr, SocketAddr};

use super::HostId;

/// A host, in one of its lives. The order of the fields is the order of lives: of two identities of a host
/// the greater one is true, whoever hears of them and in whatever sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) host: HostId,
    /// When it was started, in milliseconds since 1970. A greater one is a restart.
    pub(crate) generation: u64,
    /// How often it came back in this life after others took it for dead.
    pub(crate) renewal: u32,
    /// The version of its record, from 1 on: who has an older record asks for this one.
    pub(crate) record: u32,
    /// It has said that it goes.
    pub(crate) leaving: bool,
    /// Where the other hosts reach it.
    pub(crate) at: SocketAddr,
}

impl Identity {
    pub(crate) fn new(host: HostId, generation: u64, at: SocketAddr) -> Self {
        let at = without_scope(at);
        Identity { host, generation, renewal: 0, record: 1, leaving: false, at }
    }

    /// What a record is of: the life, and the version in it.
    pub(crate) fn edition(&self) -> Edition {
        Edition { generation: self.generation, version: self.record }
    }

    /// This host in this life, after somebody spoke of `other` as what it is: greater than that.
    pub(crate) fn outbid(self, other: &Identity) -> Self {
        let ended = other.generation > self.generation || other.renewal == u32::MAX;
        if ended {
            // Not a life that somebody else could have had: a clock that was put back, or a lie.
            let generation = other.generation.saturating_add(1);
            return Identity { generation, renewal: 0, ..self };
        }
        Identity { renewal: self.renewal.max(other.renewal).saturating_add(1), ..self }
    }
}

/// As it travels: an address and a port, and an IPv4 address as such.
pub(crate) fn without_scope(at: SocketAddr) -> SocketAddr {
    match at.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, at.port())),
        IpAddr::V6(ip) => SocketAddr::from((ip, at.port())),
    }
}

/// Which record of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edition {
    pub(crate) generation: u64,
    pub(crate) version: u32,
}

impl foca::Identity for Identity {
    type Addr = HostId;

    fn renew(&self) -> Option<Self> {
        Some(Identity { renewal: self.renewal.checked_add(1)?, ..*self })
    }

    fn addr(&self) -> HostId {
        self.host
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self > adversary
    }
}
