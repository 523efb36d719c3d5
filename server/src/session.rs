//! What one connection holds: one object for each capability of ours, and what its client hosts.
//!
//! Who holds whom, and what ends it:
//! ```text
//!  RpcSystem ──▶ exported clients ──▶ Object ──▶ Session ──▶ Worker
//!                                       └──▶ Cap ──▶ anchor: keeps the node alive
//!  Session ──(weakly, by Cap and by address)──▶ Object
//!  Worker ──▶ Home ──▶ capabilities that this client hosts ──▶ the connection's import table
//!             └──(weakly)──▶ Session
//! ```
//! The release of a client's last reference drops the object, and with it the anchor. The end of the
//! connection drops them all: [`Session::close`] empties the cells that hold values of the
//! connection's, whatever objects are left, and lets go of what the client hosts, so that nothing
//! depends on the RPC system having let go of everything.

mod behalf;
mod limits;
mod passed;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use capnp::capability::{Client, FromClientHook};
use capnp::private::capability::ClientHook;
use capnp::{Error, ErrorKind, any_pointer};
use killick::NarrowError;
use killick_client::Fingerprint;
use tokio::sync::{Notify, Semaphore};
use tracing::error;

use crate::access::{Grant, Who};
use crate::bridge::{Bound, Bounds, Peer};
use crate::cap::{Cap, Origin, Own, WeakToken};
use crate::config::Config;
use crate::hosts::Fars;
use crate::net;
use crate::owners::Cells;
use crate::place::Place;
use crate::process::{Lifetime, Process};
use crate::service::{self, Object};
use crate::shared::Shared;
use crate::stats::{Limit, OUTCOMES, Stats, counted};
use crate::wire;
use crate::worker::Worker;
use behalf::{Other, Whose};

/// The state of one connection, or [what one client of another host has](behalf) of it.
pub(crate) struct Session {
    origin: Origin,
    whose: Whose,
    /// As it was when the connection came.
    config: Arc<Config>,
    stats: Arc<Stats>,
    worker: Rc<Worker>,
    /// Our objects that the client holds, by what they stand for: one for each.
    objects: RefCell<HashMap<Cap, Weak<Object>>>,
    /// The same, by address, of all clients of another host: how they are recognised when they come back.
    addresses: RefCell<HashMap<usize, Weak<Object>>>,
    /// What other hosts have given for the client.
    fars: Fars,
    /// How many nodes they may keep alive.
    nodes: Cell<usize>,
    /// What the client hosts and somebody has a claim to, by the address of the import.
    hosted: RefCell<HashMap<usize, (u64, WeakToken)>>,
    /// Once the connection has begun to end, what the objects stood for that the RPC system has let go
    /// of: all of them at once, which would keep others waiting.
    ending: RefCell<Option<Vec<Cap>>>,
    /// Told when that begins.
    ends: Notify,
    /// The cells whose value dies with this connection.
    cells: Cells,
    /// What it has to do with processes: nothing, for most.
    processes: RefCell<Option<Box<Processes>>>,
    idle: Notify,
    /// Of the running calls, those that wait for what may never happen.
    resting: Cell<u32>,
    /// Calls that wait until less waits for the client, in their order.
    turns: Semaphore,
    waiting: Cell<u32>,
}

/// What one connection has to do with processes.
#[derive(Default)]
struct Processes {
    /// The one whose connection it is.
    own: Option<Arc<Process>>,
    /// Those that end with it.
    ending: Vec<std::sync::Weak<Process>>,
}

/// One running call.
pub(crate) struct Running {
    session: Rc<Session>,
    method: usize,
    started: Instant,
    /// An index of [`OUTCOMES`](crate::stats::OUTCOMES): at first that of a call that is given up.
    outcome: usize,
}

impl Running {
    /// The call has ended.
    pub(crate) fn ended(mut self, result: &Result<(), Error>) {
        self.outcome = match result {
            Ok(()) => 0,
            Err(error) => match error.kind {
                ErrorKind::Overloaded => 2,
                ErrorKind::Disconnected => 3,
                ErrorKind::Unimplemented => 4,
                _ => 1,
            },
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Running { session, method, started, outcome } = self;
        let worker = session.worker();
        worker.shared().calls[worker.number()].count(*method, *outcome, started.elapsed());
        let left = session.stats.running.get() - 1;
        session.stats.running.set(left);
        session.tell_if_idle();
    }
}

/// A running call that waits for what may never happen.
struct Resting<'a>(&'a Session);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.resting.set(self.0.resting.get() - 1);
    }
}

