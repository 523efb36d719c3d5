//! `Host`: the bootstrap capability, which is the anchor of this host, the root of its tree.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use capnp::Error;
use killick_schema::api::anchor_capnp::anchor::{
    self, AttenuateParams, AttenuateResults, CellParams, CellResults, ExecParams, ExecResults,
    LookupParams, LookupResults, LsParams, LsResults, NewChanParams, NewChanResults, SwapParams,
    SwapResults, WalkParams, WalkResults, WatchParams, WatchResults,
};
use killick_schema::api::host_capnp::host::{
    ClientsParams, ClientsResults, HostsParams, HostsResults, InfoParams, InfoResults, RootParams,
    RootResults, Server,
};
use killick_schema::api::host_capnp::member;

use super::anchor::AnchorService;
use crate::cap::Own;
use crate::hosts::{Host, State};
use crate::session::Session;
use crate::system;

pub(crate) struct HostService {
    pub(crate) session: Rc<Session>,
}

impl HostService {
    /// The same host as an anchor alone.
    fn anchor(&self) -> Rc<AnchorService> {
        let (session, place) = (self.session.clone(), self.session.root());
        Rc::new(AnchorService { session, place, host: true })
    }
}

impl anchor::Server for HostService {
    async fn ls(self: Rc<Self>, params: LsParams, results: LsResults) -> Result<(), Error> {
        self.anchor().ls(params, results).await
    }

    async fn walk(self: Rc<Self>, params: WalkParams, results: WalkResults) -> Result<(), Error> {
        self.anchor().walk(params, results).await
    }

    async fn cell(self: Rc<Self>, params: CellParams, results: CellResults) -> Result<(), Error> {
        self.anchor().cell(params, results).await
    }

    async fn lookup(
        self: Rc<Self>,
        params: LookupParams,
        results: LookupResults,
    ) -> Result<(), Error> {
        self.anchor().lookup(params, results).await
    }

    async fn swap(self: Rc<Self>, params: SwapParams, results: SwapResults) -> Result<(), Error> {
        self.anchor().swap(params, results).await
    }

    async fn attenuate(
        self: Rc<Self>,
        params: AttenuateParams,
        results: AttenuateResults,
    ) -> Result<(), Error> {
        self.anchor().attenuate(params, results).await
    }

    async fn watch(
        self: Rc<Self>,
        params: WatchParams,
        results: WatchResults,
    ) -> Result<(), Error> {
        self.anchor().watch(params, results).await
    }

    async fn exec(self: Rc<Self>, params: ExecParams, results: ExecResults) -> Result<(), Error> {
        self.anchor().exec(params, results).await
    }

    async fn new_chan(
        self: Rc<Self>,
        params: NewChanParams,
        results: NewChanResults,
    ) -> Result<(), Error> {
        self.anchor().new_chan(params, results).await
    }
}

impl Server for HostService {
    async fn root(self: Rc<Self>, _: RootParams, mut results: RootResults) -> Result<(), Error> {
        results.get().set_root(self.session.own(Own::Cluster(self.session.root()))?);
        Ok(())
    }

    async fn info(self: Rc<Self>, _: InfoParams, mut results: InfoResults) -> Result<(), Error> {
        let shared = self.session.shared();
        let uptime = shared.started.elapsed().as_millis();
        let mut info = results.get().init_info();
        let view = shared.hosts.view();
        let this = view.this();
        info.set_id(this.id.short());
        info.set_full_id(this.id.to_string());
        info.set_generation(this.generation);
        info.set_hosts(u32::try_from(view.there().count()).unwrap_or(u32::MAX));
        info.set_certificate_ends(shared.certificate_ends());
        info.set_cluster(view.cluster.as_deref().unwrap_or_default());
        info.set_version(env!("CARGO_PKG_VERSION"));
        info.set_hostname(&this.hostname);
        info.set_uptime_millis(u64::try_from(uptime).unwrap_or(u64::MAX));
        info.set_nodes(shared.tree.nodes() as u64);
        info.set_resident_bytes(system::resident_bytes());
        info.set_connections(shared.connections() as u64);
        info.set_threads(u32::try_from(shared.workers()).unwrap_or(u32::MAX));
        info.set_cpu_micros(system::cpu_micros());
        info.set_calls(shared.clients.calls());
        info.set_stored_bytes(shared.stored_bytes() as u64);
        // Relaxed: a count for people to read.
        let processes = shared.processes.load(Ordering::Relaxed);
        info.set_processes(u32::try_from(processes).unwrap_or(u32::MAX));
        Ok(())
    }

    async fn hosts(self: Rc<Self>, _: HostsParams, mut results: HostsResults) -> Result<(), Error> {
        let hosts = &self.session.shared().hosts;
        let view = hosts.view();
        let count = u32::try_from(view.hosts.len()).unwrap_or(u32::MAX);
        let mut list = results.get().init_hosts(count);
        for (index, host) in (0..).zip(view.hosts.values()) {
            let mut member = list.reborrow().get(index);
            member.set_connected(hosts.router.is_connected(host.id, &view));
            member.set_self(host.id == view.me);
            describe(host, member);
        }
        Ok(())
    }

    async fn clients(
        self: Rc<Self>,
        _: ClientsParams,
        mut results: ClientsResults,
    ) -> Result<(), Error> {
        let clients = self.session.shared().clients.list();
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let mut list = results.get().init_clients(small(clients.len() as u64));
        for (index, client) in (0..).zip(&clients) {
            let age = client.opened.elapsed().as_millis();
            let mut info = list.reborrow().get(index);
            info.set_id(client.id);
            info.set_peer(&client.peer);
            info.set_age_millis(u64::try_from(age).unwrap_or(u64::MAX));
            info.set_thread(small(client.worker as u64));
            info.set_calls(client.calls.get());
            info.set_running(small(client.running.get()));
            info.set_bytes_read(client.read.get());
            info.set_bytes_written(client.written.get());
            info.set_handles(small(client.handles.get()));
            info.set_hosted(small(client.hosted.get()));
            // Relaxed: numbers for people to read.
            let count = |of: &AtomicUsize| small(of.load(Ordering::Relaxed) as u64);
            info.set_watches(count(&client.watches));
            info.set_channels(count(&client.channels));
        }
        Ok(())
    }
}

/// Fills in what is known of a host.
fn describe(host: &Host, mut member: member::Builder<'_>) {
    member.set_id(host.id.short());
    member.set_full_id(host.id.to_string());
    member.set_generation(host.generation);
    member.set_state(match host.state {
        State::Up => member::State::Up,
        State::Suspect => member::State::Suspect,
        State::Left => member::State::Left,
        State::Failed => member::State::Failed,
    });
    let since = host.since.elapsed().as_millis();
    member.set_since_millis(u64::try_from(since).unwrap_or(u64::MAX));
    member.set_hostname(&host.hostname);
    member.set_version(&host.version);
    member.set_cluster(&host.at);
    let count = |list: usize| u32::try_from(list).unwrap_or(u32::MAX);
    let mut addresses = member.reborrow().init_addresses(count(host.addresses.len()));
    (0..).zip(&host.addresses).for_each(|(index, address)| addresses.set(index, address));
    let mut tags = member.init_tags(count(host.tags.len()));
    for (index, (key, value)) in (0..).zip(&host.tags) {
        let mut tag = tags.reborrow().get(index);
        tag.set_key(key);
        tag.set_value(value);
    }
}
