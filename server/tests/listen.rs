//! Addresses, socket files, starting and stopping.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use killick_server::{Address, Config, ListenError, Server, StartError, Tls};
use support::pki::{Ca, EXPIRED, For, NOT_YET, VALID};
use support::{Harness, Peer, Put, cell, load_cap, log_to, raw, run, store, walk, walk_error};
use tracing::Level;
use tracing::subscriber::with_default;

fn start(path: &Path) -> Result<Server, StartError> {
    Server::start(Config::for_test([Address::Unix(path.to_owned())]))
}

#[test]
fn the_socket_file_is_for_its_user_alone_and_goes_with_the_server() {
    let harness = Harness::start();
    let Address::Unix(path) = harness.unix().clone() else { panic!("not a path") };
    let found = std::fs::metadata(&path).expect("there");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    harness.server.stop();
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_file_is_replaced_and_a_live_one_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("killick.sock");
    drop(UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "nobody answers, but the file is there");
    let server = start(&path).expect("replaced");
    run(async {
        assert_eq!(Peer::connect(&server.addresses()[0]).await.nodes().await, 1);
    });

    let error = start(&path).expect_err("in use");
    assert!(matches!(error, StartError::Listen(ListenError::InUse { .. })), "{error:?}");
    assert!(error.to_string().ends_with("a server already answers there"), "{error}");
    run(async {
        let peer = Peer::connect(&server.addresses()[0]).await;
        assert_eq!(peer.nodes().await, 1, "the first one still serves");
    });
}

#[test]
fn a_socket_of_somebody_who_accepts_nothing_is_in_use() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("killick.sock");
    let _deaf = UnixListener::bind(&path).expect("bound");
    let address = SocketAddrUnix::new(&path).expect("an address");
    let mut waiting = Vec::new();
    // Until no more may wait.
    loop {
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::NONBLOCK);
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None);
        let socket = socket.expect("a socket");
        if rustix::net::connect(&socket, &address).is_err() {
            break;
        }
        waiting.push(socket);
    }
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(start(&path).map(drop)));
    let error = ended.recv_timeout(Duration::from_secs(5)).expect("in time").expect_err("in use");
    assert!(matches!(error, StartError::Listen(ListenError::InUse { .. })), "{error:?}");
}

#[test]
fn a_folder_that_somebody_keeps_locked_is_an_error_that_says_which() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("killick.sock");
    let held = File::open(folder.path()).expect("opened");
    held.lock().expect("locked");
    let (done, waiting) = std::sync::mpsc::channel();
    let starting = std::thread::spawn({
        let path = path.clone();
        move || done.send(start(&path).map(drop)).expect("waited for")
    });
    let outcome = waiting.recv_timeout(Duration::from_secs(5));
    drop(held);
    starting.join().expect("ended");
    let error = outcome.expect("an answer in time").expect_err("locked");
    assert!(matches!(error, StartError::Listen(ListenError::FolderLocked { .. })), "{error:?}");
    let expected = format!("another process keeps the folder {} locked", folder.path().display());
    assert!(error.to_string().contains(&expected), "{error}");
    start(&path).expect("free again");
}

#[test]
fn a_folder_that_is_locked_for_a_moment_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = File::open(folder.path()).expect("opened");
    held.lock().expect("locked");
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(held);
    });
    start(&folder.path().join("killick.sock")).expect("started");
    release.join().expect("ended");
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("killick.sock");
    std::fs::write(&path, "precious").expect("written");
    let error = start(&path).expect_err("not a socket");
    assert!(matches!(error, StartError::Listen(ListenError::NotASocket { .. })), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "precious");
}

#[test]
fn a_socket_file_that_another_server_has_put_there_is_left_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("killick.sock");
    let server = start(&path).expect("started");
    std::fs::remove_file(&path).expect("removed");
    let other = start(&path).expect("started");
    server.stop();
    run(async {
        assert_eq!(Peer::connect(&other.addresses()[0]).await.nodes().await, 1);
    });
}

