//! Hosts in network namespaces of their own: links that are cut, and a network that falls apart. Takes root.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use killick_client::{Client, Error, MemberState, Value};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::failing::{becomes, is_gone};
use super::harness::{Host, Hosts, eventually, measured, members, run, sees};

/// How soon a partition is to be seen by all.
const SEEN: Duration = Duration::from_secs(5);
/// How soon all are to be there again.
const HEALED: Duration = Duration::from_secs(5);

/// Has this thread go into a network namespace.
pub(crate) fn enter(space: &str) {
    let file = File::open(Path::new("/run/netns").join(space)).expect("the namespace");
    let network = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(file.as_fd(), network).expect("to enter the namespace");
}

/// Runs `ip`: whether it succeeds.
fn ip(arguments: &str) -> bool {
    let ran = Command::new("ip").args(arguments.split(' ')).output();
    ran.is_ok_and(|ran| ran.status.success())
}

#[track_caller]
fn must(arguments: &str) {
    assert!(ip(arguments), "ip {arguments}");
}

/// Namespaces that are connected by two bridges in one more; all are on the first one at the beginning.
struct Network {
    /// What the names of all begin with.
    name: String,
    count: usize,
}

impl Drop for Network {
    fn drop(&mut self) {
        let spaces = (1..=self.count).map(|number| self.space(number)).chain([self.switch()]);
        for space in spaces {
            ip(&format!("netns del {space}"));
        }
    }
}

