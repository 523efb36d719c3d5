//! `Grant`, and what rights and limits are on the wire.

use std::rc::Rc;

use capnp::Error;
use killick::{Allowance, Grant, Resource, Right, Rights};
use killick_schema::api::anchor_capnp::anchor::grant::{
    InfoParams, InfoResults, RevokeParams, RevokeResults, Server,
};
use killick_schema::api::anchor_capnp::anchor::{AttenuateParams, limits, rights};

use crate::place::Place;
use crate::session::Session;
use crate::wire;

pub(crate) struct GrantService {
    pub(crate) session: Rc<Session>,
    pub(crate) grant: Grant,
}

impl Server for GrantService {
    async fn revoke(self: Rc<Self>, _: RevokeParams, _: RevokeResults) -> Result<(), Error> {
        self.grant.revoke();
        self.session.worker().tidy_soon();
        Ok(())
    }

    async fn info(self: Rc<Self>, _: InfoParams, mut results: InfoResults) -> Result<(), Error> {
        let mut info = results.get();
        info.set_revoked(self.grant.is_revoked());
        put_rights(self.grant.rights(), info.reborrow().init_rights());
        let allowance = *self.grant.allowance();
        put_limits(|resource| allowance.of(resource), info.reborrow().init_limits());
        put_limits(|resource| self.grant.used(resource), info.init_used());
        Ok(())
    }
}

/// Narrows `place` as a client asks for.
pub(super) fn attenuate(place: &Place, params: AttenuateParams) -> Result<(Place, Grant), Error> {
    let params = params.get()?;
    let (asked, limits) = (rights(params.get_rights()?), allowance(params.get_limits()?));
    place.attenuate(asked, limits).map_err(wire::denied)
}

/// The rights that a client asks for.
fn rights(from: rights::Reader<'_>) -> Rights {
    let asked = [
        (Right::Walk, from.get_walk()),
        (Right::Lookup, from.get_lookup()),
        (Right::Ls, from.get_ls()),
        (Right::Load, from.get_load()),
        (Right::Store, from.get_store()),
        (Right::Watch, from.get_watch()),
        (Right::Attenuate, from.get_attenuate()),
    ];
    asked.into_iter().filter_map(|(right, asked)| asked.then_some(right)).collect()
}

fn put_rights(rights: Rights, mut to: rights::Builder<'_>) {
    to.set_walk(rights.contains(Right::Walk));
    to.set_lookup(rights.contains(Right::Lookup));
    to.set_ls(rights.contains(Right::Ls));
    to.set_load(rights.contains(Right::Load));
    to.set_store(rights.contains(Right::Store));
    to.set_watch(rights.contains(Right::Watch));
    to.set_attenuate(rights.contains(Right::Attenuate));
}

/// The limits that a client asks for.
fn allowance(from: limits::Reader<'_>) -> Allowance {
    // What is more than there can be is no limit.
    let limit = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    Allowance {
        nodes: limit(from.get_nodes()),
        depth: limit(from.get_depth()),
        value_bytes: limit(from.get_value_bytes()),
        watches: limit(from.get_watches()),
        channels: limit(from.get_channels()),
    }
}

fn put_limits(of: impl Fn(Resource) -> usize, mut to: limits::Builder<'_>) {
    to.set_nodes(of(Resource::Nodes) as u64);
    to.set_depth(of(Resource::Depth) as u64);
    to.set_value_bytes(of(Resource::ValueBytes) as u64);
    to.set_watches(of(Resource::Watches) as u64);
    to.set_channels(of(Resource::Channels) as u64);
}
