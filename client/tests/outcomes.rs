//! What is known when no answer comes: that nothing was done, or nothing at all.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use capnp_rpc::rpc_capnp::exception;
use killick_client::schema::api::anchor_capnp::anchor::{
    self, LsParams, LsResults, SwapParams, SwapResults,
};
use killick_client::{Address, Client, Error, Options, Value, capnp, capnp_rpc};
use support::proxy::{Proxy, last_words};
use support::{Harness, eventually, impatient, is_disconnected, once, options, run};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

/// A server, a proxy before it, a client through the proxy that tries nothing twice, and one that does
/// not go through it.
async fn behind_a_proxy(harness: &Harness) -> (Proxy, Client, Client) {
    let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
    let client = Client::connect(proxy.address(), once()).await.expect("connected");
    (proxy, client, harness.client().await)
}

/// Why the outcome of an operation is not known.
fn unknown<T: std::fmt::Debug>(result: Result<T, Error>) -> Error {
    match result {
        Err(Error::UnknownOutcome { cause }) => *cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_whose_answer_is_cut_off_has_an_unknown_outcome_and_was_done() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, direct) = behind_a_proxy(&harness).await;
        let anchor = client.walk("a").await.unwrap();
        proxy.hold_answers();
        let cut = async {
            eventually("it to be done", async || {
                direct.load_at("a").await.unwrap().text() == Some("value")
            })
            .await;
            proxy.cut();
        };
        let (stored, ()) = tokio::join!(anchor.store("value", false), cut);
        let cause = unknown(stored);
        assert!(matches!(cause, Error::Disconnected { .. }), "{cause:?}");
    });
}

#[test]
fn a_store_that_is_cut_off_on_its_way_has_an_unknown_outcome_and_was_not_done() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, direct) = behind_a_proxy(&harness).await;
        proxy.hold_requests();
        let sent = proxy.requests();
        let cut = async {
            eventually("the request", async || proxy.requests() > sent).await;
            proxy.cut();
        };
        let (stored, ()) = tokio::join!(client.store_at("a", "value", false), cut);
        assert!(matches!(unknown(stored), Error::Disconnected { .. }));
        assert!(direct.lookup("a").await.unwrap().is_none());
        // It was not sent again, though there is a way now.
        proxy.hold_nothing();
        client.info().await.expect("a new connection");
        assert!(direct.lookup("a").await.unwrap().is_none());
    });
}

#[test]
fn a_server_that_aborts_with_a_reason_leaves_open_what_was_under_way() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, _) = behind_a_proxy(&harness).await;
        let anchor = client.walk("a").await.unwrap();
        proxy.hold_answers();
        let sent = proxy.requests();
        let abort = async {
            eventually("the request", async || proxy.requests() > sent).await;
            proxy.abort("the open calls of this connection exceed their limit of 9 bytes");
        };
        let (stored, loaded, ()) = tokio::join!(anchor.store("x", true), anchor.load(), abort);
        // It looks like an answer, and is the end of all calls: what was stored, nobody knows.
        let Error::Disconnected { reason } = unknown(stored) else { panic!("another cause") };
        assert!(reason.starts_with("the open calls of this connection"), "{reason}");
        assert!(is_disconnected(&loaded), "{loaded:?}");
    });
}

#[test]
fn a_user_who_is_not_let_in_is_told_so_and_does_not_try_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("killick.sock");
    run(async {
        let listener = UnixListener::bind(&path).expect("bound");
        let connections = Rc::new(Cell::new(0));
        let refuse = {
            let connections = connections.clone();
            async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    connections.set(connections.get() + 1);
                    let words = "neither user 1 nor group 2 is allowed";
                    let words = last_words(words, exception::Type::Failed);
                    stream.write_all(&words).await.expect("written");
                }
            }
        };
        tokio::task::spawn_local(refuse);
        let address = Address::Unix(path.clone());
        let error = Client::connect(&address, options()).await.unwrap_err();
        let Error::Connect { error: why, .. } = &error else { panic!("{error:?}") };
        assert_eq!(why.kind(), std::io::ErrorKind::PermissionDenied);
        let told = format!("cannot connect to {address}: neither user 1 nor group 2 is allowed");
        assert_eq!((error.to_string(), error.is_transient()), (told, false));
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn an_abort_is_no_answer_either_while_there_is_more_to_send_than_the_stream_takes() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, _) = behind_a_proxy(&harness).await;
        let anchor = client.walk("a").await.unwrap();
        proxy.stall();
        let abort = async {
            // Far more than a socket and the client hold back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            proxy.abort("the open calls of this connection exceed their limit of 9 bytes");
        };
        let (stored, ()) = tokio::join!(anchor.store(vec![7; 8 << 20], true), abort);
        let Error::Disconnected { reason } = unknown(stored) else { panic!("another cause") };
        assert!(reason.starts_with("the open calls of this connection"), "{reason}");
    });
}

