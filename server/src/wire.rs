//! The only translator between the wire and the tree: errors to errors, values to and from messages.

use std::rc::Rc;

use capnp::{Error, any_pointer};
use killick::{PathError, StoreError, WalkError};

use crate::cap::{Cap, Origin, Parcel};
use crate::session::Session;
use crate::shared::Room;
use crate::stats::Limit;

/// A value in a cell.
#[derive(Debug)]
pub(crate) struct Stored {
    parcel: Parcel,
    /// The connections that the value dies with, each once, by their numbers.
    owners: Vec<Origin>,
    _room: Room,
}

impl Stored {
    /// The connections that the value dies with, each once: those of the clients that host
    /// capabilities in it, and the one that it was bound to.
    pub(crate) fn owners(&self) -> &[Origin] {
        &self.owners
    }

    /// The nodes that it keeps alive.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn nodes(&self) -> impl Iterator<Item = crate::cap::Node> {
        use crate::cap::Own;
        self.parcel.caps().filter_map(|cap| match cap {
            Cap::Own(Own::Anchor(node) | Own::Loader(node) | Own::Storer(node)) => {
                Some(node.clone())
            }
            _ => None,
        })
    }
}

/// Takes the value that the client of `session` sent, `bound` to its connection or not, with what it
/// will be stored as; `None` if it is null. Waits for capabilities that are still promises.
pub(crate) async fn take_value(
    session: &Rc<Session>,
    pointer: any_pointer::Reader<'_>,
    bound: bool,
) -> Result<Option<Stored>, Error> {
    let room = |bytes| session.shared().room(bytes);
    let Some((parcel, room)) = Parcel::pack_settled(session, pointer, room).await? else {
        return Ok(None);
    };
    let hosts = parcel.caps().filter_map(|cap| match cap {
        Cap::Own(_) => None,
        Cap::Foreign(token) => Some(token.origin()),
    });
    let mut owners: Vec<Origin> = hosts.chain(bound.then_some(session.origin())).cloned().collect();
    owners.sort_unstable_by_key(Origin::id);
    owners.dedup_by_key(|owner| owner.id());
    Ok(Some(Stored { parcel, owners, _room: room }))
}

/// Puts a stored value into `pointer`, for the client of `session`.
pub(crate) fn put_value(
    session: &Rc<Session>,
    value: &Stored,
    pointer: any_pointer::Builder<'_>,
) -> Result<(), Error> {
    value.parcel.unpack(session, pointer)
}

/// The error of a call of the client of `session` that was given a bad path.
pub(crate) fn path_error(session: &Session, error: PathError) -> Error {
    let limit = match error {
        PathError::NameTooLong { .. } => Limit::NameBytes,
        PathError::PathTooLong { .. } => Limit::PathBytes,
        PathError::TooDeep { .. } => Limit::Depth,
        _ => return Error::failed(error.to_string()),
    };
    session.hit(limit);
    Error::failed(format!("{error}{limit}"))
}

/// The error of a walk: a full tree may have room again later, a bad path stays bad.
pub(crate) fn walk_error(session: &Session, error: WalkError) -> Error {
    let limit = match error {
        WalkError::Path(error) => return path_error(session, error),
        WalkError::TooManyChildren { .. } => Limit::Children,
        _ => Limit::Nodes,
    };
    session.hit(limit);
    Error::overloaded(format!("{error}{limit}"))
}

/// The error of a store that failed for another reason than what the cell held.
pub(crate) fn store_error(error: &StoreError<Stored>) -> Error {
    Error::failed(error.to_string())
}

/// The error of a call on the cluster's anchor that needs a host.
pub(crate) fn no_such_host(name: &[u8], host_id: u64) -> Error {
    let name = String::from_utf8_lossy(name);
    Error::failed(format!(
        "no host '{name}': the hosts are '{host_id:016x}' and 'self', which are the same one; \
         a path on this host without naming it has no leading '/'"
    ))
}

/// The error of a call that would read or write the cluster's anchor.
pub(crate) fn cluster_has_no_cell() -> Error {
    Error::failed("the cluster's anchor has no cell: its children are the hosts, no more".into())
}
