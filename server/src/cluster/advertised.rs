//! Whether others are reached where they say that they are.
//!
//! One that has come from another address than that may be behind what translates addresses, or may have been told
//! the wrong one, by which nobody finds it: it is dialed there, once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{debug, warn};

use super::HostId;
use super::fabric::{Fabric, LinkError};
use super::members::View;

/// How often it is looked who has come.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// Who has been dialed where, of those that there is a connection to.
#[derive(Default)]
pub(super) struct Advertised(HashMap<HostId, SocketAddr>);

impl Advertised {
    /// Dials those that have come from elsewhere, and have not been.
    pub(super) fn look(&mut self, fabric: &Fabric, view: &View) {
        let peers: HashMap<_, _> =
            fabric.peers().into_iter().map(|peer| (peer.id, peer.at)).collect();
        self.0.retain(|host, _| peers.contains_key(host));
        for (&host, &from) in &peers {
            let Some(says) = view.hosts.get(&host).map(|member| member.at) else { continue };
            let is_there = (from.ip().to_canonical(), from.port()) == (says.ip(), says.port());
            if !is_there && self.0.insert(host, says) != Some(says) {
                tokio::spawn(check(fabric.clone(), host, from, says));
            }
        }
    }
}

/// Dials a host where it says that it is.
async fn check(fabric: Fabric, host: HostId, from: SocketAddr, says: SocketAddr) {
    let why = match fabric.meet(says).await {
        Ok(met) if met == host => {
            return debug!(%host, %from, %says, "reached where it says that it is");
        }
        Ok(met) => format!("the host {met} is there"),
        Err(error @ (LinkError::Silent { .. } | LinkError::Refused { .. })) => error.to_string(),
        Err(_) => return,
    };
    // It may have gone meanwhile.
    if fabric.peers().iter().any(|peer| peer.id == host) {
        warn!(
            %host, %from, %says, why,
            "a host is not reached where it says that it is: is its --advertise right?"
        );
    }
}
