//! Watches over the wire: state first, then what is different, and nothing left when they end.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use killick_schema::api::anchor_capnp::anchor::{loader, storer, watch};
use killick_server::Address;
use support::{
    Harness, Peer, Put, Told, cell, eventually, load, load_cap, lookup, next, put, run, speaker,
    store, store_bound, walk, watch,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;
use tokio_util::compat::TokioAsyncReadCompatExt;

/// A node at `path`, as its storer and a watch of what is asked for.
async fn watched(peer: &Peer, path: &str, children: bool) -> (storer::Client, watch::Client) {
    let anchor = walk(&peer.anchor(), path).await.expect("walked");
    let (_, storer) = cell(&anchor).await;
    (storer, watch(&anchor, !children, children).await.expect("watched"))
}

/// Whether `call` is still not answered after the server has answered something else.
async fn waits<T>(peer: &Peer, call: &mut (impl Future<Output = T> + Unpin)) -> bool {
    for _ in 0..3 {
        if call.now_or_never().is_some() {
            return false;
        }
        peer.nodes().await;
    }
    true
}

fn value(told: &Told) -> (Option<&str>, u64) {
    let (text, revision) = told.value.as_ref().expect("a value");
    (text.as_deref(), *revision)
}

#[test]
fn a_watch_tells_the_state_first_and_then_the_latest_with_its_revision() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (storer, watch) = watched(&peer, "a", false).await;
        let first = next(&watch, 0).await.unwrap();
        assert!(first.whole && first.sequence != 0);
        assert_eq!(value(&first), (None, 0));

        let mut waiting = Box::pin(next(&watch, first.sequence));
        assert!(waits(&peer, &mut waiting).await);
        store(&storer, Put::text("one"), true).await.unwrap();
        let second = waiting.await.unwrap();
        assert!(!second.whole && second.sequence != first.sequence);
        assert_eq!(value(&second), (Some("one"), 1));

        // What nobody asked for is overtaken.
        for text in ["two", "three", "four"] {
            store(&storer, Put::text(text), true).await.unwrap();
        }
        store(&storer, Put::Nothing, true).await.unwrap();
        let third = next(&watch, second.sequence).await.unwrap();
        assert_eq!((value(&third), third.whole), ((None, 5), false));
        assert!(waits(&peer, &mut Box::pin(next(&watch, third.sequence))).await);
    });
}

#[test]
fn a_watch_of_children_tells_who_came_went_was_filled_and_was_emptied() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        put(&peer, "a/full", Put::text("x")).await;
        let kept = walk(&peer.anchor(), "a/kept").await.unwrap();
        let (_, watch) = watched(&peer, "a", true).await;
        let first = next(&watch, 0).await.unwrap();
        assert_eq!(
            (first.children(), first.whole),
            (["full* kept", "", "", ""].map(str::to_owned), true)
        );
        assert_eq!(first.value, None);

        let mut waiting = Box::pin(next(&watch, first.sequence));
        assert!(waits(&peer, &mut waiting).await);
        let came = walk(&peer.anchor(), "a/came/below").await.unwrap();
        let second = waiting.await.unwrap();
        assert_eq!(
            (second.children(), second.whole),
            (["came", "", "", ""].map(str::to_owned), false)
        );

        // Four changes, told at once.
        put(&peer, "a/kept", Put::text("x")).await;
        put(&peer, "a/full", Put::Nothing).await;
        let again = walk(&peer.anchor(), "a/again").await.unwrap();
        drop(came);
        eventually("a node that goes", async || {
            lookup(&peer.anchor(), "a/came").await.unwrap().is_none()
        })
        .await;
        let third = next(&watch, second.sequence).await.unwrap();
        assert_eq!(third.children(), ["again", "came full", "kept", ""].map(str::to_owned));

        put(&peer, "a/kept", Put::Nothing).await;
        let fourth = next(&watch, third.sequence).await.unwrap();
        assert_eq!(fourth.children(), ["", "", "", "kept"].map(str::to_owned));
        drop((kept, again));
    });
}

