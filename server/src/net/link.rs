//! The RPC system's view of a stream: a network with two parties, of which we are the server.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions};
use capnp::{Error, any_pointer};
use capnp_rpc::rpc_capnp::{exception, message};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, IncomingMessage, OutgoingMessage, VatNetwork};
use futures::channel::oneshot;
use killick_client::internal::gone;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Calls, Gate, MAKING_LIMIT, Received, Segments, SharedSegments, Stream, Streams, gate};
use crate::stats::{Limit, Stats};

/// The most words that are allocated for a message before it is known how many it takes: the RPC
/// system asks for a kilobyte and more for a call, which most do not use.
const FIRST_SEGMENT_WORDS: u32 = 64;

/// The message that tells a client that there is nothing for it, at the moment, and why.
pub(crate) fn abort(reason: &str) -> Vec<u8> {
    last(reason, exception::Type::Overloaded)
}

/// The message that tells a client that it may not be here, and why.
pub(crate) fn refusal(reason: &str) -> Vec<u8> {
    last(reason, exception::Type::Failed)
}

/// The message that tells a client why its connection ends.
pub(crate) fn farewell(reason: &str) -> Vec<u8> {
    last(reason, exception::Type::Disconnected)
}

fn last(reason: &str, kind: exception::Type) -> Vec<u8> {
    let mut message = Builder::new_default();
    let mut abort = message.init_root::<message::Builder<'_>>().init_abort();
    abort.set_reason(reason);
    abort.set_type(kind);
    capnp::serialize::write_message_to_words(&message)
}

