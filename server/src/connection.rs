//! One connection from its first byte to its last: the RPC system over its stream, and its end.
//!
//! The RPC system is never dropped while it is at work: that would leak what it holds. It ends when
//! its stream does, and what ends the stream is the client, a time limit, or the server's stop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capnp::{Error, ErrorKind};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, RpcSystem};
use futures::FutureExt;
use futures::future::{Either, LocalBoxFuture, select};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::access::{Admitted, Child, Who};
use crate::cap::{Cap, Own};
use crate::config::Config;
use crate::net::{self, Streams};
use crate::process;
use crate::session::Session;
use crate::stats::Limit;
use crate::worker::Worker;

/// How a connection ended, if not by its client closing it.
enum End {
    /// The client closed it, or the server stopped.
    Orderly,
    /// What came over it was not the protocol, or it broke in the middle.
    Broken(Error),
    /// More bytes wait for the client than may.
    Overflowed,
    /// The client did not read what was written to it.
    Stalled,
    /// This limit of calls stayed unanswered.
    Stuck(Limit),
    /// A message began to come and did not end.
    Trickled,
    /// Nothing came for long.
    Idle,
    /// The client may not have any more what it was given.
    Revoked,
    /// The process whose connection it was has ended, and something that it left behind has not.
    Outlived,
    /// The host at its other end has made another.
    Replaced,
    /// The RPC system failed inside.
    Panicked,
}

/// The bootstrap capability: the host, or an anchor and nothing else.
fn bootstrap(session: &Rc<Session>, client: &Admitted) -> Result<Client, Error> {
    if let Some(child) = &client.child {
        session.belongs_to(&child.process);
        return session.client(&Cap::Own(child.anchor.clone()));
    }
    if let Who::Host(host, _) = client.who {
        return session.client(&Cap::Own(Own::Peer(host)));
    }
    let key = match client.who {
        Who::Key(key) => Some(key),
        _ => None,
    };
    let given = session.granted(key, &client.grant)?;
    session.client(&Cap::Own(given.map_or(Own::Host, Own::Anchor)))
}

/// Serves one connection over `streams` until it ends or the server stops. It has begun when this returns. What is
/// waited for at the end, or seldom, is in boxes, and what begins it is no part of the future: a connection that is
/// idle takes no room for it.
pub(crate) fn run<'a, S>(
    streams: Streams<S>,
    client: &'a Admitted,
    worker: &Rc<Worker>,
    stop: &'a mut watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let peer = &client.peer;
    let session = Session::open(worker, peer, client.who);
    debug!(connection = session.id(), peer, thread = worker.number(), "connection opened");
    // Whatever happens, what the connection holds is let go of.
    let served = AssertUnwindSafe(begin_to_serve(streams, client, &session, stop));
    let mut served = served.catch_unwind();
    async move {
        // What the client hosts works no more as soon as the end begins, and writes what is left: it
        // is no value any more then.
        let end = match select(&mut served, pin!(session.disowned())).await {
            Either::Left((end, disowned)) => {
                if session.is_ending() {
                    disowned.await;
                }
                end
            }
            Either::Right(((), served)) => served.await,
        };
        let end = end.unwrap_or(End::Panicked);
        Box::pin(session.close()).await;
        if let Who::Host(host, _) = client.who {
            session.shared().hosts.router.gone(host, session.id());
        }
        tell(&session, &client.peer, &end);
    }
}

/// Gives the client its bootstrap capability and runs its RPC system, or says why there is none.
fn begin_to_serve<'a, S>(
    streams: Streams<S>,
    client: &'a Admitted,
    session: &Rc<Session>,
    stop: &'a mut watch::Receiver<bool>,
) -> LocalBoxFuture<'a, End>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    match bootstrap(session, client) {
        Ok(root) => {
            let begin = || begin(streams, root, client, session);
            match catch_unwind(AssertUnwindSafe(begin)) {
                Ok(begun) => Box::pin(drive(begun, client, session.clone(), stop)),
                Err(_) => Box::pin(async { End::Panicked }),
            }
        }
        Err(error) => {
            let limit = session.config().drain_timeout;
            Box::pin(async move {
                let _ = timeout(limit, abort(streams.main, &error)).await;
                End::Broken(error)
            })
        }
    }
}