#[test]
fn a_watch_of_both_tells_of_either() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let anchor = walk(&peer.anchor(), "a").await.unwrap();
        let (_, storer) = cell(&anchor).await;
        let watch = watch(&anchor, true, true).await.unwrap();
        let first = next(&watch, 0).await.unwrap();
        assert_eq!((value(&first), first.added.len()), ((None, 0), 0));
        let child = walk(&anchor, "b").await.unwrap();
        let second = next(&watch, first.sequence).await.unwrap();
        assert_eq!((second.value.as_ref(), &*second.added), (None, &[("b".to_owned(), false)][..]));
        store(&storer, Put::text("x"), true).await.unwrap();
        drop(child);
        let mut third = next(&watch, second.sequence).await.unwrap();
        let told = third.value.take();
        assert_eq!(told, Some((Some("x".to_owned()), 1)));
        // The child goes a moment later.
        if third.removed.is_empty() {
            third = next(&watch, third.sequence).await.unwrap();
        }
        assert_eq!(third.removed, ["b"]);
    });
}

#[test]
fn who_has_lost_an_answer_is_told_everything_at_once() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        put(&peer, "a/b", Put::text("x")).await;
        let anchor = walk(&peer.anchor(), "a").await.unwrap();
        let (_, storer) = cell(&anchor).await;
        store(&storer, Put::text("one"), true).await.unwrap();
        let watch = watch(&anchor, true, true).await.unwrap();
        let first = next(&watch, 0).await.unwrap();
        store(&storer, Put::text("two"), true).await.unwrap();
        let lost = next(&watch, first.sequence).await.unwrap();
        assert!(!lost.whole && lost.added.is_empty());
        // It was told, and here it is asked for as if it was not.
        for after in [first.sequence, 0, u64::MAX] {
            let again = next(&watch, after).await.unwrap();
            assert_eq!((value(&again), again.whole), ((Some("two"), 2), true), "{after}");
            assert_eq!(again.added, [("b".to_owned(), true)]);
        }
    });
}

#[test]
fn a_call_that_is_given_up_loses_nothing() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (storer, watch) = watched(&peer, "a", false).await;
        let mut last = next(&watch, 0).await.unwrap();
        for round in 1..=200 {
            let mut given_up = Box::pin(next(&watch, last.sequence));
            if round % 2 == 0 {
                assert!(waits(&peer, &mut given_up).await);
            } else {
                assert!(given_up.as_mut().now_or_never().is_none());
            }
            let text = round.to_string();
            // At a time, so that the answer crosses with the news that nobody wants it.
            let stored = store(&storer, Put::text(&text), true).map(drop);
            let given_up = async move {
                if round % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                drop(given_up);
            };
            tokio::join!(stored, given_up);
            last = next(&watch, last.sequence).await.unwrap();
            assert_eq!(value(&last), (Some(&*text), round));
        }
    });
}

#[test]
fn a_second_call_waits_for_the_first() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (storer, watch) = watched(&peer, "a", false).await;
        let first = next(&watch, 0).await.unwrap();
        let mut one = Box::pin(next(&watch, first.sequence));
        let mut other = Box::pin(next(&watch, first.sequence));
        assert!(waits(&peer, &mut one).await && waits(&peer, &mut other).await);
        store(&storer, Put::text("x"), true).await.unwrap();
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert_eq!((value(&one), one.whole), ((Some("x"), 1), false));
        // By then what it knows is not what was told last.
        assert_eq!((value(&other), other.whole), ((Some("x"), 1), true));

        // One that is given up lets the next one go on.
        let mut one = Box::pin(next(&watch, other.sequence));
        let mut second = Box::pin(next(&watch, other.sequence));
        assert!(waits(&peer, &mut one).await && waits(&peer, &mut second).await);
        drop(one);
        store(&storer, Put::text("y"), true).await.unwrap();
        assert_eq!(value(&second.await.unwrap()), (Some("y"), 2));
    });
}

#[test]
fn a_watch_of_nothing_and_one_of_the_clusters_cell_are_errors() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        for anchor in [peer.anchor(), peer.root().await] {
            let error = watch(&anchor, false, false).await.err().expect("an error");
            assert!(error.extra.contains("nothing to watch"), "{error}");
        }
        for children in [false, true] {
            let error = watch(&peer.root().await, true, children).await.err().expect("an error");
            assert!(error.extra.contains("the cluster's anchor has no cell"), "{error}");
        }
    });
}

