//! A node lives exactly as long as somebody remote holds it, over real sockets.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use killick_schema::api::anchor_capnp::anchor::storer;
use killick_server::{Config, Held, Simulated};
use support::{
    Harness, PATIENCE, Peer, cell, eventually, identity, load_messages, lookup, ls, names,
    pipelined_call, run, store, walk,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// Names the address to the process that [`a_killed_process_lets_go_of_what_it_held`] starts.
const HOLDER: &str = "KILLICK_TEST_HOLDER";

#[test]
fn the_four_calls_that_killed_the_origin_are_harmless() {
    let harness = Harness::start();
    run(async {
        for address in harness.server.addresses() {
            let peer = Peer::connect(address).await;
            let foo = walk(&peer.anchor(), "/foo").await.expect("first");
            let bar = walk(&peer.anchor(), "/foo/bar").await.expect("second");
            drop(foo);
            let foo = walk(&peer.anchor(), "/foo").await.expect("fourth");
            assert_eq!(names(&foo).await, ["bar"]);
            drop((foo, bar));
            peer.tree_is_empty().await;
            peer.leave().await;
        }
    });
}

#[test]
fn ten_thousand_walks_and_releases_of_one_path_leave_nothing() {
    let harness = Harness::start();
    run(async {
        for address in harness.server.addresses() {
            let peer = Peer::connect(address).await;
            for _ in 0..10_000 {
                walk(&peer.anchor(), "a/b").await.expect("walked");
            }
            peer.tree_is_empty().await;
            peer.leave().await;
        }
    });
}

#[test]
fn the_last_release_prunes_and_an_earlier_one_does_not() {
    let harness = Harness::start();
    run(async {
        let (one, other) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.tcp()).await);
        let mine = walk(&one.anchor(), "a/b/c").await.expect("walked");
        let theirs = walk(&other.anchor(), "a/b/c").await.expect("walked");
        drop(mine);
        assert_eq!(one.nodes().await, 4);
        drop(theirs);
        one.tree_is_empty().await;
    });
}

#[test]
fn a_loader_or_a_storer_alone_keeps_its_node() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (loader, storer) = cell(&walk(&peer.anchor(), "a").await.expect("walked")).await;
        drop(storer);
        assert_eq!(names(&peer.anchor()).await, ["a"]);
        drop(loader);
        peer.tree_is_empty().await;
        let (loader, storer) = cell(&walk(&peer.anchor(), "a").await.expect("walked")).await;
        drop(loader);
        assert_eq!(names(&peer.anchor()).await, ["a"]);
        drop(storer);
        peer.tree_is_empty().await;
    });
}

#[test]
fn a_value_keeps_its_node_after_its_client_has_gone() {
    let harness = Harness::start();
    run(async {
        let (one, other) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
        let (_, storer) = cell(&walk(&one.anchor(), "a").await.expect("walked")).await;
        assert_eq!(store(&storer, support::Put::text("x"), true).await.unwrap(), (true, 1));
        one.leave().await;
        eventually("the end of the connection", async || {
            other.info(|info| info.get_connections()).await == 1
        })
        .await;
        assert_eq!(ls(&other.anchor()).await, [("a".to_owned(), true, 0)]);

        let (_, storer) = cell(&walk(&other.anchor(), "a").await.expect("walked")).await;
        assert_eq!(store(&storer, support::Put::Nothing, true).await.unwrap(), (true, 2));
        drop(storer);
        other.tree_is_empty().await;
    });
}

#[test]
fn the_end_of_a_connection_releases_everything_it_held() {
    let harness = Harness::start();
    run(async {
        let (one, other) =
            (Peer::connect(harness.tcp()).await, Peer::connect(harness.unix()).await);
        let mut held = Vec::new();
        for number in 0..300 {
            held.push(walk(&one.anchor(), &format!("{}/{number}", number % 7)).await.unwrap());
        }
        assert_eq!(other.nodes().await, 1 + 7 + 300);
        one.leave().await;
        other.tree_is_empty().await;
        drop(held);
    });
}

#[test]
fn a_killed_process_lets_go_of_what_it_held() {
    let harness = Harness::start();
    for address in harness.server.addresses() {
        let mut process = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "hold_three_hundred_nodes_until_killed", "--nocapture"])
            .env(HOLDER, address.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        assert!(output.lines().any(|line| line.expect("text").contains("holding")));
        run(async {
            let peer = Peer::connect(harness.unix()).await;
            let held = peer.nodes().await;
            process.kill().expect("killed");
            process.wait().expect("gone");
            assert_eq!(held, 1 + 300);
            peer.tree_is_empty().await;
            peer.leave().await;
        });
    }
}

/// The process of the test above; an ordinary run of it does nothing.
#[test]
fn hold_three_hundred_nodes_until_killed() {
    let Ok(address) = std::env::var(HOLDER) else { return };
    run(async {
        let peer = Peer::connect(&address.parse().expect("an address")).await;
        let mut held = Vec::new();
        for number in 0..300 {
            held.push(walk(&peer.anchor(), &format!("{number}")).await.expect("walked"));
        }
        println!("holding {}", held.len());
        tokio::time::sleep(support::PATIENCE).await;
    });
}

