//! Whether others are reached where they say that they are.
//!
//! One that has come from another address than that may be behind what translates addresses, or may have been told
//! the wrong one, by which nobody finds it: it is dialed there, once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};

use super::HostId;
use super::fabric::{Fabric, LinkError};
use super::members::{State, View};

/// How often it is looked who has come.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// Who has been dialed where, of those that there is a connection to.
#[derive(Default)]
pub(super) struct Advertised(HashMap<HostId, SocketAddr>);

impl Advertised {
    /// Dials those that have come from elsewhere, and have not been.
    pub(super) fn look(&mut self, fabric: &Fabric, views: &watch::Receiver<Arc<View>>) {
        let view = views.borrow().clone();
        let peers: HashMap<_, _> =
            fabric.peers().into_iter().map(|peer| (peer.id, peer.at)).collect();
        self.0.retain(|host, _| peers.contains_key(host));
        for (&host, &from) in &peers {
            let Some(says) = says(&view, host) else { continue };
            let is_there = (from.ip().to_canonical(), from.port()) == (says.ip(), says.port());
            if !is_there && self.0.insert(host, says) != Some(says) {
                tokio::spawn(check(fabric.clone(), views.clone(), host, from, says));
            }
        }
    }
}

/// Where a host says that it is, if it is up: it may have been elsewhere in a former life.
fn says(view: &View, host: HostId) -> Option<SocketAddr> {
    view.hosts.get(&host).filter(|member| member.state == State::Up).map(|member| member.at)
}

/// Dials a host where it says that it is.
async fn check(
    fabric: Fabric,
    views: watch::Receiver<Arc<View>>,
    host: HostId,
    from: SocketAddr,
    at: SocketAddr,
) {
    let why = match fabric.meet(at).await {
        Ok(met) if met == host => {
            return debug!(%host, %from, says = %at, "reached where it says that it is");
        }
        Ok(met) => format!("the host {met} is there"),
        Err(error @ (LinkError::Silent { .. } | LinkError::Refused { .. })) => error.to_string(),
        Err(_) => return,
    };
    // It may have gone meanwhile, or be elsewhere.
    let is_there = fabric.peers().iter().any(|peer| peer.id == host);
    if is_there && says(&views.borrow(), host) == Some(at) {
        warn!(
            %host, %from, says = %at, why,
            "a host is not reached where it says that it is: is its --advertise right?"
        );
    }
}
