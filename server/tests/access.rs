//! Who gets in over TLS, what they get, and who does not.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use capnp::ErrorKind;
use killick_client::dial;
use killick_schema::api::anchor_capnp::anchor;
use killick_server::{Address, Authorized, Config, Fingerprint, Tls};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use support::pki::{Ca, EXPIRED, For, Issued, NOT_YET, VALID};
use support::scrape::limit_hits;
use support::{
    Harness, PATIENCE, Peer, Put, bootstrap_messages, cell, eventually, load, lookup, ls, names,
    put, raw, run, walk, walk_error,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::compat::TokioAsyncReadCompatExt;

/// A server on a Unix socket and on TLS, and an authority for it.
struct Secured {
    harness: Harness,
    ca: Ca,
    folder: tempfile::TempDir,
}

const HOST: For<'static> = For::Host("localhost");

impl Secured {
    fn start() -> Self {
        Secured::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let (ca, folder) = (Ca::new(), tempfile::tempdir().expect("a folder"));
        let host = ca.issue(folder.path(), "host", HOST, VALID);
        let harness = Harness::with(|config| {
            config.listen[1] = Address::Tls("localhost:0".into());
            config.tls = Some(Tls::new(&host.identity).expect("usable"));
            change(config);
        });
        Secured { harness, ca, folder }
    }

    /// Where it listens with TLS, by the name in its certificate.
    fn address(&self) -> Address {
        let Address::Tls(at) = &self.harness.server.addresses()[1] else { panic!("TLS") };
        Address::Tls(format!("localhost:{}", at.rsplit_once(':').expect("a port").1))
    }

    fn client(&self, name: &str) -> Issued {
        self.ca.issue(self.folder.path(), name, For::Client, VALID)
    }

    /// Has the server let in these keys and no others.
    fn authorize(&self, lines: &[(Fingerprint, &str)]) {
        self.reload(|config| config.authorized = authorized(lines));
    }

    /// Has the server go by another configuration.
    fn reload(&self, change: impl FnOnce(&mut Config)) {
        let listen = [self.harness.unix().clone(), Address::Tls("localhost:0".into())];
        let mut config = Config::for_test(listen);
        change(&mut config);
        self.harness.server.reload(config);
    }

    /// The lines of the log that say who was closed or not let in: waits until there are as many.
    async fn closed(&self, count: usize) -> Vec<String> {
        let closed = || {
            let mut log = self.harness.log();
            log.retain(|line| line.contains("connection "));
            log
        };
        eventually("log lines", async || closed().len() >= count).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(closed().len(), count, "{:#?}", self.harness.log());
        closed()
    }

    /// Whoever shows `config` at the TLS port gets nothing, with one line that contains `why`.
    async fn refuses(&self, config: rustls::ClientConfig, why: &str) {
        let witness = Peer::connect(self.harness.unix()).await;
        let Address::Tls(at) = self.address() else { panic!("TLS") };
        let stream = TcpStream::connect(at).await.expect("connected");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").expect("a name");
        // The client's side is done before the server has judged it.
        if let Ok(mut stream) = connector.connect(name, stream).await {
            let _ = stream.write_all(&bootstrap_messages(1)).await;
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let _ = tokio::time::timeout(PATIENCE, ended).await.expect("the connection ends");
            assert!(answer.is_empty(), "{answer:?}");
        }
        let log = self.closed(1).await;
        assert!(log[0].contains(why), "{log:?}");
        assert_eq!(witness.nodes().await, 1);
        assert_eq!(witness.info(|info| info.get_connections()).await, 1);
    }
}

fn authorized(lines: &[(Fingerprint, &str)]) -> Authorized {
    let text: String = lines.iter().map(|(key, path)| format!("{key} {path}\n")).collect();
    Authorized::parse(&text, &killick::Limits::default()).expect("an authorized file")
}

/// A client's side of TLS that trusts `issued`'s authority, and shows what `resolver` gives.
fn shows(issued: &Issued, resolver: Option<Arc<dyn ResolvesClientCert>>) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = issued.identity.authorities().clone();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_webpki_verifier(verifier.expect("a verifier"));
    match resolver {
        Some(resolver) => config.with_client_cert_resolver(resolver),
        None => config.with_no_client_auth(),
    }
}

