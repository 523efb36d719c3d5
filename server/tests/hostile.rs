//! Bad input: one log line, that connection ends, all others live.

mod support;

use std::rc::Rc;
use std::time::{Duration, Instant};

use capnp::ErrorKind;
use capnp::capability::FromClientHook;
use capnp::traits::{HasTypeId, ImbueMut};
use capnp_rpc::rpc_capnp::{cap_descriptor, message};
use killick_schema::api::anchor_capnp::anchor::{self, storer};
use killick_server::Address;
use support::scrape::limit_hits;
use support::{
    Harness, Peer, Put, bootstrap_messages, cell, eventually, load, load_cap, load_messages,
    pipelined_call, put, raw, run, store, walk, walk_error,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::Level;

/// Sends `bytes`, and waits until the server has closed the connection.
async fn send_and_wait_for_the_end(address: &Address, bytes: &[u8]) {
    let mut stream = raw(address).await;
    // It may have closed before it was sent everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(support::PATIENCE, stream.read_to_end(&mut answer)).await;
    // Reset is an end as well.
    let _ = ended.expect("the connection ends");
}

/// A frame of one segment with these words.
fn frame(words: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0];
    bytes.extend((words.len() as u32).to_le_bytes());
    words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes
}

#[test]
fn what_is_not_the_protocol_ends_its_connection_with_one_log_line_and_no_other() {
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    let mut huge = vec![0, 0, 0, 0];
    huge.extend(0x0fff_ffff_u32.to_le_bytes());
    let many_segments = [0xff_u8; 64];
    let inputs: [(&str, &[u8]); 9] = [
        ("an HTTP request", http),
        ("8 zero bytes", &[0; 8]),
        ("a huge segment", &huge),
        ("2^32 segments", &many_segments),
        ("a far pointer to nowhere", &frame(&[0xffff_ffff_ffff_fffe])),
        ("a struct beyond the message", &frame(&[0xffff_ffff_0000_0000])),
        ("a text in place of a message", &frame(&[0x0000_0042_0000_0001, 0x6f6c6c6568])),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on and so on"),
        ("an SSH greeting", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ];
    for (what, bytes) in inputs {
        let harness = Harness::start();
        run(async {
            let witness = Peer::connect(harness.unix()).await;
            let held = walk(&witness.anchor(), "held").await.unwrap();
            for (count, address) in harness.server.addresses().iter().enumerate() {
                send_and_wait_for_the_end(address, bytes).await;
                let log = harness.logged(count + 1).await;
                assert!(log[count].contains("connection closed "), "{what}: {log:?}");
                assert!(!log[count].contains("Failed"), "{what}: {log:?}");
            }
            assert_eq!(witness.nodes().await, 2, "{what}");
            drop(held);
            witness.tree_is_empty().await;
            assert_eq!(witness.info(|info| info.get_connections()).await, 1, "{what}");
        });
    }
}

#[test]
fn a_frame_cut_off_by_the_end_of_the_connection_is_one_log_line_that_says_so() {
    for of in [Harness::unix, Harness::tcp] {
        let harness = Harness::start();
        run(async {
            let witness = Peer::connect(harness.unix()).await;
            let cut = [(&frame(&[7, 7, 7])[..20], 20), (&[0, 0, 0][..], 3)];
            for (count, (bytes, left)) in cut.into_iter().enumerate() {
                let mut stream = raw(of(&harness)).await;
                stream.write_all(bytes).await.expect("sent");
                drop(stream);
                let log = harness.logged(count + 1).await;
                let expected = format!("reason=the connection ended {left} bytes into a message");
                assert!(log[count].ends_with(&expected), "{log:?}");
            }
            witness.tree_is_empty().await;
        });
    }
}

#[test]
fn a_bad_message_whose_sender_closes_at_once_is_one_log_line() {
    for of in [Harness::unix, Harness::tcp] {
        let harness = Harness::start();
        run(async {
            let mut stream = raw(of(&harness)).await;
            stream.write_all(&frame(&[0xffff_ffff_0000_0000])).await.expect("sent");
            drop(stream);
            let log = harness.logged(1).await;
            assert!(log[0].contains("connection closed "), "{log:?}");
        });
    }
}

#[test]
fn what_a_client_says_as_it_ends_is_one_short_line_of_the_log() {
    let harness = Harness::start();
    run(async {
        let mut message = capnp::message::Builder::new_default();
        let root = message.init_root::<capnp_rpc::rpc_capnp::message::Builder<'_>>();
        root.init_abort().set_reason(format!("evil\nERROR forged \x1b[31m{}", "é".repeat(5000)));
        let message = capnp::serialize::write_message_to_words(&message);
        send_and_wait_for_the_end(harness.unix(), &message).await;
        let log = harness.logged(1).await;
        assert!(log[0].contains(r"evil\nERROR forged \u{1b}[31mé"), "{log:?}");
        assert!(log[0].ends_with("é…") && log[0].len() < 1000, "{log:?}");
    });
}

#[test]
fn a_connection_that_leaves_many_answers_of_others_unread_ends_by_their_bytes() {
    let harness = Harness::with(|config| {
        config.max_call_bytes = 1 << 20;
        config.write_timeout = Duration::from_secs(60);
    });
    run(async {
        let peer = Peer::connect(harness.tcp()).await;
        let (client, _) = support::speaker(&"x".repeat(500_000));
        put(&peer, "a", Put::cap(client)).await;
        let mut messages = load_messages("a", 1);
        for number in 4..24 {
            // On the value of the load: another client answers.
            let load = (anchor::loader::Client::TYPE_ID, 0);
            messages.extend(support::pipelined_call(number, (3, Some(0)), load, |_| ()));
        }
        let mut deaf = raw(harness.unix()).await;
        let start = Instant::now();
        deaf.write_all(&messages).await.expect("sent");
        let log = harness.logged(1).await;
        let took = start.elapsed();
        assert!(took < Duration::from_secs(4), "{took:?}, as long as a system that hangs is given");
        let why = "answers would exceed their limit of 4194304 bytes that wait to be written \
                   (max-call-bytes)";
        assert!(log[0].ends_with(why), "{log:#?}");
    });
}

#[test]
fn a_connection_that_ends_in_order_is_one_log_line_without_a_reason_and_only_if_wanted() {
    for level in [Level::DEBUG, Level::INFO] {
        let harness = Harness::logging(level, |_| {});
        run(async {
            let witness = Peer::connect(harness.unix()).await;
            for address in harness.server.addresses() {
                drop(raw(address).await);
                Peer::connect(address).await.leave().await;
            }
            eventually("their ends", async || {
                witness.info(|info| info.get_connections()).await == 1
            })
            .await;
            // Four come and go; the witness has come.
            let log = harness.logged(if level == Level::DEBUG { 9 } else { 0 }).await;
            for (what, count) in [("DEBUG connection opened ", 5), ("DEBUG connection ended ", 4)] {
                let found = log.iter().filter(|line| line.starts_with(what)).count();
                assert!(level == Level::INFO || found == count, "{log:#?}");
            }
        });
    }
}

#[test]
fn a_client_that_dies_in_the_middle_of_a_call_ends_alone() {
    let harness = Harness::start();
    run(async {
        let witness = Peer::connect(harness.tcp()).await;
        let dying = Peer::connect(harness.unix()).await;
        let mut calls = Vec::new();
        for number in 0..100 {
            let mut request = dying.anchor().walk_request();
            request.get().set_path(format!("dying/{number}"));
            calls.push(request.send().promise);
        }
        // Everything is dropped, with calls on their way and answers unread.
        dying.leave().await;
        drop(calls);
        eventually("its end", async || witness.info(|info| info.get_connections()).await == 1)
            .await;
        witness.tree_is_empty().await;
        assert_eq!(names_of(&witness).await, Vec::<String>::new());
    });
}

async fn names_of(peer: &Peer) -> Vec<String> {
    support::names(&peer.anchor()).await
}

#[test]
fn a_walk_of_a_million_components_is_an_error_in_milliseconds() {
    let harness = Harness::start();
    run(async {
        for address in harness.server.addresses() {
            let peer = Peer::connect(address).await;
            let path = "a/".repeat(1_000_000);
            peer.nodes().await;
            let start = Instant::now();
            let error = walk_error(&peer.anchor(), &path).await;
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
            assert_eq!(error.kind, ErrorKind::Failed);
            let expected = "path of 2000000 bytes exceeds the limit of 4096";
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(peer.nodes().await, 1);
            peer.leave().await;
        }
        harness.logged(0).await;
    });
}

#[test]
fn a_message_over_the_limit_ends_its_connection_and_says_why() {
    let harness = Harness::with(|config| config.max_value_bytes = 1 << 16);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let error = walk_error(&peer.anchor(), &"a".repeat(1 << 20)).await;
        assert!(
            error.to_string().contains("bytes exceeds the limit of 262144 (max-message-bytes)"),
            "{error}"
        );
        peer.ended().await;
        let log = harness.logged(1).await;
        assert!(
            log[0].contains("bytes exceeds the limit of 262144 (max-message-bytes)"),
            "{log:?}"
        );
    });
}

