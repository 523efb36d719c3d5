//! The only translator between the wire and the tree: errors to errors, values to and from messages.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use capnp::private::capability::ClientHook;
use capnp::{Error, any_pointer};
use killick::{
    Authority, Charge, Denied, Kept, NarrowError, PathError, Resource, StoreError, WalkError,
};

use crate::bridge::Peer;
use crate::cap::{Cap, Origin, Own, Parcel};
use crate::cap::{has_ended, owner};
use crate::channel::{AlreadyClosed, Ended, Keeps, Refusal};
use crate::end::Hold;
use crate::hosts::Far;
use crate::place::Place;
use crate::session::Session;
use crate::shared::Room;
use crate::stats::Limit;

/// A value in a cell.
#[derive(Debug)]
pub(crate) struct Stored {
    parcel: Parcel,
    /// The connections that the value dies with, each once, by their numbers.
    owners: Vec<Origin>,
    room: Room,
    /// What it takes of the grants that it was stored by, until it is replaced.
    paid: Mutex<Option<(Charge, Kept)>>,
}

impl Stored {
    /// Counts it to what was granted of `place`, in whose cell it is about to be stored.
    pub(crate) fn pay(&self, place: &Place) -> Result<(), Denied> {
        let Place::Narrow(narrow) = place else { return Ok(()) };
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if paid.is_none() {
            let bytes = narrow.authority().charge(Resource::ValueBytes, self.room.bytes())?;
            *paid = Some((bytes, narrow.keep()?));
        }
        Ok(())
    }

    /// It is in no cell any more. It may be a while until it is dropped, and what it took is given back at
    /// once.
    pub(crate) fn repay(&self) {
        let paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(paid);
    }

    /// How many bytes it was counted as.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn bytes(&self) -> usize {
        self.room.bytes()
    }

    /// The connections that the value dies with, each once: those of the clients that host
    /// capabilities in it or made watches in it, and the one that it was bound to.
    pub(crate) fn owners(&self) -> &[Origin] {
        &self.owners
    }

    /// The error of storing it if one of its owners has ended, which is a process in it or somebody's connection.
    pub(crate) fn is_alive(&self) -> Result<(), Error> {
        let ended = |cap: &&Cap| matches!(cap, Cap::Foreign(token) if token.has_ended());
        if let Some(Cap::Foreign(token)) = self.parcel.caps().find(ended) {
            return Err(token.gone());
        }
        let Some(owner) = self.owners.iter().find(|owner| !owner.is_open()) else { return Ok(()) };
        let ended = self.parcel.caps().find_map(|cap| match cap {
            Cap::Own(Own::Process(hand) | Own::Stream(hand, _)) => hand.gone(),
            _ => None,
        });
        Err(ended.unwrap_or_else(|| owner.gone()))
    }

    /// Whether something in it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.parcel.caps().any(has_ended)
    }

    /// The nodes that it keeps alive.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn nodes(
        &self,
        tree: &killick::Tree<Stored>,
    ) -> impl Iterator<Item = crate::cap::Node> {
        nodes(&self.parcel, tree)
    }
}

/// The nodes that a parcel keeps alive.
#[cfg(any(test, feature = "fuzzing"))]
fn nodes(parcel: &Parcel, tree: &killick::Tree<Stored>) -> impl Iterator<Item = crate::cap::Node> {
    parcel.caps().filter_map(|cap| {
        let place = match cap {
            Cap::Own(Own::Anchor(place) | Own::Loader(place) | Own::Storer(place)) => place,
            Cap::Own(Own::Watch(watching)) => watching.place(),
            _ => return None,
        };
        place.with(tree, killick::Rights::NONE, Clone::clone).ok()
    })
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
    let hosts = parcel.caps().filter_map(owner);
    let mut owners: Vec<Origin> = hosts.chain(bound.then_some(session.origin())).cloned().collect();
    owners.sort_unstable_by_key(Origin::id);
    owners.dedup_by_key(|owner| owner.id());
    Ok(Some(Stored { parcel, owners, room, paid: Mutex::default() }))
}

/// The parameters of a call of the server's own that has one path as its parameter.
pub(crate) fn walk_params(session: &Rc<Session>, path: &[u8]) -> Result<Option<Parcel>, Error> {
    let mut message = capnp::message::Builder::new_default();
    let mut params =
        message.init_root::<killick_schema::api::anchor_capnp::anchor::walk_params::Builder<'_>>();
    let path = std::str::from_utf8(path).map_err(|error| Error::failed(error.to_string()))?;
    params.set_path(path);
    Parcel::pack(session, message.get_root_as_reader()?)
}

