//! What the tests share: servers of their own over Unix sockets and TCP, and peers that misbehave.

#![allow(dead_code, unreachable_pub, reason = "each test target uses some of it")]

pub mod proxy;

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use killick_client::{Address, Client, Error, Options, Retry};
use killick_server::{Config, Server};

/// The longest that anything in a test is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a Unix socket and on a TCP port of its own.
pub struct Harness {
    server: Option<Server>,
    addresses: Vec<Address>,
    folder: tempfile::TempDir,
}

impl Harness {
    pub fn start() -> Self {
        Harness::with(|_| {})
    }

    /// A server with a configuration of its own.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let unix = Address::Unix(folder.path().join("killick.sock"));
        let mut config = Config::for_test([unix, Address::Tcp("127.0.0.1:0".into())]);
        change(&mut config);
        let server = Server::start(config).expect("started");
        let addresses = server.addresses().to_vec();
        Harness { server: Some(server), addresses, folder }
    }

    pub fn unix(&self) -> &Address {
        &self.addresses[0]
    }

    pub fn tcp(&self) -> &Address {
        &self.addresses[1]
    }

    /// A path in a folder that goes with the server.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.unix(), options()).await.expect("connected")
    }

    /// Ends the server, and with it every connection.
    pub fn stop(&mut self) {
        self.server.take().expect("a server").stop();
    }

    /// Starts another server in the place of one that was stopped: on the same addresses, empty.
    pub fn start_again(&mut self) {
        // Meanwhile somebody else may have had the port for a moment.
        let start = Instant::now();
        while self.server.is_none() {
            assert!(start.elapsed() < PATIENCE, "not started again");
            let config = Config::for_test(self.addresses.clone());
            // A server that does not start has a runtime to drop, which an asynchronous test must not.
            let started = std::thread::spawn(|| Server::start(config));
            self.server = started.join().expect("no panic").ok();
        }
    }
}

/// Waits less than by default, so that a test that waits in vain ends.
pub fn options() -> Options {
    Options { timeout: Some(PATIENCE), connect_timeout: PATIENCE, ..Options::default() }
}

/// Tries nothing twice.
pub fn once() -> Options {
    Options { retry: Retry::NONE, ..options() }
}

/// Tries nothing twice, and waits for a moment.
pub fn impatient() -> Options {
    let moment = Duration::from_millis(150);
    Options { timeout: Some(moment), connect_timeout: moment, ..once() }
}

/// Runs the body of a test.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(Default::default()).expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(3 * PATIENCE, test).await.expect("the test ends in time")
    })
}

/// Runs the body of a test over a Unix socket and over TCP, each with a server of its own.
pub fn over_both(test: impl AsyncFn(Client)) {
    for address in [Harness::unix, Harness::tcp] {
        let harness = Harness::start();
        run(async {
            test(Client::connect(address(&harness), options()).await.expect("connected")).await;
        });
    }
}

/// Waits until `holds` does.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the tree holds its root and nothing else.
pub async fn tree_is_empty(client: &Client) {
    eventually("an empty tree", async || nodes(client).await == 1).await;
}

/// Nodes in the tree, its root included.
pub async fn nodes(client: &Client) -> u64 {
    client.info().await.expect("info").nodes
}

/// Whether nothing was done because the connection had ended.
pub fn is_disconnected<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Disconnected { .. }))
}
