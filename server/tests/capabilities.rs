//! Capabilities as values: hosted by one client, called by another, gone with the first.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use capnp::ErrorKind;
use killick_schema::api::anchor_capnp::anchor::{self, loader, storer};
use support::{
    Harness, Peer, Put, cell, eventually, identity, load, load_cap, lookup, names, put, run,
    speaker, store, swap, walk,
};

async fn loader_at(peer: &Peer, path: &str) -> loader::Client {
    cell(&walk(&peer.anchor(), path).await.expect("walked")).await.0
}

#[test]
fn a_capability_that_one_client_stores_is_called_by_another() {
    let harness = Harness::start();
    run(async {
        for (at_host, at_caller) in [(0, 1), (1, 0), (0, 0)] {
            let addresses = harness.server.addresses();
            let host = Peer::connect(&addresses[at_host]).await;
            let caller = Peer::connect(&addresses[at_caller]).await;
            let (client, spoken) = speaker("hello");
            put(&host, "service", Put::cap(client)).await;

            let found: loader::Client =
                load_cap(&loader_at(&caller, "service").await).await.unwrap().expect("there");
            assert_eq!(load(&found).await.unwrap(), (Some("hello".into()), 1));
            assert_eq!(load(&found).await.unwrap(), (Some("hello".into()), 2));
            assert_eq!(spoken.get(), 2);
            drop(found);
            host.leave().await;
            caller.tree_is_empty().await;
            caller.leave().await;
        }
    });
}

#[test]
fn a_loaded_capability_is_one_and_the_same_each_time() {
    let harness = Harness::start();
    run(async {
        let host = Peer::connect(harness.unix()).await;
        let caller = Peer::connect(harness.unix()).await;
        let (client, _spoken) = speaker("hello");
        put(&host, "a", Put::cap(client.clone())).await;
        put(&host, "b", Put::cap(client)).await;
        let a: loader::Client =
            load_cap(&loader_at(&caller, "a").await).await.unwrap().expect("there");
        let b: loader::Client =
            load_cap(&loader_at(&caller, "b").await).await.unwrap().expect("there");
        assert_eq!(identity(&a), identity(&b));
    });
}

#[test]
fn a_capability_is_released_at_its_host_when_nobody_can_reach_it_any_more() {
    let harness = Harness::start();
    run(async {
        let host = Peer::connect(harness.unix()).await;
        let caller = Peer::connect(harness.tcp()).await;
        let (client, spoken) = speaker("hello");
        put(&host, "a", Put::cap(client)).await;
        let held: loader::Client =
            load_cap(&loader_at(&caller, "a").await).await.unwrap().expect("there");
        put(&caller, "a", Put::Nothing).await;
        caller.tree_is_empty().await;
        assert_eq!(load(&held).await.unwrap().0, Some("hello".into()));
        assert_ne!(spoken.get(), usize::MAX);
        drop(held);
        eventually("the release", async || {
            // Traffic, as a client sends its own releases along.
            caller.nodes().await;
            spoken.get() == usize::MAX
        })
        .await;
    });
}

#[test]
fn the_cell_is_emptied_and_pruned_when_the_host_of_its_value_leaves() {
    let harness = Harness::start();
    run(async {
        let (host, other) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
        let (client, _spoken) = speaker("hello");
        put(&host, "held", Put::cap(client.clone())).await;
        put(&host, "not/held", Put::cap(client.clone())).await;
        put(&host, "replaced", Put::cap(client.clone())).await;
        put(&other, "replaced", Put::text("mine")).await;
        put(&host, "text", Put::text("stays")).await;
        let held = loader_at(&other, "held").await;
        let service: loader::Client = load_cap(&held).await.unwrap().expect("there");

        host.leave().await;
        eventually("an empty cell", async || load(&held).await.is_ok_and(|(v, _)| v.is_none()))
            .await;
        assert_eq!(load(&held).await.unwrap(), (None, 2));
        assert_eq!(names(&other.anchor()).await, ["held", "replaced", "text"]);
        let error = load(&service).await.expect_err("nobody hosts it");
        assert_eq!(error.kind, ErrorKind::Disconnected);
        assert!(error.to_string().contains("that hosted this capability"), "{error}");

        // It cannot be stored any more either.
        let storer = cell(&walk(&other.anchor(), "dead").await.unwrap()).await.1;
        let error = store(&storer, Put::cap(service), true).await.expect_err("dead");
        assert!(error.to_string().contains("that hosted this capability"), "{error}");
        drop((held, storer));
        put(&other, "replaced", Put::Nothing).await;
        put(&other, "text", Put::Nothing).await;
        other.tree_is_empty().await;
    });
}