/// The network of one connection: its link to the client, until the RPC system takes it, and the future
/// that writes.
pub(crate) struct Network<S> {
    link: Option<Link<S>>,
    /// Whether it is the server that asks for the other side's bootstrap capability, first of all.
    asks: bool,
    writes: Option<Promise<(), Error>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Network<S> {
    /// The network over `streams`, and the gate before them. Messages may have `max_words` words, and
    /// `max_output` bytes may wait to be written; calls
    /// are counted in `calls`, bytes in `stats`. `ends` is told of the end of what is read, before the RPC
    /// system learns of it.
    pub(crate) fn new(
        streams: Streams<S>,
        (max_words, max_output): (usize, usize),
        calls: Rc<Calls>,
        stats: Arc<Stats>,
        ends: impl Fn() + 'static,
    ) -> (Gate<S>, Self) {
        let (gate, stream) = gate(streams, max_words, max_output, stats);
        let (ended, end) = oneshot::channel();
        let shutdown = Shutdown::default();
        let writes =
            Promise::from_future(write(stream.clone(), calls.clone(), shutdown.clone(), end));
        let link = Link { stream, max_words, calls, shutdown, ends: Rc::new(ends), _ended: ended };
        (gate, Network { link: Some(link), asks: false, writes: Some(writes) })
    }

    /// The same, for a server that asks for the other side's bootstrap capability, first of all.
    pub(crate) fn asking(self) -> Self {
        Network { asks: true, ..self }
    }
}

/// Where the link tells what writes that nothing more will come.
type Shutdown = Rc<RefCell<Asked>>;

#[derive(Default)]
enum Asked {
    #[default]
    No,
    /// What for, and who is to be told when everything is written.
    Yes(Result<(), Error>, oneshot::Sender<()>),
    /// Nothing is written any more.
    Over,
}

/// Writes what is sent until the RPC system shuts it down, or it fails. Resolves after the link has been
/// dropped too.
async fn write<S: AsyncWrite + Unpin>(
    stream: Stream<S>,
    calls: Rc<Calls>,
    shutdown: Shutdown,
    link_ended: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let writing = async {
        loop {
            let asked = poll_fn(|cx| match shutdown.take() {
                Asked::Yes(result, done) => Poll::Ready(Some((result, done))),
                Asked::No | Asked::Over => stream.poll_output(cx).map(|()| None),
            });
            let asked = asked.await;
            // What else can be done of what was read comes first, and goes with this.
            let (mut rounds, mut turns) = (0, 0);
            while rounds < COLLECT_ROUNDS && (calls.may_write_more() || stream.has_message()) {
                tokio::task::yield_now().await;
                match stream.has_message() && turns < COLLECT_TURNS {
                    true => turns += 1,
                    false => rounds += 1,
                }
            }
            poll_fn(|cx| stream.poll_flush(cx)).await?;
            calls.written();
            if let Some((result, done)) = asked {
                // An error means that nobody waits for it.
                let _ = done.send(());
                return result;
            }
        }
    };
    let written = writing.await;
    // Whoever asked and was not heard is told by the end of the channel.
    shutdown.replace(Asked::Over);
    // An error: the link is dropped, which is what is waited for.
    let _ = link_ended.await;
    written
}

/// How often others run before a message is written: once to make the calls that were read, once more
/// for answers that come a step later.
const COLLECT_ROUNDS: usize = 2;
/// How many more turns of the connection a message waits for at most, while it has more to do.
const COLLECT_TURNS: usize = 16;

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> VatNetwork<Side> for Network<S> {
    fn connect(&mut self, _: Side) -> Option<Box<dyn Connection<Side>>> {
        let link = self.link.take_if(|_| self.asks);
        link.map(|link| Box::new(link) as Box<dyn Connection<Side>>)
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        match self.link.take_if(|_| !self.asks) {
            Some(link) => Promise::ok(Box::new(link)),
            None => Promise::from_future(std::future::pending()),
        }
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        // Asked for once, when the RPC system is made.
        self.writes.take().unwrap_or_else(|| Promise::from_future(std::future::pending()))
    }
}

/// The connection to the client.
struct Link<S> {
    stream: Stream<S>,
    max_words: usize,
    calls: Rc<Calls>,
    shutdown: Shutdown,
    ends: Rc<dyn Fn()>,
    /// Dropped with the link.
    _ended: oneshot::Sender<()>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Connection<Side> for Link<S> {
    fn get_peer_vat_id(&self) -> Side {
        Side::Client
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        let words = match first_segment_words {
            0 => FIRST_SEGMENT_WORDS,
            words => words.min(FIRST_SEGMENT_WORDS),
        };
        let message = Builder::new(HeapAllocator::new().first_segment_words(words));
        let making = Making::new(&self.stream.0.stats);
        Box::new(Outgoing {
            message,
            stream: self.stream.clone(),
            calls: self.calls.clone(),
            making,
        })
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        let (stream, calls, words) = (self.stream.clone(), self.calls.clone(), self.max_words);
        let ends = self.ends.clone();
        Promise::from_future(async move {
            let received = receive(&stream, &calls, words, &*ends).await;
            if !matches!(received, Ok(Some(_))) {
                ends();
            }
            received
        })
    }

    fn shutdown(&mut self, result: Result<(), Error>) -> Promise<(), Error> {
        (self.ends)();
        self.calls.ended(&result);
        let (done, written) = oneshot::channel();
        let mut asked = self.shutdown.borrow_mut();
        if !matches!(*asked, Asked::Over) {
            *asked = Asked::Yes(result, done);
        }
        drop(asked);
        self.stream.send(|_, _| ());
        Promise::from_future(async move {
            let failed = |_| Error::disconnected("the stream has ended".into());
            written.await.map_err(failed)
        })
    }
}

/// The next message; none at the end of the stream.
async fn receive<S: AsyncRead + Unpin>(
    stream: &Stream<S>,
    calls: &Calls,
    max_words: usize,
    ends: &dyn Fn(),
) -> Result<Option<Box<dyn IncomingMessage>>, Error> {
    calls.room().await;
    let read = poll_fn(|cx| stream.poll_message(cx)).await;
    if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::QuotaExceeded) {
        calls.ends_for(Limit::MessageBytes);
    }
    let Some(segments) = read.map_err(gone)? else {
        return Ok(None);
    };
    let (message, others) = take(segments, stream, calls, max_words, ends)?;
    if !others.is_empty() {
        // In a box, as it is rare: a client that is waited for takes no room for it.
        Box::pin(calls.answered(&others)).await;
    }
    Ok(Some(message))
}

/// A message for the RPC system, and the calls that have to be answered before.
fn take<S>(
    segments: Segments,
    stream: &Stream<S>,
    calls: &Calls,
    max_words: usize,
    ends: &dyn Fn(),
) -> Result<(Box<dyn IncomingMessage>, Vec<u32>), Error> {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(max_words));
    let bytes = segments.bytes();
    let message = Incoming(Reader::new(segments, options));
    let received = match message.get_body() {
        Ok(body) => {
            stream.received(body);
            calls.received(body, bytes)?
        }
        // What is malformed is left to the RPC system.
        Err(_) => Received::Other,
    };
    Ok(match received {
        Received::Answer => (Box::new(Answer::new(message.0.into_segments(), options)), Vec::new()),
        Received::Instead(instead) => (Box::new(Instead(instead)), Vec::new()),
        Received::Abort => {
            ends();
            (Box::new(message), Vec::new())
        }
        Received::After(others) => (Box::new(message), others),
        Received::Other => (Box::new(message), Vec::new()),
    })
}