#[test]
fn the_same_node_is_the_same_capability_on_one_connection() {
    // With room for ten: more than one capability for a node would fail.
    let harness = Harness::with(|config| config.max_capabilities = 10);
    run(async {
        for address in harness.server.addresses() {
            let peer = Peer::connect(address).await;
            let a = walk(&peer.anchor(), "a").await.expect("walked");
            let mut held = Vec::new();
            for _ in 0..1000 {
                held.push(walk(&peer.anchor(), "/a/").await.expect("walked"));
                held.push(lookup(&peer.anchor(), "./a").await.expect("looked up").expect("there"));
                held.push(walk(&a, "").await.expect("walked"));
            }
            assert!(held.iter().all(|again| identity(again) == identity(&a)));
            let (b, cell_of_a) = (walk(&a, "b").await.expect("walked"), cell(&a).await);
            let again = cell(&a).await;
            assert_eq!(identity(&cell_of_a.0), identity(&again.0));
            assert_eq!(identity(&cell_of_a.1), identity(&again.1));
            let all = [identity(&a), identity(&b), identity(&again.0), identity(&again.1)];
            assert!((1..4).all(|i| !all[..i].contains(&all[i])), "{all:?}");
            peer.leave().await;
        }
    });
}

#[test]
fn fifty_connections_walking_at_once_agree_and_leave_nothing() {
    let harness = Harness::start();
    run(async {
        let mut peers = Vec::new();
        for number in 0..50 {
            let address = &harness.server.addresses()[number % 2];
            peers.push(Peer::connect(address).await);
        }
        let rounds = peers.iter().map(async |peer| {
            for round in 0..40 {
                let anchor = walk(&peer.anchor(), &format!("shared/{}", round % 5)).await.unwrap();
                let (_, storer) = cell(&anchor).await;
                store(&storer, support::Put::text("x"), true).await.expect("stored");
                assert!(!names(&peer.anchor()).await.is_empty());
                store(&storer, support::Put::Nothing, true).await.expect("cleared");
            }
        });
        futures::future::join_all(rounds).await;
        peers[0].tree_is_empty().await;
        assert_eq!(peers[0].info(|info| info.get_connections()).await, 50);
    });
}

#[test]
fn answers_not_yet_there_can_be_called() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (_, storer) = cell(&walk(&peer.anchor(), "a/b").await.expect("walked")).await;
        store(&storer, support::Put::text("piped"), true).await.expect("stored");

        let mut request = peer.anchor().walk_request();
        request.get().set_path("a/b");
        let loader = request.send().pipeline.get_anchor().cell_request().send().pipeline;
        let loaded = support::load(&loader.get_loader()).await.expect("loaded");
        assert_eq!(loaded, (Some("piped".to_owned()), 1));

        let mut request = peer.host.root_request().send().pipeline.get_root().lookup_request();
        request.get().set_path("self/a");
        let found = request.send().pipeline.get_anchor();
        assert_eq!(names(&found).await, ["b"]);
    });
}

/// Reads one message: how many bytes it took.
async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> usize {
    let segments = 1 + stream.read_u32_le().await.expect("a table") as usize;
    let mut words = 0;
    for _ in 0..segments {
        words += stream.read_u32_le().await.expect("a length") as usize;
    }
    let table = 4 + 4 * segments;
    let rest = table.next_multiple_of(8) - table + 8 * words;
    stream.read_exact(&mut vec![0; rest]).await.expect("the content");
    table + rest
}

#[test]
fn values_go_with_the_message_that_ends_their_owners_connection_though_its_stream_is_full() {
    use capnp::traits::HasTypeId;
    use capnp_rpc::rpc_capnp;

    const ROOM: usize = 1024;
    run(async {
        // Nobody waits for the client to read.
        let server =
            Simulated::start(Config { write_timeout: 10 * PATIENCE, ..Config::for_test([]) });
        let (mut client, stream) = tokio::io::duplex(ROOM);
        let serving = server.clone();
        let served = tokio::task::spawn_local(async move { serving.serve(stream, "test").await });

        let mut bytes = load_messages("a", 0);
        let method = (storer::Client::TYPE_ID, 0);
        bytes.extend(pipelined_call(3, (2, Some(1)), method, |payload| {
            let mut store = payload.init_content().init_as::<storer::store_params::Builder<'_>>();
            store.set_bound(true);
            store.init_value().set_as("hers").expect("set");
        }));
        client.write_all(&bytes).await.expect("written");
        for _ in 0..4 {
            read_message(&mut client).await;
        }
        assert_eq!(server.filled().len(), 1);

        // Fills the stream to its last byte, so that the server still reads.
        let question = |id: u32| {
            let mut message = capnp::message::Builder::new_default();
            let root = message.init_root::<rpc_capnp::message::Builder<'_>>();
            root.init_bootstrap().set_question_id(id);
            capnp::serialize::write_message_to_words(&message)
        };
        client.write_all(&question(10)).await.expect("written");
        let answer = read_message(&mut client).await;
        let count = ROOM.div_ceil(answer);
        let questions: Vec<_> = (0..count).flat_map(|id| question(11 + id as u32)).collect();
        client.write_all(&questions).await.expect("written");
        let mut too_many = vec![0; count * answer - ROOM];
        client.read_exact(&mut too_many).await.expect("read");

        // An answer to what was never asked.
        let mut wrong = capnp::message::Builder::new_default();
        let root = wrong.init_root::<rpc_capnp::message::Builder<'_>>();
        root.init_return().set_answer_id(99);
        let wrong = capnp::serialize::write_message_to_words(&wrong);
        client.write_all(&wrong).await.expect("written");
        eventually("the value's end", async || server.filled().is_empty()).await;
        assert_eq!(server.held().connections, 1, "the client has not been told yet");

        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("the end");
        assert!(String::from_utf8_lossy(&rest[ROOM..]).contains("nvalid question ID"), "{rest:?}");
        served.await.expect("served");
        eventually("the end of all", async || server.held() == Held::NOTHING).await;
    });
}
