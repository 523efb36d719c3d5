//! Many operations at a time: in order, bounded, and together.

mod support;

use std::cell::Cell;
use std::time::Duration;

use killick_client::{Client, Error, Options};
use support::proxy::Proxy;
use support::{Harness, eventually, options, over_both, run, tree_is_empty};

#[test]
fn results_come_in_the_order_of_the_operations() {
    over_both(async |client| {
        let pairs = (0..300).map(|i| (format!("n/{i}"), i.to_string()));
        let stored = client.store_many(pairs, false).collect().await;
        assert_eq!(stored.len(), 300);
        assert!(stored.iter().all(|stored| matches!(stored, Ok(1))));
        let loaded = client.load_many((0..300).map(|i| format!("n/{i}"))).collect().await;
        for (i, loaded) in loaded.into_iter().enumerate() {
            assert_eq!(loaded.unwrap().text(), Some(&*i.to_string()));
        }
    });
}

#[test]
fn an_error_is_the_result_of_its_operation_alone() {
    over_both(async |client| {
        client.store_at("full", "x", false).await.unwrap();
        let pairs = [("a", "1"), ("full", "2"), ("no path", "3"), ("b", "4")];
        let stored = client.store_many(pairs, false).collect().await;
        assert!(matches!(
            &stored[..],
            [Ok(1), Err(Error::Refused { .. }), Err(Error::Path(_)), Ok(1)]
        ));
    });
}

#[test]
fn no_more_operations_are_in_flight_than_told() {
    let harness = Harness::start();
    run(async {
        let client =
            Client::connect(harness.unix(), Options { in_flight: 5, ..options() }).await.unwrap();
        let (now, most) = (&Cell::new(0), &Cell::new(0));
        let walks = (0..100).map(|i| {
            let client = &client;
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                let walked = client.walk(format!("n/{i}")).await;
                now.set(now.get() - 1);
                walked
            }
        });
        let walked = client.batch(walks).collect().await;
        assert!(walked.iter().all(Result::is_ok));
        assert_eq!(most.get(), 5);
        drop(walked);
        tree_is_empty(&client).await;
    });
}

#[test]
fn a_limit_of_none_in_flight_counts_as_one() {
    let harness = Harness::start();
    run(async {
        let client =
            Client::connect(harness.unix(), Options { in_flight: 0, ..options() }).await.unwrap();
        assert_eq!(client.load_many(["a", "b"]).collect().await.len(), 2);
    });
}

#[test]
fn nothing_is_sent_before_a_result_is_asked_for_and_what_is_left_is_given_up() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let mut taken = 0;
        let paths = (0..10_000).map(|i| format!("n/{i}")).inspect(|_| taken += 1);
        let mut walks = client.batch(paths.map(|path| client.walk(path)));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(support::nodes(&client).await, 1);
        let first = walks.next().await.expect("a result").unwrap();
        drop(walks);
        assert!(taken <= 128, "{taken}");
        eventually("the rest to go", async || support::nodes(&client).await == 3).await;
        drop(first);
        tree_is_empty(&client).await;
    });
}

#[test]
fn an_anchor_loads_and_stores_many_below_it() {
    over_both(async |client| {
        let anchor = client.walk("a").await.unwrap();
        let stored = anchor.store_many([("b", "1"), ("c", "2")], false).collect().await;
        assert!(stored.iter().all(Result::is_ok));
        let mut loads = anchor.load_many(["c", "b", "d"]);
        let mut texts = Vec::new();
        while let Some(loaded) = loads.next().await {
            texts.push(loaded.unwrap().text().map(String::from));
        }
        assert_eq!(texts, [Some("2".into()), Some("1".into()), None]);
    });
}

#[test]
fn what_is_sent_at_a_time_leaves_in_few_writes() {
    let harness = Harness::start();
    run(async {
        let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
        let client = Client::connect(proxy.address(), options()).await.unwrap();
        client.info().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = proxy.reads();
        proxy.hold_requests();
        let mut loads = client.load_many((0..64).map(|i| format!("n/{i}")));
        let _ = tokio::time::timeout(Duration::from_millis(100), loads.next()).await;
        // Three calls each: some 192 messages.
        assert!(proxy.reads() - before <= 4, "{}", proxy.reads() - before);
    });
}

#[test]
fn large_values_pass_by_the_dozen() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let large = vec![7; (1 << 20) - 64];
        let pairs = (0..70).map(|i| (format!("n/{i}"), &large[..]));
        let stored = client.store_many(pairs, false).collect().await;
        assert!(stored.iter().all(Result::is_ok));
        let mut loads = client.load_many((0..70).map(|i| format!("n/{i}")));
        while let Some(loaded) = loads.next().await {
            assert_eq!(loaded.unwrap().value.unwrap().data(), Some(&large[..]));
        }
    });
}
