//! Watches and waits: what is told, by whom it is given up, and that a connection may end meanwhile.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use killick_client::{Anchor, Client, Error, Options, Retry, Watch, What};
use support::proxy::Proxy;
use support::{
    Harness, eventually, impatient, is_disconnected, options, over_both, run, tree_is_empty,
};

/// Comes back fast.
fn eager() -> Options {
    let pause = Duration::from_millis(5);
    let retry = Retry { attempts: 400, first_pause: pause, longest_pause: 4 * pause };
    Options { retry, ..options() }
}

/// Whether `watch` has nothing to tell for a moment.
async fn is_silent(watch: &mut Watch) -> bool {
    tokio::time::timeout(Duration::from_millis(50), watch.next()).await.is_err()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_watch_shows_the_state_and_then_each_difference() {
    over_both(async |client| {
        let anchor = client.walk("a").await.unwrap();
        let _one = anchor.walk("one").await.unwrap();
        let mut watch = anchor.watch(What::Both);
        let first = watch.next().await.unwrap();
        assert!(first.whole && first.value.unwrap().value.is_none());
        assert_eq!(first.children.added, [("one".to_owned(), false)]);
        assert!(is_silent(&mut watch).await);

        client.store_at("a/one", "x", true).await.unwrap();
        let second = watch.next().await.unwrap();
        assert!(!second.whole && second.value.is_none());
        assert_eq!(second.children.filled, ["one"]);
        anchor.store("x", true).await.unwrap();
        let third = watch.next().await.unwrap();
        let loaded = third.value.unwrap();
        assert_eq!((loaded.text(), loaded.revision), (Some("x"), 1));
        assert!(third.children.is_empty());
    });
}

#[test]
fn who_stops_waiting_for_a_change_neither_loses_it_nor_asks_again() {
    let harness = Harness::start();
    run(async {
        let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
        let client = Client::connect(proxy.address(), options()).await.unwrap();
        let other = harness.client().await;
        for mut watch in [
            client.walk("a").await.unwrap().watch(What::Value),
            client.watch_at("a", What::Value).unwrap(),
        ] {
            let first = watch.next().await.unwrap();
            assert!(is_silent(&mut watch).await);
            let sent = proxy.requests();
            for _ in 0..3 {
                assert!(is_silent(&mut watch).await);
            }
            assert_eq!(proxy.requests(), sent);
            let revision = other.store_at("a", "x", true).await.unwrap();
            // Told while nobody waits.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let told = watch.next().await.unwrap().value.unwrap();
            assert_eq!(told.revision, revision);
            assert_eq!(revision, first.value.unwrap().revision + 1);
        }
    });
}

#[test]
fn a_watch_that_is_dropped_leaves_nothing() {
    over_both(async |client| {
        for what in [What::Value, What::Children, What::Both] {
            let mut of_anchor = client.walk("a").await.unwrap().watch(what);
            let mut of_path = client.watch_at("b/c", what).unwrap();
            of_anchor.next().await.unwrap();
            of_path.next().await.unwrap();
            assert_eq!(support::nodes(&client).await, 4);
            assert!(is_silent(&mut of_anchor).await && is_silent(&mut of_path).await);
            drop((of_anchor, of_path));
            tree_is_empty(&client).await;
        }
        let waiting = tokio::time::timeout(Duration::from_millis(50), client.wait_at("a/b")).await;
        assert!(waiting.is_err());
        tree_is_empty(&client).await;
    });
}

#[test]
fn no_time_out_applies_to_what_waits() {
    let harness = Harness::start();
    run(async {
        let client = Client::connect(harness.unix(), impatient()).await.unwrap();
        let other = harness.client().await;
        let anchor = client.walk("a").await.unwrap();
        let mut watch = client.watch_at("a", What::Value).unwrap();
        watch.next().await.unwrap();
        let store = async {
            tokio::time::sleep(3 * impatient().timeout.unwrap()).await;
            other.store_at("a", "late", true).await.unwrap();
        };
        let loader = anchor.cell().0;
        let (told, waited, loaded, at, ()) =
            tokio::join!(watch.next(), anchor.wait(), loader.wait(), client.wait_at("a"), store);
        assert_eq!(told.unwrap().value.unwrap().text(), Some("late"));
        for loaded in [waited, loaded, at] {
            assert_eq!(loaded.unwrap().text(), Some("late"));
        }
    });
}

#[test]
fn a_watch_of_an_anchor_ends_with_its_connection_and_one_of_a_path_does_not() {
    let harness = Harness::start();
    run(async {
        let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
        let client = Client::connect(proxy.address(), eager()).await.unwrap();
        let other = harness.client().await;
        let mut of_anchor = client.walk("a").await.unwrap().watch(What::Both);
        let mut of_path = client.watch_at("a", What::Both).unwrap();
        other.store_at("a", "before", true).await.unwrap();
        let _kept = other.walk("a/kept").await.unwrap();
        let gone = other.walk("a/gone").await.unwrap();
        for watch in [&mut of_anchor, &mut of_path] {
            assert_eq!(watch.next().await.unwrap().children.added.len(), 2);
            assert!(is_silent(watch).await);
        }
        let change = async {
            proxy.hold_answers();
            other.store_at("a", "meanwhile", true).await.unwrap();
            other.store_at("a/kept", "filled", true).await.unwrap();
            drop(gone);
            eventually("a child that goes", async || {
                other.lookup("a/gone").await.unwrap().is_none()
            })
            .await;
            let new = other.walk("a/new").await.unwrap();
            proxy.hold_nothing();
            proxy.cut();
            new
        };
        let (told, _new) = tokio::join!(of_path.next(), change);
        let told = told.unwrap();
        assert!(told.whole);
        let loaded = told.value.unwrap();
        assert_eq!((loaded.text(), loaded.revision), (Some("meanwhile"), 2));
        let children = told.children;
        assert_eq!(children.added, [("new".to_owned(), false)]);
        assert_eq!((children.removed, children.filled), (names(&["gone"]), names(&["kept"])));
        assert!(is_silent(&mut of_path).await);

        assert!(is_disconnected(&of_anchor.next().await));
        assert!(is_disconnected(&of_anchor.next().await));
        let mut stream = of_anchor;
        assert!(is_disconnected(&StreamExt::next(&mut stream).await.unwrap()));
        assert!(StreamExt::next(&mut stream).await.is_none());
    });
}

#[test]
fn after_a_reconnection_without_a_difference_the_children_are_not_told() {
    let harness = Harness::start();
    run(async {
        let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
        let client = Client::connect(proxy.address(), eager()).await.unwrap();
        let other = harness.client().await;
        let _child = other.walk("a/b").await.unwrap();
        let mut watch = client.watch_at("a", What::Children).unwrap();
        watch.next().await.unwrap();
        for _ in 0..3 {
            assert!(is_silent(&mut watch).await);
            proxy.cut();
        }
        assert!(is_silent(&mut watch).await);
        let _another = other.walk("a/c").await.unwrap();
        assert_eq!(watch.next().await.unwrap().children.added, [("c".to_owned(), false)]);
    });
}

#[test]
fn watches_and_waits_go_on_with_another_server() {
    for address in [Harness::unix, Harness::tcp] {
        let mut harness = Harness::start();
        run(async {
            let client = Client::connect(address(&harness), eager()).await.unwrap();
            let mut watch = client.watch_at("a", What::Both).unwrap();
            client.store_at("a", "before", true).await.unwrap();
            let child = client.walk("a/b").await.unwrap();
            let first = watch.next().await.unwrap();
            assert_eq!((first.value.unwrap().revision, first.children.added.len()), (1, 1));
            let restart = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                harness.stop();
                child.disconnected().await;
                harness.start_again();
            };
            let next = async {
                let told = watch.next().await.unwrap();
                client.store_at("waited", "for", true).await.unwrap();
                told
            };
            let (told, waited, ()) = tokio::join!(next, client.wait_at("waited"), restart);
            assert_eq!(waited.unwrap().text(), Some("for"));
            // Another node, at its first revision.
            let loaded = told.value.unwrap();
            assert_eq!((loaded.value.is_none(), loaded.revision, told.whole), (true, 0, true));
            assert_eq!(told.children.removed, ["b"]);
        });
    }
}

