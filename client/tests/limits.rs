//! Every limit of a server's that a client can meet is told by its name.

mod support;

use killick_client::{Client, Error, Limit, Value, What};
use killick_server::Config;
use support::{Harness, is_disconnected, once, options, run};

/// The error of what `meet` does to a server with limits of its own, which is to be about `limit`.
fn meets(limit: Limit, change: impl FnOnce(&mut Config), meet: impl AsyncFn(&Client) -> Error) {
    let harness = Harness::with(change);
    run(async {
        let client = harness.client().await;
        let error = meet(&client).await;
        let Error::Limit { limit: told, message } = &error else { panic!("{error:?}") };
        assert_eq!(*told, limit, "{message}");
        assert_eq!(error.is_transient(), limit.may_pass());
        assert!(!error.is_unknown_outcome());
        assert_eq!(error.to_string(), *message);
        // The connection is as good as before.
        assert!(client.is_connected());
        client.info().await.expect("still answered");
    });
}

#[test]
fn names_paths_and_depths_beyond_the_servers_limits_are_told() {
    let small = |config: &mut Config| {
        config.limits.name_bytes = 5;
        config.limits.path_bytes = 20;
        config.limits.depth = 3;
    };
    meets(Limit::NameBytes, small, async |client| client.walk("toolong").await.unwrap_err());
    meets(Limit::PathBytes, small, async |client| {
        client.load_at("a/".repeat(20)).await.unwrap_err()
    });
    meets(Limit::Depth, small, async |client| client.lookup("a/b/c/d").await.unwrap_err());
}

#[test]
fn a_full_node_and_a_full_tree_are_told() {
    let held = async |client: &Client| {
        let _held = client.walk("a").await.unwrap();
        client.walk("b").await.unwrap_err()
    };
    meets(Limit::Children, |config| config.limits.children = 1, held);
    meets(Limit::Nodes, |config| config.limits.nodes = 2, held);
    meets(
        Limit::Nodes,
        |config| config.limits.nodes = 2,
        async |client| client.store_at("a/b", "value", true).await.unwrap_err(),
    );
}

#[test]
fn values_beyond_the_servers_limits_are_told() {
    let store =
        async |client: &Client| client.store_at("a", "x".repeat(4000), true).await.unwrap_err();
    meets(Limit::ValueBytes, |config| config.max_value_bytes = 3000, store);
    meets(Limit::StoredBytes, |config| config.max_stored_bytes = 3000, store);
}

#[test]
fn a_call_larger_than_the_server_takes_is_told_although_it_ends_the_connection() {
    let harness = Harness::with(|config| config.max_message_bytes = Some(100_000));
    for address in [harness.unix(), harness.tcp()] {
        run(async {
            let client = Client::connect(address, options()).await.unwrap();
            let anchor = client.walk("a").await.unwrap();
            let chan = client.new_chan(1).await.unwrap();
            let other = anchor.load();
            let large = || "x".repeat(200_000);
            let (stored, sent, other) =
                tokio::join!(anchor.store(large(), true), chan.send(large()), other);
            for error in [stored.unwrap_err(), sent.unwrap_err()] {
                let Error::Limit { limit: Limit::MessageBytes, message } = &error else {
                    panic!("{error:?}")
                };
                assert!(message.starts_with("message of 200"), "{message}");
                assert!(message.ends_with("the limit of 100000 (max-message-bytes)"), "{message}");
                assert!(!error.is_transient() && !error.is_unknown_outcome());
            }
            // What was under way beside it is not known, or was not done.
            assert!(other.is_ok() || is_disconnected(&other), "{other:?}");
            // It connects again, and sends nothing twice.
            support::tree_is_empty(&client).await;
            let error = client.store_at("a", large(), true).await.unwrap_err();
            assert!(matches!(error, Error::Limit { limit: Limit::MessageBytes, .. }), "{error:?}");
        });
    }
}

#[test]
fn channels_beyond_the_servers_limits_are_told() {
    let made = async |client: &Client| {
        let _held = client.new_chan(1).await.unwrap();
        client.new_chan(2).await.unwrap_err()
    };
    meets(Limit::Channels, |config| config.max_channels = 1, made);
    meets(Limit::ConnectionChannels, |config| config.max_connection_channels = 1, made);
    meets(Limit::ChannelCapacity, |config| config.max_channel_capacity = 1, made);
}

#[test]
fn capabilities_beyond_the_servers_limits_are_told() {
    meets(
        Limit::Capabilities,
        |config| config.max_capabilities = 3,
        async |client| {
            let mut held = vec![client.walk("0").await.unwrap()];
            loop {
                match client.walk(held.len().to_string()).await {
                    Ok(anchor) => held.push(anchor),
                    Err(error) => return error,
                }
                assert!(held.len() < 10);
            }
        },
    );
    meets(
        Limit::ValueCapabilities,
        |config| config.max_value_capabilities = 0,
        async |client| {
            let anchor = client.walk("a").await.unwrap();
            anchor.store(&anchor, true).await.unwrap_err()
        },
    );
}

#[test]
fn watches_beyond_the_servers_limit_are_told() {
    let few = |config: &mut Config| config.max_watches = 1;
    meets(Limit::Watches, few, async |client| {
        let mut watch = client.watch_at("a", What::Value).unwrap();
        watch.next().await.unwrap();
        let error = client.wait_at("a").await.unwrap_err();
        assert!(matches!(error, Error::Limit { limit: Limit::Watches, .. }));
        client.watch_at("b", What::Value).unwrap().next().await.unwrap_err()
    });
    // What a watch knows of makes it count as several.
    meets(Limit::Watches, few, async |client| {
        let paths = (0..50).map(|number| format!("a/{number:0200}"));
        let _held = client.batch(paths.map(|path| client.walk(path))).collect().await;
        client.watch_at("a", What::Children).unwrap().next().await.unwrap_err()
    });
    meets(
        Limit::Calls,
        |config| config.max_call_bytes = 8000,
        async |client| {
            for number in 0..50 {
                client.store_at(format!("a/{number:0200}"), "x", true).await.unwrap();
            }
            client.watch_at("a", What::Children).unwrap().next().await.unwrap_err()
        },
    );
}

#[test]
fn a_full_server_is_told_to_who_comes() {
    let harness = Harness::with(|config| config.max_connections = 1);
    run(async {
        let first = harness.client().await;
        let turned_away = Client::connect(harness.unix(), once()).await.unwrap_err();
        let told = Limit::Connections;
        assert!(matches!(turned_away, Error::Limit { limit, .. } if limit == told));
        assert!(turned_away.is_transient());
        // One that tries again gets in when there is room.
        let address = harness.unix().clone();
        let second =
            tokio::task::spawn_local(async move { Client::connect(&address, options()).await });
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        drop(first);
        second.await.unwrap().expect("connected").info().await.expect("info");
    });
}

#[test]
fn an_unbound_promise_is_refused_with_the_servers_words() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let never = std::future::pending::<killick_client::capnp::Result<_>>();
        let promise: killick_client::schema::api::anchor_capnp::anchor::Client =
            killick_client::capnp_rpc::new_future_client(never);
        let error = client.store_at("a", Value::from_capability(promise), true).await.unwrap_err();
        assert!(matches!(&error, Error::Failed { message } if message.contains("promise")));
        assert!(!error.is_transient() && !error.is_unknown_outcome());
        support::tree_is_empty(&client).await;
    });
}
