//! Connections between the hosts of a cluster: packets and streams, over QUIC.
//!
//! ```text
//!  mod      what a host does with it: send, open, meet, close
//!  setup    the socket, and what QUIC is told
//!  table    the connections that there are, and the dials under way: one lock, never held while waiting
//!  dial     one dial at a time for each host, and rest after it has failed
//!  accept   who comes in, and as whom
//!  refused  who does not
//!  link     one connection: what comes over it, and its end
//!  stream   a stream, and the service that it is for
//!  event    what is told of all that
//!  error    why there is no fabric, or no connection
//! ```
//!
//! Everything runs on the runtime that it was bound in; its handle may be used on any thread.
//!
//! Both sides of a connection are hosts: TLS takes certificates of the cluster's authority alone, and one that is
//! not a host's ([`ClusterIdentity::host_in`]) is closed before anything that it says is read. TLS 1.3 lets who
//! dials speak before its certificate has been judged: a dial has come to something only when the other side
//! has said so, with one byte on a stream of its own.
//!
//! Two hosts that dial each other at once have two connections. Both live, and the newer is used. A host that has
//! restarted knows nothing of its former connections and resets them at the next packet: so when a
//! host has a new one, something is sent over its older ones.

mod accept;
mod dial;
mod error;
mod event;
mod link;
mod refused;
mod setup;
mod stream;
mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use quinn::Endpoint;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::HostId;
use super::ident::ClusterIdentity;
use dial::Target;
pub(crate) use error::{FabricError, LinkError};
use event::EventSender;
pub(crate) use event::{Event, Events};
use link::{Code, Link};
pub(crate) use refused::Kind;
use refused::Refusals;
pub(crate) use setup::Options;
use setup::Standing;
pub(crate) use stream::{HostStream, Service};
use table::{Next, Table};

/// The longest packet: what fits into the shortest datagram of QUIC.
pub(crate) const MAX_PACKET: usize = 1150;

/// How often a stream is tried for that is lost with its connection.
const TRIES: usize = 3;

/// How long a fabric that shuts down waits until all others know.
const FAREWELL: Duration = Duration::from_secs(1);

/// The connections of a host to the others of its cluster. Clones are one; it lives until it is shut down.
#[derive(Clone)]
pub(crate) struct Fabric(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    at: SocketAddr,
    host: HostId,
    /// By this it knows itself from another process that has its key.
    life: [u8; 16],
    /// Where everything runs.
    runtime: Handle,
    options: Options,
    events: EventSender,
    table: Mutex<Table>,
    /// Packets that were not sent, or not taken.
    dropped: AtomicU64,
    refused: Refusals,
}

/// What is counted of the connections to one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerStats {
    pub(crate) id: HostId,
    /// Where it is, by its newest connection.
    pub(crate) at: SocketAddr,
    /// How long an answer takes over that one.
    pub(crate) rtt: Duration,
    pub(crate) connections: usize,
    /// All connections that there are, together; in UDP.
    pub(crate) packets_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) bytes_received: u64,
    pub(crate) packets_lost: u64,
}

/// What is counted of a fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Packets that were not sent, as there was no connection or no room, or came faster than they were taken.
    pub(crate) packets_dropped: u64,
    /// Handshakes of others that came to nothing, of each [`Kind`].
    pub(crate) refused: [u64; Kind::ALL.len()],
}

impl Fabric {
    /// A fabric at this address, of the host with this identity; must be called within the runtime that it is to
    /// run on. What happens is told by the [`Events`].
    ///
    /// # Errors
    /// The address is in use, or there is no such one here, or QUIC makes nothing of the identity.
    pub(crate) fn bind(
        at: SocketAddr,
        identity: ClusterIdentity,
        options: Options,
    ) -> Result<(Self, Events), FabricError> {
        let host = identity.id();
        let standing = Arc::new(Standing::new(identity, &options)?);
        let endpoint = setup::endpoint(at, &standing)?;
        let at = endpoint.local_addr().map_err(|error| FabricError::Bind { at, error })?;
        let (events, received) = event::channel();
        let mut life = [0; 16];
        // Without random numbers it takes others with its key for itself.
        let _ = SystemRandom::new().fill(&mut life);
        let fabric = Fabric(Arc::new(Inner {
            endpoint,
            at,
            host,
            life,
            runtime: Handle::current(),
            options,
            events,
            table: Mutex::new(Table::new(standing)),
            dropped: AtomicU64::new(0),
            refused: Refusals::default(),
        }));
        fabric.0.runtime.spawn(accept::accept(fabric.0.clone()));
        Ok((fabric, received))
    }

