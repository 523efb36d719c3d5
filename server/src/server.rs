//! A server as a value: started, asked for its addresses, stopped.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
#[cfg(feature = "cluster")]
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tracing::{Dispatch, dispatcher, info, warn};

#[cfg(feature = "cluster")]
use crate::cluster::{self, ClusterError};
use crate::config::Config;
#[cfg(feature = "cluster")]
use crate::listen::Incoming;
use crate::listen::{self, ListenError, Listener};
use crate::metrics;
use crate::shared::Shared;
use crate::worker;
use killick_client::Address;

/// Why a server did not start, or did not go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// [`Config::listen`] is empty.
    NoAddress,
    /// One of the addresses cannot be listened on.
    Listen(ListenError),
    /// No server can work with the value of a setting.
    Unusable {
        /// The setting's name, as the command line has it.
        setting: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// [`Config::metrics`] cannot be listened on.
    Metrics {
        /// The address as given.
        address: SocketAddr,
        /// What is wrong with it, or what the system said.
        error: io::Error,
    },
    /// The host cannot take part in its cluster.
    #[cfg(feature = "cluster")]
    Cluster(ClusterError),
    /// Another host runs with the key of this one, as after a folder was copied: this one has stopped.
    #[cfg(feature = "cluster")]
    Twin {
        /// Where the other one is.
        address: SocketAddr,
    },
    /// The system refused a thread or a runtime.
    Io(io::Error),
    /// One of the server's threads panicked while it ran.
    Panicked {
        /// The thread's name.
        thread: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoAddress => f.write_str("no address to listen on"),
            StartError::Listen(error) => error.fmt(f),
            StartError::Unusable { setting, reason } => write!(f, "{setting}: {reason}"),
            StartError::Metrics { address, error } => {
                write!(f, "cannot answer HTTP at {address}: {error}")
            }
            #[cfg(feature = "cluster")]
            StartError::Cluster(error) => write!(f, "cannot take part in the cluster: {error}"),
            #[cfg(feature = "cluster")]
            StartError::Twin { address } => {
                write!(f, "another host runs with this key, at {address}: each needs its own")
            }
            StartError::Io(error) => write!(f, "cannot start a thread: {error}"),
            StartError::Panicked { thread } => {
                write!(f, "the thread {thread} of the server panicked")
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::NoAddress | StartError::Unusable { .. } | StartError::Panicked { .. } => {
                None
            }
            StartError::Listen(error) => error.source(),
            StartError::Metrics { error, .. } | StartError::Io(error) => Some(error),
            #[cfg(feature = "cluster")]
            StartError::Cluster(error) => Some(error),
            #[cfg(feature = "cluster")]
            StartError::Twin { .. } => None,
        }
    }
}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> Self {
        StartError::Listen(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        StartError::Io(error)
    }
}

/// Why a server that runs serves nobody any more.
#[derive(Clone)]
enum Failure {
    /// The thread of that name has panicked.
    Panicked(String),
    /// Another host with the same key is there.
    #[cfg(feature = "cluster")]
    Twin(SocketAddr),
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Panicked(thread) => StartError::Panicked { thread },
            #[cfg(feature = "cluster")]
            Failure::Twin(address) => StartError::Twin { address },
        }
    }
}

/// Ends a server that cannot go on.
#[derive(Clone)]
struct Ending {
    stop: watch::Sender<bool>,
    failure: watch::Sender<Option<Failure>>,
}

impl Ending {
    /// Has all of the server stop, and says why.
    fn fail(&self, failure: Failure) {
        self.failure.send_replace(Some(failure));
        self.stop.send_replace(true);
    }
}

/// On a thread of a server: if it panics, the server stops as a whole and says so, as it would take
/// connections that nobody serves, or none.
struct Guard {
    thread: String,
    ending: Ending,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.ending.fail(Failure::Panicked(std::mem::take(&mut self.thread)));
        }
    }
}

