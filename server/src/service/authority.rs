//! `Grant`, and what rights and limits are on the wire.

use std::rc::Rc;

use capnp::Error;
use killick::{Grant, Right};
use killick_client::internal::{put_limits, put_rights, read_limits, read_rights};
use killick_schema::api::anchor_capnp::anchor::AttenuateParams;
use killick_schema::api::anchor_capnp::anchor::grant::{
    InfoParams, InfoResults, RevokeParams, RevokeResults, Server,
};

use crate::place::Place;
use crate::session::Session;
use crate::wire;

pub(crate) struct GrantService {
    pub(crate) session: Rc<Session>,
    pub(crate) grant: Grant,
}

/// How many handles are taken away at once; more of them would keep the other clients of this worker waiting,
/// and are taken away on a thread of their own.
const AT_ONCE: usize = 4096;

impl Server for GrantService {
    async fn revoke(self: Rc<Self>, _: RevokeParams, _: RevokeResults) -> Result<(), Error> {
        if self.grant.holders() <= AT_ONCE {
            self.grant.revoke();
        } else {
            let grant = self.grant.clone();
            let revoked = tokio::task::spawn_blocking(move || grant.revoke()).await;
            revoked.map_err(|error| Error::failed(error.to_string()))?;
        }
        self.session.shared().hosts.delegations.take_back().await;
        self.session.worker().tidy_soon();
        Ok(())
    }

    async fn info(self: Rc<Self>, _: InfoParams, mut results: InfoResults) -> Result<(), Error> {
        let mut info = results.get();
        info.set_revoked(self.grant.is_revoked());
        put_rights(self.grant.rights(), info.reborrow().init_rights());
        let allowance = *self.grant.allowance();
        put_limits(allowance, info.reborrow().init_limits());
        put_limits(self.grant.all_used(), info.init_used());
        Ok(())
    }
}

/// Narrows `place` as a client asks for. Who has all of it and not the `host` has no right to start programs
/// that he could give.
pub(super) fn attenuate(
    place: &Place,
    host: bool,
    params: AttenuateParams,
) -> Result<(Place, Grant), Error> {
    let params = params.get()?;
    let (mut asked, limits) =
        (read_rights(params.get_rights()?), read_limits(params.get_limits()?));
    if matches!(place, Place::Whole(_)) && !host {
        asked = asked.iter().filter(|right| *right != Right::Exec).collect();
    }
    place.attenuate(asked, limits).map_err(wire::denied)
}
