//! What every call that writes a cell does, whichever interface it belongs to.

use std::rc::Rc;

use capnp::{Error, any_pointer};
use killick::StoreError;

use crate::bridge::{Node, host_is_gone};
use crate::session::Session;
use crate::wire::{self, Stored};

/// Takes `pointer` as a value, and does `store` with it on `node`. What clients host in it is then
/// known to be in the cell, so that the cell is emptied when one of them goes.
pub(super) async fn write<T>(
    session: &Rc<Session>,
    node: &Node,
    pointer: any_pointer::Reader<'_>,
    store: impl FnOnce(Option<Stored>) -> Result<T, StoreError<Stored>>,
) -> Result<Result<T, StoreError<Stored>>, Error> {
    let value = wire::take_value(session, pointer).await?;
    // From here on nothing waits, so nobody can disconnect in between.
    let worker = session.worker();
    let hosts: Vec<u64> = value.iter().flat_map(Stored::hosts).collect();
    if !value.iter().all(|value| worker.hosts_are_there(value)) {
        return Err(host_is_gone());
    }
    let stored = store(value);
    if stored.is_ok() {
        worker.cell_written(node, &hosts);
    }
    Ok(stored)
}
