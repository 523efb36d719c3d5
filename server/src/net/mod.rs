//! The network below the RPC system of one connection: messages from and to its stream, and the count
//! of its calls ([`Calls`]).
//!
//! The RPC system reads and writes at will and cannot be stopped from outside: dropping it leaks what
//! the connection holds. So what is between it and the socket is ours:
//!
//! - **Few writes.** Messages are collected and written together, when all that can be done of what
//!   was read has been done.
//! - **Turns.** After [`TURN`] messages, or half as many parts of a large one, the other connections of the thread
//!   have theirs, so that nobody waits for all that another one has sent at once.
//! - **Back-pressure.** While the socket takes no more, or [`OUTPUT_LIMIT`] bytes wait for it, nothing
//!   is read: a client that does not read its answers gets no further questions answered. Calls that were
//!   read before and begin only then wait too ([`Session::turn`](crate::session::Session::turn)); and a
//!   connection ends for which more than a limit of bytes waits nevertheless.
//! - **Limits.** [`Gate::fails`] resolves when that happens, when a write has waited too long, when the rest of
//!   a message has, and when nothing has come for long.
//! - **Closing.** After [`Gate::close`] reads are at the end and writes fail, which ends the RPC
//!   system in its own orderly way. Once it is being disconnected from our side it must not see the
//!   end of its input any more, so [`Gate::mute`] comes first.
//!
//! - **Large messages.** Between hosts, which others share, they go over a stream of their own ([`lane`]).
//!
//! ```text
//!  RpcSystem ── Network, Link, Outgoing ──┐
//!      └─── writes, as a future ──────────┴── State ── socket
//!                                               └───── Gate (the connection's)
//! ```

mod calls;
mod framing;
mod lane;
mod link;
mod order;
mod output;

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use capnp::any_pointer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use calls::Received;
pub(crate) use calls::{Amount, Calls, Failure, HELD, MAX_CHAIN};
use framing::{Frame, Frames, Mark, Segments, SharedSegments};
pub(crate) use lane::HostStream;
use lane::Lane;
pub(crate) use link::{Network, abort, farewell, refusal};
use output::Output;

use crate::config::Config;
use crate::stats::Stats;

/// How many bytes may wait to be written while more is read.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// How many bytes may wait to be written while calls begin: fewer, so that the client's word that it has
/// answers, with which they are let go of, is read before there are more.
pub(crate) const BEGIN_LIMIT: usize = OUTPUT_LIMIT / 2;
/// How many messages may be in the making while calls begin.
pub(crate) const MAKING_LIMIT: u64 = 64;

/// How many bytes are read at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// How many messages of one connection are taken before others have their turn: with 16, a call takes some
/// 3 % less of the processor (`killick bench walk --in-flight 64`), and others wait longer beside one who keeps
/// the worker busy (`--bench crowd`).
const TURN: u32 = 8;
/// As many messages take as long as a part of a large one does, of [`CHUNK_BYTES`].
const PART: u32 = 2;

/// What a connection goes over.
pub(crate) struct Streams<S> {
    pub(crate) main: S,
    /// That of large messages, to another host.
    pub(crate) lane: Option<Box<dyn HostStream>>,
}

impl<S> Streams<S> {
    /// That of a client.
    pub(crate) fn one(main: S) -> Self {
        Streams { main, lane: None }
    }
}

struct State<S> {
    /// `None` only after [`Gate::close`], and after a write has failed.
    stream: Option<S>,
    input: Frames,
    /// How many messages were taken without letting others run.
    turn: u32,
    output: Output,
    /// To another host, for as long as there is the stream.
    lane: Option<Box<Lane>>,
    /// The other side has ended the stream.
    ended: bool,
    /// Nothing is read any more, not even the end.
    muted: bool,
    /// The message that tells the client why the connection ends, in place of the RPC system's own.
    last_words: Option<Vec<u8>>,
    /// The most bytes that may wait to be written, and whether there were more.
    max_output: usize,
    overflowed: bool,
    /// Since when the rest of a message has been waited for.
    partial: Option<Instant>,
    /// When something came last.
    heard: Instant,
    /// Who waits to read.
    reader: Option<Waker>,
    /// Who waits to write, or for something to write.
    writer: Option<Waker>,
}

/// Why a stream fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// More bytes than may had to wait to be written.
    Overflowed,
    /// A write has waited for too long.
    Stalled,
    /// The rest of a message has been waited for for too long.
    Trickled,
    /// Nothing has come for too long.
    Idle,
}

