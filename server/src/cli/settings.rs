//! What `killick serve` can be told: by flags, by the environment, by a file.

mod cluster;
mod file;
mod shown;
mod written;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use killick::Limits;
use killick_server::{Authorized, Config, Identity, Tls};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::log::{Format, Level};
pub(super) use file::File;
use written::{Join, Listen, Place, Program, Tag, Time};

/// One name for each setting: `max-nodes` in the file, `--max-nodes` as a flag, and in the environment
/// `KILLICK_MAX_NODES`. What is not set here may be set elsewhere.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Settings {
    /// Where to listen: unix:/path/to/socket, tcp:HOST:PORT or tls:HOST:PORT; may be given several times.
    ///
    /// The default is killick.sock in $XDG_RUNTIME_DIR, or in a private folder of yours in the
    /// temporary directory: where the other commands look for a server without --connect.
    #[arg(
        long,
        value_name = "ADDR",
        env = "KILLICK_LISTEN",
        hide_env = true,
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "written::list")]
    listen: Option<Vec<Listen>>,

    /// How the server shows itself at tls: addresses: a folder with its key.pem, its cert.pem, and the
    /// ca.pem that the certificates of clients are checked against. 'killick cert host' makes one.
    #[arg(long, value_name = "FOLDER", env = "KILLICK_TLS_IDENTITY", hide_env = true)]
    tls_identity: Option<PathBuf>,

    /// A file with the keys that are let in there, one a line: fingerprint and path of the anchor that
    /// its holder gets as its root. Without it, none is.
    #[arg(long, value_name = "FILE", env = "KILLICK_AUTHORIZED", hide_env = true)]
    authorized: Option<PathBuf>,

    /// How long a TLS handshake may take.
    #[arg(long, value_name = "TIME", env = "KILLICK_HANDSHAKE_TIMEOUT", hide_env = true)]
    handshake_timeout: Option<Time>,

    /// A user, by number, who may open the Unix sockets besides the server's own and root; may be given
    /// several times.
    ///
    /// With this or --allow-gid the socket's file is open to all (mode 0666), and each connection is
    /// judged by the user and group that the kernel tells of its process. Users of other namespaces all
    /// show as 65534.
    #[arg(
        long,
        value_name = "UID",
        env = "KILLICK_ALLOW_UID",
        hide_env = true,
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "written::list")]
    allow_uid: Option<Vec<u32>>,

    /// A group, by number, whose processes may; may be given several times.
    ///
    /// It has to be the process's effective group: the groups that its user is in besides do not count.
    #[arg(
        long,
        value_name = "GID",
        env = "KILLICK_ALLOW_GID",
        hide_env = true,
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "written::list")]
    allow_gid: Option<Vec<u32>>,

    /// A program that clients may have started, by its absolute path; a folder, with '/' at its end, for all
    /// below it; or '*' for every one. May be given several times; without it, none is started.
    ///
    /// Clients who have the whole host may, and those who were granted the right 'exec'. What they start runs
    /// as this server's user, and can do what that user can: an interpreter that is allowed runs anything.
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "KILLICK_ALLOW_EXEC",
        hide_env = true,
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "written::list")]
    allow_exec: Option<Vec<Program>>,

    /// Take part in the cluster of this name, which stands in its hosts' certificates.
    ///
    /// Takes --listen-cluster, and either --cluster-identity or --cluster-secret.
    #[arg(long, value_name = "NAME", env = "KILLICK_CLUSTER", hide_env = true)]
    cluster: Option<String>,

    /// Where to listen for the other hosts, by UDP.
    #[arg(long, value_name = "IP:PORT", env = "KILLICK_LISTEN_CLUSTER", hide_env = true)]
    listen_cluster: Option<Place>,

    /// Where to look for the other hosts: IP:PORT, NAME:PORT, or file:PATH with such lines; may be given
    /// several times. Names are looked up and files read again each time. With mdns, if the program was built
    /// with it, hosts on one network say to each other where they are.
    #[arg(long, value_name = "SEED", env = "KILLICK_JOIN", hide_env = true, value_delimiter = ',')]
    #[serde(default, deserialize_with = "written::list")]
    join: Option<Vec<Join>>,

    /// Where the other hosts reach this one, if that is not where it listens. A port of 0 is that of
    /// --listen-cluster.
    #[arg(long, value_name = "IP:PORT", env = "KILLICK_ADVERTISE", hide_env = true)]
    advertise: Option<Place>,

    /// Where clients reach this host, as it tells the others, if that is not where it listens with TLS; may
    /// be given several times.
    #[arg(
        long,
        value_name = "ADDR",
        env = "KILLICK_ADVERTISE_CLIENT",
        hide_env = true,
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "written::list")]
    advertise_client: Option<Vec<Listen>>,

    /// The longest datagram to other hosts, in bytes, where a network loses long ones; they are not given to the
    /// system several at a time then. At least 1200.
    #[arg(long, value_name = "BYTES", env = "KILLICK_CLUSTER_MTU", hide_env = true)]
    cluster_mtu: Option<u16>,

    /// What this host shows the others: a folder with its key.pem, its cert.pem, the authorities in ca.pem,
    /// and what they have revoked in crl.pem. 'killick cert host --cluster NAME' makes one. What changes there
    /// counts within seconds, without SIGHUP: a host that has been revoked loses its connections.
    #[arg(long, value_name = "FOLDER", env = "KILLICK_CLUSTER_IDENTITY", hide_env = true)]
    cluster_identity: Option<PathBuf>,

    /// The file with the secret that all hosts of the cluster have, in place of certificates. 'killick secret'
    /// makes one.
    #[arg(long, value_name = "FILE", env = "KILLICK_CLUSTER_SECRET", hide_env = true)]
    cluster_secret: Option<PathBuf>,

    /// The file with this host's key, by which it is known, with --cluster-secret; it is made if it is
    /// missing. Without one this is another host with each start.
    #[arg(long, value_name = "FILE", env = "KILLICK_HOST_KEY", hide_env = true)]
    host_key: Option<PathBuf>,

    /// What this host tells of itself, as in zone=a; may be given several times.
    #[arg(
        long,
        value_name = "KEY=VALUE",
        env = "KILLICK_TAG",
        hide_env = true,
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "written::list")]
    tag: Option<Vec<Tag>>,

    /// Answer HTTP at this loopback address: /metrics for Prometheus, /health for those who watch over the
    /// process.
    #[arg(long, value_name = "IP:PORT", env = "KILLICK_METRICS", hide_env = true)]
    metrics: Option<SocketAddr>,

    /// How many threads serve connections: as many as there are cores, unless told otherwise.
    #[arg(long, value_name = "N", env = "KILLICK_THREADS", hide_env = true)]
    threads: Option<NonZeroUsize>,

    /// The most connections at a time.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_CONNECTIONS", hide_env = true)]
    max_connections: Option<usize>,

    /// The most TLS handshakes under way at a time; half of --max-connections by default.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_HANDSHAKES", hide_env = true)]
    max_handshakes: Option<usize>,

    /// The most capabilities that one connection may hold at a time, and that it may host.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_CAPABILITIES", hide_env = true)]
    max_capabilities: Option<usize>,

    /// The most nodes that what one connection holds may keep alive.
    ///
    /// Each capability counts as many as its anchor lies deep: itself and those above it, the root apart. All clients
    /// of another host of a cluster may keep as many, and each of them a quarter.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_CONNECTION_NODES", hide_env = true)]
    max_connection_nodes: Option<usize>,

    /// The most values that one connection has stored and that die with it.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_CONNECTION_VALUES", hide_env = true)]
    max_connection_values: Option<usize>,

    /// The most watches of one connection, calls that wait for a value included.
    ///
    /// One of children counts as one more for every 8 KiB of their names, with 64 bytes for each, that it
    /// was told of.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_WATCHES", hide_env = true)]
    max_watches: Option<usize>,

    /// The most calls of one connection that may be unanswered at a time.
    ///
    /// While they are, nothing more is read from it. With four times as many answered and not yet
    /// finished by the client it is closed.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_CALLS", hide_env = true)]
    max_calls: Option<usize>,

    /// The most bytes that the unanswered calls of one connection may take; with four times as many,
    /// answered and given up included, it is closed.
    #[arg(long, value_name = "BYTES", env = "KILLICK_MAX_CALL_BYTES", hide_env = true)]
    max_call_bytes: Option<usize>,

    /// The largest value, in bytes.
    #[arg(long, value_name = "BYTES", env = "KILLICK_MAX_VALUE_BYTES", hide_env = true)]
    max_value_bytes: Option<usize>,

    /// The largest message, in bytes; one that is larger ends its connection.
    ///
    /// Four times --max-value-bytes by default, or four times --max-path-bytes and 8 KiB if that is more. A
    /// value has to fit in one with whatever is around it.
    #[arg(long, value_name = "BYTES", env = "KILLICK_MAX_MESSAGE_BYTES", hide_env = true)]
    max_message_bytes: Option<usize>,

    /// The most bytes that all values together may take, those in channels included.
    #[arg(long, value_name = "BYTES", env = "KILLICK_MAX_STORED_BYTES", hide_env = true)]
    max_stored_bytes: Option<usize>,

    /// The most channels at a time.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_CHANNELS", hide_env = true)]
    max_channels: Option<usize>,

    /// The most channels that one connection has made and that exist.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_CONNECTION_CHANNELS", hide_env = true)]
    max_connection_channels: Option<usize>,

    /// The most values that the buffer of a channel may hold.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_CHANNEL_CAPACITY", hide_env = true)]
    max_channel_capacity: Option<usize>,

    /// The most processes at a time that it has started.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_PROCESSES", hide_env = true)]
    max_processes: Option<usize>,

    /// The most capabilities inside one value.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_VALUE_CAPABILITIES", hide_env = true)]
    max_value_capabilities: Option<usize>,

    /// The most nodes in the tree, its root included.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_NODES", hide_env = true)]
    max_nodes: Option<usize>,

    /// The most children of one node.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_CHILDREN", hide_env = true)]
    max_children: Option<usize>,

    /// The deepest that a node may lie below the root.
    #[arg(long, value_name = "N", env = "KILLICK_MAX_DEPTH", hide_env = true)]
    max_depth: Option<usize>,

    /// The longest name of one node, in bytes; 255 at most.
    #[arg(long, value_name = "BYTES", env = "KILLICK_MAX_NAME_BYTES", hide_env = true)]
    max_name_bytes: Option<usize>,

    /// The longest path in one call, in bytes.
    #[arg(long, value_name = "BYTES", env = "KILLICK_MAX_PATH_BYTES", hide_env = true)]
    max_path_bytes: Option<usize>,

    /// How long to wait for a capability that is still a promise when it is stored or called.
    #[arg(long, value_name = "TIME", env = "KILLICK_SETTLE_TIMEOUT", hide_env = true)]
    settle_timeout: Option<Time>,

    /// How long a client may leave unread what is written to it, or its limit of calls may stay
    /// unanswered, before its connection is closed.
    ///
    /// Over TCP what is written may be left unread for two minutes at most.
    #[arg(long, value_name = "TIME", env = "KILLICK_WRITE_TIMEOUT", hide_env = true)]
    write_timeout: Option<Time>,

    /// How long the rest of a message may take to come before its connection is closed.
    #[arg(long, value_name = "TIME", env = "KILLICK_READ_TIMEOUT", hide_env = true)]
    read_timeout: Option<Time>,

    /// How long a client may send nothing at all before its connection is closed; for ever by default.
    ///
    /// A client sends nothing that only holds something, such as 'killick walk', or waits for an answer, such as
    /// 'watch', 'recv' and 'load --wait'. A machine that is gone is noticed without this, within two minutes.
    #[arg(long, value_name = "TIME", env = "KILLICK_IDLE_TIMEOUT", hide_env = true)]
    idle_timeout: Option<Time>,

    /// How long a stopping server waits for its connections to end by themselves.
    #[arg(long, value_name = "TIME", env = "KILLICK_DRAIN_TIMEOUT", hide_env = true)]
    drain_timeout: Option<Time>,

    /// How much to log.
    #[arg(long, value_name = "LEVEL", env = "KILLICK_LOG", hide_env = true)]
    log: Option<Level>,

    /// How the log is written.
    #[arg(long, value_name = "FORMAT", env = "KILLICK_LOG_FORMAT", hide_env = true)]
    log_format: Option<Format>,
}

