//! A server as a value: started, asked for its addresses, stopped.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;

use crate::address::ListenAddr;
use crate::config::Config;
use crate::listen::{self, ListenError, Listener};
use crate::worker::{self, Shared};

/// How many workers a server has.
const WORKERS: usize = 1;

/// Why a server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// [`Config::listen`] is empty.
    NoAddress,
    /// One of the addresses cannot be listened on.
    Listen(ListenError),
    /// The system refused a thread or a runtime.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoAddress => f.write_str("no address to listen on"),
            StartError::Listen(error) => error.fmt(f),
            StartError::Io(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::NoAddress => None,
            StartError::Listen(error) => error.source(),
            StartError::Io(error) => Some(error),
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

/// A running server, on threads of its own. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<ListenAddr>,
    host_id: u64,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a server. When this returns, it can be connected to at each of its addresses.
    ///
    /// # Errors
    /// Nothing is left behind: either all addresses are listened on or none.
    pub fn start(config: Config) -> Result<Self, StartError> {
        if config.listen.is_empty() {
            return Err(StartError::NoAddress);
        }
        let acceptor = runtime()?;
        let mut addresses = Vec::new();
        let mut listeners = Vec::new();
        {
            let _within = acceptor.enter();
            for address in &config.listen {
                let (listener, bound) = Listener::bind(address)?;
                listeners.push(listener);
                addresses.push(bound);
            }
        }
        let shared = Arc::new(Shared::new(config));
        let (stop, stopped) = watch::channel(false);
        let mut server = Server { addresses, host_id: shared.host_id, stop, threads: Vec::new() };
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            let (worker, incoming) = unbounded_channel();
            workers.push(worker);
            let (shared, stopped, runtime) = (shared.clone(), stopped.clone(), runtime()?);
            server.spawn(format!("killick-worker-{number}"), move || {
                worker::run(&runtime, shared, incoming, stopped);
            })?;
        }
        server.spawn("killick-accept".into(), move || {
            acceptor.block_on(async {
                let accept = |listener| {
                    listen::accept(listener, shared.clone(), workers.clone(), stopped.clone())
                };
                futures::future::join_all(listeners.into_iter().map(accept)).await
            });
        })?;
        Ok(server)
    }

    fn spawn(&mut self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name).spawn(body)?);
        Ok(())
    }

    /// Where the server listens, in the order of [`Config::listen`]: a TCP port of 0 is replaced by
    /// the one that the system chose.
    pub fn addresses(&self) -> &[ListenAddr] {
        &self.addresses
    }

    /// The number of this host, which its absolute paths begin with as 16 hex digits.
    pub fn host_id(&self) -> u64 {
        self.host_id
    }

    /// Stops the server: accepts no more connections, lets running calls finish within
    /// [`Config::drain_timeout`], closes the connections and removes the socket files. Returns when
    /// all that is done.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that every thread has ended already.
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to stop.
            let _ = thread.join();
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs a server until `shutdown` resolves. Calls `ready` when it can be connected to.
///
/// # Errors
/// The server did not start: `ready` was not called.
pub fn serve(
    config: Config,
    ready: impl FnOnce(&Server),
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let runtime = runtime()?;
    let server = Server::start(config)?;
    ready(&server);
    runtime.block_on(shutdown);
    server.stop();
    Ok(())
}
