//! What the tests over real sockets share: a server of their own, and clients of it.

#![allow(dead_code, unreachable_pub, reason = "each test target uses some of it")]

pub mod pki;
pub mod scrape;

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook};
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, RpcSystem, twoparty};
use futures::io::{BufReader, BufWriter};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite};
use killick_schema::api::anchor_capnp::anchor::{self, change, loader, storer, watch};
use killick_schema::api::host_capnp::host;
use killick_server::{Address, Config, Identity, Server};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{JoinHandle, LocalSet};
use tokio_util::compat::TokioAsyncReadCompatExt;
use tracing::Level;
use tracing::subscriber::with_default;

/// The longest that anything in a test is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a Unix socket and on a TCP port of its own, and what it logged.
pub struct Harness {
    pub server: Server,
    log: Lines,
    folder: tempfile::TempDir,
}

/// The lines of a log, each with its level first. A test in which the RPC system or a call panicked fails.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Drop for Lines {
    fn drop(&mut self) {
        if Arc::strong_count(&self.0) == 1 && !std::thread::panicking() {
            let lines = self.0.lock().expect("log");
            let sound = |line: &String| !line.contains("internal error") && !line.contains("panic");
            assert!(lines.iter().all(sound), "{lines:#?}");
        }
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line).trim().to_owned();
        self.0.lock().expect("log").push(text);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A log whose lines go to `writer`, for what is started within [`with_default`].
pub fn log_to<W: std::io::Write + 'static>(
    level: Level,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> impl tracing::Subscriber + Send + Sync {
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    log.with_ansi(false).without_time().with_target(false).finish()
}

impl Harness {
    pub fn start() -> Self {
        Harness::with(|_| {})
    }

    /// A server with a configuration of its own.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        Harness::logging(Level::WARN, change)
    }

    /// A server that logs at `level`.
    pub fn logging(level: Level, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let unix = Address::Unix(folder.path().join("killick.sock"));
        let mut config = Config::for_test([unix, Address::Tcp("127.0.0.1:0".into())]);
        let log = Lines::default();
        change(&mut config);
        let lines = log.clone();
        let subscriber = log_to(level, move || lines.clone());
        let server = with_default(subscriber, || Server::start(config).expect("started"));
        Harness { server, log, folder }
    }

    pub fn unix(&self) -> &Address {
        &self.server.addresses()[0]
    }

    pub fn tcp(&self) -> &Address {
        &self.server.addresses()[1]
    }

    pub fn log(&self) -> Vec<String> {
        self.log.0.lock().expect("log").clone()
    }

    /// Waits until the log has `count` lines, and checks that it gets no more.
    pub async fn logged(&self, count: usize) -> Vec<String> {
        eventually("log lines", async || self.log().len() >= count).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let log = self.log();
        assert_eq!(log.len(), count, "{log:#?}");
        log
    }
}

/// Runs the body of a test.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(3 * PATIENCE, test).await.expect("the test ends in time")
    })
}

/// Waits until `holds` does.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A stream of bytes in both directions.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Stream for T {}

/// A connection without the protocol, and before any TLS.
pub async fn raw(address: &Address) -> Box<dyn Stream> {
    match address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await.expect("connected")),
        Address::Tcp(at) | Address::Tls(at) => {
            Box::new(TcpStream::connect(at).await.expect("connected"))
        }
        Address::Inherited => panic!("no server listens there"),
    }
}

/// The bytes of as many questions for the bootstrap capability.
pub fn bootstrap_messages(count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for id in 0..count {
        let mut message = capnp::message::Builder::new_default();
        let root = message.init_root::<capnp_rpc::rpc_capnp::message::Builder<'_>>();
        root.init_bootstrap().set_question_id(id);
        capnp::serialize::write_message(&mut bytes, &message).expect("written");
    }
    bytes
}

/// A client and its connection.
pub struct Peer {
    pub host: host::Client,
    disconnector: Disconnector<Side>,
    driver: JoinHandle<Result<(), capnp::Error>>,
}

impl Peer {
    pub async fn connect(address: &Address) -> Self {
        match address {
            Address::Unix(path) => {
                Peer::over(UnixStream::connect(path).await.expect("connected").compat())
            }
            Address::Tcp(at) => {
                let stream = TcpStream::connect(at).await.expect("connected");
                stream.set_nodelay(true).expect("a socket option");
                Peer::over(stream.compat())
            }
            Address::Tls(_) => panic!("{address} takes an identity"),
            Address::Inherited => panic!("no server listens there"),
        }
    }