#[test]
fn a_value_over_the_limit_is_an_error_that_names_it_and_the_connection_lives() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (loader, storer) = cell(&walk(&peer.anchor(), "a").await.unwrap()).await;
        let error = store(&storer, Put::Text("x".repeat((1 << 20) + 1)), true).await.unwrap_err();
        assert!(error.to_string().contains("exceeds the limit of 1048576"), "{error}");
        assert_eq!(load(&loader).await.unwrap(), (None, 0));
        assert!(store(&storer, Put::Text("x".repeat((1 << 20) - 9)), true).await.unwrap().0);
    });
}

#[test]
fn unknown_methods_and_interfaces_are_errors_of_their_call() {
    use killick_schema::api::host_capnp::host;

    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let anchor = walk(&peer.anchor(), "a").await.unwrap();
        let not_a_host: host::Client = capnp::capability::FromClientHook::cast_to(anchor);
        let error = not_a_host.info_request().send().promise.await.err().expect("no host");
        assert_eq!(error.kind, ErrorKind::Unimplemented, "{error}");
        assert_eq!(peer.nodes().await, 2);
    });
}

#[test]
fn a_message_that_does_not_end_ends_its_connection() {
    let harness = Harness::with(|config| config.read_timeout = Duration::from_millis(100));
    run(async {
        let witness = Peer::connect(harness.unix()).await;
        let bytes = bootstrap_messages(3);
        let len = bytes.len() / 3;
        for cut in [1, 4, len - 1] {
            let mut stream = raw(harness.unix()).await;
            // Whole messages, however far apart, are no half ones.
            for whole in bytes.chunks(len).take(2) {
                stream.write_all(whole).await.expect("written");
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            stream.write_all(&bytes[2 * len..][..cut]).await.expect("written");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.expect("closed");
        }
        let log = harness.logged(3).await;
        let line = "reason=the rest of a message did not come for 100ms (read-timeout)";
        assert!(log.iter().all(|told| told.ends_with(line)), "{log:#?}");
        witness.nodes().await;
    });
}

#[test]
fn a_client_that_sends_nothing_is_let_go_if_so_wanted() {
    let harness = Harness::with(|config| config.idle_timeout = Some(Duration::from_millis(200)));
    run(async {
        let busy = Peer::connect(harness.unix()).await;
        let idle = Peer::connect(harness.unix()).await;
        let held = walk(&idle.anchor(), "held").await.expect("walked");
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            busy.nodes().await;
        }
        idle.ended().await;
        drop(held);
        busy.tree_is_empty().await;
        let log = harness.logged(1).await;
        assert!(log[0].ends_with("reason=sent nothing for 200ms (idle-timeout)"), "{log:#?}");
    });
}

