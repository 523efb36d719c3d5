//! Hosts that come together: who is there, and what each has of the others.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use killick_client::{Client, Sender, Value, What};

use super::harness::{Hosts, eventually, is_host, measured, members, run};

/// Waits until a path holds nothing, and is not there.
pub(crate) async fn pruned(client: &Client, path: &str) -> Duration {
    eventually(path, async || client.lookup(path).await.expect("a lookup").is_none()).await
}

#[test]
fn three_hosts_are_one_tree() {
    run(async {
        let mut hosts = Hosts::new(3);
        let start = Instant::now();
        hosts.launch();
        println!("measured: three hosts start: {:.2} s", start.elapsed().as_secs_f64());
        measured("join, seen by all with records", hosts.whole().await, Duration::from_secs(1));
        let names = hosts.names();
        let mut known = Vec::new();
        for host in hosts.iter() {
            let client = host.client().await;
            let mut watch = client.watch_at("/", What::Children).expect("a watch");
            let change = watch.next().await.expect("the first change");
            let added: BTreeSet<_> =
                change.children.added.iter().map(|(name, _)| name.clone()).collect();
            assert!(added.iter().eq(&names), "{change:?}");

            let listed = host.run(&["ls", "/"]).expect("ls");
            assert_eq!(listed.lines().collect::<Vec<_>>(), names);
            let told = host.told(&["hosts", "--json"]);
            let ids: Vec<_> = told.iter().map(|told| told["id"].as_str().expect("an id")).collect();
            assert_eq!(ids, names);
            assert!(told.iter().all(|told| told["state"] == "up"), "{told:?}");
            let itself: Vec<_> = told.iter().filter(|told| told["self"] == true).collect();
            assert_eq!((itself.len(), itself[0]["id"].as_str()), (1, Some(host.name())));
            let mut members = members(&client).await;
            for member in members.values_mut() {
                (member.since, member.connected, member.is_self) = (Duration::ZERO, false, false);
            }
            known.push(members);
        }
        assert!(known.iter().all(|members| *members == known[0]), "{known:#?}");
        hosts.calm().await;
    });
}

#[test]
fn what_the_command_line_asks_of_answers_that_it_does_not_wait_for_is_done() {
    run(async {
        let hosts = Hosts::start(2).await;
        for number in 0..10 {
            let path = hosts[1].path(&format!("box/{number}"));
            hosts[0].run(&["chan", "make", &path]).expect("a channel there");
            let ends = [0, 1].map(|at| hosts[at].path(&format!("end/{number}")));
            let make = ["chan", "make", "--send-end", &ends[0], "--recv-end", &ends[1]];
            hosts[1].run(&make).expect("a channel with ends at both");
            let paths = [&path, &ends[0], &ends[1]];
            paths.iter().for_each(|path| drop(hosts[0].run(&["clear", path]).expect("cleared")));
        }
        hosts.calm().await;
    });
}

#[test]
fn what_one_stores_at_another_all_load() {
    run(async {
        let hosts = Hosts::start(3).await;
        let mail = hosts[1].path("mail/7");
        let clients = join_all(hosts.iter().map(|host| host.client())).await;
        let mut watch = clients[2].watch_at(&mail, What::Value).expect("a watch");
        assert!(watch.next().await.expect("the first").value.expect("told").value.is_none());
        clients[0].store_at(&mail, "hello", false).await.expect("stored");
        for client in &clients {
            let loaded = client.load_at(&mail).await.expect("loaded");
            assert_eq!(loaded.text(), Some("hello"));
        }
        let change = watch.next().await.expect("a change");
        assert_eq!(change.value.expect("told").text(), Some("hello"));
        assert_eq!(hosts[2].run(&["load", &mail]).expect("loaded").trim(), "hello");
        assert_eq!(clients[1].load_at("mail/7").await.expect("its own").text(), Some("hello"));
        clients[2].walk(&mail).await.expect("walked").clear().await.expect("cleared");
        drop((watch, clients));
        hosts.calm().await;
    });
}

