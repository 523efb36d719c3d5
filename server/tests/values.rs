//! What a cell does, over real sockets.

mod support;

use support::{
    Harness, Peer, Put, cell, compare_and_store, load, lookup, ls, run, store, swap, walk,
};

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn store_without_overwrite_fails_when_occupied_and_tells_the_revision() {
    let harness = Harness::start();
    run(async {
        for address in harness.server.addresses() {
            let peer = Peer::connect(address).await;
            let (loader, storer) = cell(&walk(&peer.anchor(), "a").await.unwrap()).await;
            assert_eq!(load(&loader).await.unwrap(), (None, 0));
            assert_eq!(store(&storer, Put::text("one"), false).await.unwrap(), (true, 1));
            assert_eq!(store(&storer, Put::text("two"), false).await.unwrap(), (false, 1));
            assert_eq!(load(&loader).await.unwrap(), (text("one"), 1));
            assert_eq!(store(&storer, Put::text("two"), true).await.unwrap(), (true, 2));
            assert_eq!(load(&loader).await.unwrap(), (text("two"), 2));
            assert_eq!(ls(&peer.anchor()).await, [("a".to_owned(), true, 0)]);
            assert_eq!(store(&storer, Put::Nothing, true).await.unwrap(), (true, 3));
            assert_eq!(ls(&peer.anchor()).await, [("a".to_owned(), false, 0)]);
            drop((loader, storer));
            peer.tree_is_empty().await;
            peer.leave().await;
        }
    });
}

#[test]
fn storing_nothing_into_an_empty_cell_succeeds_and_changes_nothing() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let anchor = walk(&peer.anchor(), "a").await.unwrap();
        let (loader, storer) = cell(&anchor).await;
        assert_eq!(store(&storer, Put::Nothing, false).await.unwrap(), (true, 0));
        assert_eq!(swap(&anchor, Put::Nothing).await.unwrap(), (None, 0));
        store(&storer, Put::text("x"), true).await.unwrap();
        assert_eq!(store(&storer, Put::Nothing, false).await.unwrap(), (false, 1));
        assert_eq!(load(&loader).await.unwrap(), (text("x"), 1));
    });
}

#[test]
fn compare_and_store_stores_only_at_the_expected_revision() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.tcp()).await;
        let (loader, storer) = cell(&walk(&peer.anchor(), "a").await.unwrap()).await;
        assert_eq!(compare_and_store(&storer, Put::text("no"), 7).await.unwrap(), (false, 0));
        assert_eq!(load(&loader).await.unwrap(), (None, 0));
        assert_eq!(compare_and_store(&storer, Put::text("one"), 0).await.unwrap(), (true, 1));
        assert_eq!(compare_and_store(&storer, Put::text("two"), 0).await.unwrap(), (false, 1));
        assert_eq!(compare_and_store(&storer, Put::Nothing, 1).await.unwrap(), (true, 2));
        assert_eq!(load(&loader).await.unwrap(), (None, 2));
    });
}

#[test]
fn swap_returns_what_it_replaced() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let anchor = walk(&peer.anchor(), "a").await.unwrap();
        let (loader, _) = cell(&anchor).await;
        assert_eq!(swap(&anchor, Put::text("one")).await.unwrap(), (None, 1));
        assert_eq!(swap(&anchor, Put::text("two")).await.unwrap(), (text("one"), 2));
        assert_eq!(swap(&anchor, Put::Nothing).await.unwrap(), (text("two"), 3));
        assert_eq!(load(&loader).await.unwrap(), (None, 3));
    });
}

#[test]
fn a_thousand_increments_by_ten_clients_lose_none() {
    let harness = Harness::start();
    run(async {
        let mut peers = Vec::new();
        for number in 0..10 {
            peers.push(Peer::connect(&harness.server.addresses()[number % 2]).await);
        }
        let increments = peers.iter().map(async |peer| {
            let (loader, storer) = cell(&walk(&peer.anchor(), "counter").await.unwrap()).await;
            let mut done = 0;
            while done < 100 {
                let (value, revision) = load(&loader).await.unwrap();
                let next = value.map_or(0, |text| text.parse::<u32>().unwrap()) + 1;
                let value = Put::text(&next.to_string());
                done += u32::from(compare_and_store(&storer, value, revision).await.unwrap().0);
            }
        });
        futures::future::join_all(increments).await;
        let (loader, _) = cell(&walk(&peers[0].anchor(), "counter").await.unwrap()).await;
        assert_eq!(load(&loader).await.unwrap(), (text("1000"), 1000));
    });
}

#[test]
fn a_value_of_structs_and_lists_comes_back_as_it_went() {
    use killick_schema::api::anchor_capnp::anchor::ls_results;

    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (loader, storer) = cell(&walk(&peer.anchor(), "a").await.unwrap()).await;
        let mut request = storer.store_request();
        let mut value = request.get().init_value().init_as::<ls_results::Builder<'_>>();
        let mut children = value.reborrow().init_children(3);
        for index in 0..3 {
            let mut child = children.reborrow().get(index);
            child.set_name(format!("child {index}"));
            child.set_child_count(1 << (20 * index));
        }
        children.get(1).set_anchor(peer.anchor());
        request.send().promise.await.expect("stored");

        let response = loader.load_request().send().promise.await.expect("loaded");
        let value = response.get().unwrap().get_value().get_as::<ls_results::Reader<'_>>().unwrap();
        let children = value.get_children().unwrap();
        assert_eq!(children.len(), 3);
        for (index, child) in children.iter().enumerate() {
            assert_eq!(child.get_name().unwrap(), format!("child {index}").as_str());
            assert_eq!(child.get_child_count(), 1 << (20 * index));
            assert_eq!(child.has_anchor(), index == 1);
        }
        let anchor = children.get(1).get_anchor().unwrap();
        assert_eq!(support::names(&anchor).await, ["a"]);
    });
}

#[test]
fn lookup_creates_nothing() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        assert!(lookup(&peer.anchor(), "a/b").await.unwrap().is_none());
        assert_eq!(peer.nodes().await, 1);
        let b = walk(&peer.anchor(), "a/b").await.unwrap();
        let found = lookup(&peer.anchor(), "a/b").await.unwrap().expect("there");
        assert_eq!(support::identity(&found), support::identity(&b));
        assert!(lookup(&peer.anchor(), "a/b/c").await.unwrap().is_none());
    });
}

#[test]
fn ls_tells_the_children_in_order_with_what_they_hold() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let mut held = Vec::new();
        for path in ["dir/b", "dir/a", "dir/c/x", "dir/c/y"] {
            held.push(walk(&peer.anchor(), path).await.unwrap());
        }
        store(&cell(&held[0]).await.1, Put::text("x"), true).await.unwrap();
        let dir = walk(&peer.anchor(), "dir").await.unwrap();
        let listed = ls(&dir).await;
        let expected = [("a", false, 0), ("b", true, 0), ("c", false, 2)];
        assert_eq!(listed, expected.map(|(name, filled, count)| (name.into(), filled, count)));
    });
}