/// Shows a certificate of `issued` and signs with whatever `key` is.
fn signs_with(issued: &Issued, key: &PrivateKeyDer<'static>) -> Arc<dyn ResolvesClientCert> {
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(key.clone_key()).expect("a key");
    let certified = CertifiedKey::new(issued.identity.chain().to_vec(), key);
    Arc::new(SingleCertAndKey::from(certified))
}

fn shows_its_own(issued: &Issued) -> rustls::ClientConfig {
    shows(issued, Some(signs_with(issued, issued.identity.key())))
}

#[test]
fn a_client_over_tls_reaches_the_anchor_of_its_line_and_nothing_outside_of_it() {
    let secured = Secured::start();
    let (alice, bob) = (secured.client("alice"), secured.client("bob"));
    secured.authorize(&[(alice.fingerprint, "/apps/alice"), (bob.fingerprint, "/")]);
    run(async {
        let all = Peer::over_tls(&secured.address(), &bob.identity).await;
        put(&all, "secret", Put::text("not for her")).await;
        put(&all, "apps/other", Put::text("nor this")).await;
        let confined = Peer::over_tls(&secured.address(), &alice.identity).await;
        let root = confined.anchor();

        put(&confined, "mine", Put::text("hers")).await;
        // A leading '/' changes nothing: her root is all there is.
        put(&confined, "/apps/alice/mine", Put::text("deeper")).await;
        assert_eq!(names(&root).await, ["apps", "mine"]);
        let (loader, _) = cell(&walk(&all.anchor(), "apps/alice/mine").await.unwrap()).await;
        assert_eq!(load(&loader).await.unwrap().0.as_deref(), Some("hers"));
        let inner = "apps/alice/apps/alice/mine";
        assert!(lookup(&all.anchor(), inner).await.unwrap().is_some());

        for path in ["..", "/..", "mine/..", "../other", "/../../secret", "./../secret"] {
            assert_eq!(walk_error(&root, path).await.kind, ErrorKind::Failed, "{path}");
            assert!(lookup(&root, path).await.is_err(), "{path}");
        }
        for path in ["secret", "/secret", "other", "apps/other", "self/secret", "/self/secret"] {
            assert!(lookup(&root, path).await.unwrap().is_none(), "{path}");
        }
        let errors = [
            confined.host.root_request().send().promise.await.err(),
            confined.host.info_request().send().promise.await.err(),
            confined.host.clients_request().send().promise.await.err(),
        ];
        for error in errors {
            assert_eq!(error.expect("no such call").kind, ErrorKind::Unimplemented);
        }
        // Nor by way of an answer that is still to come.
        let root: anchor::Client = confined.host.root_request().send().pipeline.get_root();
        assert_eq!(walk_error(&root, "self/secret").await.kind, ErrorKind::Unimplemented);
        assert!(root.ls_request().send().promise.await.is_err());
    });
}

#[test]
fn the_anchor_of_a_line_exists_as_long_as_its_client_is_connected() {
    let secured = Secured::start();
    let alice = secured.client("alice");
    secured.authorize(&[(alice.fingerprint, "/apps/alice")]);
    run(async {
        let witness = Peer::connect(secured.harness.unix()).await;
        assert!(lookup(&witness.anchor(), "apps").await.unwrap().is_none());
        let confined = Peer::over_tls(&secured.address(), &alice.identity).await;
        assert!(ls(&confined.anchor()).await.is_empty());
        assert!(lookup(&witness.anchor(), "apps/alice").await.unwrap().is_some());
        confined.leave().await;
        witness.tree_is_empty().await;
        // One that is cut off without a word of TLS's is at its end as well.
        let mut cut_off = dial(&secured.address(), Some(&alice.identity)).await.expect("connected");
        cut_off.write_all(&bootstrap_messages(1)).await.expect("sent");
        cut_off.read_exact(&mut [0; 8]).await.expect("an answer");
        drop(cut_off);
        witness.tree_is_empty().await;
        // An orderly end is no reason for a line in the log.
        secured.closed(0).await;
    });
}

