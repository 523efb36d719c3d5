//! `Storer`: the right to write one cell.

use std::rc::Rc;

use capnp::{Error, any_pointer};
use killick::{StoreError, StoreErrorKind};
use killick_schema::api::anchor_capnp::anchor::storer::{
    CompareAndStoreParams, CompareAndStoreResults, Server, StoreParams, StoreResults, SwapParams,
    SwapResults,
};

use crate::bridge::{Node, host_is_gone};
use crate::session::Session;
use crate::wire::{self, Stored};

pub(crate) struct StorerService {
    pub(crate) session: Rc<Session>,
    pub(crate) node: Node,
}

impl StorerService {
    /// Takes `pointer` as a value, and does `store` with it. What clients host in it is then known
    /// to be in the cell, so that the cell is emptied when one of them goes.
    async fn with<T>(
        &self,
        pointer: any_pointer::Reader<'_>,
        store: impl FnOnce(Option<Stored>) -> Result<T, StoreError<Stored>>,
    ) -> Result<Result<T, StoreError<Stored>>, Error> {
        let value = wire::take_value(&self.session, pointer).await?;
        // From here on nothing waits, so nobody can disconnect in between.
        let worker = self.session.worker();
        let hosts: Vec<u64> = value.iter().flat_map(Stored::hosts).collect();
        if !value.iter().all(|value| worker.hosts_are_there(value)) {
            return Err(host_is_gone());
        }
        let stored = store(value);
        if stored.is_ok() {
            worker.cell_written(&self.node, &hosts);
        }
        Ok(stored)
    }
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
        let (succeeded, revision) = outcome(self.with(params.get_value(), store).await?)?;
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
        let (succeeded, revision) = outcome(self.with(params.get_value(), store).await?)?;
        results.get().set_succeeded(succeeded);
        results.get().set_revision(revision);
        Ok(())
    }

    async fn swap(
        self: Rc<Self>,
        params: SwapParams,
        mut results: SwapResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let filled = !params.get_value().is_null();
        let swapped = self.with(params.get_value(), |value| self.node.swap(value)).await?;
        let previous = swapped.map_err(|refused| wire::store_error(&refused))?;
        let mut results = results.get();
        // Nothing in place of nothing is no change.
        let changed = filled || previous.value.is_some();
        results.set_revision(previous.revision + u64::from(changed));
        match &previous.value {
            Some(value) => wire::put_value(&self.session, value, results.init_previous()),
            None => Ok(()),
        }
    }
}
