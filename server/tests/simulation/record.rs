//! What is known from outside of everything that happens in one simulation: the connections, every
//! operation on a register with its outcome, and the trace.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use killick_server::Simulated;

use crate::channels::Exchange;
use crate::grants::Grants;

/// Since the simulation began, in its own time.
pub(crate) type Time = Duration;

/// A value, by the number that it was given when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Nothing,
    Text(u64),
    Cap(u64),
    /// A capability that could not be asked which one it is.
    SomeCap,
}

impl Value {
    /// Whether both may be one value, as far as is known.
    pub(crate) fn may_be(self, other: Value) -> bool {
        match (self, other) {
            (Value::SomeCap, Value::Cap(_)) | (Value::Cap(_), Value::SomeCap) => true,
            _ => self == other,
        }
    }
}

/// When a write is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Always,
    IfEmpty,
    IfRevision(u64),
    Swap,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Load,
    /// Of a value that dies with each of these connections.
    Write {
        value: Value,
        owners: Vec<usize>,
        how: How,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// It was never answered, or by an error.
    Unknown,
    /// It was answered that it is not done.
    Refused,
    Loaded {
        value: Value,
        revision: u64,
    },
    Wrote {
        done: bool,
        revision: u64,
        previous: Option<Value>,
    },
}

/// One operation on one register.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// Over which connection.
    pub(crate) connection: usize,
    /// Of which start of the server.
    pub(crate) server: usize,
    pub(crate) register: String,
    pub(crate) start: Time,
    /// When it was answered.
    pub(crate) end: Option<Time>,
    pub(crate) what: What,
    pub(crate) outcome: Outcome,
}

/// A connection as the server has it, and what its client knows.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) client: String,
    pub(crate) peer: SocketAddr,
    pub(crate) server: usize,
    /// When its client let go of it, or died.
    pub(crate) left: Option<Time>,
    /// When a call to what its client hosts failed first.
    pub(crate) failed: Option<Time>,
    /// When the server let go of it, or died.
    pub(crate) closed: Option<Time>,
    /// Whether it ended because the server did.
    pub(crate) stopped: bool,
    /// Since when nothing has been wrong with its link, and its client has read what came; never if
    /// something was lost.
    pub(crate) sound: Option<Time>,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Work,
    /// No more operations and no more faults: what is broken is noticed.
    Settle,
    /// The keeper clears what is left.
    Clean,
    Leave,
}

/// Whether a client reads what it is sent.
#[derive(Default)]
pub(crate) struct Valve {
    shut: Cell<bool>,
    waits: RefCell<Option<Waker>>,
}

impl Valve {
    pub(crate) fn set(&self, shut: bool) {
        self.shut.set(shut);
        let waits = self.waits.take();
        waits.into_iter().for_each(Waker::wake);
    }

    /// Whether it is shut; if so, `waker` is woken when it no longer is.
    pub(crate) fn is_shut(&self, waker: &Waker) -> bool {
        if self.shut.get() {
            self.waits.replace(Some(waker.clone()));
        }
        self.shut.get()
    }
}

/// The lines of the server's log.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line).trim().to_owned();
        self.0.lock().expect("a log").push(text);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Record {
    pub(crate) connections: RefCell<Vec<Connection>>,
    pub(crate) ops: RefCell<Vec<Op>>,
    pub(crate) exchange: RefCell<Exchange>,
    pub(crate) grants: RefCell<Grants>,
    pub(crate) trace: RefCell<String>,
    /// What went against a promise.
    pub(crate) wrong: RefCell<Vec<String>>,
    values: Cell<u64>,
    /// Over which connection each capability is hosted.
    pub(crate) hosts: RefCell<BTreeMap<u64, usize>>,
    /// The server that runs, and how often one was started.
    server: RefCell<Option<Rc<Simulated>>>,
    pub(crate) starts: Cell<usize>,
    pub(crate) stop: tokio::sync::Notify,
    /// Whether the server was told to stop.
    pub(crate) stopping: Cell<bool>,
    /// The start of the server whose registers the keeper holds.
    pub(crate) kept: Cell<usize>,
    pub(crate) phase: Cell<Option<Phase>>,
    pub(crate) cleaned: Cell<bool>,
    /// The most bytes that a stream takes at a time.
    pub(crate) segment: Cell<usize>,
    pub(crate) valves: RefCell<BTreeMap<String, Rc<Valve>>>,
    pub(crate) log: Lines,
}

