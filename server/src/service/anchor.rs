//! `Anchor`: a node of this host's tree.

use std::rc::Rc;

use capnp::Error;
use killick_schema::api::anchor_capnp::anchor::{
    CellParams, CellResults, LookupParams, LookupResults, LsParams, LsResults, Server, SwapParams,
    SwapResults, WalkParams, WalkResults, child,
};

use super::write::{If, Write};
use crate::cap::{Node, Own};
use crate::session::Session;
use crate::wire;

pub(crate) struct AnchorService {
    pub(crate) session: Rc<Session>,
    pub(crate) node: Node,
}

impl Server for AnchorService {
    async fn ls(self: Rc<Self>, _: LsParams, mut results: LsResults) -> Result<(), Error> {
        let children = self.node.ls();
        let count = u32::try_from(children.len())
            .map_err(|_| Error::overloaded("too many children for one list".into()))?;
        let mut list = results.get().init_children(count);
        for (index, node) in (0..).zip(children) {
            describe(&self.session, node, list.reborrow().get(index))?;
        }
        Ok(())
    }

    async fn walk(
        self: Rc<Self>,
        params: WalkParams,
        mut results: WalkResults,
    ) -> Result<(), Error> {
        let path = params.get()?.get_path()?;
        let walked = self.node.walk(path.as_bytes());
        let node = walked.map_err(|error| wire::walk_error(&self.session, error))?;
        results.get().set_anchor(self.session.own(Own::Anchor(node))?);
        Ok(())
    }

    async fn cell(self: Rc<Self>, _: CellParams, mut results: CellResults) -> Result<(), Error> {
        let mut cell = results.get();
        cell.set_loader(self.session.own(Own::Loader(self.node.clone()))?);
        cell.set_storer(self.session.own(Own::Storer(self.node.clone()))?);
        Ok(())
    }

    async fn lookup(
        self: Rc<Self>,
        params: LookupParams,
        mut results: LookupResults,
    ) -> Result<(), Error> {
        let path = params.get()?.get_path()?;
        let found = self.node.lookup(path.as_bytes());
        if let Some(node) = found.map_err(|error| wire::path_error(&self.session, error))? {
            results.get().set_anchor(self.session.own(Own::Anchor(node))?);
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
        let mut write = Write::take(&self.session, value.0, value.1).await?;
        loop {
            // The client has the previous value before it is replaced: what does not fit changes nothing.
            let previous = self.node.load();
            let mut results = results.get();
            match &previous.value {
                Some(value) => {
                    wire::put_value(&self.session, value, results.reborrow().init_previous())?;
                }
                None if write.is_null() => {
                    results.set_revision(previous.revision);
                    return Ok(());
                }
                None => results.reborrow().init_previous().clear(),
            }
            let condition = If::Revision(previous.revision);
            match write.store(&self.session, &self.node, condition).await? {
                Ok(written) => {
                    results.set_revision(written.revision);
                    return Ok(());
                }
                // Lost to a concurrent write: again from the new value.
                Err((again, _)) => write = again,
            }
        }
    }
}

/// Fills in what `ls` tells of `node`.
fn describe(session: &Rc<Session>, node: Node, mut child: child::Builder<'_>) -> Result<(), Error> {
    child.set_name(node.name());
    child.set_filled(node.is_filled());
    child.set_child_count(node.child_count() as u64);
    child.set_anchor(session.own(Own::Anchor(node))?);
    Ok(())
}
