//! How many calls of one connection are open, and what they take: counted where every message passes.
//!
//! A call that has no answer yet takes memory, and so does an answer until the client says that it is
//! done with it (`Finish`, unless the answer needs none). A call that the client is done with before
//! the answer is given up; the RPC system then sends no answer, and keeps the place of one, and what
//! others of its calls wait for, until the connection ends. It bounds none of these. Here
//! - no message is read while the limit of calls, or of their bytes, is *unanswered*. An ordinary
//!   client waits; one whose calls wait for something that it would have to send waits in vain, so
//!   [`Calls::fail`] resolves after a time limit;
//! - a connection ends when [`HELD`] times as much is *open*, answered ones included, and in bytes those
//!   that were given up: only the client could change that, and it does not read its answers or does
//!   not do its part. Calls are looked at as they come; for answers there is [`Calls::fail`].
//!
//! What the RPC system disconnects for is kept here too ([`Calls::cause`]), and chains of calls, or of
//! promises, that it would go through on the stack are kept short ([`MAX_CHAIN`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use capnp::message::{Builder, HeapAllocator};
use capnp::{Error, ErrorKind, any_pointer};
use capnp_rpc::rpc_capnp::message::{self, Which};
use capnp_rpc::rpc_capnp::{call, cap_descriptor, message_target, resolve};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::stats::Limit;

/// How many times the limits of what is unanswered may be open, answered and given up included.
pub(crate) const HELD: usize = 4;

/// What a call takes besides its message: as many bytes are added to each.
const CALL_BYTES: usize = 2048;

/// What the RPC system takes for a capability in a message, as many bytes: 16 come over the wire.
const CAP_BYTES: usize = 512;

/// How many calls may wait one for the other, and how many promises may resolve one to the next: the RPC
/// system goes through such a chain on the stack, which some thousand of either overflow.
pub(crate) const MAX_CHAIN: u32 = 32;

/// How many calls, and how many bytes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) calls: usize,
    pub(crate) bytes: usize,
}

/// An open call.
struct Open {
    /// Those of its message with its capabilities, or of its answer, and [`CALL_BYTES`].
    bytes: usize,
    state: State,
    /// How many calls wait one for the other here: this one, the one on whose answer it is made, and so on.
    chain: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Without an answer, which the client waits for.
    Waits,
    /// The client has not said yet that it is done with the answer.
    Answered,
    /// Without an answer, which the client does not want any more.
    GivenUp,
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// Nothing was read for too long, for this limit.
    Stuck(Limit),
    /// Too many bytes are open.
    Over,
}

/// The open calls of one connection.
pub(crate) struct Calls {
    limit: Cell<Amount>,
    /// By the client's number for it.
    open: RefCell<HashMap<u32, Open>>,
    unanswered: Cell<Amount>,
    given_up: Cell<usize>,
    /// Whether something is to be written that is no answer.
    asks: Cell<bool>,
    /// The bytes of all that are open.
    bytes: Cell<usize>,
    /// Of promises that others have resolved to, if there were some, how many there were up to there.
    #[allow(clippy::box_collection, reason = "for most there were none")]
    promises: RefCell<Option<Box<HashMap<u32, u32>>>>,
    /// Since when nothing is read, and which limit says so.
    stopped: Cell<Option<(Instant, Limit)>>,
    room: Notify,
    /// Told when nothing is read any more, and when too much is open.
    changes: Notify,
    /// What was wrong with what came in, if that is why the RPC system disconnected.
    cause: RefCell<Option<Error>>,
    /// Told of each limit that is met.
    meets: Box<dyn Fn(Limit)>,
    /// The connection has to end for one.
    is_ended: Cell<bool>,
}

/// What a message is that came in.
pub(super) enum Received {
    /// An answer to what the server has asked.
    Answer,
    /// The client's last one.
    Abort,
    /// A call that is to come after these are answered.
    After(Vec<u32>),
    /// To be taken for this one instead.
    Instead(Builder<HeapAllocator>),
    Other,
}

/// The end of a promise that must not resolve to what it does.
fn broken(promise: u32, reason: &str) -> Builder<HeapAllocator> {
    let mut message = Builder::new_default();
    let mut resolve = message.init_root::<message::Builder<'_>>().init_resolve();
    resolve.set_promise_id(promise);
    resolve.init_exception().set_reason(reason);
    message
}

