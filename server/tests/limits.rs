//! Every bound of a server, met over real sockets: an error that names it, and nothing left behind.

mod support;

use std::rc::Rc;
use std::time::Duration;

use capnp::ErrorKind;
use killick::Limits;
use killick_schema::api::anchor_capnp::anchor::{self, loader};
use support::{
    Harness, Peer, Put, cell, eventually, load_cap, names, put, run, speaker, store, store_bound,
    swap, walk, walk_error,
};

#[test]
fn a_bad_path_is_an_error_that_says_which_byte_where() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        for (path, expected) in [
            ("ab/c d", "byte 0x20 (space) at offset 4"),
            ("a\\b", "byte 0x5c (backslash) at offset 1"),
            ("ab/\u{e9}", "byte 0xc3 at offset 3"),
            ("a/../b", "'..' at offset 2"),
            ("a\n", "byte 0x0a at offset 1"),
        ] {
            let error = walk_error(&peer.anchor(), path).await;
            assert_eq!(error.kind, ErrorKind::Failed);
            assert!(error.to_string().contains(expected), "{path:?}: {error}");
            let error = support::lookup(&peer.anchor(), path).await.err().expect("an error");
            assert!(error.to_string().contains(expected), "{path:?}: {error}");
        }
        assert_eq!(peer.nodes().await, 1);
    });
}

#[test]
fn a_path_over_its_limit_is_an_error_of_its_call_however_small_values_must_be() {
    for path_bytes in [4096, 1 << 16] {
        let harness = Harness::with(|config| {
            config.max_value_bytes = 1000;
            config.limits.path_bytes = path_bytes;
        });
        run(async {
            let peer = Peer::connect(harness.unix()).await;
            let error = walk_error(&peer.anchor(), &"a".repeat(3 * path_bytes)).await;
            let expected = format!("exceeds the limit of {path_bytes}");
            assert!(error.to_string().contains(&expected), "{error}");
            assert_eq!(peer.nodes().await, 1, "the connection lives");
        });
    }
}

#[test]
fn the_limits_of_the_tree_are_errors_that_name_them_and_leave_no_node() {
    let limits = Limits { name_bytes: 8, path_bytes: 40, depth: 4, children: 3, nodes: 8 };
    let harness = Harness::with(|config| config.limits = limits);
    run(async {
        let peer = Peer::connect(harness.tcp()).await;
        let anchor = peer.anchor();
        for (path, kind, expected) in [
            ("a/ninebytes", ErrorKind::Failed, "name of 9 bytes at offset 2"),
            (&"a".repeat(41), ErrorKind::Failed, "path of 41 bytes exceeds the limit of 40"),
            ("a/b/c/d/e", ErrorKind::Failed, "exceeds the limit of 4"),
        ] {
            let error = walk_error(&anchor, path).await;
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(peer.nodes().await, 1);

        let deep = walk(&anchor, "a/b/c/d").await.unwrap();
        let error = walk_error(&deep, "e").await;
        assert!(error.to_string().contains("exceeds the limit of 4"), "{error}");
        let (_b, _c) = (walk(&anchor, "b").await.unwrap(), walk(&anchor, "c").await.unwrap());
        let error = walk_error(&anchor, "d").await;
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        assert!(error.to_string().contains("limit of 3 children"), "{error}");
        let error = walk_error(&anchor, "b/x/y").await;
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        assert!(error.to_string().contains("limit of 8 nodes"), "{error}");
        assert_eq!(peer.nodes().await, 7);
    });
}

#[test]
fn a_connection_holds_no_more_nodes_than_its_limit_and_others_have_theirs() {
    let harness = Harness::with(|config| config.max_connection_nodes = 8);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let anchor = peer.anchor();
        // A handle keeps what is above it: three, and three again by another.
        let deep = walk(&anchor, "a/b/c").await.unwrap();
        let _same = walk(&deep, "").await.unwrap();
        let other = walk(&anchor, "a/b/d").await.unwrap();
        let error = walk_error(&anchor, "x/y/z").await;
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        assert!(error.to_string().contains("limit of 8 nodes"), "{error}");
        assert_eq!(peer.nodes().await, 5, "nothing is left of a walk that was refused");
        let second = Peer::connect(harness.tcp()).await;
        walk(&second.anchor(), "x/y/z").await.expect("not its own limit");
        drop(other);
        walk(&anchor, "x/y/z").await.expect("room again");
    });
}

