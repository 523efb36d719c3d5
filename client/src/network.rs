//! The client's end of the stream: messages that are ready together leave in one write, and the end of
//! a connection is known with its cause before anybody who waits on it runs.
//!
//! The RPC system's own writer flushes after each message. Here a flush does nothing: what was written
//! gathers in an [`Outbox`], and whoever drives the RPC system empties it after each turn
//! ([`Driver`]). A call of three pipelined requests is one write, and so is a batch.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{
    Connection, FlowController, IncomingMessage, OutgoingMessage, RpcSystem, VatNetwork,
};
use futures::{AsyncWrite, FutureExt, TryFutureExt, ready};
use tokio::sync::Notify;
use tokio::time::Sleep;

/// The most bytes that gather before the stream has to take some.
const OUTBOX_BYTES: usize = 128 * 1024;

/// How long is read from a stream that takes nothing more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Whether a connection has ended, and why.
#[derive(Default)]
pub(crate) struct End {
    cause: RefCell<Option<capnp::Error>>,
    notify: Notify,
}

/// The size in bytes of the largest message that was sent since it was last set.
pub(crate) type Largest = Rc<Cell<usize>>;

impl End {
    /// It has ended. The first cause is the one that counts.
    pub(crate) fn set(&self, cause: capnp::Error) {
        self.cause.borrow_mut().get_or_insert(cause);
        self.notify.notify_waiters();
    }

    /// Why it has ended, if it has.
    pub(crate) fn cause(&self) -> Option<capnp::Error> {
        self.cause.borrow().clone()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.cause.borrow().is_some()
    }

    /// Resolves when it has ended.
    pub(crate) async fn wait(&self) {
        // No other thread can end it between the two.
        if !self.is_set() {
            self.notify.notified().await;
        }
    }
}

/// A network that tells how its connection ended, and how large what is sent is.
pub(crate) struct Watched<N> {
    pub(crate) network: N,
    pub(crate) end: Rc<End>,
    pub(crate) largest: Largest,
}

impl<N: VatNetwork<Side>> VatNetwork<Side> for Watched<N> {
    fn connect(&mut self, host: Side) -> Option<Box<dyn Connection<Side>>> {
        let connection = self.network.connect(host)?;
        let (end, largest) = (self.end.clone(), self.largest.clone());
        Some(Box::new(WatchedConnection { connection, end, largest }))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, capnp::Error> {
        let (end, largest) = (self.end.clone(), self.largest.clone());
        Promise::from_future(self.network.accept().map_ok(|connection| {
            Box::new(WatchedConnection { connection, end, largest }) as Box<dyn Connection<Side>>
        }))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), capnp::Error> {
        self.network.drive_until_shutdown()
    }
}

struct WatchedConnection {
    connection: Box<dyn Connection<Side>>,
    end: Rc<End>,
    largest: Largest,
}

impl Connection<Side> for WatchedConnection {
    fn get_peer_vat_id(&self) -> Side {
        self.connection.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        let message = self.connection.new_outgoing_message(first_segment_words);
        Box::new(Measured { message, largest: self.largest.clone() })
    }

    fn receive_incoming_message(
        &mut self,
    ) -> Promise<Option<Box<dyn IncomingMessage>>, capnp::Error> {
        self.connection.receive_incoming_message()
    }

    fn new_stream(&mut self) -> (Box<dyn FlowController>, Promise<(), capnp::Error>) {
        self.connection.new_stream()
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        // Called in the same step in which every open call is given this error.
        if let Err(cause) = &result {
            self.end.set(cause.clone());
        }
        self.connection.shutdown(result)
    }
}

/// A message whose size is noted when it is sent.
struct Measured {
    message: Box<dyn OutgoingMessage>,
    largest: Largest,
}

impl OutgoingMessage for Measured {
    fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        self.message.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.message.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), capnp::Error>, Rc<Builder<HeapAllocator>>) {
        let bytes = self.size_in_words().saturating_mul(8);
        self.largest.set(self.largest.get().max(bytes));
        self.message.send()
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.message.take()
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}

