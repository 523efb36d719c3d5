//! What a server tells of itself.

use std::fmt;
use std::time::Duration;

use killick_schema::api::host_capnp::{client_info, host, host_info, member};

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
    /// When it was started, in milliseconds since 1970: what was kept of it before is gone.
    pub generation: u64,
    /// The name of its cluster; none if it is alone.
    pub cluster: Option<String>,
    /// The first 32 hex digits of its key's fingerprint, of which `id` is the first half.
    pub full_id: String,
}

/// What a host knows of another's presence, or of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberState {
    /// It answers.
    Up,
    /// It is up, and has not answered: it has some time to.
    Suspect,
    /// It said that it goes.
    Left,
    /// It has not been heard for long.
    Failed,
}

impl MemberState {
    /// Whether it is a child of the cluster's anchor.
    pub fn is_there(self) -> bool {
        matches!(self, MemberState::Up | MemberState::Suspect)
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemberState::Up => "up",
            MemberState::Suspect => "suspect",
            MemberState::Left => "left",
            MemberState::Failed => "failed",
        })
    }
}

/// A host of the cluster, as the contacted one knows it. Texts are empty while it does not know them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Written as 16 hex digits, the first component of an absolute path.
    pub id: u64,
    /// The first 32 hex digits of its key's fingerprint, of which `id` is the first half.
    pub full_id: String,
    /// When it was started, in milliseconds since 1970.
    pub generation: u64,
    /// Whether it is there.
    pub state: MemberState,
    /// How long it has been in that state, as the contacted host has seen it.
    pub since: Duration,
    /// The name of its machine.
    pub hostname: String,
    /// Of the program that serves, as in `0.1.0`.
    pub version: String,
    /// Where clients reach it, as in `tls:db.example.org:7200`.
    pub addresses: Vec<String>,
    /// Where other hosts reach it: an address and a port.
    pub cluster: String,
    /// What it was told to say of itself: pairs of a key and a value.
    pub tags: Vec<(String, String)>,
    /// Whether the contacted host has a connection to it for calls.
    pub connected: bool,
    /// Whether it is the contacted host.
    pub is_self: bool,
}

impl Member {
    /// What paths call it: 16 hex digits.
    pub fn name(&self) -> String {
        format!("{:016x}", self.id)
    }
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

/// The hosts of the cluster, as the host `of` knows them.
pub async fn hosts(of: &host::Client) -> capnp::Result<Vec<Member>> {
    let response = of.hosts_request().send().promise.await?;
    response.get()?.get_hosts()?.iter().map(Member::read).collect()
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
            generation: info.get_generation(),
            cluster: Some(info.get_cluster()?.to_string()?).filter(|name| !name.is_empty()),
            full_id: info.get_full_id()?.to_string()?,
        })
    }
}

impl Member {
    /// One of which nothing is known but when it was started.
    #[cfg(test)]
    pub(crate) fn for_test(generation: u64) -> Self {
        let mut message = capnp::message::Builder::new_default();
        message.init_root::<member::Builder<'_>>().set_generation(generation);
        let member = message.get_root_as_reader().and_then(Member::read);
        member.expect("a member")
    }

    fn read(member: member::Reader<'_>) -> capnp::Result<Self> {
        let tag = |tag: member::tag::Reader<'_>| {
            Ok((tag.get_key()?.to_string()?, tag.get_value()?.to_string()?))
        };
        Ok(Member {
            id: member.get_id(),
            full_id: member.get_full_id()?.to_string()?,
            generation: member.get_generation(),
            state: match member.get_state()? {
                member::State::Up => MemberState::Up,
                member::State::Suspect => MemberState::Suspect,
                member::State::Left => MemberState::Left,
                member::State::Failed => MemberState::Failed,
            },
            since: Duration::from_millis(member.get_since_millis()),
            hostname: member.get_hostname()?.to_string()?,
            version: member.get_version()?.to_string()?,
            addresses: texts(member.get_addresses()?)?,
            cluster: member.get_cluster()?.to_string()?,
            tags: member.get_tags()?.iter().map(tag).collect::<capnp::Result<_>>()?,
            connected: member.get_connected(),
            is_self: member.get_self(),
        })
    }
}

fn texts(list: capnp::text_list::Reader<'_>) -> capnp::Result<Vec<String>> {
    list.iter().map(|text| Ok(text?.to_string()?)).collect()
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
