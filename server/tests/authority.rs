//! Anchors that are narrowed, over real sockets: what they allow, what comes through them, and their end.

mod support;

use std::num::NonZeroUsize;

use capnp::ErrorKind;
use capnp::capability::FromClientHook;
use killick::{Allowance, Denied, Resource, Right, Rights};
use killick_client::internal::{put_limits, put_rights};
use killick_schema::api::anchor_capnp::anchor::{self, grant};
use killick_schema::api::host_capnp::host;
use support::scrape::limit_hits;
use support::{
    Harness, Peer, Put, cell, compare_and_store, eventually, load, load_cap, lookup, names, put,
    run, store, swap, walk, walk_error,
};

/// Narrows `anchor`.
async fn attenuate(
    anchor: &anchor::Client,
    rights: Rights,
    allowance: Allowance,
) -> capnp::Result<(anchor::Client, grant::Client)> {
    let mut request = anchor.attenuate_request();
    put_rights(rights, request.get().init_rights());
    put_limits(allowance, request.get().init_limits());
    let response = request.send().promise.await?;
    let results = response.get()?;
    Ok((results.get_anchor()?, results.get_grant()?))
}

async fn revoke(grant: &grant::Client) {
    grant.revoke_request().send().promise.await.expect("revoked");
}

/// Nodes and bytes of values that the grant counts.
async fn used(grant: &grant::Client) -> (u64, u64) {
    let response = grant.info_request().send().promise.await.expect("info");
    let used = response.get().unwrap().get_used().unwrap();
    (used.get_nodes(), used.get_value_bytes())
}

/// What an error says, without what the layers between put before it.
fn words(error: &capnp::Error) -> Result<Denied, String> {
    let words = error.extra.trim_start_matches("remote exception: ");
    words.parse().map_err(|()| words.to_owned())
}

fn missing(right: Right) -> Result<Denied, String> {
    Ok(Denied::Right(right))
}

fn without(rights: &[Right]) -> Rights {
    Rights::ALL.iter().filter(|right| !rights.contains(right)).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A server with two threads, and a client on each.
async fn two(harness: &Harness) -> (Peer, Peer) {
    (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await)
}

fn two_threads() -> Harness {
    Harness::with(|config| config.threads = NonZeroUsize::new(2).expect("some"))
}

#[test]
fn each_right_that_is_missing_is_named_and_the_rest_works() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        put(&peer, "a/b", Put::text("here")).await;
        let whole = walk(&peer.anchor(), "a").await.unwrap();

        let (reader, _) = attenuate(&whole, Rights::READ, Allowance::default()).await.unwrap();
        assert_eq!(names(&reader).await, ["b"]);
        let b = lookup(&reader, "b").await.unwrap().expect("there");
        let halves = b.cell_request().send().promise.await.unwrap();
        let halves = halves.get().unwrap();
        assert!(halves.has_loader() && !halves.has_storer(), "null for what is not granted");
        assert_eq!(load(&halves.get_loader().unwrap()).await.unwrap(), (some("here"), 1));
        assert_eq!(words(&walk_error(&b, "new").await), missing(Right::Walk));
        let refused = swap(&b, Put::text("gone")).await.unwrap_err();
        assert_eq!(words(&refused), missing(Right::Store));
        let refused = attenuate(&b, Rights::ALL, Allowance::default()).await.err().unwrap();
        assert_eq!(words(&refused), missing(Right::Attenuate));

        let (writer, _) =
            attenuate(&walk(&whole, "b").await.unwrap(), Right::Store.into(), Allowance::default())
                .await
                .unwrap();
        let halves = writer.cell_request().send().promise.await.unwrap();
        let halves = halves.get().unwrap();
        assert!(!halves.has_loader() && halves.has_storer());
        let storer = halves.get_storer().unwrap();
        assert_eq!(store(&storer, Put::text("there"), true).await.unwrap(), (true, 2));
        assert_eq!(compare_and_store(&storer, Put::text("no"), 1).await.unwrap(), (false, 2));
        let refused = swap(&writer, Put::text("gone")).await.unwrap_err();
        assert_eq!(words(&refused), missing(Right::Load));
        let refused = writer.ls_request().send().promise.await.err().expect("refused");
        assert_eq!(words(&refused), missing(Right::Ls));
        let refused = lookup(&writer, "x").await.err().expect("refused");
        assert_eq!(words(&refused), missing(Right::Lookup));
    });
}

