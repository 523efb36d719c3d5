//! One connection: from the first byte to its end, and what the error of a call on it means.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use capnp::capability::{Client as Capability, FromClientHook};
use capnp::message::ReaderOptions;
use capnp::private::capability::ClientHook;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, RpcSystem, twoparty};
use futures::channel::{mpsc, oneshot};
use futures::future::{self, Either, LocalBoxFuture};
use futures::io::BufReader;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, FutureExt, StreamExt};
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::host_capnp::host as wire;
use tokio::time::Instant;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::address::Address;
use crate::dial::dial;
use crate::error::{Error, from_server, is_of_another_host, is_remote, reason};
use crate::greeting::Greeting;
use crate::handle::{self, Awaited};
use crate::host::{self, HostInfo};
use crate::limit::{Limit, max_message_bytes};
use crate::network::{Driver, End, Inlet, Largest, Outbox, Watched};
use crate::options::Options;

/// The largest answer that is read, in words of eight bytes: a listing of some million children.
const ANSWER_WORDS: usize = 64 << 20;
/// The most bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long the other end has to take what was sent last.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a server says first to who may not open its Unix socket.
const NOT_ALLOWED: &str = "neither user ";

/// How long an operation is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Each operation for as long.
    Each(Option<Duration>),
    /// What is left of the time that one operation began with.
    Until(Instant, Duration),
}

impl Patience {
    /// The patience of all parts of one operation that begins now.
    pub(crate) fn begin(self) -> Self {
        match self {
            Patience::Each(Some(limit)) => match Instant::now().checked_add(limit) {
                Some(end) => Patience::Until(end, limit),
                None => Patience::Each(None),
            },
            other => other,
        }
    }

    /// Half of what is left of the time, if there is an end to it.
    pub(crate) fn half(self) -> Self {
        match self.begin() {
            Patience::Until(end, limit) => {
                Patience::Until(end - end.saturating_duration_since(Instant::now()) / 2, limit)
            }
            other => other,
        }
    }

    /// The output of `future`, if it comes in time.
    pub(crate) async fn wait<T>(self, future: impl Future<Output = T>) -> Result<T, Error> {
        match self.begin() {
            Patience::Until(end, after) => {
                tokio::time::timeout_at(end, future).await.map_err(|_| Error::TimedOut { after })
            }
            Patience::Each(_) => Ok(future.await),
        }
    }
}

/// Whether an operation changes a cell or a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing, or nothing that outlives its answer.
    Read,
    /// It does: that it was sent and not answered leaves open whether it was done.
    Write,
}

/// An open connection, or one that has ended. It is closed with the last clone, which every handle has
/// one of.
#[derive(Clone)]
pub(crate) struct Connection(Rc<Inner>);

struct Inner {
    host: wire::Client,
    cluster: OnceCell<(Awaited, anchor::Client)>,
    in_flight: usize,
    end: Rc<End>,
    largest: Largest,
    /// What the task of the connection runs beside it.
    driven: mpsc::UnboundedSender<LocalBoxFuture<'static, ()>>,
    /// What the server has said of itself, if it gives this client the host.
    info: OnceCell<HostInfo>,
    /// Whether something was changed over it.
    has_written: Cell<bool>,
    /// Dropped, it has the connection closed.
    closer: RefCell<Option<oneshot::Sender<()>>>,
}

