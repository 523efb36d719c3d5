//! What one connection holds: one object for each capability of ours, and what its client hosts.
//!
//! Who holds whom, and what ends it:
//! ```text
//!  RpcSystem ──▶ exported clients ──▶ Object ──▶ Session ──▶ Worker
//!                                       └──▶ CapRef ──▶ anchor: keeps the node alive
//!  Session ──(weakly, by CapRef and by address)──▶ Object
//!  Worker ──▶ capabilities that this client hosts ──▶ the connection's import table
//! ```
//! The release of a client's last reference drops the object, and with it the anchor. The end of the
//! connection drops them all: [`Session::close`] empties whatever objects are left and lets go of
//! what the client hosts, so that nothing depends on the RPC system having let go of everything.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::capability::{Client, FromClientHook};
use capnp::private::capability::ClientHook;
use tokio::sync::Notify;

use crate::bridge::{CapRef, Node, WeakToken};
use crate::config::Config;
use crate::service::Object;
use crate::worker::{Shared, Worker};

/// The state of one connection.
pub(crate) struct Session {
    id: u64,
    worker: Rc<Worker>,
    /// Our objects that the client holds, by what they stand for: one for each.
    objects: RefCell<HashMap<CapRef, Weak<Object>>>,
    /// The same, by address: how they are recognised when they come back.
    addresses: RefCell<HashMap<usize, Weak<Object>>>,
    /// What the client hosts and somebody has a claim to, by the address of the import.
    hosted: RefCell<HashMap<usize, (u64, WeakToken)>>,
    /// The cells whose value contains something that the client hosts.
    cells: RefCell<HashSet<Node>>,
    /// Calls that are running.
    calls: Cell<usize>,
    idle: Notify,
}

/// Counts one running call.
pub(crate) struct Running(Rc<Session>);

impl Drop for Running {
    fn drop(&mut self) {
        let left = self.0.calls.get() - 1;
        self.0.calls.set(left);
        if left == 0 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Session {
    /// A connection of `worker`, with nothing held yet.
    pub(crate) fn open(worker: &Rc<Worker>) -> Rc<Self> {
        let session = Rc::new(Session {
            id: worker.shared().next_connection(),
            worker: worker.clone(),
            objects: RefCell::default(),
            addresses: RefCell::default(),
            hosted: RefCell::default(),
            cells: RefCell::default(),
            calls: Cell::new(0),
            idle: Notify::new(),
        });
        worker.add_session(&session);
        session
    }

    /// The number of this connection, from 1, in the order they came.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn shared(&self) -> &Shared {
        self.worker.shared()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.worker.shared().config
    }

    /// This connection's object for `cap`: the same one each time, as long as the client holds it.
    ///
    /// # Errors
    /// The connection holds its limit of capabilities.
    pub(crate) fn client(self: &Rc<Self>, cap: &CapRef) -> Result<Client, Error> {
        if let Some(object) = self.objects.borrow().get(cap).and_then(Weak::upgrade) {
            return Ok(object.into_client());
        }
        let limit = self.config().max_capabilities;
        if self.objects.borrow().len() >= limit {
            let error = format!("this connection already holds its limit of {limit} capabilities");
            return Err(Error::overloaded(error));
        }
        let object = Object::new(self.clone(), cap.clone());
        self.objects.borrow_mut().insert(cap.clone(), Rc::downgrade(&object));
        self.addresses.borrow_mut().insert(object.address(), Rc::downgrade(&object));
        Ok(object.into_client())
    }

    /// [`client`](Self::client) for a table of capabilities.
    pub(crate) fn object(self: &Rc<Self>, cap: &CapRef) -> Result<Box<dyn ClientHook>, Error> {
        self.client(cap).map(FromClientHook::into_client_hook)
    }

    /// [`client`](Self::client), as a client of the interface it is known to have.
    pub(crate) fn typed<C: FromClientHook>(self: &Rc<Self>, cap: &CapRef) -> Result<C, Error> {
        self.client(cap).map(FromClientHook::cast_to)
    }

    /// An object was dropped: forgets it.
    pub(crate) fn forget(&self, address: usize, cap: &CapRef) {
        let removed = self.objects.borrow_mut().remove_entry(cap);
        self.addresses.borrow_mut().remove(&address);
        // Only now: dropping the last anchor of a node prunes it.
        drop(removed);
    }

    /// What `hook` stands for, if it is an object of this connection.
    pub(crate) fn own(&self, hook: &dyn ClientHook) -> Option<CapRef> {
        // An object's address is its own for as long as the table knows it, even just weakly.
        let object = self.addresses.borrow().get(&hook.get_ptr()).and_then(Weak::upgrade)?;
        object.cap()
    }

    /// What `hook`, which the client of this connection sent, is to be kept as: what it stands for if
    /// it is ours, or else a claim to it.
    pub(crate) fn adopt(self: &Rc<Self>, hook: Box<dyn ClientHook>) -> Result<CapRef, Error> {
        if let Some(own) = self.own(&*hook) {
            return Ok(own);
        }
        let address = hook.get_ptr();
        let known = self.hosted.borrow().get(&address).and_then(|(_, token)| token.upgrade());
        if let Some(token) = known {
            return Ok(CapRef::Hosted(token));
        }
        let limit = self.config().max_capabilities;
        if self.hosted.borrow().len() >= limit {
            let error = format!("this connection already hosts its limit of {limit} capabilities");
            return Err(Error::overloaded(error));
        }
        let token = self.worker.keep(self.id, hook);
        self.hosted.borrow_mut().insert(address, (token.id(), token.downgrade()));
        Ok(CapRef::Hosted(token))
    }

    /// Nobody has a claim any more to what was kept under `id` and had this address.
    pub(crate) fn unclaimed(&self, id: u64, address: usize) {
        let mut hosted = self.hosted.borrow_mut();
        if hosted.get(&address).is_some_and(|(kept, _)| *kept == id) {
            hosted.remove(&address);
        }
    }

    /// A value with something that this client hosts is in `node`'s cell.
    pub(crate) fn cell_filled(&self, node: &Node) {
        self.cells.borrow_mut().insert(node.clone());
    }

    /// It no longer is.
    pub(crate) fn cell_emptied(&self, node: &Node) {
        let removed = self.cells.borrow_mut().take(node);
        drop(removed);
    }

    /// Counts a call as running until the guard is dropped.
    pub(crate) fn running(self: &Rc<Self>) -> Running {
        self.calls.set(self.calls.get() + 1);
        Running(self.clone())
    }

    /// Resolves when no call is running.
    pub(crate) async fn drained(&self) {
        while self.calls.get() > 0 {
            self.idle.notified().await;
        }
    }

    /// The connection has ended: drops every anchor it held, empties the cells with something that
    /// its client hosted, and lets go of that.
    #[allow(clippy::mutable_key_type, reason = "a node's identity, its key, never changes")]
    pub(crate) fn close(&self) {
        self.worker.remove_session(self.id);
        let cells = self.cells.take();
        for node in &cells {
            self.worker.host_left(node, self.id);
        }
        drop(cells);
        let hosted = self.hosted.take();
        for (id, _) in hosted.values() {
            self.worker.let_go(*id);
        }
        self.addresses.take();
        let objects = self.objects.take();
        for object in objects.values().filter_map(Weak::upgrade) {
            object.empty();
        }
        drop(objects);
        self.worker.tidy_soon();
    }
}
