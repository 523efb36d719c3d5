//! Hosts on a machine, or a network, that is not what it should be.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use killick_client::MemberState;
use tokio::net::UdpSocket;

use super::failing::becomes;
use super::harness::{Hosts, block_on, measured, run};

#[test]
fn a_host_whose_log_has_no_room_goes_on() {
    run(async {
        let mut hosts = Hosts::new(3);
        hosts[0].log = Some(PathBuf::from("/dev/full"));
        hosts.launch();
        hosts.whole().await;
        let clients = [hosts[0].client().await, hosts[1].client().await];
        let path = hosts[0].path("mail");
        clients[1].store_at(&path, "hello", false).await.expect("stored");
        hosts[2].kill();
        for client in &clients {
            becomes(client, hosts[2].name(), MemberState::Failed).await;
        }
        hosts[2].launch();
        hosts.whole().await;
        assert_eq!(clients[1].load_at(&path).await.expect("loaded").text(), Some("hello"));
        assert_eq!(hosts[2].run(&["load", &path]).expect("loaded").trim(), "hello");
        clients[1].walk(&path).await.expect("walked").clear().await.expect("cleared");
        drop(clients);
        hosts.calm().await;
    });
}

/// A way to a host on which every twentieth packet is lost, in both directions.
struct Lossy {
    front: UdpSocket,
    to: SocketAddr,
    dice: AtomicU64,
}

impl Lossy {
    /// A way to `to` by way of `front`, in a thread of its own, which no test holds up.
    fn open(front: SocketAddr, to: SocketAddr) {
        std::thread::spawn(move || {
            block_on(async {
                let front = UdpSocket::bind(front).await.expect("an address");
                Arc::new(Lossy { front, to, dice: AtomicU64::new(1) }).serve().await
            })
        });
    }

    /// Whether a packet is lost: as random as it has to be, and the same each time.
    fn loses(&self) -> bool {
        let next = |dice: u64| {
            Some(
                dice.wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        };
        let dice = self.dice.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        (dice.expect("a number") >> 33).is_multiple_of(20)
    }

    async fn serve(self: Arc<Self>) -> Infallible {
        let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut packet = [0; 65_536];
        loop {
            // An error is one of a packet that was sent before, to nobody.
            let Ok((length, from)) = self.front.recv_from(&mut packet).await else { continue };
            let back = match backs.entry(from) {
                Entry::Occupied(back) => back.into_mut(),
                Entry::Vacant(place) => {
                    let back = UdpSocket::bind("127.0.0.1:0").await.expect("an address");
                    let back = place.insert(Arc::new(back));
                    tokio::spawn(self.clone().answer(back.clone(), from));
                    back
                }
            };
            if !self.loses() {
                let _ = back.send_to(&packet[..length], self.to).await;
            }
        }
    }

    /// Takes back what the host says to `to`.
    async fn answer(self: Arc<Self>, back: Arc<UdpSocket>, to: SocketAddr) -> Infallible {
        let mut packet = [0; 65_536];
        loop {
            let Ok(length) = back.recv(&mut packet).await else { continue };
            if !self.loses() {
                let _ = self.front.send_to(&packet[..length], to).await;
            }
        }
    }
}

#[test]
fn where_one_packet_in_twenty_is_lost_nobody_is_taken_for_dead_and_calls_work() {
    run(async {
        let mut hosts = Hosts::new(3);
        let ways: Vec<_> =
            hosts.iter().map(|host| SocketAddr::new(host.at.ip(), host.at.port() + 1)).collect();
        let seeds = ways.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        for (host, way) in hosts.iter_mut().zip(&ways) {
            Lossy::open(*way, host.at);
            host.arguments =
                ["--join", &seeds, "--advertise", &way.to_string()].map(str::to_owned).into();
        }
        hosts.launch();
        measured("join at 5 % loss", hosts.whole().await, Duration::from_secs(3));
        let client = hosts[0].client().await;
        let paths = [hosts[1].path("x"), hosts[2].path("x")];
        let start = Instant::now();
        let (mut calls, mut slowest) = (0, Duration::ZERO);
        while start.elapsed() < Duration::from_secs(20) {
            for path in &paths {
                let asked = Instant::now();
                let text = format!("{calls}");
                client.store_at(path, &*text, true).await.expect("stored");
                assert_eq!(client.load_at(path).await.expect("loaded").text(), Some(&*text));
                (calls, slowest) = (calls + 2, slowest.max(asked.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("measured: {calls} calls at 5 % loss, the slowest two together {slowest:.2?}");
        for host in hosts.iter() {
            assert!(!host.log().contains("does not answer any more"), "{}", host.log());
        }
        for path in &paths {
            client.walk(path).await.expect("walked").clear().await.expect("cleared");
        }
        drop(client);
        hosts.calm().await;
    });
}