impl Session {
    /// A connection of `worker` to `peer`, with nothing held yet.
    pub(crate) fn open(worker: &Rc<Worker>, peer: &str, who: Who) -> Rc<Self> {
        let (shared, id) = (worker.shared(), worker.shared().next_connection());
        let host = matches!(who, Who::Host(..));
        let config = shared.config();
        let origin = worker.home().origin(id, host);
        let config = if host { Arc::new(config.for_hosts()) } else { config };
        let stats = Arc::new(Stats::new(id, (peer.to_owned(), who), worker.number()));
        shared.clients.open(&stats);
        let whose = host.then(Other::host);
        let session = Rc::new(Session::new(origin, whose, (config, stats), worker.clone()));
        worker.add_session(&session);
        session
    }

    fn new(
        origin: Origin,
        whose: Whose,
        (config, stats): (Arc<Config>, Arc<Stats>),
        worker: Rc<Worker>,
    ) -> Self {
        Session {
            origin,
            whose,
            config,
            stats,
            worker,
            objects: RefCell::default(),
            fars: Fars::default(),
            nodes: Cell::new(0),
            addresses: RefCell::default(),
            hosted: RefCell::default(),
            ending: RefCell::default(),
            ends: Notify::new(),
            cells: Cells::default(),
            processes: RefCell::default(),
            idle: Notify::new(),
            resting: Cell::new(0),
            turns: Semaphore::new(1),
            waiting: Cell::new(0),
        }
    }

    /// The number of this connection, from 1, in the order they came.
    pub(crate) fn id(&self) -> u64 {
        self.origin.id()
    }

    /// This connection as other threads know it.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What is counted of this connection.
    pub(crate) fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// The cells whose value dies with this connection.
    pub(crate) fn cells(&self) -> &Cells {
        &self.connection().cells
    }

    /// What other hosts have given for the client.
    pub(crate) fn fars(&self) -> &Fars {
        &self.fars
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.worker.shared()
    }

    /// The host's own anchor.
    pub(crate) fn root(&self) -> Place {
        Place::Whole(self.shared().tree.root())
    }

