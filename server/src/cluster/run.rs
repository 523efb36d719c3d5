//! The thread of the cluster.
//!
//! # One connection for calls
//! Of two hosts, the one with the lower id opens the stream of calls, whoever wants it: the other one asks it
//! to, with a stream of another kind ([`Service::Ring`]). So there are never two by accident, however many
//! dial at once.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use killick_client::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

#[cfg(feature = "mdns")]
use super::Seed;
use super::advertised::{self, Advertised};
use super::config::deceptive_in;
use super::error::Why;
use super::fabric::{self, Event, Events, Fabric, HostStream, PeerStats, Service};
use super::ident::Lookout;
#[cfg(feature = "mdns")]
use super::lan::Lan;
use super::members::{self, Members, Params, Record, Seeds};
use super::ways::Ways;
use super::{ClusterConfig, ClusterError, ClusterIdentity, HostId};
use crate::hosts::{self, Host, State};
use crate::listen::{Incoming, Socket};
use crate::net::Streams;
use crate::shared::{Permit, Shared};

/// How long a stream to another host may take to be opened.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long nothing may come over the connections to a host that the members suspect.
const SILENCE: Duration = Duration::from_millis(1500);

/// How often what may change without anybody's doing is looked at: certificates.
const LOOK_PAUSE: Duration = Duration::from_secs(3600);

/// How often the files of the identity are looked at: what changes in them counts after two looks.
pub(super) const FILES_PAUSE: Duration = Duration::from_secs(1);

/// What a server has of its cluster.
#[derive(Clone)]
pub(crate) struct Handle {
    fabric: Fabric,
    members: Members,
    identity: Arc<Mutex<ClusterIdentity>>,
    /// Where the others reach this host.
    at: SocketAddr,
}

impl Handle {
    /// Goes by `config` from now on, but for where it listens and joins: shows its certificate, if that is this
    /// host's, and tells of itself what is told there.
    pub(crate) fn reload(&self, config: &ClusterConfig, this: &Host, addresses: &[Address]) {
        self.set_identity(&config.identity);
        let told = self.members.set_record(record(config, this, addresses, self.at));
        if let Err(error) = told {
            warn!(%error, "what is told of this host stays as it was");
        }
    }

    /// Shows and judges by `identity` from now on, if it is this host's: whether it does.
    fn set_identity(&self, identity: &ClusterIdentity) -> bool {
        let set = {
            let mut shown = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            let set = self.fabric.set_identity(identity.clone());
            if set.is_ok() {
                *shown = identity.clone();
            }
            set
        };
        if let Err(error) = &set {
            warn!(%error, "the cluster's certificate stays as it was");
        }
        self.look();
        set.is_ok()
    }

    fn identity(&self) -> ClusterIdentity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files of the identity again whenever they have changed: a host that has been revoked is out
    /// without anybody's asking for it.
    async fn keep_up(self) {
        let mut lookout = Lookout::default();
        loop {
            tokio::time::sleep(FILES_PAUSE).await;
            let identity = self.identity();
            // A file may be on a disk that does not answer, and the others are to be answered meanwhile.
            let looked = tokio::task::spawn_blocking(move || (lookout.look(&identity), lookout));
            let Ok((found, seen)) = looked.await else { return };
            lookout = seen;
            match found {
                Some(Ok(identity)) if self.set_identity(&identity) => {
                    info!(
                        "the cluster's certificate, authorities and list of the revoked have been read again"
                    );
                }
                Some(Err(error)) => {
                    warn!(%error, "the files of the cluster's certificate have changed, and are of no use: it stays as it was");
                }
                _ => {}
            }
        }
    }

    /// Logs what whoever runs the server should know of the certificate.
    fn look(&self) {
        if let Some(warning) = self.identity().untimely() {
            warn!("{warning}");
        }
    }

    /// When this host's certificate ends, if it does.
    pub(crate) fn ends(&self) -> Option<std::time::SystemTime> {
        self.identity().ends()
    }

    /// Where this host listens for others.
    pub(crate) fn local(&self) -> SocketAddr {
        self.fabric.local()
    }

    pub(crate) fn members(&self) -> members::Counts {
        self.members.counts()
    }

