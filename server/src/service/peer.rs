//! `Peer`: what another host of the cluster has of this one.

use std::rc::Rc;

use capnp::Error;
use capnp::capability::Client;
use killick_client::Fingerprint;
use killick_schema::api::cluster_capnp::peer::{
    AnchorParams, AnchorResults, EndedParams, EndedResults, Server, principal,
};
use tracing::{debug, info};

use crate::access::{Refused, Who};
use crate::cap::Own;
use crate::hosts::HostId;
use crate::place::Place;
use crate::session::Session;

pub(crate) struct PeerService {
    pub(crate) session: Rc<Session>,
    pub(crate) host: HostId,
}

impl PeerService {
    /// What a client of that host gets here who has `key`: what that key would get at this host's own door,
    /// if there is one.
    fn anchor_for(&self, key: Fingerprint) -> Result<Place, Error> {
        let config = self.session.shared().config();
        if !config.authorized.is_list() {
            return Ok(self.session.root());
        }
        let refused = |error: Refused| Error::failed(error.to_string());
        let grant = Who::Key(key).grant(&config).map_err(refused)?;
        let given = self.session.granted(Some(key), &grant)?;
        Ok(given.unwrap_or_else(|| self.session.root()))
    }
}

impl PeerService {
    /// Notes that the client of `session`, who has this connection there, has asked for something here.
    fn tell(&self, session: &Session, theirs: u64) {
        let (connection, peer) = (session.id(), &session.stats().peer);
        match session.shared().introduced.next() {
            None => debug!(connection, peer, host = %self.host, theirs, "anchor given"),
            Some(left_out) => {
                let left_out = (left_out > 0).then_some(left_out);
                info!(connection, peer, host = %self.host, theirs, left_out, "anchor given");
            }
        }
    }
}

impl Server for PeerService {
    async fn ended(self: Rc<Self>, params: EndedParams, _: EndedResults) -> Result<(), Error> {
        let gone = params.get()?.get_gone()?;
        let gone: Vec<Client> = gone.iter().filter_map(|gone| Some(gone.ok()?.client)).collect();
        self.session.have_ended(gone.into_iter()).await;
        Ok(())
    }

    async fn anchor(
        self: Rc<Self>,
        params: AnchorParams,
        mut results: AnchorResults,
    ) -> Result<(), Error> {
        let behalf = params.get()?.get_behalf()?;
        let name = behalf.get_name()?.to_str()?;
        let place = match behalf.which()? {
            principal::Key(key) => {
                let key = <[u8; 32]>::try_from(key?).map(Fingerprint::from_bytes);
                self.anchor_for(
                    key.map_err(|_| Error::failed("a fingerprint has 32 bytes".into()))?,
                )?
            }
            principal::Local(()) | principal::User(_) | principal::Process(()) => {
                self.session.root()
            }
        };
        let client = self.session.on_behalf(name)?;
        self.tell(&client, behalf.get_connection());
        results.get().set_anchor(client.own(Own::Anchor(place))?);
        Ok(())
    }
}
