//! Every operation, over a Unix socket and over TCP: what the tree's own contract says.

mod support;

use killick_client::schema::api::anchor_capnp::anchor::loader;
use killick_client::{Client, Error, StoreErrorKind, What};
use support::{Harness, eventually, over_both, run, tree_is_empty};

#[test]
fn clones_of_an_anchor_that_is_not_there_yet_are_the_same_and_others_are_not() {
    let harness = Harness::start();
    run(async {
        let host = harness.client().await.host().await.unwrap();
        let (early, other) = (host.at("a").unwrap(), host.at("a").unwrap());
        assert!(early.is_same(&early.clone()) && !early.is_same(&other));
        early.load().await.unwrap();
        other.load().await.unwrap();
        assert!(early.is_same(&other));
    });
}

#[test]
fn walk_creates_what_is_missing_and_gives_one_node_for_every_spelling() {
    over_both(async |client| {
        let ab = client.walk("a/b").await.unwrap();
        let id = client.info().await.unwrap().id;
        for path in ["a/b", "./a//b/", "/self/a/b", &format!("/{id:016x}/a/b")] {
            assert!(client.walk(path).await.unwrap().is_same(&ab), "{path}");
        }
        // A leading slash changes nothing for an anchor.
        let a = client.walk("a").await.unwrap();
        assert!(a.walk("/b").await.unwrap().is_same(&ab));
        assert!(a.walk("").await.unwrap().is_same(&a));
        assert!(!a.is_same(&ab));
    });
}

#[test]
fn lookup_finds_what_is_there_and_creates_nothing() {
    over_both(async |client| {
        assert!(client.lookup("a/b").await.unwrap().is_none());
        assert_eq!(client.info().await.unwrap().nodes, 1);
        let held = client.walk("a/b").await.unwrap();
        assert!(client.lookup("a/b").await.unwrap().expect("found").is_same(&held));
        let a = client.lookup("/self/a").await.unwrap().expect("found");
        assert!(a.lookup("b").await.unwrap().expect("found").is_same(&held));
        assert!(a.lookup("c").await.unwrap().is_none());
    });
}

#[test]
fn ls_and_names_tell_the_children_in_order() {
    over_both(async |client| {
        let _held = [client.walk("x/c/d").await.unwrap(), client.walk("x/a").await.unwrap()];
        client.store_at("x/b", "value", false).await.unwrap();
        let x = client.walk("x").await.unwrap();
        let children = x.ls().await.unwrap();
        let told: Vec<_> =
            children.iter().map(|child| (&*child.name, child.filled, child.child_count)).collect();
        assert_eq!(told, [("a", false, 0), ("b", true, 0), ("c", false, 1)]);
        assert_eq!(children[1].anchor.load().await.unwrap().text(), Some("value"));
        assert_eq!(x.names().await.unwrap(), ["a", "b", "c"]);
        assert_eq!(client.names_at("/self/x/c").await.unwrap(), ["d"]);
        assert_eq!(client.ls_at("x").await.unwrap().len(), 3);
        assert_eq!(x.names_at("c").await.unwrap(), ["d"]);
        assert!(x.names_at("a").await.unwrap().is_empty());
    });
}

#[test]
fn names_of_a_node_that_is_not_there_are_not_found_rather_than_none() {
    over_both(async |client| {
        let error = client.names_at("a/b").await.unwrap_err();
        assert!(matches!(&error, Error::NotFound { path } if path == "a/b"), "{error:?}");
        assert_eq!(error.to_string(), "nothing at 'a/b'");
        let host = client.host().await.unwrap();
        assert!(matches!(host.ls_at("a").await, Err(Error::NotFound { .. })));
        assert_eq!(client.info().await.unwrap().nodes, 1);
    });
}

#[test]
fn store_without_overwrite_fails_when_occupied() {
    over_both(async |client| {
        let anchor = client.walk("a").await.unwrap();
        assert_eq!(anchor.load().await.unwrap().revision, 0);
        assert_eq!(anchor.store("first", false).await.unwrap(), 1);
        let error = anchor.store("second", false).await.unwrap_err();
        let Error::Refused { kind: StoreErrorKind::Occupied, revision: 1 } = error else {
            panic!("{error:?}")
        };
        assert_eq!(anchor.load().await.unwrap().text(), Some("first"));
        assert_eq!(anchor.store("third", true).await.unwrap(), 2);
        assert_eq!(anchor.load().await.unwrap().text(), Some("third"));
    });
}