impl<S> State<S> {
    /// What the stream fails by first, if nothing changes: since when, and for how long it may.
    fn failing(&self, config: &Config) -> Option<(Instant, Duration, Failing)> {
        if self.overflowed {
            return Some((self.heard, Duration::ZERO, Failing::Overflowed));
        }
        let lane = self.lane.as_deref();
        let stalled =
            |output: &Output| Some((output.blocked?, config.write_timeout, Failing::Stalled));
        let trickled =
            |since: Option<Instant>| Some((since?, config.read_timeout, Failing::Trickled));
        let lasting = [
            stalled(&self.output),
            lane.and_then(|lane| stalled(&lane.output)),
            trickled(self.partial),
            lane.and_then(|lane| trickled(lane.partial)),
            config.idle_timeout.map(|limit| (self.heard, limit, Failing::Idle)),
        ];
        let left =
            |(since, limit, _): &(Instant, Duration, _)| limit.saturating_sub(since.elapsed());
        lasting.into_iter().flatten().min_by_key(left)
    }

    /// The stream takes no more: it ends for both directions, and what was to be written is lost. Without
    /// that, whoever waits to read until something is written would wait for ever.
    fn broken(&mut self, error: io::Error) -> io::Error {
        self.stream = None;
        self.lane = None;
        self.output = Output::default();
        self.reader.take().into_iter().for_each(Waker::wake);
        error
    }

    /// How much waits to be written, for those who wait for that.
    fn waiting(&self) -> usize {
        self.output.waiting() + self.lane.as_ref().map_or(0, |lane| lane.weight())
    }

    /// How many bytes wait to be written.
    fn bytes(&self) -> usize {
        self.output.waiting() + self.lane.as_ref().map_or(0, |lane| lane.output.waiting())
    }

    /// Whether a write waits.
    fn is_blocked(&self) -> bool {
        let lane = self.lane.as_ref();
        self.output.blocked.is_some() || lane.is_some_and(|lane| lane.output.blocked.is_some())
    }

    /// Whether nothing is read, as too much waits to be written.
    fn is_backed_up(&self) -> bool {
        // Two hosts that both waited for the other to read would wait for ever.
        let blocked = self.output.blocked.is_some() && self.lane.is_none();
        blocked || self.waiting() > OUTPUT_LIMIT
    }

    /// The next message that may be taken.
    fn next(&mut self) -> io::Result<Option<Segments>> {
        let Some(lane) = &mut self.lane else {
            return Ok(match self.input.next() {
                Some(Frame::Message(message)) => Some(message),
                // There are no marks.
                Some(Frame::Mark(_)) | None => None,
            });
        };
        loop {
            if let Some(message) = lane.next() {
                self.output.bytes().extend(Mark::Taken.bytes());
                self.writer.take().into_iter().for_each(Waker::wake);
                return Ok(Some(message));
            }
            if lane.holds() {
                return Ok(None);
            }
            match self.input.next() {
                Some(Frame::Message(message)) => return Ok(Some(message)),
                Some(Frame::Mark(mark)) => lane.marked(mark)?,
                None => return Ok(None),
            }
        }
    }
}

/// What both sides have.
struct Shared<S> {
    state: RefCell<State<S>>,
    /// Told when something begins by which the stream may fail.
    changes: Notify,
    stats: Arc<Stats>,
}

/// The connection's side: watches the stream and can close it.
pub(crate) struct Gate<S>(Rc<Shared<S>>);

/// The RPC system's side.
struct Stream<S>(Rc<Shared<S>>);

impl<S> Clone for Stream<S> {
    fn clone(&self) -> Self {
        Stream(self.0.clone())
    }
}

/// Puts a gate before `streams`, which take messages of up to `max_words` words, and has `max_output` bytes
/// wait to be written at most. Bytes are counted in `stats`.
fn gate<S>(
    streams: Streams<S>,
    max_words: usize,
    max_output: usize,
    stats: Arc<Stats>,
) -> (Gate<S>, Stream<S>) {
    let mut input = Frames::new(max_words);
    let lane = streams.lane.map(|stream| {
        input.mark();
        Box::new(Lane::new(stream, max_words))
    });
    let state = State {
        stream: Some(streams.main),
        input,
        turn: 0,
        output: Output::default(),
        lane,
        ended: false,
        muted: false,
        last_words: None,
        max_output,
        overflowed: false,
        partial: None,
        heard: Instant::now(),
        reader: None,
        writer: None,
    };
    let (state, changes) = (RefCell::new(state), Notify::new());
    let shared = Rc::new(Shared { state, changes, stats });
    (Gate(shared.clone()), Stream(shared))
}

