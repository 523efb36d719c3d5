//! Who waits for a change of a cell, on one worker: one watch of the library's for all of them.
//!
//! Whoever stores tells each watch of the library's before his call is answered: here as many as there
//! are workers, whatever the number of clients that wait. Their worker tells them, and first lets
//! others do what they have begun, such as to write that answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch::{Receiver, Sender};

use crate::cap::Node;

/// The cells that somebody waits for, on one worker.
#[derive(Default)]
pub(crate) struct Hub(RefCell<HashMap<Node, Arc<Sender<()>>>>);

#[cfg(any(test, feature = "fuzzing"))]
impl Hub {
    /// How many cells there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
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
    if let Some(sender) = hub.0.borrow().get(node) {
        return Changes(sender.subscribe());
    }
    let sender = Arc::new(Sender::new(()));
    let receiver = sender.subscribe();
    hub.0.borrow_mut().insert(node.clone(), sender.clone());
    let (hub, node, mut watch) = (hub.clone(), node.clone(), node.watch());
    tokio::task::spawn_local(async move {
        let told = async {
            while poll_fn(|context| watch.poll(context)).await.is_some() {
                tokio::task::yield_now().await;
                sender.send_replace(());
            }
        };
        tokio::select! {
            () = told => {}
            // Who subscribes does so on this thread: nobody has, by now.
            () = nobody_listens(&sender) => {}
        }
        let forgotten = hub.0.borrow_mut().remove_entry(&node);
        drop(forgotten);
    });
    Changes(receiver)
}

async fn nobody_listens(sender: &Sender<()>) {
    while sender.receiver_count() > 0 {
        sender.closed().await;
    }
}
