//! What is counted of connections and calls, for people to see.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::access::Who;

/// A number that one thread changes and others read: no read-modify-write, so it costs that thread
/// what a variable of its own does.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn get(&self) -> u64 {
        // Relaxed, here and below: a number for people to read.
        self.0.load(Ordering::Relaxed)
    }

    /// Only on the thread that changes it.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Only on the thread that changes it.
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }
}

/// The counts of one connection; its worker changes them.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) id: u64,
    pub(crate) peer: String,
    pub(crate) who: Who,
    pub(crate) worker: usize,
    pub(crate) opened: Instant,
    pub(crate) calls: Count,
    pub(crate) running: Count,
    pub(crate) read: Count,
    pub(crate) written: Count,
    /// Bytes that wait to be written.
    pub(crate) pending: Count,
    /// Messages that are being made, or are made and not among the bytes that wait yet.
    pub(crate) making: Count,
    /// Told when some of many bytes have been written, or some of many messages made.
    pub(crate) drained: Notify,
    pub(crate) handles: Count,
    pub(crate) hosted: Count,
    /// What its watches, and its calls that wait for a value, count as. Any thread may let go of one.
    pub(crate) watches: AtomicUsize,
    /// The channels that it has made and that exist: also after its end.
    pub(crate) channels: Arc<AtomicUsize>,
}

impl Stats {
    /// Those of connection `id`, which begins at this moment.
    pub(crate) fn new(id: u64, (peer, who): (String, Who), worker: usize) -> Self {
        Stats {
            id,
            peer,
            who,
            worker,
            opened: Instant::now(),
            calls: Count::default(),
            running: Count::default(),
            read: Count::default(),
            written: Count::default(),
            pending: Count::default(),
            making: Count::default(),
            drained: Notify::new(),
            handles: Count::default(),
            hosted: Count::default(),
            watches: AtomicUsize::new(0),
            channels: Arc::default(),
        }
    }
}

/// The open connections of a server. Its lock is taken when one comes or goes, and by those who look.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<u64, Arc<Stats>>,
    /// The calls, and the bytes read and written, of connections that have ended.
    calls: u64,
    bytes: (u64, u64),
}

impl Clients {
    fn with<T>(&self, use_it: impl FnOnce(&mut Table) -> T) -> T {
        // No code that can panic runs while it is locked.
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a connection.
    pub(crate) fn open(&self, stats: &Arc<Stats>) {
        self.with(|table| table.open.insert(stats.id, stats.clone()));
    }

    /// Removes one that has ended.
    pub(crate) fn close(&self, stats: &Stats) {
        self.with(|table| {
            table.calls += stats.calls.get();
            table.bytes.0 += stats.read.get();
            table.bytes.1 += stats.written.get();
            table.open.remove(&stats.id)
        });
    }

    /// Those that are open, by their numbers.
    pub(crate) fn list(&self) -> Vec<Arc<Stats>> {
        self.with(|table| table.open.values().cloned().collect())
    }

    /// The bytes read from and written to all that ever were.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        self.with(|table| {
            table.open.values().fold(table.bytes, |(read, written), stats| {
                (read + stats.read.get(), written + stats.written.get())
            })
        })
    }

    /// The calls of all that ever were.
    pub(crate) fn calls(&self) -> u64 {
        self.with(|table| {
            table.calls + table.open.values().map(|stats| stats.calls.get()).sum::<u64>()
        })
    }
}

/// What is counted apart from what else is called: the schema's methods, the calls to what clients host,
/// and those to no method of ours.
pub(crate) const METHODS: [&str; 47] = [
    "ls",
    "walk",
    "cell",
    "lookup",
    "swap",
    "watch",
    "attenuate",
    "newChan",
    "exec",
    "load",
    "wait",
    "store",
    "compareAndStore",
    "next",
    "revoke",
    "grant.info",
    "root",
    "info",
    "clients",
    "hosts",
    "peer.anchor",
    "peer.ended",
    "close",
    "send",
    "trySend",
    "recv",
    "tryRecv",
    "recvMany",
    "newSender",
    "newCloser",
    "newSendCloser",
    "newRecver",
    "len",
    "capacity",
    "processWait",
    "kill",
    "status",
    "signal",
    "stdin",
    "stdout",
    "stderr",
    "bootstrap",
    "read",
    "write",
    "closeSink",
    "forwarded",
    "unknown",
];