#[test]
fn a_tcp_address_that_others_reach_is_refused_and_says_why() {
    for address in ["tcp:0.0.0.0:0", "tcp:[::]:0", "tcp:192.0.2.1:2016"] {
        let config = Config::for_test([address.parse().expect("an address")]);
        let error = Server::start(config).expect_err(address);
        assert!(matches!(error, StartError::Listen(ListenError::NotLoopback { .. })), "{error:?}");
        assert!(error.to_string().contains("not a loopback address, and without"), "{error}");
    }
    let harness = Harness::start();
    let taken = Config::for_test([harness.tcp().clone()]);
    let error = Server::start(taken).expect_err("in use");
    assert!(matches!(error, StartError::Listen(ListenError::InUse { .. })), "{error:?}");
}

#[test]
fn a_server_with_nothing_to_show_does_not_listen_with_tls() {
    let config = Config::for_test(["tls:127.0.0.1:0".parse().expect("an address")]);
    let error = Server::start(config).expect_err("no certificate");
    assert!(error.to_string().contains("--tls-identity"), "{error}");
    assert!(matches!(error, StartError::Listen(ListenError::NoIdentity { .. })), "{error:?}");
}

#[test]
fn a_server_says_at_the_start_what_is_wrong_with_its_certificate_or_its_list() {
    for (days, expected) in [
        (VALID, None),
        ((-1, 12), Some("the server's certificate ends in 11 days")),
        (EXPIRED, Some("host/cert.pem: the server's certificate has ended 1 days ago, at ")),
        (NOT_YET, Some("host/cert.pem: the server's certificate is not valid before ")),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Ca::new().issue(folder.path(), "host", For::Host("localhost"), days);
        let harness = Harness::with(|config| {
            config.listen = vec![Address::Tls("localhost:0".into())];
            config.tls = Some(Tls::new(&host.identity).expect("usable"));
        });
        let mut log = harness.log();
        let nobody = log.pop().expect("a line");
        assert!(nobody.contains("no key is authorized"), "{nobody}");
        match expected {
            None => assert!(log.is_empty(), "{log:?}"),
            Some(expected) => assert!(log[0].contains(expected), "{log:?}"),
        }
    }
}

#[test]
fn a_server_that_cannot_have_all_its_addresses_has_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("killick.sock");
    let addresses = [Address::Unix(path.clone()), "tcp:0.0.0.0:0".parse().expect("parses")];
    Server::start(Config::for_test(addresses)).expect_err("the second");
    assert!(!path.exists());
    let error = Server::start(Config::for_test([])).expect_err("none at all");
    assert!(matches!(error, StartError::NoAddress), "{error:?}");
}

#[test]
fn stopping_says_good_bye_to_every_client_at_once() {
    let harness = Harness::start();
    run(async {
        let mut peers = Vec::new();
        for number in 0..20 {
            let peer = Peer::connect(&harness.server.addresses()[number % 2]).await;
            let held = walk(&peer.anchor(), &number.to_string()).await.unwrap();
            peers.push((peer, held));
        }
        let start = Instant::now();
        harness.server.stop();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        for (peer, held) in peers {
            walk_error(&held, "x").await;
            peer.ended().await;
        }
    });
}

#[test]
fn stopping_does_not_wait_for_a_client_that_keeps_a_call_waiting() {
    use killick_schema::api::anchor_capnp::anchor::loader;

    struct Never;
    impl loader::Server for Never {
        async fn load(
            self: std::rc::Rc<Self>,
            _: loader::LoadParams,
            _: loader::LoadResults,
        ) -> capnp::Result<()> {
            futures::future::pending().await
        }
    }

    let harness = Harness::start();
    run(async {
        // One client that calls itself, so that nobody's leaving ends the call.
        let peer = Peer::connect(harness.unix()).await;
        let (loader, storer) = cell(&walk(&peer.anchor(), "never").await.unwrap()).await;
        let never: loader::Client = capnp_rpc::new_client(Never);
        store(&storer, Put::cap(never), true).await.unwrap();
        let found: loader::Client = load_cap(&loader).await.unwrap().expect("there");
        let call = tokio::task::spawn_local(async move { support::load(&found).await });
        peer.nodes().await;
        let start = Instant::now();
        let server = harness.server;
        tokio::task::spawn_blocking(move || server.stop()).await.expect("stopped");
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(500), "{took:?}: the call had no time to finish");
        assert!(took < Duration::from_secs(4), "{took:?}");
        assert!(call.await.unwrap().is_err());
    });
}