#[test]
fn without_retries_the_end_is_told_and_the_next_call_begins_anew() {
    let harness = Harness::start();
    run(async {
        let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
        let once = Options { retry: Retry::NONE, ..options() };
        let client = Client::connect(proxy.address(), once).await.unwrap();
        let other = harness.client().await;
        let mut watch = client.watch_at("a", What::Value).unwrap();
        watch.next().await.unwrap();
        let cut = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            proxy.cut();
        };
        let (told, waited, ()) = tokio::join!(watch.next(), client.wait_at("b"), cut);
        assert!(is_disconnected(&told) && is_disconnected(&waited));
        other.store_at("a", "x", true).await.unwrap();
        let again = watch.next().await.unwrap();
        assert_eq!((again.value.unwrap().text(), again.whole), (Some("x"), true));
        drop(proxy);
        let error = watch.next().await.unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
        assert!(matches!(watch.next().await, Err(Error::Connect { .. })));
    });
}

#[test]
fn what_cannot_be_watched_is_told_with_the_first_change() {
    over_both(async |client| {
        let no_cell = |result: Result<_, _>| match result {
            Err(Error::Failed { message }) => assert!(message.contains("has no cell"), "{message}"),
            other => panic!("{:?}", other.map(drop)),
        };
        let root = client.root().await.unwrap();
        no_cell(root.watch(What::Value).next().await.map(drop));
        no_cell(client.watch_at("/", What::Both).unwrap().next().await.map(drop));
        no_cell(root.wait().await.map(drop));
        let hosts = client.watch_at("/", What::Children).unwrap().next().await.unwrap();
        assert_eq!(hosts.children.added.len(), 1);
        let mut nowhere = client.watch_at("/nowhere", What::Value).unwrap();
        assert!(matches!(nowhere.next().await, Err(Error::NoHost { .. })));
        assert!(matches!(client.watch_at("a b", What::Value), Err(Error::Path(_))));
        let mut too_deep = client.watch_at("a/".repeat(1000), What::Value).unwrap();
        for _ in 0..2 {
            assert!(matches!(too_deep.next().await, Err(Error::Limit { .. })));
        }
    });
}

