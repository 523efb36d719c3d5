//! Datagrams of somebody who is none of the cluster: junk, the beginnings of handshakes, and what a real host has
//! said, from another address.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use futures::FutureExt;
use killick_client::MemberState;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use rustls::RootCertStore;
use rustls::version::TLS13;
use tokio::time::timeout;

use super::failing::watch;
use super::harness::{CLUSTER, Host, Hosts, PATIENCE, eventually, members, run};

/// As many beginnings of handshakes: more than a host takes at a time.
const HANDSHAKES: usize = 200;
/// As many are taken at a time of those who do not show that they are where they say.
const TAKEN: f64 = 32.0;
/// As many datagrams that mean nothing.
const JUNK: usize = 2_000;
/// As many times what came from an address goes there, until it is known that somebody is there: QUIC's rule.
const AMPLIFIED: usize = 3;

/// A way to a host, on which what goes to it is kept.
struct Recorder(Arc<Mutex<Vec<Vec<u8>>>>);

impl Recorder {
    fn open(front: SocketAddr, to: SocketAddr) -> Self {
        let kept = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let keeps = kept.clone();
        let front = UdpSocket::bind(front).expect("an address");
        thread::spawn(move || {
            let mut backs: HashMap<SocketAddr, UdpSocket> = HashMap::new();
            let mut packet = [0; 65_536];
            loop {
                // An error is one of a packet that was sent before, to nobody.
                let Ok((length, from)) = front.recv_from(&mut packet) else { continue };
                keeps.lock().expect("no panic").push(packet[..length].to_vec());
                let back = backs.entry(from).or_insert_with(|| {
                    let back = UdpSocket::bind("127.0.0.1:0").expect("an address");
                    let (its, front) = (back.try_clone(), front.try_clone());
                    let (its, front) = (its.expect("a socket"), front.expect("a socket"));
                    thread::spawn(move || answer(&its, &front, from));
                    back
                });
                let _ = back.send_to(&packet[..length], to);
            }
        });
        Recorder(kept)
    }

    fn kept(&self) -> Vec<Vec<u8>> {
        self.0.lock().expect("no panic").clone()
    }
}

/// Takes back what a host says to who spoke first.
fn answer(from: &UdpSocket, by: &UdpSocket, to: SocketAddr) {
    let mut packet = [0; 65_536];
    loop {
        if let Ok(length) = from.recv(&mut packet) {
            let _ = by.send_to(&packet[..length], to);
        }
    }
}

/// A socket that nobody knows: what it has said, and what came back.
struct Stranger {
    socket: UdpSocket,
    to: SocketAddr,
    count: usize,
    said: usize,
    heard: usize,
}

impl Stranger {
    fn new(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("an address");
        socket.set_nonblocking(true).expect("an option");
        Stranger { socket, to, count: 0, said: 0, heard: 0 }
    }

    fn say(&mut self, datagram: &[u8]) {
        self.count += 1;
        // One that finds no room in a buffer is lost.
        self.said += self.socket.send_to(datagram, self.to).unwrap_or(0);
        self.listen();
    }

    fn listen(&mut self) {
        let mut packet = [0; 65_536];
        while let Ok(length) = self.socket.recv(&mut packet) {
            self.heard += length;
        }
    }
}

/// Bytes that mean nothing, the same each time: some begin as QUIC's long packets do, and some as its short ones.
fn junk() -> Vec<Vec<u8>> {
    let mut state = 7_u64;
    let mut next = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let one = |number| {
        let length = 1 + number % 1_400;
        let mut bytes: Vec<_> = (0..length).map(|_| next()).collect();
        bytes[0] = if number % 2 == 0 { bytes[0] | 0xc0 } else { bytes[0] & 0x3f | 0x40 };
        // The version of QUIC.
        if number % 4 == 0 && length > 5 {
            bytes[1..5].copy_from_slice(&1_u32.to_be_bytes());
        }
        bytes
    };
    (0..JUNK).map(one).collect()
}