impl<S: AsyncWrite + Unpin> Gate<S> {
    /// [Closes](Self::close), and writes `message` before if nothing waits to be written, as far as the
    /// stream takes it at once.
    pub(crate) fn close_with(&self, message: &[u8]) {
        let mut state = self.0.state.borrow_mut();
        let is_free =
            state.output.is_empty() && state.output.blocked.is_none() && !state.overflowed;
        if let Some(stream) = state.stream.as_mut().filter(|_| is_free) {
            let mut cx = Context::from_waker(Waker::noop());
            // What is not written the client does without.
            if Pin::new(&mut *stream).poll_write(&mut cx, message).is_ready() {
                let _ = Pin::new(stream).poll_flush(&mut cx);
            }
        }
        drop(state);
        self.close();
    }
}

impl<S> Gate<S> {
    /// Has reads wait for ever, and the client told by `message` when the RPC system ends. Writes go on.
    pub(crate) fn mute(&self, message: Vec<u8>) {
        let mut state = self.0.state.borrow_mut();
        state.muted = true;
        state.last_words = Some(message);
    }

    /// Ends the stream for both halves, at once and for good.
    pub(crate) fn close(&self) {
        let mut state = self.0.state.borrow_mut();
        let stream = (state.stream.take(), state.lane.take());
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        drop(stream);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Resolves when the stream fails the client's side of it: why.
    pub(crate) async fn fails(&self, config: &Config) -> Failing {
        loop {
            let due = self.0.state.borrow().failing(config);
            let Some((since, limit, why)) = due else {
                self.0.changes.notified().await;
                continue;
            };
            if since.elapsed() >= limit {
                return why;
            }
            // The timer is in a box: a connection that waits for nothing has none.
            Box::pin(async {
                tokio::select! {
                    () = sleep_from(since, limit) => {}
                    () = self.0.changes.notified() => {}
                }
            })
            .await;
        }
    }
}

/// Sleeps until `time` has passed since a moment, which may be for ever.
async fn sleep_from(since: Instant, time: Duration) {
    match since.checked_add(time) {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl<S> Drop for Gate<S> {
    /// The stream ends with its gate, however that ends.
    fn drop(&mut self) {
        self.close();
    }
}

thread_local! {
    /// What is read into, one connection at a time: none of them has a buffer of its own.
    static CHUNK: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK_BYTES].into());
}

impl<S: AsyncRead + Unpin> Stream<S> {
    /// The next message; none at the end of the stream.
    fn poll_message(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Segments>>> {
        let state = &mut *self.0.state.borrow_mut();
        loop {
            if state.muted {
                return Poll::Pending;
            }
            if state.stream.is_none() {
                return Poll::Ready(Ok(None));
            }
            // Kept for every wait, so that closing wakes the reader wherever it waits.
            let waits = match &state.reader {
                Some(waker) => !waker.will_wake(cx.waker()),
                None => true,
            };
            if waits {
                state.reader = Some(cx.waker().clone());
            }
            if state.overflowed {
                // What has come would only be answered by more.
                return Poll::Pending;
            }
            if state.is_backed_up() {
                // It is not the client that is waited for.
                state.partial = None;
                state.lane.iter_mut().for_each(|lane| lane.partial = None);
                return Poll::Pending;
            }
            if state.turn >= TURN {
                state.turn = 0;
                // Not by waking this at once: the RPC system's tasks would go on with it.
                return pin!(tokio::task::yield_now()).poll(cx).map(|()| Ok(None));
            }
            if let Some(message) = state.next()? {
                state.turn += 1;
                return Poll::Ready(Ok(Some(message)));
            }
            let main = self.poll_main(state, cx)?;
            if main == Poll::Ready(0) && state.lane.is_none() {
                return Poll::Ready(Ok(None));
            }
            // Large messages may be to come that have their place before the end.
            state.ended |= main == Poll::Ready(0);
            let Some(lane) = &mut state.lane else {
                if main.is_pending() {
                    state.turn = 0;
                    return Poll::Pending;
                }
                continue;
            };
            // One after the other, so that neither waits for the other's end.
            if self.poll_lane(lane, cx)? {
                (state.turn, state.heard) = (state.turn + 1, Instant::now());
            } else if state.ended && !lane.is_due() {
                return Poll::Ready(Ok(None));
            } else if main.is_pending() || state.ended {
                state.turn = 0;
                return Poll::Pending;
            }
        }
    }

    /// Reads what has come over the stream: how many bytes, none at its end.
    fn poll_main(&self, state: &mut State<S>, cx: &mut Context<'_>) -> io::Result<Poll<usize>> {
        // What has come waits for the lane.
        let holds = state.lane.as_mut().is_some_and(|lane| lane.holds());
        let Some(stream) = state.stream.as_mut().filter(|_| !state.ended) else {
            return Ok(Poll::Pending);
        };
        if holds && state.input.has_next() {
            return Ok(Poll::Pending);
        }
        let input = &mut state.input;
        let read = CHUNK.with_borrow_mut(|chunk| {
            let mut chunk = ReadBuf::new(chunk);
            let read = Pin::new(stream).poll_read(cx, &mut chunk);
            let bytes = chunk.filled();
            read.map(|read| read.and_then(|()| Ok((bytes.len(), input.take(bytes)?))))
        });
        let Poll::Ready(read) = read else {
            if state.partial.is_none() && state.input.is_partial() {
                state.partial = Some(Instant::now());
                self.0.changes.notify_one();
            }
            return Ok(Poll::Pending);
        };
        let (count, whole) = read?;
        if !whole {
            state.turn += PART;
        }
        self.0.stats.read.add(count as u64);
        state.heard = Instant::now();
        if whole {
            state.partial = None;
        }
        Ok(Poll::Ready(count))
    }

    /// Reads what has come over the lane: whether anything has.
    fn poll_lane(&self, lane: &mut Lane, cx: &mut Context<'_>) -> io::Result<bool> {
        match CHUNK.with_borrow_mut(|chunk| lane.poll_read(cx, chunk)) {
            Poll::Ready(count) => {
                self.0.stats.read.add(count? as u64);
                lane.partial = None;
                Ok(true)
            }
            Poll::Pending => {
                if lane.partial.is_none() && lane.is_due() {
                    lane.partial = Some(Instant::now());
                    self.0.changes.notify_one();
                }
                Ok(false)
            }
        }
    }
}

impl<S> Stream<S> {
    /// What the client is to be told instead of a message, if that one `is_last` and the RPC system is not
    /// to say it in its own words.
    fn last_words(&self, is_last: impl FnOnce() -> bool) -> Option<Vec<u8>> {
        self.0.state.borrow_mut().last_words.take_if(|_| is_last())
    }