#[test]
fn anchors_that_come_as_values_are_narrowed_as_what_they_came_through() {
    let harness = two_threads();
    run(async {
        let (owner, guest) = two(&harness).await;
        put(&owner, "secret/key", Put::text("42")).await;
        let secret = walk(&owner.anchor(), "secret").await.unwrap();
        let (loader, storer) = cell(&walk(&secret, "key").await.unwrap()).await;
        for (name, value) in [
            ("anchor", Put::cap(secret.clone())),
            ("loader", Put::cap(loader)),
            ("storer", Put::cap(storer)),
            ("host", Put::cap(owner.host.clone())),
            ("cluster", Put::cap(owner.root().await)),
        ] {
            put(&owner, &format!("shared/{name}"), value).await;
        }
        let shared = walk(&owner.anchor(), "shared").await.unwrap();
        let rights = without(&[Right::Store, Right::Walk]);
        let (narrow, grant) = attenuate(&shared, rights, Allowance::default()).await.unwrap();
        put(&owner, "for-guest", Put::cap(narrow)).await;

        // The guest is on another thread, and comes to all of it through the narrowed one.
        let (from, _) = cell(&walk(&guest.anchor(), "for-guest").await.unwrap()).await;
        let narrow: anchor::Client = load_cap(&from).await.unwrap().expect("there");
        async fn at<C: FromClientHook>(narrow: &anchor::Client, name: &str) -> C {
            let found = lookup(narrow, name).await.unwrap().expect("there");
            let response = found.cell_request().send().promise.await.unwrap();
            let loader = response.get().unwrap().get_loader().unwrap();
            load_cap(&loader).await.unwrap().expect("a capability")
        }
        let anchor: anchor::Client = at(&narrow, "anchor").await;
        assert_eq!(words(&walk_error(&anchor, "new").await), missing(Right::Walk));
        let key = lookup(&anchor, "key").await.unwrap().expect("there");
        assert_eq!(words(&swap(&key, Put::text("0")).await.unwrap_err()), missing(Right::Store));

        let loader: anchor::loader::Client = at(&narrow, "loader").await;
        assert_eq!(load(&loader).await.unwrap(), (some("42"), 1));
        let storer: anchor::storer::Client = at(&narrow, "storer").await;
        let refused = store(&storer, Put::text("0"), true).await.unwrap_err();
        assert_eq!(words(&refused), missing(Right::Store));

        let host: host::Client = at(&narrow, "host").await;
        let refused = host.info_request().send().promise.await.err().expect("refused");
        assert_eq!(refused.kind, ErrorKind::Unimplemented, "what tells of the host is not granted");
        let refused = host.root_request().send().promise.await.err().expect("refused");
        assert_eq!(refused.kind, ErrorKind::Unimplemented);
        assert_eq!(words(&walk_error(&host.cast_to(), "new").await), missing(Right::Walk));

        let cluster: anchor::Client = at(&narrow, "cluster").await;
        assert_eq!(words(&walk_error(&cluster, "self/new").await), missing(Right::Walk));
        let inside = lookup(&cluster, "self/secret").await.unwrap().expect("there");
        assert_eq!(words(&walk_error(&inside, "new").await), missing(Right::Walk));
        let listed = cluster.ls_request().send().promise.await.unwrap();
        let child = listed.get().unwrap().get_children().unwrap().get(0).get_anchor().unwrap();
        assert_eq!(words(&walk_error(&child, "new").await), missing(Right::Walk));

        revoke(&grant).await;
        for one in [&narrow, &anchor, &key, &cluster, &inside, &child] {
            let refused = lookup(one, "self").await.err().expect("refused");
            assert_eq!(words(&refused), Ok(Denied::Revoked));
        }
        assert_eq!(words(&load(&loader).await.unwrap_err()), Ok(Denied::Revoked));
        let refused = store(&storer, Put::text("0"), true).await.unwrap_err();
        assert_eq!(words(&refused), Ok(Denied::Revoked));
        let (loader, _) = cell(&key_of(&owner).await).await;
        assert_eq!(load(&loader).await.unwrap(), (some("42"), 1), "the owner's are untouched");
    });
}

