//! The only translator between the wire and the tree: errors to errors, values to and from messages.

use std::fmt;
use std::rc::Rc;

use capnp::message::{Builder, HeapAllocator};
use capnp::private::capability::ClientHook;
use capnp::traits::{Imbue, ImbueMut};
use capnp::{Error, any_pointer};
use killick::{PathError, StoreError, WalkError};

use crate::bridge::{CapRef, resolved_so_far, settle};
use crate::config::Config;
use crate::session::Session;
use crate::worker::Room;

/// A value in a cell: a message of its own, in which capabilities are indices into `caps`.
pub(crate) struct Stored {
    message: Builder<HeapAllocator>,
    caps: Vec<Option<CapRef>>,
    _room: Room,
}

impl Stored {
    /// The connections of the clients that host capabilities in this value.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = u64> {
        self.caps.iter().filter_map(|cap| match cap {
            Some(CapRef::Hosted(token)) => Some(token.connection()),
            _ => None,
        })
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.message.size_in_words();
        f.debug_struct("Stored").field("words", &words).field("caps", &self.caps).finish()
    }
}

/// A pointer copied out of a message, and the live capabilities in it.
pub(crate) struct Copied {
    message: Builder<HeapAllocator>,
    hooks: Vec<Option<Box<dyn ClientHook>>>,
}

/// Copies what `pointer` points to; `None` if it is null.
///
/// # Errors
/// Over a limit of `config`, in which case nothing was allocated, or malformed.
pub(crate) fn copy(
    pointer: any_pointer::Reader<'_>,
    config: &Config,
) -> Result<Option<Copied>, Error> {
    if pointer.is_null() {
        return Ok(None);
    }
    let size = pointer.target_size()?;
    let (bytes, limit) = (size.word_count.saturating_mul(8), config.max_value_bytes);
    if bytes > limit as u64 {
        let error = format!("value of {bytes} bytes exceeds the limit of {limit}");
        return Err(Error::failed(error));
    }
    let (caps, limit) = (size.cap_count, config.max_value_capabilities);
    if caps as usize > limit {
        let error = format!("value with {caps} capabilities exceeds the limit of {limit}");
        return Err(Error::failed(error));
    }
    let words = u32::try_from(size.word_count).unwrap_or(u32::MAX).saturating_add(1);
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(words));
    let mut hooks = Vec::new();
    let mut root = message.init_root::<any_pointer::Builder<'_>>();
    root.imbue_mut(&mut hooks);
    root.set_as(pointer)?;
    Ok(Some(Copied { message, hooks }))
}

/// Puts into `pointer` what came from the client at `from`, as the one at `to` is to see it.
pub(crate) fn paste(
    copied: Copied,
    from: &Rc<Session>,
    to: &Rc<Session>,
    mut pointer: any_pointer::Builder<'_>,
) -> Result<(), Error> {
    let mut hooks = Vec::with_capacity(copied.hooks.len());
    for hook in copied.hooks {
        hooks.push(match hook {
            Some(hook) => Some(to.object(&from.adopt(resolved_so_far(hook))?)?),
            None => None,
        });
    }
    let mut root: any_pointer::Reader<'_> = copied.message.get_root_as_reader()?;
    root.imbue(&hooks);
    pointer.set_as(root)
}

/// Takes the value that the client of `session` sent, with what it will be stored as; `None` if it
/// is null. Waits for capabilities that are still promises.
pub(crate) async fn take_value(
    session: &Rc<Session>,
    pointer: any_pointer::Reader<'_>,
) -> Result<Option<Stored>, Error> {
    let Some(Copied { message, hooks }) = copy(pointer, session.config())? else {
        return Ok(None);
    };
    let room = session.worker().shared().room(message.size_in_words().saturating_mul(8))?;
    let limit = session.config().settle_timeout;
    let mut settled = Vec::with_capacity(hooks.len());
    for hook in hooks {
        settled.push(match hook {
            Some(hook) => Some(settle(hook, limit).await?),
            None => None,
        });
    }
    let mut caps = Vec::with_capacity(settled.len());
    for hook in settled {
        caps.push(hook.map(|hook| session.adopt(hook)).transpose()?);
    }
    Ok(Some(Stored { message, caps, _room: room }))
}

/// Puts a stored value into `pointer`, for the client of `session`.
pub(crate) fn put_value(
    session: &Rc<Session>,
    value: &Stored,
    mut pointer: any_pointer::Builder<'_>,
) -> Result<(), Error> {
    let mut hooks = Vec::with_capacity(value.caps.len());
    for cap in &value.caps {
        hooks.push(cap.as_ref().map(|cap| session.object(cap)).transpose()?);
    }
    let mut root: any_pointer::Reader<'_> = value.message.get_root_as_reader()?;
    root.imbue(&hooks);
    pointer.set_as(root)
}

/// The error of a call that was given a bad path.
pub(crate) fn path_error(error: PathError) -> Error {
    Error::failed(error.to_string())
}

/// The error of a walk: a full tree may have room again later, a bad path stays bad.
pub(crate) fn walk_error(error: WalkError) -> Error {
    match error {
        WalkError::Path(error) => path_error(error),
        full => Error::overloaded(full.to_string()),
    }
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
