//! What a server is told: where to listen, and every bound.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use killick::Limits;

use crate::access::{Authorized, Tls};
use crate::process::Allowed;
use killick_client::Address;

/// Everything that a server is told when it starts.
///
/// The defaults bound what clients who mean harm, or make mistakes, can take from the others.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. At least one; a TCP address without TLS must be a loopback one, as anybody who
    /// reaches it may do anything to the tree.
    pub listen: Vec<Address>,
    /// How the server shows itself at its `tls:` addresses, and whose certificates it takes there.
    pub tls: Option<Tls>,
    /// Which keys are let in there, and the anchor that each gets as its root.
    pub authorized: Authorized,
    /// The users, by number, that may open the Unix sockets besides the server's own and root.
    pub allow_uids: Vec<u32>,
    /// The groups, by number, whose processes may: those of whom it is the effective group.
    pub allow_gids: Vec<u32>,
    /// The programs that clients may have started who may do everything, and those who were granted the right
    /// [`Exec`](killick::Right::Exec): none by default. They run as the server's user.
    pub allow_exec: Vec<Allowed>,
    /// The program that starts them, whose `main` calls [`launch`](crate::launch): `killick` itself does.
    /// Without one, none is started.
    pub launcher: Option<PathBuf>,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// The cluster that it takes part in, if in any.
    #[cfg(feature = "cluster")]
    pub cluster: Option<crate::cluster::ClusterConfig>,
    /// Where to answer HTTP with metrics and health: a loopback address; nowhere by default.
    pub metrics: Option<SocketAddr>,
    /// How many threads serve connections; each connection stays on one of them. By default as many
    /// as there are cores for this process.
    pub threads: NonZeroUsize,
    /// The bounds of the tree.
    pub limits: Limits,
    /// The most connections open at a time. One more is told so and closed.
    pub max_connections: usize,
    /// The most TLS handshakes under way at a time, half of `max_connections` unless told otherwise: those
    /// who have not shown yet that they may be here cannot keep out those who have.
    pub max_handshakes: Option<usize>,
    /// The most capabilities that one connection may hold at a time.
    pub max_capabilities: usize,
    /// The most nodes that the capabilities of one connection may keep alive. Each counts as many as its
    /// anchor lies deep: itself and those above it, the root apart. All clients of another host of a cluster
    /// may keep as many together, and each of them a quarter.
    pub max_connection_nodes: usize,
    /// The most values that one connection has stored and that die with it.
    pub max_connection_values: usize,
    /// The most watches of one connection, calls that wait for a value included. One of children counts as
    /// one more for every 8 KiB of their names, with 64 bytes for each, that it was told of.
    pub max_watches: usize,
    /// The most calls of one connection that may be unanswered at a time. While they are, nothing
    /// more is read from it; and four times as many may be open, in that the client has not said yet
    /// that it is done with their answers.
    pub max_calls: usize,
    /// The most bytes that the unanswered calls of one connection may take, though one call always may
    /// come. While they do, nothing more is read from it; and four times as many may be open, answered
    /// and given up included. As many may wait to be written to it for others to call what it hosts.
    pub max_call_bytes: usize,
    /// The largest value that a cell takes, in bytes.
    pub max_value_bytes: usize,
    /// The largest message, in bytes; one that is larger ends its connection. Unless told otherwise four
    /// times as large as the largest value or the longest path, whichever is more, with a little more
    /// around a path.
    pub max_message_bytes: Option<usize>,
    /// The most bytes that all values together may take, those in channels included. One that was replaced
    /// counts until it is reclaimed.
    pub max_stored_bytes: usize,
    /// The most channels at a time.
    pub max_channels: usize,
    /// The most channels that one connection has made and that exist.
    pub max_connection_channels: usize,
    /// The most values that the buffer of a channel may hold.
    pub max_channel_capacity: usize,
    /// The most processes at a time that it has started: those that have not ended, or whose output has not been
    /// read.
    pub max_processes: usize,
    /// The most capabilities inside one value.
    pub max_value_capabilities: usize,
    /// How long to wait for a capability that is still a promise when it is stored.
    pub settle_timeout: Duration,
    /// How long a client may leave unread what is written to it, or its limit of calls may stay
    /// unanswered, before its connection is closed.
    pub write_timeout: Duration,
    /// How long the rest of a message may take to come before its connection is closed.
    pub read_timeout: Duration,
    /// How long a client may send nothing at all before its connection is closed; for ever if there is no
    /// limit. Clients that only hold something, or wait for an answer, send nothing.
    pub idle_timeout: Option<Duration>,
    /// How long a stopping server waits for its connections to end by themselves.
    pub drain_timeout: Duration,
}