#[test]
fn a_handle_has_its_own_time_for_each_call_and_not_what_was_left_when_it_came() {
    let harness = Harness::start();
    run(async {
        let timeout = Some(Duration::from_secs(1));
        let options = Options { timeout, ..options() };
        let client = Client::connect(harness.unix(), options).await.unwrap();
        let walked = client.walk("a").await.unwrap();
        let early = client.at("a").await.unwrap();
        let found = client.lookup("a").await.unwrap().expect("found");
        let listed = client.ls_at("").await.unwrap().remove(0).anchor;
        let (root, (loader, _)) = (client.root().await.unwrap(), walked.cell());
        tokio::time::sleep(Duration::from_millis(1100)).await;
        for anchor in [walked, early, found, listed] {
            anchor.load().await.expect("in time");
        }
        root.names().await.expect("in time");
        loader.load().await.expect("in time");
    });
}

/// An anchor of a client's own, which never answers.
struct Silent;

impl anchor::Server for Silent {
    async fn swap(self: Rc<Self>, _: SwapParams, _: SwapResults) -> capnp::Result<()> {
        std::future::pending().await
    }

    async fn ls(self: Rc<Self>, _: LsParams, _: LsResults) -> capnp::Result<()> {
        std::future::pending().await
    }
}

#[test]
fn what_another_client_was_asked_before_it_went_has_an_unknown_outcome() {
    let harness = Harness::start();
    run(async {
        let (alice, bob) = (harness.client().await, harness.client().await);
        let silent: anchor::Client = capnp_rpc::new_client(Silent);
        alice.store_at("silent", Value::from_capability(silent), false).await.unwrap();
        let loaded = bob.load_at("silent").await.unwrap().value.expect("a value");
        let theirs = bob.host().await.unwrap().adopt(loaded.capability().unwrap());
        assert!(matches!(theirs.walk("a").await, Err(Error::Unimplemented { .. })));
        let go = async {
            eventually("the calls", async || bob.clients().await.unwrap()[1].running == 3).await;
            drop(alice);
        };
        let (swapped, listed, ()) = tokio::join!(theirs.swap("x"), theirs.ls(), go);
        assert!(matches!(unknown(swapped), Error::HostGone { .. }));
        assert!(matches!(listed, Err(Error::HostGone { .. })));
    });
}

/// An anchor of a client's own, which does what it is asked, and then says something else.
struct Liar(Rc<Cell<u32>>);

impl anchor::Server for Liar {
    async fn swap(self: Rc<Self>, _: SwapParams, _: SwapResults) -> capnp::Result<()> {
        let asked = self.0.replace(self.0.get() + 1);
        Err(match asked {
            0 => capnp::Error::failed("the answer is larger than the limit".into()),
            1 => capnp::Error::overloaded("too many capabilities".into()),
            2 => capnp::Error::disconnected("its client has gone".into()),
            _ => capnp::Error::unimplemented("no such call".into()),
        })
    }

    async fn ls(self: Rc<Self>, _: LsParams, _: LsResults) -> capnp::Result<()> {
        Err(capnp::Error::failed("the answer is larger than the limit".into()))
    }
}

