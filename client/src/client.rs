//! The client: a connection that is made again when it has ended, and the operations by path.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};

use capnp::capability::Client as Capability;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};

use crate::address::Address;
use crate::anchor::{Anchor, Child};
use crate::batch::Batch;
use crate::calls;
use crate::cell::Loaded;
use crate::channel::Chan;
use crate::connection::{Connection, Effect, Patience};
use crate::direct::{Direct, LOOK_AFTER};
use crate::error::Error;
use crate::greeting;
use crate::handle::Handle;
use crate::host::{self, ClientInfo, HostInfo, Member};
use crate::options::{Options, Retry};
use crate::path::{self, Target};
use crate::process::{Command, Process};
use crate::value::{IntoValue, Value};
use crate::watch::{Watch, What};

/// A client of one server, over one connection at a time.
///
/// A connection that has ended is made again by the next operation, with attempts and pauses as
/// [`Retry`](crate::Retry) says; all operations that come meanwhile wait for that one. An operation
/// that was not sent yet, or that only reads, is then done on the new connection. One that changes a
/// cell is never sent twice: it ends with [`Error::UnknownOutcome`].
///
/// A path with a leading `/` is absolute, from the cluster's anchor, whose children are the hosts:
/// `/self/mailbox` or `/f19caa21dda41c43/mailbox`. Without one it starts at the anchor that the
/// connection gives, the host's own: `mailbox`.
///
/// Clones are the same client. Each operation is one round trip, and a second one if its path is absolute,
/// names a host by its id, and it ends with an error or finds nothing: then it asks whether there is such a
/// host. What it promises beside others is what the method of that name of [`Anchor`] does. The connection
/// closes when the last clone, and the last handle that came over it, are dropped.
///
/// # Errors
/// Every operation may end with the errors of [`Anchor`]'s methods; with [`Error::Connect`] if there is
/// no connection and no way to one; and with [`Error::NoHost`] if an absolute path starts with what
/// is no host.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # use killick_client::{Client, Error, Options, Retry};
/// # support::with_client(async |client| {
/// # let address = client.address();
/// let client = Client::connect(address, Options::default()).await?;
/// client.store_at("greeting", "hello", false).await?;
/// assert_eq!(client.load_at("/self/greeting").await?.text(), Some("hello"));
/// assert!(matches!(client.load_at("/greeting").await, Err(Error::NoHost { .. })));
///
/// let nowhere = "unix:/nobody/listens/here".parse()?;
/// let once = Options { retry: Retry::NONE, ..Options::default() };
/// assert!(matches!(Client::connect(&nowhere, once).await, Err(Error::Connect { .. })));
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Client(Rc<Inner>);

struct Inner {
    address: Address,
    options: Options,
    /// What this client's end of its connection has as its bootstrap capability.
    exports: Option<Capability>,
    state: RefCell<State>,
    /// The connections to other hosts, if there are to be any.
    direct: Option<Rc<Direct>>,
    /// Whether a task looks after these.
    is_looked_after: Cell<bool>,
}

/// A connection on its way, which any number of operations wait for. With the last of them it is given up.
struct Dialling {
    connected: Shared<LocalBoxFuture<'static, Result<Connection, Error>>>,
    /// How the last attempt ended.
    last: Rc<RefCell<Option<Error>>>,
}

enum State {
    None,
    Dialling(Weak<Dialling>),
    Open(Connection),
}

impl Client {
    /// Connects to the server at `address`, and waits until it has answered.
    ///
    /// # Errors
    /// [`Error::Connect`], or that of the last attempt; [`Error::TimedOut`];
    /// [`Error::Limit`] with [`Connections`](crate::Limit::Connections); [`Error::Protocol`] if that is
    /// no killick server.
    ///
    /// # Panics
    /// Outside of a [`LocalRuntime`](tokio::runtime::LocalRuntime) and of a
    /// [`LocalSet`](tokio::task::LocalSet): a connection is a task there.
    pub async fn connect(address: &Address, options: Options) -> Result<Self, Error> {
        let client = Client::lazy(address, options);
        client.connection(client.patience()).await?;
        Ok(client)
    }