#[test]
fn the_clusters_children_are_the_hosts_and_whether_they_are_filled() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let id = format!("{:016x}", peer.info(|info| info.get_id()).await);
        let watch = watch(&peer.root().await, false, true).await.unwrap();
        let first = next(&watch, 0).await.unwrap();
        assert_eq!((first.added, first.whole), (vec![(id.clone(), false)], true));
        let mut waiting = Box::pin(next(&watch, first.sequence));
        assert!(waits(&peer, &mut waiting).await);
        let child = walk(&peer.anchor(), "a").await.unwrap();
        assert!(waits(&peer, &mut waiting).await);
        put(&peer, "", Put::text("x")).await;
        let second = waiting.await.unwrap();
        assert_eq!(second.filled, [id]);
        drop(child);
    });
}

#[test]
fn a_watch_keeps_its_node_and_lets_go_of_it_when_it_is_dropped() {
    let harness = Harness::start();
    run(async {
        let (one, other) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
        for children in [false, true] {
            let (storer, watch) = watched(&one, "a/b", children).await;
            let first = next(&watch, 0).await.unwrap();
            drop(storer);
            assert_eq!(other.nodes().await, 3);
            // Given up first: a call holds what it is made on.
            let mut waiting = Box::pin(next(&watch, first.sequence));
            assert!(waits(&one, &mut waiting).await);
            drop(watch);
            assert_eq!(other.nodes().await, 3);
            drop(waiting);
            other.tree_is_empty().await;
        }
    });
}

#[test]
fn the_end_of_the_connection_ends_its_watches_and_its_waits() {
    let harness = Harness::start();
    run(async {
        for address in harness.server.addresses() {
            let (one, other) = (Peer::connect(address).await, Peer::connect(harness.unix()).await);
            let mut held = Vec::new();
            for number in 0..50 {
                let (_, watch) = watched(&one, &format!("a/{number}"), number % 2 == 0).await;
                let first = next(&watch, 0).await.unwrap();
                let mut waiting = Box::pin(next(&watch, first.sequence));
                assert!(waiting.as_mut().now_or_never().is_none());
                let (loader, _) =
                    cell(&walk(&one.anchor(), &format!("b/{number}")).await.unwrap()).await;
                let mut waits = Box::pin(wait(&loader));
                assert!(waits.as_mut().now_or_never().is_none());
                held.push((waiting, waits));
            }
            assert_eq!(other.nodes().await, 103);
            one.leave().await;
            other.tree_is_empty().await;
            for (waiting, waits) in held {
                assert!(waiting.await.is_err() && waits.await.is_err());
            }
        }
    });
}

#[test]
fn a_stopping_server_does_not_wait_for_changes() {
    // Longer than the test may take.
    let harness = Harness::with(|config| config.drain_timeout = Duration::from_secs(600));
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (_, watch) = watched(&peer, "a", true).await;
        let first = next(&watch, 0).await.unwrap();
        let mut waiting = Box::pin(next(&watch, first.sequence));
        let (loader, _) = cell(&walk(&peer.anchor(), "b").await.unwrap()).await;
        let mut filled = Box::pin(wait(&loader));
        assert!(waits(&peer, &mut waiting).await && waits(&peer, &mut filled).await);
        let server = harness.server;
        let stopped = tokio::task::spawn_blocking(|| server.stop());
        peer.ended().await;
        stopped.await.expect("stopped");
        assert!(waiting.await.is_err() && filled.await.is_err());
    });
}

/// The text in the cell once there is one, and the revision. It is asked for at once.
fn wait(loader: &loader::Client) -> impl Future<Output = capnp::Result<(String, u64)>> + use<> {
    let answer = loader.wait_request().send().promise;
    async {
        let response = answer.await?;
        let results = response.get()?;
        let text = results.get_value().get_as::<capnp::text::Reader<'_>>()?.to_string()?;
        Ok((text, results.get_revision()))
    }
}

