//! What a server tells of itself.

use std::time::Duration;

use killick_schema::api::host_capnp::{client_info, host, host_info};

/// A server, as it describes itself. Its numbers are those of a moment, not all of the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostInfo {
    /// Written as 16 hex digits, the first component of an absolute path.
    pub id: u64,
    /// Of the program that serves, as in `0.1.0`.
    pub version: String,
    /// The name of its machine.
    pub hostname: String,
    /// Since it started.
    pub uptime: Duration,
    /// Nodes in its tree, the root included.
    pub nodes: u64,
    /// Resident memory of its process, in bytes; 0 where the platform does not tell.
    pub resident_bytes: u64,
    /// Connections open, this one included.
    pub connections: u64,
    /// Threads that serve them.
    pub threads: u32,
    /// Processor time that its process has taken.
    pub cpu_time: Duration,
    /// Calls that clients have made.
    pub calls: u64,
    /// Bytes of the values in cells, and of those that were replaced and not yet reclaimed.
    pub stored_bytes: u64,
    /// Processes that it has started and that have not ended, or whose output has not been read.
    pub processes: u32,
}

/// One connection of a server's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// From 1, in the order in which they came.
    pub id: u64,
    /// Who it is, as in the server's log.
    pub peer: String,
    /// Since it was accepted.
    pub age: Duration,
    /// The thread that serves it, from 0.
    pub thread: u32,
    /// Calls that it has made.
    pub calls: u64,
    /// Those of them that are not done.
    pub running: u32,
    /// Bytes that came from it.
    pub bytes_read: u64,
    /// Bytes that went to it.
    pub bytes_written: u64,
    /// Capabilities that it holds.
    pub handles: u32,
    /// Capabilities that it hosts and somebody has a claim to.
    pub hosted: u32,
    /// What its watches, and its calls that wait for a value, count as.
    pub watches: u32,
    /// Channels that it has made and that exist.
    pub channels: u32,
}

pub(crate) async fn info(of: &host::Client) -> capnp::Result<HostInfo> {
    let response = of.info_request().send().promise.await?;
    HostInfo::read(response.get()?.get_info()?)
}

pub(crate) async fn clients(of: &host::Client) -> capnp::Result<Vec<ClientInfo>> {
    let response = of.clients_request().send().promise.await?;
    response.get()?.get_clients()?.iter().map(ClientInfo::read).collect()
}

impl HostInfo {
    fn read(info: host_info::Reader<'_>) -> capnp::Result<Self> {
        Ok(HostInfo {
            id: info.get_id(),
            version: info.get_version()?.to_string()?,
            hostname: info.get_hostname()?.to_string()?,
            uptime: Duration::from_millis(info.get_uptime_millis()),
            nodes: info.get_nodes(),
            resident_bytes: info.get_resident_bytes(),
            connections: info.get_connections(),
            threads: info.get_threads(),
            cpu_time: Duration::from_micros(info.get_cpu_micros()),
            calls: info.get_calls(),
            stored_bytes: info.get_stored_bytes(),
            processes: info.get_processes(),
        })
    }
}

impl ClientInfo {
    fn read(info: client_info::Reader<'_>) -> capnp::Result<Self> {
        Ok(ClientInfo {
            id: info.get_id(),
            peer: info.get_peer()?.to_string()?,
            age: Duration::from_millis(info.get_age_millis()),
            thread: info.get_thread(),
            calls: info.get_calls(),
            running: info.get_running(),
            bytes_read: info.get_bytes_read(),
            bytes_written: info.get_bytes_written(),
            handles: info.get_handles(),
            hosted: info.get_hosted(),
            watches: info.get_watches(),
            channels: info.get_channels(),
        })
    }
}
