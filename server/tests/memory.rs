//! What clients who mean harm can make a server allocate: measured at a server in a process of its
//! own.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use killick_server::{Address, Config, Server};
use support::{Peer, raw, run};
use tokio::io::AsyncWriteExt;

/// Tells the process that [`ServerProcess::start`] starts where to listen.
const LISTEN: &str = "KILLICK_TEST_LISTEN";

/// A server in a process of its own.
struct ServerProcess {
    process: Child,
    address: Address,
    _folder: tempfile::TempDir,
}

impl ServerProcess {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let address = Address::Unix(folder.path().join("killick.sock"));
        let mut process = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "serve_until_killed", "--nocapture"])
            .env(LISTEN, address.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        assert!(output.lines().any(|line| line.expect("text").contains("listening")));
        ServerProcess { process, address, _folder: folder }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process of the tests below; an ordinary run of it does nothing.
#[test]
fn serve_until_killed() {
    let Ok(address) = std::env::var(LISTEN) else { return };
    let mut config = Config::for_test([address.parse().expect("an address")]);
    config.write_timeout = Duration::from_secs(1);
    let server = Server::start(config).expect("started");
    println!("listening on {}", server.addresses()[0]);
    std::thread::sleep(4 * support::PATIENCE);
}

async fn resident(peer: &Peer) -> u64 {
    let bytes = peer.info(|info| info.get_resident_bytes()).await;
    assert!(bytes > 0, "this system does not tell");
    bytes
}

#[test]
fn announced_messages_take_little_memory_before_they_come() {
    let server = ServerProcess::start();
    run(async {
        let witness = Peer::connect(&server.address).await;
        let before = resident(&witness).await;
        let mut open = Vec::new();
        for _ in 0..100 {
            let mut stream = raw(&server.address).await;
            // Half a million words: the most that is read at all. 400 MB together.
            stream.write_all(&[0, 0, 0, 0, 0, 0, 8, 0]).await.expect("sent");
            open.push(stream);
        }
        support::eventually("all of them", async || {
            witness.info(|info| info.get_connections()).await == 101
        })
        .await;
        let after = resident(&witness).await;
        assert!(after < before + (32 << 20), "{before} bytes, then {after}");
    });
}

#[test]
fn a_client_that_does_not_read_is_read_no_further_and_then_closed() {
    let server = ServerProcess::start();
    run(async {
        let witness = Peer::connect(&server.address).await;
        let before = resident(&witness).await;
        let mut deaf = raw(&server.address).await;
        // Each is answered with a return of twice its size.
        let calls = support::bootstrap_messages(1_000_000);
        let start = Instant::now();
        let sending = tokio::task::spawn_local(async move { deaf.write_all(&calls).await });
        let mut most = before;
        while !sending.is_finished() {
            most = most.max(resident(&witness).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(sending.await.unwrap().is_err(), "all of it was taken");
        assert!(start.elapsed() < support::PATIENCE);
        assert!(most < before + (32 << 20), "{before} bytes, then {most}");
        witness.tree_is_empty().await;
    });
}