#[test]
fn the_typed_client_works_below_its_root_and_tells_that_it_is_kept_out() {
    use killick_client::{Client, Error, Options, Retry};

    let secured = Secured::start();
    let (alice, eve) = (secured.client("alice"), secured.client("eve"));
    secured.authorize(&[(alice.fingerprint, "/apps/alice")]);
    let options = |issued: Option<&Issued>| {
        let identity = issued.map(|issued| issued.identity.clone());
        Options { identity, retry: Retry::NONE, ..Options::default() }
    };
    run(async {
        let client = Client::connect(&secured.address(), options(Some(&alice))).await.unwrap();
        client.store_at("mailbox", "hello", false).await.unwrap();
        assert_eq!(client.load_at("mailbox").await.unwrap().text(), Some("hello"));
        let witness = Peer::connect(secured.harness.unix()).await;
        assert!(lookup(&witness.anchor(), "apps/alice/mailbox").await.unwrap().is_some());
        let outside = client.load_at("/self/apps").await;
        assert!(matches!(outside, Err(Error::Unimplemented { .. })), "{outside:?}");

        let refused = Client::connect(&secured.address(), options(Some(&eve))).await;
        let refused = refused.expect_err("kept out");
        assert!(matches!(refused, Error::Connect { .. }) && !refused.is_transient(), "{refused:?}");
        let without = Client::connect(&secured.address(), options(None)).await;
        assert!(matches!(&without, Err(Error::Connect { .. })), "{:?}", without.err());
    });
}

#[test]
fn large_values_come_through_tls_whole_when_they_are_read_late() {
    let secured = Secured::start();
    let alice = secured.client("alice");
    secured.authorize(&[(alice.fingerprint, "/alice")]);
    run(async {
        let peer = Peer::over_tls(&secured.address(), &alice.identity).await;
        let text = "0123456789abcdef".repeat(60_000);
        put(&peer, "large", Put::text(&text)).await;

        // More than the sockets' buffers take, and nothing is read for a while.
        let mut stream = dial(&secured.address(), Some(&alice.identity)).await.expect("connected");
        stream.write_all(&support::load_messages("large", 16)).await.expect("sent");
        stream.flush().await.expect("sent");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (mut all, mut part) = (0, vec![0; 1 << 20]);
        while all < 16 * text.len() {
            let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut part));
            all += read.await.unwrap_or_else(|_| panic!("stuck after {all}")).expect("read");
        }
        // The last answer is whole as well.
        let answered = async {
            let (loader, _) = cell(&walk(&peer.anchor(), "large").await.unwrap()).await;
            assert_eq!(load(&loader).await.unwrap().0.map(|text| text.len()), Some(text.len()));
        };
        answered.await;
    });
}

#[test]
fn a_client_without_a_certificate_gets_nothing() {
    let secured = Secured::start();
    let alice = secured.client("alice");
    secured.authorize(&[(alice.fingerprint, "/")]);
    run(secured.refuses(shows(&alice, None), "TLS handshake: peer sent no certificates"));
}

#[test]
fn a_client_with_a_certificate_of_another_authority_gets_nothing() {
    let secured = Secured::start();
    let alice = secured.client("alice");
    let stranger = Ca::new().issue(secured.folder.path(), "stranger", For::Client, VALID);
    secured.authorize(&[(alice.fingerprint, "/"), (stranger.fingerprint, "/")]);
    let resolver = signs_with(&stranger, stranger.identity.key());
    run(secured.refuses(shows(&alice, Some(resolver)), "TLS handshake: invalid peer certificate"));
}

#[test]
fn a_client_without_the_key_of_its_certificate_gets_nothing() {
    let secured = Secured::start();
    let (alice, thief) = (secured.client("alice"), secured.client("thief"));
    secured.authorize(&[(alice.fingerprint, "/"), (thief.fingerprint, "/")]);
    let resolver = signs_with(&alice, thief.identity.key());
    run(secured.refuses(shows(&alice, Some(resolver)), "BadSignature"));
}

#[test]
fn a_client_whose_certificate_is_not_valid_now_gets_nothing() {
    for (days, why) in [(EXPIRED, "certificate expired"), (NOT_YET, "not valid yet")] {
        let secured = Secured::start();
        let alice = secured.ca.issue(secured.folder.path(), "alice", For::Client, days);
        secured.authorize(&[(alice.fingerprint, "/")]);
        run(secured.refuses(shows_its_own(&alice), why));
    }
}

