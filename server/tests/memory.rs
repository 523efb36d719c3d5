//! What clients who mean harm can make a server allocate: measured at a server in a process of its
//! own.

mod support;

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use capnp::traits::{HasTypeId, ImbueMut};
use killick_schema::api::anchor_capnp::anchor::{self, loader, storer};
use killick_server::Address;
use support::{Peer, Put, cell, load_cap, put, raw, run, walk};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

/// A server in a process of its own.
struct ServerProcess {
    process: Child,
    address: Address,
    _folder: tempfile::TempDir,
}

impl ServerProcess {
    fn start() -> Self {
        ServerProcess::start_with(&[])
    }

    fn start_with(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let address = Address::Unix(folder.path().join("killick.sock"));
        let mut process = Command::new(env!("CARGO_BIN_EXE_killick"))
            .args(["serve", "--threads", "2", "--write-timeout", "1s", "--log", "warn"])
            .args(["--listen", &address.to_string()])
            .envs(environment.iter().copied())
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

/// The bytes of a store of a promise, in a message with `count` capabilities of its sender's.
fn hosting_store(question: u32, count: u32) -> Vec<u8> {
    let method = (<storer::Client as HasTypeId>::TYPE_ID, 0);
    support::pipelined_call(question, (2, Some(1)), method, |mut payload| {
        let mut table = payload.reborrow().init_cap_table(count);
        table.reborrow().get(0).set_sender_promise(question * count);
        for number in 1..count {
            table.reborrow().get(number).set_sender_hosted(question * count + number);
        }
        let mut caps = Vec::new();
        let mut content = payload.init_content();
        let mut content = content.reborrow();
        content.imbue_mut(&mut caps);
        let error = capnp::Error::failed("no matter what".into());
        let store = content.init_as::<storer::store_params::Builder<'_>>();
        store.init_value().set_as_capability(capnp_rpc::new_broken_cap(error).hook);
    })
}

#[test]
fn capabilities_in_calls_that_wait_count_as_bytes_of_them() {
    let server = ServerProcess::start();
    run(async {
        let witness = Peer::connect(&server.address).await;
        let before = resident(&witness).await;
        let mut hostile = raw(&server.address).await;
        let mut calls = support::load_messages("a", 0);
        // 300 kB each.
        (3..53).for_each(|question| calls.extend(hosting_store(question, 20_000)));
        let sending = tokio::task::spawn_local(async move {
            let _ = hostile.write_all(&calls).await;
            hostile
        });
        let (mut most, start) = (before, Instant::now());
        while start.elapsed() < Duration::from_secs(2) {
            most = most.max(resident(&witness).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(most < before + (160 << 20), "{before} bytes, then {most}");
        sending.abort();
        witness.tree_is_empty().await;
    });
}

#[test]
fn memory_of_connections_that_have_ended_is_given_back() {
    let server = ServerProcess::start();
    run(async {
        let witness = Peer::connect(&server.address).await;
        let before = resident(&witness).await;
        let mut open = Vec::new();
        for _ in 0..50 {
            let mut stream = raw(&server.address).await;
            stream.write_all(&[0, 0, 0, 0, 255, 255, 7, 0]).await.expect("sent");
            stream.write_all(&vec![0; 3 << 20]).await.expect("sent");
            open.push(stream);
        }
        let most = resident(&witness).await;
        assert!(most > before + (100 << 20), "{before} bytes, then {most}");
        drop(open);
        // Looked at from outside: whoever asked the server would have it allocate, and give back by that.
        let statm = format!("/proc/{}/statm", server.process.id());
        let now = || {
            let pages = std::fs::read_to_string(&statm).expect("this system does not tell");
            let pages = pages.split(' ').nth(1).expect("a number").parse::<u64>();
            pages.expect("a number") * rustix::param::page_size() as u64
        };
        support::eventually("less", async || now() < before + (64 << 20)).await;
    });
}

/// An anchor whose cell is there when it is told to be.
struct Slow {
    loader: loader::Client,
    go: RefCell<Option<oneshot::Receiver<()>>>,
}

impl anchor::Server for Slow {
    async fn cell(
        self: Rc<Self>,
        _: anchor::CellParams,
        mut results: anchor::CellResults,
    ) -> Result<(), capnp::Error> {
        let go = self.go.take().expect("called once");
        let _ = go.await;
        results.get().set_loader(self.loader.clone());
        Ok(())
    }
}

#[test]
fn calls_that_begin_at_once_are_answered_one_after_the_other() {
    // What is freed goes back at once: it is what is held that counts.
    let server = ServerProcess::start_with(&[("MIMALLOC_PURGE_DELAY", "0")]);
    run(async {
        let peer = Peer::connect(&server.address).await;
        let witness = Peer::connect(&server.address).await;
        put(&peer, "large", Put::text(&"x".repeat(200_000))).await;
        let (loader, _) = cell(&walk(&peer.anchor(), "large").await.unwrap()).await;
        let (told, go) = oneshot::channel();
        let slow = Slow { loader, go: RefCell::new(Some(go)) };
        put(&peer, "slow", Put::cap(capnp_rpc::new_client::<anchor::Client, _>(slow))).await;
        let (loader, _) = cell(&walk(&peer.anchor(), "slow").await.unwrap()).await;
        let slow: anchor::Client = load_cap(&loader).await.unwrap().expect("there");
        // They wait at the server for the first, and then for the client, who reads as fast as it can.
        let pipelined = slow.cell_request().send().pipeline.get_loader();
        let loads: Vec<_> = (0..3000).map(|_| pipelined.load_request().send().promise).collect();
        // An answer to a later call: all of them are there.
        peer.nodes().await;
        let before = resident(&witness).await;
        told.send(()).expect("waited for");
        let read = tokio::task::spawn_local(async move {
            for load in loads {
                load.await.expect("answered");
            }
        });
        let mut most = before;
        while !read.is_finished() {
            most = most.max(resident(&witness).await);
        }
        read.await.expect("all of them");
        // 600 MB together.
        assert!(most < before + (64 << 20), "{before} bytes, then {most}");
    });
}