#[test]
fn a_wait_is_answered_when_the_cell_holds_a_value() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (loader, storer) = cell(&walk(&peer.anchor(), "a").await.unwrap()).await;
        let mut waiting = Box::pin(wait(&loader));
        assert!(waits(&peer, &mut waiting).await);
        store(&storer, Put::Nothing, true).await.unwrap();
        assert!(waits(&peer, &mut waiting).await);
        store(&storer, Put::text("x"), true).await.unwrap();
        assert_eq!(waiting.await.unwrap(), ("x".to_owned(), 1));
        // And at once if it does.
        assert_eq!(wait(&loader).await.unwrap(), ("x".to_owned(), 1));
        store(&storer, Put::Nothing, true).await.unwrap();
        assert!(waits(&peer, &mut Box::pin(wait(&loader))).await);
        assert_eq!(load(&loader).await.unwrap(), (None, 2));
    });
}

#[test]
fn a_wait_can_be_asked_for_with_the_walk_and_is_given_up_with_all_that_it_held() {
    let harness = Harness::start();
    run(async {
        let (one, other) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
        let ask = || {
            let mut walk = one.anchor().walk_request();
            walk.get().set_path("a/b");
            let anchor = walk.send().pipeline.get_anchor();
            let loader = anchor.cell_request().send().pipeline.get_loader();
            loader.wait_request().send().promise
        };
        let waiting = ask();
        eventually("the node", async || other.nodes().await == 3).await;
        drop(waiting);
        other.tree_is_empty().await;
        let waiting = ask();
        eventually("the node", async || other.nodes().await == 3).await;
        put(&other, "a/b", Put::text("x")).await;
        assert_eq!(waiting.await.unwrap().get().unwrap().get_revision(), 1);
    });
}

#[test]
fn a_connection_has_as_many_watches_and_waits_as_it_may() {
    let harness = Harness::with(|config| config.max_watches = 3);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let anchor = walk(&peer.anchor(), "a").await.unwrap();
        let (loader, storer) = cell(&anchor).await;
        let held =
            (watch(&anchor, true, false).await.unwrap(), watch(&anchor, true, true).await.unwrap());
        let mut waiting = Box::pin(wait(&loader));
        assert!(waits(&peer, &mut waiting).await);
        let over = [watch(&anchor, true, false).await.err(), wait(&loader).await.err()];
        for error in over {
            let error = error.expect("one more");
            assert_eq!(error.kind, capnp::ErrorKind::Overloaded);
            let told = "this connection already has its limit of 3 watches (max-watches)";
            assert!(error.extra.ends_with(told), "{error}");
        }
        // Others have their own.
        let other = Peer::connect(harness.unix()).await;
        watch(&other.anchor(), true, false).await.unwrap();
        // Each gives its place back.
        store(&storer, Put::text("x"), true).await.unwrap();
        waiting.await.unwrap();
        let third = watch(&anchor, true, false).await.unwrap();
        drop(held.0);
        let fourth = watch(&anchor, true, false).await.unwrap();
        assert!(watch(&anchor, true, false).await.is_err());
        drop((held.1, third, fourth));
        // What is given away here takes no more than the value that it is in.
        eventually("places", async || watch(&anchor, true, false).await.is_ok()).await;
    });
}

#[test]
fn a_watch_that_knows_of_many_names_counts_as_many() {
    let harness = Harness::with(|config| config.max_watches = 2);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let mut children = Vec::new();
        // 164 bytes each: 49 of them are less than what counts as one more, and 99 less than two.
        let mut add = async |count: usize| {
            for number in children.len()..count {
                let path = format!("a/{number:0100}");
                children.push(walk(&peer.anchor(), &path).await.unwrap());
            }
        };
        add(99).await;
        let (_, watch) = watched(&peer, "a", true).await;
        let first = next(&watch, 0).await.unwrap();
        assert_eq!(first.added.len(), 99);
        add(100).await;
        let error = next(&watch, first.sequence).await.expect_err("too many");
        let told = "this connection would have more than its limit of 2 watches: \
                    with that many children this one counts as 3 (max-watches)";
        assert!(error.extra.ends_with(told), "{error}");
        // Nothing is kept of what was not told, and nothing is lost.
        let anchor = walk(&peer.anchor(), "b").await.unwrap();
        let other = support::watch(&anchor, true, false).await.unwrap();
        assert!(next(&watch, first.sequence).await.is_err());
        drop(other);
        let gone = children.pop();
        drop(gone);
        eventually("room", async || {
            let told = next(&watch, first.sequence).await;
            told.is_ok_and(|told| told.whole && told.added.len() == 99)
        })
        .await;
    });
}