    /// A client that connects when it is first used.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::{Client, Options, Retry};
    /// # support::with_client(async |client| {
    /// # let address = client.address();
    /// let client = Client::lazy(address, Options::default());
    /// assert!(!client.is_connected());
    /// client.info().await?;
    /// assert!(client.is_connected());
    ///
    /// let once = Options { retry: Retry::NONE, ..Options::default() };
    /// let nowhere = Client::lazy(&"unix:/nobody/listens/here".parse()?, once);
    /// assert!(nowhere.info().await.is_err());
    /// # Ok(()) });
    /// ```
    pub fn lazy(address: &Address, options: Options) -> Self {
        Client::at_address(address.clone(), options, None)
    }

    /// The client of a process that a server has started ([`Anchor::exec`]): over the connection that it was
    /// given, whose number the variable `KILLICK_FD` says, and which is there once. Paths start at the anchor
    /// that whoever started it chose. `exports` is what others get by
    /// [`Process::bootstrap`](crate::Process::bootstrap).
    ///
    /// # Errors
    /// [`Error::Connect`] if this process was given none, or has it already.
    ///
    /// # Examples
    /// ```
    /// # use killick_client::{Client, Error, Options};
    /// # let mut runtime = tokio::runtime::Builder::new_current_thread();
    /// # runtime.enable_all().build_local(Default::default()).unwrap().block_on(async {
    /// match Client::from_env(Options::default(), None).await {
    ///     Ok(client) => println!("{:?}", client.names_at("").await?),
    ///     Err(error) => assert!(error.to_string().contains("KILLICK_FD is not set")),
    /// }
    /// # Ok::<(), Error>(()) }).unwrap();
    /// ```
    pub async fn from_env(options: Options, exports: Option<Capability>) -> Result<Self, Error> {
        // What has ended is not there again.
        let options = Options { retry: Retry::NONE, ..options };
        let client = Client::at_address(Address::Inherited, options, exports);
        client.connection(client.patience()).await?;
        Ok(client)
    }

