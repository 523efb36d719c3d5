//! What a handle keeps, and that nothing is left of what is dropped.

mod support;

use std::time::Duration;

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