/// A running server, on threads of its own. It stops when it is dropped.
pub struct Server {
    addresses: Vec<Address>,
    metrics: Option<SocketAddr>,
    shared: Arc<Shared>,
    ending: Ending,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a server. When this returns, it can be connected to at each of its addresses.
    ///
    /// Its log are events of `tracing`, one for each connection that comes, ends, has to be closed or is
    /// refused, with whatever else is not as it should be. They go to the subscriber that is current
    /// where this is called.
    ///
    /// # Errors
    /// Nothing is left behind: either all addresses are listened on or none.
    pub fn start(config: Config) -> Result<Self, StartError> {
        usable(&config)?;
        let acceptor = runtime()?;
        let bound = {
            let _within = acceptor.enter();
            bind(&config)
        };
        let Bound { listeners, addresses, metrics } = match bound {
            Ok(bound) => bound,
            Err(error) => {
                // Unlike its destructor this may be called within another runtime.
                acceptor.shutdown_background();
                return Err(error);
            }
        };
        tell(&config);
        let count = config.threads.get();
        let (shared, notes) = Shared::new(config, count);
        shared.hosts.listens(&addresses);
        let (stop, stopped) = watch::channel(false);
        let ending = Ending { stop, failure: watch::Sender::new(None) };
        let threads = Vec::new();
        let at = metrics.as_ref().and_then(|listener| listener.local_addr().ok());
        let shared_too = shared.clone();
        let mut server = Server { addresses, metrics: at, shared: shared_too, ending, threads };
        let mut workers = Vec::new();
        for (number, notes) in notes.into_iter().enumerate() {
            let (worker, incoming) = unbounded_channel();
            workers.push(worker);
            let (shared, stopped) = (shared.clone(), stopped.clone());
            let (built, building) = mpsc::sync_channel(1);
            server.spawn(format!("killick-worker-{number}"), move || match worker::runtime() {
                Ok(runtime) => {
                    drop(built);
                    worker::run(&runtime, (shared, number, notes), incoming, stopped);
                }
                Err(error) => drop(built.send(error)),
            })?;
            // The end of the channel means that there is a runtime, on the thread that it never leaves.
            if let Ok(error) = building.recv() {
                return Err(error.into());
            }
        }
        #[cfg(feature = "cluster")]
        server.join(shared.clone(), &workers, stopped.clone())?;
        server.spawn("killick-accept".into(), move || {
            acceptor.block_on(async {
                let accept = |listener| {
                    listen::accept(listener, shared.clone(), workers.clone(), stopped.clone())
                };
                let accept = futures::future::join_all(listeners.into_iter().map(accept));
                let metrics = metrics
                    .map(|listener| metrics::serve(listener, shared.clone(), stopped.clone()));
                tokio::join!(accept, futures::future::OptionFuture::from(metrics));
            });
        })?;
        Ok(server)
    }

    /// Whether a server can be started by `config`, for all that this can tell without listening.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn check(config: &Config) -> Result<(), StartError> {
        usable(config)?;
        for address in &config.listen {
            Listener::check(address, config)?;
        }
        config.metrics.map_or(Ok(()), |address| {
            metrics::check(address).map_err(|error| StartError::Metrics { address, error })
        })
    }

    /// What whoever is to run a server by `config` should know of the time in which its certificates are valid, each
    /// a sentence with the file. A server logs it when it starts and when it is reloaded: it runs all the same, as a
    /// certificate can be renewed, and a clock set, meanwhile.
    pub fn warnings(config: &Config) -> Vec<String> {
        let for_clients = untimely(config);
        #[cfg(feature = "cluster")]
        let for_hosts = config.cluster.as_ref().and_then(|cluster| cluster.identity.untimely());
        #[cfg(not(feature = "cluster"))]
        let for_hosts = None;
        for_clients.into_iter().chain(for_hosts).collect()
    }

    /// Takes part in a cluster, if there is one to take part in.
    #[cfg(feature = "cluster")]
    fn join(
        &mut self,
        shared: Arc<Shared>,
        workers: &[UnboundedSender<Incoming>],
        stopped: watch::Receiver<bool>,
    ) -> Result<(), StartError> {
        let Some(config) = shared.config().cluster.clone() else { return Ok(()) };
        let runtime = runtime()?;
        let begun = {
            let _within = runtime.enter();
            cluster::begin(shared.clone(), &config, &self.addresses, workers.to_vec())
        };
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => {
                runtime.shutdown_background();
                return Err(StartError::Cluster(error));
            }
        };
        // Set once, before anybody is served.
        let _ = shared.cluster.set(begun.handle.clone());
        let ending = self.ending.clone();
        let twin = move |at| ending.fail(Failure::Twin(at));
        self.spawn("killick-cluster".into(), move || runtime.block_on(begun.run(stopped, twin)))?;
        Ok(())
    }

    /// Where other hosts reach this one, if it takes part in a cluster: a port of 0 is replaced by the one
    /// that the system chose.
    #[cfg(feature = "cluster")]
    pub fn cluster_address(&self) -> Option<SocketAddr> {
        self.shared.cluster.get().map(cluster::Handle::local)
    }

    fn spawn(&mut self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let guard = Guard { thread: name.clone(), ending: self.ending.clone() };
        let log = dispatcher::get_default(Dispatch::clone);
        let guarded = move || {
            let _guard = guard;
            dispatcher::with_default(&log, body);
        };
        self.threads.push(std::thread::Builder::new().name(name).spawn(guarded)?);
        Ok(())
    }

    /// Where the server listens, in the order of [`Config::listen`]: a TCP port of 0 is replaced by
    /// the one that the system chose.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the server answers HTTP, if it does: a port of 0 is replaced by the one that the system chose.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The number of this host, which its absolute paths begin with as 16 hex digits.
    pub fn host_id(&self) -> u64 {
        self.shared.hosts.view().me.short()
    }

    /// Has the server go by `config`: its own bounds for connections from now on, the bounds of what all
    /// share, and who may connect, at once: a connection that would not get now what it has is closed.
    /// [`listen`](Config::listen), [`threads`](Config::threads) and
    /// [`limits`](Config::limits), and where and how it takes part in a cluster but for the certificate, what
    /// that is judged by and what the host tells of itself, stay as they are until the next start; if they differ, the log says so, as it
    /// does if nothing changes because no server can work with `config`.
    pub fn reload(&self, config: Config) {
        if let Some((setting, reason)) = config.unusable() {
            return warn!(error = %format_args!("{setting}: {reason}"), "not reloaded");
        }
        let before = self.shared.config();
        let differ = [
            ("addresses", config.listen != before.listen),
            ("metrics", config.metrics != before.metrics),
            ("threads", config.threads != before.threads),
            ("bounds of the tree", config.limits != before.limits),
            // Some address may be listened on with it.
            ("certificate", config.tls.is_none() && before.tls.is_some()),
        ];
        let stay: Vec<_> =
            differ.iter().filter_map(|&(what, differ)| differ.then_some(what)).collect();
        #[cfg(feature = "cluster")]
        if let (Some(handle), Some(cluster)) = (self.shared.cluster.get(), &config.cluster) {
            handle.reload(cluster, self.shared.hosts.view().this(), &self.addresses);
        }
        let Config { listen, metrics, threads, limits, tls, .. } = (*before).clone();
        let tls = config.tls.or(tls);
        let config = Config { listen, metrics, threads, limits, tls, ..config };
        self.shared.set_config(config);
        tell(&self.shared.config());
        match stay.is_empty() {
            true => info!("reloaded"),
            false => {
                warn!(stay = %stay.join(", "), "reloaded but for what stays until the next start")
            }
        }
    }

    /// Resolves if one of the server's threads panics, or another host with the key of this one is found, when the
    /// others have been told to stop: the server serves nobody any more. Otherwise it never does.
    pub fn failed(&self) -> impl Future<Output = StartError> + use<> {
        let mut failure = self.ending.failure.subscribe();
        async move {
            let failure = failure.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            match failure {
                Some(failure) => failure.into(),
                // The server was stopped.
                None => std::future::pending().await,
            }
        }
    }

    /// Stops the server: accepts no more connections, lets running calls finish within
    /// [`Config::drain_timeout`], closes the connections and removes the socket files. Returns when
    /// all that is done.
    pub fn stop(self) {
        drop(self);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that every thread has ended already.
        let _ = self.ending.stop.send(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to stop.
            let _ = thread.join();
        }
        self.shared.reaper.stop();
    }
}

