//! `Anchor`: a node of this host's tree.

use std::rc::Rc;
use std::sync::Arc;

use capnp::Error;
use killick::{Right, Rights};
use killick_schema::api::anchor_capnp::anchor::{
    AttenuateParams, AttenuateResults, CellParams, CellResults, ExecParams, ExecResults,
    LookupParams, LookupResults, LsParams, LsResults, NewChanParams, NewChanResults, Server,
    SwapParams, SwapResults, WalkParams, WalkResults, WatchParams, WatchResults, child,
};

use super::write::{If, Write};
use super::{authority, process};
use crate::cap::{Node, Own};
use crate::place::{Place, while_granted};
use crate::session::Session;
use crate::watching::{Subject, Watching};
use crate::wire;

pub(crate) struct AnchorService {
    pub(crate) session: Rc<Session>,
    pub(crate) place: Place,
    /// Whether the client has the host, and not this anchor alone.
    pub(crate) host: bool,
}

impl Server for AnchorService {
    async fn ls(self: Rc<Self>, _: LsParams, mut results: LsResults) -> Result<(), Error> {
        let children = self.place.ls().map_err(wire::denied)?;
        let count = u32::try_from(children.len())
            .map_err(|_| Error::overloaded("too many children for one list".into()))?;
        let mut list = results.get().init_children(count);
        for (index, place) in (0..).zip(children) {
            let mut child = list.reborrow().get(index);
            let tree = &self.session.shared().tree;
            place
                .with(tree, Rights::NONE, |node| child.set_name(node.name()))
                .map_err(wire::denied)?;
            describe(&self.session, place, child)?;
        }
        Ok(())
    }

    async fn walk(
        self: Rc<Self>,
        params: WalkParams,
        mut results: WalkResults,
    ) -> Result<(), Error> {
        let path = params.get()?.get_path()?;
        let walked = self.place.walk(path.as_bytes());
        let place = walked.map_err(|error| wire::walk_error(&self.session, error))?;
        results.get().set_anchor(self.session.own(Own::Anchor(place))?);
        Ok(())
    }

    async fn cell(self: Rc<Self>, _: CellParams, mut results: CellResults) -> Result<(), Error> {
        self.place.require(Rights::NONE).map_err(wire::denied)?;
        let mut cell = results.get();
        if self.place.has(Right::Load) {
            cell.set_loader(self.session.own(Own::Loader(self.place.clone()))?);
        }
        if self.place.has(Right::Store) {
            cell.set_storer(self.session.own(Own::Storer(self.place.clone()))?);
        }
        Ok(())
    }

    async fn lookup(
        self: Rc<Self>,
        params: LookupParams,
        mut results: LookupResults,
    ) -> Result<(), Error> {
        let path = params.get()?.get_path()?;
        let found = self.place.lookup(path.as_bytes());
        if let Some(place) = found.map_err(|error| wire::lookup_error(&self.session, error))? {
            results.get().set_anchor(self.session.own(Own::Anchor(place))?);
        }
        Ok(())
    }

    async fn swap(
        self: Rc<Self>,
        params: SwapParams,
        mut results: SwapResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let value = (params.get_value(), params.get_bound());
        self.place.require(Right::Store).map_err(wire::denied)?;
        let taken = Write::take(&self.session, value.0, value.1);
        let taken = while_granted(self.place.authority(), taken).await;
        let mut write = taken.map_err(wire::denied)??;
        loop {
            let tree = &self.session.shared().tree;
            // The client has the previous value before it is replaced: what does not fit changes nothing.
            let previous = self.place.with(tree, Right::Load, Node::load).map_err(wire::denied)?;
            let mut results = results.get();
            match &previous.value {
                Some(value) => {
                    let pointer = results.reborrow().init_previous();
                    wire::put_value(&self.session, &self.place, value, pointer)?;
                }
                None if write.is_null() => {
                    results.set_revision(previous.revision);
                    return Ok(());
                }
                None => results.reborrow().init_previous().clear(),
            }
            let condition = If::Revision(previous.revision);
            match write.store(&self.session, &self.place, condition).await? {
                Ok(written) => {
                    results.set_revision(written.revision);
                    return Ok(());
                }
                // Lost to a concurrent write: again from the new value.
                Err((again, _)) => write = again,
            }
        }
    }

    async fn attenuate(
        self: Rc<Self>,
        params: AttenuateParams,
        mut results: AttenuateResults,
    ) -> Result<(), Error> {
        let (place, grant) = authority::attenuate(&self.place, self.host, params)?;
        let mut results = results.get();
        results.set_anchor(self.session.own(Own::Anchor(place))?);
        results.set_grant(self.session.own(Own::Grant(grant))?);
        Ok(())
    }

    async fn watch(
        self: Rc<Self>,
        params: WatchParams,
        mut results: WatchResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let (value, children) = (params.get_value(), params.get_children());
        let subject = Subject::Node { place: self.place.clone(), value, children };
        let watching = Arc::new(Watching::new(&self.session, subject)?);
        results.get().set_watch(self.session.own(Own::Watch(watching))?);
        Ok(())
    }

    async fn new_chan(
        self: Rc<Self>,
        params: NewChanParams,
        mut results: NewChanResults,
    ) -> Result<(), Error> {
        let capacity = params.get()?.get_capacity() as usize;
        let end = self.session.new_channel(&self.place, capacity)?;
        results.get().set_chan(self.session.own(Own::Channel(end))?);
        Ok(())
    }

    async fn exec(self: Rc<Self>, params: ExecParams, results: ExecResults) -> Result<(), Error> {
        let place = (!self.host).then_some(&self.place);
        process::start(&self.session, place, params, results).await
    }
}

/// Fills in what `ls` tells of the node at `place`, but for its name.
pub(super) fn describe(
    session: &Rc<Session>,
    place: Place,
    mut child: child::Builder<'_>,
) -> Result<(), Error> {
    let tell = |node: &Node| {
        child.set_filled(node.is_filled());
        child.set_child_count(node.child_count() as u64);
    };
    place.with(&session.shared().tree, Rights::NONE, tell).map_err(wire::denied)?;
    child.set_anchor(session.own(Own::Anchor(place))?);
    Ok(())
}
