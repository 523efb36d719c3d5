//! `Storer`: the right to write one cell.

use std::rc::Rc;

use capnp::{Error, any_pointer};
use killick::Right;
use killick_schema::api::anchor_capnp::anchor::storer::{
    CompareAndStoreParams, CompareAndStoreResults, Server, StoreParams, StoreResults,
};

use super::write::{If, Write};
use crate::place::{Place, while_granted};
use crate::session::Session;
use crate::wire;

pub(crate) struct StorerService {
    pub(crate) session: Rc<Session>,
    pub(crate) place: Place,
}

impl StorerService {
    /// Stores `value`, bound to the connection or not: whether it was stored, and the revision.
    async fn write(
        &self,
        (value, bound): (any_pointer::Reader<'_>, bool),
        condition: If,
    ) -> Result<(bool, u64), Error> {
        self.place.require(Right::Store).map_err(wire::denied)?;
        let taken = Write::take(&self.session, value, bound);
        let write = while_granted(self.place.authority(), taken).await.map_err(wire::denied)??;
        Ok(match write.store(&self.session, &self.place, condition).await? {
            Ok(written) => (true, written.revision),
            Err((_, revision)) => (false, revision),
        })
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
        let value = (params.get_value(), params.get_bound());
        let (succeeded, revision) = self.write(value, condition).await?;
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
        let value = (params.get_value(), params.get_bound());
        let (succeeded, revision) = self.write(value, condition).await?;
        results.get().set_succeeded(succeeded);
        results.get().set_revision(revision);
        Ok(())
    }
}