/// The path that the setting `key` has. It is UTF-8, as a file of settings has to be able to hold it.
fn text<'a>(key: &'static str, path: &'a Option<PathBuf>) -> Result<Option<&'a Path>, BadValue> {
    match path.as_deref() {
        Some(path) if path.to_str().is_none() => {
            let why = format!("'{}' is not UTF-8", path.display());
            Err(BadValue { key, why, is_usage: true })
        }
        path => Ok(path),
    }
}

/// What is wrong with the value of a setting.
pub(super) struct BadValue {
    pub(super) key: &'static str,
    pub(super) why: String,
    /// Whether it is wrong however things stand.
    pub(super) is_usage: bool,
}

impl Settings {
    /// Whether the setting with this name is set.
    fn has(&self, key: &str) -> bool {
        self.fields().contains_key(key)
    }

    pub(super) fn set_level(&mut self, level: Level) {
        self.log = Some(level);
    }

    /// How much to log, and how.
    pub(super) fn log(&self) -> (Level, Format) {
        (self.log.unwrap_or(Level::Info), self.log_format.unwrap_or(Format::Text))
    }

    /// These, and `others` where these say nothing.
    pub(super) fn or(&self, others: &Settings) -> Settings {
        macro_rules! first {
            ($($name:ident),*) => {
                Settings { $($name: self.$name.clone().or_else(|| others.$name.clone())),* }
            };
        }
        first! {
            listen, tls_identity, authorized, handshake_timeout, allow_uid, allow_gid, allow_exec, cluster, listen_cluster, join, advertise,
            advertise_client, cluster_mtu, cluster_identity, cluster_secret, host_key, tag, metrics,
            threads, max_connections, max_handshakes, max_capabilities, max_connection_nodes,
            max_connection_values, max_watches, max_calls, max_call_bytes, max_value_bytes,
            max_message_bytes, max_stored_bytes, max_channels, max_connection_channels, max_channel_capacity, max_processes,
            max_value_capabilities, max_nodes, max_children, max_depth, max_name_bytes,
            max_path_bytes, settle_timeout, write_timeout, read_timeout, idle_timeout,
            drain_timeout, log, log_format
        }
    }

