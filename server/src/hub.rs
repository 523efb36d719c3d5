//! Who waits for a change of a cell, on one worker: one watch of the library's for all of them.
//!
//! Whoever stores tells each watch of the library's before his call is answered: here as many as there
//! are workers, whatever the number of clients that wait. Their worker tells them, some at a time: in
//! between others do what they have begun, such as to write that answer.
//!
//! Only for those who wait by no grant: what keeps a node by a grant, whoever revokes that lets go of himself,
//! on whatever thread, and what is kept here only its worker could.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;

use tokio::sync::watch::{Receiver, Sender, channel};

use crate::cap::Node;

/// The cells that somebody waits for, on one worker.
#[derive(Default)]
pub(crate) struct Hub(RefCell<HashMap<Node, Rc<Cell>>>);

/// How many are told at once, before others run.
const BATCH: usize = 64;
/// A table for so many cells is never too large.
const SMALL: usize = 64;

/// A cell, and as many channels as those that wait for it fill.
#[derive(Default)]
struct Cell(RefCell<Vec<Rc<Sender<()>>>>);

impl Cell {
    fn subscribe(&self) -> Changes {
        let mut channels = self.0.borrow_mut();
        if let Some(channel) = channels.iter().find(|channel| channel.receiver_count() < BATCH) {
            return Changes(channel.subscribe());
        }
        let (channel, changes) = channel(());
        channels.push(Rc::new(channel));
        Changes(changes)
    }

    fn channel(&self, index: usize) -> Option<Rc<Sender<()>>> {
        self.0.borrow().get(index).cloned()
    }

    /// Tells those that wait. One that comes meanwhile looks by itself.
    async fn tell(&self) {
        // Only here: nobody else counts on the places of the channels.
        self.tidy();
        let mut index = 0;
        tokio::task::yield_now().await;
        while let Some(channel) = self.channel(index) {
            channel.send_replace(());
            tokio::task::yield_now().await;
            index += 1;
        }
    }

    /// Forgets the channels that nobody waits at.
    fn tidy(&self) {
        let mut channels = self.0.borrow_mut();
        channels.retain(|channel| channel.receiver_count() > 0);
        if channels.len() < channels.capacity() / 4 {
            channels.shrink_to_fit();
        }
    }

    /// Resolves when nobody waits any more.
    async fn left(&self) {
        let used = |channel: &Rc<Sender<()>>| channel.receiver_count() > 0;
        loop {
            let channel = self.0.borrow().iter().find(|channel| used(channel)).cloned();
            let Some(channel) = channel else { return };
            channel.closed().await;
        }
    }
}

/// Is told of the changes of one cell, and keeps its node.
pub(crate) struct Changes(Receiver<()>);

impl Changes {
    /// Resolves when there may have been a change since the last time, or since this was made: whether there
    /// can be others, as the tree is there.
    pub(crate) async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// What a worker's `hub` tells of `node`'s cell from now on. Must be called on that worker's thread.
#[allow(clippy::mutable_key_type, reason = "a node's identity, its key, never changes")]
pub(crate) fn changes(hub: &Rc<Hub>, node: &Node) -> Changes {
    if let Some(cell) = hub.0.borrow().get(node) {
        return cell.subscribe();
    }
    let cell = Rc::new(Cell::default());
    let changes = cell.subscribe();
    hub.0.borrow_mut().insert(node.clone(), cell.clone());
    let (hub, node, mut watch) = (hub.clone(), node.clone(), node.watch());
    tokio::task::spawn_local(async move {
        let told = async {
            while poll_fn(|context| watch.poll(context)).await.is_some() {
                cell.tell().await;
            }
        };
        tokio::select! {
            () = told => {}
            // Who comes, comes on this thread: nobody has, by now.
            () = cell.left() => {}
        }
        let forgotten = hub.forget(&node);
        drop(forgotten);
    });
    changes
}

impl Hub {
    #[allow(clippy::mutable_key_type, reason = "a node's identity, its key, never changes")]
    fn forget(&self, node: &Node) -> Option<(Node, Rc<Cell>)> {
        let mut cells = self.0.borrow_mut();
        let forgotten = cells.remove_entry(node);
        if cells.capacity() > SMALL && cells.len() < cells.capacity() / 8 {
            let room = 2 * cells.len();
            cells.shrink_to(room);
        }
        forgotten
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Hub {
    /// How many cells there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_nobody_waits_at_are_forgotten_and_all_others_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let cell = Cell::default();
            let mut waiting: Vec<_> = (0..10 * BATCH).map(|_| cell.subscribe()).collect();
            assert_eq!(cell.0.borrow().len(), 10);
            // One at each of two channels stays.
            let mut last = waiting.pop().expect("some");
            waiting.truncate(1);
            cell.tell().await;
            assert!(waiting[0].changed().await && last.changed().await);
            assert_eq!((cell.0.borrow().len(), cell.0.borrow().capacity()), (2, 2));
        });
    }
}
