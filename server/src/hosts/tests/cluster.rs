//! Hosts in one process, on one thread and in a time of their own, with wires between them that take time
//! and can be cut.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, RpcSystem, twoparty::VatNetwork};
use killick_schema::api::host_capnp::host;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::access::{Admitted, Who};
use crate::config::Config;
use crate::connection;
use crate::hosts::{Host, HostId, State, View};
use crate::net::Streams;
use crate::shared::Shared;
use crate::worker::Worker;

/// How long what is sent between hosts is on its way.
pub(super) const LATENCY: Duration = Duration::from_millis(50);

/// One host.
pub(super) struct Site {
    pub(super) id: HostId,
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Vec<Rc<Worker>>,
    stop: watch::Sender<bool>,
}

/// The hosts and what is between them.
pub(super) struct Cluster {
    pub(super) sites: Vec<Rc<Site>>,
    /// Cuts each wire that there is; nothing more comes through, and the ends are told or not.
    wires: Rc<RefCell<Vec<watch::Sender<Cut>>>>,
    /// Hosts that answer nobody.
    silent: Rc<Cell<Option<HostId>>>,
    pub(super) connections: Rc<Cell<usize>>,
    /// How long what goes over the lanes is on its way.
    pub(super) lane: Rc<Cell<Duration>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    No,
    Told,
}

/// Runs `body` in a time of its own.
pub(super) fn run<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, body());
}

impl Cluster {
    /// As many hosts, all of which know of each other.
    pub(super) fn of(count: usize) -> Self {
        Cluster::with(count, |_| Config::for_test([]))
    }

    pub(super) fn with(count: usize, config: impl Fn(usize) -> Config) -> Self {
        let site = |number| {
            let (shared, notes) = Shared::new(config(number), 2);
            let mut workers = Vec::new();
            for (number, notes) in notes.into_iter().enumerate() {
                let (worker, inboxes) = Worker::new(shared.clone(), number, notes);
                workers.push(worker.clone());
                spawn_local(async move { worker.keep_house(inboxes).await });
            }
            let id = shared.hosts.view().me;
            Rc::new(Site { id, shared, workers, stop: watch::Sender::new(false) })
        };
        let sites: Vec<_> = (0..count).map(site).collect();
        let cluster = Cluster {
            sites,
            wires: Rc::default(),
            silent: Rc::default(),
            connections: Rc::default(),
            lane: Rc::new(Cell::new(LATENCY)),
        };
        cluster.sites.iter().for_each(|site| cluster.tell(site, |_| State::Up));
        for number in 0..count {
            let wanted = cluster.sites[number].shared.hosts.router.wanted();
            cluster.connect_for(number, wanted);
        }
        cluster
    }

    /// What `site` knows of the hosts: each is in the state that `state` gives it.
    pub(super) fn tell(&self, site: &Site, state: impl Fn(HostId) -> State) {
        self.tell_generation(site, state, 1);
    }

    pub(super) fn tell_generation(
        &self,
        site: &Site,
        state: impl Fn(HostId) -> State,
        generation: u64,
    ) {
        let host = |one: &Rc<Site>| Host {
            id: one.id,
            generation,
            state: state(one.id),
            since: Instant::now(),
            hostname: String::new(),
            version: String::new(),
            addresses: Vec::new(),
            at: String::new(),
            tags: Vec::new(),
        };
        let hosts: BTreeMap<_, _> = self.sites.iter().map(|one| (one.id, host(one))).collect();
        site.shared.hosts.set(View { me: site.id, cluster: Some("test".into()), hosts });
    }

    /// Connects host `number` with those that it wants to reach.
    fn connect_for(&self, number: usize, mut wanted: mpsc::UnboundedReceiver<HostId>) {
        let (sites, wires) = (self.sites.clone(), self.wires.clone());
        let (silent, connections) = (self.silent.clone(), self.connections.clone());
        let lane = self.lane.clone();
        spawn_local(async move {
            while let Some(host) = wanted.recv().await {
                if silent.get() == Some(host) {
                    continue;
                }
                let other = sites.iter().find(|site| site.id == host).expect("a host").clone();
                connections.set(connections.get() + 1);
                connect(&wires, &lane, &sites[number], &other);
            }
        });
    }

    /// One more connection between two hosts, which nobody has asked for.
    pub(super) fn connect(&self, here: &Rc<Site>, there: &Rc<Site>) {
        connect(&self.wires, &self.lane, here, there);
    }