struct Incoming(Reader<Segments>);

impl IncomingMessage for Incoming {
    fn get_body(&self) -> Result<any_pointer::Reader<'_>, Error> {
        self.0.get_root()
    }
}

/// An answer to what the server has asked, which the RPC system looks at twice: when it comes, and when
/// its results are asked for. How much may be read of it begins anew then: the RPC system panics if the
/// second fails where the first did not.
struct Answer {
    at_first: Reader<SharedSegments>,
    then: Reader<SharedSegments>,
    has_come: Cell<bool>,
}

impl Answer {
    fn new(segments: Segments, options: ReaderOptions) -> Self {
        let segments = SharedSegments(Rc::new(segments));
        let at_first = Reader::new(segments.clone(), options);
        Answer { at_first, then: Reader::new(segments, options), has_come: Cell::new(false) }
    }
}

impl IncomingMessage for Answer {
    fn get_body(&self) -> Result<any_pointer::Reader<'_>, Error> {
        if self.has_come.replace(true) { self.then.get_root() } else { self.at_first.get_root() }
    }
}

/// What a message that came in is taken for.
struct Instead(Builder<HeapAllocator>);

impl IncomingMessage for Instead {
    fn get_body(&self) -> Result<any_pointer::Reader<'_>, Error> {
        self.0.get_root_as_reader()
    }
}

fn is_abort(message: &Builder<HeapAllocator>) -> bool {
    let root = message.get_root_as_reader::<message::Reader<'_>>();
    root.is_ok_and(|root| matches!(root.which(), Ok(message::Abort(_))))
}

/// A message that is being made.
struct Outgoing<S> {
    message: Builder<HeapAllocator>,
    stream: Stream<S>,
    calls: Rc<Calls>,
    making: Making,
}

/// Counts a message that is being made.
struct Making(Arc<Stats>);

impl Making {
    fn new(stats: &Arc<Stats>) -> Self {
        stats.making.add(1);
        Making(stats.clone())
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let making = self.0.making.get();
        self.0.making.set(making - 1);
        if making == MAKING_LIMIT {
            self.0.drained.notify_one();
        }
    }
}

impl<S: 'static> OutgoingMessage for Outgoing<S> {
    fn get_body(&mut self) -> Result<any_pointer::Builder<'_>, Error> {
        self.message.get_root()
    }

    fn get_body_as_reader(&self) -> Result<any_pointer::Reader<'_>, Error> {
        self.message.get_root_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), Error>, Rc<Builder<HeapAllocator>>) {
        let Outgoing { message, stream, calls, making } = *self;
        if let Ok(body) = message.get_root_as_reader() {
            calls.sent(body, message.size_in_words().saturating_mul(8));
        }
        // The RPC system's own last words would tell of its insides.
        match stream.last_words(|| is_abort(&message)) {
            Some(words) => stream.send(|output, _| output.extend(words)),
            None => stream.send(|output, lane| match lane {
                Some(lane) => lane.send(output, &message),
                None => {
                    // A vector takes whatever is written.
                    let _: Result<(), Error> = capnp::serialize::write_message(output, &message);
                }
            }),
        }
        drop(making);
        (Promise::ok(()), Rc::new(message))
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.message
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}