    pub(crate) fn fabric(&self) -> (fabric::Counts, Vec<PeerStats>) {
        (self.fabric.counts(), self.fabric.peers())
    }
}

/// A cluster that this host takes part in, and what is left to do for that.
pub(crate) struct Begun {
    pub(crate) handle: Handle,
    events: Events,
    shared: Arc<Shared>,
    workers: Vec<UnboundedSender<Incoming>>,
}

/// Takes part in a cluster; must be called within the runtime that is to [run](Begun::run) it.
///
/// # Errors
/// This host cannot be reached where it should be, or what it tells of itself is too much.
pub(crate) fn begin(
    shared: Arc<Shared>,
    config: &ClusterConfig,
    addresses: &[Address],
    workers: Vec<UnboundedSender<Incoming>>,
) -> Result<Begun, ClusterError> {
    let identity = config.identity.clone();
    let options = fabric::Options { mtu: config.mtu, ..fabric::Options::default() };
    let bound = Fabric::bind(config.listen, identity.clone(), options);
    let (fabric, events) = bound.map_err(Why::Fabric)?;
    let at = advertised(config, fabric.local())?;
    let this = shared.hosts.view();
    let this = this.this();
    let me = members::Me { id: this.id, generation: this.generation, at };
    if let Some(has) = deceptive_in(&this.hostname) {
        return Err(Why::Hostname(this.hostname.clone(), has).into());
    }
    let record = record(config, this, addresses, at);
    let seeds = seeds(config, this.id, at)?;
    let ways = Ways::new(fabric.clone(), config);
    let members = Members::start(me, record, seeds, Params::default(), ways);
    let members = members.map_err(Why::Record)?;
    let handle = Handle { fabric, members, identity: Arc::new(Mutex::new(identity)), at };
    info!(cluster = config.identity.cluster(), host = %this.id, %at, "takes part in a cluster");
    Ok(Begun { handle, events, shared, workers })
}

/// Where a host looks for the others that these reach at `at`.
#[cfg_attr(not(feature = "mdns"), expect(unused_variables, reason = "it says so to nobody"))]
fn seeds(config: &ClusterConfig, host: HostId, at: SocketAddr) -> Result<Seeds, Why> {
    let seeds = Seeds::from(config.join.clone());
    #[cfg(feature = "mdns")]
    if config.join.contains(&Seed::Lan) {
        let lan = Lan::start(config.identity.cluster(), host, at).map_err(Why::Lan)?;
        return Ok(seeds.with(lan));
    }
    Ok(seeds)
}

/// What a host tells of itself that the others reach at `at`.
fn record(config: &ClusterConfig, this: &Host, addresses: &[Address], at: SocketAddr) -> Record {
    Record {
        hostname: this.hostname.clone(),
        version: this.version.clone(),
        addresses: client_addresses(config, addresses, at),
        tags: config.tags.clone(),
    }
}

/// Where the others reach a host that listens at `bound`.
fn advertised(config: &ClusterConfig, bound: SocketAddr) -> Result<SocketAddr, Why> {
    let mut at = config.advertise.unwrap_or(bound);
    if at.port() == 0 {
        at.set_port(bound.port());
    }
    match at.ip().is_unspecified() {
        true => Err(Why::Unspecified(at)),
        false => Ok(at),
    }
}

/// Where clients reach this host, as others tell them.
fn client_addresses(config: &ClusterConfig, bound: &[Address], at: SocketAddr) -> Vec<String> {
    if !config.client_addresses.is_empty() {
        return config.client_addresses.clone();
    }
    let over_tls = bound.iter().filter_map(|address| match address {
        Address::Tls(place) => Some(place),
        _ => None,
    });
    // One that stands for every address of the machine is reached where the host is.
    let reached = over_tls.map(|place| match place.parse::<SocketAddr>() {
        Ok(bound) if bound.ip().is_unspecified() => {
            format!("tls:{}", SocketAddr::new(at.ip(), bound.port()))
        }
        _ => format!("tls:{place}"),
    });
    reached.collect()
}

