//! `Loader`: the right to read one cell.

use std::rc::Rc;

use capnp::Error;
use killick::Right;
use killick_schema::api::anchor_capnp::anchor::loader::{LoadParams, LoadResults, Server};

use crate::cap::Node;
use crate::place::Place;
use crate::session::Session;
use crate::wire;

pub(crate) struct LoaderService {
    pub(crate) session: Rc<Session>,
    pub(crate) place: Place,
}

impl Server for LoaderService {
    async fn load(self: Rc<Self>, _: LoadParams, mut results: LoadResults) -> Result<(), Error> {
        let tree = &self.session.shared().tree;
        let loaded = self.place.with(tree, Right::Load, Node::load).map_err(wire::denied)?;
        let mut results = results.get();
        results.set_revision(loaded.revision);
        match &loaded.value {
            Some(value) => wire::put_value(&self.session, &self.place, value, results.init_value()),
            None => Ok(()),
        }
    }
}