    /// Where it is.
    pub(crate) fn local(&self) -> SocketAddr {
        self.0.at
    }

    /// Sends a packet of up to [`MAX_PACKET`] bytes to a host, which is dialed if there is no connection. It may
    /// get lost on the way, and it is dropped if the dial fails, or has failed a short time ago.
    ///
    /// Never waits.
    pub(crate) fn send(&self, to: HostId, at: SocketAddr, packet: Bytes) {
        let sent = to != self.0.host && packet.len() <= MAX_PACKET && self.0.send(to, at, packet);
        if !sent {
            self.0.count_dropped();
        }
    }

    /// Opens a stream to a host, which is dialed if there is no connection, all of it within `limit`. May be
    /// awaited on any runtime.
    ///
    /// # Errors
    /// Nobody answers at `at`, or it is not that host, or either does not take the other's certificate; a
    /// connection that failed a short time ago is not tried again yet.
    pub(crate) async fn open(
        &self,
        to: HostId,
        at: SocketAddr,
        service: Service,
        limit: Duration,
    ) -> Result<HostStream, LinkError> {
        let deadline = Instant::now() + limit;
        let opened = async {
            let mut lost = LinkError::Down;
            for _ in 0..TRIES {
                let link = self.0.reach(to, at, deadline).await?;
                match stream::open(&link, service).await {
                    // It was at its end already, and that is known now.
                    Err(error) if !link.is_live() => lost = error,
                    opened => return opened,
                }
            }
            Err(lost)
        };
        let silent = LinkError::Silent { at, limit };
        timeout_at(deadline, opened).await.unwrap_or(Err(silent))
    }

    /// Opens a stream for calls, and one for much data beside it, as [`Fabric::open`] does.
    ///
    /// # Errors
    /// As [`Fabric::open`].
    pub(crate) async fn open_calls(
        &self,
        to: HostId,
        at: SocketAddr,
        limit: Duration,
    ) -> Result<[HostStream; 2], LinkError> {
        let deadline = Instant::now() + limit;
        let calls = self.open(to, at, Service::Rpc, limit).await?;
        let opened = timeout_at(deadline, stream::open_beside(&calls)).await;
        let beside = opened.unwrap_or(Err(LinkError::Silent { at, limit }))?;
        Ok([calls, beside])
    }

    /// Who is at an address: a host of the cluster, which may be this one.
    ///
    /// # Errors
    /// As [`Fabric::open`].
    pub(crate) async fn meet(&self, at: SocketAddr) -> Result<HostId, LinkError> {
        let deadline = Instant::now() + self.0.options.dial;
        self.0.dialed(Target::Seed(at), at, deadline).await
    }

    /// Whether another process is at an address that has this host's key, as far as can be found out: who is there
    /// must have shown that.
    pub(crate) async fn is_twin(&self, at: SocketAddr) -> bool {
        let asked = timeout(self.0.options.dial, dial::is_twin(&self.0, at)).await;
        matches!(asked, Ok(Ok(true)))
    }

    /// Closes all connections to a host.
    pub(crate) fn close(&self, host: HostId, why: &str) {
        self.0.table().links(host).iter().for_each(|link| link.close(Code::Ended, why));
    }

    /// Asks over all connections to a host whether it knows them: one that has restarted resets its former ones.
    pub(crate) fn probe(&self, host: HostId) {
        self.0.table().links(host).iter().for_each(|link| link.ask());
    }

