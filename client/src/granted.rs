//! Rights, limits and what is not granted on the wire, for clients and for the server.

use killick::{Allowance, Denied, Right, Rights};
use killick_schema::api::anchor_capnp::anchor::{limits, rights};

use crate::error::REMOTE;

/// What the RPC system says of a call on a capability that turned out to be none: the server's, and ours.
const NOTHING: [&str; 2] = [
    "Pipeline call on a request that returned no capabilities",
    "Message contains null capability pointer",
];

/// The error of a call that was sent to the half of a cell for which `right` is needed, before it was
/// known that there is none: as if the server had said so.
pub fn no_half(right: Right) -> impl Fn(capnp::Error) -> capnp::Error {
    move |error| match NOTHING.iter().any(|words| error.to_string().contains(words)) {
        true => capnp::Error::failed(format!("{REMOTE}{}", Denied::Right(right))),
        false => error,
    }
}

/// Writes rights.
pub fn put_rights(asked: Rights, mut to: rights::Builder<'_>) {
    to.set_walk(asked.contains(Right::Walk));
    to.set_lookup(asked.contains(Right::Lookup));
    to.set_ls(asked.contains(Right::Ls));
    to.set_load(asked.contains(Right::Load));
    to.set_store(asked.contains(Right::Store));
    to.set_watch(asked.contains(Right::Watch));
    to.set_attenuate(asked.contains(Right::Attenuate));
    to.set_exec(asked.contains(Right::Exec));
}

/// Reads rights.
pub fn read_rights(from: rights::Reader<'_>) -> Rights {
    let given = [
        (Right::Walk, from.get_walk()),
        (Right::Lookup, from.get_lookup()),
        (Right::Ls, from.get_ls()),
        (Right::Load, from.get_load()),
        (Right::Store, from.get_store()),
        (Right::Watch, from.get_watch()),
        (Right::Attenuate, from.get_attenuate()),
        (Right::Exec, from.get_exec()),
    ];
    given.into_iter().filter_map(|(right, given)| given.then_some(right)).collect()
}

/// Writes limits.
pub fn put_limits(allowance: Allowance, mut to: limits::Builder<'_>) {
    // The largest number is no limit here and there.
    to.set_nodes(allowance.nodes as u64);
    to.set_depth(allowance.depth as u64);
    to.set_value_bytes(allowance.value_bytes as u64);
    to.set_watches(allowance.watches as u64);
    to.set_channels(allowance.channels as u64);
    to.set_processes(allowance.processes as u64);
}

/// Reads limits. What is more than there can be is none.
pub fn read_limits(from: limits::Reader<'_>) -> Allowance {
    let limit = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    Allowance {
        nodes: limit(from.get_nodes()),
        depth: limit(from.get_depth()),
        value_bytes: limit(from.get_value_bytes()),
        watches: limit(from.get_watches()),
        channels: limit(from.get_channels()),
        processes: limit(from.get_processes()),
    }
}