/// The bytes of a promise's resolution.
fn resolve_to(promise: u32, describe: impl FnOnce(cap_descriptor::Builder<'_>)) -> Vec<u8> {
    let mut message = capnp::message::Builder::new_default();
    let mut resolve = message.init_root::<message::Builder<'_>>().init_resolve();
    resolve.set_promise_id(promise);
    describe(resolve.init_cap());
    capnp::serialize::write_message_to_words(&message)
}

#[test]
fn a_promise_that_resolves_to_the_call_that_waits_for_it_holds_nobody_up() {
    let harness = Harness::with(|config| {
        config.threads = std::num::NonZeroUsize::MIN;
        config.settle_timeout = Duration::from_millis(200);
    });
    run(async {
        let witness = Peer::connect(harness.unix()).await;
        let mut bytes = load_messages("a", 0);
        bytes.extend(store_of(3, (2, Some(1)), |mut cap| cap.set_sender_promise(5)));
        bytes.extend(resolve_to(5, |cap| cap.init_receiver_answer().set_question_id(3)));
        let mut waits = raw(harness.unix()).await;
        waits.write_all(&bytes).await.expect("written");
        let mut leaves = raw(harness.unix()).await;
        leaves.write_all(&bytes).await.expect("written");
        eventually("the node", async || witness.nodes().await == 2).await;
        drop(leaves);
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(names_of(&witness).await, ["a"]);
        drop(waits);
        witness.tree_is_empty().await;
        others_are_gone(&witness).await;
    });
}

#[test]
fn a_promise_that_resolves_to_itself_ends_its_connection() {
    let harness = Harness::start();
    run(async {
        let mut bytes = bootstrap_messages(1);
        bytes.extend(resolve_to(5, |mut cap| cap.set_sender_promise(5)));
        send_and_wait_for_the_end(harness.unix(), &bytes).await;
        let log = harness.logged(1).await;
        assert!(log[0].ends_with("reason=promise 5 resolves to itself"), "{log:#?}");
    });
}

#[test]
fn promises_that_resolve_one_to_the_next_do_so_no_longer_than_the_stack_bears() {
    let harness = Harness::with(|config| config.metrics = Some(([127, 0, 0, 1], 0).into()));
    run(async {
        let witness = Peer::connect(harness.unix()).await;
        let (loader, _) = cell(&walk(&witness.anchor(), "a").await.unwrap()).await;
        for (promises, is_broken) in [(20, false), (40, true)] {
            let mut bytes = load_messages("a", 0);
            bytes.extend(store_of(3, (2, Some(1)), |mut cap| cap.set_sender_promise(5)));
            for promise in 5..5 + promises {
                bytes.extend(resolve_to(promise, |mut cap| cap.set_sender_promise(promise + 1)));
            }
            bytes.extend(resolve_to(5 + promises, |mut cap| cap.set_sender_hosted(99)));
            let mut stream = raw(harness.unix()).await;
            stream.write_all(&bytes).await.expect("written");
            let (mut answers, mut part) = (Vec::new(), [0; 1000]);
            let told = |answers: &[u8]| {
                String::from_utf8_lossy(answers).contains(" to another 32 times (chain)")
            };
            let is_stored = async || load_cap::<storer::Client>(&loader).await.unwrap().is_some();
            while !told(&answers) && !is_stored().await {
                let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut part));
                let count = read.await.unwrap_or(Ok(0)).expect("read");
                answers.extend_from_slice(&part[..count]);
            }
            assert_eq!(told(&answers), is_broken, "{promises}");
            assert_eq!(limit_hits(&harness, "chain") > 0.0, is_broken, "{promises}");
            drop(stream);
            others_are_gone(&witness).await;
        }
    });
}

