//! The host and its cluster: where paths start.

mod support;

use std::time::Duration;

use support::{
    Harness, Peer, Put, cell, identity, lookup, ls, names, run, store, walk, walk_error,
};

#[test]
fn the_cluster_has_this_host_as_its_only_child() {
    let harness = Harness::start();
    run(async {
        for address in harness.server.addresses() {
            let peer = Peer::connect(address).await;
            let root = peer.root().await;
            let id = peer.info(|info| info.get_id()).await;
            assert_eq!(id, harness.server.host_id());
            let _a = walk(&peer.anchor(), "a").await.unwrap();
            assert_eq!(ls(&root).await, [(format!("{id:016x}"), false, 1)]);
            peer.leave().await;
        }
    });
}

#[test]
fn absolute_and_relative_paths_lead_to_one_node() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let root = peer.root().await;
        let id = format!("{:016x}", harness.server.host_id());
        let relative = walk(&peer.anchor(), "a/b").await.unwrap();
        for path in [format!("/{id}/a/b"), "self/a/b".to_owned(), ".//self//./a/b/".to_owned()] {
            let absolute = walk(&root, &path).await.unwrap();
            assert_eq!(identity(&absolute), identity(&relative), "{path}");
            let found = lookup(&root, &path).await.unwrap().expect("there");
            assert_eq!(identity(&found), identity(&relative), "{path}");
        }
        for itself in ["", "/", "."] {
            assert_eq!(identity(&walk(&root, itself).await.unwrap()), identity(&root));
        }
        let this_host = walk(&root, "self").await.unwrap();
        assert_eq!(identity(&walk(&root, &id).await.unwrap()), identity(&this_host));
        assert_eq!(names(&this_host).await, ["a"]);
        assert_eq!(peer.nodes().await, 3);
    });
}

#[test]
fn a_host_that_there_is_not_is_an_error_that_offers_the_relative_path() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let root = peer.root().await;
        let upper = format!("{:016X}", harness.server.host_id() | 0xa);
        for name in ["nowhere", "0123456789abcdef", "selfish", &upper] {
            let error = walk_error(&root, &format!("/{name}/x")).await;
            assert!(error.to_string().contains(&format!("no host '{name}'")), "{error}");
            assert!(error.to_string().contains("has no leading '/'"), "{error}");
            assert!(lookup(&root, name).await.unwrap().is_none());
        }
        assert_eq!(peer.nodes().await, 1);
    });
}

#[test]
fn a_bad_absolute_path_is_an_error_at_the_place_it_was_sent_with() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let root = peer.root().await;
        let error = walk_error(&root, "/self/a b").await;
        assert!(error.to_string().contains("(space) at offset 7"), "{error}");
        let error = walk_error(&root, "/../x").await;
        assert!(error.to_string().contains("'..' at offset 1"), "{error}");
        let error = walk_error(&root, &"x".repeat(1_000_000)).await;
        assert!(error.to_string().contains("limit of 4096"), "{error}");
    });
}

#[test]
fn the_name_of_the_host_does_not_count_as_depth() {
    let harness = Harness::with(|config| config.limits.depth = 2);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let root = peer.root().await;
        let deepest = walk(&root, "/self/a/b").await.expect("within the limit");
        assert!(lookup(&root, "/self/a/b").await.unwrap().is_some());
        for (from, path) in [(&root, "/self/a/b/c"), (&deepest, "c")] {
            let error = walk_error(from, path).await;
            assert!(error.to_string().contains("depth of 3 below the root"), "{error}");
        }
    });
}

#[test]
fn the_cluster_has_no_cell_and_the_host_has_one() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let error = peer.root().await.cell_request().send().promise.await.err().expect("no cell");
        assert!(error.to_string().contains("the cluster's anchor has no cell"), "{error}");
        let error = support::swap(&peer.root().await, Put::text("x")).await.unwrap_err();
        assert!(error.to_string().contains("the cluster's anchor has no cell"), "{error}");

        let (loader, storer) = cell(&peer.anchor()).await;
        assert_eq!(store(&storer, Put::text("motd"), false).await.unwrap(), (true, 1));
        assert_eq!(support::load(&loader).await.unwrap(), (Some("motd".into()), 1));
        assert!(ls(&peer.root().await).await[0].1, "the host's cell is filled");
        let swapped = support::swap(&peer.anchor(), Put::Nothing).await.unwrap();
        assert_eq!(swapped, (Some("motd".into()), 2));
    });
}

#[test]
fn info_tells_who_the_host_is_and_how_it_does() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let _other = Peer::connect(harness.tcp()).await;
        _other.nodes().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        peer.info(|info| {
            assert_eq!(info.get_version().unwrap(), env!("CARGO_PKG_VERSION"));
            assert!(!info.get_hostname().unwrap().is_empty());
            assert!(info.get_uptime_millis() >= 5);
            assert_eq!(info.get_nodes(), 1);
            assert!(info.get_resident_bytes() > 1 << 20);
            assert_eq!(info.get_connections(), 2);
        })
        .await;
    });
}

#[test]
fn every_start_has_an_id_of_its_own() {
    let (one, other) = (Harness::start(), Harness::start());
    assert_ne!(one.server.host_id(), other.server.host_id());
}