    /// The same over TLS.
    pub async fn over_tls(address: &Address, identity: &Identity) -> Self {
        let stream = killick_client::dial(address, Some(identity)).await.expect("connected");
        Peer::over(stream.compat())
    }

    pub fn over(stream: impl AsyncRead + AsyncWrite + 'static) -> Self {
        let (read, write) = stream.split();
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(Some(64 << 20));
        let (read, write) = (BufReader::new(Box::pin(read)), BufWriter::new(Box::pin(write)));
        let network = twoparty::VatNetwork::new(read, write, Side::Client, options);
        let mut rpc = RpcSystem::new(Box::new(network), None);
        let host = rpc.bootstrap(Side::Server);
        let disconnector = rpc.get_disconnector();
        Peer { host, disconnector, driver: tokio::task::spawn_local(rpc) }
    }

    /// The bootstrap capability as what it extends.
    pub fn anchor(&self) -> anchor::Client {
        self.host.clone().cast_to()
    }

    pub async fn root(&self) -> anchor::Client {
        let response = self.host.root_request().send().promise.await.expect("root");
        response.get().unwrap().get_root().unwrap()
    }

    /// Closes the connection, with whatever is held over it.
    pub async fn leave(self) {
        let _ = self.disconnector.await;
        let _ = self.driver.await;
    }

    /// Waits until the server has closed the connection.
    pub async fn ended(self) {
        let _ = tokio::time::timeout(PATIENCE, self.driver).await.expect("ends in time");
    }

    pub async fn info<T>(
        &self,
        read: impl FnOnce(killick_schema::api::host_capnp::host_info::Reader<'_>) -> T,
    ) -> T {
        let response = self.host.info_request().send().promise.await.expect("info");
        read(response.get().unwrap().get_info().unwrap())
    }

    /// Nodes in the tree, its root included.
    pub async fn nodes(&self) -> u64 {
        self.info(|info| info.get_nodes()).await
    }

    /// Waits until the tree holds its root and nothing else.
    pub async fn tree_is_empty(&self) {
        eventually("an empty tree", async || self.nodes().await == 1).await;
    }
}

pub async fn walk(from: &anchor::Client, path: &str) -> capnp::Result<anchor::Client> {
    let mut request = from.walk_request();
    request.get().set_path(path);
    request.send().promise.await?.get()?.get_anchor()
}

/// The error of a walk that fails.
pub async fn walk_error(from: &anchor::Client, path: &str) -> capnp::Error {
    walk(from, path).await.err().unwrap_or_else(|| panic!("walked to {path:?}"))
}

pub async fn lookup(from: &anchor::Client, path: &str) -> capnp::Result<Option<anchor::Client>> {
    let mut request = from.lookup_request();
    request.get().set_path(path);
    let response = request.send().promise.await?;
    let results = response.get()?;
    results.has_anchor().then(|| results.get_anchor()).transpose()
}

pub async fn ls(from: &anchor::Client) -> Vec<(String, bool, u64)> {
    let response = from.ls_request().send().promise.await.expect("ls");
    let children = response.get().unwrap().get_children().unwrap();
    let describe = |child: anchor::child::Reader<'_>| {
        let name = child.get_name().unwrap().to_string().unwrap();
        (name, child.get_filled(), child.get_child_count())
    };
    children.iter().map(describe).collect()
}

pub async fn names(from: &anchor::Client) -> Vec<String> {
    ls(from).await.into_iter().map(|(name, ..)| name).collect()
}

pub async fn cell(of: &anchor::Client) -> (loader::Client, storer::Client) {
    let response = of.cell_request().send().promise.await.expect("cell");
    let cell = response.get().unwrap();
    (cell.get_loader().unwrap(), cell.get_storer().unwrap())
}

/// Something to put into a value.
#[derive(Clone)]
pub enum Put {
    Nothing,
    Text(String),
    Cap(Client),
}

impl Put {
    pub fn text(text: &str) -> Self {
        Put::Text(text.to_owned())
    }

    pub fn cap(client: impl FromClientHook) -> Self {
        Put::Cap(client.cast_to::<Untyped>().0)
    }