#[test]
fn calls_that_wait_one_for_the_other_are_not_read_further_and_end_their_connection() {
    let harness = Harness::with(|config| config.metrics = Some(([127, 0, 0, 1], 0).into()));
    run(async {
        let witness = Peer::connect(harness.unix()).await;
        put(&witness, "a", Put::cap(capnp_rpc::new_client::<storer::Client, _>(Silent))).await;
        let mut bytes = load_messages("a", 1);
        let store = (<storer::Client as capnp::traits::HasTypeId>::TYPE_ID, 0);
        for question in 4..4 + 33 {
            bytes.extend(pipelined_call(question, (question - 1, Some(0)), store, |_| ()));
        }
        send_and_wait_for_the_end(harness.unix(), &bytes).await;
        let log = harness.logged(1).await;
        let why = "32 calls that wait one for the other stayed unanswered for 500ms (chain)";
        assert!(log[0].ends_with(why), "{log:#?}");
        assert_eq!(limit_hits(&harness, "chain"), 1.0);
    });
}

/// Waits until nobody but the witness is connected.
async fn others_are_gone(witness: &Peer) {
    eventually("the others' ends", async || witness.info(|info| info.get_connections()).await == 1)
        .await;
}

#[test]
fn a_client_that_dies_with_much_unread_takes_nothing_with_it() {
    let harness = Harness::with(|config| config.write_timeout = support::PATIENCE * 10);
    run(async {
        let witness = Peer::connect(harness.unix()).await;
        put(&witness, "big", Put::text(&"x".repeat(900_000))).await;
        for address in harness.server.addresses() {
            let mut stream = raw(address).await;
            stream.write_all(&load_messages("big", 3)).await.expect("written");
            // Answers fill the socket, and more wait.
            eventually("much unread", async || {
                let clients = witness.host.clients_request().send().promise.await.expect("told");
                let clients = clients.get().unwrap().get_clients().unwrap();
                clients.len() == 2 && clients.get(1).get_handles() >= 4
            })
            .await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(stream);
            others_are_gone(&witness).await;
        }
        put(&witness, "big", Put::Nothing).await;
        witness.tree_is_empty().await;
    });
}

