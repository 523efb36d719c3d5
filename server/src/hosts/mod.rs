//! The hosts of the cluster, as all of a server know them, and the way to what others have.
//!
//! Who is there is a [`View`], which whatever knows of other hosts sets ([`Hosts::set`]); a server alone
//! has one of itself. [`router`] keeps one connection for each pair of hosts, [`kept`] has others end, and [`far`] has
//! the anchors of other hosts, as the clients of this one may use them. None knows what connects hosts.

mod far;
mod id;
mod kept;
mod router;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use killick_client::Address;
use tokio::sync::watch;

pub(crate) use far::{Delegations, Far, Fars, MAX_DELEGATIONS};
pub(crate) use id::HostId;
#[cfg(feature = "cluster")]
pub(crate) use kept::Place;
pub(crate) use router::Router;

/// What is known of a host's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    /// It does not answer, and may contradict: still taken for up.
    Suspect,
    /// It said that it goes.
    Left,
    /// It is taken for dead.
    Failed,
}

/// A host as this one knows it.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) id: HostId,
    /// When it was started, in milliseconds since 1970.
    pub(crate) generation: u64,
    pub(crate) state: State,
    /// Since when it is in that state, as this host has seen it.
    pub(crate) since: Instant,
    /// Empty while it is not known, as the other texts.
    pub(crate) hostname: String,
    pub(crate) version: String,
    /// Where clients reach it.
    pub(crate) addresses: Vec<String>,
    /// Where other hosts reach it.
    pub(crate) at: String,
    pub(crate) tags: Vec<(String, String)>,
}

impl Host {
    /// What it is called in paths.
    pub(crate) fn name(&self) -> String {
        name(self.id.short())
    }

    /// Whether it is a child of the cluster's anchor.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self.state, State::Up | State::Suspect)
    }
}

/// What a host is called in paths.
pub(crate) fn name(short: u64) -> String {
    format!("{short:016x}")
}

/// The hosts at a moment: this one among them, and for some time those that have gone. No two of them have one
/// name.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) me: HostId,
    /// The cluster's name, if there is one.
    pub(crate) cluster: Option<String>,
    pub(crate) hosts: BTreeMap<HostId, Host>,
}

impl View {
    /// This host.
    pub(crate) fn this(&self) -> &Host {
        &self.hosts[&self.me]
    }

    /// The host that a path calls `name`: `self`, or the first 16 or more digits of an id.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Host> {
        if name == b"self" {
            return Some(self.this());
        }
        let whole = (16..=32).contains(&name.len());
        let named = |host: &&Host| host.id.to_string().as_bytes().starts_with(name);
        whole.then(|| self.hosts.values().find(named))?
    }

    /// Those that are children of the cluster's anchor, by their names.
    pub(crate) fn there(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values().filter(|host| host.is_there())
    }
}

/// The hosts, and the ways to them.
pub(crate) struct Hosts {
    view: watch::Sender<Arc<View>>,
    pub(crate) router: Router,
    pub(crate) delegations: Delegations,
}

impl Hosts {
    /// A host that knows of no other, in a cluster or alone.
    pub(crate) fn first(this: Host, cluster: Option<String>) -> Self {
        let me = this.id;
        let view = View { me, cluster, hosts: BTreeMap::from([(me, this)]) };
        let view = watch::Sender::new(Arc::new(view));
        Hosts { view, router: Router::default(), delegations: Delegations::default() }
    }

    /// This host listens at these addresses.
    pub(crate) fn listens(&self, addresses: &[Address]) {
        self.view.send_modify(|view| {
            let View { me, hosts, .. } = Arc::make_mut(view);
            if let Some(this) = hosts.get_mut(me) {
                this.addresses = addresses.iter().map(ToString::to_string).collect();
            }
        });
    }

    /// Who is there.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Tells of each view from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Who is there from now on: all learn of it that watch.
    pub(crate) fn set(&self, view: View) {
        self.view.send_replace(Arc::new(view));
    }
}