    fn into(self, mut value: any_pointer::Builder<'_>) {
        match self {
            Put::Nothing => {}
            Put::Text(text) => value.set_as(text.as_str()).expect("set"),
            Put::Cap(client) => value.set_as_capability(client.hook),
        }
    }
}

/// A client of no interface.
struct Untyped(Client);

impl FromClientHook for Untyped {
    fn new(hook: Box<capnp::capability::DynClientHook>) -> Self {
        Untyped(Client::new(hook))
    }

    fn into_client_hook(self) -> Box<capnp::capability::DynClientHook> {
        self.0.hook
    }

    fn as_client_hook(&self) -> &capnp::capability::DynClientHook {
        &*self.0.hook
    }
}

/// Whether it was stored, and the revision.
pub async fn store(
    storer: &storer::Client,
    value: Put,
    overwrite: bool,
) -> capnp::Result<(bool, u64)> {
    store_as(storer, value, overwrite, false).await
}

async fn store_as(
    storer: &storer::Client,
    value: Put,
    overwrite: bool,
    bound: bool,
) -> capnp::Result<(bool, u64)> {
    let mut request = storer.store_request();
    request.get().set_overwrite(overwrite);
    request.get().set_bound(bound);
    value.into(request.get().init_value());
    let response = request.send().promise.await?;
    let results = response.get()?;
    Ok((results.get_succeeded(), results.get_revision()))
}

/// [`store`] into whatever the cell holds, bound to the connection or not.
pub async fn store_bound(
    storer: &storer::Client,
    value: Put,
    bound: bool,
) -> capnp::Result<(bool, u64)> {
    store_as(storer, value, true, bound).await
}

/// Stores `value` at `path`, and lets go of the path.
pub async fn put(peer: &Peer, path: &str, value: Put) {
    let (_, storer) = cell(&walk(&peer.anchor(), path).await.expect("walked")).await;
    assert!(store(&storer, value, true).await.expect("stored").0);
}

pub async fn compare_and_store(
    storer: &storer::Client,
    value: Put,
    expected: u64,
) -> capnp::Result<(bool, u64)> {
    let mut request = storer.compare_and_store_request();
    request.get().set_expected(expected);
    value.into(request.get().init_value());
    let response = request.send().promise.await?;
    let results = response.get()?;
    Ok((results.get_succeeded(), results.get_revision()))
}

/// What was there before, and the revision after.
pub async fn swap(anchor: &anchor::Client, value: Put) -> capnp::Result<(Option<String>, u64)> {
    let mut request = anchor.swap_request();
    value.into(request.get().init_value());
    let response = request.send().promise.await?;
    let results = response.get()?;
    Ok((text(results.get_previous())?, results.get_revision()))
}

fn text(value: any_pointer::Reader<'_>) -> capnp::Result<Option<String>> {
    match value.is_null() {
        true => Ok(None),
        false => Ok(Some(value.get_as::<capnp::text::Reader<'_>>()?.to_string()?)),
    }
}

/// The text in the cell, if there is one, and the revision.
pub async fn load(loader: &loader::Client) -> capnp::Result<(Option<String>, u64)> {
    let response = loader.load_request().send().promise.await?;
    let results = response.get()?;
    Ok((text(results.get_value())?, results.get_revision()))
}

/// The capability in the cell, if there is one.
pub async fn load_cap<C: FromClientHook>(loader: &loader::Client) -> capnp::Result<Option<C>> {
    let response = loader.load_request().send().promise.await?;
    let value = response.get()?.get_value();
    match value.is_null() {
        true => Ok(None),
        false => value.get_as_capability().map(Some),
    }
}

/// A watch of the value, of the children, or of both.
pub async fn watch(
    anchor: &anchor::Client,
    value: bool,
    children: bool,
) -> capnp::Result<watch::Client> {
    let mut request = anchor.watch_request();
    request.get().set_value(value);
    request.get().set_children(children);
    request.send().promise.await?.get()?.get_watch()
}

/// What a watch told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub sequence: u64,
    pub whole: bool,
    /// The text in the cell, if there is one, and the revision.
    pub value: Option<(Option<String>, u64)>,
    pub added: Vec<(String, bool)>,
    pub removed: Vec<String>,
    pub filled: Vec<String>,
    pub emptied: Vec<String>,
}

impl Told {
    fn read(change: change::Reader<'_>) -> capnp::Result<Self> {
        let names = |list: capnp::Result<capnp::text_list::Reader<'_>>| -> capnp::Result<Vec<_>> {
            list?.iter().map(|name| Ok(name?.to_string()?)).collect()
        };
        let entry = |entry: change::entry::Reader<'_>| {
            Ok((entry.get_name()?.to_string()?, entry.get_filled()))
        };
        let value = (text(change.get_value())?, change.get_revision());
        Ok(Told {
            sequence: change.get_sequence(),
            whole: change.get_whole(),
            value: change.get_value_changed().then_some(value),
            added: change.get_added()?.iter().map(entry).collect::<capnp::Result<_>>()?,
            removed: names(change.get_removed())?,
            filled: names(change.get_filled())?,
            emptied: names(change.get_emptied())?,
        })
    }

    /// What it says of the children: those that came, went, were filled and were emptied.
    pub fn children(&self) -> [String; 4] {
        let added = self.added.iter().map(|(name, filled)| match filled {
            true => format!("{name}*"),
            false => name.clone(),
        });
        let added = added.collect::<Vec<_>>().join(" ");
        [added, self.removed.join(" "), self.filled.join(" "), self.emptied.join(" ")]
    }
}

