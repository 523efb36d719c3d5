//! Fabrics on loopback: real sockets, and real certificates.

use std::future::Future;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, ReadError};
use rustls::pki_types::CertificateDer;
use rustls::{RootCertStore, version::TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::*;
use crate::cluster::ident::testing::{Ca, For, Issued};
use killick_client::Identity;

/// The longest that anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host.
struct Node {
    fabric: Fabric,
    events: Events,
    id: HostId,
    at: SocketAddr,
}

/// Nothing happens here by itself.
fn options() -> Options {
    let never = PATIENCE * 2;
    Options { idle: never, silence: never, keepalive: never, dial: PATIENCE, ..Options::default() }
}

fn bind(at: &str, identity: ClusterIdentity, options: Options) -> Node {
    let id = identity.id();
    let at = at.parse().expect("an address");
    let (fabric, events) = Fabric::bind(at, identity, options).expect("bound");
    let at = fabric.local();
    Node { fabric, events, id, at }
}

fn node(identity: ClusterIdentity) -> Node {
    bind("127.0.0.1:0", identity, options())
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

impl Node {
    async fn event(&mut self) -> Event {
        soon(self.events.recv()).await.expect("an event")
    }

    async fn connected(&mut self) -> HostId {
        match self.event().await {
            Event::Connected(host, _) => host,
            other => panic!("{other:?}"),
        }
    }

    async fn packet(&mut self) -> (HostId, SocketAddr, Bytes) {
        loop {
            match self.event().await {
                Event::Packet(host, at, packet) => return (host, at, packet),
                Event::Connected(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn stream(&mut self) -> (HostId, Service, HostStream) {
        loop {
            match self.event().await {
                Event::Stream(host, service, stream) => return (host, service, stream),
                Event::Connected(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn closed(&mut self) -> (HostId, String) {
        loop {
            match self.event().await {
                Event::Closed(host, why) => return (host, why),
                Event::Connected(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn open(&self, to: &Node) -> Result<HostStream, LinkError> {
        self.fabric.open(to.id, to.at, Service::Rpc, PATIENCE).await
    }

    /// How many were not let in.
    fn refused(&self) -> u64 {
        self.fabric.counts().refused.iter().sum()
    }

    /// That nothing has happened, after all that is under way has.
    async fn quiet(&mut self) {
        let event = timeout(Duration::from_millis(100), self.events.recv()).await;
        assert!(event.is_err(), "{event:?}");
    }
}

/// Says something in both directions.
async fn talk(one: &mut HostStream, other: &mut HostStream) {
    say(one, other).await;
    say(other, one).await;
}

async fn say(from: &mut HostStream, to: &mut HostStream) {
    soon(from.write_all(b"hello")).await.expect("written");
    let mut read = [0; 5];
    soon(to.read_exact(&mut read)).await.expect("read");
    assert_eq!(&read, b"hello");
}

#[tokio::test]
async fn packets_and_streams_go_both_ways_over_one_connection() {
    let ca = Ca::new("ca");
    let (mut a, mut b) = (node(ca.host("a")), node(ca.host("b")));
    a.fabric.send(b.id, b.at, Bytes::from_static(b"first"));
    a.fabric.send(b.id, b.at, Bytes::from_static(b"second"));
    let came = [b.packet().await, b.packet().await].map(|(from, at, packet)| {
        assert_eq!((from, at), (a.id, a.at));
        packet
    });
    assert!(came.contains(&Bytes::from_static(b"first")), "{came:?}");
    assert!(came.contains(&Bytes::from_static(b"second")), "{came:?}");
    // The answer needs no dial: nobody is at that address.
    let nowhere = "127.0.0.1:1".parse().expect("an address");
    b.fabric.send(a.id, nowhere, Bytes::from(vec![7; MAX_PACKET]));
    let (from, at, packet) = a.packet().await;
    assert_eq!((from, at, packet.len()), (b.id, b.at, MAX_PACKET));

    let mut near = a.open(&b).await.expect("a stream");
    let (from, service, mut far) = b.stream().await;
    assert_eq!((from, service), (a.id, Service::Rpc));
    talk(&mut near, &mut far).await;
    near.write_all(b"end").await.expect("written");
    near.shutdown().await.expect("shut down");
    drop(near);
    // What was written has arrived, and the end as well.
    let mut text = String::new();
    soon(far.read_to_string(&mut text)).await.expect("to the end");
    assert_eq!(text, "end");
    let back = b.fabric.open(a.id, nowhere, Service::Sync, PATIENCE).await;
    let (from, service, mut broken) = a.stream().await;
    assert_eq!((from, service), (b.id, Service::Sync));
    // Dropped without a shutdown, it is broken off.
    drop(back.expect("a stream"));
    soon(broken.read_to_string(&mut text)).await.expect_err("broken off");

    let peers = a.fabric.peers();
    assert_eq!((peers.len(), peers[0].id, peers[0].at, peers[0].connections), (1, b.id, b.at, 1));
    assert!(peers[0].bytes_sent > 0 && peers[0].packets_received > 0, "{peers:?}");
    let dropped = |node: &Node| node.fabric.counts().packets_dropped;
    assert_eq!((dropped(&a), dropped(&b)), (0, 0));
    a.fabric.send(b.id, b.at, Bytes::from(vec![0; MAX_PACKET + 1]));
    a.fabric.send(a.id, a.at, Bytes::from_static(b"myself"));
    assert_eq!(dropped(&a), 2);
    let myself = a.fabric.open(a.id, a.at, Service::Rpc, PATIENCE).await;
    assert_eq!(myself.map(drop), Err(LinkError::Myself));
}

#[tokio::test]
async fn a_seed_is_met_by_its_address_alone() {
    let ca = Ca::new("ca");
    let (mut a, mut b) = (node(ca.host("a")), node(ca.host("b")));
    assert_eq!(soon(a.fabric.meet(b.at)).await, Ok(b.id));
    assert_eq!((a.connected().await, b.connected().await), (b.id, a.id));
    // Once more is another connection, and the host is no other.
    assert_eq!(soon(a.fabric.meet(b.at)).await, Ok(b.id));
    a.quiet().await;
    assert_eq!(soon(a.fabric.meet(a.at)).await, Ok(a.id));
    a.quiet().await;
    assert_eq!(a.fabric.peers().len(), 1);
    a.fabric.close(b.id, "enough");
    assert_eq!(a.closed().await, (b.id, "enough".to_owned()));
    let (from, why) = b.closed().await;
    assert_eq!((from, &*why), (a.id, "the other host has closed it: enough"));
    assert!(a.fabric.peers().is_empty());
}

#[tokio::test]
async fn a_host_knows_itself_from_another_that_has_its_key() {
    let ca = Ca::new("ca");
    let issued = ca.issue("a", For::Host);
    let (mut a, mut twin) = (node(issued.load()), node(issued.load()));
    let mut b = node(ca.host("b"));
    assert_eq!(a.id, twin.id);
    assert!(soon(a.fabric.is_twin(twin.at)).await && soon(twin.fabric.is_twin(a.at)).await);
    assert!(!soon(a.fabric.is_twin(a.at)).await, "that is itself");
    assert!(!soon(a.fabric.is_twin(b.at)).await, "that is another host");
    assert!(!soon(b.fabric.is_twin(a.at)).await, "that is another host");
    for node in [&mut a, &mut b, &mut twin] {
        node.quiet().await;
    }
}

#[tokio::test]
async fn a_stream_is_opened_and_used_on_a_runtime_of_another_thread() {
    let ca = Ca::new("ca");
    let (a, mut b) = (node(ca.host("a")), node(ca.host("b")));
    let (fabric, to, at) = (a.fabric.clone(), b.id, b.at);
    let elsewhere = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let opened = fabric.open(to, at, Service::Sync, PATIENCE).await;
            let mut stream = opened.expect("a stream");
            stream.write_all(b"ping").await.expect("written");
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.expect("read");
            answer
        })
    });
    let (_, service, mut stream) = b.stream().await;
    assert_eq!(service, Service::Sync);
    let mut asked = [0; 4];
    soon(stream.read_exact(&mut asked)).await.expect("read");
    soon(stream.write_all(b"pong")).await.expect("written");
    let joined = tokio::task::spawn_blocking(|| elsewhere.join().expect("no panic"));
    assert_eq!((&asked, &soon(joined).await.expect("joined")), (b"ping", b"pong"));
    // Its connection is not of the runtime that has gone.
    let mut again = a.open(&b).await.expect("a stream");
    talk(&mut again, &mut b.stream().await.2).await;
}

/// Somebody who speaks QUIC, and shows what it likes.
async fn stranger(at: SocketAddr, ca: &Ca, shown: Option<&Issued>) -> (Endpoint, Connection) {
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("TLS")
        .with_root_certificates(roots);
    let mut config = match shown.map(|issued| Identity::load(&issued.path).expect("an identity")) {
        None => config.with_no_client_auth(),
        Some(identity) => config
            .with_client_auth_cert(identity.chain().to_vec(), identity.key().clone_key())
            .expect("a certificate"),
    };
    config.alpn_protocols = vec![b"killick/1".to_vec()];
    let config = QuicClientConfig::try_from(config).expect("QUIC");
    let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let config = ClientConfig::new(Arc::new(config));
    let connecting = endpoint.connect_with(config, at, "host.c1.killick.internal");
    // To it, the handshake is over before its certificate has been seen.
    let connection = soon(connecting.expect("to connect")).await.expect("the first half");
    (endpoint, connection)
}

#[tokio::test]
async fn who_shows_no_hosts_certificate_gets_nothing_and_is_not_heard() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let mut a = node(ca.host("a"));
    let (client, foreign) = (ca.issue("client", For::Client), other.issue("foreign", For::Host));
    let expired = ca.issue("expired", For::ExpiredHost);
    for (shown, why, kind) in [
        (None, "error 116", Kind::Nobody),
        (Some(&foreign), "error", Kind::Authority),
        (Some(&expired), "error 45", Kind::Invalid),
        (Some(&client), "none of a host of the cluster c1", Kind::NotAHost),
    ] {
        let (_endpoint, connection) = stranger(a.at, &ca, shown).await;
        // It speaks at once, and may have been closed before.
        let _ = connection.send_datagram(Bytes::from_static(b"alive"));
        if let Ok((mut send, _receive)) = connection.open_bi().await {
            let _ = send.write_all(&[Service::Sync as u8, 1, 2, 3]).await;
        }
        let ended = soon(connection.accept_uni()).await.map(drop).expect_err("not a word");
        assert!(ended.to_string().contains(why), "{why}: {ended}");
        let counted = async {
            while a.fabric.counts().refused[kind as usize] != 1 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        soon(counted).await;
    }
    a.quiet().await;
    assert_eq!((a.fabric.peers(), a.refused()), (Vec::new(), 4));
}

#[tokio::test]
async fn a_dial_comes_to_nothing_with_who_is_not_the_host_that_was_meant() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let (mut a, mut b) = (node(ca.host("a")), node(ca.host("b")));
    let (mut c, mut old) = (node(other.host("c")), node(ca.issue("old", For::ExpiredHost).load()));
    let refused = |error: LinkError, why: &str| {
        let LinkError::Refused { reason, .. } = error else { panic!("{error}") };
        assert!(reason.contains(why), "{why}: {reason}");
    };
    let open = async |from: &Node, id, at| {
        from.fabric.open(id, at, Service::Rpc, PATIENCE).await.expect_err("refused")
    };
    refused(open(&a, c.id, b.at).await, "not valid for name");
    refused(open(&a, c.id, c.at).await, "is of no authority in this host's ca.pem");
    refused(open(&c, a.id, a.at).await, "is of no authority in this host's ca.pem");
    refused(open(&a, old.id, old.at).await, "certificate expired");
    // As the one with the bad certificate is told.
    refused(open(&old, a.id, a.at).await, "this host's certificate is not valid at this time");
    refused(soon(a.fabric.meet(c.at)).await.expect_err("refused"), "of no authority");
    for node in [&mut a, &mut b, &mut c, &mut old] {
        node.quiet().await;
    }
    let unnamed = a.fabric.open(b.id, "127.0.0.1:0".parse().expect("one"), Service::Rpc, PATIENCE);
    refused(unnamed.await.expect_err("no port"), "invalid remote address");
}

#[tokio::test]
async fn a_connection_ends_when_its_certificate_is_revoked_and_others_live_on() {
    let mut ca = Ca::new("ca");
    let issued = ["a", "b", "c"].map(|name| ca.issue(name, For::Host));
    let [mut a, mut b, mut c] = [0, 1, 2].map(|index| node(issued[index].load()));
    let mut to_b = a.open(&b).await.expect("a stream");
    let mut to_c = a.open(&c).await.expect("a stream");
    let (mut at_b, mut at_c) = (b.stream().await.2, c.stream().await.2);
    talk(&mut to_b, &mut at_b).await;
    let list = ca.revoke(&issued[1]);
    issued[0].write("crl.pem", &list);
    a.fabric.set_identity(issued[0].load()).expect("the same host");
    assert_eq!(a.closed().await, (b.id, "the certificate has been revoked".to_owned()));
    b.closed().await;
    soon(to_b.read_u8()).await.expect_err("closed");
    soon(at_b.read_u8()).await.expect_err("closed");
    talk(&mut to_c, &mut at_c).await;
    // Neither comes back.
    a.open(&b).await.map(drop).expect_err("revoked");
    b.open(&a).await.map(drop).expect_err("revoked");
    a.quiet().await;
    let another = a.fabric.set_identity(issued[2].load()).expect_err("another host");
    assert!(matches!(another, FabricError::AnotherHost(host) if host == c.id), "{another}");
}

/// A host on a thread of its own, which goes without a word.
struct Apart {
    runtime: Option<Runtime>,
    node: Option<Node>,
}

impl Apart {
    fn start(at: &str, identity: ClusterIdentity) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let entered = runtime.enter();
        let node = bind(at, identity, options());
        drop(entered);
        Apart { runtime: Some(runtime), node: Some(node) }
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("not gone")
    }
}

impl Drop for Apart {
    /// As by SIGKILL: no connection is closed.
    fn drop(&mut self) {
        let runtime = self.runtime.take();
        thread::spawn(move || drop(runtime)).join().expect("no panic");
        self.node = None;
    }
}

/// Starts a host again where it was.
async fn restarted(at: SocketAddr, identity: &ClusterIdentity) -> Apart {
    // Its socket is gone a moment after its runtime.
    loop {
        if UdpSocket::bind(at).is_ok() {
            return Apart::start(&at.to_string(), identity.clone());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_host_that_has_restarted_resets_its_former_connections() {
    let ca = Ca::new("ca");
    let identity = ca.host("b");
    let mut a = node(ca.host("a"));
    let mut b = Apart::start("127.0.0.1:0", identity.clone());
    let (id, at) = (b.node().id, b.node().at);
    let mut old = a.open(b.node()).await.expect("a stream");
    let (_, _, mut far) = b.node().stream().await;
    talk(&mut old, &mut far).await;
    // All has been acknowledged: by itself, nothing more is sent over that connection.
    sleep(Duration::from_millis(500)).await;
    // Not the stream first, which would say so.
    drop((b, far));
    // It dials: the connection of its former life ends by that, long before it would be idle for too long.
    let mut b = soon(restarted(at, &identity)).await;
    b.node().fabric.send(a.id, a.at, Bytes::from_static(b"back"));
    let back = async {
        while !matches!(a.event().await, Event::Packet(_, _, packet) if &*packet == b"back") {}
    };
    soon(back).await;
    let error = soon(old.read_u8()).await.expect_err("reset").to_string();
    assert_eq!(error, "the connection has ended: the other host has restarted");
    // What is opened is of its present life.
    let mut stream = a.open(b.node()).await.expect("a stream");
    let (_, _, mut far) = b.node().stream().await;
    talk(&mut stream, &mut far).await;

    // It says nothing this time: who hears of it from others asks.
    drop((b, far));
    let _b = soon(restarted(at, &identity)).await;
    a.fabric.probe(id);
    assert_eq!(a.closed().await, (id, "the other host has restarted".to_owned()));
    soon(stream.read_u8()).await.expect_err("reset");
}

#[tokio::test]
async fn hosts_that_dial_each_other_at_once_can_both_speak() {
    let ca = Ca::new("ca");
    for round in 0..10 {
        let mut a = node(ca.host(&format!("a{round}")));
        let mut b = node(ca.host(&format!("b{round}")));
        let (one, other) = tokio::join!(a.open(&b), b.open(&a));
        let (mut one, mut other) = (one.expect("a stream"), other.expect("a stream"));
        talk(&mut one, &mut b.stream().await.2).await;
        talk(&mut other, &mut a.stream().await.2).await;
        // Many at once are one dial.
        let count = a.fabric.peers()[0].connections;
        assert!(matches!(count, 1 | 2), "{count}");
    }
}

#[tokio::test]
async fn those_who_want_the_same_host_share_one_dial() {
    let ca = Ca::new("ca");
    let (a, b) = (node(ca.host("a")), node(ca.host("b")));
    let opened = futures::future::join_all((0..20).map(|_| a.open(&b))).await;
    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    assert_eq!(a.fabric.peers()[0].connections, 1);
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let ca = Ca::new("ca");
    let (identity, a) = (ca.host("b"), node(ca.host("a")));
    let error = Fabric::bind(a.at, identity.clone(), options()).map(drop).expect_err("in use");
    assert!(matches!(error, FabricError::InUse { at } if at == a.at), "{error}");
    // A documentation address is nobody's.
    let elsewhere = "192.0.2.1:0".parse().expect("an address");
    let error = Fabric::bind(elsewhere, identity, options()).map(drop).expect_err("not here");
    assert!(matches!(error, FabricError::Bind { .. }), "{error}");
}

/// How many packets have come to a socket.
fn drain(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
}

#[tokio::test]
async fn a_dead_address_fails_in_time_and_is_let_rest_then() {
    let ca = Ca::new("ca");
    let identity = ca.host("a");
    // It would be dialed again only after this test.
    let rest = [PATIENCE * 4, PATIENCE * 4];
    let dial = Duration::from_millis(300);
    let mut a = bind("127.0.0.1:0", identity, Options { dial, rest, ..options() });
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    silent.set_nonblocking(true).expect("set");
    let (dead, at) = (ca.host("dead").id(), silent.local_addr().expect("bound"));
    // The one who asks gives up first, and the dial goes on for those who come.
    let short = Duration::from_millis(20);
    let early = a.fabric.open(dead, at, Service::Rpc, short).await.map(drop);
    assert_eq!(early, Err(LinkError::Silent { at, limit: short }));
    a.fabric.send(dead, at, Bytes::from_static(b"kept, and dropped with the dial"));
    let late = soon(a.fabric.open(dead, at, Service::Rpc, PATIENCE)).await.map(drop);
    assert_eq!(late, Err(LinkError::Silent { at, limit: dial }));
    assert!(drain(&silent) > 0);

    let dropped = a.fabric.counts().packets_dropped;
    for count in 1..=10 {
        a.fabric.send(dead, at, Bytes::from_static(b"dropped"));
        assert_eq!(a.fabric.counts().packets_dropped, dropped + count);
    }
    let again = a.fabric.open(dead, at, Service::Rpc, PATIENCE).await.map(drop);
    assert_eq!(again, late);
    a.quiet().await;
    assert_eq!(drain(&silent), 0);
    // At another address it is dialed, and is reached.
    let mut b = node(ca.host("b"));
    a.fabric.send(b.id, at, Bytes::from_static(b"dropped"));
    soon(a.fabric.open(b.id, at, Service::Rpc, PATIENCE)).await.expect_err("nobody");
    let mut stream = a.open(&b).await.expect("a stream");
    talk(&mut stream, &mut b.stream().await.2).await;
}

#[tokio::test]
async fn a_host_that_comes_by_itself_is_not_waited_for_any_longer() {
    let ca = Ca::new("ca");
    let (mut a, mut b) = (node(ca.host("a")), node(ca.host("b")));
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let at = silent.local_addr().expect("bound");
    a.fabric.send(b.id, at, Bytes::from_static(b"kept"));
    let (opened, ()) = tokio::join!(a.fabric.open(b.id, at, Service::Rpc, PATIENCE), async {
        soon(b.fabric.meet(a.at)).await.expect("met");
    });
    opened.expect("a stream over its connection");
    assert_eq!(b.packet().await.2, Bytes::from_static(b"kept"));
    assert_eq!(a.connected().await, b.id);
}

#[tokio::test]
async fn a_stream_for_nothing_that_is_known_is_broken_off() {
    let ca = Ca::new("ca");
    let mut a = node(ca.host("a"));
    let host = ca.issue("host", For::Host);
    let (_endpoint, connection) = stranger(a.at, &ca, Some(&host)).await;
    soon(connection.accept_uni()).await.expect("welcome");
    for unknown in [0, 5, 255] {
        let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
        send.write_all(&[unknown, 1]).await.expect("written");
        let ended = soon(receive.read_to_end(10)).await.expect_err("broken off");
        let reset = quinn::ReadToEndError::Read(ReadError::Reset(Code::Unknown.into()));
        assert_eq!(ended, reset);
    }
    a.connected().await;
    // One that says nothing holds up nobody, and no packet that is too long is taken.
    let (_silent, _) = connection.open_bi().await.expect("a stream");
    let long = Bytes::from(vec![0; MAX_PACKET + 1]);
    let fits = connection.max_datagram_size().is_some_and(|most| most >= long.len());
    if fits {
        connection.send_datagram(long).expect("sent");
    }
    let (mut send, _receive) = connection.open_bi().await.expect("a stream");
    send.write_all(&[Service::Ring as u8]).await.expect("written");
    assert_eq!(a.stream().await.1, Service::Ring);
    a.quiet().await;
    assert_eq!(a.fabric.counts().packets_dropped, u64::from(fits));
}

#[tokio::test]
async fn a_connection_is_kept_alive_as_long_as_it_carries_rpc() {
    let ca = Ca::new("ca");
    let idle = Duration::from_secs(2);
    let options = Options { idle, keepalive: Duration::from_millis(200), ..options() };
    let mut a = bind("127.0.0.1:0", ca.host("a"), options);
    let (mut calls, mut gossip) = (node(ca.host("calls")), node(ca.host("gossip")));
    let mut stream = a.open(&calls).await.expect("a stream");
    let (_, _, mut far) = calls.stream().await;
    a.fabric.send(gossip.id, gossip.at, Bytes::from_static(b"once"));
    gossip.packet().await;
    assert_eq!(a.closed().await, (gossip.id, "the other host is silent".to_owned()));
    sleep(idle).await;
    talk(&mut stream, &mut far).await;
    drop((stream, far));
    assert_eq!(a.closed().await.0, calls.id);
}

#[tokio::test]
async fn a_fabric_that_is_shut_down_says_so_and_does_no_more() {
    let ca = Ca::new("ca");
    let (mut a, mut b) = (node(ca.host("a")), node(ca.host("b")));
    let mut stream = a.open(&b).await.expect("a stream");
    let (_, _, mut far) = b.stream().await;
    soon(a.fabric.shut_down()).await;
    let (from, why) = b.closed().await;
    assert_eq!((from, &*why), (a.id, "the other host has closed it: the host has stopped"));
    assert_eq!(a.closed().await.0, b.id);
    soon(stream.read_u8()).await.expect_err("closed");
    soon(far.read_u8()).await.expect_err("closed");
    assert_eq!(a.open(&b).await.map(drop), Err(LinkError::Down));
    assert_eq!(a.fabric.meet(b.at).await, Err(LinkError::Down));
    a.fabric.send(b.id, b.at, Bytes::from_static(b"dropped"));
    assert_eq!(a.fabric.counts().packets_dropped, 1);
}

#[tokio::test]
async fn no_datagram_is_longer_than_it_may_be() {
    let ca = Ca::new("ca");
    for (name, mtu) in [("free", None), ("bound", Some(1200))] {
        let a = bind("127.0.0.1:0", ca.host(name), Options { mtu, ..options() });
        let mut b = node(ca.host(&format!("{name}-b")));
        let mut stream = a.open(&b).await.expect("a stream");
        let (_, _, mut far) = b.stream().await;
        let bulk = vec![0; 4 << 20];
        let mut taken = vec![0; bulk.len()];
        let (sent, _) =
            tokio::join!(soon(stream.write_all(&bulk)), soon(far.read_exact(&mut taken)));
        sent.expect("sent");
        let peers = a.fabric.peers();
        let mean = peers[0].bytes_sent / peers[0].packets_sent;
        assert_eq!(mean > 1200, mtu.is_none(), "{name}: {mean} bytes a datagram");
    }
}