/// The time in a simulation.
pub(crate) fn now() -> Time {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl Record {
    /// Adds a line to the trace.
    pub(crate) fn trace(&self, time: Time, host: &str, line: impl fmt::Display) {
        let mut trace = self.trace.borrow_mut();
        writeln!(trace, "{:>6} {host:<8} {line}", time.as_millis()).expect("a string");
    }

    /// Something went against a promise.
    pub(crate) fn wrong(&self, what: impl fmt::Display) {
        self.wrong.borrow_mut().push(what.to_string());
    }

    /// The number of a new value.
    pub(crate) fn new_value(&self) -> u64 {
        self.values.set(self.values.get() + 1);
        self.values.get()
    }

    /// The connection of the client that hosts capability `id`.
    pub(crate) fn host_of(&self, id: u64) -> usize {
        self.hosts.borrow()[&id]
    }

    /// What the server has logged since this was asked last.
    pub(crate) fn logged(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.0.lock().expect("a log"))
    }

    pub(crate) fn valve(&self, client: &str) -> Rc<Valve> {
        self.valves.borrow_mut().entry(client.to_owned()).or_default().clone()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get().unwrap_or(Phase::Work)
    }

    pub(crate) fn server(&self) -> Option<Rc<Simulated>> {
        self.server.borrow().clone()
    }

    /// A server has started.
    pub(crate) fn server_started(&self, server: Rc<Simulated>) {
        self.server.replace(Some(server));
        self.starts.set(self.starts.get() + 1);
    }

    /// The server has stopped, or died: no connection is left.
    pub(crate) fn server_gone(&self, time: Time) {
        drop(self.server.take());
        for connection in self.connections.borrow_mut().iter_mut() {
            if connection.closed.is_none() {
                (connection.closed, connection.stopped) = (Some(time), true);
            }
        }
        self.stopping.set(false);
    }

    /// The server has accepted a connection: its number.
    pub(crate) fn accepted(&self, peer: SocketAddr) -> usize {
        let client = turmoil::reverse_lookup(peer.ip()).unwrap_or_default();
        let mut connections = self.connections.borrow_mut();
        connections.push(Connection {
            client,
            peer,
            server: self.starts.get(),
            left: None,
            failed: None,
            closed: None,
            stopped: false,
            sound: Some(now()),
        });
        connections.len() - 1
    }

    /// The number of the connection that a client has from `local`.
    pub(crate) fn connected(&self, local: SocketAddr) -> Option<usize> {
        self.connections.borrow().iter().rposition(|connection| connection.peer == local)
    }

    pub(crate) fn connection(&self, number: usize) -> Connection {
        self.connections.borrow()[number].clone()
    }

    pub(crate) fn closed(&self, number: usize) {
        let connection = &mut self.connections.borrow_mut()[number];
        connection.closed.get_or_insert(now());
        connection.stopped = self.stopping.get();
    }

    /// A call to what its client hosts has failed.
    pub(crate) fn failed(&self, number: usize) {
        self.connections.borrow_mut()[number].failed.get_or_insert(now());
    }

    pub(crate) fn left(&self, number: usize) {
        self.connections.borrow_mut()[number].left.get_or_insert(now());
    }

    /// The connections of `client` that are not over.
    fn befalls(&self, client: &str, change: impl Fn(&mut Connection)) {
        let mut connections = self.connections.borrow_mut();
        let of_client = connections.iter_mut().filter(|connection| connection.client == client);
        of_client.filter(|connection| connection.left.is_none()).for_each(change);
    }

    /// What `client` sends, or is sent, may be lost from here on.
    pub(crate) fn loses(&self, client: &str) {
        self.befalls(client, |connection| connection.sound = None);
    }

    /// What `client` sends, or is sent, waits until it is [well](Self::well).
    pub(crate) fn waits(&self, client: &str) {
        self.befalls(client, |connection| {
            connection.sound = connection.sound.and(Some(Time::MAX));
        });
    }

    /// It waits no more.
    pub(crate) fn well(&self, client: &str, time: Time) {
        self.befalls(client, |connection| connection.sound = connection.sound.and(Some(time)));
    }

    /// `client` has died.
    pub(crate) fn dies(&self, client: &str, time: Time) {
        self.befalls(client, |connection| connection.left = Some(time));
    }

    /// An operation begins: its number.
    pub(crate) fn begin(&self, connection: usize, register: &str, what: What) -> usize {
        let server = self.connection(connection).server;
        let register = register.to_owned();
        let (start, end, outcome) = (now(), None, Outcome::Unknown);
        let mut ops = self.ops.borrow_mut();
        ops.push(Op { connection, server, register, start, end, what, outcome });
        ops.len() - 1
    }

    /// It was answered.
    pub(crate) fn end(&self, op: usize, outcome: Outcome) {
        let mut ops = self.ops.borrow_mut();
        let op = &mut ops[op];
        (op.end, op.outcome) = (Some(now()), outcome);
        let Op { connection, register, what, .. } = &*op;
        let host = self.connection(*connection).client;
        self.trace(now(), &host, format_args!("#{connection} {register} {what:?} {outcome:?}"));
    }

    /// The capability that an operation loaded is this one.
    pub(crate) fn identify(&self, op: usize, id: u64) {
        if let Outcome::Loaded { value, .. } = &mut self.ops.borrow_mut()[op].outcome {
            *value = Value::Cap(id);
        }
    }
}
