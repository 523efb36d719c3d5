//! Two workers of one server, on one thread and in a time of their own, and what must not be left of
//! their connections.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::guests::Guests;
use super::script::{Bytes, Setup};
use crate::access::{Admitted, Authorized, Who};
use crate::cap::Node;
use crate::config::Config;
use crate::connection;
use crate::net::Streams;
use crate::session::Session;
use crate::shared::Shared;
use crate::wire::Stored;
use crate::worker::Worker;

pub(super) struct World {
    shared: Arc<Shared>,
    workers: Vec<Rc<Worker>>,
    houses: JoinSet<()>,
    connections: JoinSet<()>,
    sessions: Vec<Weak<Session>>,
    stop: watch::Sender<bool>,
    stream_bytes: usize,
    /// The hostile clients, if they may not do everything.
    guests: Option<Guests>,
}

/// Limits that some messages meet, or only those who mean to.
fn config(setup: Setup) -> Config {
    let some = Config {
        limits: killick::Limits { nodes: 1 << 10, ..Config::default().limits },
        max_value_bytes: 1 << 13,
        settle_timeout: Duration::from_millis(50),
        write_timeout: Duration::from_millis(200),
        read_timeout: Duration::from_millis(200),
        ..Config::for_test([])
    };
    if !setup.tight_limits() {
        return some;
    }
    Config {
        limits: killick::Limits { nodes: 10, ..some.limits },
        max_capabilities: 12,
        max_connection_nodes: 12,
        max_connection_values: 2,
        max_watches: 2,
        max_value_capabilities: 2,
        max_calls: 4,
        max_call_bytes: 1 << 14,
        max_stored_bytes: 20_000,
        max_channels: 2,
        max_channel_capacity: 2,
        ..some
    }
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let (shared, notes) = Shared::new(config(setup), 2);
        let (mut houses, mut workers) = (JoinSet::new(), Vec::new());
        for (number, notes) in notes.into_iter().enumerate() {
            let (worker, inboxes) = Worker::new(shared.clone(), number, notes);
            let house = worker.clone();
            houses.spawn_local(async move { house.keep_house(inboxes).await });
            workers.push(worker);
        }
        World {
            shared,
            workers,
            houses,
            connections: JoinSet::new(),
            sessions: Vec::new(),
            stop: watch::Sender::new(false),
            stream_bytes: setup.stream_bytes(),
            guests: None,
        }
    }

    /// Hostile clients from now on may do what `bytes` say, and nothing else.
    pub(super) fn narrow(&mut self, bytes: &mut Bytes<'_>) {
        let guests = Guests::read(bytes, &self.shared.tree, self.shared.channels.count());
        self.authorize(guests.authorized(&self.shared.config()));
        self.guests = Some(guests);
    }

    fn authorize(&self, authorized: Authorized) {
        self.shared.set_config(Config { authorized, ..(*self.shared.config()).clone() });
    }

    /// Takes back what the hostile client `which` was granted; with `removed` its connection ends as well.
    pub(super) fn revoke(&mut self, which: usize, removed: bool) {
        let Some(guests) = &mut self.guests else { return };
        guests.revoke(which);
        if removed {
            guests.remove(which);
            let authorized = guests.authorized(&self.shared.config());
            self.authorize(authorized);
        }
    }

    /// Looks whether the hostile clients have done more than they may, and whether all that is stored is counted.
    pub(super) fn check(&mut self) {
        self.check_counted();
        let Some(guests) = &mut self.guests else { return };
        guests.meet(&self.shared.granted);
        guests.check(&self.shared.tree, self.shared.channels.count());
    }

    /// Each value takes some of the stored bytes, and all together no more than are counted.
    fn check_counted(&self) {
        let mut counted = 0;
        let mut count = |bytes: usize| {
            assert!(bytes > 0, "a value is stored that is not counted");
            counted += bytes;
        };
        self.nodes().into_iter().filter_map(|(_, value, _)| value).for_each(|value| {
            count(value.bytes());
        });
        for side in self.shared.channels.sides() {
            side.look(|item| count(item.bytes()));
        }
        let stored = self.shared.stored_bytes();
        assert!(counted <= stored, "{counted} bytes of values are counted as {stored}");
    }

    /// What the hostile clients must not come to know.
    pub(super) fn secrets(&self) -> Vec<&'static str> {
        self.guests.as_ref().map(Guests::secrets).unwrap_or_default()
    }

    /// Connections from now on are closed when they send nothing for long.
    pub(super) fn limit_idling(&self) {
        let idle_timeout = Some(Duration::from_millis(500));
        self.shared.set_config(Config { idle_timeout, ..(*self.shared.config()).clone() });
    }

    /// The client's side of a new connection, which `worker` serves.
    pub(super) fn open(&mut self, worker: usize) -> DuplexStream {
        self.open_as(Who::Local, worker)
    }

    /// That of the hostile client `which`.
    pub(super) fn open_hostile(&mut self, which: usize, worker: usize) -> DuplexStream {
        let who = self.guests.as_ref().map_or(Who::Local, |guests| Who::Key(guests.key(which)));
        self.open_as(who, worker)
    }

    fn open_as(&mut self, who: Who, worker: usize) -> DuplexStream {
        let (client, server) = duplex(self.stream_bytes);
        // Without a grant there is nobody at the other side.
        let Ok(grant) = who.grant(&self.shared.config()) else { return client };
        let (worker, mut stopped) = (self.workers[worker].clone(), self.stop.subscribe());
        let opener = worker.clone();
        let admitted = Admitted { who, grant, peer: "fuzz".into(), child: None };
        let serve = async move {
            connection::run(Streams::one(server), &admitted, &worker, &mut stopped).await
        };
        let mut serve = Box::pin(serve);
        // Its session begins with the first poll.
        if serve.as_mut().now_or_never().is_none() {
            self.connections.spawn_local(serve);
        }
        self.remember(&opener);
        client
    }

    /// Sessions that are there are to be gone in the end.
    fn remember(&mut self, worker: &Worker) {
        let known = |session: &Weak<Session>| self.sessions.iter().any(|one| one.ptr_eq(session));
        let new: Vec<_> = worker.sessions().into_iter().filter(|one| !known(one)).collect();
        self.sessions.extend(new);
    }

    /// The server stops.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Lets the server do all that it can without any time passing.
    pub(super) async fn settle(&self) {
        // Time passes when there is nothing else to do.
        sleep(Duration::from_millis(1)).await;
    }

    /// Whether no more than `left` connections are open. One that ended in a panic ends this too.
    pub(super) fn has_ended(&mut self, left: usize) -> bool {
        while let Some(ended) = self.connections.try_join_next() {
            ended.expect("a connection ends without a panic");
        }
        if let Some(ended) = self.houses.try_join_next() {
            panic!("a worker has ended: {ended:?}");
        }
        self.connections.len() <= left
    }

    /// Every node, its value, and how many children it has.
    fn nodes(&self) -> Vec<(Node, Option<killick::Value<Stored>>, usize)> {
        let mut found = Vec::new();
        let mut nodes = vec![self.shared.tree.root()];
        while let Some(node) = nodes.pop() {
            let (children, value) = (node.ls(), node.load().value);
            found.push((node, value, children.len()));
            nodes.extend(children);
        }
        found
    }

    /// What the tree should not have, as all connections have ended: nodes without a child, a value or a
    /// value somewhere that holds them, and values that were to die with a connection. Values that were
    /// replaced hold nodes a little longer.
    pub(super) fn unneeded(&self) -> Vec<String> {
        let nodes = self.nodes();
        let values = || nodes.iter().filter_map(|(_, value, _)| value.as_ref());
        let tree = &self.shared.tree;
        let mut held: Vec<Node> = values().flat_map(|value| value.nodes(tree)).collect();
        for side in self.shared.channels.sides() {
            side.look(|item| held.extend(item.nodes(tree)));
        }
        let mut unneeded = Vec::new();
        for (node, value, children) in &nodes {
            let is_needed = value.is_some() || *children > 0 || held.contains(node);
            if !is_needed && *node != self.shared.tree.root() {
                unneeded.push(format!("the node {:?}", node.name()));
            }
            if value.as_ref().is_some_and(|value| !value.owners().is_empty()) {
                unneeded.push(format!("the value of {:?}", node.name()));
            }
        }
        unneeded
    }

    /// Ends every channel that nobody can reach.
    pub(super) fn collect(&self) {
        self.shared.channels.collect();
    }

    /// Takes back what keys have, and empties every cell.
    pub(super) fn empty(&self) {
        self.authorize(Authorized::default());
        for (node, ..) in self.nodes() {
            node.clear();
        }
    }

    /// What is left of the connections, all of which have ended, and of values. Some of it other threads of
    /// the process may look at a little longer.
    pub(super) fn remains(&self) -> Vec<String> {
        let mut remains = Vec::new();
        let mut none = |what: &str, count: usize| {
            if count > 0 {
                remains.push(format!("{count} {what}"));
            }
        };
        let sessions = self.sessions.iter().filter(|session| session.strong_count() > 0);
        none("sessions", sessions.count());
        none("clients listed", self.shared.clients.list().len());
        none("nodes", self.shared.tree.nodes() - 1);
        none("bytes stored", self.shared.stored_bytes());
        none("channels", self.shared.channels.count());
        none("counted by grants", self.guests.as_ref().map_or(0, Guests::counted));
        for worker in &self.workers {
            none("sessions known to their worker", worker.sessions().len());
            none("cells that somebody waits for", worker.watched());
            none("capabilities kept for those who may call them", worker.home().kept());
        }
        remains
    }
}
