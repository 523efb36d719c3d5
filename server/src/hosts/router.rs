//! One connection for each pair of hosts: who has one, and who waits for one.
//!
//! What makes connections is told of the hosts that somebody wants to reach ([`Router::wanted`]), and
//! runs what it makes as a connection of some worker, like a client's. That tells the router when it
//! [begins](Router::connected) and [ends](Router::gone), or that there is [none](Router::failed).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use capnp::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::kept::Kept;
use super::{HostId, State, View};
use crate::cap::Token;

/// How long a connection to a host is waited for.
const REACH_TIMEOUT: Duration = Duration::from_millis(2800);

/// A connection to a host.
#[derive(Clone)]
struct There {
    /// Its `Peer`.
    peer: Token,
    /// The life of the host that it is to.
    generation: u64,
    /// When the other side has last asked for a connection though there is this one.
    asked: Option<Instant>,
}

impl There {
    /// Whether it is to the life of the host that is known in `view`.
    fn is_live(&self, host: HostId, view: &View) -> bool {
        let known = view.hosts.get(&host).map_or(0, |known| known.generation);
        self.peer.origin().is_open() && self.generation >= known
    }
}

/// The way to one host.
#[derive(Clone)]
enum Way {
    /// Nobody has asked for one.
    None,
    Awaited,
    There(There),
    /// There is none, and why.
    Failed(String),
}

/// The ways to other hosts.
#[derive(Default)]
pub(crate) struct Router {
    ways: Mutex<HashMap<HostId, watch::Sender<Way>>>,
    /// Who makes connections, if anybody does.
    wanted: Mutex<Option<mpsc::UnboundedSender<HostId>>>,
    pub(crate) kept: Kept,
}

impl Router {
    fn ways(&self) -> MutexGuard<'_, HashMap<HostId, watch::Sender<Way>>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of the hosts that somebody wants to reach, from now on, once for each connection that is missing.
    pub(crate) fn wanted(&self) -> mpsc::UnboundedReceiver<HostId> {
        let (wanted, told) = mpsc::unbounded_channel();
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
        told
    }

    fn want(&self, host: HostId) -> bool {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.as_ref().is_some_and(|wanted| wanted.send(host).is_ok())
    }

    /// Another host's `Peer`, over the one connection to it: that is made if there is none.
    ///
    /// # Errors
    /// The host is known to have gone, or does not answer in time.
    pub(crate) async fn peer(&self, host: HostId, view: &View) -> Result<Token, Error> {
        let name = super::name(host.short());
        let mut changes = {
            let mut ways = self.ways();
            let way = ways.entry(host).or_insert_with(|| watch::Sender::new(Way::None));
            let now = way.borrow().clone();
            match now {
                Way::There(there) if there.is_live(host, view) => return Ok(there.peer),
                Way::Awaited => {}
                _ => {
                    if let Some(gone) = gone(host, view) {
                        return Err(gone);
                    }
                    way.send_replace(Way::Awaited);
                    if !self.want(host) {
                        way.send_replace(Way::None);
                        let error = format!("host {name}: this server has no cluster");
                        return Err(Error::disconnected(error));
                    }
                }
            }
            way.subscribe()
        };
        let settled = changes.wait_for(|way| !matches!(way, Way::Awaited));
        let why = match timeout(REACH_TIMEOUT, settled).await {
            Ok(Ok(way)) => match &*way {
                Way::There(there) => return Ok(there.peer.clone()),
                Way::Failed(why) => why.clone(),
                Way::None | Way::Awaited => "the connection has ended".into(),
            },
            Ok(Err(_)) => "the connection has ended".into(),
            Err(_) => {
                // Whoever asks next tries again.
                self.failed(host, "no answer");
                format!("no answer within {REACH_TIMEOUT:?}")
            }
        };
        Err(Error::disconnected(format!("host {name} is not reached: {why}")))
    }

    /// Another host asks for a connection: whether one is to be made.
    ///
    /// If there is one, it may be that it was on its way there, or that it has ended there and here it is not
    /// known yet: then another is wanted as soon as it [is](Router::gone).
    pub(crate) fn awaits(&self, host: HostId) -> bool {
        let mut ways = self.ways();
        let way = ways.entry(host).or_insert_with(|| watch::Sender::new(Way::None));
        way.send_if_modified(|way| match way {
            Way::Awaited => false,
            Way::There(there) if there.peer.origin().is_open() => {
                there.asked = Some(Instant::now());
                false
            }
            _ => {
                *way = Way::Awaited;
                true
            }
        })
    }

    /// A connection to this life of `host` has begun: calls to it go to `peer`. If there was another to the same life,
    /// that [is to end](Kept::replaced).
    pub(crate) fn connected(&self, host: HostId, generation: u64, peer: Token) {
        self.kept.begin(host, generation, peer.origin().id());
        let mut ways = self.ways();
        ways.entry(host)
            .or_insert_with(|| watch::Sender::new(Way::None))
            .send_replace(Way::There(There { peer, generation, asked: None }));
    }

    /// The connection `id` to `host` has ended.
    pub(crate) fn gone(&self, host: HostId, id: u64) {
        self.kept.end(host, id);
        let ways = self.ways();
        let Some(way) = ways.get(&host) else { return };
        way.send_if_modified(|way| match way {
            Way::There(there) if there.peer.origin().id() == id => {
                let waits = there.asked.is_some_and(|asked| asked.elapsed() < REACH_TIMEOUT);
                *way = if waits && self.want(host) { Way::Awaited } else { Way::None };
                true
            }
            _ => false,
        });
    }

    /// There is no connection to `host` for those who wait for one.
    pub(crate) fn failed(&self, host: HostId, why: &str) {
        let ways = self.ways();
        let Some(way) = ways.get(&host) else { return };
        way.send_if_modified(|way| match way {
            Way::Awaited => {
                *way = Way::Failed(why.to_owned());
                true
            }
            _ => false,
        });
    }

    /// Whether there is a connection to the life of `host` that is known in `view`.
    pub(crate) fn is_connected(&self, host: HostId, view: &View) -> bool {
        let ways = self.ways();
        let there = |way: &Way| matches!(way, Way::There(there) if there.is_live(host, view));
        ways.get(&host).is_some_and(|way| there(&way.borrow()))
    }
}

/// The error of a call to a host that is known to have gone, if it is.
fn gone(host: HostId, view: &View) -> Option<Error> {
    let (name, known) = (super::name(host.short()), view.hosts.get(&host));
    let how = match known.map(|host| host.state) {
        Some(State::Up | State::Suspect) => return None,
        Some(State::Left) => "has left",
        Some(State::Failed) => "has failed",
        None => "has gone",
    };
    let ago = known.map(|host| format!(" {} s ago", host.since.elapsed().as_secs()));
    Some(Error::disconnected(format!("host {name} {how}{}", ago.unwrap_or_default())))
}