/// Puts a value that was found at `place` into `pointer`, for the client of `session`.
pub(crate) fn put_value(
    session: &Rc<Session>,
    place: &Place,
    value: &Stored,
    pointer: any_pointer::Builder<'_>,
) -> Result<(), Error> {
    unpack(session, place.authority(), &value.parcel, pointer)
}

/// Puts what a client came to by what was `granted`, or with all rights, into `pointer`, for the client of
/// `session`. What is of the tree in it is narrowed in the same way.
fn unpack(
    session: &Rc<Session>,
    granted: Option<&Authority>,
    parcel: &Parcel,
    pointer: any_pointer::Builder<'_>,
) -> Result<(), Error> {
    let Some(granted) = granted else { return parcel.unpack(session, pointer) };
    parcel.unpack_each(pointer, |cap| come_to(session, Some(granted), cap))
}

/// What `cap` is for the client of `session`, who came to it by what was `granted`, or with all rights.
pub(crate) fn come_to(
    session: &Rc<Session>,
    granted: Option<&Authority>,
    cap: &Cap,
) -> Result<Box<dyn ClientHook>, Error> {
    let (Some(granted), Cap::Own(own)) = (granted, cap) else { return session.export(cap) };
    match narrowed(session, granted, own)? {
        Ok(own) => session.export(&Cap::Own(own)),
        // It alone is of no use: the rest of the value is.
        Err(why) => Ok(capnp_rpc::new_broken_cap(denied(why)).hook),
    }
}

/// What `own` is for the client of `session`, who came to it by what was `granted`. What tells of the host is
/// no part of that.
fn narrowed(
    session: &Rc<Session>,
    granted: &Authority,
    own: &Own,
) -> Result<Result<Own, Denied>, Error> {
    let root = || session.shared().tree.root();
    Ok(match own {
        Own::Host => granted.narrow(&root()).map(Place::Narrow).map(Own::Anchor),
        Own::Cluster(place) => place.through(granted).map(Own::Cluster),
        Own::Far(Far { host, place }) => {
            place.through(granted).map(|place| Own::Far(Far { host: *host, place }))
        }
        Own::Peer(_) => Err(Denied::Revoked),
        Own::Anchor(place) => place.through(granted).map(Own::Anchor),
        Own::Loader(place) => place.through(granted).map(Own::Loader),
        Own::Storer(place) => place.through(granted).map(Own::Storer),
        Own::Grant(grant) => Ok(Own::Grant(grant.clone())),
        Own::Watch(watching) => {
            watching.through(granted, session.seat()?).map(Arc::new).map(Own::Watch)
        }
        Own::Channel(end) => end.through(granted).map(Own::Channel),
        Own::Process(hand) => hand.through(granted).map(Own::Process),
        Own::Stream(hand, which) => hand.through(granted).map(|hand| Own::Stream(hand, *which)),
    })
}

/// The error of a call that its client's rights do not allow.
#[allow(clippy::needless_pass_by_value, reason = "what errors are mapped by")]
pub(crate) fn denied(denied: Denied) -> Error {
    match denied {
        Denied::Exhausted { .. } => Error::overloaded(denied.to_string()),
        _ => Error::failed(denied.to_string()),
    }
}

/// Whether a call of our own ended with `error` because it would exceed what a grant allows.
pub(crate) fn exceeds_grant(error: &Error) -> bool {
    matches!(error.extra.parse(), Ok(Denied::Exhausted { .. } | Denied::TooManyGrants { .. }))
}

/// The error of a look-up.
pub(crate) fn lookup_error(session: &Session, error: NarrowError<PathError>) -> Error {
    match error {
        NarrowError::Denied(why) => denied(why),
        NarrowError::Failed(error) => path_error(session, error),
    }
}

/// A value in a channel, null included.
#[derive(Debug)]
pub(crate) struct Item {
    parcel: Option<Parcel>,
    room: Room,
    /// What it takes of the grants that it was sent by.
    _paid: Option<Charge>,
}

/// What a value in a channel takes besides its bytes, as many of which are added to each.
const ITEM_BYTES: usize = 128;

impl Item {
    /// How many bytes it takes, here and about as many in a message.
    pub(crate) fn bytes(&self) -> usize {
        self.room.bytes()
    }