    /// What `grant` gives, which is that of the holder of `key`, or of somebody without one; none is the host.
    ///
    /// # Errors
    /// The anchor that it names cannot be had.
    pub(crate) fn granted(
        &self,
        key: Option<Fingerprint>,
        grant: &Grant,
    ) -> Result<Option<Place>, Error> {
        let shared = self.shared();
        let is_far = self.connection().of_host().is_some();
        let give = |key| shared.granted.give(&shared.tree, key, grant, is_far);
        let narrowed = key.map_or(Ok(None), give);
        let failed = |error| wire::walk_error(self, error);
        match (narrowed.map_err(NarrowError::Failed).map_err(failed)?, grant.anchor()) {
            (Some(place), _) => Ok(Some(place)),
            (None, Some(path)) => self.root().walk(path.as_bytes()).map(Some).map_err(failed),
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// This connection's object for `cap`: the same one each time, as long as the client holds it.
    ///
    /// # Errors
    /// The connection holds its limit of capabilities, or of nodes by them.
    pub(crate) fn client(self: &Rc<Self>, cap: &Cap) -> Result<Client, Error> {
        if let Some(object) = self.objects.borrow().get(cap).and_then(Weak::upgrade) {
            self.pass(object.address(), cap);
            return Ok(object.into_client());
        }
        let (nodes, connection) = (nodes(cap), self.connection());
        self.has_room_for(nodes)?;
        if let Some(host) = self.host() {
            host.has_room_for(nodes)?;
            self.nodes.set(self.nodes.get() + nodes);
        }
        connection.nodes.set(connection.nodes.get() + nodes);
        let object = Object::new(self.clone(), cap.clone());
        self.objects.borrow_mut().insert(cap.clone(), Rc::downgrade(&object));
        connection.addresses.borrow_mut().insert(object.address(), Rc::downgrade(&object));
        self.pass(object.address(), cap);
        self.count_handles();
        Ok(object.into_client())
    }

    /// How many capabilities of ours are held: of all clients, where they are those of another host.
    fn handles(&self) -> usize {
        match self.host() {
            Some(_) => self.objects.borrow().len(),
            None => self.addresses.borrow().len(),
        }
    }

    /// [`client`](Self::client) for something of the server's own, as a client of the interface it is
    /// known to have.
    pub(crate) fn own<C: FromClientHook>(self: &Rc<Self>, own: Own) -> Result<C, Error> {
        self.client(&Cap::Own(own)).map(FromClientHook::cast_to)
    }

    /// An object was dropped: forgets it.
    pub(crate) fn forget(&self, address: usize, cap: Cap) {
        let connection = self.connection();
        if let Some(later) = &mut *connection.ending.borrow_mut() {
            if self.host().is_some() {
                // Its table may go with this object.
                later.extend(self.objects.borrow_mut().remove_entry(&cap).map(|(key, _)| key));
            }
            return later.push(cap);
        }
        let removed = self.objects.borrow_mut().remove_entry(&cap);
        if removed.is_some() {
            let nodes = nodes(&cap);
            connection.nodes.set(connection.nodes.get() - nodes);
            if self.host().is_some() {
                self.nodes.set(self.nodes.get() - nodes);
            }
        }
        connection.addresses.borrow_mut().remove(&address);
        self.take_back(address);
        self.count_handles();
        // Only now: dropping the last anchor of a node prunes it.
        drop((removed, cap));
    }

    /// This is the connection of `process`.
    pub(crate) fn belongs_to(&self, process: &Arc<Process>) {
        self.processes.borrow_mut().get_or_insert_default().own = Some(process.clone());
    }

    /// Has `process`, which the client has started, end with whatever it has to. Whether that has not ended.
    pub(crate) fn is_parent_of(&self, process: &Arc<Process>) -> bool {
        let connection = self.connection();
        if process.lifetime() == Lifetime::Connection {
            let mut processes = connection.processes.borrow_mut();
            let ending = &mut processes.get_or_insert_default().ending;
            if ending.len() == ending.capacity() {
                ending.retain(|process| process.strong_count() > 0);
            }
            ending.push(Arc::downgrade(process));
            drop(processes);
            if connection.is_ending() {
                return false;
            }
        }
        let processes = connection.processes.borrow();
        let parent = processes.as_ref().and_then(|processes| processes.own.as_ref());
        parent.is_none_or(|parent| parent.adopt(process))
    }

    fn count_handles(&self) {
        self.stats.handles.set(self.handles() as u64);
        if let Some(host) = self.host() {
            host.stats.handles.set(host.handles() as u64);
        }
    }

    fn count_slots(&self) {
        let slots = self.worker.home().kept() as u64;
        self.shared().queues[self.worker.number()].slots.set(slots);
    }

    /// Counts a call of `method`, an index of [`METHODS`](crate::stats::METHODS), as running until what
    /// this returns is dropped.
    pub(crate) fn running(self: &Rc<Self>, method: usize) -> Running {
        let session = self.host().unwrap_or(self).clone();
        session.stats.calls.add(1);
        session.stats.running.add(1);
        let outcome = OUTCOMES.len() - 1;
        Running { session, method, started: Instant::now(), outcome }
    }

    /// Whether a call has to wait for its [turn](Self::turn).
    pub(crate) fn has_to_wait(&self) -> bool {
        let connection = self.connection();
        connection.waiting.get() > 0 || connection.is_backed_up()
    }

    fn is_backed_up(&self) -> bool {
        self.stats.pending.get() > net::BEGIN_LIMIT as u64
            || self.stats.making.get() >= net::MAKING_LIMIT
    }

    /// Waits until less waits to be written to the client, and those who waited before have had their
    /// turn. Calls that were read long ago may begin all at once, when what they were made on is there.
    pub(crate) async fn turn(&self) {
        /// One who waits, for as long as he does.
        struct Waiting<'a>(&'a Cell<u32>);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        let Session { waiting, turns, stats, .. } = self.connection();
        waiting.set(waiting.get() + 1);
        let _waiting = Waiting(waiting);
        // It is never closed.
        let _turn = turns.acquire().await;
        while self.connection().is_backed_up() {
            stats.drained.notified().await;
        }
    }

    /// Counts a running call as one that waits for what may never happen, until what this returns is
    /// dropped.
    pub(crate) fn resting(&self) -> impl Drop + '_ {
        let connection = self.connection();
        connection.resting.set(connection.resting.get() + 1);
        connection.tell_if_idle();
        Resting(connection)
    }