#[test]
fn a_loaded_capability_can_be_stored_again_and_lives_with_its_first_host() {
    let harness = Harness::start();
    run(async {
        let (host, middle, last) = (
            Peer::connect(harness.unix()).await,
            Peer::connect(harness.unix()).await,
            Peer::connect(harness.tcp()).await,
        );
        let (client, spoken) = speaker("hello");
        put(&host, "a", Put::cap(client)).await;
        let found: loader::Client =
            load_cap(&loader_at(&middle, "a").await).await.unwrap().expect("there");
        put(&middle, "b", Put::cap(found)).await;
        middle.leave().await;
        let found: loader::Client =
            load_cap(&loader_at(&last, "b").await).await.unwrap().expect("there");
        assert_eq!(load(&found).await.unwrap().0, Some("hello".into()));
        assert_eq!(spoken.get(), 1);
        host.leave().await;
        last.tree_is_empty().await;
    });
}

#[test]
fn anchors_loaders_and_storers_come_back_as_themselves() {
    let harness = Harness::start();
    run(async {
        let one = Peer::connect(harness.unix()).await;
        let other = Peer::connect(harness.tcp()).await;
        let target = walk(&one.anchor(), "target").await.unwrap();
        let (reader, writer) = cell(&target).await;
        put(&one, "box/anchor", Put::cap(target.clone())).await;
        put(&one, "box/loader", Put::cap(reader)).await;
        put(&one, "box/storer", Put::cap(writer)).await;
        // One that is only promised when it is stored.
        let mut request = one.anchor().walk_request();
        request.get().set_path("target");
        put(&one, "box/promise", Put::cap(request.send().pipeline.get_anchor())).await;
        drop(target);
        one.leave().await;

        let own = walk(&other.anchor(), "target").await.unwrap();
        for name in ["box/anchor", "box/promise"] {
            let found: anchor::Client =
                load_cap(&loader_at(&other, name).await).await.unwrap().expect("there");
            assert_eq!(identity(&found), identity(&own), "{name}");
        }
        let (loader, storer) = cell(&own).await;
        let found: loader::Client =
            load_cap(&loader_at(&other, "box/loader").await).await.unwrap().expect("there");
        assert_eq!(identity(&found), identity(&loader));
        let found: storer::Client =
            load_cap(&loader_at(&other, "box/storer").await).await.unwrap().expect("there");
        assert_eq!(identity(&found), identity(&storer));
    });
}

#[test]
fn the_bootstrap_capability_can_be_stored_and_comes_back() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        put(&peer, "me", Put::cap(peer.host.clone())).await;
        let found: anchor::Client =
            load_cap(&loader_at(&peer, "me").await).await.unwrap().expect("there");
        assert_eq!(names(&found).await, ["me"]);
    });
}

/// Keeps the capability it is given, and gives back the one before.
#[derive(Default)]
struct Exchange(RefCell<Option<loader::Client>>);

impl anchor::Server for Exchange {
    async fn swap(
        self: Rc<Self>,
        params: anchor::SwapParams,
        mut results: anchor::SwapResults,
    ) -> capnp::Result<()> {
        let given = params.get()?.get_value().get_as_capability()?;
        if let Some(kept) = self.0.replace(Some(given)) {
            let hook = kept.client.hook.add_ref();
            results.get().init_previous().set_as_capability(hook);
        }
        Ok(())
    }
}