#[test]
fn a_node_of_another_host_may_have_more_children_than_a_value_has_capabilities() {
    run(async {
        let hosts = Hosts::start(2).await;
        let [one, other] = [hosts[0].client().await, hosts[1].client().await];
        let walks = (0..1000).map(|number| other.walk(format!("many/{number}")));
        let held: Vec<_> =
            join_all(walks).await.into_iter().collect::<Result<_, _>>().expect("walked");
        let many = one.walk(hosts[1].path("many")).await.expect("walked");
        assert_eq!(many.ls().await.expect("listed").len(), held.len());
        drop((held, many, one, other));
        hosts.calm().await;
    });
}

#[test]
fn a_capability_that_is_stored_at_another_host_works_from_the_third_and_comes_home_as_itself() {
    run(async {
        let mut hosts = Hosts::start(3).await;
        let [one, other, third] =
            [hosts[0].client().await, hosts[1].client().await, hosts[2].client().await];
        let (cap, inbox) = (hosts[1].path("cap"), hosts[1].path("inbox"));

        // An anchor of the first host.
        let anchor = one.walk("mine").await.expect("walked");
        one.store_at(&cap, &anchor, false).await.expect("stored");
        let value = third.load_at(&cap).await.expect("loaded").value.expect("it is there");
        let far = third.host().await.expect("host").adopt(value.capability().expect("an anchor"));
        far.store("by the third", true).await.expect("stored");
        assert_eq!(anchor.load().await.expect("loaded").text(), Some("by the third"));
        let value = other.load_at("cap").await.expect("loaded").value.expect("it is there");
        let near = other.host().await.expect("host").adopt(value.capability().expect("an anchor"));
        assert_eq!(near.load().await.expect("loaded").text(), Some("by the third"));

        // An end of a channel.
        let chan = one.new_chan(4).await.expect("a channel");
        one.store_at(&inbox, Value::from_capability(chan.sender().capability().clone()), false)
            .await
            .expect("stored");
        let value = third.load_at(&inbox).await.expect("loaded").value.expect("it is there");
        let sender =
            Sender::adopt(&third.host().await.expect("host"), value.capability().expect("an end"));
        sender.send("hello").await.expect("sent");
        assert_eq!(chan.recv().await.expect("received").text(), Some("hello"));

        // Back at the first host it does not need the second any more.
        let value = one.load_at(&cap).await.expect("loaded").value.expect("it is there");
        let home = one.host().await.expect("host").adopt(value.capability().expect("an anchor"));
        assert!(home.is_same(&anchor), "it came back as something else");
        drop((far, near, sender, value));
        hosts[1].kill();
        assert_eq!(home.load().await.expect("loaded").text(), Some("by the third"));
        home.clear().await.expect("cleared");
        drop((home, anchor, chan, one, other, third));
        hosts.calm().await;
    });
}

#[test]
fn each_pair_of_hosts_has_one_connection_for_calls_though_all_begin_at_once() {
    run(async {
        const HOSTS: usize = 4;
        for _ in 0..3 {
            let hosts = Hosts::start(HOSTS).await;
            let clients = join_all(hosts.iter().map(|host| host.client())).await;
            let paths: Vec<_> = hosts.iter().map(|host| host.path("x")).collect();
            let calls = clients.iter().flat_map(|client| {
                paths.iter().flat_map(move |path| (0..8).map(move |_| client.lookup(path)))
            });
            for found in join_all(calls).await {
                assert!(found.expect("a lookup").is_none());
            }
            drop(clients);
            for host in hosts.iter() {
                let told = host.told(&["clients", "--json"]);
                let peers = told.iter().map(|told| told["peer"].as_str().expect("a peer"));
                let peers: Vec<_> = peers.filter(|peer| is_host(peer)).collect();
                let different: BTreeSet<_> = peers.iter().collect();
                assert_eq!((peers.len(), different.len()), (HOSTS - 1, HOSTS - 1), "{peers:?}");
                // Nor were there others for a moment.
                let log = host.log();
                let opened = log
                    .lines()
                    .filter(|line| line.contains("connection opened") && line.contains("\"host "));
                assert_eq!(opened.count(), HOSTS - 1, "{log}");
                let told = host.told(&["hosts", "--json"]);
                let connected: Vec<_> =
                    told.iter().filter(|told| told["connected"] == true).collect();
                assert_eq!(connected.len(), HOSTS, "{told:?}");
            }
            hosts.calm().await;
        }
    });
}
