//! `Loader`: the right to read one cell.

use std::rc::Rc;

use capnp::Error;
use killick_schema::api::anchor_capnp::anchor::loader::{LoadParams, LoadResults, Server};

use crate::cap::Node;
use crate::session::Session;
use crate::wire;

pub(crate) struct LoaderService {
    pub(crate) session: Rc<Session>,
    pub(crate) node: Node,
}

impl Server for LoaderService {
    async fn load(self: Rc<Self>, _: LoadParams, mut results: LoadResults) -> Result<(), Error> {
        let loaded = self.node.load();
        let mut results = results.get();
        results.set_revision(loaded.revision);
        match &loaded.value {
            Some(value) => wire::put_value(&self.session, value, results.init_value()),
            None => Ok(()),
        }
    }
}
