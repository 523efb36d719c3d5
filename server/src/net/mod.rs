//! The stream below the messages of one connection, and the count of its calls ([`Calls`]).
//!
//! The RPC system reads and writes at will and cannot be stopped from outside: dropping it leaks what
//! the connection holds. So the stream between it and the socket is ours, and does three things:
//!
//! - **Back-pressure.** While the socket takes no more, nothing is read: a client that does not read
//!   its answers gets no further questions answered, and its answers do not pile up.
//! - **A time limit.** [`Gate::stalled`] resolves when a write has waited too long.
//! - **Closing.** After [`Gate::close`] reads are at the end and writes fail, which ends the RPC
//!   system in its own orderly way. Once it is being disconnected from our side it must not see the
//!   end of its input any more, so [`Gate::mute`] comes first.
//!
//! ```text
//!  RpcSystem ─────────────── ReadHalf ──┐
//!      └─────── BufWriter ── WriteHalf ─┴── State ── socket
//!                                             └───── Gate (the connection's)
//! ```

mod calls;
mod framing;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use calls::{Calls, Counted};
use framing::Frames;

use crate::stats::Stats;

struct State<S> {
    /// Taken out by nobody: `None` only after [`Gate::close`].
    stream: Option<S>,
    /// Nothing is read any more, not even the end.
    muted: bool,
    /// Since when a write has been waiting for the socket.
    blocked: Option<Instant>,
    /// Who waits to read until the write went through.
    reader: Option<Waker>,
    /// Who waits to write.
    writer: Option<Waker>,
}

/// The connection's side: watches the stream and can close it.
pub(crate) struct Gate<S> {
    state: Rc<RefCell<State<S>>>,
    blocks: Rc<Notify>,
}

/// What the RPC system reads from: whole messages.
pub(crate) struct ReadHalf<S> {
    state: Rc<RefCell<State<S>>>,
    frames: Frames,
    stats: Arc<Stats>,
}

/// What the RPC system writes to.
pub(crate) struct WriteHalf<S> {
    state: Rc<RefCell<State<S>>>,
    blocks: Rc<Notify>,
    stats: Arc<Stats>,
}

/// Puts a gate before `stream`, which takes messages of up to `max_words` words.
/// Bytes are counted in `stats`.
pub(crate) fn gate<S>(
    stream: S,
    max_words: usize,
    stats: Arc<Stats>,
) -> (Gate<S>, ReadHalf<S>, WriteHalf<S>) {
    let state =
        State { stream: Some(stream), muted: false, blocked: None, reader: None, writer: None };
    let (state, blocks) = (Rc::new(RefCell::new(state)), Rc::new(Notify::new()));
    let frames = Frames::new(max_words);
    let read = ReadHalf { state: state.clone(), frames, stats: stats.clone() };
    let write = WriteHalf { state: state.clone(), blocks: blocks.clone(), stats };
    (Gate { state, blocks }, read, write)
}

impl<S> Gate<S> {
    /// Has reads wait for ever. Writes go on.
    pub(crate) fn mute(&self) {
        self.state.borrow_mut().muted = true;
    }

    /// Ends the stream for both halves, at once and for good.
    pub(crate) fn close(&self) {
        let mut state = self.state.borrow_mut();
        let stream = state.stream.take();
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        drop(stream);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Resolves when one write has waited for longer than `limit`.
    pub(crate) async fn stalled(&self, limit: Duration) {
        loop {
            let since = self.state.borrow().blocked;
            match since {
                None => self.blocks.notified().await,
                Some(since) if since.elapsed() >= limit => return,
                Some(since) => tokio::time::sleep_until(since + limit).await,
            }
        }
    }
}

impl<S: AsyncRead + Unpin> futures::AsyncRead for ReadHalf<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let ReadHalf { state, frames, stats } = self.get_mut();
        let state = &mut *state.borrow_mut();
        loop {
            if state.muted {
                return Poll::Pending;
            }
            let Some(stream) = &mut state.stream else { return Poll::Ready(Ok(0)) };
            if state.blocked.is_none() {
                let count = frames.take(buffer);
                if count > 0 {
                    return Poll::Ready(Ok(count));
                }
            }
            // Kept for every wait, so that closing wakes the reader wherever it waits.
            state.reader = Some(cx.waker().clone());
            if state.blocked.is_some() {
                return Poll::Pending;
            }
            let mut spare = ReadBuf::new(frames.spare());
            ready!(Pin::new(stream).poll_read(cx, &mut spare))?;
            let count = spare.filled().len();
            stats.read.add(count as u64);
            frames.fill(count)?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> WriteHalf<S> {
    /// Polls the stream by `write`, and notes whether it blocks.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let state = &mut *self.state.borrow_mut();
        let Some(stream) = &mut state.stream else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let written = write(Pin::new(stream), cx);
        if written.is_pending() {
            state.writer = Some(cx.waker().clone());
            if state.blocked.is_none() {
                state.blocked = Some(Instant::now());
                self.blocks.notify_one();
            }
        } else if state.blocked.take().is_some()
            && let Some(reader) = state.reader.take()
        {
            reader.wake();
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> futures::AsyncWrite for WriteHalf<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.poll(cx, |stream, cx| stream.poll_write(cx, bytes));
        if let Poll::Ready(Ok(count)) = written {
            self.stats.written.add(count as u64);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
