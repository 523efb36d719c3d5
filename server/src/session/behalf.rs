//! What one client of another host has here.
//!
//! All of a host's clients come over the one connection to it. So that none of them takes what is all of
//! theirs, what is made of the anchor that the host [asks for](killick_schema::api::cluster_capnp::peer) on behalf of one is made by a session
//! of its own: a part of the connection, which has objects and counts of its own, and all else of that. What it
//! may have is a share of what the connection may, and counts there as well: a host that makes clients up has no more by that.
//!
//! It lasts for as long as somebody at that host has anything of it, and goes with its last object.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use capnp::Error;

use super::Session;
use super::passed::Passed;
use crate::config::HOST_SHARE;
use crate::hosts::MAX_DELEGATIONS;
use crate::owners::By;
use crate::stats::{Limit, Stats, connections};

/// Whose a session is, if not a connection's client's, as most are.
pub(super) type Whose = Option<Box<Other>>;

/// Who has a session besides the clients of this host.
pub(super) enum Other {
    Host(OfHost),
    /// A client of another host.
    Client(OfClient),
}

/// What a session of another host has besides.
#[derive(Default)]
pub(super) struct OfHost {
    /// Those of its clients. Some have gone.
    behalves: RefCell<Vec<Weak<Session>>>,
    pub(super) passed: Passed,
}

/// What a session of a client of another host has besides.
pub(super) struct OfClient {
    /// The connection to that host.
    connection: Rc<Session>,
    /// How many values the client has stored that die with that.
    values: Rc<Cell<usize>>,
}

impl Other {
    /// Another host, of which nothing is known yet.
    pub(super) fn host() -> Box<Self> {
        Box::new(Other::Host(OfHost::default()))
    }
}

/// How much is kept of what a host calls a client of its.
const NAME_BYTES: usize = 256;

impl Session {
    /// A session for the client of the other host that this calls `name`: a part of this connection's.
    ///
    /// # Errors
    /// The host has asked for more clients than it may have.
    pub(crate) fn on_behalf(self: &Rc<Self>, name: &str) -> Result<Rc<Self>, Error> {
        let connection = self.host().unwrap_or(self);
        let Some(host) = connection.of_host() else { return Ok(self.clone()) };
        let mut behalves = host.behalves.borrow_mut();
        if behalves.len() == behalves.capacity() {
            // As many are added before the next time as are left.
            behalves.retain(|behalf| behalf.strong_count() > 0);
            let left = behalves.len();
            // As many as this host takes, the other may have, and as many of their grants.
            let limit = connection.config.max_connections.saturating_add(MAX_DELEGATIONS);
            if left >= limit {
                let words = format!("the server already has its limit of {}", connections(limit));
                let words = words + " of clients of one host";
                return Err(connection.over(Limit::Connections, words));
            }
            behalves.reserve_exact(left.max(1).min(limit - left));
        }
        let stats = &connection.stats;
        let name = &name[..name.floor_char_boundary(NAME_BYTES)];
        let peer = format!("{name}, a client of {}", stats.peer);
        let stats = Arc::new(Stats::new(stats.id, (peer, stats.who), stats.worker));
        let (origin, config) = (connection.origin.clone(), connection.config.clone());
        let client = OfClient { connection: connection.clone(), values: Rc::default() };
        let whose = Some(Box::new(Other::Client(client)));
        let behalf = Session::new(origin, whose, (config, stats), connection.worker.clone());
        let behalf = Rc::new(behalf);
        behalves.push(Rc::downgrade(&behalf));
        Ok(behalf)
    }

    /// What it has as that of another host.
    pub(super) fn of_host(&self) -> Option<&OfHost> {
        match self.whose.as_deref() {
            Some(Other::Host(host)) => Some(host),
            _ => None,
        }
    }

    fn of_client(&self) -> Option<&OfClient> {
        match self.whose.as_deref() {
            Some(Other::Client(client)) => Some(client),
            _ => None,
        }
    }

    /// What the errors of its limits say besides.
    pub(super) fn whose_limit(&self) -> &'static str {
        match self.whose.as_deref() {
            None => "",
            Some(Other::Host(_)) => " for all clients of another host",
            Some(Other::Client(_)) => " for one client of another host",
        }
    }

    /// Those of the clients of another host, which are forgotten.
    pub(super) fn behalves(&self) -> Vec<Rc<Session>> {
        let Some(host) = self.of_host() else { return Vec::new() };
        host.behalves.take().iter().filter_map(Weak::upgrade).collect()
    }

    /// The connection that it is a part of, if it is a part of one.
    pub(super) fn host(&self) -> Option<&Rc<Session>> {
        self.of_client().map(|client| &client.connection)
    }

    /// The connection that it is, or is a part of.
    pub(super) fn connection(&self) -> &Session {
        self.host().map_or(self, |host| host)
    }

    /// What it counts as that stores a value.
    pub(crate) fn stores_as(&self) -> By {
        self.of_client().map_or(By::Owner, |client| By::Client(client.values.clone()))
    }

    /// How many values there are that it has stored and that die with the connection.
    pub(super) fn values(&self) -> usize {
        self.of_client().map_or_else(|| self.cells.own(), |client| client.values.get())
    }

    /// How much of what is limited in a connection this may have.
    pub(super) fn share(&self, limit: usize) -> usize {
        match self.host() {
            Some(_) => (limit / HOST_SHARE).max(1),
            None => limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Who;
    use crate::config::Config;
    use crate::hosts::HostId;
    use crate::shared::Shared;
    use crate::worker::Worker;

    #[test]
    fn a_host_that_makes_clients_up_has_no_more_of_them_than_it_may() {
        let config = Config { max_connections: 8, ..Config::for_test([]) };
        let (shared, mut notes) = Shared::new(config, 1);
        let (worker, _inboxes) = Worker::new(shared, 0, notes.pop().expect("one"));
        let host = Who::Host(HostId::from_bytes([1; 16]), 1);
        let connection = Session::open(&worker, "host 1", host);
        let mut clients: Vec<_> =
            (0..).map_while(|n| connection.on_behalf(&n.to_string()).ok()).collect();
        assert_eq!(clients.len(), 8 + MAX_DELEGATIONS);
        let refused = connection.on_behalf("one more").err().expect("too many").to_string();
        assert!(refused.contains("connections of clients of one host (max-conn"), "{refused}");
        clients.truncate(1);
        let name = "é".repeat(NAME_BYTES);
        let client = connection.on_behalf(&name).expect("there is room");
        assert!(client.stats().peer.len() < 2 * NAME_BYTES, "{}", client.stats().peer);
        let another = clients[0].on_behalf("its own").expect("of the same host");
        assert!(Rc::ptr_eq(another.host().expect("a host"), &connection));
        drop((clients, client, another));
        assert_eq!(Rc::strong_count(&connection), 1, "nothing is left of them");
    }
}
