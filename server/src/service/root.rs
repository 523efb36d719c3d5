//! The cluster's anchor: its children are the hosts, which without a cluster is this one.
//!
//! A host goes by its id, as 16 hex digits or more of it; `self` is another name of the contacted one, which
//! `ls` leaves out. What is asked of another host goes there as it is ([`Far`]), and what is asked of the
//! answer before that is there follows at once.

use std::rc::Rc;
use std::sync::Arc;

use capnp::capability::Results;
use capnp::private::capability::internal_get_untyped_results;
use capnp::traits::HasTypeId;
use capnp::{Error, any_pointer};
use killick::{PathError, Right};
use killick_schema::api::anchor_capnp::anchor::{
    self, AttenuateParams, AttenuateResults, CellParams, CellResults, ExecParams, ExecResults,
    LookupParams, LookupResults, LsParams, LsResults, NewChanParams, NewChanResults, Server,
    SwapParams, SwapResults, WalkParams, WalkResults, WatchParams, WatchResults,
};

use crate::bridge;
use crate::cap::Own;
use crate::hosts::{Far, HostId};
use crate::place::Place;
use crate::session::Session;
use crate::watching::{Subject, Watching};
use crate::wire;

use super::anchor::describe;
use super::authority;

pub(crate) struct RootService {
    pub(crate) session: Rc<Session>,
    /// This host's anchor, as this client may use it.
    pub(crate) host: Place,
}

/// What a path from the cluster's anchor leads to.
enum Target<'a> {
    /// The anchor itself.
    Cluster,
    /// A path under this host's anchor.
    Here(&'a [u8]),
    /// A path under that of another.
    There(HostId, &'a [u8]),
    /// A host that there is not.
    NoHost(&'a [u8]),
}

impl RootService {
    fn resolve<'a>(&self, path: &'a [u8]) -> Result<Target<'a>, PathError> {
        // The whole path is checked first, so that an error gives the place in what was sent. Its
        // depth is checked by the host, where it is one less.
        match self.session.shared().tree.root().lookup(path) {
            Ok(_) | Err(PathError::TooDeep { .. }) => {}
            Err(error) => return Err(error),
        }
        let view = self.session.shared().hosts.view();
        let mut end = 0;
        for name in path.split(|&byte| byte == b'/') {
            end += name.len();
            if !matches!(name, b"" | b".") {
                return Ok(match view.find(name).map(|host| host.id) {
                    Some(id) if id == view.me => Target::Here(&path[end..]),
                    Some(id) => Target::There(id, &path[end..]),
                    None => Target::NoHost(name),
                });
            }
            end += 1;
        }
        Ok(Target::Cluster)
    }

    fn no_such_host(&self, name: &[u8]) -> Error {
        let view = self.session.shared().hosts.view();
        match view.hosts.len() {
            1 => wire::no_such_host(name, view.me.short()),
            hosts => wire::no_such_host_of(name, hosts),
        }
    }

    /// The anchor of another host, as this client may use it.
    fn far(&self, host: HostId) -> Far {
        Far { host, place: self.host.clone() }
    }

    /// Has another host answer what has one path as its parameter, with the rest of that.
    async fn ask(
        &self,
        host: HostId,
        method: u16,
        path: &[u8],
        results: Results<any_pointer::Owned>,
    ) -> Result<(), Error> {
        let token = self.far(host).reach(&self.session).await?;
        let question = wire::walk_params(&self.session, path)?;
        bridge::send(&self.session, token, (anchor::Client::TYPE_ID, method), question, results)
            .await
    }
}

/// The numbers of the methods that have a path as their parameter.
const WALK: u16 = 1;
const LOOKUP: u16 = 3;

