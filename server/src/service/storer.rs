//! `Storer`: the right to write one cell.

use std::rc::Rc;

use capnp::Error;
use killick::{StoreError, StoreErrorKind};
use killick_schema::api::anchor_capnp::anchor::storer::{
    CompareAndStoreParams, CompareAndStoreResults, Server, StoreParams, StoreResults,
};

use super::write::write;
use crate::bridge::Node;
use crate::session::Session;
use crate::wire::{self, Stored};

pub(crate) struct StorerService {
    pub(crate) session: Rc<Session>,
    pub(crate) node: Node,
}

/// Whether it was stored, and the revision; or the error if that was not because of what the cell
/// held.
fn outcome(stored: Result<u64, StoreError<Stored>>) -> Result<(bool, u64), Error> {
    match stored {
        Ok(revision) => Ok((true, revision)),
        Err(refused) => match refused.kind {
            StoreErrorKind::Occupied | StoreErrorKind::Conflict => Ok((false, refused.revision)),
            _ => Err(wire::store_error(&refused)),
        },
    }
}

impl Server for StorerService {
    async fn store(
        self: Rc<Self>,
        params: StoreParams,
        mut results: StoreResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let overwrite = params.get_overwrite();
        let store = |value| self.node.store(value, overwrite);
        let stored = write(&self.session, &self.node, params.get_value(), store).await?;
        let (succeeded, revision) = outcome(stored)?;
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
        let expected = params.get_expected();
        let store = |value| self.node.compare_and_store(expected, value);
        let stored = write(&self.session, &self.node, params.get_value(), store).await?;
        let (succeeded, revision) = outcome(stored)?;
        results.get().set_succeeded(succeeded);
        results.get().set_revision(revision);
        Ok(())
    }
}