#[test]
fn a_connection_owns_no_more_values_than_its_limit() {
    let harness = Harness::with(|config| config.max_connection_values = 2);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let mut storers = Vec::new();
        for path in ["a", "b", "c"] {
            storers.push(cell(&walk(&peer.anchor(), path).await.unwrap()).await.1);
        }
        let (client, _) = speaker("hello");
        for (storer, value) in storers.iter().zip([Put::text("mine"), Put::cap(client)]) {
            store_bound(storer, value, true).await.expect("stored");
        }
        let error = store_bound(&storers[2], Put::text("mine"), true).await.expect_err("a third");
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        assert!(error.to_string().contains("limit of 2 values that die with it"), "{error}");
        store(&storers[2], Put::text("anybody's"), true).await.expect("not its own");
        store(&storers[0], Put::Nothing, true).await.expect("emptied");
        store_bound(&storers[2], Put::text("mine"), true).await.expect("room again");
    });
}

#[test]
fn values_that_others_store_of_it_leave_a_connection_room_for_its_own() {
    let harness = Harness::with(|config| config.max_connection_values = 2);
    run(async {
        let hosting = Peer::connect(harness.unix()).await;
        let other = Peer::connect(harness.tcp()).await;
        let (client, _) = speaker("hello");
        put(&hosting, "hosted", Put::cap(client)).await;
        let (loader, _) = cell(&walk(&other.anchor(), "hosted").await.unwrap()).await;
        let hosted: loader::Client = load_cap(&loader).await.unwrap().expect("there");
        for number in 0..10 {
            put(&other, &format!("copy/{number}"), Put::cap(hosted.clone())).await;
        }
        let (_, storer) = cell(&walk(&hosting.anchor(), "second").await.unwrap()).await;
        store_bound(&storer, Put::text("mine"), true).await.expect("room for it");
        hosting.leave().await;
        drop((loader, hosted));
        other.tree_is_empty().await;
    });
}

#[test]
fn a_swap_whose_answer_does_not_fit_changes_nothing() {
    let harness = Harness::with(|config| config.max_capabilities = 5);
    run(async {
        let other = Peer::connect(harness.tcp()).await;
        let deep = walk(&other.anchor(), "somewhere").await.unwrap();
        put(&other, "a", Put::cap(deep)).await;
        let peer = Peer::connect(harness.unix()).await;
        let anchor = walk(&peer.anchor(), "a").await.unwrap();
        let mut held = Vec::new();
        for path in ["b", "c", "d"] {
            held.push(walk(&peer.anchor(), path).await.unwrap());
        }
        let error = swap(&anchor, Put::text("new")).await.expect_err("no room for the old one");
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        let (loader, _) = cell(&walk(&other.anchor(), "a").await.unwrap()).await;
        assert!(load_cap::<anchor::Client>(&loader).await.unwrap().is_some(), "it is still there");
    });
}

#[test]
fn a_connection_over_the_limit_is_told_so_and_one_after_another_ended_is_taken() {
    let harness = Harness::with(|config| config.max_connections = 2);
    run(async {
        let one = Peer::connect(harness.unix()).await;
        let other = Peer::connect(harness.tcp()).await;
        assert_eq!((one.nodes().await, other.nodes().await), (1, 1));
        for address in harness.server.addresses() {
            let third = Peer::connect(address).await;
            let error = walk_error(&third.anchor(), "a").await;
            assert!(error.to_string().contains("limit of 2 connections"), "{error}");
        }
        let log = harness.logged(2).await;
        assert!(log.iter().all(|line| line.contains("limit of 2 connections")), "{log:?}");
        other.leave().await;
        support::eventually("a free place", async || {
            one.info(|info| info.get_connections()).await == 1
        })
        .await;
        let third = Peer::connect(harness.tcp()).await;
        assert_eq!(third.nodes().await, 1);
    });
}