#[test]
fn storing_nothing_empties_the_cell_and_is_no_change_of_an_empty_one() {
    over_both(async |client| {
        let anchor = client.walk("a").await.unwrap();
        assert_eq!(anchor.store(None, false).await.unwrap(), 0);
        anchor.store("value", false).await.unwrap();
        assert!(matches!(anchor.store(None, false).await, Err(Error::Refused { .. })));
        assert_eq!(anchor.store(None, true).await.unwrap(), 2);
        assert_eq!(anchor.store(None, true).await.unwrap(), 2);
        assert!(anchor.load().await.unwrap().value.is_none());
    });
}

#[test]
fn swap_and_clear_tell_what_was_there_with_its_revision_then() {
    over_both(async |client| {
        let anchor = client.walk("a").await.unwrap();
        let told = async |before: Result<killick_client::Loaded, Error>| {
            let before = before.unwrap();
            (before.text().map(String::from), before.revision)
        };
        assert_eq!(told(anchor.clear().await).await, (None, 0));
        assert_eq!(told(anchor.swap("one").await).await, (None, 0));
        assert_eq!(told(anchor.swap("two").await).await, (Some("one".into()), 1));
        assert_eq!(told(anchor.clear().await).await, (Some("two".into()), 2));
        assert_eq!(told(anchor.swap(None).await).await, (None, 3));
        assert_eq!(anchor.load().await.unwrap().revision, 3);
    });
}

#[test]
fn compare_and_store_succeeds_only_at_the_expected_revision() {
    over_both(async |client| {
        let anchor = client.walk("a").await.unwrap();
        assert_eq!(anchor.compare_and_store(0, "mine").await.unwrap(), 1);
        let error = anchor.compare_and_store(0, "late").await.unwrap_err();
        let Error::Refused { kind: StoreErrorKind::Conflict, revision: 1 } = error else {
            panic!("{error:?}")
        };
        assert_eq!(anchor.compare_and_store(1, None).await.unwrap(), 2);
        assert!(anchor.load().await.unwrap().value.is_none());
    });
}

#[test]
fn a_cell_is_two_rights_each_of_which_keeps_the_node() {
    over_both(async |client| {
        let (loader, storer) = client.walk("a").await.unwrap().cell();
        assert_eq!(storer.store("one", false).await.unwrap(), 1);
        assert!(matches!(storer.store("two", false).await, Err(Error::Refused { .. })));
        assert_eq!(storer.compare_and_store(1, "two").await.unwrap(), 2);
        assert!(matches!(storer.compare_and_store(1, "x").await, Err(Error::Refused { .. })));
        assert_eq!(loader.load().await.unwrap().text(), Some("two"));
        assert_eq!(storer.clear().await.unwrap(), 3);
        drop(storer);
        assert!(client.lookup("a").await.unwrap().is_some());
        drop(loader);
        tree_is_empty(&client).await;
    });
}

#[test]
fn one_shot_forms_load_and_store_without_a_handle() {
    over_both(async |client| {
        assert_eq!(client.load_at("a/b").await.unwrap().revision, 0);
        assert!(client.load_at("a/b").await.unwrap().value.is_none());
        assert_eq!(client.store_at("a/b", "one", false).await.unwrap(), 1);
        assert!(matches!(client.store_at("a/b", "x", false).await, Err(Error::Refused { .. })));
        assert_eq!(client.load_at("/self/a/b").await.unwrap().text(), Some("one"));
        let a = client.walk("a").await.unwrap();
        assert_eq!(a.load_at("b").await.unwrap().text(), Some("one"));
        assert_eq!(a.store_at("b", "two", true).await.unwrap(), 2);
        // Nothing is stored where there is no node, and none is created.
        assert_eq!(client.store_at("not/there", None, true).await.unwrap(), 0);
        assert_eq!(client.info().await.unwrap().nodes, 3);
        assert_eq!(client.store_at("a/b", None, true).await.unwrap(), 3);
        drop(a);
        tree_is_empty(&client).await;
    });
}