/// Notes that a connection has ended, and how.
fn tell(session: &Session, peer: &str, end: &End) {
    let (connection, stats) = (session.id(), session.stats());
    let (calls, age) = (stats.calls.get(), stats.opened.elapsed());
    if let Some(limit) = end.limit() {
        session.hit(limit);
    }
    match end.reason(session.config()) {
        None => debug!(connection, peer, calls, ?age, "connection ended"),
        // It can do so as often as it likes.
        Some(reason) if matches!(end, End::Replaced) => {
            debug!(connection, peer, calls, ?age, %reason, "connection closed");
        }
        Some(reason) => warn!(connection, peer, calls, ?age, %reason, "connection closed"),
    }
}

impl End {
    /// The end of a stream that fails.
    fn of(failing: net::Failing) -> Self {
        match failing {
            net::Failing::Overflowed => End::Overflowed,
            net::Failing::Stalled => End::Stalled,
            net::Failing::Trickled => End::Trickled,
            net::Failing::Idle => End::Idle,
        }
    }

    /// The limit that ended the connection, if one has.
    fn limit(&self) -> Option<Limit> {
        match self {
            End::Stalled => Some(Limit::WriteTimeout),
            End::Stuck(limit) => Some(*limit),
            End::Overflowed => Some(Limit::CallBytes),
            End::Trickled => Some(Limit::ReadTimeout),
            End::Idle => Some(Limit::IdleTimeout),
            End::Broken(_)
            | End::Orderly
            | End::Revoked
            | End::Outlived
            | End::Replaced
            | End::Panicked => None,
        }
    }

    /// Why the connection had to be closed, if it did not end in order, with the limit's name if one was met.
    fn reason(&self, config: &Config) -> Option<String> {
        let name = self.limit().map(|limit| limit.to_string()).unwrap_or_default();
        let words = match self {
            End::Orderly => return None,
            End::Broken(error) => reason(error),
            End::Overflowed => {
                let limit = max_output(config);
                format!("answers would exceed their limit of {limit} bytes that wait to be written")
            }
            End::Stalled => format!("read nothing for {:?}", config.write_timeout),
            End::Stuck(Limit::Chain) => {
                let (calls, time) = (net::MAX_CHAIN, config.write_timeout);
                format!("{calls} calls that wait one for the other stayed unanswered for {time:?}")
            }
            End::Stuck(_) => {
                let Config { max_calls, max_call_bytes, write_timeout, .. } = config;
                format!(
                    "its limit of {max_calls} calls, or of {max_call_bytes} bytes of them, stayed \
                     unanswered for {write_timeout:?}"
                )
            }
            End::Trickled => {
                format!("the rest of a message did not come for {:?}", config.read_timeout)
            }
            End::Idle => {
                format!("sent nothing for {:?}", config.idle_timeout.unwrap_or_default())
            }
            End::Outlived => "its process has ended".into(),
            End::Revoked => "its access was revoked".into(),
            End::Replaced => "another connection of this host has taken its place".into(),
            End::Panicked => "internal error".into(),
        };
        Some(words + &name)
    }

    /// The message that tells the client why its connection ends: if for nothing of its own, as the server
    /// stops.
    fn farewell(&self, config: &Config) -> Vec<u8> {
        net::farewell(self.reason(config).as_deref().unwrap_or("the server is stopping"))
    }
}

/// Tells a client in the protocol's own words why there is nothing for it.
async fn abort<S: AsyncWrite + Unpin>(mut stream: S, error: &Error) -> std::io::Result<()> {
    stream.write_all(&net::abort(&reason(error))).await?;
    stream.shutdown().await
}

/// What an error says, without the kind that the protocol gives it if it says more than that. It may be the
/// client that says it: in one line, and not a long one.
fn reason(error: &Error) -> String {
    const LONGEST: usize = 300;
    let told = match error.extra.is_empty() {
        true => error.to_string(),
        false => error.extra.clone(),
    };
    let end = told.floor_char_boundary(LONGEST);
    let more = if end < told.len() { "…" } else { "" };
    let shown = told[..end].chars().map(|c| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    });
    shown.collect::<String>() + more
}

/// The most bytes that may wait to be written.
fn max_output(config: &Config) -> usize {
    config.max_call_bytes.saturating_mul(net::HELD)
}

/// How long the RPC system may take to end after its stream has.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The RPC system of one connection as it begins to run.
type Begun<S> = (net::Gate<S>, Rc<net::Calls>, JoinHandle<Result<(), Error>>, Disconnector<Side>);