#[test]
fn a_connection_holds_no_more_capabilities_than_its_limit() {
    let harness = Harness::with(|config| config.max_capabilities = 5);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let mut held = Vec::new();
        // The bootstrap capability is the fifth.
        for name in ["a", "b", "c", "d"] {
            held.push(walk(&peer.anchor(), name).await.unwrap());
        }
        let error = walk_error(&peer.anchor(), "e").await;
        assert_eq!(error.kind, ErrorKind::Overloaded);
        assert!(error.to_string().contains("limit of 5 capabilities"), "{error}");
        assert_eq!(peer.nodes().await, 5, "the node of the failed walk is gone");
        held.pop();
        peer.nodes().await;
        walk(&peer.anchor(), "e").await.expect("there is room again");

        let other = Peer::connect(harness.unix()).await;
        walk(&other.anchor(), "e").await.expect("a limit for each connection");
    });
}

#[test]
fn a_client_hosts_no_more_capabilities_than_its_limit_and_one_value_no_more_than_its_own() {
    use killick_schema::api::anchor_capnp::anchor::ls_results;

    let harness = Harness::with(|config| {
        config.max_capabilities = 6;
        config.max_value_capabilities = 3;
    });
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (loader, storer) = cell(&walk(&peer.anchor(), "a").await.unwrap()).await;
        let mut request = storer.store_request();
        let value = request.get().init_value().init_as::<ls_results::Builder<'_>>();
        let mut children = value.init_children(4);
        for index in 0..4 {
            children.reborrow().get(index).set_anchor(peer.anchor());
        }
        let error = request.send().promise.await.err().expect("too many");
        assert!(
            error.to_string().contains("with 4 capabilities exceeds the limit of 3"),
            "{error}"
        );

        let (one, _spoken) = speaker("one");
        assert!(store(&storer, Put::cap(one), true).await.unwrap().0);
        let found: killick_schema::api::anchor_capnp::anchor::loader::Client =
            load_cap(&loader).await.unwrap().expect("there");
        assert_eq!(support::load(&found).await.unwrap().0, Some("one".into()));
        assert_eq!(names(&peer.anchor()).await, ["a"]);
    });
}

/// Keeps its callers waiting until it may answer.
struct Slow(tokio::sync::watch::Receiver<bool>);

impl loader::Server for Slow {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        _: loader::LoadResults,
    ) -> capnp::Result<()> {
        let _ = self.0.clone().wait_for(|may| *may).await;
        Ok(())
    }
}

/// A client of `harness`'s that hosts a [`Slow`], another one with that capability, and what has it
/// answer.
async fn slow(harness: &Harness) -> (Peer, Peer, loader::Client, tokio::sync::watch::Sender<bool>) {
    let (answer, may) = tokio::sync::watch::channel(false);
    let (host, caller) = (Peer::connect(harness.unix()).await, Peer::connect(harness.tcp()).await);
    let (_, storer) = cell(&walk(&host.anchor(), "slow").await.unwrap()).await;
    let slow: loader::Client = capnp_rpc::new_client(Slow(may));
    assert!(store(&storer, Put::cap(slow), true).await.unwrap().0);
    let (loader, _) = cell(&walk(&caller.anchor(), "slow").await.unwrap()).await;
    let slow = load_cap(&loader).await.unwrap().expect("there");
    (host, caller, slow, answer)
}

#[test]
fn a_connection_with_its_limit_of_calls_unanswered_is_not_read_until_one_is_answered() {
    let harness = Harness::with(|config| {
        config.max_calls = 8;
        config.write_timeout = support::PATIENCE;
    });
    run(async {
        let (host, caller, slow, answer) = slow(&harness).await;
        let calls: Vec<_> = (0..20).map(|_| slow.load_request().send().promise).collect();
        let behind = tokio::time::timeout(Duration::from_millis(100), caller.nodes()).await;
        assert!(behind.is_err(), "read on with 20 calls unanswered");
        assert_eq!(host.nodes().await, 2, "others are served");
        answer.send_replace(true);
        for call in calls {
            call.await.expect("answered in the end");
        }
        assert_eq!(caller.nodes().await, 2);
    });
}