impl Server for RootService {
    async fn ls(self: Rc<Self>, _: LsParams, mut results: LsResults) -> Result<(), Error> {
        self.host.require(Right::Ls).map_err(wire::denied)?;
        let view = self.session.shared().hosts.view();
        let hosts: Vec<_> = view.there().collect();
        let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let mut children = results.get().init_children(count);
        for (index, host) in (0..).zip(hosts) {
            let mut child = children.reborrow().get(index);
            child.set_name(host.name());
            if host.id == view.me {
                describe(&self.session, self.host.clone(), child)?;
            } else {
                child.set_anchor(self.session.own(Own::Far(self.far(host.id)))?);
            }
        }
        Ok(())
    }

    async fn walk(
        self: Rc<Self>,
        params: WalkParams,
        mut results: WalkResults,
    ) -> Result<(), Error> {
        let path = params.get()?.get_path()?;
        let path_error = |error| wire::path_error(&self.session, error);
        let walk_error = |error| wire::walk_error(&self.session, error);
        let cap = match self.resolve(path.as_bytes()).map_err(path_error)? {
            Target::Cluster => Own::Cluster(self.host.clone()),
            Target::Here(path) => Own::Anchor(self.host.walk(path).map_err(walk_error)?),
            Target::There(host, path) => {
                let results = internal_get_untyped_results(results);
                return self.ask(host, WALK, path, results).await;
            }
            Target::NoHost(name) => return Err(self.no_such_host(name)),
        };
        results.get().set_anchor(self.session.own(cap)?);
        Ok(())
    }

    async fn cell(self: Rc<Self>, _: CellParams, _: CellResults) -> Result<(), Error> {
        Err(wire::cluster_has_no_cell())
    }

    async fn swap(self: Rc<Self>, _: SwapParams, _: SwapResults) -> Result<(), Error> {
        Err(wire::cluster_has_no_cell())
    }

    async fn exec(self: Rc<Self>, _: ExecParams, _: ExecResults) -> Result<(), Error> {
        Err(wire::cluster_starts_nothing())
    }

    async fn attenuate(
        self: Rc<Self>,
        params: AttenuateParams,
        mut results: AttenuateResults,
    ) -> Result<(), Error> {
        let (host, grant) = authority::attenuate(&self.host, false, params)?;
        let mut results = results.get();
        results.set_anchor(self.session.own(Own::Cluster(host))?);
        results.set_grant(self.session.own(Own::Grant(grant))?);
        Ok(())
    }

    async fn watch(
        self: Rc<Self>,
        params: WatchParams,
        mut results: WatchResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        if params.get_value() {
            return Err(wire::cluster_has_no_cell());
        }
        if !params.get_children() {
            return Err(wire::nothing_to_watch());
        }
        let hosts = self.session.shared().hosts.changes();
        let subject = Subject::Hosts { root: self.host.clone(), hosts };
        let watching = Arc::new(Watching::new(&self.session, subject)?);
        results.get().set_watch(self.session.own(Own::Watch(watching))?);
        Ok(())
    }

    async fn new_chan(self: Rc<Self>, _: NewChanParams, _: NewChanResults) -> Result<(), Error> {
        Err(wire::cluster_has_no_channels())
    }

    async fn lookup(
        self: Rc<Self>,
        params: LookupParams,
        mut results: LookupResults,
    ) -> Result<(), Error> {
        let path = params.get()?.get_path()?;
        let path_error = |error| wire::path_error(&self.session, error);
        let lookup_error = |error| wire::lookup_error(&self.session, error);
        let cap = match self.resolve(path.as_bytes()).map_err(path_error)? {
            Target::Cluster => Own::Cluster(self.host.clone()),
            Target::Here(path) => match self.host.lookup(path).map_err(lookup_error)? {
                Some(node) => Own::Anchor(node),
                None => return Ok(()),
            },
            Target::There(host, path) => {
                let results = internal_get_untyped_results(results);
                return self.ask(host, LOOKUP, path, results).await;
            }
            Target::NoHost(_) => return Ok(()),
        };
        results.get().set_anchor(self.session.own(cap)?);
        Ok(())
    }
}