/// For how many clients that have all that they may another host has at most: each of its clients may have a part
/// of that.
pub(crate) const HOST_SHARE: usize = 4;

/// The bounds of a server's tree.
///
/// - A name may have 255 bytes, as in most file systems, a path 4,096, as in Linux.
/// - 128 levels: deeper than any file system in use, and a walk that fails has little to undo.
/// - 65,536 children: a listing of that many is one message of some 5 MB.
/// - 1,048,576 nodes: some hundreds of megabytes with small values.
fn server_limits() -> Limits {
    Limits { name_bytes: 255, path_bytes: 4096, depth: 128, children: 1 << 16, nodes: 1 << 20 }
}

impl Default for Config {
    /// No address yet, and the bounds of a server.
    fn default() -> Self {
        Config {
            listen: Vec::new(),
            tls: None,
            authorized: Authorized::default(),
            allow_uids: Vec::new(),
            allow_gids: Vec::new(),
            allow_exec: Vec::new(),
            launcher: None,
            handshake_timeout: Duration::from_secs(10),
            #[cfg(feature = "cluster")]
            cluster: None,
            metrics: None,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            limits: server_limits(),
            max_connections: 1024,
            max_handshakes: None,
            // About 400 bytes each in the tables of a connection: 100 MB.
            max_capabilities: 1 << 18,
            // Half of the tree: no client alone can take it from the others by what it holds.
            max_connection_nodes: 1 << 19,
            // About 100 bytes each besides the value and its node.
            max_connection_values: 1 << 18,
            // About 400 bytes each, or else what the names take that they know: 64 MB. Half of the calls,
            // so that a client which waits on all of them is still heard.
            max_watches: 1 << 13,
            // About 2.5 KB each while unanswered besides their bytes, and about as much until finished:
            // 160 MB.
            max_calls: 1 << 14,
            max_call_bytes: 64 << 20,
            max_value_bytes: 1 << 20,
            max_message_bytes: None,
            max_stored_bytes: 1 << 30,
            // About 500 bytes each while empty; what is in them counts as stored.
            max_channels: 1 << 16,
            max_connection_channels: 1 << 15,
            max_channel_capacity: 1 << 16,
            // Each is a connection too.
            max_processes: 256,
            max_value_capabilities: 256,
            settle_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(30),
            idle_timeout: None,
            drain_timeout: Duration::from_secs(2),
        }
    }
}

/// The most threads: more than any machine has cores for.
const MAX_THREADS: usize = 1024;
/// The smallest limit of messages: what a call takes without much of a path.
const MIN_MESSAGE_BYTES: usize = 1024;
/// The smallest limit of the bytes of open calls: four times as much is what those take that are made together to
/// store a small value.
const MIN_OPEN_BYTES: usize = 4096;

/// Room in a message for a call without its path and value.
const CALL_BYTES: usize = 8 * 1024;

impl Config {
    /// The bounds for what comes from another host of the cluster, for all of its clients together: of what is kept
    /// for them, a few times as much as for one client here, and of nodes as much, so that those of one host
    /// cannot take a tree from all others; of calls under way, as much as all may have there. Of what is kept, each
    /// of its clients [has a share](crate::session).
    pub(crate) fn for_hosts(&self) -> Self {
        // As many as this one takes, the other may have, and each of them may ask for all that it may.
        let clients = self.max_connections.max(1);
        Config {
            max_capabilities: self.max_capabilities.saturating_mul(HOST_SHARE),
            max_connection_values: self.max_connection_values.saturating_mul(HOST_SHARE),
            max_connection_channels: self.max_connection_channels.saturating_mul(HOST_SHARE),
            max_watches: self.max_watches.saturating_mul(HOST_SHARE),
            max_calls: self.max_calls.saturating_mul(clients),
            max_call_bytes: self.max_call_bytes.saturating_mul(clients),
            idle_timeout: None,
            ..self.clone()
        }
    }

