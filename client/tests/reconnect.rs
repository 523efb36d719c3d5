//! A connection that ends and is made again: what goes on, and what does not.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use killick_client::{Client, Error, Options, Retry, Value};
use support::proxy::Proxy;
use support::{Harness, eventually, is_disconnected, options, run};

/// Comes back fast.
fn eager() -> Options {
    let pause = Duration::from_millis(5);
    let retry = Retry { attempts: 400, first_pause: pause, longest_pause: 4 * pause };
    Options { retry, ..options() }
}

#[test]
fn operations_by_path_survive_a_restart_and_handles_do_not() {
    for address in [Harness::unix, Harness::tcp] {
        let mut harness = Harness::start();
        run(async {
            let client = Client::connect(address(&harness), eager()).await.unwrap();
            let anchor = client.walk("a").await.unwrap();
            anchor.store("before", false).await.unwrap();
            harness.stop();
            anchor.disconnected().await;
            harness.start_again();
            // Another server, and an empty one.
            assert!(client.load_at("a").await.unwrap().value.is_none());
            assert_eq!(client.store_at("a", "after", false).await.unwrap(), 1);
            assert_eq!(client.load_at("a").await.unwrap().text(), Some("after"));
            assert!(is_disconnected(&anchor.load().await));
            assert!(client.walk("a").await.unwrap().is_connected());
        });
    }
}

#[test]
fn operations_wait_for_a_server_that_comes_back() {
    let mut harness = Harness::start();
    run(async {
        let client = Client::connect(harness.unix(), eager()).await.unwrap();
        let anchor = client.host().await.unwrap();
        harness.stop();
        anchor.disconnected().await;
        let restart = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            harness.start_again();
        };
        let together = async {
            tokio::join!(
                client.load_at("a"),
                client.store_at("b", "x", false),
                client.walk("c"),
                client.info(),
            )
        };
        let ((loaded, stored, walked, info), ()) = tokio::join!(together, restart);
        assert!(loaded.unwrap().value.is_none());
        assert_eq!(stored.unwrap(), 1);
        walked.unwrap();
        // All of them waited for one connection.
        assert_eq!(info.unwrap().connections, 1);
    });
}

#[test]
fn what_only_reads_is_done_again_when_it_was_cut_off() {
    let harness = Harness::start();
    run(async {
        let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
        let client = Client::connect(proxy.address(), eager()).await.unwrap();
        client.store_at("a", "value", false).await.unwrap();
        proxy.hold_answers();
        let sent = proxy.requests();
        let cut = async {
            eventually("the request", async || proxy.requests() > sent).await;
            proxy.hold_nothing();
            proxy.cut();
        };
        let (loaded, ()) = tokio::join!(client.load_at("a"), cut);
        assert_eq!(loaded.unwrap().text(), Some("value"));
        assert_eq!(proxy.connections(), 2);
    });
}

#[test]
fn what_changes_a_cell_is_never_sent_twice() {
    let harness = Harness::start();
    run(async {
        let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
        let client = Client::connect(proxy.address(), eager()).await.unwrap();
        let direct = harness.client().await;
        let held = direct.walk("a").await.unwrap();
        for expected in 1..=3 {
            client.info().await.unwrap();
            proxy.hold_answers();
            let cut = async {
                eventually("it to be done", async || {
                    held.load().await.unwrap().revision == expected
                })
                .await;
                proxy.hold_nothing();
                proxy.cut();
            };
            let (stored, ()) = tokio::join!(client.store_at("a", "value", true), cut);
            assert!(stored.unwrap_err().is_unknown_outcome());
        }
        client.info().await.unwrap();
        assert_eq!(held.load().await.unwrap().revision, 3);
    });
}

#[test]
fn attempts_to_connect_are_as_many_as_told_with_pauses_that_grow() {
    run(async {
        let ms = Duration::from_millis;
        let retry = Retry { attempts: 4, first_pause: ms(20), longest_pause: ms(40) };
        let address = "unix:/nobody/listens.sock".parse().unwrap();
        let start = Instant::now();
        let error = Client::connect(&address, Options { retry, ..options() }).await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }));
        // Pauses of 20, 40 and 40 ms, and at least half of that.
        let waited = start.elapsed();
        assert!(waited >= ms(50) && waited < ms(5000), "{waited:?}");
    });
}

