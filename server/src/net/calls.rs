//! How many calls of one connection are open: counted where every message passes.
//!
//! A call that has no answer yet takes memory, and so does an answer until the client says that it is
//! done with it (`Finish`, unless the answer needs none; before the answer it gives the call up). The
//! RPC system bounds neither. Here
//! - no message is read while the limit of calls is *unanswered*. An ordinary client waits; one
//!   whose calls wait for something that it would have to send waits in vain, so
//!   [`Calls::stuck`] resolves after a time limit;
//! - a connection ends when [`HELD`] times as many are *open*, answered ones included: only the
//!   client could change that, and it does not read its answers or does not do its part.
//!
//! What the RPC system disconnects for is kept here too ([`Calls::cause`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use capnp::{Error, ErrorKind, any_pointer};
use capnp_rpc::rpc_capnp::message::{Reader, Which};
use capnp_rpc::rpc_capnp::{cap_descriptor, resolve};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many times the limit of unanswered calls may be open, answered ones included.
const HELD: usize = 4;

/// The open calls of one connection.
pub(crate) struct Calls {
    limit: Cell<usize>,
    /// By the client's number for it: whether it is answered.
    open: RefCell<HashMap<u32, bool>>,
    unanswered: Cell<usize>,
    /// Since when nothing is read.
    stopped: Cell<Option<Instant>>,
    room: Notify,
    stops: Notify,
    /// What was wrong with what came in, if that is why the RPC system disconnected.
    cause: RefCell<Option<Error>>,
}

/// A promise that resolves to itself would never be let go of by the RPC system, not even with the
/// connection.
fn not_to_itself(resolve: resolve::Reader<'_>) -> Result<(), Error> {
    let Ok(resolve::Cap(Ok(cap))) = resolve.which() else { return Ok(()) };
    match cap.which() {
        Ok(cap_descriptor::SenderPromise(id) | cap_descriptor::SenderHosted(id))
            if id == resolve.get_promise_id() =>
        {
            Err(Error::failed(format!("promise {id} resolves to itself")))
        }
        _ => Ok(()),
    }
}

impl Calls {
    /// None yet; `limit` may be unanswered at a time.
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Calls {
            limit: Cell::new(limit.max(1)),
            open: RefCell::default(),
            unanswered: Cell::new(0),
            stopped: Cell::new(None),
            room: Notify::new(),
            stops: Notify::new(),
            cause: RefCell::default(),
        })
    }

    /// From here on there is no limit: has the end of the stream be read.
    pub(crate) fn lift(&self) {
        self.limit.set(usize::MAX);
        self.room.notify_one();
    }

    /// Resolves when nothing was read for longer than `time`, for there were too many calls.
    pub(crate) async fn stuck(&self, time: Duration) {
        loop {
            match self.stopped.get() {
                None => self.stops.notified().await,
                Some(since) if since.elapsed() >= time => return,
                Some(since) => tokio::time::sleep_until(since + time).await,
            }
        }
    }

    /// What was wrong with what came in, if that is why the RPC system disconnected.
    pub(crate) fn cause(&self) -> Option<Error> {
        self.cause.borrow().clone()
    }

    /// The RPC system disconnects, for what `result` says.
    pub(super) fn ended(&self, result: &Result<(), Error>) {
        let cause = result.as_ref().err().filter(|error| error.kind != ErrorKind::Disconnected);
        *self.cause.borrow_mut() = cause.cloned();
    }

    /// Waits until there is room for a call.
    pub(super) async fn room(&self) {
        while self.unanswered.get() >= self.limit.get() {
            if self.stopped.get().is_none() {
                self.stopped.set(Some(Instant::now()));
                self.stops.notify_one();
            }
            self.room.notified().await;
        }
        self.stopped.set(None);
    }

    /// A message came in. What is malformed is left to the RPC system.
    pub(super) fn received(&self, body: any_pointer::Reader<'_>) -> Result<(), Error> {
        let Ok(message) = body.get_as::<Reader<'_>>() else { return Ok(()) };
        match message.which() {
            Ok(Which::Bootstrap(Ok(bootstrap))) => self.asked(bootstrap.get_question_id()),
            Ok(Which::Call(Ok(call))) => self.asked(call.get_question_id()),
            Ok(Which::Finish(Ok(finish))) => {
                self.finished(finish.get_question_id());
                Ok(())
            }
            Ok(Which::Resolve(Ok(resolve))) => not_to_itself(resolve),
            _ => Ok(()),
        }
    }

    fn asked(&self, id: u32) -> Result<(), Error> {
        let mut open = self.open.borrow_mut();
        let limit = self.limit.get().saturating_mul(HELD);
        if open.len() >= limit {
            return Err(Error::overloaded(format!(
                "this connection has its limit of {limit} calls open: an answered one counts until \
                 the client has said that it is done with the answer"
            )));
        }
        // An id that is taken is an error for the RPC system to find.
        if open.insert(id, false) != Some(false) {
            self.unanswered.set(self.unanswered.get() + 1);
        }
        Ok(())
    }

    /// The client is done with a call. If that has no answer yet, it is given up, and may never get
    /// one.
    fn finished(&self, id: u32) {
        if self.open.borrow_mut().remove(&id) == Some(false) {
            self.settled();
        }
    }

    /// A message goes out.
    pub(super) fn sent(&self, body: any_pointer::Reader<'_>) {
        let Ok(message) = body.get_as::<Reader<'_>>() else { return };
        let Ok(Which::Return(Ok(answer))) = message.which() else { return };
        let id = answer.get_answer_id();
        let mut open = self.open.borrow_mut();
        let before = match answer.get_no_finish_needed() {
            true => open.remove(&id),
            false => open.get_mut(&id).map(|answered| std::mem::replace(answered, true)),
        };
        if before == Some(false) {
            self.settled();
        }
    }

    /// One call less is unanswered.
    fn settled(&self) {
        self.unanswered.set(self.unanswered.get() - 1);
        self.room.notify_one();
    }
}