/// Bytes on their way to a stream.
pub(crate) struct Outbox<W> {
    stream: W,
    bytes: Vec<u8>,
    /// How many of them the stream has taken.
    written: usize,
    /// Who waits for room.
    waiting: Option<Waker>,
    /// Whether the stream has refused some: then it is offered no more.
    broken: bool,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    pub(crate) fn new(stream: W) -> Rc<RefCell<Self>> {
        let outbox = Outbox { stream, bytes: Vec::new(), written: 0, waiting: None, broken: false };
        Rc::new(RefCell::new(outbox))
    }

    /// Throws away what is to be sent, now and from now on.
    fn discard(&mut self) {
        self.broken = true;
        self.clear();
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Hands everything to the stream. The stream wakes one task only: the one that polls this.
    fn poll_empty(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.bytes.len() {
            let rest = &self.bytes[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(context))?;
        Pin::new(&mut self.stream).poll_close(context)
    }
}

/// Where the RPC system writes to.
pub(crate) struct Inlet<W>(pub(crate) Rc<RefCell<Outbox<W>>>);

impl<W: AsyncWrite + Unpin> AsyncWrite for Inlet<W> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut outbox = self.0.borrow_mut();
        if outbox.broken {
            return Poll::Ready(Ok(bytes.len()));
        }
        let room = OUTBOX_BYTES - outbox.bytes.len();
        if room == 0 {
            outbox.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = bytes.len().min(room);
        outbox.bytes.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs the RPC system, and empties the outbox after each turn. Resolves, to the cause, when the system
/// has ended.
///
/// A stream that takes nothing more may still hold answers, and the reason why it was closed: they are
/// read for a while.
pub(crate) struct Driver<W> {
    system: RpcSystem<Side>,
    outbox: Rc<RefCell<Outbox<W>>>,
    /// Why the stream takes nothing more, and the end of that while.
    broken: Option<(capnp::Error, Pin<Box<Sleep>>)>,
    ended: Option<capnp::Error>,
}

impl<W: AsyncWrite + Unpin> Driver<W> {
    pub(crate) fn new(system: RpcSystem<Side>, outbox: Rc<RefCell<Outbox<W>>>) -> Self {
        Driver { system, outbox, broken: None, ended: None }
    }

    /// Empties the outbox. Resolves when the stream has been broken for a while.
    fn poll_broken(&mut self, context: &mut Context<'_>) -> Poll<capnp::Error> {
        let emptied = self.outbox.borrow_mut().poll_empty(context);
        if let Poll::Ready(Err(error)) = emptied {
            self.outbox.borrow_mut().discard();
            let cause = format!("the stream takes nothing more: {error}");
            let last_words = Box::pin(tokio::time::sleep(LAST_WORDS));
            self.broken = Some((capnp::Error::disconnected(cause), last_words));
        }
        let Some((cause, last_words)) = &mut self.broken else { return Poll::Pending };
        ready!(last_words.as_mut().poll(context));
        Poll::Ready(cause.clone())
    }

    /// Sends what is left and closes the stream.
    pub(crate) async fn close(&mut self) {
        // What is closed for good has nobody left to tell of an error.
        let _ = std::future::poll_fn(|context| self.outbox.borrow_mut().poll_close(context)).await;
    }
}

impl<W: AsyncWrite + Unpin> Future for Driver<W> {
    type Output = capnp::Error;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<capnp::Error> {
        if let Some(error) = &self.ended {
            return Poll::Ready(error.clone());
        }
        let cause = match self.system.poll_unpin(context) {
            Poll::Ready(Err(error)) => error,
            Poll::Ready(Ok(())) => capnp::Error::disconnected("the stream has ended".into()),
            Poll::Pending => ready!(self.poll_broken(context)),
        };
        self.ended = Some(cause.clone());
        Poll::Ready(cause)
    }
}