    /// A configuration for a test or a demonstration: listens on `listen`, with two threads, and waits
    /// less.
    pub fn for_test(listen: impl IntoIterator<Item = Address>) -> Self {
        Config {
            listen: listen.into_iter().collect(),
            threads: NonZeroUsize::MIN.saturating_add(1),
            settle_timeout: Duration::from_millis(500),
            write_timeout: Duration::from_millis(500),
            drain_timeout: Duration::from_millis(500),
            ..Config::default()
        }
    }

    /// The first setting, by its name, that no server can work with, and why.
    pub(crate) fn unusable(&self) -> Option<(&'static str, String)> {
        let nothing = |what: &str| format!("0 {what}: at least 1");
        let no_room =
            |bytes, least| format!("{bytes} bytes have no room for a call: at least {least}");
        let threads = self.threads.get();
        match self {
            Config { max_connections: 0, .. } => {
                Some(("max-connections", nothing("would let nobody in")))
            }
            // The root is one.
            Config { limits: Limits { nodes: nodes @ 0..=1, .. }, .. } => {
                Some(("max-nodes", format!("{nodes} would leave the root alone: at least 2")))
            }
            Config { limits: Limits { depth: 0, .. }, .. } => {
                Some(("max-depth", nothing("would leave the root alone")))
            }
            Config { limits: Limits { name_bytes: 0, .. }, .. } => {
                Some(("max-name-bytes", nothing("would let no node have a name")))
            }
            Config { limits: Limits { path_bytes: 0, .. }, .. } => {
                Some(("max-path-bytes", nothing("would let no path lead anywhere")))
            }
            Config { max_calls: 0, .. } => {
                Some(("max-calls", nothing("would let nobody call anything")))
            }
            Config { max_capabilities: 0, .. } => {
                Some(("max-capabilities", nothing("would let nobody have an anchor")))
            }
            Config { max_connection_nodes: 0, .. } => {
                Some(("max-connection-nodes", nothing("would let nobody have an anchor")))
            }
            _ if threads > MAX_THREADS => {
                let reason = format!("{threads} are more than are of use: at most {MAX_THREADS}");
                Some(("threads", reason))
            }
            Config { max_message_bytes: Some(bytes), .. } if *bytes < MIN_MESSAGE_BYTES => {
                Some(("max-message-bytes", no_room(*bytes, MIN_MESSAGE_BYTES)))
            }
            Config { max_call_bytes: bytes, .. } if *bytes < MIN_OPEN_BYTES => {
                Some(("max-call-bytes", no_room(*bytes, MIN_OPEN_BYTES)))
            }
            #[cfg(feature = "cluster")]
            Config { cluster: Some(cluster), .. } => cluster.unusable(),
            _ => None,
        }
    }

    /// The largest message that is read, in words of eight bytes.
    pub(crate) fn message_words(&self) -> usize {
        self.max_message_bytes.unwrap_or_else(|| self.room_for_messages()) / 8
    }

    /// How many bytes a message with the largest value, or the longest path, may take.
    fn room_for_messages(&self) -> usize {
        let value = self.max_value_bytes.saturating_mul(4);
        // A path some times too long is still read, to be an error of its call; beside it lie the
        // call's own structs. That is room for a call with a small value as well.
        let path = self.limits.path_bytes.saturating_mul(4).saturating_add(CALL_BYTES);
        value.max(path)
    }

    /// The most TLS handshakes under way at a time.
    pub(crate) fn handshakes(&self) -> usize {
        self.max_handshakes.unwrap_or((self.max_connections / 2).max(1))
    }
}