async fn key_of(owner: &Peer) -> anchor::Client {
    walk(&owner.anchor(), "secret/key").await.unwrap()
}

#[test]
fn limits_are_counted_over_all_connections_and_given_back() {
    let harness = Harness::with(|config| {
        config.threads = NonZeroUsize::new(2).expect("not zero");
        config.metrics = Some(([127, 0, 0, 1], 0).into());
    });
    run(async {
        let (owner, guest) = two(&harness).await;
        let base = walk(&owner.anchor(), "base").await.unwrap();
        let allowance = Allowance { nodes: 3, depth: 2, value_bytes: 100, ..Allowance::default() };
        let (narrow, grant) = attenuate(&base, Rights::ALL, allowance).await.unwrap();
        put(&owner, "for-guest", Put::cap(narrow)).await;
        let (loader, _) = cell(&walk(&guest.anchor(), "for-guest").await.unwrap()).await;
        let narrow: anchor::Client = load_cap(&loader).await.unwrap().expect("there");

        let ab = walk(&narrow, "a/b").await.unwrap();
        let c = walk(&narrow, "c").await.unwrap();
        let over = |resource, limit| Ok(Denied::Exhausted { resource, limit });
        let refused = walk_error(&narrow, "d").await;
        assert_eq!(words(&refused), over(Resource::Nodes, 3));
        assert_eq!(refused.kind, ErrorKind::Overloaded);
        assert_eq!(words(&walk_error(&ab, "c").await), over(Resource::Depth, 2));
        assert_eq!(used(&grant).await, (3, 0));

        // A value keeps its node, and counts when nobody holds that any more.
        let (_, storer) = cell(&ab).await;
        assert!(store(&storer, Put::text(&"x".repeat(40)), true).await.unwrap().0);
        let (nodes, bytes) = used(&grant).await;
        assert!(nodes == 3 && (41..=100).contains(&bytes), "{nodes} nodes, {bytes} bytes");
        let refused = store(&storer, Put::text(&"x".repeat(90)), true).await.unwrap_err();
        assert_eq!(words(&refused), over(Resource::ValueBytes, 100));
        assert_eq!(limit_hits(&harness, "grant"), 3.0);
        for _ in 0..100 {
            // Each is counted beside the one that it replaces, which is given back at once.
            assert!(store(&storer, Put::text(&"y".repeat(24)), true).await.unwrap().0);
        }
        drop((ab, c, storer));
        eventually("what is not held", async || used(&grant).await.0 == 2).await;
        let a = walk(&narrow, "a").await.unwrap();
        assert_eq!(used(&grant).await.0, 2);
        drop(a);

        // Somebody else empties the cell.
        let (_, storer) = cell(&walk(&base, "a/b").await.unwrap()).await;
        store(&storer, Put::Nothing, true).await.unwrap();
        assert_eq!(used(&grant).await, (0, 0));
        drop(storer);

        // And a value dies with its owner.
        let (_, storer) = cell(&walk(&narrow, "e").await.unwrap()).await;
        support::store_bound(&storer, Put::text("bound"), true).await.unwrap();
        assert_ne!(used(&grant).await, (0, 0));
        drop(storer);
        guest.leave().await;
        eventually("the end of the value", async || used(&grant).await == (0, 0)).await;
    });
}