impl Begun {
    /// Takes part until the server stops, which the others are told; or until another process with this host's key
    /// is found, which they are not, and `twin` is called with where that is.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>, twin: impl FnOnce(SocketAddr)) {
        let Begun { handle, mut events, shared, workers } = self;
        let halves = Halves::default();
        let mut cluster = Cluster { handle, shared, workers, halves };
        let mut wanted = cluster.shared.hosts.router.wanted();
        let mut view = cluster.handle.members.view();
        let mut look = tokio::time::interval(LOOK_PAUSE);
        let mut came = tokio::time::interval(advertised::PAUSE);
        let mut advertised = Advertised::default();
        view.mark_changed();
        tokio::spawn(cluster.handle.clone().keep_up());
        let members = cluster.handle.members.clone();
        let mut found = pin!(members.twin());
        loop {
            tokio::select! {
                at = &mut found => {
                    error!(%at, "another host runs with this key: this one stops");
                    twin(at);
                    return cluster.handle.fabric.shut_down().await;
                }
                event = events.recv() => match event {
                    Some(event) => cluster.happened(event),
                    None => break,
                },
                Some(host) = wanted.recv() => cluster.reach(host),
                Ok(()) = view.changed() => {
                    let view = view.borrow_and_update().clone();
                    cluster.seen(&view);
                }
                _ = look.tick() => cluster.handle.look(),
                _ = came.tick() => advertised.look(&cluster.handle.fabric, &view),
                _ = stop.wait_for(|stopped| *stopped) => break,
            }
        }
        let drain = cluster.shared.config().drain_timeout;
        let fabric = &cluster.handle.fabric;
        members.leave().await;
        // Its clients may still have answers to come from other hosts.
        let _ = timeout(drain, cluster.drained()).await;
        fabric.shut_down().await;
    }
}

struct Cluster {
    handle: Handle,
    shared: Arc<Shared>,
    workers: Vec<UnboundedSender<Incoming>>,
    halves: Halves,
}

/// Streams of hosts that wait for the other one of the two that belong together.
#[derive(Default)]
struct Halves(HashMap<HostId, Vec<(Service, HostStream)>>);

/// How many of one host: it makes one connection for calls at a time.
const MAX_HALVES: usize = 4;

impl Halves {
    /// A stream has come: both, that of calls first, if the other one is there.
    fn join(
        &mut self,
        from: HostId,
        service: Service,
        stream: HostStream,
    ) -> Option<[HostStream; 2]> {
        let halves = self.0.entry(from).or_default();
        let other = |(is, half): &(Service, HostStream)| *is != service && half.belongs_to(&stream);
        if let Some(at) = halves.iter().position(other) {
            let (_, other) = halves.swap_remove(at);
            return Some(if service == Service::Rpc { [stream, other] } else { [other, stream] });
        }
        if halves.len() >= MAX_HALVES {
            halves.remove(0);
        }
        halves.push((service, stream));
        None
    }

    fn forget(&mut self, host: HostId) {
        self.0.remove(&host);
    }
}

impl Cluster {
    fn me(&self) -> HostId {
        self.shared.hosts.view().me
    }

    fn happened(&mut self, event: Event) {
        let members = &self.handle.members;
        match event {
            Event::Packet(from, at, packet) => members.packet(from, at, packet),
            Event::Stream(from, Service::Sync, stream) => members.sync(from, stream),
            Event::Stream(from, service @ (Service::Rpc | Service::Bulk), stream)
                if from < self.me() =>
            {
                if let Some(streams) = self.halves.join(from, service, stream) {
                    let (shared, workers) = (self.shared.clone(), self.workers.clone());
                    tokio::spawn(async move {
                        if let Err(error) = serve(&shared, &workers, from, streams).await {
                            debug!(host = %from, %error, "no connection for calls");
                        }
                    });
                }
            }
            Event::Stream(from, Service::Ring, _) if from > self.me() => {
                if self.shared.hosts.router.awaits(from) {
                    self.reach(from);
                }
            }
            // Not its part. Dropping the stream says so.
            Event::Stream(..) => {}
            Event::Connected(host, at) => debug!(%host, %at, "connected"),
            Event::Closed(host, why) => {
                self.halves.forget(host);
                debug!(%host, why, "not connected any more");
            }
        }
    }