#[test]
fn a_client_without_a_line_gets_nothing_and_the_log_tells_its_key() {
    let secured = Secured::start();
    let (alice, eve) = (secured.client("alice"), secured.client("eve"));
    secured.authorize(&[(alice.fingerprint, "/")]);
    let why = format!("no line for {} in the authorized file", eve.fingerprint);
    run(secured.refuses(shows_its_own(&eve), &why));
}

#[test]
fn a_hosts_certificate_lets_nobody_in_by_itself() {
    let secured = Secured::start();
    let host = secured.ca.issue(secured.folder.path(), "other", HOST, VALID);
    run(secured.refuses(shows_its_own(&host), "no line for"));
}

#[test]
fn a_client_that_speaks_no_tls_1_3_gets_an_alert_and_no_connection() {
    let secured = Secured::start();
    // A greeting of TLS 1.2, with all that it takes there: a random number, ECDHE-ECDSA-AES128-GCM-SHA256,
    // signatures of ed25519 and P-256, the group x25519. That there is no more is what says the version.
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let extensions = [0, 13, 0, 6, 0, 4, 8, 7, 4, 3, 0, 10, 0, 4, 0, 2, 0, 29];
    hello.extend([0, extensions.len() as u8]);
    hello.extend(extensions);
    let mut message = vec![1, 0, 0, hello.len() as u8];
    message.extend(hello);
    let mut record = vec![22, 3, 1, 0, message.len() as u8];
    record.extend(message);
    run(async {
        let mut stream = raw(&secured.address()).await;
        stream.write_all(&record).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the end");
        // An alert, fatal: protocol_version.
        assert_eq!((answer.first(), &answer[5..]), (Some(&21), &[2, 70][..]));
        let log = secured.closed(1).await;
        assert!(log[0].contains("TLS handshake: peer is incompatible"), "{log:?}");
    });
}