#[test]
fn what_a_revoked_grant_alone_kept_is_pruned_and_the_rest_stays() {
    let harness = two_threads();
    run(async {
        let (owner, guest) = two(&harness).await;
        let (narrow, grant) =
            attenuate(&owner.anchor(), Rights::ALL, Allowance::default()).await.unwrap();
        put(&owner, "for-guest", Put::cap(narrow.clone())).await;
        let (loader, _) = cell(&walk(&guest.anchor(), "for-guest").await.unwrap()).await;
        let through: anchor::Client = load_cap(&loader).await.unwrap().expect("there");
        let alone = walk(&through, "alone/deep").await.unwrap();
        let (_, storer) = cell(&walk(&through, "written").await.unwrap()).await;
        store(&storer, Put::text("stays"), true).await.unwrap();
        let both = walk(&through, "both").await.unwrap();
        let theirs = walk(&guest.anchor(), "both").await.unwrap();
        assert_eq!(owner.nodes().await, 6);

        revoke(&grant).await;
        revoke(&grant).await;
        assert_eq!(owner.nodes().await, 4);
        for one in [&narrow, &through, &alone, &both] {
            assert_eq!(words(&walk_error(one, "x").await), Ok(Denied::Revoked));
        }
        assert!(walk(&theirs, "x").await.is_ok());
        assert_eq!(names(&owner.anchor()).await, ["both", "for-guest", "written"]);
        // What is stored of it is there, and dead.
        let dead: anchor::Client = load_cap(&loader).await.unwrap().expect("there");
        assert_eq!(words(&walk_error(&dead, "x").await), Ok(Denied::Revoked));
        let info = grant.info_request().send().promise.await.unwrap();
        assert!(info.get().unwrap().get_revoked());
    });
}

#[test]
fn revoking_one_of_many_grants_leaves_the_others() {
    let harness = two_threads();
    run(async {
        let (owner, guest) = two(&harness).await;
        let mut grants = Vec::new();
        for number in 0..300 {
            let base = walk(&owner.anchor(), &format!("users/{number}")).await.unwrap();
            grants.push(attenuate(&base, Rights::ALL, Allowance::default()).await.unwrap());
        }
        for (_, grant) in grants.iter().step_by(2) {
            revoke(grant).await;
        }
        for (number, (anchor, _)) in grants.iter().enumerate() {
            assert_eq!(walk(anchor, "x").await.is_ok(), number % 2 == 1, "{number}");
        }
        drop(guest);
    });
}

#[test]
fn a_grant_with_many_handles_is_revoked_whole() {
    let harness = two_threads();
    run(async {
        let (owner, guest) = two(&harness).await;
        let base = walk(&owner.anchor(), "base").await.unwrap();
        let (narrow, grant) = attenuate(&base, Rights::ALL, Allowance::default()).await.unwrap();
        let held = (0..6000).map(|number| {
            let mut request = narrow.walk_request();
            request.get().set_path(format!("{number}"));
            async { request.send().promise.await?.get()?.get_anchor() }
        });
        let held = futures::future::try_join_all(held).await.unwrap();
        assert_eq!(owner.nodes().await, 6002);
        revoke(&grant).await;
        assert_eq!(guest.nodes().await, 2);
        for one in held.iter().step_by(500) {
            assert_eq!(words(&walk_error(one, "x").await), Ok(Denied::Revoked));
        }
    });
}

#[test]
fn what_waits_for_a_promise_ends_with_its_grant_and_changes_nothing() {
    let harness = two_threads();
    run(async {
        let (owner, guest) = two(&harness).await;
        let base = walk(&owner.anchor(), "base").await.unwrap();
        let (narrow, grant) = attenuate(&base, Rights::ALL, Allowance::default()).await.unwrap();
        put(&owner, "for-guest", Put::cap(narrow)).await;
        let (loader, _) = cell(&walk(&guest.anchor(), "for-guest").await.unwrap()).await;
        let narrow: anchor::Client = load_cap(&loader).await.unwrap().expect("there");
        let (_, storer) = cell(&narrow).await;
        let never = std::future::pending::<capnp::Result<anchor::Client>>();
        let promise: anchor::Client = capnp_rpc::new_future_client(never);
        let stored =
            tokio::task::spawn_local(async move { store(&storer, Put::cap(promise), true).await });
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        revoke(&grant).await;
        let error = stored.await.unwrap().unwrap_err();
        assert_eq!(words(&error), Ok(Denied::Revoked));
        let (loader, _) = cell(&base).await;
        assert_eq!(load(&loader).await.unwrap(), (None, 0));
    });
}