    fn at_address(address: Address, options: Options, exports: Option<Capability>) -> Self {
        let direct = Direct::of(&options).map(Rc::new);
        let (state, is_looked_after) = (RefCell::new(State::None), Cell::new(false));
        Client(Rc::new(Inner { address, options, exports, state, direct, is_looked_after }))
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// How this client behaves.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Whether there is a connection now, as far as this end knows.
    pub fn is_connected(&self) -> bool {
        matches!(&*self.0.state.borrow(), State::Open(connection) if connection.is_open())
    }

    /// Lets go of the present connection: the next operation makes another. It closes when the handles
    /// that came over it are dropped.
    ///
    /// A connection whose other end has vanished without a word, by a cable or a crash, stays open for
    /// [two minutes](Options#machines-that-vanish), and operations on it time out. This is for who takes a
    /// time-out as a sign of that.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::Error;
    /// # support::with_client(async |client| {
    /// match client.load_at("a").await {
    ///     Err(Error::TimedOut { .. }) => client.disconnect(),
    ///     loaded => assert!(loaded?.value.is_none()),
    /// }
    /// # Ok(()) });
    /// ```
    pub fn disconnect(&self) {
        self.0.state.replace(State::None);
    }

    /// The host's own anchor, or what this client was granted of it: where relative paths start.
    pub async fn host(&self) -> Result<Anchor, Error> {
        self.at("").await
    }

    /// The cluster's anchor: where absolute paths start. Its children are the hosts.
    pub async fn root(&self) -> Result<Anchor, Error> {
        self.at("/").await
    }

    /// The anchor at `path`, creating the nodes that are missing: [`Anchor::walk`].
    pub async fn walk(&self, path: impl AsRef<[u8]>) -> Result<Anchor, Error> {
        let target = Target::parse(path.as_ref())?;
        let walk = async |start: Anchor| start.walk(target.path).await;
        Ok(self.renewed(self.perform(&target, Result::is_err, walk).await?))
    }

    /// The anchor at `path`, before the server has given it: [`Anchor::at`]. Waits only if there is
    /// no connection.
    pub async fn at(&self, path: impl AsRef<[u8]>) -> Result<Anchor, Error> {
        let target = Target::parse(path.as_ref())?;
        let start = self.start(&target, None, self.patience()).await?;
        Ok(self.renewed(if target.is_start() { start } else { start.at(target.path)? }))
    }

    /// The anchor at `path` if there is a node: [`Anchor::lookup`].
    pub async fn lookup(&self, path: impl AsRef<[u8]>) -> Result<Option<Anchor>, Error> {
        let target = Target::parse(path.as_ref())?;
        let nothing = |found: &Result<Option<_>, _>| !matches!(found, Ok(Some(_)));
        let lookup = async |start: Anchor| start.lookup(target.path).await;
        let found = self.perform(&target, nothing, lookup).await?;
        Ok(found.map(|anchor| self.renewed(anchor)))
    }

    /// The children of the node at `path`: [`Anchor::ls_at`].
    pub async fn ls_at(&self, path: impl AsRef<[u8]>) -> Result<Vec<Child>, Error> {
        let target = Target::parse(path.as_ref())?;
        let ls = async |start: Anchor| start.ls_at(target.path).await;
        let mut children = self.perform(&target, Result::is_err, ls).await?;
        for child in &mut children {
            child.anchor = self.renewed(child.anchor.clone());
        }
        Ok(children)
    }

    /// The names of the children of the node at `path`: [`Anchor::names_at`].
    pub async fn names_at(&self, path: impl AsRef<[u8]>) -> Result<Vec<String>, Error> {
        let target = Target::parse(path.as_ref())?;
        let names = async |start: Anchor| start.names_at(target.path).await;
        self.perform(&target, Result::is_err, names).await
    }

    /// What the cell at `path` holds: [`Anchor::load_at`].
    pub async fn load_at(&self, path: impl AsRef<[u8]>) -> Result<Loaded, Error> {
        let target = Target::parse(path.as_ref())?;
        let nothing = |loaded: &Result<Loaded, _>| match loaded {
            Ok(loaded) => loaded.value.is_none() && loaded.revision == 0,
            Err(_) => true,
        };
        let load = async |start: Anchor| start.load_at(target.path).await;
        self.perform(&target, nothing, load).await
    }

    /// Stores at `path`: [`Anchor::store_at`]. Never sent twice.
    pub async fn store_at(
        &self,
        path: impl AsRef<[u8]>,
        value: impl IntoValue,
        overwrite: bool,
    ) -> Result<u64, Error> {
        let target = Target::parse(path.as_ref())?;
        let value = value.into_value();
        let nothing = |stored: &Result<u64, _>| !matches!(stored, Ok(1..));
        let store =
            async |start: Anchor| start.store_at(target.path, value.clone(), overwrite).await;
        self.perform_with(&target, value.as_ref(), nothing, store).await
    }

    /// What the cell at `path` holds, once it holds something: [`Anchor::wait`]. The node is created if it
    /// is missing; a connection that ends is made again, and the node with it.
    ///
    /// No time-out applies but to what it takes to have a connection and the node.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let waiting = client.wait_at("a");
    /// let (waited, _) = tokio::join!(waiting, client.store_at("a", "here", false));
    /// assert_eq!(waited?.text(), Some("here"));
    /// assert!(client.wait_at("/a").await.is_err()); // no host
    /// # Ok(()) });
    /// ```
    pub async fn wait_at(&self, path: impl AsRef<[u8]>) -> Result<Loaded, Error> {
        let path = path.as_ref();
        loop {
            let anchor = self.walk(path).await?;
            match anchor.wait().await {
                Err(error @ Error::Disconnected { .. }) => {
                    // A walk that was answered is a success: the pauses are those of a first failure.
                    let Some(pause) = self.0.options.retry.pauses().next() else {
                        return Err(error);
                    };
                    tokio::time::sleep(pause).await;
                }
                waited => return waited,
            }
        }
    }

    /// The state of the node at `path`, and how it changes from then on: see [`Watch`]. The node is created
    /// if it is missing; a connection that ends is made again, and the watch with it.
    ///
    /// # Errors
    /// [`Error::Path`]; the others come with the changes.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::What;
    /// # support::with_client(async |client| {
    /// let mut watch = client.watch_at("a", What::Value)?;
    /// watch.next().await?;
    /// client.store_at("a", "one", true).await?;
    /// assert_eq!(watch.next().await?.value.unwrap().text(), Some("one"));
    /// assert!(client.watch_at("a/..", What::Value).is_err());
    /// # Ok(()) });
    /// ```
    pub fn watch_at(&self, path: impl AsRef<[u8]>, what: What) -> Result<Watch, Error> {
        let target = Target::parse(path.as_ref())?;
        Ok(Watch::at(self, target.path, what))
    }

    /// [`load_at`](Self::load_at) for many paths, as many at a time as
    /// [`Options::in_flight`](Options::in_flight) says.
    pub fn load_many<'a, P: AsRef<[u8]> + 'a>(
        &'a self,
        paths: impl IntoIterator<Item = P, IntoIter: 'a>,
    ) -> Batch<'a, Result<Loaded, Error>> {
        self.batch(paths.into_iter().map(move |path| async move { self.load_at(path).await }))
    }

