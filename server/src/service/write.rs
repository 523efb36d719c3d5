//! What every call that writes a cell does, whichever interface it belongs to.

use std::rc::Rc;

use capnp::{Error, any_pointer};
use killick::{Loaded, Right, StoreErrorKind};

use crate::cap::{Node, Origin};
use crate::place::Place;
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

/// What a write that was done has replaced, and what the cell's revision is now.
pub(super) struct Written {
    pub(super) previous: Loaded<Stored>,
    pub(super) revision: u64,
}

/// A value on its way into a cell, null to empty it, and the connections that it dies with.
pub(super) struct Write {
    value: Option<Stored>,
    owners: Vec<Origin>,
}

impl Write {
    /// Takes `pointer` as a value, `bound` to the connection or not.
    pub(super) async fn take(
        session: &Rc<Session>,
        pointer: any_pointer::Reader<'_>,
        bound: bool,
    ) -> Result<Self, Error> {
        let value = wire::take_value(session, pointer, bound).await?;
        let owners = value.as_ref().map(|value| value.owners().to_vec()).unwrap_or_default();
        // One that ends from here on has the cell emptied by what is noted below.
        value.as_ref().map_or(Ok(()), Stored::is_alive)?;
        session.may_own(&owners)?;
        Ok(Write { value, owners })
    }

    /// Whether it empties the cell.
    pub(super) fn is_null(&self) -> bool {
        self.value.is_none()
    }

    /// Stores it in the cell at `place` if that holds what it has to, or gives it back with the cell's
    /// revision. The owners of what it replaced and of what it is know of it when this ends.
    pub(super) async fn store(
        self,
        session: &Rc<Session>,
        place: &Place,
        condition: If,
    ) -> Result<Result<Written, (Self, u64)>, Error> {
        let Write { value, owners } = self;
        if let Some(value) = &value {
            value.pay(place).map_err(wire::denied)?;
        }
        let store = |node: &Node| Ok::<_, Error>((store(node, value, condition)?, node.clone()));
        let stored = place.with(&session.shared().tree, Right::Store, store);
        let (stored, node) = stored.map_err(wire::denied)??;
        match stored {
            Ok(written) => {
                let worker = session.worker();
                let mut notes = worker.note(&node, written.revision, &owners, Some(session));
                let Loaded { value, revision } = &written.previous;
                if let Some(value) = value {
                    value.repay();
                    notes.extend(worker.note(&node, *revision, value.owners(), None));
                }
                drop(node);
                worker.tidy_soon();
                for taken in notes {
                    // An error, too, means that it has been taken: or that its worker has ended.
                    let _ = taken.await;
                }
                Ok(Ok(written))
            }
            Err((value, revision)) => Ok(Err((Write { value, owners }, revision))),
        }
    }
}

/// Stores `value`, and learns what exactly it replaced; or gives it back with the cell's revision.
fn store(
    node: &Node,
    value: Option<Stored>,
    condition: If,
) -> Result<Result<Written, (Option<Stored>, u64)>, Error> {
    let before = match condition {
        If::Any => {
            let filled = value.is_some();
            let previous = node.swap(value).map_err(|refused| wire::store_error(&refused))?;
            // Nothing in place of nothing is no change.
            let changed = filled || previous.value.is_some();
            let revision = previous.revision + u64::from(changed);
            return Ok(Ok(Written { previous, revision }));
        }
        If::Empty => None,
        If::Revision(expected) => {
            let before = node.load();
            if before.revision != expected {
                return Ok(Err((value, before.revision)));
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
            Ok(Ok(Written { previous, revision }))
        }
        Err(refused) => match refused.kind {
            StoreErrorKind::Occupied | StoreErrorKind::Conflict => {
                Ok(Err((refused.value, refused.revision)))
            }
            _ => Err(wire::store_error(&refused)),
        },
    }
}