#[test]
fn a_connection_whose_calls_stay_unanswered_is_closed_and_the_log_says_why() {
    let harness = Harness::with(|config| config.max_calls = 8);
    run(async {
        let (host, caller, slow, _answer) = slow(&harness).await;
        let held = walk(&caller.anchor(), "held").await.unwrap();
        let calls: Vec<_> = (0..8).map(|_| slow.load_request().send().promise).collect();
        for call in calls {
            assert!(call.await.is_err());
        }
        caller.ended().await;
        let log = harness.logged(1).await;
        let why = "its limit of 8 calls, or of 67108864 bytes of them, stayed unanswered for 500ms (max-calls)";
        assert!(log[0].ends_with(why), "{log:?}");
        support::eventually("the end of what it held", async || host.nodes().await == 2).await;
        drop((held, slow));
    });
}

#[test]
fn calls_that_are_answered_or_given_up_count_no_more() {
    let harness = Harness::with(|config| config.max_calls = 8);
    run(async {
        let (_host, caller, slow, _answer) = slow(&harness).await;
        for _ in 0..200 {
            // Given up one by one, so that each is finished before the limit is met.
            drop(slow.load_request().send().promise);
            walk_error(&caller.anchor(), "..").await;
            assert_eq!(caller.nodes().await, 2);
        }
    });
}

#[test]
fn a_client_that_does_not_finish_its_calls_is_closed_at_four_times_the_limit() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let harness = Harness::with(|config| config.max_calls = 8);
    run(async {
        let mut client = support::raw(harness.unix()).await;
        client.write_all(&support::bootstrap_messages(33)).await.expect("sent");
        let mut answers = Vec::new();
        let _ = client.read_to_end(&mut answers).await;
        let log = harness.logged(1).await;
        assert!(log[0].contains("limit of 32 calls open"), "{log:?}");
        let witness = Peer::connect(harness.unix()).await;
        assert_eq!(witness.nodes().await, 1);
    });
}

#[test]
fn values_share_one_bound_and_give_back_what_they_took() {
    let harness = Harness::with(|config| config.max_stored_bytes = 11_000);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let text = "x".repeat(4000);
        let mut cells = Vec::new();
        for name in ["a", "b", "c"] {
            cells.push(cell(&walk(&peer.anchor(), name).await.unwrap()).await);
        }
        for (_, storer) in &cells[..2] {
            assert!(store(storer, Put::text(&text), true).await.unwrap().0);
        }
        let other = Peer::connect(harness.tcp()).await;
        let (_, last) = cell(&walk(&other.anchor(), "c").await.unwrap()).await;
        let refused = store(&last, Put::text(&text), true).await.expect_err("no room");
        assert_eq!(refused.kind, capnp::ErrorKind::Overloaded);
        assert!(refused.to_string().contains("limit of 11000 bytes in all"), "{refused}");
        assert_eq!(support::load(&cells[2].0).await.unwrap(), (None, 0));

        // What is replaced, cleared or not stored makes room again.
        for round in 0..200 {
            let (_, storer) = &cells[round % 2];
            for overwrite in [true, false] {
                // What another thread has replaced, or still looks at, counts for some milliseconds.
                eventually("room", async || {
                    match store(storer, Put::text(&text[..2000]), overwrite).await {
                        Ok((stored, _)) => {
                            assert_eq!(stored, overwrite, "{round}");
                            true
                        }
                        Err(error) => {
                            assert_eq!(error.kind, capnp::ErrorKind::Overloaded, "{error}");
                            false
                        }
                    }
                })
                .await;
            }
        }
        eventually("room", async || store(&last, Put::text(&text), true).await.is_ok()).await;
    });
}
