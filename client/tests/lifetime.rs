//! What a handle keeps, and that nothing is left of what is dropped.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use killick_client::schema::api::anchor_capnp::anchor::{self, WalkParams, WalkResults};
use killick_client::{Value, capnp, capnp_rpc};
use support::{Harness, eventually, nodes, over_both, run, tree_is_empty};

#[test]
fn dropping_the_last_clone_of_an_anchor_releases_its_node() {
    over_both(async |client| {
        let anchor = client.walk("a/b").await.unwrap();
        let clone = anchor.clone();
        assert_eq!(nodes(&client).await, 3);
        drop(anchor);
        assert_eq!(nodes(&client).await, 3);
        drop(clone);
        tree_is_empty(&client).await;
    });
}

#[test]
fn handles_of_a_listing_and_of_cells_are_released_like_any_other() {
    over_both(async |client| {
        let held = client.walk("a/b").await.unwrap();
        let children = client.ls_at("a").await.unwrap();
        let cell = held.cell();
        drop(held);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(nodes(&client).await, 3);
        drop(children);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(nodes(&client).await, 3);
        drop(cell);
        tree_is_empty(&client).await;
    });
}

#[test]
fn an_anchor_that_was_used_early_is_settled_and_leaves_no_call_open() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let early = client.at("a").await.unwrap();
        let (loader, _) = early.cell();
        loader.load().await.unwrap();
        assert!(early.is_same(&client.walk("a").await.unwrap()));
        drop((early, loader));
        tree_is_empty(&client).await;
        // The bootstrap anchor is what is left.
        eventually("one handle", async || client.clients().await.unwrap()[0].handles == 1).await;
    });
}

#[test]
fn handles_that_were_not_waited_for_leave_no_call_open_whether_they_are_used_or_not() {
    let harness = Harness::with(|config| config.max_calls = 8);
    run(async {
        let client = harness.client().await;
        let (host, anchor) = (client.root().await.unwrap(), client.walk("a").await.unwrap());
        let host = host.at("self").unwrap();
        let mut held = Vec::new();
        // Four times as many calls as that, answered or not, end the connection.
        for i in 0..50 {
            let early = host.at(format!("b/{i}")).unwrap();
            if i % 2 == 0 {
                early.load().await.unwrap();
            }
            held.push((early, anchor.cell(), host.clone()));
            client.info().await.unwrap();
        }
        for (early, (loader, storer), _) in &held {
            let revision = storer.store("x", true).await.unwrap();
            assert_eq!(loader.load().await.unwrap().revision, revision);
            assert_eq!(early.store("y", false).await.unwrap(), 1);
        }
        // Each half of a cell is there for itself.
        let (loader, _) = anchor.cell();
        let (_, storer) = anchor.cell();
        assert_eq!(storer.store("z", true).await.unwrap(), 51);
        assert_eq!(loader.load().await.unwrap().text(), Some("z"));
        drop((held, loader, storer, anchor, host));
        assert_eq!(client.names_at("").await.unwrap(), ["a", "b"]);
    });
}

/// An anchor of a client's own that says when a walk begins and when it is given up, and never answers.
struct Silent(Rc<Cell<i32>>);

struct Under(Rc<Cell<i32>>);

impl Drop for Under {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl anchor::Server for Silent {
    async fn walk(self: Rc<Self>, _: WalkParams, _: WalkResults) -> capnp::Result<()> {
        self.0.set(self.0.get() + 1);
        let _under = Under(self.0.clone());
        std::future::pending().await
    }
}

#[test]
fn a_handle_that_is_not_there_yet_is_given_up_with_its_last_clone() {
    let harness = Harness::start();
    run(async {
        let (alice, bob) = (harness.client().await, harness.client().await);
        let walks = Rc::new(Cell::new(0));
        let silent: anchor::Client = capnp_rpc::new_client(Silent(walks.clone()));
        alice.store_at("silent", Value::from_capability(silent), false).await.unwrap();
        let loaded = bob.load_at("silent").await.unwrap().value.expect("a value");
        let theirs = bob.host().await.unwrap().adopt(loaded.capability().unwrap());
        let early = theirs.at("a").unwrap();
        let clone = early.clone();
        eventually("the walk", async || walks.get() == 1).await;
        drop(early);
        bob.info().await.unwrap();
        alice.info().await.unwrap();
        assert_eq!(walks.get(), 1);
        drop(clone);
        eventually("the end of it", async || walks.get() == 0).await;
    });
}

#[test]
fn an_anchor_dropped_before_it_is_there_leaves_no_node() {
    over_both(async |client| {
        for i in 0..100 {
            drop(client.at(format!("a/{i}")).await.unwrap());
        }
        tree_is_empty(&client).await;
    });
}

#[test]
fn an_operation_that_is_dropped_leaves_nothing() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        for i in 0..200 {
            let walk = client.walk(format!("a/{i}"));
            // Sent, and not waited for.
            tokio::select! {
                biased;
                _ = walk => {}
                () = tokio::task::yield_now() => {}
            }
        }
        tree_is_empty(&client).await;
        let one = async || client.clients().await.unwrap()[0].handles == 1;
        eventually("one handle", one).await;
    });
}

#[test]
fn failed_operations_leave_no_node() {
    let harness = Harness::with(|config| config.max_value_bytes = 100);
    run(async {
        let client = harness.client().await;
        let large = "x".repeat(200);
        client.store_at("a/b", large.as_str(), true).await.unwrap_err();
        client.at("c").await.unwrap().swap(large.as_str()).await.unwrap_err();
        tree_is_empty(&client).await;
    });
}

#[test]
fn a_connection_closes_with_the_client_and_the_last_handle() {
    let harness = Harness::start();
    run(async {
        let observer = harness.client().await;
        let connections = async || observer.info().await.unwrap().connections;
        let client = harness.client().await;
        let (clone, anchor) = (client.clone(), client.walk("a").await.unwrap());
        let (loader, _) = anchor.cell();
        drop((client, clone, anchor));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(connections().await, 2);
        assert!(loader.load().await.unwrap().value.is_none());
        drop(loader);
        eventually("the end of it", async || connections().await == 1).await;
        tree_is_empty(&observer).await;
    });
}

#[test]
fn a_lazy_client_connects_when_it_is_first_used() {
    let harness = Harness::start();
    run(async {
        let observer = harness.client().await;
        let client = killick_client::Client::lazy(harness.unix(), support::options());
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(observer.info().await.unwrap().connections, 1);
        assert!(!client.is_connected());
        assert_eq!(client.info().await.unwrap().connections, 2);
        assert!(client.is_connected());
    });
}

#[test]
fn a_client_works_within_a_local_set_too_and_its_handles_can_outlive_that() {
    let harness = Harness::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let set = tokio::task::LocalSet::new();
    let kept = set.block_on(&runtime, async {
        let client = harness.client().await;
        let anchor = client.walk("a").await.unwrap();
        let early = client.at("b").await.unwrap();
        (anchor.cell(), early, anchor, client)
    });
    drop((set, runtime));
    // Nobody reads or writes any more; they are dropped without a word.
    drop(kept);
    run(async { tree_is_empty(&harness.client().await).await });
}