#[test]
fn what_another_client_was_asked_has_an_unknown_outcome_whatever_error_comes_back() {
    let harness = Harness::start();
    run(async {
        let (alice, bob) = (harness.client().await, harness.client().await);
        let done = Rc::new(Cell::new(0));
        let liar: anchor::Client = capnp_rpc::new_client(Liar(done.clone()));
        alice.store_at("liar", Value::from_capability(liar), false).await.unwrap();
        let loaded = bob.load_at("liar").await.unwrap().value.expect("a value");
        let theirs = bob.host().await.unwrap().adopt(loaded.capability().unwrap());
        assert!(matches!(unknown(theirs.swap("x").await), Error::Failed { .. }));
        assert!(matches!(unknown(theirs.clear().await), Error::Limit { .. }));
        assert!(matches!(unknown(theirs.swap("x").await), Error::HostGone { .. }));
        assert!(matches!(unknown(theirs.swap("x").await), Error::Unimplemented { .. }));
        assert_eq!(done.get(), 4);
        assert!(matches!(theirs.ls().await, Err(Error::Failed { .. })));

        // That a cell was not as expected is an answer, whoever gives it.
        let mine = alice.walk("mine").await.unwrap();
        mine.store("x", true).await.unwrap();
        alice.store_at("door", &mine, true).await.unwrap();
        let loaded = bob.load_at("door").await.unwrap().value.expect("a value");
        let door = bob.host().await.unwrap().adopt(loaded.capability().unwrap());
        assert!(matches!(door.store("y", false).await, Err(Error::Refused { .. })));
    });
}

#[test]
fn every_operation_that_changes_a_cell_has_an_unknown_outcome_when_its_answer_does_not_come() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, _) = behind_a_proxy(&harness).await;
        let anchor = client.walk("a").await.unwrap();
        let anchor = anchor.with_timeout(Some(Duration::from_millis(50)));
        let (_, storer) = anchor.cell();
        proxy.hold_answers();
        let late = |error: Error| matches!(error, Error::TimedOut { .. });
        assert!(late(unknown(anchor.store("x", true).await)));
        assert!(late(unknown(anchor.swap("x").await)));
        assert!(late(unknown(anchor.clear().await)));
        assert!(late(unknown(anchor.compare_and_store(0, "x").await)));
        assert!(late(unknown(anchor.store_at("b", "x", true).await)));
        assert!(late(unknown(storer.store("x", true).await)));
        assert!(late(unknown(storer.compare_and_store(0, "x").await)));
        assert!(late(unknown(storer.clear().await)));
    });
}

#[test]
fn what_only_reads_is_disconnected_or_timed_out_when_its_answer_does_not_come() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, _) = behind_a_proxy(&harness).await;
        let anchor = client.walk("a").await.unwrap();
        let brief = anchor.clone().with_timeout(Some(Duration::from_millis(50)));
        let (loader, _) = brief.cell();
        proxy.hold_answers();
        let late = |error: Error| matches!(error, Error::TimedOut { .. }) && error.is_transient();
        assert!(late(brief.load().await.unwrap_err()));
        assert!(late(loader.load().await.unwrap_err()));
        assert!(late(brief.walk("b").await.unwrap_err()));
        assert!(late(brief.lookup("b").await.unwrap_err()));
        assert!(late(brief.ls().await.unwrap_err()));
        assert!(late(brief.names_at("b").await.unwrap_err()));
        assert!(late(brief.load_at("b").await.unwrap_err()));
        assert!(late(brief.at("b").unwrap().load().await.unwrap_err()));
        let (loaded, ()) = tokio::join!(anchor.load(), async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            proxy.cut();
        });
        assert!(is_disconnected(&loaded), "{loaded:?}");
    });
}

#[test]
fn what_was_not_sent_is_certainly_not_done() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, direct) = behind_a_proxy(&harness).await;
        let anchor = client.walk("a").await.unwrap();
        let (loader, storer) = anchor.cell();
        proxy.cut();
        anchor.disconnected().await;
        assert!(!anchor.is_connected() && !client.is_connected());
        assert!(is_disconnected(&anchor.store("x", true).await));
        assert!(is_disconnected(&anchor.clear().await));
        assert!(is_disconnected(&anchor.load().await));
        assert!(is_disconnected(&anchor.walk("b").await));
        assert!(is_disconnected(&anchor.at("b")));
        assert!(is_disconnected(&loader.load().await));
        assert!(is_disconnected(&storer.store("x", true).await));
        // Rights that are asked for too late say so when they are used.
        assert!(is_disconnected(&anchor.cell().0.load().await));
        support::tree_is_empty(&direct).await;
    });
}