#[test]
fn an_anchor_can_be_used_before_it_is_there() {
    over_both(async |client| {
        let early = client.at("a/b").await.unwrap();
        assert!(early.swap("one").await.unwrap().value.is_none());
        let c = early.at("c").unwrap();
        c.store("two", false).await.unwrap();
        assert_eq!(client.load_at("a/b/c").await.unwrap().text(), Some("two"));
        // It has become the same handle as any other.
        assert!(early.is_same(&client.walk("a/b").await.unwrap()));
        // The error of the walk is that of each call.
        let nowhere = early.at("x/".repeat(1000)).unwrap();
        assert!(matches!(nowhere.load().await, Err(Error::Limit { .. })));
        assert!(matches!(nowhere.store("x", true).await, Err(Error::Limit { .. })));
    });
}

#[test]
fn the_clusters_anchor_lists_the_hosts_and_has_no_cell() {
    over_both(async |client| {
        let root = client.root().await.unwrap();
        let id = format!("{:016x}", client.info().await.unwrap().id);
        assert_eq!(root.names().await.unwrap(), [id.as_str()]);
        assert_eq!(client.names_at("/").await.unwrap(), [id.as_str()]);
        let error = root.load().await.unwrap_err();
        assert!(matches!(&error, Error::Failed { message } if message.contains("no cell")));
        let host = client.host().await.unwrap();
        assert!(root.walk("self").await.unwrap().load().await.unwrap().value.is_none());
        assert!(host.walk("").await.is_ok());
    });
}

#[test]
fn dots_alone_are_a_name_and_not_the_start() {
    over_both(async |client| {
        client.at("...").await.unwrap().store("dots", false).await.unwrap();
        assert_eq!(client.names_at("").await.unwrap(), ["..."]);
    });
}

#[test]
fn info_and_clients_describe_the_server() {
    over_both(async |client| {
        let info = client.info().await.unwrap();
        assert_eq!((info.nodes, info.connections, info.threads), (1, 1, 2));
        assert!(!info.version.is_empty() && info.calls > 0);
        let [only] = &client.clients().await.unwrap()[..] else { panic!("one client") };
        assert_eq!((only.id, only.running), (1, 1));
        assert!(only.bytes_read > 0 && only.bytes_written > 0);
        assert_eq!((only.watches, only.channels), (0, 0));
        let chan = client.new_chan(1).await.unwrap();
        let mut watch = client.watch_at("a", What::Value).unwrap();
        watch.next().await.unwrap();
        let [only] = &client.clients().await.unwrap()[..] else { panic!("one client") };
        assert_eq!((only.watches, only.channels), (1, 1));
        drop((chan, watch));
        eventually("both gone", async || {
            let only = client.clients().await.unwrap().remove(0);
            (only.watches, only.channels) == (0, 0)
        })
        .await;
    });
}

#[test]
fn a_capability_of_a_handle_works_by_other_means() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let (loader, storer) = client.walk("a").await.unwrap().cell();
        storer.store("value", false).await.unwrap();
        let raw: &loader::Client = loader.capability();
        let response = raw.load_request().send().promise.await.unwrap();
        assert_eq!(response.get().unwrap().get_revision(), 1);
    });
}

#[test]
fn two_clients_meet_at_a_path() {
    let harness = Harness::start();
    run(async {
        let (unix, tcp) = (harness.client().await, connect(&harness).await);
        unix.store_at("meeting", "hello", false).await.unwrap();
        assert_eq!(tcp.load_at("meeting").await.unwrap().text(), Some("hello"));
        // Over two connections the same node is not known to be the same.
        let one = unix.walk("meeting").await.unwrap();
        assert!(!tcp.walk("meeting").await.unwrap().is_same(&one));
    });
}

async fn connect(harness: &Harness) -> Client {
    Client::connect(harness.tcp(), support::options()).await.expect("connected")
}