/// Begins the RPC system of one connection: what watches over it, and what ends it.
fn begin<S>(streams: Streams<S>, root: Client, client: &Admitted, session: &Rc<Session>) -> Begun<S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let words = session.config().message_words();
    let amount =
        net::Amount { calls: session.config().max_calls, bytes: session.config().max_call_bytes };
    let meeting = session.clone();
    let calls = net::Calls::new(amount, move |limit| meeting.hit(limit));
    let (stats, ending) = (session.stats().clone(), session.clone());
    let bounds = (words, max_output(session.config()));
    let (gate, network) =
        net::Network::new(streams, bounds, calls.clone(), stats, move || ending.ends());
    let asking = matches!(client.who, Who::Child | Who::Host(..));
    let network = if asking { network.asking() } else { network };
    let mut rpc = RpcSystem::new(Box::new(network), Some(root));
    if let Some(child) = &client.child {
        process::ask(&child.process, rpc.bootstrap(Side::Client), session);
    }
    if let Who::Host(host, generation) = client.who {
        let peer: Client = rpc.bootstrap(Side::Client);
        session.tells(FromClientHook::new(peer.hook.add_ref()));
        let peer = session.worker().home().keep_as_is(session, session.origin(), peer.hook);
        session.shared().hosts.router.connected(host, generation, peer);
    }
    let disconnector = rpc.get_disconnector();
    (gate, calls, tokio::task::spawn_local(rpc), disconnector)
}

/// Runs the RPC system of one connection, which has begun, to its end.
#[allow(clippy::manual_async_fn, reason = "that has each of its arguments twice")]
fn drive<'a, S>(
    (gate, calls, mut rpc, disconnector): Begun<S>,
    client: &'a Admitted,
    session: Rc<Session>,
    stop: &'a mut watch::Receiver<bool>,
) -> impl Future<Output = End> + use<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    async move {
        let (session, config) = (&*session, session.config());
        if *stop.borrow() {
            // What has not begun could not be told that it ends.
            tokio::task::yield_now().await;
        }
        let end = tokio::select! {
            ended = &mut rpc => ended_by_itself(ended, calls.cause()),
            failing = gate.fails(config) => {
                let end = End::of(failing);
                if let End::Idle = end {
                    let system = (rpc, disconnector);
                    return Box::pin(say_good_bye(session, &gate, &calls, system, end)).await;
                }
                Box::pin(cut_off(config, &gate, &calls, rpc, end)).await
            }
            failure = calls.fail(config.write_timeout) => {
                let end = match failure {
                    net::Failure::Stuck(limit) => End::Stuck(limit),
                    net::Failure::Over => End::Broken(calls.too_many_bytes()),
                };
                Box::pin(cut_off(config, &gate, &calls, rpc, end)).await
            }
            end = taken_back(client, session) => {
                Box::pin(cut_off(config, &gate, &calls, rpc, end)).await
            }
            _ = stop.wait_for(|stopped| *stopped) => {
                let _ = Box::pin(timeout(config.drain_timeout, session.drained())).await;
                let (system, end) = ((rpc, disconnector), End::Orderly);
                return Box::pin(say_good_bye(session, &gate, &calls, system, end)).await;
            }
        };
        // The system may have ended without letting go: after a failed write, and after a panic.
        let _ = Box::pin(timeout(END_TIMEOUT, disconnector)).await;
        end
    }
}

/// Resolves when the client is not to have any more what it was given: why.
fn taken_back<'a>(
    client: &'a Admitted,
    session: &'a Session,
) -> impl Future<Output = End> + use<'a> {
    let mut changes = session.shared().changes();
    async move {
        if let Some(child) = &client.child {
            Box::pin(outlived(child)).await;
            return End::Outlived;
        }
        if let Who::Host(host, _) = client.who {
            let kept = &session.shared().hosts.router.kept;
            Box::pin(kept.replaced(host, session.id())).await;
            return End::Replaced;
        }
        while !client.is_revoked(session.shared()) {
            // The sender is a part of what is shared.
            let _ = changes.changed().await;
        }
        End::Revoked
    }
}

/// Resolves when the process whose connection this is has ended, and there was time to read what it had
/// written. What it left behind may have the connection open still.
async fn outlived(child: &Child) {
    child.process.ended().await;
    tokio::time::sleep(OUTLIVED).await;
}

/// How long a connection lasts at most after its process.
const OUTLIVED: Duration = Duration::from_millis(500);

/// What it means that the RPC system has ended, and disconnected for `cause`. It does not end with
/// that if the client, told of it, has gone.
fn ended_by_itself(ended: Result<Result<(), Error>, JoinError>, cause: Option<Error>) -> End {
    match ended.map(|ended| cause.map_or(ended, Err)) {
        Ok(Ok(())) => End::Orderly,
        Ok(Err(error)) if error.kind == ErrorKind::Disconnected => End::Orderly,
        Ok(Err(error)) => End::Broken(error),
        Err(_) => End::Panicked,
    }
}