impl Connection {
    /// Connects to `address`, and waits until the server there has answered.
    /// `exports` is the bootstrap capability of this end.
    pub(crate) async fn open(
        address: &Address,
        options: &Options,
        exports: Option<Capability>,
    ) -> Result<Self, Error> {
        let patience = Patience::Each(Some(options.connect_timeout)).begin();
        let connect_error = |error| {
            let error = Arc::new(error);
            Error::Connect { address: address.clone(), error }
        };
        let dialled = patience.wait(dial(address, options.identity.as_ref())).await?;
        let stream = dialled.map_err(connect_error)?;
        let greeting = Greeting::default();
        let stream = stream.telling_breaks().compat();
        let connection = Connection::over(stream, &greeting, options.in_flight, exports);
        let info = host::info(connection.host());
        match connection.call(Effect::Read, patience, false, info).await {
            Ok(info) => {
                connection.0.info.get_or_init(|| info);
                Ok(connection)
            }
            // A client that was granted an anchor has no host to ask.
            Err(Error::Unimplemented { .. }) => Ok(connection),
            Err(error) => {
                let shown =
                    options.identity.as_ref().filter(|_| matches!(address, Address::Tls(_)));
                let kept_out = shown.and_then(|shown| greeting.kept_out(shown.fingerprint()));
                let kept_out = kept_out.map(connect_error);
                let not_allowed = || connection.not_allowed().map(connect_error);
                Err(connection.turned_away().or_else(not_allowed).or(kept_out).unwrap_or(error))
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test(stream: tokio::io::DuplexStream) -> Self {
        Connection::over(stream.compat(), &Greeting::default(), 1, None)
    }

    /// The RPC of one stream, in a task of its own.
    fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        greeting: &Greeting,
        in_flight: usize,
        exports: Option<Capability>,
    ) -> Self {
        let (reader, writer) = stream.split();
        let reader = greeting.listen(reader);
        let outbox = Outbox::new(writer);
        let end = Rc::new(End::default());
        let mut reading = ReaderOptions::new();
        reading.traversal_limit_in_words(Some(ANSWER_WORDS));
        let network = twoparty::VatNetwork::new(
            BufReader::with_capacity(READ_BYTES, reader),
            Inlet(outbox.clone()),
            Side::Client,
            reading,
        );
        let largest = Largest::default();
        let network = Watched { network, end: end.clone(), largest: largest.clone() };
        let mut system = RpcSystem::new(Box::new(network), exports);
        let host = system.bootstrap(Side::Server);
        let disconnector = system.get_disconnector();
        let (closer, closing) = oneshot::channel();
        let driver = Driver::new(system, outbox);
        let (driven, beside) = mpsc::unbounded();
        tokio::task::spawn_local(drive(driver, beside, disconnector, closing, end.clone()));
        Connection(Rc::new(Inner {
            host,
            cluster: OnceCell::new(),
            in_flight,
            end,
            largest,
            driven,
            info: OnceCell::new(),
            has_written: Cell::new(false),
            closer: RefCell::new(Some(closer)),
        }))
    }

    pub(crate) fn host(&self) -> &wire::Client {
        &self.0.host
    }

    /// The host's own anchor, or what this client was granted of it.
    pub(crate) fn bootstrap(&self) -> anchor::Client {
        anchor::Client::new(self.0.host.client.hook.clone())
    }

    /// The anchor whose children are the hosts. It is asked for once.
    pub(crate) fn cluster(&self) -> anchor::Client {
        let ask = || {
            let pipeline = self.0.host.root_request().send().pipeline;
            let root = pipeline.get_root();
            let answer = Awaited::new(pipeline);
            self.drive(answer.settled(root.client.hook.as_ref()));
            (answer, root)
        };
        self.0.cluster.get_or_init(ask).1.clone()
    }

    /// Has the connection's task run `future`, for as long as the connection lasts.
    pub(crate) fn drive(&self, future: impl Future<Output = ()> + 'static) {
        // An error means that the connection has ended.
        let _ = self.0.driven.unbounded_send(future.boxed_local());
    }

    /// How many operations of a batch are in flight at a time.
    pub(crate) fn in_flight(&self) -> usize {
        self.0.in_flight
    }

    /// What the server said of itself when the connection was made.
    pub(crate) fn info(&self) -> Option<&HostInfo> {
        self.0.info.get()
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, other: &Connection) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Whether anybody else has it.
    pub(crate) fn is_held(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    /// Whether something was changed over it, which may be bound to it.
    pub(crate) fn has_written(&self) -> bool {
        self.0.has_written.get()
    }

    /// Whether a capability came over it.
    pub(crate) fn gave(&self, capability: &dyn ClientHook) -> bool {
        handle::origin(capability).0 == handle::origin(self.0.host.client.hook.as_ref()).0
    }

    /// Ends it, whoever has it, for this reason.
    pub(crate) fn close(&self, reason: &str) {
        self.0.end.set(capnp::Error::disconnected(reason.to_owned()));
        self.0.closer.take();
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.0.end.is_set()
    }

    /// Resolves when the connection has ended.
    pub(crate) async fn ended(&self) {
        self.0.end.wait().await;
    }

    /// # Errors
    /// [`Error::Disconnected`]: whatever is sent now is not.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match self.0.end.cause() {
            Some(cause) => Err(Error::Disconnected { reason: reason(&cause) }),
            None => Ok(()),
        }
    }

    /// Waits for the answer to a call that `answer` sends when it is first polled. `foreign`: perhaps
    /// it is not the server who was asked, but another client, who may have done it before its answer was
    /// lost, or too large, between the two.
    pub(crate) async fn call<T>(
        &self,
        effect: Effect,
        patience: Patience,
        foreign: bool,
        answer: impl Future<Output = capnp::Result<T>>,
    ) -> Result<T, Error> {
        self.check_open()?;
        if effect == Effect::Write {
            self.0.has_written.set(true);
        }
        let sent = Cell::new(0);
        let cause = match patience.wait(self.measured(answer, &sent)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => match self.cut(&error) {
                Some(cause) => match self.too_large(sent.get()) {
                    Some(refused) => return Err(refused),
                    None => cause,
                },
                None if !is_remote(&error) => Error::Protocol { message: reason(&error) },
                None if foreign => match from_server(&error) {
                    // Whoever says so has not done it.
                    refused @ (Error::Closed { .. }
                    | Error::NoReceivers { .. }
                    | Error::NotStarted { .. }
                    | Error::Ended { .. }) => {
                        return Err(refused);
                    }
                    other => other,
                },
                None => match from_server(&error) {
                    // It may have done it before it went.
                    gone @ Error::HostGone { .. } if is_of_another_host(&gone) => gone,
                    other => return Err(other),
                },
            },
            Err(timed_out) => timed_out,
        };
        match effect {
            Effect::Read => Err(cause),
            Effect::Write => Err(Error::UnknownOutcome { cause: Box::new(cause) }),
        }
    }

    /// The output of `answer`, which sends what it does when it is first polled: the size of the largest message
    /// of that comes to `sent`.
    async fn measured<T>(&self, answer: impl Future<Output = T>, sent: &Cell<usize>) -> T {
        let (mut answer, mut is_first) = (pin!(answer), true);
        poll_fn(|context| {
            if std::mem::take(&mut is_first) {
                self.0.largest.set(0);
                let polled = answer.as_mut().poll(context);
                sent.set(self.0.largest.get());
                return polled;
            }
            answer.as_mut().poll(context)
        })
        .await
    }

    /// That a message of `bytes` is larger than the server takes, if it ended the connection for one that is. It
    /// has not read this one then, whichever of several was the first.
    fn too_large(&self, bytes: usize) -> Option<Error> {
        let message = reason(&self.last_words()?);
        let limit = max_message_bytes(&message)?;
        (bytes > limit).then_some(Error::Limit { limit: Limit::MessageBytes, message })
    }

    /// How the connection ended, if `error` is not the answer to a call but what every call that was
    /// open then ended with.
    fn cut(&self, error: &capnp::Error) -> Option<Error> {
        let cause = self.0.end.cause()?;
        let same = (cause.kind, &cause.extra) == (error.kind, &error.extra);
        (same || !is_remote(error)).then(|| match cause.kind {
            _ if is_remote(&cause) => Error::Disconnected { reason: reason(&cause) },
            capnp::ErrorKind::Disconnected | capnp::ErrorKind::PrematureEndOfFile => {
                Error::Disconnected { reason: reason(&cause) }
            }
            // Only what reads the stream makes other errors at this end.
            _ => Error::Protocol { message: reason(&cause) },
        })
    }

    /// The limit that the server named when it ended a connection that had only just begun.
    fn turned_away(&self) -> Option<Error> {
        let limit = from_server(&self.last_words()?);
        matches!(limit, Error::Limit { .. }).then_some(limit)
    }

    /// That the server does not let in the user of this process, if it said so.
    fn not_allowed(&self) -> Option<io::Error> {
        let words = reason(&self.last_words()?);
        let is_that = words.starts_with(NOT_ALLOWED);
        is_that.then(|| io::Error::new(io::ErrorKind::PermissionDenied, words))
    }

    /// What the server said when it ended the connection.
    fn last_words(&self) -> Option<capnp::Error> {
        self.0.end.cause().filter(is_remote)
    }
}

/// Runs a connection to its end, and what comes by `beside` with it. When `closing` resolves, says
/// goodbye.
async fn drive<W: AsyncWrite + Unpin>(
    mut driver: Driver<W>,
    beside: mpsc::UnboundedReceiver<LocalBoxFuture<'static, ()>>,
    disconnector: Disconnector<Side>,
    closing: oneshot::Receiver<()>,
    end: Rc<End>,
) {
    {
        // Polled after the driver, which is what makes it go on.
        let mut beside = pin!(beside.for_each_concurrent(None, |future| future).fuse());
        let mut running = poll_fn(|context| {
            let cause = driver.poll_unpin(context);
            let _ = beside.as_mut().poll(context);
            cause
        });
        if let Either::Left((cause, _)) = future::select(&mut running, closing).await {
            end.set(cause);
        }
    }
    // Every call that is still open ends with the first poll of the disconnector, whatever the state of
    // the stream.
    let goodbye = async {
        future::select(disconnector, &mut driver).await;
        driver.close().await;
    };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}
