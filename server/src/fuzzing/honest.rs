//! A client that means no harm, beside those that do: it is answered, and rightly.

use std::time::Duration;

use capnp::capability::FromClientHook;
use capnp::message::ReaderOptions;
use capnp::{Error, ErrorKind, any_pointer};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, RpcSystem, twoparty};
use futures::AsyncReadExt;
use killick_schema::api::anchor_capnp::anchor::{self, loader, storer};
use killick_schema::api::channel_capnp::{recver, sender};
use killick_schema::api::host_capnp::host;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::narrowed::Narrowed;

/// How long an answer may take, in a time that passes only when nobody has anything to do.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where it has its node.
pub(super) const ROOT: &str = "honest";

pub(super) struct Honest {
    host: host::Client,
    anchor: anchor::Client,
    loader: loader::Client,
    storer: storer::Client,
    narrowed: Narrowed,
    sender: sender::Client<any_pointer::Owned>,
    recver: recver::Client<any_pointer::Owned>,
    /// How many values it has sent.
    sent: u64,
    disconnector: Disconnector<Side>,
    driver: JoinHandle<capnp::Result<()>>,
}

impl Honest {
    pub(super) async fn connect(stream: DuplexStream) -> Self {
        let (read, write) = stream.compat().split();
        let network = twoparty::VatNetwork::new(read, write, Side::Client, ReaderOptions::new());
        let mut rpc = RpcSystem::new(Box::new(network), None);
        let host: host::Client = rpc.bootstrap(Side::Server);
        let disconnector = rpc.get_disconnector();
        let driver = tokio::task::spawn_local(rpc);
        let anchor: anchor::Client = host.clone().cast_to();
        let mut request = anchor.new_chan_request();
        request.get().set_capacity(1);
        let chan = answered(request.send().promise).await;
        let chan = chan.get().and_then(|made| made.get_chan()).expect("a channel");
        let mut request = anchor.walk_request();
        request.get().set_path(ROOT);
        let anchor = answered(request.send().promise).await;
        let anchor = anchor.get().and_then(|walked| walked.get_anchor()).expect("an anchor");
        let cell = answered(anchor.cell_request().send().promise).await;
        let cell = cell.get().expect("a cell");
        let (loader, storer) = (cell.get_loader().expect("one"), cell.get_storer().expect("one"));
        let narrowed = Narrowed::of(&anchor, 0x2e).await.expect("narrowed");
        Honest {
            host,
            anchor,
            loader,
            storer,
            narrowed,
            sender: chan.clone().cast_to(),
            recver: chan.cast_to(),
            sent: 0,
            disconnector,
            driver,
        }
    }

    /// What is at `path`.
    fn at(&self, path: &str) -> anchor::Client {
        let host: anchor::Client = self.host.clone().cast_to();
        let mut request = host.walk_request();
        request.get().set_path(path);
        request.send().pipeline.get_anchor()
    }

    /// Puts a text at `path`.
    pub(super) async fn put(&self, path: &str, text: &str) {
        let cell = self.at(path).cell_request().send().pipeline;
        let mut request = cell.get_storer().store_request();
        request.get().init_value().set_as(text).expect("room in the message");
        answered(request.send().promise).await;
    }

    /// Puts the anchor of `what` at `path`, with all rights.
    pub(super) async fn put_whole(&self, path: &str, what: &str) {
        let cell = self.at(path).cell_request().send().pipeline;
        let mut request = cell.get_storer().store_request();
        request.get().init_value().set_as_capability(self.at(what).client.hook);
        answered(request.send().promise).await;
    }

    /// Asks for something that concerns nobody else.
    pub(super) async fn ask(&mut self) {
        let info = answered(self.host.info_request().send().promise).await;
        let info = info.get().and_then(|info| info.get_info()).expect("told");
        assert!(info.get_nodes() >= 2, "its own node is gone");
        answered(self.loader.load_request().send().promise).await;
        self.narrowed.check().await;
        self.exchange().await;
    }

    /// Sends a value to itself, and receives that and nothing else.
    async fn exchange(&mut self) {
        self.sent += 1;
        let text = format!("honest {}", self.sent);
        let mut request = self.sender.try_send_request();
        request.get().init_value().set_as(text.as_str()).expect("room in the message");
        let Some(sent) = with_room(request.send().promise).await else { return };
        assert!(sent.get().expect("told").get_sent(), "its channel is full");
        let received = answered(self.recver.recv_request().send().promise).await;
        let value = received.get().and_then(|received| received.get_value()).expect("received");
        assert_eq!(value.get_as::<capnp::text::Reader<'_>>().expect("a text"), &*text);
        let left = answered(self.recver.try_recv_request().send().promise).await;
        assert!(!left.get().expect("told").get_received(), "nobody has sent more");
    }

    /// Takes back what it has narrowed, and narrows it as `rights` say.
    pub(super) async fn narrow_again(&mut self, rights: u8) {
        self.narrowed.revoke().await;
        if let Some(narrowed) = Narrowed::of(&self.anchor, rights).await {
            self.narrowed = narrowed;
        }
    }

    /// Stores and loads, beside nobody. Whether there was room for it.
    pub(super) async fn works(&self) -> bool {
        let mut request = self.storer.store_request();
        request.get().set_overwrite(true);
        request.get().init_value().set_as("honest").expect("room in the message");
        if with_room(request.send().promise).await.is_none() {
            return false;
        }
        let loaded = answered(self.loader.load_request().send().promise).await;
        let value = loaded.get().expect("loaded").get_value();
        let text = value.get_as::<capnp::text::Reader<'_>>().expect("a text");
        assert_eq!(text, "honest");
        let mut request = self.storer.store_request();
        request.get().set_overwrite(true);
        answered(request.send().promise).await;
        true
    }

    pub(super) async fn leave(self) {
        let _ = timeout(PATIENCE, self.disconnector).await.expect("ends in time");
        let _ = timeout(PATIENCE, self.driver).await.expect("ends in time");
    }
}

/// The answer to a call, or its error, in time.
pub(super) async fn told<T>(call: impl Future<Output = capnp::Result<T>>) -> Result<T, Error> {
    timeout(PATIENCE, call).await.expect("answered in time")
}

pub(super) async fn answered<T>(call: impl Future<Output = capnp::Result<T>>) -> T {
    told(call).await.expect("answered")
}

/// The answer to a call, unless there is no room for what it makes.
pub(super) async fn with_room<T>(call: impl Future<Output = capnp::Result<T>>) -> Option<T> {
    match told(call).await {
        Err(error) if error.kind == ErrorKind::Overloaded => None,
        answer => Some(answer.expect("answered")),
    }
}
