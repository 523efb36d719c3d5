//! `Host`: the bootstrap capability, which is the anchor of this host, the root of its tree.

use std::fs;
use std::rc::Rc;

use capnp::Error;
use killick_schema::api::anchor_capnp::anchor::{
    self, CellParams, CellResults, LookupParams, LookupResults, LsParams, LsResults, SwapParams,
    SwapResults, WalkParams, WalkResults,
};
use killick_schema::api::host_capnp::host::{
    InfoParams, InfoResults, RootParams, RootResults, Server,
};

use super::anchor::AnchorService;
use crate::bridge::CapRef;
use crate::session::Session;

pub(crate) struct HostService {
    pub(crate) session: Rc<Session>,
}

impl HostService {
    /// The same host as an anchor alone.
    fn anchor(&self) -> Rc<AnchorService> {
        let node = self.session.shared().tree.root();
        Rc::new(AnchorService { session: self.session.clone(), node })
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
}

impl Server for HostService {
    async fn root(self: Rc<Self>, _: RootParams, mut results: RootResults) -> Result<(), Error> {
        results.get().set_root(self.session.typed(&CapRef::Cluster)?);
        Ok(())
    }

    async fn info(self: Rc<Self>, _: InfoParams, mut results: InfoResults) -> Result<(), Error> {
        let shared = self.session.shared();
        let uptime = shared.started.elapsed().as_millis();
        let mut info = results.get().init_info();
        info.set_id(shared.host_id);
        info.set_version(env!("CARGO_PKG_VERSION"));
        info.set_hostname(&shared.hostname);
        info.set_uptime_millis(u64::try_from(uptime).unwrap_or(u64::MAX));
        info.set_nodes(shared.tree.nodes() as u64);
        info.set_resident_bytes(resident_bytes().unwrap_or(0));
        info.set_connections(shared.connections() as u64);
        Ok(())
    }
}

/// The resident memory of this process, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let sizes = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = sizes.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