#[test]
fn stopping_does_not_wait_for_a_client_that_does_not_read() {
    use tokio::io::AsyncWriteExt;

    let harness = Harness::with(|config| config.write_timeout = 4 * support::PATIENCE);
    run(async {
        let mut deaf = raw(harness.unix()).await;
        let calls = support::bootstrap_messages(100_000);
        let writing = tokio::time::timeout(Duration::from_secs(1), deaf.write_all(&calls)).await;
        assert!(writing.is_err(), "all of it was taken");
        let start = Instant::now();
        let Harness { server, .. } = harness;
        tokio::task::spawn_blocking(move || server.stop()).await.expect("stopped");
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(500), "{took:?}: it had no time to read");
        assert!(took < Duration::from_secs(4), "{took:?}");
    });
}

#[test]
fn a_server_that_cannot_listen_says_so_within_a_runtime_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = Address::Tcp(taken.local_addr().expect("an address").to_string());
    let started = run(async { Server::start(Config::for_test([address])) });
    assert!(matches!(started, Err(StartError::Listen(ListenError::InUse { .. }))), "{started:?}");
}

#[test]
fn serve_runs_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("killick.sock");
    let config = Config::for_test([Address::Unix(path.clone())]);
    let mut seen = Vec::new();
    let ready = |server: &Server| {
        assert!(path.exists());
        seen = server.addresses().to_vec();
    };
    let shutdown = async { tokio::time::sleep(Duration::from_millis(20)).await };
    killick_server::serve(config, ready, shutdown).expect("served");
    assert_eq!(seen, [Address::Unix(path.clone())]);
    assert!(!path.exists());
}

#[test]
fn serve_ends_with_an_error_when_a_thread_of_the_server_panics() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("killick.sock");
    let config = Config { max_connections: 1, ..Config::for_test([Address::Unix(path.clone())]) };
    let mut streams = Vec::new();
    // The acceptor refuses the second, and logs that.
    let ready = |_: &Server| {
        streams
            .extend((0..2).map(|_| std::os::unix::net::UnixStream::connect(&path).expect("there")));
    };
    let shutdown = async { tokio::time::sleep(Duration::from_secs(3)).await };
    let log = log_to(Level::WARN, || -> Vec<u8> { panic!("this log panics") });
    let served = with_default(log, || killick_server::serve(config, ready, shutdown));
    let error = served.expect_err("nobody accepts");
    assert_eq!(error.to_string(), "the thread killick-accept of the server panicked");
    assert!(!path.exists());
}

#[test]
fn a_server_whose_standard_error_is_closed_goes_on_serving() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_killick"))
        .args(["serve", "--listen", "tcp:127.0.0.1:0", "--max-connections", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    drop(child.stderr.take());
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("listening on tcp:").expect("an address").to_owned();
    let _only = TcpStream::connect(&address).expect("connected");
    let answers: Vec<_> = (0..3)
        .map(|_| {
            let mut answer = Vec::new();
            let ended = TcpStream::connect(&address).and_then(|mut s| s.read_to_end(&mut answer));
            ended.map(|_| answer.is_empty())
        })
        .collect();
    child.kill().expect("killed");
    child.wait().expect("ended");
    // Each one is refused with a line that nobody reads.
    assert!(answers.iter().all(|answer| matches!(answer, Ok(false))), "{answers:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn who_says_nothing_over_tcp_is_asked_whether_it_is_there() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.tcp()).await;
        assert_eq!(peer.info(|info| info.get_connections()).await, 1);
        let Address::Tcp(at) = harness.tcp() else { panic!("an address of TCP") };
        let port: u16 = at.rsplit(':').next().expect("a port").parse().expect("a number");
        let here = format!(":{port:04X}");
        // Where a connection is, and where to, its state, its queues, its timer: the second is that which asks.
        let table = std::fs::read_to_string("/proc/self/net/tcp").expect("the table");
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let established = rows.filter(|row| row[1].ends_with(&here) && row[3] == "01");
        let timers: Vec<_> = established.map(|row| row[5][..2].to_owned()).collect();
        assert_eq!(timers, ["02"]);
        peer.leave().await;
    });
}
