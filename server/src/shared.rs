//! What all threads of a server share: the tree, the configuration, the bounds that are everybody's, and
//! what is counted.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use capnp::Error;
use killick::Tree;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use crate::access::{Granted, Places};
use crate::channels::{ChannelRoom, Channels, Own};
use crate::config::Config;
use crate::few::Few;
use crate::hosts::{Host, HostId, Hosts, State};
use crate::process::Reaper;
use crate::refusals::Refusals;
use crate::stats::{Calls, Clients, Hits, Limit, Queues};
use crate::wire::Stored;
use crate::worker::Letter;

/// What all threads of a server share.
pub(crate) struct Shared {
    config: ArcSwap<Config>,
    /// That there is another configuration.
    changed: watch::Sender<()>,
    pub(crate) tree: Tree<Stored>,
    /// The hosts of the cluster, this one among them.
    pub(crate) hosts: Hosts,
    /// What connects them, once it does.
    #[cfg(feature = "cluster")]
    pub(crate) cluster: std::sync::OnceLock<crate::cluster::Handle>,
    pub(crate) started: Instant,
    connections: AtomicUsize,
    /// TLS handshakes under way.
    pub(crate) handshakes: Places,
    /// What keys have that may not do everything.
    pub(crate) granted: Granted,
    /// How many of them each worker has.
    shares: Vec<AtomicUsize>,
    last_connection: AtomicU64,
    /// Bytes of values in cells and channels, on their way there, or replaced and not yet reclaimed.
    stored: Arc<AtomicUsize>,
    pub(crate) channels: Channels,
    /// The processes that it has started and that have not ended, or whose output has not been read.
    pub(crate) processes: Arc<AtomicUsize>,
    pub(crate) reaper: Reaper,
    pub(crate) clients: Clients,
    /// The calls that each worker has served.
    pub(crate) calls: Vec<Calls>,
    pub(crate) queues: Vec<Queues>,
    pub(crate) hits: Hits,
    pub(crate) refusals: Refusals,
    /// What the log tells of clients of other hosts.
    pub(crate) introduced: Few,
    /// How many capabilities other hosts have of this one that somebody else hosts.
    pub(crate) passed: AtomicUsize,
    /// How each worker is told of its clients' values.
    pub(crate) notes: Vec<UnboundedSender<Letter>>,
}

/// Room for one value among all that a server stores; given back with the value.
#[derive(Debug)]
pub(crate) struct Room {
    stored: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Relaxed: as in `Shared::room`.
        self.stored.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Shared {
    /// What as many workers share, and what each of them, in turn, is told of its clients' values.
    pub(crate) fn new(
        config: Config,
        workers: usize,
    ) -> (Arc<Self>, Vec<UnboundedReceiver<Letter>>) {
        let (notes, noted) = (0..workers).map(|_| unbounded_channel()).unzip();
        let shared = Shared {
            tree: Tree::new(config.limits),
            hosts: hosts(&config),
            #[cfg(feature = "cluster")]
            cluster: std::sync::OnceLock::new(),
            started: Instant::now(),
            connections: AtomicUsize::new(0),
            handshakes: Places::default(),
            granted: Granted::default(),
            changed: watch::Sender::new(()),
            shares: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            last_connection: AtomicU64::new(0),
            stored: Arc::default(),
            channels: Channels::default(),
            processes: Arc::default(),
            reaper: Reaper::default(),
            clients: Clients::default(),
            calls: (0..workers).map(|_| Calls::default()).collect(),
            queues: (0..workers).map(|_| Queues::default()).collect(),
            hits: Hits::default(),
            refusals: Refusals::default(),
            introduced: Few::default(),
            passed: AtomicUsize::new(0),
            notes,
            config: ArcSwap::from_pointee(config),
        };
        (Arc::new(shared), noted)
    }

    /// What the server was told last.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Has connections from now on, and what all share, go by `config`.
    pub(crate) fn set_config(&self, config: Config) {
        let config = Arc::new(config);
        self.config.store(config.clone());
        self.granted.keep(&config.authorized);
        // It is on its way.
        drop(self.hosts.delegations.take_back());
        self.changed.send_replace(());
    }

    /// Tells of each configuration that is set from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// When the certificate ends that this host shows others, in seconds since 1970; 0 if it does not.
    #[cfg(feature = "cluster")]
    pub(crate) fn certificate_ends(&self) -> u64 {
        let ends = self.cluster.get().and_then(|cluster| cluster.ends());
        let since_1970 = ends.and_then(|ends| ends.duration_since(SystemTime::UNIX_EPOCH).ok());
        since_1970.map_or(0, |ends| ends.as_secs())
    }

    #[cfg(not(feature = "cluster"))]
    #[allow(clippy::unused_self, reason = "as with a cluster")]
    pub(crate) fn certificate_ends(&self) -> u64 {
        0
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
            .or_else(|| self.channels.make_room(|| self.try_room(bytes)))
            .ok_or_else(|| {
                self.hits.count(Limit::StoredBytes);
                let limit = self.config.load().max_stored_bytes;
                let error = "values here would exceed their limit of";
                let name = Limit::StoredBytes;
                Error::overloaded(format!("{bytes} bytes more: {error} {limit} bytes in all{name}"))
            })
    }

    fn try_room(&self, bytes: usize) -> Option<Room> {
        let limit = self.config.load().max_stored_bytes;
        let more = |stored: usize| stored.checked_add(bytes).filter(|after| *after <= limit);
        // Relaxed: the count alone is decided by; it publishes nothing.
        self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Room { stored: self.stored.clone(), bytes })
    }

    /// Takes a place for a channel, if one is free, also among those of one client, and among those of the `host`
    /// that it is of.
    pub(crate) fn channel_room(&self, own: Own<'_>, host: Option<Own<'_>>) -> Option<ChannelRoom> {
        let limit = self.config.load().max_channels;
        self.channels.make_room(|| self.channels.room(limit, own, host))
    }