#[test]
fn what_is_not_tls_is_closed_at_the_tls_port_with_one_line() {
    for bytes in [&bootstrap_messages(1)[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let secured = Secured::start();
        run(async {
            let mut stream = raw(&secured.address()).await;
            stream.write_all(bytes).await.expect("sent");
            let mut answer = Vec::new();
            // Reset is an end as well.
            let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
            let log = secured.closed(1).await;
            assert!(log[0].ends_with("reason=what came is not TLS"), "{log:?}");
        });
    }
}

#[test]
fn handshakes_that_never_end_take_half_of_the_places_and_give_them_back() {
    let limit = Duration::from_millis(500);
    let secured = Secured::with(|config| {
        config.max_connections = 4;
        config.handshake_timeout = limit;
    });
    let alice = secured.client("alice");
    secured.reload(|config| {
        config.max_connections = 4;
        config.handshake_timeout = limit;
        config.authorized = authorized(&[(alice.fingerprint, "/")]);
    });
    run(async {
        let start = Instant::now();
        let mut silent = raw(&secured.address()).await;
        let mut slow = raw(&secured.address()).await;
        // The beginning of a record, and a byte of it now and then.
        slow.write_all(&[22, 3, 1, 1, 0]).await.expect("sent");
        let drips = tokio::task::spawn_local(async move {
            while slow.write_all(&[1]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        // A third one gets the place of the first. Others than strangers have theirs.
        let mut third = raw(&secured.address()).await;
        assert_eq!(silent.read(&mut [0]).await.expect("the end"), 0);
        let log = secured.closed(1).await;
        let why = "other TLS handshakes have begun since (max-handshakes)";
        assert!(log[0].ends_with(why), "{log:?}");
        let local = Peer::connect(secured.harness.unix()).await;
        assert_eq!(local.nodes().await, 1);
        assert!(start.elapsed() < limit, "{:?}: too slow to tell", start.elapsed());

        assert_eq!(third.read(&mut [0]).await.expect("the end"), 0);
        drips.await.expect("ended");
        assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
        let log = secured.closed(3).await;
        let ends =
            |line: &&String| line.ends_with("no TLS handshake within 500ms (handshake-timeout)");
        assert_eq!(log.iter().filter(ends).count(), 2, "{log:?}");
        let mut peers = Vec::new();
        for _ in 0..3 {
            let peer = Peer::over_tls(&secured.address(), &alice.identity).await;
            assert_eq!(peer.nodes().await, 1);
            peers.push(peer);
        }
    });
}

/// A connection without any TLS from an address of this machine's.
async fn raw_from(from: [u8; 4], to: &Address) -> TcpStream {
    let Address::Tls(at) = to else { panic!("TLS") };
    let at = at.replace("localhost", "127.0.0.1").parse().expect("an address");
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("an address of this machine's");
    socket.connect(at).await.expect("connected")
}

#[test]
fn a_full_server_is_told_over_tls_to_who_may_be_here_and_to_nobody_else() {
    use killick_client::{Client, Error, Limit, Options, Retry};

    let secured = Secured::start();
    let (alice, eve) = (secured.client("alice"), secured.client("eve"));
    secured.reload(|config| {
        config.max_connections = 1;
        config.authorized = authorized(&[(alice.fingerprint, "/")]);
    });
    run(async {
        let connect = async |issued: &Issued| {
            let identity = Some(issued.identity.clone());
            let options = Options { identity, retry: Retry::NONE, ..Options::default() };
            Client::connect(&secured.address(), options).await
        };
        let first = Peer::connect(secured.harness.unix()).await;
        assert_eq!(first.nodes().await, 1);
        let error = connect(&alice).await.expect_err("full");
        let Error::Limit { limit: Limit::Connections, message } = &error else {
            panic!("{error:?}")
        };
        let expected = "the server already has its limit of 1 connection (max-connections)";
        assert_eq!(message, expected);
        assert!(error.is_transient());
        let error = connect(&eve).await.expect_err("kept out");
        assert!(matches!(error, Error::Connect { .. }) && !error.is_transient(), "{error:?}");
        // What never begins its handshake has no place of others.
        let mut silent = raw(&secured.address()).await;
        connect(&alice).await.expect_err("full");
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
        let log = secured.closed(4).await;
        assert!(log.iter().all(|line| line.ends_with(expected)), "{log:?}");
        first.leave().await;
        eventually("a place", async || connect(&alice).await.is_ok()).await;
    });
}

#[test]
fn who_opens_many_handshakes_keeps_out_nobody_from_elsewhere() {
    let secured = Secured::with(|config| {
        config.listen[1] = Address::Tls("127.0.0.1:0".into());
        config.metrics = Some(([127, 0, 0, 1], 0).into());
        config.max_handshakes = Some(4);
        // Longer than the test may take.
        config.handshake_timeout = 4 * PATIENCE;
    });
    let alice = secured.client("alice");
    secured.reload(|config| {
        config.max_handshakes = Some(4);
        config.handshake_timeout = 4 * PATIENCE;
        config.authorized = authorized(&[(alice.fingerprint, "/")]);
    });
    run(async {
        // One that is slow, and older than all the others.
        let slow = raw_from([127, 0, 0, 1], &secured.address()).await;
        let mut many = Vec::new();
        for number in 0_usize..20 {
            many.push(raw_from([127, 0, 0, 2], &secured.address()).await);
            if let Some(oldest) = number.checked_sub(3) {
                let mut byte = [0];
                let ended = tokio::time::timeout(PATIENCE, many[oldest].read(&mut byte));
                let ended = ended.await.expect("it loses its place");
                assert_eq!(ended.unwrap_or(0), 0);
            }
        }
        assert_eq!(limit_hits(&secured.harness, "max-handshakes"), 17.0);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(shows_its_own(&alice)));
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = connector.connect(name, slow).await.expect("not cut off");
        assert_eq!(Peer::over(stream.compat()).nodes().await, 1);
        // The next one comes in as well, at the expense of one of these.
        let other = raw_from([127, 0, 0, 3], &secured.address()).await;
        let peer = Peer::over_tls(&secured.address(), &alice.identity).await;
        assert_eq!(peer.nodes().await, 1);
        drop(other);
    });
}

#[test]
fn stopping_does_not_wait_for_a_handshake() {
    let secured = Secured::start();
    run(async {
        let mut silent = raw(&secured.address()).await;
        let _local = Peer::connect(secured.harness.unix()).await.nodes().await;
        let start = Instant::now();
        let Harness { server, .. } = secured.harness;
        tokio::task::spawn_blocking(move || server.stop()).await.expect("stopped");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    });
}

#[test]
fn a_connection_whose_line_is_gone_or_another_is_closed_and_others_are_not() {
    let secured = Secured::start();
    let clients = ["alice", "bob", "carol"].map(|name| secured.client(name));
    let [alice, bob, carol] = [0, 1, 2].map(|number| clients[number].fingerprint);
    secured.authorize(&[(alice, "/a"), (bob, "/b"), (carol, "/c")]);
    run(async {
        let mut peers = Vec::new();
        for client in &clients {
            let peer = Peer::over_tls(&secured.address(), &client.identity).await;
            put(&peer, "x", Put::text("kept")).await;
            let held = walk(&peer.anchor(), "held").await.unwrap();
            peers.push((peer, held));
        }
        let [(alice_peer, _a), (bob_peer, _b), (carol_peer, held)] =
            peers.try_into().unwrap_or_else(|_| panic!("three"));
        // The same in other words is the same.
        secured.authorize(&[(bob, "/elsewhere"), (carol, "//c/.")]);
        alice_peer.ended().await;
        bob_peer.ended().await;
        let log = secured.closed(2).await;
        assert!(log.iter().all(|line| line.ends_with("its access was revoked")), "{log:?}");
        assert_eq!(names(&carol_peer.anchor()).await, ["held", "x"]);
        drop(held);
        let witness = Peer::connect(secured.harness.unix()).await;
        for path in ["a/held", "b/held"] {
            assert!(lookup(&witness.anchor(), path).await.unwrap().is_none(), "{path}");
        }
        let bob = Peer::over_tls(&secured.address(), &clients[1].identity).await;
        assert!(ls(&bob.anchor()).await.is_empty());
        let alice = Peer::over_tls(&secured.address(), &clients[0].identity).await;
        alice.ended().await;
    });
}

#[test]
fn a_key_may_do_what_its_line_says_by_all_of_its_connections_together() {
    let secured = Secured::start();
    let (alice, bob) = (secured.client("alice"), secured.client("bob"));
    let (key, other) = (alice.fingerprint, bob.fingerprint);
    secured.authorize(&[(key, "/ rights=walk,ls,load,store nodes=2"), (other, "/a rights=read")]);
    run(async {
        let address = secured.address();
        let one = Peer::over_tls(&address, &alice.identity).await;
        let two = Peer::over_tls(&address, &alice.identity).await;
        let error = one.host.info_request().send().promise.await.err().expect("no host");
        assert_eq!(
            error.kind,
            capnp::ErrorKind::Unimplemented,
            "a part of the host is not the host"
        );
        let error = lookup(&one.anchor(), "x").await.err().expect("refused");
        assert!(error.to_string().ends_with("the right 'lookup' is not granted"), "{error}");
        let x = walk(&one.anchor(), "x").await.unwrap();
        let y = walk(&two.anchor(), "y").await.unwrap();
        let error = support::walk_error(&two.anchor(), "z").await;
        assert!(error.to_string().ends_with("limit of 2 nodes would be exceeded"), "{error}");
        // What one gave to others is dead when its line is another.
        let witness = Peer::connect(secured.harness.unix()).await;
        let (_, storer) = support::cell(&x).await;
        let gift = walk(&one.anchor(), "y").await.unwrap();
        support::store(&storer, Put::cap(gift), true).await.unwrap();
        let (loader, _) = support::cell(&walk(&witness.anchor(), "x").await.unwrap()).await;
        let from_alice: killick_schema::api::anchor_capnp::anchor::Client =
            support::load_cap(&loader).await.unwrap().expect("there");
        assert!(support::ls(&from_alice).await.is_empty());

        let reader = Peer::over_tls(&address, &bob.identity).await;
        let error = support::walk_error(&reader.anchor(), "new").await;
        assert!(error.to_string().ends_with("the right 'walk' is not granted"), "{error}");
        secured.authorize(&[(key, "/ rights=walk nodes=2"), (other, "/a rights=read")]);
        one.ended().await;
        two.ended().await;
        drop(y);
        let error = from_alice.ls_request().send().promise.await.err().expect("dead");
        assert!(error.to_string().ends_with("revoked"), "{error}");
        assert!(names(&reader.anchor()).await.is_empty(), "others go on");
        let three = Peer::over_tls(&address, &alice.identity).await;
        let error = three.anchor().ls_request().send().promise.await.err().expect("refused");
        assert!(error.to_string().ends_with("the right 'ls' is not granted"), "{error}");
    });
}

#[test]
fn the_limits_of_a_key_hold_over_its_connections_and_its_line_ends_what_it_gave() {
    let secured = Secured::start();
    let alice = secured.client("alice");
    let line = "/apps rights=all nodes=2";
    secured.authorize(&[(alice.fingerprint, line)]);
    run(async {
        let witness = Peer::connect(secured.harness.unix()).await;
        let connect = async || Peer::over_tls(&secured.address(), &alice.identity).await;
        for name in ["a", "b"] {
            let peer = connect().await;
            put(&peer, name, Put::text("kept")).await;
            peer.leave().await;
        }
        let peer = connect().await;
        let error = support::walk_error(&peer.anchor(), "c").await;
        assert!(error.to_string().ends_with("limit of 2 nodes would be exceeded"), "{error}");
        // What she gives away outlives her connection, and not her line.
        let (_, storer) = support::cell(&peer.anchor()).await;
        let gift = walk(&peer.anchor(), "a").await.unwrap();
        support::store(&storer, Put::cap(gift), true).await.unwrap();
        peer.leave().await;
        let (loader, _) = support::cell(&walk(&witness.anchor(), "apps").await.unwrap()).await;
        let gift: killick_schema::api::anchor_capnp::anchor::Client =
            support::load_cap(&loader).await.unwrap().expect("there");
        assert!(ls(&gift).await.is_empty());
        secured.authorize(&[]);
        let error = gift.ls_request().send().promise.await.err().expect("dead");
        assert!(error.to_string().ends_with("revoked"), "{error}");
        // A line that comes back is another grant.
        secured.authorize(&[(alice.fingerprint, line)]);
        assert_eq!(names(&connect().await.anchor()).await, ["a", "b"]);
    });
}

#[test]
fn a_certificate_that_was_renewed_is_shown_after_a_reload() {
    let secured = Secured::with(|config| {
        let ca = Ca::new();
        let folder = tempfile::tempdir().expect("a folder");
        let other = ca.issue(folder.path(), "host", HOST, VALID);
        config.tls = Some(Tls::new(&other.identity).expect("usable"));
    });
    let alice = secured.client("alice");
    run(async {
        let dialed = dial(&secured.address(), Some(&alice.identity)).await;
        assert!(dialed.is_err(), "the other authority's");
        let host = secured.ca.issue(secured.folder.path(), "host", HOST, VALID);
        secured.reload(|config| {
            config.tls = Some(Tls::new(&host.identity).expect("usable"));
            config.authorized = authorized(&[(alice.fingerprint, "/")]);
        });
        assert_eq!(Peer::over_tls(&secured.address(), &alice.identity).await.nodes().await, 1);
    });
}

#[test]
fn a_client_takes_no_server_but_the_one_that_it_has_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Ca::new();
    let alice = ca.issue(folder.path(), "alice", For::Client, VALID);
    let servers = [
        (ca.issue(folder.path(), "expired", HOST, EXPIRED), "certificate expired"),
        (ca.issue(folder.path(), "other", For::Host("other.example"), VALID), "not valid for name"),
        (Ca::new().issue(folder.path(), "stranger", HOST, VALID), "invalid peer certificate"),
    ];
    // No server is made of a client.
    let error = Tls::new(&alice.identity).expect_err("a client's").to_string();
    assert!(error.contains("one of a client"), "{error}");
    for (server, why) in servers {
        let secured = Secured::with(|config| {
            config.tls = Some(Tls::new(&server.identity).expect("usable"));
        });
        run(async {
            let dialed = dial(&secured.address(), Some(&alice.identity)).await;
            let error = dialed.expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
            let log = secured.closed(1).await;
            assert!(log[0].contains("TLS handshake: received fatal alert"), "{log:?}");
        });
    }
}