/// What somebody with a part of the tree tries to reach the rest.
#[test]
fn nothing_outside_is_reached_from_a_narrowed_anchor() {
    let harness = Harness::start();
    run(async {
        let owner = Peer::connect(harness.unix()).await;
        put(&owner, "outside", Put::text("secret")).await;
        let base = walk(&owner.anchor(), "jail").await.unwrap();
        let (jail, grant) =
            attenuate(&base, without(&[Right::Store]), Allowance::default()).await.unwrap();
        for path in ["..", "../outside", "a/../../outside", "/../outside", "./..", "a/.."] {
            assert!(walk(&jail, path).await.is_err(), "{path}");
            assert!(lookup(&jail, path).await.is_err(), "{path}");
        }
        for path in ["/outside", "outside", "/self/outside", "//outside", "jail/outside"] {
            assert!(lookup(&jail, path).await.unwrap().is_none(), "{path}");
        }
        // Casts: it is an anchor, and nothing else.
        let host: host::Client = jail.clone().cast_to();
        let error = host.root_request().send().promise.await.err().expect("no host");
        assert_eq!(error.kind, ErrorKind::Unimplemented);
        let error = host.clients_request().send().promise.await.err().expect("no host");
        assert_eq!(error.kind, ErrorKind::Unimplemented);
        let storer: anchor::storer::Client = jail.clone().cast_to();
        let error = store(&storer, Put::text("x"), true).await.expect_err("no storer");
        assert_eq!(error.kind, ErrorKind::Unimplemented);
        let as_grant: grant::Client = jail.clone().cast_to();
        let error = as_grant.revoke_request().send().promise.await.err().expect("no grant");
        assert_eq!(error.kind, ErrorKind::Unimplemented);
        // A loader is no storer, and no anchor.
        let (loader, _) = halves(&jail).await;
        let storer: anchor::storer::Client = loader.clone().cast_to();
        assert!(store(&storer, Put::text("x"), true).await.is_err());
        let anchor: anchor::Client = loader.cast_to();
        assert!(walk(&anchor, "x").await.is_err());
        // On the half that is not there, before anybody knows that it is not, and on a call that fails.
        let cell = jail.cell_request().send().pipeline;
        assert!(store(&cell.get_storer(), Put::text("x"), true).await.is_err());
        let mut request = jail.walk_request();
        request.get().set_path("..");
        let nowhere = request.send().pipeline.get_anchor();
        assert!(walk(&nowhere, "outside").await.is_err());
        // Asking for more gives no more.
        let (more, _) = attenuate(&jail, Rights::ALL, Allowance::default()).await.unwrap();
        assert_eq!(words(&swap(&more, Put::text("x")).await.unwrap_err()), missing(Right::Store));
        assert_eq!(names(&jail).await, [""; 0]);
        revoke(&grant).await;
    });
}

async fn halves(anchor: &anchor::Client) -> (anchor::loader::Client, bool) {
    let response = anchor.cell_request().send().promise.await.expect("cell");
    let cell = response.get().unwrap();
    (cell.get_loader().unwrap(), cell.has_storer())
}

#[test]
fn channels_of_a_revoked_grant_are_given_back_whoever_keeps_their_ends() {
    let harness = two_threads();
    run(async {
        let (owner, guest) = two(&harness).await;
        let three = Allowance { channels: 3, ..Allowance::default() };
        let (mine, grant) = attenuate(&owner.anchor(), Rights::ALL, three).await.unwrap();
        let (theirs, part) = attenuate(&mine, Rights::ALL, Allowance::default()).await.unwrap();
        put(&owner, "for/guest", Put::cap(theirs)).await;
        let (loader, _) = cell(&walk(&guest.anchor(), "for/guest").await.unwrap()).await;
        let theirs: anchor::Client = load_cap(&loader).await.unwrap().expect("an anchor");
        let channels = async |grant: &grant::Client| {
            let response = grant.info_request().send().promise.await.unwrap();
            response.get().unwrap().get_used().unwrap().get_channels()
        };
        let made = async |by: &anchor::Client| {
            by.new_chan_request().send().promise.await?.get()?.get_chan()
        };
        let mut ends = Vec::new();
        for _ in 0..3 {
            ends.push(made(&theirs).await.unwrap());
        }
        assert_eq!(channels(&grant).await, 3);
        assert!(made(&mine).await.is_err());
        revoke(&part).await;
        assert_eq!(channels(&grant).await, 0);
        made(&mine).await.unwrap();
        drop(ends);
    });
}
