//! A proxy between a client and a server that can hold back what passes, and cut the connection.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use capnp_rpc::rpc_capnp::{exception, message};
use killick_client::{Address, capnp, capnp_rpc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

/// A proxy for one client after the other.
pub struct Proxy {
    address: Address,
    shared: Rc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    holds_requests: Cell<bool>,
    holds_answers: Cell<bool>,
    stalls: Cell<bool>,
    connections: Cell<usize>,
    requests: Cell<usize>,
    reads: Cell<usize>,
    cut: Notify,
    /// What the next client is told when its connection is cut.
    last_words: RefCell<Vec<u8>>,
}

impl Proxy {
    /// A proxy at `path` for the server at `server`, which is a Unix socket.
    pub fn start(path: PathBuf, server: &Address) -> Self {
        let Address::Unix(server) = server.clone() else { panic!("a Unix socket") };
        let listener = UnixListener::bind(&path).expect("bound");
        let shared = Rc::new(Shared::default());
        let accepting = spawn_local(accept(listener, server, shared.clone()));
        Proxy { address: Address::Unix(path), shared, accepting }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// From now on, what the client sends goes nowhere.
    pub fn hold_requests(&self) {
        self.shared.holds_requests.set(true);
    }

    /// From now on, what the server answers goes nowhere.
    pub fn hold_answers(&self) {
        self.shared.holds_answers.set(true);
    }

    /// From now on, nothing is read of what the client sends.
    pub fn stall(&self) {
        self.shared.stalls.set(true);
    }

    /// From now on, everything passes again, but for what was held.
    pub fn hold_nothing(&self) {
        self.shared.holds_requests.set(false);
        self.shared.holds_answers.set(false);
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.shared.cut.notify_waiters();
    }

    /// Ends every connection as a server does that has a reason, which is a limit.
    pub fn abort(&self, reason: &str) {
        let bytes = last_words(reason, exception::Type::Overloaded);
        self.shared.last_words.replace(bytes);
        self.cut();
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.connections.get()
    }

    /// How many bytes of requests have come.
    pub fn requests(&self) -> usize {
        self.shared.requests.get()
    }

    /// In how many pieces they have come.
    pub fn reads(&self) -> usize {
        self.shared.reads.get()
    }
}

/// The message that a server ends a connection with.
pub fn last_words(reason: &str, kind: exception::Type) -> Vec<u8> {
    let mut message = capnp::message::Builder::new_default();
    let mut abort = message.init_root::<message::Builder<'_>>().init_abort();
    abort.set_reason(reason);
    abort.set_type(kind);
    capnp::serialize::write_message_to_words(&message)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: UnixListener, server: PathBuf, shared: Rc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.set(shared.connections.get() + 1);
        spawn_local(pass(client, server.clone(), shared.clone()));
    }
}

async fn pass(client: UnixStream, server: impl AsRef<Path>, shared: Rc<Shared>) {
    let Ok(server) = UnixStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            shared.requests.set(shared.requests.get() + count);
            shared.reads.set(shared.reads.get() + 1);
            while shared.stalls.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if !shared.holds_requests.get() && to_server.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    };
    let answers = async {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            if !shared.holds_answers.get() && to_client.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    };
    // Either end of it is the end of both.
    tokio::select! {
        // Nothing passes any more when it is cut.
        biased;
        () = shared.cut.notified() => {}
        () = requests => {}
        () = answers => {}
    }
    let last_words = shared.last_words.take();
    if !last_words.is_empty() && to_client.write_all(&last_words).await.is_ok() {
        // Time to hear them, before the rest is refused.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
