//! A client that means no harm, beside those that do: it is answered, and rightly.

use std::time::Duration;

use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, RpcSystem, twoparty};
use futures::AsyncReadExt;
use killick_schema::api::anchor_capnp::anchor::{self, loader, storer};
use killick_schema::api::host_capnp::host;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::compat::TokioAsyncReadCompatExt;

/// How long an answer may take, in a time that passes only when nobody has anything to do.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Honest {
    host: host::Client,
    _anchor: anchor::Client,
    loader: loader::Client,
    storer: storer::Client,
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
        let anchor: anchor::Client = capnp::capability::FromClientHook::cast_to(host.clone());
        let mut request = anchor.walk_request();
        request.get().set_path("honest");
        let anchor = answered(request.send().promise).await;
        let anchor = anchor.get().and_then(|walked| walked.get_anchor()).expect("an anchor");
        let cell = answered(anchor.cell_request().send().promise).await;
        let cell = cell.get().expect("a cell");
        let (loader, storer) = (cell.get_loader().expect("one"), cell.get_storer().expect("one"));
        Honest { host, _anchor: anchor, loader, storer, disconnector, driver }
    }

    /// Asks for something that concerns nobody else.
    pub(super) async fn ask(&self) {
        let info = answered(self.host.info_request().send().promise).await;
        let info = info.get().and_then(|info| info.get_info()).expect("told");
        assert!(info.get_nodes() >= 2, "its own node is gone");
        answered(self.loader.load_request().send().promise).await;
    }

    /// Stores and loads, beside nobody. Whether there was room for it.
    pub(super) async fn works(&self) -> bool {
        let mut request = self.storer.store_request();
        request.get().set_overwrite(true);
        request.get().init_value().set_as("honest").expect("room in the message");
        match timeout(PATIENCE, request.send().promise).await.expect("answered in time") {
            Err(error) if error.kind == capnp::ErrorKind::Overloaded => return false,
            stored => drop(stored.expect("stored")),
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

async fn answered<T: 'static>(call: impl Future<Output = capnp::Result<T>>) -> T {
    timeout(PATIENCE, call).await.expect("answered in time").expect("answered")
}