    /// [`store_at`](Self::store_at) for many pairs of a path and a value.
    pub fn store_many<'a, P: AsRef<[u8]> + 'a, V: IntoValue + 'a>(
        &'a self,
        pairs: impl IntoIterator<Item = (P, V), IntoIter: 'a>,
        overwrite: bool,
    ) -> Batch<'a, Result<u64, Error>> {
        let store = move |(path, value)| async move { self.store_at(path, value, overwrite).await };
        self.batch(pairs.into_iter().map(store))
    }

    /// Any operations at all, as many at a time as [`Options::in_flight`](Options::in_flight) says.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let paths = ["a", "b", "no path"];
    /// let walks = client.batch(paths.map(|path| client.walk(path))).collect().await;
    /// assert_eq!(walks.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    /// assert_eq!(client.names_at("").await?, ["a", "b"]);
    /// # Ok(()) });
    /// ```
    pub fn batch<'a, F: Future + 'a>(
        &self,
        operations: impl IntoIterator<Item = F, IntoIter: 'a>,
    ) -> Batch<'a, F::Output> {
        Batch::new(self.0.options.in_flight, operations.into_iter())
    }

    /// A new channel at the host: [`Anchor::new_chan`].
    pub async fn new_chan(&self, capacity: u32) -> Result<Chan, Error> {
        let new_chan = async |start: Anchor| start.new_chan(capacity).await;
        let target = Target { path: b"", absolute: false };
        let chan = self.perform(&target, |_| false, new_chan).await?;
        Ok(chan.with_timeout(self.0.options.timeout))
    }

    /// Starts a program at the host, or by what this client was granted of it: [`Anchor::exec`].
    ///
    /// # Errors
    /// As there.
    pub async fn exec(&self, command: &Command, anchor: &Anchor) -> Result<Process, Error> {
        let exec = async |start: Anchor| start.exec(command, anchor).await;
        let target = Target { path: b"", absolute: false };
        let process = self.perform(&target, |_| false, exec).await?;
        Ok(process.with_timeout(self.0.options.timeout))
    }

    /// What the server says of itself.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let info = client.info().await?;
    /// assert_eq!(client.root().await?.names().await?, [format!("{:016x}", info.id)]);
    /// assert!(info.full_id.starts_with(&format!("{:016x}", info.id)));
    /// assert_eq!((info.nodes, info.connections), (1, 1));
    /// # Ok(()) });
    /// ```
    pub async fn info(&self) -> Result<HostInfo, Error> {
        let info = async |start: Anchor| {
            let handle = &start.0;
            handle.call(Effect::Read, host::info(handle.connection.host())).await
        };
        self.perform(&Target { path: b"", absolute: false }, |_| false, info).await
    }

    /// The hosts of the cluster as the server knows them, by id: itself, those that are there, and for some
    /// time those that have gone. Of a server without a cluster it is the one.
    ///
    /// Two hosts may know different things for some seconds.
    ///
    /// # Errors
    /// [`Error::Unimplemented`] for a client that was granted an anchor, and not the host.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::Error;
    /// # support::with_client(async |client| {
    /// client.store_at("a", "here", false).await?;
    /// for host in client.hosts().await? {
    ///     println!("{} on {} is {}", host.name(), host.hostname, host.state);
    ///     if host.state.is_there() {
    ///         let loaded = client.load_at(format!("/{}/a", host.name())).await?;
    ///         assert_eq!(loaded.text(), host.is_self.then_some("here"));
    ///     }
    /// }
    /// let nobody = client.load_at("/0123456789abcdef/a").await;
    /// assert!(matches!(nobody, Err(Error::NoHost { .. })));
    /// # Ok(()) });
    /// ```
    pub async fn hosts(&self) -> Result<Vec<Member>, Error> {
        let hosts = async |start: Anchor| {
            let handle = &start.0;
            handle.call(Effect::Read, host::hosts(handle.connection.host())).await
        };
        self.perform(&Target { path: b"", absolute: false }, |_| false, hosts).await
    }

    /// The connections of the server that are open, the oldest first, this one included.
    pub async fn clients(&self) -> Result<Vec<ClientInfo>, Error> {
        let clients = async |start: Anchor| {
            let handle = &start.0;
            handle.call(Effect::Read, host::clients(handle.connection.host())).await
        };
        self.perform(&Target { path: b"", absolute: false }, |_| false, clients).await
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience::Each(self.0.options.timeout).begin()
    }

    /// An anchor whose further calls have as much time as any.
    fn renewed(&self, anchor: Anchor) -> Anchor {
        anchor.with_timeout(self.0.options.timeout)
    }

    /// Does `operation` from where `target` starts, again on another connection if it was not done for
    /// want of one. `is_nothing`: whether its result could come of a host that is none.
    async fn perform<T>(
        &self,
        target: &Target<'_>,
        is_nothing: impl Fn(&Result<T, Error>) -> bool,
        operation: impl AsyncFn(Anchor) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.perform_with(target, None, is_nothing, operation).await
    }

    /// The same, of an operation that sends `value`.
    async fn perform_with<T>(
        &self,
        target: &Target<'_>,
        value: Option<&Value>,
        is_nothing: impl Fn(&Result<T, Error>) -> bool,
        operation: impl AsyncFn(Anchor) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let patience = self.patience();
        let mut pauses = self.0.options.retry.pauses();
        loop {
            let start = self.start(target, value, patience).await?;
            let result = operation(start.clone()).await;
            if let Err(error) = &result
                && error.is_for_want_of_time()
                && let Some(direct) = &self.0.direct
            {
                direct.doubt(&start.0.connection);
            }
            if let Err(Error::Disconnected { .. }) = result
                && let Some(pause) = pauses.next()
                && patience.wait(tokio::time::sleep(pause)).await.is_ok()
            {
                continue;
            }
            if is_nothing(&result)
                && let Some(error) = no_host(&start, target).await
            {
                return Err(error);
            }
            return result;
        }
    }

    /// The anchor that `target` is walked from, to send `value` there.
    async fn start(
        &self,
        target: &Target<'_>,
        value: Option<&Value>,
        patience: Patience,
    ) -> Result<Anchor, Error> {
        let contacted = self.connection(patience).await?;
        let connection = match target.host().filter(|host| *host != b"self") {
            Some(host) => self.connection_to(host, value, contacted, patience).await,
            None => contacted,
        };
        let capability =
            if target.absolute { connection.cluster() } else { connection.bootstrap() };
        let (foreign, _answer) = (false, None);
        Ok(Anchor(Handle { capability, connection, patience, foreign, _answer }))
    }

    /// What leads to `host`: a connection to it, or the one to the contacted host.
    async fn connection_to(
        &self,
        host: &[u8],
        value: Option<&Value>,
        contacted: Connection,
        patience: Patience,
    ) -> Connection {
        let Some(direct) = &self.0.direct else { return contacted };
        let mut sent = value.into_iter().flat_map(Value::capabilities);
        if sent.any(|capability| contacted.gave(capability)) {
            return contacted;
        }
        // The rest of the time is for the other way.
        let reached = patience.half().wait(direct.reach(&contacted, host)).await.ok().flatten();
        if reached.is_some() && !self.0.is_looked_after.replace(true) {
            tokio::task::spawn_local(look_after(Rc::downgrade(&self.0)));
        }
        reached.unwrap_or(contacted)
    }

    /// The present connection, or a new one.
    async fn connection(&self, patience: Patience) -> Result<Connection, Error> {
        let dialling = match &*self.0.state.borrow() {
            State::Open(connection) if connection.is_open() => return Ok(connection.clone()),
            State::Dialling(dialling) => dialling.upgrade(),
            State::Open(_) | State::None => None,
        };
        let dialling = dialling.unwrap_or_else(|| self.dial());
        let connected = match patience.wait(dialling.connected.clone()).await {
            Ok(connected) => connected,
            // How the last attempt ended says more than that there was no time for another.
            Err(timed_out) => return Err(dialling.last.borrow().clone().unwrap_or(timed_out)),
        };
        let mut state = self.0.state.borrow_mut();
        // The first to know has it noted; meanwhile it may have ended and another be on its way.
        if matches!(&*state, State::Dialling(current) if current.as_ptr() == Rc::as_ptr(&dialling))
        {
            *state = match &connected {
                Ok(connection) => State::Open(connection.clone()),
                Err(_) => State::None,
            };
        }
        connected
    }

    /// Begins to connect.
    fn dial(&self) -> Rc<Dialling> {
        let last = Rc::new(RefCell::new(None));
        let Inner { address, options, exports, .. } = &*self.0;
        let dial = dial(address.clone(), options.clone(), exports.clone(), last.clone());
        let dialling = Rc::new(Dialling { connected: dial.boxed_local().shared(), last });
        self.0.state.replace(State::Dialling(Rc::downgrade(&dialling)));
        dialling
    }
}

