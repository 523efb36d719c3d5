//! `Loader`: the right to read one cell.

use std::rc::Rc;

use capnp::Error;
use killick::{Loaded, Right};
use killick_schema::api::anchor_capnp::anchor::loader::{
    LoadParams, LoadResults, Server, WaitParams, WaitResults,
};

use crate::cap::Node;
use crate::place::Place;
use crate::session::Session;
use crate::watching::News;
use crate::wire::{self, Stored};

pub(crate) struct LoaderService {
    pub(crate) session: Rc<Session>,
    pub(crate) place: Place,
}

impl Server for LoaderService {
    async fn load(self: Rc<Self>, _: LoadParams, mut results: LoadResults) -> Result<(), Error> {
        let loaded = self.present()?;
        let mut results = results.get();
        results.set_revision(loaded.revision);
        match &loaded.value {
            Some(value) => wire::put_value(&self.session, &self.place, value, results.init_value()),
            None => Ok(()),
        }
    }

    async fn wait(self: Rc<Self>, _: WaitParams, mut results: WaitResults) -> Result<(), Error> {
        let loaded = match self.present()? {
            Loaded { value: None, .. } => self.filled().await?,
            loaded => loaded,
        };
        let mut results = results.get();
        results.set_revision(loaded.revision);
        match &loaded.value {
            Some(value) => wire::put_value(&self.session, &self.place, value, results.init_value()),
            None => Ok(()),
        }
    }
}

impl LoaderService {
    /// What the cell holds.
    fn present(&self) -> Result<Loaded<Stored>, Error> {
        let tree = &self.session.shared().tree;
        self.place.with(tree, Right::Load, Node::load).map_err(wire::denied)
    }

    /// What the cell holds once it holds something.
    async fn filled(&self) -> Result<Loaded<Stored>, Error> {
        let _seat = self.session.seat()?;
        let mut news = News::of(&self.place, self.session.worker()).map_err(wire::denied)?;
        loop {
            if self.session.has_to_wait() {
                Box::pin(self.session.turn()).await;
            }
            let now = self.present()?;
            if now.value.is_some() {
                return Ok(now);
            }
            let _resting = self.session.resting();
            news.changed().await?;
        }
    }
}