/// A bound that a client can meet, by the setting that sets it, if one does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Connections,
    Capabilities,
    ConnectionNodes,
    ConnectionValues,
    Watches,
    Calls,
    CallBytes,
    ValueBytes,
    ValueCapabilities,
    StoredBytes,
    Channels,
    ConnectionChannels,
    ChannelCapacity,
    Processes,
    Nodes,
    Children,
    Depth,
    NameBytes,
    PathBytes,
    SettleTimeout,
    WriteTimeout,
    ReadTimeout,
    IdleTimeout,
    HandshakeTimeout,
    MessageBytes,
    Handshakes,
    /// The one that is fixed: calls, or promises, that depend one on the other.
    Chain,
    /// What a grant allows, which no setting says.
    Grant,
}

impl Limit {
    /// All of them, in their order, with the names of their settings.
    pub(crate) const ALL: [(Limit, &str); 28] = [
        (Limit::Connections, "max-connections"),
        (Limit::Capabilities, "max-capabilities"),
        (Limit::ConnectionNodes, "max-connection-nodes"),
        (Limit::ConnectionValues, "max-connection-values"),
        (Limit::Watches, "max-watches"),
        (Limit::Calls, "max-calls"),
        (Limit::CallBytes, "max-call-bytes"),
        (Limit::ValueBytes, "max-value-bytes"),
        (Limit::ValueCapabilities, "max-value-capabilities"),
        (Limit::StoredBytes, "max-stored-bytes"),
        (Limit::Channels, "max-channels"),
        (Limit::ConnectionChannels, "max-connection-channels"),
        (Limit::ChannelCapacity, "max-channel-capacity"),
        (Limit::Processes, "max-processes"),
        (Limit::Nodes, "max-nodes"),
        (Limit::Children, "max-children"),
        (Limit::Depth, "max-depth"),
        (Limit::NameBytes, "max-name-bytes"),
        (Limit::PathBytes, "max-path-bytes"),
        (Limit::SettleTimeout, "settle-timeout"),
        (Limit::WriteTimeout, "write-timeout"),
        (Limit::ReadTimeout, "read-timeout"),
        (Limit::IdleTimeout, "idle-timeout"),
        (Limit::HandshakeTimeout, "handshake-timeout"),
        (Limit::MessageBytes, "max-message-bytes"),
        (Limit::Handshakes, "max-handshakes"),
        (Limit::Chain, "chain"),
        (Limit::Grant, "grant"),
    ];
}

/// `1 node`, `2 nodes`.
pub(crate) fn counted(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// So many connections.
pub(crate) fn connections(number: usize) -> String {
    counted(number, "connection", "connections")
}

impl fmt::Display for Limit {
    /// As the errors end that it makes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " ({})", Limit::ALL[*self as usize].1)
    }
}

/// How often each limit was met.
#[derive(Debug, Default)]
pub(crate) struct Hits([AtomicU64; Limit::ALL.len()]);

impl Hits {
    pub(crate) fn count(&self, limit: Limit) {
        // Relaxed, here and below: a count for people to read.
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, limit: Limit) -> u64 {
        self.0[limit as usize].load(Ordering::Relaxed)
    }
}

/// How a call can end.
pub(crate) const OUTCOMES: [&str; 6] =
    ["ok", "failed", "overloaded", "disconnected", "unimplemented", "cancelled"];

/// The bounds of the buckets that times of calls are counted in, in microseconds; the last has none.
pub(crate) const BUCKETS: [u64; 18] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000,
];

/// The counts of the calls of one method that one worker has served.
#[derive(Debug, Default)]
pub(crate) struct Method {
    pub(crate) outcomes: [Count; OUTCOMES.len()],
    pub(crate) buckets: [Count; BUCKETS.len() + 1],
    pub(crate) nanos: Count,
}

/// What waits for one worker, as it was when that took the last: calls to what its clients host with
/// what they let go of, and notes of their values. And how much of what they host it keeps for others.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    pub(crate) calls: Count,
    pub(crate) notes: Count,
    pub(crate) slots: Count,
}

/// Those of all methods; its worker changes them.
#[derive(Debug)]
pub(crate) struct Calls(pub(crate) [Method; METHODS.len()]);

impl Default for Calls {
    fn default() -> Self {
        Calls(std::array::from_fn(|_| Method::default()))
    }
}

impl Calls {
    /// Counts a call of `method`, an index of [`METHODS`], that took `time` and ended with `outcome`, an
    /// index of [`OUTCOMES`].
    pub(crate) fn count(&self, method: usize, outcome: usize, time: Duration) {
        let method = &self.0[method];
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        method.outcomes[outcome].add(1);
        method.nanos.add(nanos);
        method.buckets[BUCKETS.partition_point(|&micros| 1000 * micros < nanos)].add(1);
    }
}