/// Connects, in as many attempts as there are.
async fn dial(
    address: Address,
    options: Options,
    exports: Option<Capability>,
    last: Rc<RefCell<Option<Error>>>,
) -> Result<Connection, Error> {
    let mut pauses = options.retry.pauses();
    loop {
        match Connection::open(&address, &options, exports.clone()).await {
            Err(error) if is_tried_again(&error, last.borrow().as_ref()) => {
                let Some(pause) = pauses.next() else { return Err(error) };
                last.replace(Some(error));
                tokio::time::sleep(pause).await;
            }
            connected => return connected,
        }
    }
}

/// Whether there is another attempt to connect after one that ended with `error`, and one before it with
/// `last`. A server that stops breaks off what is only just connected too: two breaks in a row say that
/// this client is not let in.
fn is_tried_again(error: &Error, last: Option<&Error>) -> bool {
    let is_break = |error: &Error| match error {
        Error::Connect { error, .. } => greeting::is_break(error),
        _ => false,
    };
    error.is_transient() || (is_break(error) && !last.is_some_and(is_break))
}

/// Looks after the connections of a client to other hosts, for as long as there is the client and are any.
async fn look_after(client: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        let Some((direct, contacted)) = client.upgrade().and_then(|client| {
            let contacted = match &*client.state.borrow() {
                State::Open(connection) if connection.is_open() => Some(connection.clone()),
                _ => None,
            };
            Some((client.direct.clone()?, contacted))
        }) else {
            return;
        };
        direct.look_after(contacted).await;
        if direct.is_unused() {
            client.upgrade().inspect(|client| client.is_looked_after.set(false));
            return;
        }
    }
}