#[test]
fn waiting_for_a_server_ends_with_the_operations_time() {
    run(async {
        let timeout = Some(Duration::from_millis(60));
        let address = "unix:/nobody/listens.sock".parse().unwrap();
        let client = Client::lazy(&address, Options { timeout, ..eager() });
        let start = Instant::now();
        let error = client.store_at("a", "x", false).await.unwrap_err();
        // Why there was no connection, rather than that there was no more time.
        assert!(matches!(error, Error::Connect { .. }), "{error:?}");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(60) && waited < Duration::from_secs(5));
    });
}

#[test]
fn a_connection_on_its_way_is_given_up_with_the_last_operation_that_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("silent.sock");
    let address = killick_client::Address::Unix(path.clone());
    run(async {
        let silent = tokio::net::UnixListener::bind(&path).unwrap();
        let (open, came) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counts = (open.clone(), came.clone());
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = silent.accept().await {
                let (open, came) = counts.clone();
                open.set(open.get() + 1);
                came.set(came.get() + 1);
                tokio::task::spawn_local(async move {
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    open.set(open.get() - 1);
                });
            }
        });
        let client = Client::lazy(&address, options());
        let ms = Duration::from_millis;
        let (long, short) = (client.info(), client.load_at("a"));
        let mut long = Box::pin(long);
        tokio::select! {
            _ = &mut long => panic!("an answer"),
            _ = short => panic!("an answer"),
            () = tokio::time::sleep(ms(50)) => {}
        }
        // One of them still waits.
        tokio::time::sleep(ms(50)).await;
        assert_eq!((open.get(), came.get()), (1, 1));
        drop(long);
        eventually("the end of it", async || open.get() == 0).await;
        tokio::time::sleep(ms(50)).await;
        assert_eq!(came.get(), 1);
        // The next begins anew.
        let _ = tokio::time::timeout(ms(50), client.info()).await;
        assert_eq!(came.get(), 2);
    });
}

#[test]
fn every_operation_that_finds_no_server_has_all_the_attempts() {
    run(async {
        let ms = Duration::from_millis;
        let retry = Retry { attempts: 2, first_pause: ms(200), longest_pause: ms(200) };
        let timeout = Some(ms(50));
        let address = "unix:/nobody/listens.sock".parse().unwrap();
        let client = Client::lazy(&address, Options { timeout, retry, ..options() });
        for _ in 0..6 {
            let start = Instant::now();
            assert!(matches!(client.info().await, Err(Error::Connect { .. })));
            assert!(start.elapsed() >= ms(50), "as many as its time allows");
        }
    });
}

#[test]
fn a_server_that_cuts_every_connection_is_not_asked_for_ever() {
    let harness = Harness::start();
    run(async {
        let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
        let retry = Retry { attempts: 3, ..eager().retry };
        let client = Client::connect(proxy.address(), Options { retry, ..options() }).await;
        let client = client.unwrap();
        // It goes wrong as soon as this client asks for more than who it talks to.
        let cut = async {
            loop {
                tokio::task::yield_now().await;
                if client.is_connected() {
                    proxy.cut();
                }
            }
        };
        let error = tokio::select! {
            loaded = client.load_at("a") => loaded.unwrap_err(),
            () = cut => unreachable!(),
        };
        assert!(error.is_transient(), "{error:?}");
        assert!(proxy.connections() <= 3 * 3 + 1, "{}", proxy.connections());
    });
}

#[test]
fn a_client_lets_go_of_its_connection_when_told_to() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let anchor = client.walk("a").await.unwrap();
        client.disconnect();
        assert!(!client.is_connected());
        let other = client.walk("a").await.unwrap();
        assert!(!other.is_same(&anchor));
        assert_eq!(client.info().await.unwrap().connections, 2);
        // The first is open for as long as a handle needs it.
        anchor.store("x", false).await.unwrap();
        drop(anchor);
        eventually("one connection", async || client.info().await.unwrap().connections == 1).await;
    });
}

#[test]
fn what_was_bound_is_stored_again_by_who_waits_for_the_end() {
    let mut harness = Harness::start();
    run(async {
        let client = Client::connect(harness.unix(), eager()).await.unwrap();
        let present = tokio::task::spawn_local(async move {
            loop {
                let Ok(anchor) = client.walk("workers/7").await else { continue };
                let _ = anchor.store(Value::from("here").bound(), true).await;
                anchor.disconnected().await;
            }
        });
        for _ in 0..3 {
            let other = Client::connect(harness.unix(), eager()).await.unwrap();
            eventually("it to be there", async || {
                other.load_at("workers/7").await.unwrap().text() == Some("here")
            })
            .await;
            harness.stop();
            harness.start_again();
        }
        present.abort();
    });
}
