//! What every call that writes a cell does, whichever interface it belongs to.

use std::rc::Rc;

use capnp::{Error, any_pointer};
use killick::{Loaded, StoreErrorKind};

use crate::bridge::host_is_gone;
use crate::cap::Node;
use crate::session::Session;
use crate::wire::{self, Stored};

/// What a cell has to hold for the write to be done.
#[derive(Clone, Copy)]
pub(super) enum If {
    /// Whatever it holds.
    Any,
    /// Nothing.
    Empty,
    /// What it holds at this revision.
    Revision(u64),
}

/// What a write did.
pub(super) enum Written {
    /// It replaced `previous`, if there was a value; the cell is at `revision` now.
    Done { previous: Loaded<Stored>, revision: u64 },
    /// Nothing: the cell holds something else, at `revision`.
    Refused { revision: u64 },
}

/// Takes `pointer` as a value, `bound` to the connection or not, and stores it in `node`'s cell if that
/// holds what it has to. The owners of what it replaced and of what it is know of it when this ends.
pub(super) async fn write(
    session: &Rc<Session>,
    node: &Node,
    pointer: any_pointer::Reader<'_>,
    bound: bool,
    condition: If,
) -> Result<Written, Error> {
    let value = wire::take_value(session, pointer, bound).await?;
    let owners = value.as_ref().map(|value| value.owners().to_vec()).unwrap_or_default();
    // One that ends from here on has the cell emptied by what is noted below.
    if !owners.iter().all(|owner| owner.is_open()) {
        return Err(host_is_gone());
    }
    session.may_own(&owners)?;
    let written = store(node, value, condition)?;
    if let Written::Done { previous, revision } = &written {
        let worker = session.worker();
        let mut notes = worker.note(node, *revision, &owners);
        if let Some(value) = &previous.value {
            notes.extend(worker.note(node, previous.revision, value.owners()));
        }
        worker.tidy_soon();
        for taken in notes {
            // An error, too, means that it has been taken: or that its worker has ended.
            let _ = taken.await;
        }
    }
    Ok(written)
}

/// Stores `value`, and learns what exactly it replaced.
fn store(node: &Node, value: Option<Stored>, condition: If) -> Result<Written, Error> {
    let before = match condition {
        If::Any => {
            let filled = value.is_some();
            let previous = node.swap(value).map_err(|refused| wire::store_error(&refused))?;
            // Nothing in place of nothing is no change.
            let changed = filled || previous.value.is_some();
            let revision = previous.revision + u64::from(changed);
            return Ok(Written::Done { previous, revision });
        }
        If::Empty => None,
        If::Revision(expected) => {
            let before = node.load();
            if before.revision != expected {
                return Ok(Written::Refused { revision: before.revision });
            }
            Some(before)
        }
    };
    let stored = match &before {
        None => node.store(value, false),
        Some(before) => node.compare_and_store(before.revision, value),
    };
    match stored {
        Ok(revision) => {
            // Without what was before, the cell was empty.
            let previous = before.unwrap_or(Loaded { value: None, revision });
            Ok(Written::Done { previous, revision })
        }
        Err(refused) => match refused.kind {
            StoreErrorKind::Occupied | StoreErrorKind::Conflict => {
                Ok(Written::Refused { revision: refused.revision })
            }
            _ => Err(wire::store_error(&refused)),
        },
    }
}