/// What to say if `target` is absolute and starts with what is no host.
async fn no_host(cluster: &Anchor, target: &Target<'_>) -> Option<Error> {
    let host = target.host().filter(|host| *host != b"self")?;
    let handle = &cluster.0;
    let found = handle.call(Effect::Read, calls::found(&handle.capability, host)).await;
    matches!(found, Ok(None))
        .then(|| Error::NoHost { host: path::shown(host), relative: target.relative() })
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.0.address)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn who_is_kept_out_is_told_after_two_breaks_in_a_row_and_at_once_after_an_alert() {
        let connect = |error: io::Error| {
            let address = Address::Tls("a.example:1".into());
            Error::Connect { address, error: Arc::new(error) }
        };
        let refused = connect(io::ErrorKind::ConnectionRefused.into());
        let broken = connect(greeting::kept_out(None));
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::DecryptError);
        let alert = connect(greeting::kept_out(Some(alert)));
        assert!(is_tried_again(&broken, None));
        assert!(is_tried_again(&broken, Some(&refused)));
        assert!(!is_tried_again(&broken, Some(&broken)));
        assert!(is_tried_again(&refused, Some(&broken)));
        assert!(!is_tried_again(&alert, None));
        assert!(!broken.is_transient() && !alert.is_transient());
    }
}