#[test]
fn capabilities_pass_through_calls_in_both_directions() {
    let harness = Harness::start();
    run(async {
        let (host, one, other) = (
            Peer::connect(harness.unix()).await,
            Peer::connect(harness.unix()).await,
            Peer::connect(harness.tcp()).await,
        );
        let exchange: anchor::Client = capnp_rpc::new_client(Exchange::default());
        put(&host, "exchange", Put::cap(exchange)).await;

        // A speaker of one client's goes by the host to the other client.
        let (client, spoken) = speaker("through");
        let at_one: anchor::Client =
            load_cap(&loader_at(&one, "exchange").await).await.unwrap().expect("there");
        assert_eq!(swap(&at_one, Put::cap(client)).await.unwrap().0, None);
        let at_other: anchor::Client =
            load_cap(&loader_at(&other, "exchange").await).await.unwrap().expect("there");
        let mut request = at_other.swap_request();
        let anchor = walk(&other.anchor(), "mine").await.unwrap();
        let hook = anchor.client.hook.add_ref();
        request.get().init_value().set_as_capability(hook);
        let response = request.send().promise.await.expect("swapped");
        let got: loader::Client =
            response.get().unwrap().get_previous().get_as_capability().unwrap();
        assert_eq!(load(&got).await.unwrap().0, Some("through".into()));
        assert_eq!(spoken.get(), 1);

        // An anchor of the server's is the same node wherever it has been.
        let (back, _spoken) = speaker("x");
        let mut request = at_one.swap_request();
        request.get().init_value().set_as_capability(back.client.hook.add_ref());
        let response = request.send().promise.await.expect("swapped");
        let returned: anchor::Client =
            response.get().unwrap().get_previous().get_as_capability().unwrap();
        let walked = walk(&one.anchor(), "mine").await.unwrap();
        assert_eq!(identity(&returned), identity(&walked));
    });
}

/// Answers every load with the capability that it was told to.
struct Mirror(RefCell<Option<loader::Client>>);

impl loader::Server for Mirror {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        mut results: loader::LoadResults,
    ) -> capnp::Result<()> {
        if let Some(client) = &*self.0.borrow() {
            results.get().init_value().set_as_capability(client.client.hook.add_ref());
        }
        Ok(())
    }
}

#[test]
fn a_client_that_calls_itself_through_the_server_gets_answers_not_a_loop() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let mirror = Rc::new(Mirror(RefCell::new(None)));
        let client: loader::Client = capnp_rpc::new_client_from_rc(mirror.clone());
        put(&peer, "mirror", Put::cap(client)).await;
        let proxy: loader::Client =
            load_cap(&loader_at(&peer, "mirror").await).await.unwrap().expect("there");
        mirror.0.replace(Some(proxy.clone()));
        let again: loader::Client = load_cap(&proxy).await.unwrap().expect("itself");
        assert_eq!(identity(&again), identity(&proxy));
        assert!(load_cap::<loader::Client>(&again).await.unwrap().is_some());
        mirror.0.replace(None);
    });
}

#[test]
fn a_promise_that_resolves_is_stored_as_what_it_became_and_one_that_does_not_is_an_error() {
    let harness = Harness::with(|config| config.settle_timeout = Duration::from_millis(200));
    run(async {
        let (host, other) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
        let (client, _spoken) = speaker("late");
        let (resolve, promise) = futures::channel::oneshot::channel::<loader::Client>();
        let promised: loader::Client = capnp_rpc::new_future_client(async move {
            promise.await.map_err(|_| capnp::Error::failed("never".into()))
        });
        let storing = put(&host, "late", Put::cap(promised));
        let resolving = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(resolve.send(client).is_ok());
        };
        tokio::join!(storing, resolving);
        let found: loader::Client =
            load_cap(&loader_at(&other, "late").await).await.unwrap().expect("there");
        assert_eq!(load(&found).await.unwrap().0, Some("late".into()));

        let never: loader::Client = capnp_rpc::new_future_client(futures::future::pending());
        let (_, storer) = cell(&walk(&host.anchor(), "never").await.unwrap()).await;
        let start = Instant::now();
        let error = store(&storer, Put::cap(never), true).await.expect_err("still a promise");
        assert!(error.to_string().contains("still a promise after 200ms"), "{error}");
        assert!(start.elapsed() >= Duration::from_millis(200));
        drop(storer);
        eventually("the node's end", async || {
            lookup(&other.anchor(), "never").await.unwrap().is_none()
        })
        .await;
    });
}