impl Calls {
    /// None yet; `limit` may be unanswered at a time, but one call always. `meets` is told of each limit that
    /// is met, but of those that just have the client wait.
    pub(crate) fn new(limit: Amount, meets: impl Fn(Limit) + 'static) -> Rc<Self> {
        Rc::new(Calls {
            limit: Cell::new(limit),
            open: RefCell::default(),
            unanswered: Cell::default(),
            given_up: Cell::new(0),
            asks: Cell::new(false),
            bytes: Cell::new(0),
            promises: RefCell::default(),
            stopped: Cell::new(None),
            room: Notify::new(),
            changes: Notify::new(),
            cause: RefCell::default(),
            meets: Box::new(meets),
            is_ended: Cell::new(false),
        })
    }

    /// Whether more is likely to be written in a moment: the client waits for an answer, or something else than
    /// answers is to be written, as it is for what others ask of the client.
    pub(super) fn may_write_more(&self) -> bool {
        self.unanswered.get().calls > 0 || self.asks.get()
    }

    /// All that was sent is written.
    pub(super) fn written(&self) {
        self.asks.set(false);
    }

    /// From here on there is no limit: has the end of the stream be read.
    pub(crate) fn lift(&self) {
        self.limit.set(Amount { calls: usize::MAX, bytes: usize::MAX });
        self.room.notify_one();
    }