/// The first datagrams of handshakes, each of another connection, by one who has no certificate.
async fn beginnings() -> Vec<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_protocol_versions(&[&TLS13]).expect("TLS");
    let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![b"killick/1".to_vec()];
    let config = QuicClientConfig::try_from(config).expect("QUIC");
    let config = ClientConfig::new(Arc::new(config));
    let name = format!("host.{CLUSTER}.killick.internal");
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("bound");
    let end = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("an address");
    let at = end.local_addr().expect("bound");
    let (mut begun, mut beginnings) = (Vec::new(), Vec::new());
    let mut packet = [0; 65_536];
    for _ in 0..HANDSHAKES {
        begun.push(endpoint.connect_with(config.clone(), at, &name).expect("begun"));
        let length = timeout(PATIENCE, end.recv(&mut packet)).await.expect("in time");
        beginnings.push(packet[..length.expect("a datagram")].to_vec());
    }
    beginnings
}

/// Everything of the cluster that is not to change by what a stranger says: who is there, in which life and since
/// when, and what was counted of that.
async fn standing(hosts: &[Host]) -> Vec<(BTreeMap<String, u64>, Vec<f64>)> {
    let mut standing = Vec::new();
    for host in hosts {
        let members = members(&host.client().await).await.into_values();
        let there = members.filter(|member| member.state == MemberState::Up);
        let samples = host.samples();
        let count = |what| samples[&format!("killick_cluster_membership_total{{what=\"{what}\"}}")];
        let counts = ["forged", "malformed", "renewals", "no_place", "from_the_future"].map(count);
        standing
            .push((there.map(|there| (there.full_id, there.generation)).collect(), counts.into()));
    }
    standing
}

/// How many handshakes came to nothing here.
fn refused(host: &Host) -> f64 {
    let is = |name: &str| name.starts_with("killick_cluster_refused_handshakes_total");
    host.samples().into_iter().filter(|(name, _)| is(name)).map(|(_, count)| count).sum()
}

#[test]
fn what_a_stranger_sends_changes_nothing_and_is_answered_with_no_more_than_it_pays_for() {
    run(async {
        let mut hosts = Hosts::new(3);
        // One finds the other by a way on which all is heard.
        let front = SocketAddr::new(hosts[0].at.ip(), hosts[0].at.port() + 1);
        let recorder = Recorder::open(front, hosts[0].at);
        hosts[0].arguments.clear();
        hosts[1].arguments = ["--join".to_owned(), front.to_string()].into();
        hosts[0].launch();
        hosts[1].launch();
        hosts.whole().await;
        let clients = [hosts[0].client().await, hosts[1].client().await];
        let path = hosts[0].path("mail");
        let mail = clients[1].walk(&path).await.expect("walked");
        mail.store("hello", false).await.expect("stored");
        let recorded = recorder.kept();
        assert!(recorded.len() > 10 && recorded.iter().any(|packet| packet.len() >= 1_200));
        let before = standing(&hosts[..2]).await;
        let mut watches = [watch(&clients[0]).await, watch(&clients[1]).await];

        let refused = refused(&hosts[0]);
        let beginnings = beginnings().await;
        let mut strangers = Vec::new();
        let start = Instant::now();
        for said in [junk(), recorded.clone(), recorded, beginnings] {
            let mut stranger = Stranger::new(hosts[0].at);
            for datagram in said {
                stranger.say(&datagram);
                // Meanwhile it does its work.
                if stranger.count.is_multiple_of(50) {
                    assert_eq!(mail.load().await.expect("loaded").text(), Some("hello"));
                }
            }
            strangers.push(stranger);
        }
        println!("measured: said in {:.2} s", start.elapsed().as_secs_f64());
        // Handshakes that nobody goes on with are over after some time.
        let over = async || {
            strangers.iter_mut().for_each(Stranger::listen);
            self::refused(&hosts[0]) >= refused + TAKEN
        };
        eventually("they are over", over).await;
        for stranger in &strangers {
            let Stranger { said, heard, .. } = stranger;
            println!("measured: {said} bytes said, {heard} came back");
            assert!(*heard <= AMPLIFIED * said, "{heard} bytes for {said}");
        }
        assert!(strangers.iter().any(|stranger| stranger.heard > 0), "nothing is measured");

        assert_eq!(standing(&hosts[..2]).await, before);
        for watch in &mut watches {
            assert!(watch.next().now_or_never().is_none(), "somebody went or came");
        }
        assert_eq!(mail.load().await.expect("loaded").text(), Some("hello"));
        // Others are let in.
        hosts[2].arguments = ["--join".to_owned(), hosts[0].at.to_string()].into();
        hosts[2].launch();
        hosts.whole().await;
        mail.clear().await.expect("cleared");
        drop((mail, watches, clients));
        hosts.calm().await;
    });
}