impl Network {
    /// So many namespaces, if that can be done here.
    fn new(count: usize) -> Option<Self> {
        let random = RandomState::new().hash_one(()) as u32;
        let network = Network { name: format!("killick-{random:08x}"), count };
        let switch = network.switch();
        let may = ip(&format!("netns add {switch}"))
            && ip(&format!("-n {switch} link add bridge0 type bridge"))
            && ip(&format!("-n {switch} link add bridge1 type bridge"));
        if !may {
            println!("skipped: it takes root, and ip with network namespaces and bridges");
            return None;
        }
        for bridge in 0..2 {
            must(&format!("-n {switch} link set bridge{bridge} up"));
        }
        for number in 1..=count {
            let (space, port) = (network.space(number), port(number));
            must(&format!("netns add {space}"));
            must(&format!("-n {switch} link add {port} type veth peer name eth0 netns {space}"));
            must(&format!("-n {switch} link set {port} master bridge0 up"));
            must(&format!("-n {space} addr add {}/24 dev eth0", address(number).ip()));
            must(&format!("-n {space} link set lo up"));
            must(&format!("-n {space} link set eth0 up"));
        }
        Some(network)
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn space(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// Hosts, one in each, which know each other.
    async fn hosts(&self) -> Hosts {
        let addresses: Vec<_> = (1..=self.count).map(address).collect();
        let mut hosts = Hosts::at(&addresses);
        for (number, host) in hosts.iter_mut().enumerate() {
            host.space = Some(self.space(number + 1));
        }
        hosts.launch();
        hosts.whole().await;
        hosts
    }

    /// Cuts the link of a host, counted from 0, or mends it.
    fn link(&self, host: usize, state: &str) {
        must(&format!("-n {} link set {} {state}", self.switch(), port(host + 1)));
    }

    /// Connects a host, counted from 0, to this bridge.
    fn plug(&self, host: usize, bridge: usize) {
        must(&format!("-n {} link set {} master bridge{bridge}", self.switch(), port(host + 1)));
    }
}

/// What the switch has of a host, counted from 1.
fn port(number: usize) -> String {
    format!("port{number}")
}

fn address(number: usize) -> SocketAddr {
    let number = u8::try_from(number).expect("few");
    SocketAddr::new(Ipv4Addr::new(10, 77, 0, number).into(), 7300)
}

async fn clients(hosts: &[Host]) -> Vec<Client> {
    join_all(hosts.iter().map(Host::client)).await
}

/// The generations of all hosts, as the first one knows them.
async fn generations(client: &Client) -> Vec<u64> {
    members(client).await.into_values().map(|member| member.generation).collect()
}

/// Waits until each of these sees the hosts with these names and no others: how long that took.
async fn all_see(clients: &[Client], names: &BTreeSet<String>) -> Duration {
    let start = Instant::now();
    let names: Vec<_> = names.iter().cloned().collect();
    join_all(
        clients
            .iter()
            .map(|client| eventually("all see the same", async || sees(client, &names).await)),
    )
    .await;
    start.elapsed()
}

fn names(hosts: &[Host]) -> BTreeSet<String> {
    hosts.iter().map(|host| host.name().to_owned()).collect()
}

/// Checks that every host is called by each client.
async fn all_call(clients: &[Client], hosts: &[Host]) {
    for client in clients {
        for host in hosts {
            let path = host.path("called");
            client.store_at(&path, "yes", true).await.expect("stored");
            client.walk(&path).await.expect("walked").clear().await.expect("cleared");
        }
    }
}

#[test]
fn a_host_whose_link_is_cut_is_seen_down_and_comes_back_in_the_same_life() {
    let Some(network) = Network::new(3) else { return };
    run(async {
        let hosts = network.hosts().await;
        let clients = clients(&hosts).await;
        let former = generations(&clients[0]).await;
        all_call(&clients, &hosts).await;
        // What each side has of the other.
        let far = clients[0].walk(hosts[2].path("far")).await.expect("walked");
        clients[0].store_at("kept", &far, false).await.expect("stored");
        let near = clients[2].walk(hosts[1].path("near")).await.expect("walked");

        // A short cut is none for a connection.
        network.link(2, "down");
        let call = async { far.load().await.expect("it only takes longer") };
        let mend = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            network.link(2, "up");
        };
        futures::future::join(call, mend).await;

        network.link(2, "down");
        let cut = Instant::now();
        for client in &clients[..2] {
            becomes(client, hosts[2].name(), MemberState::Failed).await;
        }
        measured("link cut, seen by the others", cut.elapsed(), SEEN);
        for host in &hosts[..2] {
            becomes(&clients[2], host.name(), MemberState::Failed).await;
        }
        measured("link cut, seen by the host that was cut", cut.elapsed(), SEEN * 2);
        let start = Instant::now();
        let error = far.load().await.expect_err("it is cut off");
        assert!(is_gone(&error), "{error:?}");
        assert!(near.load().await.is_err());
        let error = clients[0].load_at(hosts[2].path("x")).await.expect_err("it is cut off");
        assert!(is_gone(&error), "{error:?}");
        measured("link cut, calls fail", start.elapsed(), Duration::from_secs(3));
        eventually("no dead value", async || {
            clients[0].lookup("kept").await.expect("a lookup").is_none()
        })
        .await;

        network.link(2, "up");
        measured("link mended, all there", all_see(&clients, &names(&hosts)).await, HEALED);
        assert_eq!(generations(&clients[0]).await, former);
        all_call(&clients, &hosts).await;
        assert!(far.load().await.is_err(), "what was broken stays so");
        drop((far, near, clients));
        hosts.calm().await;
    });
}

#[test]
fn a_network_that_falls_into_halves_and_heals_is_whole_again() {
    let Some(network) = Network::new(6) else { return };
    run(async {
        let hosts = network.hosts().await;
        let clients = clients(&hosts).await;
        let former = generations(&clients[0]).await;
        all_call(&clients, &hosts).await;
        let far = clients[0].walk(hosts[5].path("far")).await.expect("walked");
        clients[0]
            .store_at(hosts[5].path("here"), &clients[0].walk("near").await.expect("walked"), false)
            .await
            .expect("stored");
        let beside = clients[0].walk(hosts[1].path("beside")).await.expect("walked");

        (3..6).for_each(|host| network.plug(host, 1));
        let start = Instant::now();
        let halves = [&hosts[..3], &hosts[3..]].map(names);
        all_see(&clients[..3], &halves[0]).await;
        all_see(&clients[3..], &halves[1]).await;
        measured("3|3, seen by all", start.elapsed(), SEEN);
        assert!(far.load().await.is_err());
        assert!(beside.load().await.is_ok(), "each half works");
        all_call(&clients[..3], &hosts[..3]).await;
        all_call(&clients[3..], &hosts[3..]).await;
        eventually("no dead value", async || {
            clients[5].lookup("here").await.expect("a lookup").is_none()
        })
        .await;

        (3..6).for_each(|host| network.plug(host, 0));
        measured("3|3 healed, all there", all_see(&clients, &names(&hosts)).await, HEALED);
        assert_eq!(generations(&clients[0]).await, former);
        all_call(&clients, &hosts).await;
        drop((far, beside, clients));
        hosts.calm().await;
    });
}

#[test]
fn a_link_that_comes_and_goes_under_load_leaves_nothing_behind() {
    let Some(network) = Network::new(3) else { return };
    run(async {
        let hosts = network.hosts().await;
        let clients = clients(&hosts).await;
        let over = Cell::new(false);
        // Each keeps anchors of the others, and has them and ends of channels of its own in cells there.
        let busy = |number: usize| {
            let (client, hosts, over) = (&clients[number], &hosts, &over);
            async move {
                let mut kept = VecDeque::new();
                let (mut done, mut failed) = (0_u64, 0_u64);
                while !over.get() {
                    for host in hosts.iter() {
                        let path = host.path(&format!("from/{number}/{}", done % 4));
                        let work = async {
                            let anchor = client.walk(&path).await?;
                            let chan = client.new_chan(1).await?;
                            let end = Value::from_capability(chan.sender().capability().clone());
                            anchor.store(end, true).await?;
                            let cell = host.path(&format!("anchor/{number}/{}", done % 4));
                            client.store_at(&cell, &anchor, true).await?;
                            Ok::<_, Error>((anchor, chan))
                        };
                        match work.await {
                            Ok(made) => (done, kept) = (done + 1, keep(kept, made)),
                            Err(error) => {
                                assert!(is_gone(&error), "{error:?}");
                                failed += 1;
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                        }
                    }
                }
                (done, failed)
            }
        };
        let flap = async {
            for cut in [300, 1500, 4500, 100, 6000, 2500] {
                network.link(2, "down");
                tokio::time::sleep(Duration::from_millis(cut)).await;
                network.link(2, "up");
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
            over.set(true);
        };
        let (worked, ()) = futures::future::join(join_all((0..3).map(busy)), flap).await;
        println!("made, and failed: {worked:?}");
        all_see(&clients, &names(&hosts)).await;
        for client in &clients {
            for (number, place) in
                (0..3).flat_map(|number| (0..4).map(move |place| (number, place)))
            {
                for kind in ["from", "anchor"] {
                    let found =
                        client.lookup(format!("{kind}/{number}/{place}")).await.expect("a lookup");
                    if let Some(anchor) = found {
                        anchor.clear().await.expect("cleared");
                    }
                }
            }
        }
        drop(clients);
        hosts.calm().await;
    });
}

/// Keeps the last few.
fn keep<T>(mut kept: VecDeque<T>, made: T) -> VecDeque<T> {
    kept.push_back(made);
    if kept.len() > 20 {
        kept.pop_front();
    }
    kept
}