#[test]
fn answers_that_are_never_done_with_end_their_connection_by_their_bytes() {
    let harness = Harness::with(|config| config.max_call_bytes = 1 << 20);
    run(async {
        let witness = Peer::connect(harness.unix()).await;
        // An answer with a capability in it is kept for what may be called on it.
        let (_, storer) = cell(&walk(&witness.anchor(), "big").await.unwrap()).await;
        let mut request = storer.store_request();
        request.get().set_overwrite(true);
        let mut value = request.get().init_value().init_as::<anchor::child::Builder<'_>>();
        value.set_name("x".repeat(900_000).as_str());
        value.set_anchor(witness.anchor());
        request.send().promise.await.expect("stored");
        send_and_wait_for_the_end(harness.unix(), &load_messages("big", 10)).await;
        others_are_gone(&witness).await;
        let log = harness.logged(1).await;
        assert!(log[0].contains("exceed their limit of 4194304 bytes"), "{log:#?}");
        // Whoever is done with them may have as many as there are.
        let (loader, _) = cell(&walk(&witness.anchor(), "big").await.unwrap()).await;
        for _ in 0..10 {
            let loaded = loader.load_request().send().promise.await.expect("loaded");
            let value = loaded.get().unwrap().get_value().get_as::<anchor::child::Reader<'_>>();
            assert_eq!(value.unwrap().get_name().unwrap().len(), 900_000);
        }
    });
}

/// Takes values and never answers.
struct Silent;

impl storer::Server for Silent {
    async fn store(
        self: Rc<Self>,
        _: storer::StoreParams,
        _: storer::StoreResults,
    ) -> capnp::Result<()> {
        std::future::pending().await
    }
}