#[test]
fn a_list_of_children_that_is_too_long_for_an_answer_is_an_error_and_not_the_end() {
    let harness = Harness::with(|config| config.max_call_bytes = 4096);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let mut children = Vec::new();
        for number in 0..40 {
            children.push(walk(&peer.anchor(), &format!("a/{number:0100}")).await.unwrap());
        }
        let (_, watch) = watched(&peer, "a", true).await;
        let error = next(&watch, 0).await.expect_err("too long");
        let told = "a list of children of 5280 bytes exceeds the limit of 4096 (max-call-bytes)";
        assert!(error.extra.ends_with(told), "{error}");
        children.truncate(20);
        eventually("room", async || {
            next(&watch, 0).await.is_ok_and(|told| told.whole && told.added.len() == 20)
        })
        .await;
    });
}

/// A stream to `address` of which nothing more is read while the valve is closed.
async fn with_valve(address: &Address) -> (DuplexStream, Rc<Cell<bool>>) {
    let Address::Unix(path) = address else { panic!("a Unix socket") };
    let (mut from, mut to) = UnixStream::connect(path).await.expect("connected").into_split();
    let (near, far) = tokio::io::duplex(1 << 16);
    let (mut from_client, mut to_client) = tokio::io::split(far);
    let closed = Rc::new(Cell::new(false));
    let valve = closed.clone();
    tokio::task::spawn_local(async move { tokio::io::copy(&mut from_client, &mut to).await });
    tokio::task::spawn_local(async move {
        let mut bytes = vec![0; 1 << 16];
        loop {
            while valve.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
            if to_client.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    });
    (near, closed)
}

#[test]
fn a_watcher_that_does_not_read_costs_one_look_and_is_told_the_latest() {
    let harness = Harness::with(|config| config.write_timeout = Duration::from_secs(600));
    run(async {
        let (stream, closed) = with_valve(harness.unix()).await;
        let slow = Peer::over(stream.compat());
        let other = Peer::connect(harness.unix()).await;
        let large = "x".repeat(1_000_000);
        put(&other, "large", Put::text(&large)).await;
        let (large_loader, _) = cell(&walk(&slow.anchor(), "large").await.unwrap()).await;
        let (_, watch) = watched(&slow, "a", false).await;
        let (waiting_loader, _) = cell(&walk(&slow.anchor(), "b").await.unwrap()).await;
        let first = next(&watch, 0).await.unwrap();
        let waits_for_change = next(&watch, first.sequence);
        let waits_for_value = wait(&waiting_loader);
        slow.nodes().await;

        closed.set(true);
        let calls = async || {
            let response = other.host.clients_request().send().promise.await.unwrap();
            let clients = response.get().unwrap().get_clients().unwrap();
            (clients.get(0).get_calls(), clients.get(0).get_bytes_written())
        };
        let (before, written) = calls().await;
        // One answer is more than is made ready for somebody who reads nothing.
        let unread: Vec<_> = (0..40).map(|_| large_loader.load_request().send().promise).collect();
        eventually("the calls", async || calls().await.0 > before).await;
        for path in ["a", "b"] {
            let (_, storer) = cell(&walk(&other.anchor(), path).await.unwrap()).await;
            for round in 1..=40 {
                store(&storer, Put::text(&format!("{round} {large}")), true).await.unwrap();
            }
        }
        eventually("what was overtaken to go", async || {
            other.info(|info| info.get_stored_bytes()).await < 4_000_000
        })
        .await;
        assert!(calls().await.1 < written + 10_000_000);
        closed.set(false);
        let last = waits_for_change.await.unwrap();
        assert_eq!((last.value.unwrap().1, last.whole), (40, false));
        assert_eq!(waits_for_value.await.unwrap().1, 40);
        for answer in unread {
            answer.await.expect("answered");
        }
    });
}

#[test]
fn watchers_see_a_value_die_with_its_owner_on_either_thread() {
    let harness = Harness::start();
    run(async {
        for swapped in [false, true] {
            // Each of two threads has one of them.
            let first = Peer::connect(harness.unix()).await;
            let second = Peer::connect(harness.unix()).await;
            let (owner, watcher) = if swapped { (second, first) } else { (first, second) };
            let (_, watch) = watched(&watcher, "a", false).await;
            let (_, above) = watched(&watcher, "", true).await;
            let (start, top) = (next(&watch, 0).await.unwrap(), next(&above, 0).await.unwrap());
            let (_, storer) = cell(&walk(&owner.anchor(), "a").await.unwrap()).await;

            store_bound(&storer, Put::text("bound"), true).await.unwrap();
            let bound = next(&watch, start.sequence).await.unwrap();
            assert_eq!(value(&bound), (Some("bound"), 1));
            let (hosted, _) = speaker("hi");
            store(&storer, Put::cap(hosted), true).await.unwrap();
            let told = next(&above, top.sequence).await.unwrap();
            assert_eq!(told.filled, ["a"]);
            let mut request = watch.next_request();
            request.get().set_after(bound.sequence);
            let response = request.send().promise.await.unwrap();
            let change = response.get().unwrap().get_change().unwrap();
            assert_eq!(change.get_revision(), 2);
            let after = change.get_sequence();
            drop(response);

            let (mut emptied, mut gone) =
                (Box::pin(next(&watch, after)), Box::pin(next(&above, told.sequence)));
            assert!(waits(&watcher, &mut emptied).await && waits(&watcher, &mut gone).await);
            owner.leave().await;
            assert_eq!(value(&emptied.await.unwrap()), (None, 3));
            assert_eq!(gone.await.unwrap().emptied, ["a"]);
            watcher.leave().await;
            let witness = Peer::connect(harness.unix()).await;
            witness.tree_is_empty().await;
            witness.leave().await;
        }
    });
}

#[test]
fn a_watch_in_a_value_is_anybodys_to_use_and_the_value_dies_with_who_made_it() {
    let harness = Harness::start();
    run(async {
        let (one, other) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
        let (storer, watch) = watched(&one, "a", false).await;
        put(&one, "given", Put::cap(watch)).await;
        let given = walk(&other.anchor(), "given").await.unwrap();
        let (loader, _) = cell(&given).await;
        let theirs: watch::Client = load_cap(&loader).await.unwrap().expect("a watch");
        let first = next(&theirs, 0).await.unwrap();
        store(&storer, Put::text("x"), true).await.unwrap();
        let second = next(&theirs, first.sequence).await.unwrap();
        assert_eq!(value(&second), (Some("x"), 1));
        store(&storer, Put::Nothing, true).await.unwrap();
        assert_eq!(value(&next(&theirs, second.sequence).await.unwrap()), (None, 2));

        one.leave().await;
        eventually("an empty cell", async || {
            load_cap::<watch::Client>(&loader).await.unwrap().is_none()
        })
        .await;
        // Who has it, has it.
        let (_, storer) = cell(&walk(&other.anchor(), "a").await.unwrap()).await;
        store(&storer, Put::text("y"), true).await.unwrap();
        assert_eq!(value(&next(&theirs, 0).await.unwrap()), (Some("y"), 3));
        drop((theirs, storer, given, loader));
        put(&other, "a", Put::Nothing).await;
        other.tree_is_empty().await;
    });
}

#[test]
fn ten_thousand_watches_that_come_and_go_leave_nothing() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let anchor = walk(&peer.anchor(), "a").await.unwrap();
        let (loader, _) = cell(&anchor).await;
        for round in 0..10_000 {
            let watch =
                watch(&anchor, round % 2 == 0, round % 3 != 0 || round % 2 == 1).await.unwrap();
            let first = next(&watch, 0).await.unwrap();
            if round % 5 == 0 {
                let _given_up = next(&watch, first.sequence).now_or_never();
                let _given_up = wait(&loader).now_or_never();
            }
        }
        drop((anchor, loader));
        peer.tree_is_empty().await;
    });
}
