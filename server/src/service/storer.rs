//! `Storer`: the right to write one cell.

use std::rc::Rc;

use capnp::Error;
use killick_schema::api::anchor_capnp::anchor::storer::{
    CompareAndStoreParams, CompareAndStoreResults, Server, StoreParams, StoreResults,
};

use super::write::{If, Written, write};
use crate::cap::Node;
use crate::session::Session;

pub(crate) struct StorerService {
    pub(crate) session: Rc<Session>,
    pub(crate) node: Node,
}

/// Whether it was stored, and the revision.
fn outcome(written: &Written) -> (bool, u64) {
    match *written {
        Written::Done { revision, .. } => (true, revision),
        Written::Refused { revision } => (false, revision),
    }
}

impl Server for StorerService {
    async fn store(
        self: Rc<Self>,
        params: StoreParams,
        mut results: StoreResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let condition = if params.get_overwrite() { If::Any } else { If::Empty };
        let (value, bound) = (params.get_value(), params.get_bound());
        let written = write(&self.session, &self.node, value, bound, condition).await?;
        let (succeeded, revision) = outcome(&written);
        results.get().set_succeeded(succeeded);
        results.get().set_revision(revision);
        Ok(())
    }

    async fn compare_and_store(
        self: Rc<Self>,
        params: CompareAndStoreParams,
        mut results: CompareAndStoreResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let condition = If::Revision(params.get_expected());
        let (value, bound) = (params.get_value(), params.get_bound());
        let written = write(&self.session, &self.node, value, bound, condition).await?;
        let (succeeded, revision) = outcome(&written);
        results.get().set_succeeded(succeeded);
        results.get().set_revision(revision);
        Ok(())
    }
}