/// Ends a connection at once, for `end`: the client is told if that takes no time.
async fn cut_off<S: AsyncWrite + Unpin>(
    config: &Config,
    gate: &net::Gate<S>,
    calls: &net::Calls,
    rpc: JoinHandle<Result<(), Error>>,
    end: End,
) -> End {
    gate.close_with(&end.farewell(config));
    calls.lift();
    let _ = timeout(END_TIMEOUT, rpc).await;
    end
}

/// Ends a connection from our side, for `end`: the client is told, and what was written to it gets some time
/// to be read.
async fn say_good_bye<S>(
    session: &Session,
    gate: &net::Gate<S>,
    calls: &net::Calls,
    (mut rpc, disconnector): (JoinHandle<Result<(), Error>>, Disconnector<Side>),
    end: End,
) -> End {
    gate.mute(end.farewell(session.config()));
    let flushed = async {
        session.ends();
        let _ = disconnector.await;
        (&mut rpc).await
    };
    let ended = match timeout(session.config().drain_timeout, flushed).await {
        Ok(ended) => Some(ended),
        Err(_) => {
            gate.close();
            calls.lift();
            timeout(END_TIMEOUT, rpc).await.ok()
        }
    };
    match ended {
        Some(Err(_)) => End::Panicked,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use crate::access::Grant;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::access::Who;
    use crate::shared::Shared;

    #[test]
    #[allow(
        unreachable_code,
        clippy::diverging_sub_expression,
        reason = "only types are asked for"
    )]
    fn a_connection_takes_no_room_for_its_end_before_that_comes() {
        use tokio::net::UnixStream;

        fn room<F: Future>(_: impl FnOnce() -> F) -> usize {
            size_of::<F>()
        }
        let run = room(|| run::<UnixStream>(panic!(), panic!(), panic!(), panic!()));
        let drive = room(|| drive::<UnixStream>(panic!(), panic!(), panic!(), panic!()));
        assert!(run <= 256 && drive <= 768, "{run} and {drive} bytes");
    }

    /// A worker of a server of its own, and a client's question for its bootstrap capability.
    fn worker_and_question() -> (Rc<Worker>, Vec<u8>) {
        let (shared, mut notes) = Shared::new(Config::for_test([]), 1);
        let (worker, _inboxes) = Worker::new(shared, 0, notes.pop().expect("one"));
        let mut question = capnp::message::Builder::new_default();
        question.init_root::<capnp_rpc::rpc_capnp::message::Builder<'_>>().init_bootstrap();
        (worker, capnp::serialize::write_message_to_words(&question))
    }

    fn block_on<T>(body: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), body)
    }

    fn admitted() -> Admitted {
        Admitted { who: Who::Local, grant: Grant::host(), peer: "test".into(), child: None }
    }

    #[test]
    fn what_a_stream_keeps_back_until_it_is_flushed_is_flushed() {
        let (worker, question) = worker_and_question();
        block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 10);
            // As TLS does, it writes when it has much, or when it is told to.
            let server = tokio::io::BufStream::new(server);
            let (_stop, mut stopped) = watch::channel(false);
            let admitted = admitted();
            let session = run(Streams::one(server), &admitted, &worker, &mut stopped);
            let asks = async {
                client.write_all(&question).await.expect("sent");
                let answer = timeout(Duration::from_secs(5), client.read_exact(&mut [0; 8])).await;
                drop(client);
                answer
            };
            let ((), answer) = tokio::join!(session, asks);
            answer.expect("an answer").expect("read");
        });
    }

    #[test]
    fn a_connection_that_is_accepted_as_the_server_stops_is_told_so_and_ends() {
        let (worker, question) = worker_and_question();
        block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 10);
            client.write_all(&question).await.expect("sent");
            let (_stop, mut stopped) = watch::channel(true);
            let admitted = admitted();
            let session = run(Streams::one(server), &admitted, &worker, &mut stopped);
            timeout(worker.shared().config().drain_timeout, session).await.expect("it ends");
            let mut told = Vec::new();
            client.read_to_end(&mut told).await.expect("read");
            assert!(told.ends_with(&net::farewell("the server is stopping")), "{told:?}");
            assert!(worker.sessions().is_empty() && worker.shared().clients.list().is_empty());
        });
    }
}