/// Whether a server can work with `config`, wherever it listens.
fn usable(config: &Config) -> Result<(), StartError> {
    if config.listen.is_empty() {
        return Err(StartError::NoAddress);
    }
    match config.unusable() {
        Some((setting, reason)) => Err(StartError::Unusable { setting, reason }),
        None => Ok(()),
    }
}

/// Where a server listens.
struct Bound {
    listeners: Vec<Listener>,
    addresses: Vec<Address>,
    metrics: Option<TcpListener>,
}

/// Listens everywhere, or nowhere.
fn bind(config: &Config) -> Result<Bound, StartError> {
    let bound = config.listen.iter().map(|address| Listener::bind(address, config));
    let bound = bound.collect::<Result<Vec<_>, _>>()?;
    let (listeners, addresses) = bound.into_iter().unzip();
    let metrics = config.metrics.map(|address| {
        metrics::bind(address).map_err(|error| StartError::Metrics { address, error })
    });
    Ok(Bound { listeners, addresses, metrics: metrics.transpose()? })
}

/// Whether a server listens with TLS.
fn over_tls(config: &Config) -> bool {
    config.listen.iter().any(|address| matches!(address, Address::Tls(_)))
}

/// What is to be known of the time in which the certificate is valid that clients are shown, if something is.
fn untimely(config: &Config) -> Option<String> {
    let tls = config.tls.as_ref().filter(|_| over_tls(config))?;
    tls.untimely()
}

/// Logs what whoever runs the server should know of its certificate and of those that it lets in.
fn tell(config: &Config) {
    if let Some(warning) = untimely(config) {
        warn!("{warning}");
    }
    if over_tls(config) && config.authorized.is_empty() {
        warn!("no key is authorized: every client is refused that comes over TLS");
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs a server until `shutdown` resolves. Calls `ready` when it can be connected to.
///
/// # Errors
/// The server did not start: `ready` was not called. Or it could not go on: one of its threads panicked, or another
/// host has its key.
pub fn serve(
    config: Config,
    ready: impl FnOnce(&Server),
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let runtime = runtime()?;
    let server = Server::start(config)?;
    ready(&server);
    let ended = runtime.block_on(async {
        tokio::select! {
            () = shutdown => Ok(()),
            error = server.failed() => Err(error),
        }
    });
    server.stop();
    ended
}