    /// Resolves when answers have made what is open exceed its limit of bytes, or when nothing was read for
    /// longer than `time`.
    #[allow(clippy::manual_async_fn, reason = "that has each of its arguments twice")]
    pub(crate) fn fail(&self, time: Duration) -> impl Future<Output = Failure> + '_ {
        async move {
            loop {
                if self.is_over() {
                    return Failure::Over;
                }
                match self.stopped.get() {
                    None => self.changes.notified().await,
                    Some((since, limit)) if since.elapsed() >= time => {
                        return Failure::Stuck(limit);
                    }
                    // The timer is in a box: few ever have one.
                    Some((since, _)) => Box::pin(self.changes_within(since, time)).await,
                }
            }
        }
    }

    /// Resolves when something changes, or when `time` has passed since a moment.
    async fn changes_within(&self, since: Instant, time: Duration) {
        tokio::select! {
            () = super::sleep_from(since, time) => {}
            () = self.changes.notified() => {}
        }
    }

    fn is_over(&self) -> bool {
        self.bytes.get() > self.limit.get().bytes.saturating_mul(HELD)
    }

    /// What was wrong with what came in, if that is why the RPC system disconnected.
    pub(crate) fn cause(&self) -> Option<Error> {
        self.cause.borrow().clone()
    }

    /// The connection has to end for `limit`, if not for another one already.
    pub(super) fn ends_for(&self, limit: Limit) {
        if !self.is_ended.replace(true) {
            (self.meets)(limit);
        }
    }

    /// The RPC system disconnects, for what `result` says.
    pub(super) fn ended(&self, result: &Result<(), Error>) {
        let cause = result.as_ref().err().filter(|error| error.kind != ErrorKind::Disconnected);
        *self.cause.borrow_mut() = cause.cloned();
    }

    /// Waits until there is room for a call.
    pub(super) async fn room(&self) {
        // In a box, as it is rare: who has to wait takes room for it, and nobody else.
        if self.is_full() {
            Box::pin(self.while_holds(Limit::Calls, || self.is_full())).await;
        }
        self.stopped.set(None);
    }

    /// Waits until these calls do not wait any more.
    pub(super) async fn answered(&self, calls: &[u32]) {
        let waits =
            |call| self.open.borrow().get(call).is_some_and(|open| open.state == State::Waits);
        let is_lifted = || self.limit.get().calls == usize::MAX;
        self.while_holds(Limit::Chain, || !is_lifted() && calls.iter().any(waits)).await;
    }

    /// Waits as long as `holds` does, for `limit`. Meanwhile nothing is read.
    async fn while_holds(&self, limit: Limit, holds: impl Fn() -> bool) {
        while holds() {
            if self.stopped.get().is_none() {
                self.stopped.set(Some((Instant::now(), limit)));
                self.changes.notify_one();
            }
            self.room.notified().await;
        }
        self.stopped.set(None);
    }

    fn is_full(&self) -> bool {
        let (unanswered, limit) = (self.unanswered.get(), self.limit.get());
        unanswered.calls >= limit.calls.max(1)
            || (unanswered.calls > 0 && unanswered.bytes >= limit.bytes)
    }

    /// A message of `bytes` came in. What is malformed is left to the RPC system.
    pub(super) fn received(
        &self,
        body: any_pointer::Reader<'_>,
        bytes: usize,
    ) -> Result<Received, Error> {
        let Ok(message) = body.get_as::<message::Reader<'_>>() else { return Ok(Received::Other) };
        match message.which() {
            Ok(Which::Bootstrap(Ok(bootstrap))) => {
                self.asked(bootstrap.get_question_id(), bytes, 1)?;
            }
            Ok(Which::Call(Ok(call))) => return self.called(call, bytes),
            Ok(Which::Finish(Ok(finish))) => self.finished(finish.get_question_id()),
            Ok(Which::Resolve(Ok(resolve))) => return self.resolved(resolve),
            Ok(Which::Return(_)) => return Ok(Received::Answer),
            Ok(Which::Abort(_)) => return Ok(Received::Abort),
            _ => {}
        }
        Ok(Received::Other)
    }

    /// A promise that resolves to itself, or to the answer of a call that waits for it, would never be
    /// let go of by the RPC system, not even with the connection; and who waited for the second would
    /// wait for himself, and the thread with him. The first is the end of its connection. What a call waits
    /// for is not known here, so that a promise that resolves to any answer that is not there yet is
    /// broken instead.
    fn resolved(&self, resolve: resolve::Reader<'_>) -> Result<Received, Error> {
        let Ok(resolve::Cap(Ok(cap))) = resolve.which() else { return Ok(Received::Other) };
        let promise = resolve.get_promise_id();
        let mut promises = self.promises.borrow_mut();
        let before = promises.as_mut().and_then(|known| known.remove(&promise)).unwrap_or_default();
        match cap.which() {
            Ok(cap_descriptor::SenderPromise(id) | cap_descriptor::SenderHosted(id))
                if id == promise =>
            {
                Err(Error::failed(format!("promise {id} resolves to itself")))
            }
            Ok(cap_descriptor::SenderPromise(_) | cap_descriptor::SenderHosted(_))
                if before >= MAX_CHAIN =>
            {
                (self.meets)(Limit::Chain);
                let name = Limit::Chain;
                let reason = format!("a promise resolved to another {MAX_CHAIN} times{name}");
                Ok(Received::Instead(broken(promise, &reason)))
            }
            // The second is taken for the first if that is what it is known as.
            Ok(cap_descriptor::SenderPromise(id) | cap_descriptor::SenderHosted(id)) => {
                let known = promises.get_or_insert_default().entry(id).or_default();
                *known = (before + 1).max(*known);
                Ok(Received::Other)
            }
            Ok(cap_descriptor::ReceiverAnswer(Ok(answer))) => {
                let open = self.open.borrow();
                let question = open.get(&answer.get_question_id());
                if question.is_none_or(|open| open.state == State::Answered) {
                    return Ok(Received::Other);
                }
                let reason = "it resolved to an answer that is not there yet";
                Ok(Received::Instead(broken(promise, reason)))
            }
            _ => Ok(Received::Other),
        }
    }

    /// A call came in.
    fn called(&self, call: call::Reader<'_>, bytes: usize) -> Result<Received, Error> {
        let (mut chain, mut long) = (0, Vec::new());
        let mut waits_for = |question: u32| {
            if let Some(open) = self.open.borrow().get(&question)
                && open.state == State::Waits
            {
                chain = chain.max(open.chain);
                if open.chain >= MAX_CHAIN {
                    long.push(question);
                }
            }
        };
        if let Ok(Ok(message_target::PromisedAnswer(Ok(answer)))) =
            call.get_target().map(|target| target.which())
        {
            waits_for(answer.get_question_id());
        }
        let caps = call.get_params().and_then(|params| params.get_cap_table());
        let mut count = 0;
        for cap in caps.into_iter().flatten() {
            count += 1;
            if let Ok(cap_descriptor::ReceiverAnswer(Ok(answer))) = cap.which() {
                waits_for(answer.get_question_id());
            }
        }
        let bytes = bytes.saturating_add(count * CAP_BYTES);
        self.asked(call.get_question_id(), bytes, chain + 1)?;
        Ok(if long.is_empty() { Received::Other } else { Received::After(long) })
    }

    fn asked(&self, id: u32, bytes: usize, chain: u32) -> Result<(), Error> {
        let mut open = self.open.borrow_mut();
        let limit = self.limit.get().calls.max(1).saturating_mul(HELD);
        if open.len() - self.given_up.get() >= limit {
            self.ends_for(Limit::Calls);
            return Err(Error::overloaded(format!(
                "this connection has its limit of {limit} calls open, {HELD} times that of unanswered \
                 ones: an answered one counts until the client has said that it is done with the \
                 answer{}",
                Limit::Calls
            )));
        }
        let bytes = bytes.saturating_add(CALL_BYTES);
        // An id that is taken is an error for the RPC system to find.
        if let Some(before) = open.insert(id, Open { bytes, state: State::Waits, chain }) {
            self.forget(&before);
        }
        drop(open);
        self.bytes.set(self.bytes.get() + bytes);
        let Amount { calls, bytes: all } = self.unanswered.get();
        self.unanswered.set(Amount { calls: calls + 1, bytes: all + bytes });
        match self.is_over() {
            true => Err(self.too_many_bytes()),
            false => Ok(()),
        }
    }

    /// What to tell a client whose calls and answers take too much.
    pub(crate) fn too_many_bytes(&self) -> Error {
        self.ends_for(Limit::CallBytes);
        let limit = self.limit.get().bytes.saturating_mul(HELD);
        Error::overloaded(format!(
            "the open calls of this connection exceed their limit of {limit} bytes: an answer counts \
             until the client has said that it is done with it, and a call that was given up for good{}",
            Limit::CallBytes
        ))
    }

    /// `open` no longer takes anything.
    fn forget(&self, open: &Open) {
        self.bytes.set(self.bytes.get() - open.bytes);
        match open.state {
            State::Waits => self.settled(open.bytes),
            State::Answered => {}
            State::GivenUp => self.given_up.set(self.given_up.get() - 1),
        }
    }

    /// The client is done with a call. One that has no answer yet is given up.
    fn finished(&self, id: u32) {
        let mut all = self.open.borrow_mut();
        let Some(open) = all.get_mut(&id) else { return };
        match open.state {
            State::Waits => {
                open.state = State::GivenUp;
                self.given_up.set(self.given_up.get() + 1);
                self.settled(open.bytes);
            }
            State::Answered => {
                self.forget(open);
                all.remove(&id);
                if all.is_empty() {
                    // Who calls nothing takes no room for it.
                    all.shrink_to_fit();
                }
            }
            State::GivenUp => {}
        }
    }

    /// A message of `bytes` goes out.
    pub(super) fn sent(&self, body: any_pointer::Reader<'_>, bytes: usize) {
        let Ok(message) = body.get_as::<message::Reader<'_>>() else { return };
        let which = message.which();
        let Ok(Which::Return(Ok(answer))) = which else {
            self.asks.set(true);
            if let Ok(Which::Release(Ok(release))) = which
                && let Some(promises) = &mut *self.promises.borrow_mut()
            {
                promises.remove(&release.get_id());
            }
            return;
        };
        let id = answer.get_answer_id();
        let mut all = self.open.borrow_mut();
        let Some(open) = all.remove(&id) else { return };
        self.forget(&open);
        // One that was given up is done with as soon as it is answered.
        if open.state == State::Waits && !answer.get_no_finish_needed() {
            let bytes = bytes.saturating_add(CALL_BYTES);
            all.insert(id, Open { bytes, state: State::Answered, chain: 0 });
            drop(all);
            self.bytes.set(self.bytes.get() + bytes);
            if self.is_over() {
                self.changes.notify_one();
            }
        }
    }

    /// One call of `bytes` less is unanswered.
    fn settled(&self, bytes: usize) {
        let Amount { calls, bytes: all } = self.unanswered.get();
        self.unanswered.set(Amount { calls: calls - 1, bytes: all - bytes });
        self.room.notify_one();
    }
}