#[test]
fn calls_that_are_given_up_end_their_connection_by_their_bytes() {
    let harness = Harness::with(|config| config.max_call_bytes = 1 << 20);
    run(async {
        let witness = Peer::connect(harness.unix()).await;
        put(&witness, "a", Put::cap(capnp_rpc::new_client::<storer::Client, _>(Silent))).await;
        let hostile = Peer::connect(harness.unix()).await;
        let (loader, _) = cell(&walk(&hostile.anchor(), "a").await.unwrap()).await;
        let silent: storer::Client = load_cap(&loader).await.unwrap().expect("there");
        for number in 0..100 {
            let mut request = silent.store_request();
            let text = "x".repeat(100_000);
            request.get().init_value().set_as(text.as_str()).expect("set");
            let sent = request.send();
            // It is on its way, and given up.
            tokio::time::sleep(Duration::from_millis(1)).await;
            drop(sent);
            if number > 60 {
                break;
            }
        }
        hostile.ended().await;
        others_are_gone(&witness).await;
        let log = harness.logged(1).await;
        assert!(log[0].contains("given up"), "{log:#?}");
    });
}

#[test]
fn a_host_that_does_not_read_is_not_called_without_end() {
    let harness = Harness::with(|config| {
        config.max_call_bytes = 1 << 20;
        config.write_timeout = support::PATIENCE * 10;
    });
    run(async {
        // A host over a stream that it stops to read: what it hosts is promised in a raw message.
        let witness = Peer::connect(harness.unix()).await;
        let mut host = raw(harness.unix()).await;
        let mut bytes = load_messages("a", 0);
        bytes.extend(hosting_store(3, (2, Some(1))));
        host.write_all(&bytes).await.expect("written");
        let (loader, _) = cell(&walk(&witness.anchor(), "a").await.unwrap()).await;
        eventually("the value", async || {
            load_cap::<storer::Client>(&loader).await.unwrap().is_some()
        })
        .await;
        // Each caller has a limit of its own.
        let (one, two) = (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
        let mut calls = Vec::new();
        for caller in [&witness, &one, &two] {
            let (loader, _) = cell(&walk(&caller.anchor(), "a").await.unwrap()).await;
            let hosted: storer::Client = load_cap(&loader).await.unwrap().expect("there");
            for _ in 0..10 {
                let mut request = hosted.store_request();
                request.get().init_value().set_as("x".repeat(100_000).as_str()).expect("set");
                let sent = request.send().promise;
                calls.push(async move { sent.await.err() });
            }
        }
        let ended = futures::future::select_all(calls.into_iter().map(Box::pin));
        let (error, ..) = tokio::time::timeout(support::PATIENCE, ended).await.expect("refused");
        let error = error.expect("an error");
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        assert!(error.to_string().contains("1048576 bytes unread"), "{error}");
        drop(host);
        one.leave().await;
        two.leave().await;
        others_are_gone(&witness).await;
    });
}

/// The bytes of a store of something that the sender hosts.
fn hosting_store(question: u32, target: (u32, Option<u16>)) -> Vec<u8> {
    store_of(question, target, |mut cap| cap.set_sender_hosted(7))
}

/// The bytes of a store of a capability.
fn store_of(
    question: u32,
    target: (u32, Option<u16>),
    describe: impl FnOnce(cap_descriptor::Builder<'_>),
) -> Vec<u8> {
    let method = (<storer::Client as capnp::traits::HasTypeId>::TYPE_ID, 0);
    support::pipelined_call(question, target, method, |mut payload| {
        describe(payload.reborrow().init_cap_table(1).get(0));
        let mut caps = Vec::new();
        let mut content = payload.init_content();
        let mut content = content.reborrow();
        content.imbue_mut(&mut caps);
        let mut store = content.init_as::<storer::store_params::Builder<'_>>();
        store.set_overwrite(true);
        let client: storer::Client = capnp_rpc::new_client(Silent);
        store.init_value().set_as_capability(client.into_client_hook());
    })
}
