//! Clients that use the RPC protocol against the server: what they do ends with their own connection, and
//! others do not wait for it.

mod support;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use capnp::message::{Builder, ReaderOptions};
use capnp::private::capability::ClientHook;
use capnp::serialize;
use capnp::traits::{HasTypeId, ImbueMut};
use capnp_rpc::rpc_capnp::{cap_descriptor, message, payload, return_};
use killick_schema::api::anchor_capnp::anchor::{self, loader, storer};
use support::{
    Harness, Peer, Stream, bootstrap_messages, eventually, load_cap, load_messages, pipelined_call,
    raw, run, walk,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The bytes of one message.
fn said(fill: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
    let mut words = Builder::new_default();
    fill(words.init_root());
    serialize::write_message_to_words(&words)
}

/// A pointer to the next capability of a message.
fn capability() -> Box<dyn ClientHook> {
    capnp_rpc::new_broken_cap(capnp::Error::failed("no matter which".into())).hook
}

/// Reads until there is a message that `wanted` finds something in.
async fn until<T>(
    stream: &mut Box<dyn Stream>,
    wanted: impl Fn(message::Reader<'_>) -> Option<T>,
) -> T {
    let mut bytes = Vec::new();
    loop {
        let mut rest = &*bytes;
        while let Ok(words) =
            serialize::read_message_from_flat_slice(&mut rest, ReaderOptions::new())
        {
            if let Some(found) = wanted(words.get_root().expect("a message")) {
                return found;
            }
        }
        let read = tokio::time::timeout(support::PATIENCE, stream.read_buf(&mut bytes));
        assert!(read.await.expect("told in time").expect("read") > 0, "closed");
    }
}

/// Which question is answered by a message, and with which error if it is one.
fn answered(message: message::Reader<'_>) -> Option<(u32, Option<String>)> {
    let Ok(message::Return(Ok(answer))) = message.which() else { return None };
    let error = match answer.which() {
        Ok(return_::Exception(Ok(error))) => Some(error.get_reason().ok()?.to_string().ok()?),
        _ => None,
    };
    Some((answer.get_answer_id(), error))
}

/// Which question of the server's a message is.
fn asked(message: message::Reader<'_>) -> Option<u32> {
    match message.which() {
        Ok(message::Call(Ok(call))) => Some(call.get_question_id()),
        _ => None,
    }
}

#[test]
fn a_call_that_its_host_answers_with_the_answer_to_that_call_is_an_ordinary_error() {
    for to_itself in [false, true] {
        let harness = Harness::start();
        run(async {
            let witness = Peer::connect(harness.unix()).await;
            let mut stream = raw(harness.unix()).await;
            // It hosts something, loads it, and calls what it has loaded.
            let mut bytes = hosting_messages();
            let load = (loader::Client::TYPE_ID, 0);
            bytes.extend(pipelined_call(4, (2, Some(0)), load, |_| ()));
            stream.write_all(&bytes).await.expect("written");
            until(&mut stream, |message| answered(message).filter(|(id, _)| *id == 4)).await;
            let call = pipelined_call(5, (4, Some(0)), load, |_| ());
            let mut bytes = if to_itself { results_to_itself(&call) } else { call };
            // It is made, if its results are its sender's to take, when another call waits for them.
            bytes.extend(pipelined_call(6, (5, None), load, |_| ()));
            stream.write_all(&bytes).await.expect("written");
            let asked = until(&mut stream, asked).await;
            // What the server asks it is answered with the answer to the call that it made itself.
            let bytes = said(|message| {
                let mut answer = message.init_return();
                answer.set_answer_id(asked);
                let mut payload = answer.init_results();
                let mut cap = payload.reborrow().init_cap_table(1).get(0);
                cap.reborrow().init_receiver_answer().set_question_id(5);
                let mut caps = Vec::new();
                let mut content = payload.init_content();
                let mut content = content.reborrow();
                content.imbue_mut(&mut caps);
                content.set_as_capability(capability());
            });
            stream.write_all(&bytes).await.expect("written");
            let (_, error) =
                until(&mut stream, |message| answered(message).filter(|(id, _)| *id == 6)).await;
            assert_eq!(error.as_deref(), Some("a capability resolves to itself"));
            assert_eq!(witness.nodes().await, 2);
            drop(stream);
            witness.tree_is_empty().await;
        });
    }
}

/// The same call, whose results its sender means to take by a return of its own.
fn results_to_itself(call: &[u8]) -> Vec<u8> {
    let words = serialize::read_message(call, ReaderOptions::new()).expect("a message");
    let mut copy = Builder::new_default();
    copy.set_root(words.get_root::<message::Reader<'_>>().expect("a message")).expect("copied");
    let message = copy.get_root::<message::Builder<'_>>().expect("a message");
    let Ok(message::Call(Ok(mut call))) = message.which() else { panic!("a call") };
    call.reborrow().init_send_results_to().set_yourself(());
    serialize::write_message_to_words(&copy)
}

/// The bytes of a promise's resolution.
fn resolve_to(promise: u32, describe: impl FnOnce(cap_descriptor::Builder<'_>)) -> Vec<u8> {
    said(|message| {
        let mut resolve = message.init_resolve();
        resolve.set_promise_id(promise);
        describe(resolve.init_cap());
    })
}

#[test]
fn ids_that_mean_nothing_end_their_connection_with_one_log_line_and_no_other() {
    let release = |id, count| {
        said(|message| {
            let mut release = message.init_release();
            release.set_id(id);
            release.set_reference_count(count);
        })
    };
    let third_party = |message: message::Builder<'_>| {
        let mut call = message.init_call();
        call.set_question_id(1);
        call.reborrow().init_target().set_imported_cap(0);
        call.init_send_results_to().init_third_party();
    };
    let inputs: [(&str, Vec<u8>); 9] = [
        ("a call to nothing", said(|m| m.init_call().init_target().set_imported_cap(77))),
        ("a question asked twice", bootstrap_messages(1)),
        ("a release of nothing", release(77, 1)),
        ("a release of too much", release(0, 1000)),
        ("an answer to nothing", said(|m| m.init_return().set_answer_id(77))),
        ("a promise that resolves to nothing", resolve_to(7, |mut cap| cap.set_none(()))),
        ("an embargo that there is not", {
            said(|m| m.init_disembargo().init_context().set_receiver_loopback(77))
        }),
        ("an answer to a third party", said(third_party)),
        (
            "a return that is not understood",
            said(|m| m.init_unimplemented().init_return().set_answer_id(0)),
        ),
    ];
    for (what, bytes) in inputs {
        let harness = Harness::start();
        run(async {
            let witness = Peer::connect(harness.unix()).await;
            let mut stream = raw(harness.unix()).await;
            let mut all = bootstrap_messages(1);
            all.extend(bytes);
            stream.write_all(&all).await.expect("written");
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(support::PATIENCE, stream.read_to_end(&mut rest));
            let _ = ended.await.unwrap_or_else(|_| panic!("{what} does not end its connection"));
            harness.logged(1).await;
            witness.tree_is_empty().await;
        });
    }
}

/// Fills in the parameters of a store of a capability.
fn storing(mut payload: payload::Builder<'_>, describe: impl FnOnce(cap_descriptor::Builder<'_>)) {
    describe(payload.reborrow().init_cap_table(1).get(0));
    let mut caps = Vec::new();
    let mut content = payload.init_content();
    let mut content = content.reborrow();
    content.imbue_mut(&mut caps);
    let store = content.init_as::<storer::store_params::Builder<'_>>();
    store.init_value().set_as_capability(capability());
}

/// The bytes of a store of a capability.
fn store_of(
    question: u32,
    target: (u32, Option<u16>),
    describe: impl FnOnce(cap_descriptor::Builder<'_>),
) -> Vec<u8> {
    let store = (storer::Client::TYPE_ID, 0);
    pipelined_call(question, target, store, |payload| storing(payload, describe))
}

/// Stores something that the sender hosts at `a`, as question 3.
fn hosting_messages() -> Vec<u8> {
    let mut bytes = load_messages("a", 0);
    bytes.extend(store_of(3, (2, Some(1)), |mut cap| cap.set_sender_hosted(7)));
    bytes
}

#[test]
fn an_answer_that_is_read_to_its_limit_already_is_an_error_of_its_call() {
    let harness = Harness::with(|config| config.max_value_bytes = 1000);
    run(async {
        let mut host = raw(harness.unix()).await;
        host.write_all(&hosting_messages()).await.expect("written");
        until(&mut host, |message| answered(message).filter(|(id, _)| *id == 3)).await;
        let caller = Peer::connect(harness.unix()).await;
        let (found, _) = support::cell(&walk(&caller.anchor(), "a").await.expect("walked")).await;
        let hosted: loader::Client = load_cap(&found).await.expect("loaded").expect("there");
        // A message may have 3,072 words, and as many are read of it; two for each of these.
        for count in 1520..1532 {
            let call = hosted.load_request().send().promise;
            let answer = async {
                let asked = until(&mut host, asked).await;
                let answer = said(|message| {
                    let mut answer = message.init_return();
                    answer.set_answer_id(asked);
                    let mut table = answer.init_results().init_cap_table(count);
                    (0..count).for_each(|index| table.reborrow().get(index).set_none(()));
                });
                host.write_all(&answer).await.expect("written");
            };
            let (called, ()) = tokio::join!(call, answer);
            let error = called.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(!error.contains("internal error"), "{count}: {error}");
        }
        assert_eq!(caller.nodes().await, 2);
    });
}

/// The bytes that walk to as many nodes, without being done with an answer.
fn walk_messages(count: u32) -> Vec<u8> {
    let mut bytes = bootstrap_messages(1);
    for number in 1..=count {
        let path = format!("{}/{number}", number / 10_000);
        bytes.extend(pipelined_call(number, (0, None), (anchor::Client::TYPE_ID, 1), |payload| {
            payload.init_content().init_as::<anchor::walk_params::Builder<'_>>().set_path(path);
        }));
    }
    bytes
}

/// Calls of `witness` until all but the root is gone: how long that takes, and the longest of them.
async fn until_all_is_gone(witness: &Peer) -> (Duration, Duration) {
    let (begin, mut longest) = (Instant::now(), Duration::ZERO);
    loop {
        let start = Instant::now();
        let nodes = witness.nodes().await;
        longest = longest.max(start.elapsed());
        if nodes == 1 {
            return (begin.elapsed(), longest);
        }
    }
}

#[test]
fn nobody_waits_for_the_end_of_a_connection_that_held_much_however_it_ends() {
    let count = std::env::var("KILLICK_HOLD").ok().and_then(|count| count.parse().ok());
    let count: u32 = count.unwrap_or(20_000);
    for aborts in [false, true] {
        let harness = Harness::with(|config| config.threads = NonZeroUsize::MIN);
        run(async {
            let witness = Peer::connect(harness.unix()).await;
            let (mut read, mut write) = tokio::io::split(raw(harness.unix()).await);
            let answers = tokio::task::spawn_local(async move {
                let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
            });
            write.write_all(&walk_messages(count)).await.expect("written");
            eventually("the nodes", async || witness.nodes().await > u64::from(count)).await;
            if aborts {
                write
                    .write_all(&said(|m| m.init_abort().set_reason("that is all")))
                    .await
                    .expect("written");
            } else {
                write.shutdown().await.expect("closed");
            }
            let (all, longest) = until_all_is_gone(&witness).await;
            println!(
                "{count} capabilities and answers gone after {all:?}, a call took {longest:?}"
            );
            assert!(longest < support::PATIENCE / 4, "{longest:?}");
            answers.abort();
        });
    }
}

/// A host of something at `a` that never answers.
async fn silent_host(harness: &Harness) -> Box<dyn Stream> {
    let mut host = raw(harness.unix()).await;
    host.write_all(&hosting_messages()).await.expect("written");
    until(&mut host, |message| answered(message).filter(|(id, _)| *id == 3)).await;
    host
}

#[test]
fn a_long_chain_of_calls_each_on_the_answer_to_the_one_before_waits_and_holds_nobody_up() {
    for as_parameter in [false, true] {
        let harness = Harness::with(|config| config.threads = NonZeroUsize::MIN);
        run(async {
            let witness = Peer::connect(harness.unix()).await;
            let mut host = silent_host(&harness).await;
            let load = (loader::Client::TYPE_ID, 0);
            let mut chain = load_messages("a", 1);
            chain.extend(pipelined_call(4, (3, Some(0)), load, |_| ()));
            for question in 5..10_000 {
                chain.extend(if as_parameter {
                    let answer = |cap: cap_descriptor::Builder<'_>| {
                        cap.init_receiver_answer().set_question_id(question - 1);
                    };
                    store_of(question, (2, Some(1)), answer)
                } else {
                    pipelined_call(question, (question - 1, Some(0)), load, |_| ())
                });
            }
            let mut caller = raw(harness.unix()).await;
            let written = tokio::task::spawn_local(async move {
                let _ = caller.write_all(&chain).await;
                caller
            });
            until(&mut host, asked).await;
            for _ in 0..50 {
                assert_eq!(witness.nodes().await, 2);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            drop(host);
            written.abort();
            witness.tree_is_empty().await;
        });
    }
}

#[test]
fn a_long_chain_of_promises_each_resolved_to_the_next_is_broken() {
    let harness = Harness::start();
    run(async {
        let witness = Peer::connect(harness.unix()).await;
        let mut host = silent_host(&harness).await;
        // One call through the server keeps the first promise.
        let mut bytes = load_messages("a", 1);
        let store = (storer::Client::TYPE_ID, 0);
        bytes.extend(pipelined_call(4, (3, Some(0)), store, |payload| {
            storing(payload, |mut cap| cap.set_sender_promise(0));
        }));
        let mut caller = raw(harness.unix()).await;
        caller.write_all(&bytes).await.expect("written");
        until(&mut host, asked).await;
        let (mut read, mut write) = tokio::io::split(caller);
        let answers = tokio::task::spawn_local(async move {
            let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
        });
        for promise in 0..50_000 {
            let next = resolve_to(promise, |mut cap| cap.set_sender_promise(promise + 1));
            write.write_all(&next).await.expect("written");
        }
        harness.logged(0).await;
        write.shutdown().await.expect("closed");
        answers.await.expect("closed");
        drop(host);
        witness.tree_is_empty().await;
    });
}