#[test]
fn a_promise_that_resolves_to_itself_through_the_server_is_an_error_not_a_loop() {
    let harness = Harness::start();
    run(async {
        let (host, peer) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.tcp()).await);
        let exchange: anchor::Client = capnp_rpc::new_client(Exchange::default());
        put(&host, "exchange", Put::cap(exchange)).await;
        let exchange: anchor::Client =
            load_cap(&loader_at(&peer, "exchange").await).await.unwrap().expect("there");

        let (resolve, promise) = futures::channel::oneshot::channel::<loader::Client>();
        let promised: loader::Client = capnp_rpc::new_future_client(async move {
            promise.await.map_err(|_| capnp::Error::failed("never".into()))
        });
        assert_eq!(swap(&exchange, Put::cap(promised)).await.unwrap().0, None);
        let (other, _spoken) = speaker("x");
        let mut request = exchange.swap_request();
        request.get().init_value().set_as_capability(other.client.hook.add_ref());
        let response = request.send().promise.await.expect("swapped");
        let proxy: loader::Client =
            response.get().unwrap().get_previous().get_as_capability().unwrap();

        // Not yet resolved: a call waits for it no longer than it may.
        let error = load(&proxy).await.expect_err("still a promise");
        assert!(error.to_string().contains("still a promise after 500ms"), "{error}");
        assert!(resolve.send(proxy.clone()).is_ok());
        let error = load(&proxy).await.expect_err("nobody to call");
        assert!(error.to_string().contains("resolves to itself"), "{error}");
    });
}

/// Never answers; tells when it is given up.
struct Silent(Rc<RefCell<&'static str>>);

impl loader::Server for Silent {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        _: loader::LoadResults,
    ) -> capnp::Result<()> {
        struct Call(Rc<RefCell<&'static str>>);
        impl Drop for Call {
            fn drop(&mut self) {
                self.0.replace("given up");
            }
        }
        self.0.replace("called");
        let _call = Call(self.0.clone());
        futures::future::pending().await
    }
}

#[test]
fn a_call_ends_with_its_host_and_is_given_up_with_its_caller() {
    let harness = Harness::start();
    run(async {
        let (host, caller, other) = (
            Peer::connect(harness.unix()).await,
            Peer::connect(harness.unix()).await,
            Peer::connect(harness.tcp()).await,
        );
        let state = Rc::new(RefCell::new("idle"));
        let silent: loader::Client = capnp_rpc::new_client(Silent(state.clone()));
        put(&host, "silent", Put::cap(silent)).await;
        let found: loader::Client =
            load_cap(&loader_at(&caller, "silent").await).await.unwrap().expect("there");
        let call = tokio::task::spawn_local(async move { load(&found).await });
        eventually("the call", async || *state.borrow() == "called").await;
        caller.leave().await;
        eventually("the call's end", async || *state.borrow() == "given up").await;
        assert!(call.await.unwrap().is_err());

        let found: loader::Client =
            load_cap(&loader_at(&other, "silent").await).await.unwrap().expect("there");
        let call = tokio::task::spawn_local(async move { load(&found).await });
        eventually("the call", async || *state.borrow() == "called").await;
        host.leave().await;
        let error = call.await.unwrap().expect_err("the host has gone");
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        other.tree_is_empty().await;
    });
}
