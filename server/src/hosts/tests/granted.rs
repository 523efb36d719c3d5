//! What was narrowed at one host, and what a key was granted, at the others.

use std::time::Duration;

use capnp::ErrorKind;
use capnp::capability::FromClientHook;
use killick::{Right, Rights};
use killick_client::Fingerprint;
use killick_client::internal::{put_limits, put_rights};
use killick_schema::api::anchor_capnp::anchor::{self, grant};
use killick_schema::api::host_capnp::host;
use tokio::time::sleep;

use super::cluster::{Cluster, LATENCY, run};
use super::{error_of, load, load_cap, store, store_cap, until_empty, walk, walk_from};
use crate::access::{Authorized, Who};
use crate::config::Config;

/// The cluster's anchor with these rights alone, and what takes it back.
async fn narrowed(
    host: &host::Client,
    rights: Rights,
    nodes: usize,
) -> (anchor::Client, grant::Client) {
    let root = host.root_request().send().pipeline.get_root();
    narrowed_from(&root, rights, nodes).await
}

async fn narrowed_from(
    anchor: &anchor::Client,
    rights: Rights,
    nodes: usize,
) -> (anchor::Client, grant::Client) {
    let mut request = anchor.attenuate_request();
    put_rights(rights, request.get().init_rights());
    let limits = killick::Allowance { nodes, ..killick::Allowance::default() };
    put_limits(limits, request.get().init_limits());
    let granted = request.send().promise.await.expect("granted");
    let granted = granted.get().expect("an answer");
    (granted.get_anchor().expect("one"), granted.get_grant().expect("one"))
}

#[test]
fn rights_and_limits_hold_at_other_hosts_until_they_are_revoked_there_as_well() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let rights = [Right::Walk, Right::Load, Right::Lookup, Right::Ls, Right::Attenuate];
        let rights = rights.into_iter().collect();
        let (root, grant) = narrowed(&client, rights, 2).await;
        let path = |rest: &str| format!("/{}/{rest}", far.name());
        let anchor = walk_from(&root, &path("a/b"));
        assert_eq!(load(&anchor).await.expect("loaded"), None);
        assert!(store(&anchor, "x").await.is_err(), "no right to store");
        let error = error_of(load(&walk_from(&root, &path("c"))).await);
        assert!(error.extra.contains("nodes"), "{error}");
        // A part of it counts to the same, and goes with it.
        let (part, _) = narrowed_from(&root, rights, 2).await;
        let error = error_of(load(&walk_from(&part, &path("c"))).await);
        assert!(error.extra.contains("nodes"), "{error}");
        assert_eq!(load(&walk_from(&part, &path("a"))).await.expect("there"), None);
        grant.revoke_request().send().promise.await.expect("revoked");
        // At that host, when the answer is there.
        assert_eq!(far.shared.tree.nodes(), 1);
        for gone in [&anchor, &walk_from(&root, &path("a")), &walk_from(&part, &path("a"))] {
            let error = error_of(load(gone).await);
            assert!(error.extra.contains("revoked"), "{error}");
        }
        assert_eq!(load(&walk(&client, &path("a"))).await.expect("untouched"), None);
    });
}

#[test]
fn what_another_host_has_granted_goes_when_nobody_has_what_it_was_for() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let (client, other) = (near.client(), near.client());
        let path = format!("/{}/a", far.name());
        assert_eq!(load(&walk(&other, &path)).await.expect("reached"), None);
        let (root, grant) = narrowed(&client, Rights::ALL, 2).await;
        let (part, more) = narrowed_from(&root, Rights::ALL, 1).await;
        assert_eq!(load(&walk_from(&part, &path)).await.expect("reached"), None);
        assert_eq!(near.shared.hosts.delegations.len(), 2);
        drop((client, root, part, grant, more));
        sleep(Duration::from_secs(1)).await;
        // As a worker does after a connection's end.
        near.shared.hosts.delegations.tidy();
        assert_eq!(near.shared.hosts.delegations.len(), 0);
        until_empty(far).await;
    });
}

#[test]
fn nothing_is_kept_for_what_a_host_that_is_not_reached_did_not_grant() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, silent] = &cluster.sites[..] else { panic!("two") };
        cluster.silence(silent.id);
        let (root, _grant) = narrowed(&near.client(), Rights::ALL, 2).await;
        let error = error_of(load(&walk_from(&root, &format!("/{}/a", silent.name()))).await);
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        near.shared.hosts.delegations.tidy();
        assert_eq!(near.shared.hosts.delegations.len(), 0);
    });
}