    /// Makes a connection for calls to a host, or has that one make it.
    fn reach(&self, host: HostId) {
        let (shared, workers) = (self.shared.clone(), self.workers.clone());
        let fabric = self.handle.fabric.clone();
        let known = self.handle.members.view().borrow().hosts.get(&host).map(|known| known.at);
        // One that is not known yet has come by itself, and is connected.
        let at = known.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let opens = self.me() < host;
        tokio::spawn(async move {
            let made = async {
                if opens {
                    let streams = fabric.open_calls(host, at, OPEN_TIMEOUT).await?;
                    serve(&shared, &workers, host, streams).await?;
                } else {
                    let mut stream = fabric.open(host, at, Service::Ring, OPEN_TIMEOUT).await?;
                    // The other side learns of it with the first byte, and has nothing to answer.
                    let _ = stream.shutdown().await;
                }
                Ok::<_, io::Error>(())
            };
            if let Err(error) = made.await {
                shared.hosts.router.failed(host, &error.to_string());
            }
        });
    }

    /// The members know something else: so does the server.
    fn seen(&self, view: &members::View) {
        let before = self.shared.hosts.view();
        for (id, member) in &view.hosts {
            let known = before.hosts.get(id).filter(|_| *id != before.me);
            let Some(known) = known else { continue };
            if known.generation != member.generation {
                // Connections of its former life end with the next packet.
                self.handle.fabric.probe(*id);
            }
            let doubted = matches!(member.state, State::Suspect | State::Failed);
            if doubted && known.state == State::Up {
                // That is an opinion, which breaks no connection that works.
                self.handle.fabric.check(*id, SILENCE);
            }
        }
        let mut hosts: BTreeMap<HostId, Host> = BTreeMap::new();
        let mut names: BTreeMap<u64, HostId> = BTreeMap::new();
        // Those that were known before keep their names.
        let (known, new): (Vec<_>, Vec<_>) =
            view.hosts.values().partition(|member| before.hosts.contains_key(&member.id));
        for member in known.into_iter().chain(new) {
            let other = *names.entry(member.id.short()).or_insert(member.id);
            if other != member.id {
                let (host, name) = (member.id, hosts::name(other.short()));
                error!(%host, %other, name, "two hosts have one name: the later one is not there");
                self.handle.fabric.close(host, "another host of the cluster has this name");
                continue;
            }
            hosts.insert(member.id, host(member));
        }
        let (me, cluster) = (before.me, before.cluster.clone());
        if hosts.contains_key(&me) {
            self.shared.hosts.set(hosts::View { me, cluster, hosts });
        }
    }

    /// Resolves when no client has a connection any more.
    async fn drained(&self) {
        while self.shared.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Has a worker serve the streams of calls to a host. Each side says first in which of its lives it is.
async fn serve(
    shared: &Arc<Shared>,
    workers: &[UnboundedSender<Incoming>],
    host: HostId,
    [mut calls, large]: [HostStream; 2],
) -> io::Result<()> {
    let permit = Permit::for_host(shared, host)
        .ok_or_else(|| io::Error::other("it has too many connections for calls"))?;
    let mine = shared.hosts.view().this().generation;
    let introduced = async {
        calls.write_u64(mine).await?;
        calls.flush().await?;
        calls.read_u64().await
    };
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not say who it is");
    let generation = timeout(OPEN_TIMEOUT, introduced).await.map_err(silent)??;
    let peer = format!("host {}", hosts::name(host.short()));
    let worker = permit.worker();
    let streams =
        Streams { main: Box::new(calls) as Box<_>, lane: Some(Box::new(large) as Box<_>) };
    let socket = Socket::Host(streams, host, generation);
    // An error means that the server stops.
    drop(workers[worker].send(Incoming { socket, peer, permit, place: None }));
    Ok(())
}

/// What the server knows of a member.
fn host(member: &members::Member) -> Host {
    let record = member.record.as_deref().cloned().unwrap_or_default();
    Host {
        id: member.id,
        generation: member.generation,
        state: member.state,
        since: member.since.into_std(),
        hostname: record.hostname,
        version: record.version,
        addresses: record.addresses,
        at: member.at.to_string(),
        tags: record.tags,
    }
}