    fn is_idle(&self) -> bool {
        self.stats.running.get() == u64::from(self.resting.get())
    }

    fn tell_if_idle(&self) {
        if self.is_idle() {
            self.idle.notify_waiters();
        }
    }

    /// Resolves when no call is running but those that wait for what may never happen.
    pub(crate) async fn drained(&self) {
        while !self.is_idle() {
            self.idle.notified().await;
        }
    }

    /// The connection begins to end: what the RPC system lets go of from here on is kept for
    /// [`close`](Self::close).
    pub(crate) fn ends(&self) {
        self.ending.borrow_mut().get_or_insert_default();
        self.ends.notify_one();
    }

    /// Whether the connection has begun to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Waits until the connection begins to end, and has it own nothing from then on.
    pub(crate) async fn disowned(&self) {
        self.ends.notified().await;
        Box::pin(self.disown()).await;
    }

    /// Lets go of what an object stood for that the RPC system dropped as the connection ended. What other
    /// clients host goes at once, so that they are told in that order, and not in one of the table's.
    #[allow(clippy::mutable_key_type, reason = "a capability's identity, its key, never changes")]
    fn let_go(&self, cap: Cap) {
        let mut objects = self.objects.borrow_mut();
        let gone = matches!(cap, Cap::Foreign(_))
            && objects.get(&cap).is_some_and(|object| object.strong_count() == 0);
        let key = if gone { objects.remove_entry(&cap) } else { None };
        drop(objects);
        drop((key, cap));
    }

    /// Empties the cells whose value dies with this connection: it is at its end, and owns nothing any
    /// more. Lets others run in between.
    async fn disown(&self) {
        self.worker.remove_session(self.id());
        let ending = match &mut *self.processes.borrow_mut() {
            Some(processes) => std::mem::take(&mut processes.ending),
            None => Vec::new(),
        };
        ending.iter().filter_map(std::sync::Weak::upgrade).for_each(|process| process.kill());
        self.worker.disown(&self.origin, &self.cells).await;
    }

    /// The connection has ended: empties the cells whose value dies with it, drops every anchor that
    /// it held, and lets go of what its client hosted. Lets others run in between.
    #[allow(clippy::mutable_key_type, reason = "a capability's identity, its key, never changes")]
    pub(crate) async fn close(&self) {
        self.disown().await;
        self.tell_no_more();
        self.fars.let_go();
        let hosted = self.hosted.take();
        in_turns(hosted.into_values(), |(id, _)| self.worker.home().let_go(id)).await;
        in_turns(self.ending.take().into_iter().flatten(), |cap| self.let_go(cap)).await;
        in_turns(self.addresses.take(), drop).await;
        let empty = |object: Rc<Object>| object.empty();
        let empty = |(_, object): (Cap, Weak<Object>)| object.upgrade().into_iter().for_each(empty);
        in_turns(self.objects.take(), empty).await;
        for behalf in self.behalves() {
            behalf.fars.let_go();
            in_turns(behalf.objects.take(), empty).await;
        }
        self.shared().clients.close(&self.stats);
        self.worker.tidy_soon();
        self.worker.give_back_soon();
    }
}

/// The most nodes that are kept alive by holding `cap`.
fn nodes(cap: &Cap) -> usize {
    match cap {
        Cap::Own(own) => own.nodes(),
        Cap::Foreign(_) => 0,
    }
}

/// How much of what a connection held is let go of before others run.
const CLOSE_BATCH: usize = 16;

