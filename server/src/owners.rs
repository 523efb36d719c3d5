//! Values die with their owners.
//!
//! The owners of a value are the connections whose clients host capabilities in it, and the one that
//! it was bound to. When the first of them ends, the cell that holds the value is emptied; also when an owner that is
//! another host says that a capability in it [has ended](crate::session).
//!
//! Each session knows the [`Cells`] that hold values of its own, for it is *noted* there when such a
//! value comes into a cell and when it goes. Whoever writes the cell notes it, after the write, and on
//! the owner's own thread: by a [`Note`] in the channel of that thread's worker if it is another one.
//! The call that wrote is answered once all notes have been taken, so that
//! - a node whose value has been replaced is not kept by a note any more when the caller knows of it;
//! - the notes under way are no more than the calls under way.
//!
//! Notes of different writers come in any order: that of the end of a value may come before that of
//! its beginning. Each value of a cell has both, once, and has the cell's revision to itself; so the
//! set of what was noted an odd number of times is, once all have come, the values that are there. A
//! note that comes after its owner's end finds no session, and has the cell looked at instead: a value
//! that was stored in that moment goes too.

#![allow(clippy::mutable_key_type, reason = "a node's identity, its key, never changes")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::oneshot;

use crate::cap::Node;

/// Who has stored a value.
#[derive(Clone)]
pub(crate) enum By {
    Another,
    /// The owner itself.
    Owner,
    /// The owner, which is another host, for a client of its that has stored so many.
    Client(Rc<Cell<usize>>),
}

impl By {
    /// Counts one value more, or one less.
    fn count(&self, own: &Cell<usize>, changed: impl Fn(usize) -> usize) {
        if !matches!(self, By::Another) {
            own.set(changed(own.get()));
        }
        if let By::Client(count) = self {
            count.set(changed(count.get()));
        }
    }
}

/// The cells that hold, or did a moment ago, values of one owner.
#[derive(Default)]
pub(crate) struct Cells {
    noted: RefCell<HashMap<(Node, u64), By>>,
    own: Cell<usize>,
}

impl Cells {
    /// A value of this owner came into `node`'s cell, by a call of the owner's or of another, or went from
    /// it, where it has `revision`.
    pub(crate) fn note(&self, node: Node, revision: u64, by: By) {
        let key = (node, revision);
        let mut noted = self.noted.borrow_mut();
        match noted.remove_entry(&key) {
            Some((known, by)) => {
                by.count(&self.own, |count| count - 1);
                // After the borrow: it may be the node's last anchor.
                drop(noted);
                drop((known, key));
            }
            None => {
                by.count(&self.own, |count| count + 1);
                noted.insert(key, by);
            }
        }
    }

    /// How many there are with a value that the owner has stored itself.
    pub(crate) fn own(&self) -> usize {
        self.own.get()
    }

    /// The nodes of all these cells.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.noted.borrow().keys().map(|(node, _)| node.clone()).collect()
    }

    /// The nodes of all these cells, which are forgotten.
    pub(crate) fn take(&self) -> impl Iterator<Item = Node> {
        self.own.set(0);
        self.noted.take().into_keys().map(|(node, _)| node)
    }
}

/// [`Cells::note`] on its way to the owner's worker.
pub(crate) struct Note {
    pub(crate) owner: u64,
    pub(crate) node: Node,
    pub(crate) revision: u64,
    /// Dropped when the note has been taken.
    pub(crate) taken: oneshot::Sender<()>,
}