/// What the watch has shown, put together.
#[derive(Default)]
struct View {
    text: Option<String>,
    children: BTreeMap<String, bool>,
}

/// The children of `anchor`, and whether each holds a value.
async fn children(anchor: &Anchor) -> BTreeMap<String, bool> {
    let children = anchor.ls().await.unwrap();
    children.into_iter().map(|child| (child.name, child.filled)).collect()
}

#[test]
fn no_state_is_missed_however_often_the_connection_is_cut() {
    let harness = Harness::start();
    run(async {
        let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
        let client = Client::connect(proxy.address(), eager()).await.unwrap();
        let other = harness.client().await;
        let anchor = other.walk("a").await.unwrap();
        let mut watch = client.watch_at("a", What::Both).unwrap();
        let mut view = View::default();
        let mut seen = 0;
        let mut apply = async |watch: &mut Watch, until: &str| {
            while view.text.as_deref() != Some(until) {
                let change = watch.next().await.unwrap();
                seen += 1;
                if let Some(loaded) = &change.value {
                    view.text = loaded.text().map(str::to_owned);
                }
                let names: Vec<_> = change.children.added.iter().map(|(name, _)| name).collect();
                assert!(names.iter().all(|name| !view.children.contains_key(*name)), "{names:?}");
                change.children.apply(&mut view.children);
            }
            // The children may have been told a little later than the value.
            while view.children != children(&anchor).await {
                watch.next().await.unwrap().children.apply(&mut view.children);
            }
        };
        for round in 0..60_u32 {
            let text = format!("round {round}");
            let work = async {
                match round % 4 {
                    0 => proxy.hold_answers(),
                    1 => proxy.hold_requests(),
                    _ => {}
                }
                for step in 0..5 {
                    let path = format!("a/{}", (round * 7 + step * 3) % 11);
                    let value = if (round + step) % 3 == 0 { None } else { Some("x".into()) };
                    other.store_at(path, value, true).await.unwrap();
                    anchor.store(format!("{round}.{step}"), true).await.unwrap();
                }
                if round % 3 != 0 || round % 4 < 2 {
                    proxy.cut();
                }
                proxy.hold_nothing();
                anchor.store(text.as_str(), true).await.unwrap();
            };
            let ((), ()) = tokio::join!(apply(&mut watch, &text), work);
        }
        assert!(seen >= 60 && proxy.connections() > 30, "{seen} {}", proxy.connections());
    });
}