    /// The nodes that it keeps alive.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn nodes(
        &self,
        tree: &killick::Tree<Stored>,
    ) -> impl Iterator<Item = crate::cap::Node> {
        self.parcel.iter().flat_map(|parcel| nodes(parcel, tree))
    }
}

impl Keeps for Item {
    type Hold = Hold;

    fn holds(&self) -> impl Iterator<Item = &Arc<Hold>> {
        self.parcel.iter().flat_map(Parcel::caps).filter_map(|cap| match cap {
            Cap::Own(Own::Channel(end)) => end.receiving(),
            _ => None,
        })
    }

    fn kept(hold: &Hold) -> Option<usize> {
        hold.receives()
    }
}

/// Takes the value that the client of `session` sent into a channel by what was `granted`, or with all
/// rights. Waits for capabilities that are still promises.
pub(crate) async fn take_item(
    session: &Rc<Session>,
    granted: Option<&Authority>,
    pointer: any_pointer::Reader<'_>,
) -> Result<Item, Error> {
    let room = |bytes: usize| {
        let room = session.shared().room(bytes.saturating_add(ITEM_BYTES))?;
        let paid = granted.map(|granted| granted.charge(Resource::ValueBytes, room.bytes()));
        Ok::<_, Error>((room, paid.transpose().map_err(denied)?))
    };
    let (parcel, (room, _paid)) = match Parcel::pack_settled(session, pointer, room).await? {
        Some((parcel, taken)) => (Some(parcel), taken),
        None => (None, room(0)?),
    };
    Ok(Item { parcel, room, _paid })
}

/// Puts a value that was in a channel into `pointer`, for the client of `session`, who came to the channel by
/// what was `granted`, or with all rights.
pub(crate) fn put_item(
    session: &Rc<Session>,
    granted: Option<&Authority>,
    item: &Item,
    mut pointer: any_pointer::Builder<'_>,
) -> Result<(), Error> {
    match &item.parcel {
        Some(parcel) => unpack(session, granted, parcel, pointer),
        None => {
            pointer.clear();
            Ok(())
        }
    }
}

/// The error of a send that was refused.
pub(crate) fn send_error(refusal: Refusal) -> Error {
    Error::failed(match refusal {
        Refusal::Closed => "the channel is closed".into(),
        Refusal::NoReceivers => "nobody receives from this channel any more".into(),
        Refusal::Full => "the channel is full".into(),
    })
}

/// The error of a receive from a channel that has come to its end.
pub(crate) fn channel_ended(_: Ended) -> Error {
    Error::failed("the channel is closed and empty".into())
}

/// The error of a second close.
pub(crate) fn closed_already(_: AlreadyClosed) -> Error {
    Error::failed("the channel is closed already".into())
}

/// The error of a call that would make a channel at the cluster's anchor.
pub(crate) fn cluster_has_no_channels() -> Error {
    Error::failed("the cluster's anchor makes no channels: the hosts do".into())
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
pub(crate) fn walk_error(session: &Session, error: NarrowError<WalkError>) -> Error {
    let error = match error {
        NarrowError::Denied(why) => return denied(why),
        NarrowError::Failed(error) => error,
    };
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

/// The error of a path from the cluster's anchor that names no host of several.
pub(crate) fn no_such_host_of(name: &[u8], hosts: usize) -> Error {
    let name = String::from_utf8_lossy(name);
    Error::failed(format!(
        "no host '{name}': none of the {hosts} that are known has an id that begins so, and 'self' is the \
         contacted one; a path on that without naming it has no leading '/'"
    ))
}

/// The error of a call that would read or write the cluster's anchor.
pub(crate) fn cluster_has_no_cell() -> Error {
    Error::failed("the cluster's anchor has no cell: its children are the hosts, no more".into())
}

/// The error of a call that would start a process at the cluster's anchor.
pub(crate) fn cluster_starts_nothing() -> Error {
    Error::failed("the cluster's anchor starts no processes: the hosts do".into())
}

/// The error of a watch of neither the value nor the children.
pub(crate) fn nothing_to_watch() -> Error {
    Error::failed("nothing to watch: neither the value nor the children are asked for".into())
}

/// The error of a call that waits for a change in a tree that is no more.
pub(crate) fn tree_is_gone() -> Error {
    Error::disconnected("the tree of this server is gone".into())
}
