//! One worker: an OS thread, its single-threaded runtime, and what its connections share.
//!
//! Here `Send` ends. The tree and the configuration come in as [`Shared`]; sockets come in through a
//! channel; everything else is made on this thread and stays on it. There is one worker now; nothing
//! in it knows that it is the only one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use capnp::Error;
use capnp::private::capability::ClientHook;
use killick::Tree;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::bridge::{Node, Token};
use crate::config::Config;
use crate::connection;
use crate::listen::{Incoming, Socket};
use crate::session::Session;
use crate::wire::Stored;

/// What all threads of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) tree: Tree<Stored>,
    pub(crate) host_id: u64,
    pub(crate) started: Instant,
    pub(crate) hostname: String,
    connections: AtomicUsize,
    last_connection: AtomicU64,
    /// Bytes of values in cells, on their way there, or replaced and not yet reclaimed.
    stored: Arc<AtomicUsize>,
}

/// Room for one value among all that a server stores; given back with the value.
pub(crate) struct Room {
    stored: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        // Relaxed: as in `Shared::room`.
        self.stored.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        Shared {
            tree: Tree::new(config.limits),
            host_id: random_id(),
            started: Instant::now(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            connections: AtomicUsize::new(0),
            last_connection: AtomicU64::new(0),
            stored: Arc::default(),
            config,
        }
    }

    /// The number of the next connection.
    pub(crate) fn next_connection(&self) -> u64 {
        // Relaxed: a number, which publishes nothing.
        self.last_connection.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes room for a value of `bytes`.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn room(&self, bytes: usize) -> Result<Room, Error> {
        self.try_room(bytes)
            .or_else(|| {
                // Values that were replaced may be waiting to be dropped.
                killick::reclaim();
                self.try_room(bytes)
            })
            .ok_or_else(|| {
                let limit = self.config.max_stored_bytes;
                let error = "values here would exceed their limit of";
                Error::overloaded(format!("{bytes} bytes more: {error} {limit} bytes in all"))
            })
    }

    fn try_room(&self, bytes: usize) -> Option<Room> {
        let limit = self.config.max_stored_bytes;
        let more = |stored: usize| stored.checked_add(bytes).filter(|after| *after <= limit);
        // Relaxed: the count alone is decided by; it publishes nothing.
        self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Room { stored: self.stored.clone(), bytes })
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        // Relaxed: a count for people to read.
        self.connections.load(Ordering::Relaxed)
    }
}

/// A number that no other start of a server has.
fn random_id() -> u64 {
    // The keys of a `RandomState` come from the system's source of randomness.
    RandomState::new().hash_one(Instant::now())
}

/// A place among the connections that a server takes at a time.
pub(crate) struct Permit(Arc<Shared>);