/// Lets go of all that a connection held, and lets others run in between.
pub(crate) async fn in_turns<T>(all: impl IntoIterator<Item = T>, mut let_go: impl FnMut(T)) {
    for (count, one) in (1..).zip(all) {
        let_go(one);
        if count % CLOSE_BATCH == 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl Peer for Session {
    type Own = Own;

    fn bounds(&self) -> Bounds {
        let config = self.config();
        Bounds {
            bytes: config.max_value_bytes,
            capabilities: config.max_value_capabilities,
            settle: config.settle_timeout,
            backlog: config.max_call_bytes,
        }
    }

    fn answers(&self) -> Bounds {
        if !self.origin.is_eager() {
            return self.bounds();
        }
        // Another host keeps its own bounds; its answers may be lists of children.
        let config = self.config();
        let (bytes, capabilities) = (8 * config.message_words(), config.max_capabilities);
        Bounds { bytes, capabilities, ..self.bounds() }
    }

    fn export(self: &Rc<Self>, cap: &Cap) -> Result<Box<dyn ClientHook>, Error> {
        if let Cap::Foreign(token) = cap
            && self.origin.is_eager()
            && token.origin().id() == self.id()
            && let Some(own) = self.worker.home().known(token.id())
        {
            // It comes home as what it is there.
            return Ok(own);
        }
        self.client(cap).map(FromClientHook::into_client_hook)
    }

    fn import(self: &Rc<Self>, hook: Box<dyn ClientHook>) -> Result<Cap, Error> {
        if let Some(host) = self.host() {
            return host.import(hook);
        }
        if let Some(known) = self.known(&*hook) {
            return Ok(known);
        }
        let address = hook.get_ptr();
        let known = self.hosted.borrow().get(&address).and_then(|(_, token)| token.upgrade());
        if let Some(token) = known {
            return Ok(Cap::Foreign(token));
        }
        let limit = self.config().max_capabilities;
        if self.hosted.borrow().len() >= limit {
            let limit = counted(limit, "capability", "capabilities");
            let words = format!("this connection already hosts its limit of {limit}");
            return Err(self.over_own(Limit::Capabilities, words));
        }
        let token = self.worker.home().keep(self, &self.origin, hook);
        self.hosted.borrow_mut().insert(address, (token.id(), token.downgrade()));
        self.stats.hosted.set(self.hosted.borrow().len() as u64);
        self.count_slots();
        Ok(Cap::Foreign(token))
    }

    fn known(&self, hook: &dyn ClientHook) -> Option<Cap> {
        // An object's address is its own for as long as the table knows it, even just weakly.
        let addresses = self.connection().addresses.borrow();
        let object = addresses.get(&hook.get_ptr()).and_then(Weak::upgrade)?;
        drop(addresses);
        object.cap()
    }

    fn backlog(&self) -> usize {
        usize::try_from(self.connection().stats.pending.get()).unwrap_or(usize::MAX)
    }

    fn released(&self, id: u64, address: usize) {
        let mut hosted = self.hosted.borrow_mut();
        if hosted.get(&address).is_some_and(|(kept, _)| *kept == id) {
            hosted.remove(&address);
            self.stats.hosted.set(hosted.len() as u64);
        }
        self.count_slots();
    }

    fn answers_with(&self, method: (u64, u16)) -> &'static [u16] {
        service::answers_with(method)
    }

    fn keeps(&self, method: (u64, u16)) -> bool {
        service::keeps(method)
    }

    fn lay_out(&self, hooks: Vec<(u16, Box<dyn ClientHook>)>, answer: any_pointer::Builder<'_>) {
        service::lay_out(hooks, answer);
    }

    fn fulfil(self: &Rc<Self>, id: u64, hook: Box<dyn ClientHook>) {
        self.worker.home().fulfil(id, self, hook);
        self.count_slots();
    }

    fn exceeds(&self, bound: Bound) -> String {
        let limit = match bound {
            Bound::Bytes => Limit::ValueBytes,
            Bound::Capabilities => Limit::ValueCapabilities,
            Bound::Backlog => Limit::CallBytes,
            Bound::Settle => Limit::SettleTimeout,
            Bound::Resolutions => Limit::Chain,
        };
        self.hit(limit);
        limit.to_string()
    }

    fn panicked(&self) {
        error!(connection = self.id(), "a call panicked");
    }
}
