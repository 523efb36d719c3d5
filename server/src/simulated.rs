//! A server all of whose workers run on one thread, over whatever streams it is given: for simulated
//! hosts and networks, which are replayed step by step.
//!
//! Sessions, bridge, notes and limits are the server's own; what is missing are its threads, its sockets
//! and its signals.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::spawn_local;

use crate::access::{Admitted, Grant, Who};
use crate::config::Config;
use crate::connection;
use crate::net::Streams;
use crate::shared::{Permit, Shared};
use crate::worker::Worker;

/// A server on the current thread.
#[doc(hidden)]
pub struct Simulated {
    shared: Arc<Shared>,
    workers: Vec<Rc<Worker>>,
    /// What stops each connection. Each has its own, so that they are told in a certain order.
    stops: RefCell<BTreeMap<u64, watch::Sender<bool>>>,
    served: Cell<u64>,
}

/// What a server holds at a moment.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Nodes in the tree, its root included.
    pub nodes: usize,
    /// Bytes of values that are stored, or replaced and not yet reclaimed.
    pub stored_bytes: usize,
    /// Connections that have a place.
    pub connections: usize,
    /// Connections that workers know.
    pub sessions: usize,
    /// What clients host and is kept for somebody.
    pub kept: usize,
    /// Capabilities that clients hold.
    pub handles: u64,
    /// Channels that were made and exist.
    pub channels: usize,
}

impl Held {
    /// What a server holds that nobody uses.
    pub const NOTHING: Held = Held {
        nodes: 1,
        stored_bytes: 0,
        connections: 0,
        sessions: 0,
        kept: 0,
        handles: 0,
        channels: 0,
    };
}

/// A value in the tree.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Filled {
    /// Where it is.
    pub path: String,
    /// The connections that it dies with.
    pub owners: Vec<u64>,
    /// Whether one of these has ended.
    pub orphaned: bool,
}

impl Simulated {
    /// Starts a server with as many workers as `config` says. Must be called within a local set.
    pub fn start(config: Config) -> Rc<Self> {
        let count = config.threads.get();
        let (shared, notes) = Shared::new(config, count);
        let mut workers = Vec::new();
        for (number, notes) in notes.into_iter().enumerate() {
            let (worker, inboxes) = Worker::new(shared.clone(), number, notes);
            workers.push(worker.clone());
            spawn_local(async move { worker.keep_house(inboxes).await });
        }
        Rc::new(Simulated { shared, workers, stops: RefCell::default(), served: Cell::new(0) })
    }

    /// Serves one connection over `stream` to its end, on the worker that has the fewest. One over the
    /// limit is closed at once.
    pub async fn serve<S>(&self, stream: S, peer: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Some(permit) = Permit::take(&self.shared) else { return };
        let served = self.served.replace(self.served.get() + 1);
        let (stop, mut stopped) = watch::channel(false);
        self.stops.borrow_mut().insert(served, stop);
        let client =
            Admitted { who: Who::Local, grant: Grant::host(), peer: peer.to_owned(), child: None };
        connection::run(
            Streams::one(stream),
            &client,
            &self.workers[permit.worker()],
            &mut stopped,
        )
        .await;
        self.stops.borrow_mut().remove(&served);
        drop(permit);
    }

    /// Has every connection end in order.
    pub fn stop(&self) {
        for stop in self.stops.borrow().values() {
            stop.send_replace(true);
        }
    }

    /// What is held at this moment.
    pub fn held(&self) -> Held {
        let sum =
            |count: fn(&Worker) -> usize| self.workers.iter().map(|worker| count(worker)).sum();
        Held {
            nodes: self.shared.tree.nodes(),
            stored_bytes: self.shared.stored_bytes(),
            connections: self.shared.connections(),
            sessions: sum(|worker| worker.sessions().len()),
            kept: sum(|worker| worker.home().kept()),
            handles: self.shared.clients.list().iter().map(|client| client.handles.get()).sum(),
            channels: self.shared.channels.count(),
        }
    }

    /// Every value in the tree.
    pub fn filled(&self) -> Vec<Filled> {
        let mut filled = Vec::new();
        let mut nodes = vec![(String::new(), self.shared.tree.root())];
        while let Some((path, node)) = nodes.pop() {
            if let Some(value) = &node.load().value {
                let owners = value.owners().iter().map(|owner| owner.id()).collect();
                let orphaned = !value.owners().iter().all(|owner| owner.is_open());
                filled.push(Filled { path: path.clone(), owners, orphaned });
            }
            for child in node.ls() {
                nodes.push((format!("{path}/{}", child.name()), child));
            }
        }
        filled
    }

    /// Whether there is a node at `path`.
    pub fn exists(&self, path: &str) -> bool {
        self.shared.tree.root().lookup(path).is_ok_and(|node| node.is_some())
    }
}