    /// A message is taken in by the RPC system next.
    fn received(&self, body: any_pointer::Reader<'_>) {
        if let Some(lane) = &mut self.0.state.borrow_mut().lane
            && let Ok(message) = body.get_as()
        {
            lane.received(message);
        }
    }

    /// Has the message that `write` appends written, some time: to what waits for the stream, or for the lane.
    fn send(&self, write: impl FnOnce(&mut Vec<u8>, Option<&mut Lane>)) {
        let mut state = self.0.state.borrow_mut();
        // After an overflow what was written may end within a message: nothing may follow that.
        if state.stream.is_none() || state.overflowed {
            return;
        }
        let state = &mut *state;
        write(state.output.bytes(), state.lane.as_deref_mut());
        self.0.stats.pending.set(state.waiting() as u64);
        if state.bytes() > state.max_output {
            state.overflowed = true;
            state.output.discard();
            state.lane = None;
            self.0.changes.notify_one();
            return;
        }
        // One that waits for the socket is woken by that.
        if state.output.blocked.is_none() || state.lane.is_some() {
            state.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Whether a message is there that was not taken yet, and may be.
    fn has_message(&self) -> bool {
        let state = &mut *self.0.state.borrow_mut();
        let next = match &mut state.lane {
            None => state.input.has_next(),
            Some(lane) => lane.has_next() || (!lane.holds() && state.input.has_next()),
        };
        !state.muted && !state.overflowed && next && state.output.waiting() <= OUTPUT_LIMIT
    }

    /// Whether there is something to write, or nothing ever will be.
    fn poll_output(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.borrow_mut();
        let is_there = !state.output.is_empty()
            || state.lane.as_ref().is_some_and(|lane| !lane.output.is_empty());
        if state.stream.is_none() || is_there {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Stream<S> {
    /// Writes what there is, all of it.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.state.borrow_mut();
        let (weight, was_backed_up) = (state.waiting(), state.is_backed_up());
        let (before, was_blocked) = (state.bytes(), state.is_blocked());
        let Some(stream) = &mut state.stream else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let main = state.output.poll_flush(stream, cx);
        let large = match &mut state.lane {
            Some(lane) => lane.poll_flush(cx),
            None => Poll::Ready(Ok(())),
        };
        let count = before - state.bytes();
        self.0.stats.written.add(count as u64);
        self.0.stats.pending.set(state.waiting() as u64);
        if count > 0 && weight > BEGIN_LIMIT {
            self.0.stats.drained.notify_one();
        }
        if was_backed_up && !state.is_backed_up() {
            state.reader.take().into_iter().for_each(Waker::wake);
        }
        if state.is_blocked() && !was_blocked {
            self.0.changes.notify_one();
        }
        match (main, large) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => {
                Poll::Ready(Err(state.broken(error)))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => {
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