/// What is different from what `watch` told as number `after`. It is asked for at once.
pub fn next(
    watch: &watch::Client,
    after: u64,
) -> impl Future<Output = capnp::Result<Told>> + use<> {
    let mut request = watch.next_request();
    request.get().set_after(after);
    let answer = request.send().promise;
    async { Told::read(answer.await?.get()?.get_change()?) }
}

/// What makes two clients of one connection the same capability.
pub fn identity(client: &impl FromClientHook) -> usize {
    client.as_client_hook().get_ptr()
}

/// A capability hosted by a client: says its text, and counts how often.
pub struct Speaker {
    text: String,
    spoken: Rc<Cell<usize>>,
}

impl loader::Server for Speaker {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        mut results: loader::LoadResults,
    ) -> capnp::Result<()> {
        self.spoken.set(self.spoken.get() + 1);
        let mut results = results.get();
        results.set_revision(self.spoken.get() as u64);
        results.init_value().set_as(self.text.as_str())
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.spoken.set(usize::MAX);
    }
}

/// A speaker, and its count: `usize::MAX` once nobody holds it any more.
pub fn speaker(text: &str) -> (loader::Client, Rc<Cell<usize>>) {
    let spoken = Rc::new(Cell::new(0));
    let server = Speaker { text: text.to_owned(), spoken: spoken.clone() };
    (capnp_rpc::new_client(server), spoken)
}

/// The bytes of a call on a place in the answer to an earlier question.
pub fn pipelined_call(
    question: u32,
    (earlier, pointer): (u32, Option<u16>),
    (interface, method): (u64, u16),
    fill: impl FnOnce(capnp_rpc::rpc_capnp::payload::Builder<'_>),
) -> Vec<u8> {
    let mut message = capnp::message::Builder::new_default();
    let root = message.init_root::<capnp_rpc::rpc_capnp::message::Builder<'_>>();
    let mut call = root.init_call();
    call.set_question_id(question);
    call.set_interface_id(interface);
    call.set_method_id(method);
    let mut answer = call.reborrow().init_target().init_promised_answer();
    answer.set_question_id(earlier);
    if let Some(pointer) = pointer {
        answer.init_transform(1).get(0).set_get_pointer_field(pointer);
    }
    call.reborrow().init_send_results_to().set_caller(());
    fill(call.init_params());
    let mut bytes = Vec::new();
    capnp::serialize::write_message(&mut bytes, &message).expect("written");
    bytes
}

/// The bytes that load what is at `path` as often, without ever being done with an answer.
pub fn load_messages(path: &str, times: u32) -> Vec<u8> {
    use capnp::traits::HasTypeId;
    let mut bytes = bootstrap_messages(1);
    bytes.extend(pipelined_call(1, (0, None), (anchor::Client::TYPE_ID, 1), |payload| {
        payload.init_content().init_as::<anchor::walk_params::Builder<'_>>().set_path(path);
    }));
    bytes.extend(pipelined_call(2, (1, Some(0)), (anchor::Client::TYPE_ID, 2), |_| ()));
    for number in 0..times {
        let load = (loader::Client::TYPE_ID, 0);
        bytes.extend(pipelined_call(3 + number, (2, Some(0)), load, |_| ()));
    }
    bytes
}