    /// Closes those connections to a host over which nothing comes within `limit`, though it is asked for.
    pub(crate) fn check(&self, host: HostId, limit: Duration) {
        for link in self.0.table().links(host) {
            self.0.runtime.spawn(link.clone().check(limit));
        }
    }

    /// What is counted of each host that there is a connection to.
    pub(crate) fn peers(&self) -> Vec<PeerStats> {
        self.0.table().peers()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            packets_dropped: self.0.dropped.load(Ordering::Relaxed),
            refused: self.0.refused.counts(),
        }
    }

    /// Shows another certificate, and judges by other authorities and lists from here on. Connections to hosts
    /// that it would not take any more are closed.
    ///
    /// # Errors
    /// It is another host's, or another cluster's.
    pub(crate) fn set_identity(&self, identity: ClusterIdentity) -> Result<(), FabricError> {
        let mut table = self.0.table();
        let old = &table.standing().identity;
        if (identity.id(), identity.cluster()) != (old.id(), old.cluster()) {
            return Err(FabricError::AnotherHost(identity.id()));
        }
        let standing = Arc::new(Standing::new(identity, &self.0.options)?);
        self.0.endpoint.set_server_config(Some((*standing.server).clone()));
        table.set_standing(standing);
        Ok(())
    }

    /// Closes all connections, and waits a moment for the others to know.
    pub(crate) async fn shut_down(&self) {
        self.0.table().shut_down();
        self.0.endpoint.close(Code::Ended.into(), b"the host has stopped");
        let _ = timeout(FAREWELL, self.0.endpoint.wait_idle()).await;
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends a packet, or keeps it for a dial that is under way: whether there was a way to.
    fn send(self: &Arc<Self>, to: HostId, at: SocketAddr, packet: Bytes) -> bool {
        let mut table = self.table();
        if let Some(link) = table.live(to) {
            drop(table);
            return link.send(packet);
        }
        match table.next(Target::Host(to), at) {
            Next::Rest { .. } | Next::Down => false,
            Next::Wait(_) => table.keep(to, packet),
            Next::Dial => {
                dial::start(self, &mut table, Target::Host(to), at);
                table.keep(to, packet)
            }
        }
    }

    /// A connection to a host: the newest, or one that is dialed for.
    async fn reach(
        self: &Arc<Self>,
        to: HostId,
        at: SocketAddr,
        deadline: Instant,
    ) -> Result<Arc<Link>, LinkError> {
        if to == self.host {
            return Err(LinkError::Myself);
        }
        for _ in 0..TRIES {
            let live = self.table().live(to);
            if let Some(link) = live {
                return Ok(link);
            }
            self.dialed(Target::Host(to), at, deadline).await?;
        }
        Err(LinkError::Lost { reason: "the host closes it as soon as it is there".to_owned() })
    }

    /// Dials, or waits for the dial that is under way: who it is.
    async fn dialed(
        self: &Arc<Self>,
        target: Target,
        at: SocketAddr,
        deadline: Instant,
    ) -> Result<HostId, LinkError> {
        loop {
            let (next, begun) = {
                let mut table = self.table();
                match table.next(target, at) {
                    Next::Dial => (Next::Wait(dial::start(self, &mut table, target, at)), true),
                    next => (next, false),
                }
            };
            match next {
                Next::Wait(mut outcome) => {
                    let done = outcome.wait_for(Option::is_some).await;
                    let done = done.map_err(|_| LinkError::Down)?;
                    let done = done.clone().unwrap_or(Err(LinkError::Down));
                    // A dial that was under way may have begun when nobody could be reached there.
                    let is_old = !begun && Instant::now() < deadline;
                    if !(is_old && matches!(done, Err(LinkError::Silent { .. }))) {
                        return done;
                    }
                }
                Next::Rest { until, .. } if until < deadline => sleep_until(until).await,
                Next::Rest { error, .. } => return Err(error),
                Next::Down => return Err(LinkError::Down),
                Next::Dial => {}
            }
        }
    }
}