#[test]
fn a_key_gets_at_another_host_what_it_would_get_at_its_door() {
    run(|| async {
        let (alice, bob) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
        let cluster = Cluster::with(2, |number| {
            let lines = match number {
                0 => format!("{alice} /\n{bob} /\n"),
                _ => format!("{alice} /home/alice rights=read\n"),
            };
            let authorized = Authorized::parse(&lines, &Config::default().limits);
            Config { authorized: authorized.expect("lines"), ..Config::for_test([]) }
        });
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let path = format!("/{}/inbox", far.name());
        store(&walk(&near.client(), &format!("/{}/home/alice/inbox", far.name())), "hers")
            .await
            .expect("whoever is local may");
        let hers = walk(&near.client_as(Who::Key(alice)), &path);
        assert!(store(&hers, "x").await.is_err());
        let mut lookup = near
            .client_as(Who::Key(alice))
            .root_request()
            .send()
            .pipeline
            .get_root()
            .lookup_request();
        lookup.get().set_path(&path);
        let hers = lookup.send().pipeline.get_anchor();
        assert_eq!(load(&hers).await.expect("read").as_deref(), Some("hers"));
        let error = error_of(load(&walk(&near.client_as(Who::Key(bob)), &path)).await);
        assert!(error.extra.contains("authorized"), "{error}");
    });
}

#[test]
fn a_key_whose_line_goes_has_nothing_at_that_host_any_more_be_it_the_last() {
    run(|| async {
        let alice = Fingerprint::from_bytes([1; 32]);
        let authorized =
            |lines: &str| Authorized::parse(lines, &Config::default().limits).expect("lines");
        let cluster = Cluster::with(2, |_| {
            let authorized = authorized(&format!("{alice} /\n"));
            Config { authorized, ..Config::for_test([]) }
        });
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let path = format!("/{}/a", far.name());
        let before = walk(&near.client_as(Who::Key(alice)), &path);
        store(&before, "hers").await.expect("she may");
        let config = far.shared.config();
        far.shared.set_config(Config { authorized: authorized(""), ..(*config).clone() });
        let after = walk(&near.client_as(Who::Key(alice)), &path);
        let error = error_of(load(&after).await);
        assert!(error.extra.contains("authorized"), "{error}");
        let error = error_of(load(&before).await);
        assert!(error.extra.contains("revoked"), "{error}");
    });
}

#[test]
fn what_one_key_is_given_by_a_grant_at_another_host_is_not_given_to_the_next() {
    run(|| async {
        let (alice, bob) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
        let cluster = Cluster::with(2, |number| {
            let lines = match number {
                0 => format!("{alice} /\n{bob} /\n"),
                _ => format!("{alice} /\n{bob} /home/bob\n"),
            };
            let authorized = Authorized::parse(&lines, &Config::default().limits);
            Config { authorized: authorized.expect("lines"), ..Config::for_test([]) }
        });
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let local = near.client();
        let (root, _grant) = narrowed(&local, Rights::ALL, 9).await;
        store_cap(&walk(&local, "/self/door"), root).await.expect("stored");
        let [alice, bob] = [alice, bob].map(|key| near.client_as(Who::Key(key)));
        for (client, its) in [(&local, "local"), (&bob, "bob"), (&alice, "alice")] {
            let door = load_cap(&walk(client, "/self/door")).await.expect("loaded");
            store(&walk_from(&door, &format!("/{}/a", far.name())), its).await.expect("stored");
        }
        let at = async |path: &str| load(&walk(&far.client(), &format!("/self/{path}"))).await;
        assert_eq!(at("home/bob/a").await.expect("read").as_deref(), Some("bob"));
        assert_eq!(at("a").await.expect("read").as_deref(), Some("alice"));
    });
}

#[test]
fn what_a_key_was_granted_goes_at_other_hosts_as_well_when_its_line_does() {
    run(|| async {
        let alice = Fingerprint::from_bytes([1; 32]);
        let line = format!("{alice} / rights=all\n");
        let cluster = Cluster::with(2, |number| {
            let authorized = match number {
                0 => Authorized::parse(&line, &Config::default().limits).expect("lines"),
                _ => Authorized::default(),
            };
            Config { authorized, ..Config::for_test([]) }
        });
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let (client, hers) = (near.client(), near.client_as(Who::Key(alice)));
        let root = client.root_request().send().pipeline.get_root();
        store_cap(&walk(&client, "/self/door"), root).await.expect("stored");
        // By way of a value she has the cluster, with her rights alone, and others have what she finds there.
        let hers: anchor::Client = hers.client.clone().cast_to();
        let door = load_cap(&walk_from(&hers, "door")).await.expect("loaded");
        let there = walk_from(&door, &format!("/{}/a", far.name()));
        assert_eq!(load(&there).await.expect("reached"), None);
        store_cap(&walk_from(&hers, "found"), there).await.expect("stored");
        let found = load_cap(&walk(&client, "/self/found")).await.expect("loaded");
        assert_eq!(load(&found).await.expect("reached"), None);
        let config = near.shared.config();
        near.shared.set_config(Config { authorized: Authorized::default(), ..(*config).clone() });
        sleep(3 * LATENCY).await;
        let error = error_of(load(&found).await);
        assert!(error.extra.contains("revoked"), "{error}");
        assert_eq!(far.shared.tree.nodes(), 1);
    });
}