    /// Ends all connections between hosts.
    pub(super) async fn cut(&self) {
        self.wires.take().iter().for_each(|wire| {
            wire.send_replace(Cut::Told);
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
    }

    /// Has a host answer nobody from now on.
    pub(super) fn silence(&self, host: HostId) {
        self.silent.set(Some(host));
    }
}

impl Site {
    fn serve_as(self: &Rc<Self>, streams: Streams<DuplexStream>, who: Who, worker: usize) {
        let site = self.clone();
        spawn_local(async move {
            let Ok(grant) = who.grant(&site.shared.config()) else { return };
            let admitted = Admitted { who, grant, peer: format!("{who:?}"), child: None };
            let mut stop = site.stop.subscribe();
            connection::run(streams, &admitted, &site.workers[worker], &mut stop).await;
        });
    }

    /// A client of this host: its bootstrap capability.
    pub(super) fn client(self: &Rc<Self>) -> host::Client {
        self.client_as(Who::Local)
    }

    pub(super) fn client_as(self: &Rc<Self>, who: Who) -> host::Client {
        self.client_that_leaves(who).0
    }

    /// A client of this host, and what ends its connection.
    pub(super) fn client_that_leaves(
        self: &Rc<Self>,
        who: Who,
    ) -> (host::Client, Disconnector<Side>) {
        let (client, server) = duplex(1 << 16);
        self.serve_as(Streams::one(server), who, 1);
        let (read, write) = split(client);
        let (read, write) = (read.compat(), write.compat_write());
        let network =
            VatNetwork::new(read, write, Side::Client, capnp::message::ReaderOptions::new());
        let mut rpc = RpcSystem::new(Box::new(network), None);
        let (host, leave) = (rpc.bootstrap(Side::Server), rpc.get_disconnector());
        spawn_local(rpc);
        (host, leave)
    }

    /// How many connections there are to other hosts.
    pub(super) fn links(&self) -> usize {
        let clients = self.shared.clients.list();
        clients.iter().filter(|client| matches!(client.who, Who::Host(..))).count()
    }

    pub(super) fn name(&self) -> String {
        crate::hosts::name(self.id.short())
    }
}

/// Connects two hosts.
fn connect(
    wires: &Rc<RefCell<Vec<watch::Sender<Cut>>>>,
    lane: &Rc<Cell<Duration>>,
    one: &Rc<Site>,
    other: &Rc<Site>,
) {
    let (here, there) = wire(wires, || LATENCY);
    let time = lane.clone();
    let (near, far) = wire(wires, move || time.get());
    let [here, there] = [(here, near), (there, far)]
        .map(|(main, lane)| Streams { main, lane: Some(Box::new(lane) as Box<_>) });
    one.serve_as(here, Who::Host(other.id, generation(one, other.id)), 0);
    let (me, other) = (one.id, other.clone());
    spawn_local(async move {
        tokio::time::sleep(LATENCY).await;
        other.serve_as(there, Who::Host(me, generation(&other, me)), 1);
    });
}

/// Both ends of a wire, on which things are for as long as `latency` says.
fn wire(
    wires: &Rc<RefCell<Vec<watch::Sender<Cut>>>>,
    latency: impl Fn() -> Duration + Clone + 'static,
) -> (DuplexStream, DuplexStream) {
    let ((here, near), (there, far)) = (duplex(1 << 20), duplex(1 << 20));
    let cut = watch::Sender::new(Cut::No);
    let ((near_read, near_write), (far_read, far_write)) = (split(near), split(far));
    for (mut read, mut write) in [(near_read, far_write), (far_read, near_write)] {
        let (sent, mut on_its_way) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
        let mut stop = cut.subscribe();
        spawn_local(async move {
            let pass = async {
                while let Some((when, bytes)) = on_its_way.recv().await {
                    tokio::time::sleep_until(when).await;
                    if write.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = pass => {}
                _ = stop.wait_for(|cut| *cut == Cut::Told) => {}
            }
            let _ = write.shutdown().await;
        });
        let (mut stop, latency) = (cut.subscribe(), latency.clone());
        spawn_local(async move {
            let take = async {
                let mut bytes = vec![0; 1 << 16];
                loop {
                    match read.read(&mut bytes).await {
                        Ok(0) | Err(_) => break,
                        Ok(count) => {
                            let when = tokio::time::Instant::now() + latency();
                            if sent.send((when, bytes[..count].to_vec())).is_err() {
                                break;
                            }
                        }
                    }
                }
            };
            tokio::select! {
                () = take => {}
                _ = stop.wait_for(|cut| *cut == Cut::Told) => {}
            }
        });
    }
    wires.borrow_mut().push(cut);
    (here, there)
}

/// The life of a host that `site` knows.
fn generation(site: &Site, host: HostId) -> u64 {
    site.shared.hosts.view().hosts[&host].generation
}