impl Permit {
    /// Takes a place, if one is free.
    pub(crate) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let limit = shared.config.max_connections;
        // Relaxed: the count alone is decided by; it publishes nothing.
        let open = shared.connections.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(shared.clone());
        (open < limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Relaxed: as in `take`.
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A capability that a client hosts, kept for those who have a claim to it.
struct Hosted {
    hook: Box<dyn ClientHook>,
    address: usize,
    connection: u64,
}

/// What the connections of one worker share.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    sessions: RefCell<HashMap<u64, Weak<Session>>>,
    hosted: RefCell<HashMap<u64, Hosted>>,
    last_hosted: Cell<u64>,
    /// The cells whose value contains something that clients of this worker host: which ones.
    cells: RefCell<HashMap<Node, Vec<u64>>>,
    releases: UnboundedSender<u64>,
    tidy: Notify,
}

impl Worker {
    /// A worker without connections, and the channel by which dropped claims come in.
    pub(crate) fn new(shared: Arc<Shared>) -> (Rc<Self>, UnboundedReceiver<u64>) {
        let (releases, released) = unbounded_channel();
        let worker = Worker {
            shared,
            sessions: RefCell::default(),
            hosted: RefCell::default(),
            last_hosted: Cell::new(0),
            cells: RefCell::default(),
            releases,
            tidy: Notify::new(),
        };
        (Rc::new(worker), released)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn add_session(&self, session: &Rc<Session>) {
        self.sessions.borrow_mut().insert(session.id(), Rc::downgrade(session));
    }

    pub(crate) fn remove_session(&self, id: u64) {
        self.sessions.borrow_mut().remove(&id);
    }

    fn session(&self, id: u64) -> Option<Rc<Session>> {
        self.sessions.borrow().get(&id).and_then(Weak::upgrade)
    }

    /// Keeps `hook`, hosted by the client of `connection`, until the token's last copy is dropped or
    /// the connection ends.
    pub(crate) fn keep(&self, connection: u64, hook: Box<dyn ClientHook>) -> Token {
        let id = self.last_hosted.get() + 1;
        self.last_hosted.set(id);
        let hosted = Hosted { address: hook.get_ptr(), hook, connection };
        self.hosted.borrow_mut().insert(id, hosted);
        Token::new(id, connection, self.releases.clone())
    }

    /// The capability that `token` claims and the connection of its host, if that is still there.
    pub(crate) fn hosted(&self, token: &Token) -> Option<(Box<dyn ClientHook>, Rc<Session>)> {
        let session = self.session(token.connection())?;
        let hook = self.hosted.borrow().get(&token.id())?.hook.add_ref();
        Some((hook, session))
    }

    /// Lets go of what is kept under `id`, if it still is.
    pub(crate) fn let_go(&self, id: u64) {
        let hosted = self.hosted.borrow_mut().remove(&id);
        let Some(hosted) = hosted else { return };
        if let Some(session) = self.session(hosted.connection) {
            session.unclaimed(id, hosted.address);
        }
    }

    /// Whether the hosts of everything in `value` are still connected.
    pub(crate) fn hosts_are_there(&self, value: &Stored) -> bool {
        let sessions = self.sessions.borrow();
        value.hosts().all(|connection| sessions.contains_key(&connection))
    }

    /// Notes that `node`'s cell now holds a value with capabilities that the clients of the
    /// connections `hosts` host, or one without any.
    pub(crate) fn cell_written(&self, node: &Node, hosts: &[u64]) {
        self.forget_cell(node);
        for &host in hosts {
            if let Some(session) = self.session(host) {
                session.cell_filled(node);
            }
        }
        if !hosts.is_empty() {
            self.cells.borrow_mut().insert(node.clone(), hosts.to_vec());
        }
        self.tidy_soon();
    }

    fn forget_cell(&self, node: &Node) {
        let removed = self.cells.borrow_mut().remove_entry(node);
        let Some((node, hosts)) = removed else { return };
        for host in hosts {
            if let Some(session) = self.session(host) {
                session.cell_emptied(&node);
            }
        }
    }

    /// The client of `connection` has gone: empties `node`'s cell if its value contains something
    /// that it hosted.
    pub(crate) fn host_left(&self, node: &Node, connection: u64) {
        loop {
            let now = node.load();
            let dead = now.value.as_deref().is_some_and(|v| v.hosts().any(|h| h == connection));
            if !dead {
                return;
            }
            if node.compare_and_store(now.revision, None).is_ok() {
                return self.forget_cell(node);
            }
            // Lost to a concurrent store: look at the new value.
        }
    }

    /// Has the destructors of what was dropped run within some milliseconds, so that nothing stays
    /// claimed for long by a value that nobody can reach.
    pub(crate) fn tidy_soon(&self) {
        self.tidy.notify_one();
    }

    /// Runs what the worker does by itself, for ever: lets go of what nobody claims any more, and
    /// pushes reclamation on after something was dropped.
    pub(crate) async fn keep_house(&self, mut released: UnboundedReceiver<u64>) {
        let let_go = async {
            while let Some(id) = released.recv().await {
                self.let_go(id);
            }
        };
        let reclaim = async {
            loop {
                self.tidy.notified().await;
                for _ in 0..TIDY_ROUNDS {
                    tokio::time::sleep(TIDY_PAUSE).await;
                    killick::reclaim();
                }
            }
        };
        tokio::join!(let_go, reclaim);
    }
}

/// How often reclamation is pushed on after something was dropped: it advances by one epoch at a
/// time, and what is dropped in one is due some epochs later.
const TIDY_ROUNDS: usize = 4;
/// The pause before each round: other threads get time to leave the epoch, and a stream of stores
/// pays for one round in that time, not for one each.
const TIDY_PAUSE: Duration = Duration::from_millis(2);

/// The body of a worker's thread: serves what comes in until the server stops, then waits for the
/// connections to end.
pub(crate) fn run(
    runtime: &tokio::runtime::Runtime,
    shared: Arc<Shared>,
    mut incoming: UnboundedReceiver<Incoming>,
    stop: watch::Receiver<bool>,
) {
    let local = LocalSet::new();
    local.block_on(runtime, async {
        let (worker, released) = Worker::new(shared);
        let house = worker.clone();
        let mut house = tokio::task::spawn_local(async move { house.keep_house(released).await });
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                next = incoming.recv() => match next {
                    Some(next) => {
                        let _ = sessions.spawn_local(serve(next, worker.clone(), stop.clone()));
                    }
                    None => break,
                },
                Some(_) = sessions.join_next() => {}
                // A panic of this worker's own: without it, nothing would be let go of.
                Err(error) = &mut house => std::panic::resume_unwind(error.into_panic()),
            }
        }
        while sessions.join_next().await.is_some() {}
        house.abort();
    });
}

/// Serves one connection, whatever it comes over.
async fn serve(incoming: Incoming, worker: Rc<Worker>, mut stop: watch::Receiver<bool>) {
    let Incoming { socket, peer, permit } = incoming;
    let stream = match socket {
        Socket::Unix(socket) => tokio::net::UnixStream::from_std(socket).map(Stream::Unix),
        Socket::Tcp(socket) => tokio::net::TcpStream::from_std(socket).map(Stream::Tcp),
    };
    match stream {
        Ok(Stream::Unix(stream)) => connection::run(stream, &peer, &worker, &mut stop).await,
        Ok(Stream::Tcp(stream)) => connection::run(stream, &peer, &worker, &mut stop).await,
        Err(error) => worker.shared().config.log.line(format_args!("{peer} closed: {error}")),
    }
    drop(permit);
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}