    /// What is set, by name, of settings whose paths are UTF-8.
    fn fields(&self) -> serde_json::Map<String, Json> {
        match serde_json::to_value(self) {
            Ok(Json::Object(fields)) => {
                fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
            }
            _ => serde_json::Map::new(),
        }
    }

    /// How the server shows itself over TLS.
    fn tls(&self) -> Result<Option<Tls>, BadValue> {
        let key = "tls-identity";
        let Some(folder) = text(key, &self.tls_identity)? else { return Ok(None) };
        let failed = |error: &dyn std::fmt::Display| BadValue {
            key,
            why: error.to_string(),
            is_usage: false,
        };
        let identity = Identity::load(folder).map_err(|error| failed(&error))?;
        let tls = Tls::new(&identity);
        tls.map(Some).map_err(|error| failed(&format!("{}: {error}", folder.display())))
    }

    /// Which keys are let in there.
    fn authorized(&self, limits: &Limits) -> Result<Authorized, BadValue> {
        let key = "authorized";
        let Some(path) = text(key, &self.authorized)? else { return Ok(Authorized::default()) };
        Authorized::read(path, limits).map_err(|error| BadValue {
            key,
            why: error.to_string(),
            is_usage: false,
        })
    }

    /// What they come to, with the defaults for what is not set but the address.
    ///
    /// # Errors
    /// A file that they name is not what it should be.
    pub(super) fn config(self) -> Result<Config, BadValue> {
        let default = Config::default();
        let limits = default.limits;
        let limits = Limits {
            name_bytes: self.max_name_bytes.unwrap_or(limits.name_bytes),
            path_bytes: self.max_path_bytes.unwrap_or(limits.path_bytes),
            depth: self.max_depth.unwrap_or(limits.depth),
            children: self.max_children.unwrap_or(limits.children),
            nodes: self.max_nodes.unwrap_or(limits.nodes),
        };
        let time = |time: Option<Time>, default| time.map_or(default, |Time(time)| time);
        Ok(Config {
            cluster: self.takes_part()?,
            tls: self.tls()?,
            authorized: self.authorized(&limits)?,
            allow_uids: self.allow_uid.unwrap_or_default(),
            allow_gids: self.allow_gid.unwrap_or_default(),
            allow_exec: self
                .allow_exec
                .into_iter()
                .flatten()
                .map(|Program(allowed)| allowed)
                .collect(),
            launcher: std::env::current_exe().ok(),
            handshake_timeout: time(self.handshake_timeout, default.handshake_timeout),
            listen: self.listen.into_iter().flatten().map(|Listen(address)| address).collect(),
            metrics: self.metrics,
            threads: self.threads.unwrap_or(default.threads),
            limits,
            max_connections: self.max_connections.unwrap_or(default.max_connections),
            max_handshakes: self.max_handshakes,
            max_capabilities: self.max_capabilities.unwrap_or(default.max_capabilities),
            max_connection_nodes: self.max_connection_nodes.unwrap_or(default.max_connection_nodes),
            max_connection_values: self
                .max_connection_values
                .unwrap_or(default.max_connection_values),
            max_watches: self.max_watches.unwrap_or(default.max_watches),
            max_calls: self.max_calls.unwrap_or(default.max_calls),
            max_call_bytes: self.max_call_bytes.unwrap_or(default.max_call_bytes),
            max_value_bytes: self.max_value_bytes.unwrap_or(default.max_value_bytes),
            max_message_bytes: self.max_message_bytes,
            max_stored_bytes: self.max_stored_bytes.unwrap_or(default.max_stored_bytes),
            max_channels: self.max_channels.unwrap_or(default.max_channels),
            max_connection_channels: self
                .max_connection_channels
                .unwrap_or(default.max_connection_channels),
            max_channel_capacity: self.max_channel_capacity.unwrap_or(default.max_channel_capacity),
            max_processes: self.max_processes.unwrap_or(default.max_processes),
            max_value_capabilities: self
                .max_value_capabilities
                .unwrap_or(default.max_value_capabilities),
            settle_timeout: time(self.settle_timeout, default.settle_timeout),
            write_timeout: time(self.write_timeout, default.write_timeout),
            read_timeout: time(self.read_timeout, default.read_timeout),
            idle_timeout: self.idle_timeout.map(|Time(time)| time),
            drain_timeout: time(self.drain_timeout, default.drain_timeout),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_survives_a_file() {
        let all = Settings {
            listen: Some(vec![Listen("unix:/tmp/k".parse().unwrap())]),
            ..Settings::defaults()
        };
        let text = all.to_toml().expect("text");
        assert_eq!(toml::from_str::<Settings>(&text).expect("the same"), all);
        assert!(text.contains("write-timeout = \"30s\"\n"), "{text}");
    }

    #[test]
    fn what_is_set_first_goes_first() {
        let first = Settings { max_nodes: Some(1), ..Settings::default() };
        let second = Settings { max_nodes: Some(2), max_calls: Some(3), ..Settings::default() };
        let both = first.or(&second);
        assert_eq!((both.max_nodes, both.max_calls, both.max_depth), (Some(1), Some(3), None));
        let config = both.config().ok().expect("no files");
        assert_eq!((config.limits.nodes, config.max_calls), (1, 3));
        assert_eq!(config.limits.depth, Config::default().limits.depth);
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in ["1s", "90s", "250ms"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        assert!("0".parse::<Time>().is_err());
    }
}