    /// Somebody has gone, and what he hosted: has other hosts told, if they have any of it.
    pub(crate) fn tell_ended(&self) {
        // SeqCst: with the one in `Session::pass`; either this counts that, or that sees the end.
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence.
        if self.passed.load(Ordering::Relaxed) > 0 {
            for notes in &self.notes {
                // An error means that the worker has ended, as the server does.
                let _ = notes.send(Letter::Ended);
            }
        }
    }

    /// How many capabilities other hosts have of this one that somebody else hosts.
    #[cfg(test)]
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }

    /// Bytes of values in cells and channels, on their way there, or replaced and not yet reclaimed.
    pub(crate) fn stored_bytes(&self) -> usize {
        // Relaxed: a count for people to read.
        self.stored.load(Ordering::Relaxed)
    }

    /// How many values there are of those that take the [stored bytes](Self::stored_bytes).
    pub(crate) fn values(&self) -> usize {
        Arc::strong_count(&self.stored) - 1
    }

    /// How many threads serve connections.
    pub(crate) fn workers(&self) -> usize {
        self.shares.len()
    }

    /// How many connections there have been, without those that were refused.
    pub(crate) fn all_connections(&self) -> u64 {
        // Relaxed: a count for people to read.
        self.last_connection.load(Ordering::Relaxed)
    }

    /// Whether every worker does what it is asked to within `limit`: the number of the first that does
    /// not.
    pub(crate) async fn stuck_worker(&self, limit: Duration) -> Option<usize> {
        let asked = self.notes.iter().map(|notes| {
            let (answer, answered) = oneshot::channel();
            // An error means that the worker has ended, and drops the answer.
            let _ = notes.send(Letter::Ping(answer));
            answered
        });
        let asked: Vec<_> = asked.collect();
        let until = tokio::time::Instant::now() + limit;
        for (number, answered) in asked.into_iter().enumerate() {
            if !matches!(tokio::time::timeout_at(until, answered).await, Ok(Ok(()))) {
                return Some(number);
            }
        }
        None
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        // Relaxed: a count for people to read.
        self.connections.load(Ordering::Relaxed)
    }
}

/// What is known of the hosts as this one starts: itself.
#[cfg(feature = "cluster")]
fn hosts(config: &Config) -> Hosts {
    let identity = config.cluster.as_ref().map(|cluster| &cluster.identity);
    let id = identity.map_or_else(random_id, |identity| identity.id());
    Hosts::first(this_host(id, config), identity.map(|identity| identity.cluster().to_owned()))
}

#[cfg(not(feature = "cluster"))]
fn hosts(config: &Config) -> Hosts {
    Hosts::first(this_host(random_id(), config), None)
}

/// What this host knows of itself as it starts.
fn this_host(id: HostId, config: &Config) -> Host {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Host {
        id,
        generation: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        state: State::Up,
        since: Instant::now(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").into(),
        addresses: config.listen.iter().map(ToString::to_string).collect(),
        at: String::new(),
        tags: Vec::new(),
    }
}

/// An id that no other start of a server has.
fn random_id() -> HostId {
    // The keys of a `RandomState` come from the system's source of randomness.
    let half = || RandomState::new().hash_one(Instant::now()).to_be_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&half());
    id[8..].copy_from_slice(&half());
    HostId::from_bytes(id)
}

/// A place among the connections that a server takes at a time, with the worker that had the fewest.
pub(crate) struct Permit {
    shared: Arc<Shared>,
    worker: usize,
    /// Among those of its host, if it is one's.
    #[cfg(feature = "cluster")]
    _of_host: Option<crate::hosts::Place>,
}

impl Permit {
    /// Takes a place, if one is free.
    pub(crate) fn take(shared: &Arc<Shared>) -> Option<Self> {
        Permit::take_at(shared, Permit::least(shared))
    }

    /// The number of the worker that has the fewest connections.
    fn least(shared: &Shared) -> usize {
        // Relaxed: as in `counted`.
        let shares = shared.shares.iter().map(|share| share.load(Ordering::Relaxed));
        shares
            .enumerate()
            .min_by_key(|&(_, share)| share)
            .map(|(worker, _)| worker)
            .unwrap_or_default()
    }

    /// Takes a place at the worker of that number, if one is free.
    pub(crate) fn take_at(shared: &Arc<Shared>, worker: usize) -> Option<Self> {
        let limit = shared.config().max_connections;
        let (permit, open) = Permit::counted(shared, worker);
        (open < limit).then_some(permit)
    }

    /// A place at a worker, and how many there were before.
    fn counted(shared: &Arc<Shared>, worker: usize) -> (Self, usize) {
        // Relaxed, here and below: the counts alone are decided by; they publish nothing.
        let open = shared.connections.fetch_add(1, Ordering::Relaxed);
        shared.shares[worker].fetch_add(1, Ordering::Relaxed);
        let permit = Permit {
            shared: shared.clone(),
            worker,
            #[cfg(feature = "cluster")]
            _of_host: None,
        };
        (permit, open)
    }

    /// A place for another host, which there always is unless it has too many.
    #[cfg(feature = "cluster")]
    pub(crate) fn for_host(shared: &Arc<Shared>, host: HostId) -> Option<Self> {
        let place = shared.hosts.router.kept.place(host)?;
        let (mut permit, _) = Permit::counted(shared, Permit::least(shared));
        permit._of_host = Some(place);
        Some(permit)
    }

    /// The number of the worker that is to serve the connection.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Relaxed: as in `counted`.
        self.shared.shares[self.worker].fetch_sub(1, Ordering::Relaxed);
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