#[test]
fn a_server_that_accepts_and_never_answers_is_waited_for_as_long_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("silent.sock");
    let address = killick_client::Address::Unix(path.clone());
    run(async {
        let _silent = tokio::net::UnixListener::bind(&path).unwrap();
        let start = Instant::now();
        let error = Client::connect(&address, impatient()).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(150) && waited < Duration::from_secs(5));
        // What waits for a connection was not sent, whatever it would have done.
        let lazy = Client::lazy(&address, impatient());
        let error = lazy.store_at("a", "x", true).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    });
}

#[test]
fn one_operations_time_out_leaves_the_connection_to_the_others() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        // The server waits for a promise that is never kept.
        let never = std::future::pending::<capnp::Result<_>>();
        let promise: killick_client::schema::api::anchor_capnp::anchor::Client =
            capnp_rpc::new_future_client(never);
        let anchor = client.walk("a").await.unwrap();
        let brief = anchor.clone().with_timeout(Some(Duration::from_millis(50)));
        let stored = brief.store(Value::from_capability(promise), true).await;
        assert!(matches!(unknown(stored), Error::TimedOut { .. }));
        assert_eq!(anchor.store("x", false).await.unwrap(), 1);
        // Given up here, it is given up there.
        eventually("one call", async || client.clients().await.unwrap()[0].running == 1).await;
    });
}

#[test]
fn who_does_not_speak_the_protocol_is_no_killick_server() {
    use tokio::io::AsyncWriteExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let address = killick_client::Address::Unix(path.clone());
    run(async {
        let other = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = other.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        });
        let error = Client::connect(&address, once()).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    });
}

#[test]
fn nobody_who_listens_is_an_error_of_connecting() {
    run(async {
        for address in ["unix:/nobody/listens.sock", "tcp:127.0.0.1:1"] {
            let address = address.parse().unwrap();
            let error = Client::connect(&address, once()).await.unwrap_err();
            let Error::Connect { address: told, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*told, address);
            assert!(error.is_transient());
            assert!(error.to_string().starts_with(&format!("cannot connect to {address}: ")));
        }
    });
}

#[test]
fn a_bad_path_is_found_here_and_nothing_is_sent() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, _) = behind_a_proxy(&harness).await;
        let anchor = client.walk("a").await.unwrap();
        // The last answer has been acknowledged when nothing more comes.
        let mut sent = 0;
        eventually("silence", async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            std::mem::replace(&mut sent, proxy.requests()) == proxy.requests()
        })
        .await;
        for path in ["a b", "a/../b", "a\\b", "é", &"x".repeat(300)] {
            assert!(matches!(client.walk(path).await, Err(Error::Path(_))), "{path}");
            assert!(matches!(client.load_at(path).await, Err(Error::Path(_))), "{path}");
            assert!(matches!(anchor.store_at(path, "x", true).await, Err(Error::Path(_))));
            assert!(matches!(anchor.lookup(path).await, Err(Error::Path(_))));
            assert!(matches!(anchor.names_at(path).await, Err(Error::Path(_))));
            assert!(matches!(anchor.at(path), Err(Error::Path(_))));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(proxy.requests(), sent);
    });
}

#[test]
fn an_absolute_path_that_starts_with_no_host_says_so_and_offers_the_relative_one() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let check = |error: Error| {
            let Error::NoHost { host, relative } = &error else { panic!("{error:?}") };
            assert_eq!((&**host, &**relative), ("jobs", "jobs/7"));
            assert!(error.to_string().ends_with("did you mean 'jobs/7'?"), "{error}");
        };
        check(client.walk("/jobs//7").await.unwrap_err());
        check(client.load_at("/jobs/7").await.unwrap_err());
        check(client.lookup("/jobs/7").await.unwrap_err());
        check(client.names_at("/jobs/7").await.unwrap_err());
        check(client.store_at("/jobs/7", "x", true).await.unwrap_err());
        check(client.store_at("/jobs/7", None, true).await.unwrap_err());
        assert!(client.lookup("/self/jobs").await.unwrap().is_none());
        assert!(client.load_at("/self/jobs").await.unwrap().value.is_none());
    });
}
