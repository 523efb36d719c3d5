//! Values that are no bytes: capabilities and structures, stored by a client of the test's own.

use std::future::Future;
use std::rc::Rc;

use capnp::capability::FromClientHook;
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp, twoparty};
use futures::AsyncReadExt;
use killick_schema::api::anchor_capnp::anchor::{self, child, loader};
use tokio::net::UnixStream;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::support::{Ran, Server};

/// Runs `act` with the bootstrap anchor of `server`.
fn connected<F: Future<Output = capnp::Result<()>>>(
    server: &Server,
    act: impl FnOnce(anchor::Client) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let stream = UnixStream::connect(server.socket()).await.expect("to connect");
        let (reader, writer) = stream.compat().split();
        let side = rpc_twoparty_capnp::Side::Client;
        let network = twoparty::VatNetwork::new(reader, writer, side, Default::default());
        let mut system = RpcSystem::new(Box::new(network), None);
        let root = system.bootstrap(rpc_twoparty_capnp::Side::Server);
        spawn_local(system);
        act(root).await.expect("the client's calls");
    });
}

fn walk(root: &anchor::Client, path: &str) -> anchor::Client {
    let mut request = root.walk_request();
    request.get().set_path(path);
    request.send().pipeline.get_anchor()
}

async fn store_capability(
    root: &anchor::Client,
    path: &str,
    capability: impl FromClientHook,
) -> capnp::Result<()> {
    let cell = walk(root, path).cell_request().send();
    let mut request = cell.pipeline.get_storer().store_request();
    request.get().init_value().set_as_capability(capability.into_client_hook());
    request.send().promise.await.map(drop)
}

/// Runs a command on a thread of its own, so that calls to this client are answered meanwhile.
async fn run(server: &Server, arguments: &'static [&'static str]) -> Ran {
    let mut command = server.command(arguments);
    spawn_blocking(move || super::support::run(&mut command, b"")).await.expect("to run")
}

/// An object of the test's process: a loader, or, if it is silent, one that never answers.
struct Hosted {
    silent: bool,
}

impl loader::Server for Hosted {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        _: loader::LoadResults,
    ) -> Result<(), capnp::Error> {
        if self.silent { std::future::pending().await } else { Ok(()) }
    }
}

#[test]
fn load_tells_which_interface_a_capability_answers_to() {
    let server = Server::start();
    connected(&server, async |root| {
        store_capability(&root, "anchor", walk(&root, "x/y")).await?;
        let loader = walk(&root, "z").cell_request().send().pipeline.get_loader();
        store_capability(&root, "loader", loader).await?;
        let storer = walk(&root, "z").cell_request().send().pipeline.get_storer();
        store_capability(&root, "storer", storer).await?;
        let mut made = root.new_chan_request();
        made.get().set_capacity(1);
        let chan = made.send().pipeline.get_chan();
        let ends = chan.new_send_closer_request().send().pipeline.get_send_closer();
        let sender = ends.new_sender_request().send().pipeline.get_sender();
        store_capability(&root, "sender", sender).await?;
        let closer = ends.new_closer_request().send().pipeline.get_closer();
        store_capability(&root, "closer", closer).await?;
        let hosted: loader::Client = capnp_rpc::new_client(Hosted { silent: false });
        store_capability(&root, "hosted", hosted).await?;
        let silent: loader::Client = capnp_rpc::new_client(Hosted { silent: true });
        store_capability(&root, "silent", silent).await?;

        assert_eq!(run(&server, &["load", "anchor"]).await.ok(), "capability: anchor\n");
        assert_eq!(run(&server, &["load", "loader"]).await.ok(), "capability: loader\n");
        let told = "capability: end of a channel that sends\n";
        assert_eq!(run(&server, &["load", "sender"]).await.ok(), told);
        let told = "capability: end of a channel that closes\n";
        assert_eq!(run(&server, &["load", "closer"]).await.ok(), told);
        assert_eq!(run(&server, &["load", "storer"]).await.ok(), "capability\n");
        assert_eq!(run(&server, &["load", "hosted"]).await.ok(), "capability: loader\n");
        assert_eq!(run(&server, &["load", "silent"]).await.ok(), "capability\n");
        let document = &run(&server, &["load", "--json", "anchor"]).await.json()[0];
        let value = r#"{"interface":"anchor","kind":"capability"}"#;
        assert_eq!(document["value"].to_string(), value);
        Ok(())
    });
}

#[test]
fn load_tells_the_size_of_what_it_cannot_read() {
    let server = Server::start();
    connected(&server, async |root| {
        let cell = walk(&root, "a").cell_request().send();
        let mut request = cell.pipeline.get_storer().store_request();
        let mut child: child::Builder<'_> = request.get().init_value().init_as();
        child.set_name("seven__");
        child.set_anchor(walk(&root, "x"));
        request.send().promise.await.map(drop)?;
        let shown = run(&server, &["load", "a"]).await;
        assert_eq!(shown.ok(), "structure: 40 bytes, 1 capability\n");
        let document = &run(&server, &["load", "--json", "a"]).await.json()[0];
        let value = r#"{"bytes":40,"capabilities":1,"kind":"structure"}"#;
        assert_eq!(document["value"].to_string(), value);
        Ok(())
    });
}
