//! A client of another implementation: pycapnp, which is the C++ one.
//!
//! Needs a Python that can `import capnp`: `python3`, or what KILLICK_PYTHON names. Without it the test
//! is skipped, but if KILLICK_PYTHON is set.

mod support;

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use killick_client::{Allowance, Client, Options, Right};
use killick_schema::api::anchor_capnp::anchor::loader;
use killick_server::{Address, Allowed, Authorized, Tls};
use support::pki::{Ca, For, VALID};
use support::{Harness, Peer, Put, cell, eventually, load, load_cap, put, run, speaker, walk};
use tokio::io::{AsyncBufReadExt, BufReader};

fn python() -> Option<String> {
    let python = env::var("KILLICK_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", "import capnp"]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    assert!(env::var_os("KILLICK_PYTHON").is_none(), "{python} cannot import capnp");
    println!("skipped: {python} has no pycapnp");
    None
}

#[test]
fn a_python_client_does_everything_hosts_and_calls() {
    let Some(python) = python() else { return };
    let harness = Harness::start();
    run(async {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let Address::Unix(socket) = harness.unix() else { panic!("a Unix socket") };
        let peer = Peer::connect(harness.unix()).await;
        let (client, spoken) = speaker("from Rust");
        put(&peer, "rust/speaker", Put::cap(client)).await;
        let mut client = tokio::process::Command::new(python)
            .arg(package.join("tests/interop/client.py"))
            .args([&package.join("../schema"), socket])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("to start");
        let mut said = BufReader::new(client.stdout.take().expect("a pipe")).lines();
        let mut checks = Vec::new();
        loop {
            let line = said.next_line().await.expect("text");
            match line.unwrap_or_else(|| panic!("it fails after {checks:?}")).as_str() {
                "hosting" => break,
                check => checks.push(check.to_owned()),
            }
        }
        assert_eq!(
            checks,
            [
                "anchors",
                "cells",
                "capabilities",
                "channels",
                "watches",
                "grants",
                "cancelled",
                "owners"
            ]
        );
        assert_eq!(spoken.get(), 50);

        let (at, _) = cell(&walk(&peer.anchor(), "python/speaker").await.unwrap()).await;
        let hosted: loader::Client = load_cap(&at).await.unwrap().expect("there");
        for count in 1..=50 {
            assert_eq!(load(&hosted).await.unwrap(), (Some("from Python".into()), count));
        }
        drop(client.stdin.take());
        assert!(client.wait().await.expect("ends").success());
        drop((at, hosted));
        put(&peer, "rust/speaker", Put::Nothing).await;
        eventually("all of it gone", async || peer.nodes().await == 1).await;
    });
}

#[test]
fn the_python_example_runs_over_tls_below_its_root() {
    let Some(python) = python() else { return };
    let (folder, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let host = ca.issue(folder.path(), "host", For::Host("localhost"), VALID);
    let alice = ca.issue(folder.path(), "alice", For::Client, VALID);
    let harness = Harness::with(|config| {
        config.listen[1] = Address::Tls("127.0.0.1:0".into());
        config.tls = Some(Tls::new(&host.identity).expect("usable"));
        let line = format!("{} /apps/alice", alice.fingerprint);
        config.authorized = Authorized::parse(&line, &config.limits).expect("a line");
    });
    run(async {
        let Address::Tls(at) = &harness.server.addresses()[1] else { panic!("TLS") };
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let ran = tokio::process::Command::new(python)
            .current_dir(repository)
            .args([
                "server/examples/anchor.py",
                "localhost",
                at.rsplit_once(':').expect("a port").1,
            ])
            .arg(&alice.path)
            .output()
            .await
            .expect("to run");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{said} {}", String::from_utf8_lossy(&ran.stderr));
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[1..], ["loaded hello", "children ['from']", "nothing there"]);
        let peer = Peer::connect(harness.unix()).await;
        let (loader, _) =
            cell(&walk(&peer.anchor(), "apps/alice/from/python").await.unwrap()).await;
        assert_eq!(load(&loader).await.unwrap().0.as_deref(), Some("hello"));
    });
}

#[test]
fn the_python_example_of_sharing_runs_and_leaves_nothing() {
    let Some(python) = python() else { return };
    let harness = Harness::start();
    run(async {
        let Address::Tcp(at) = harness.tcp() else { panic!("TCP") };
        let (host, port) = at.rsplit_once(':').expect("a port");
        let ran = tokio::process::Command::new(python)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .args(["server/examples/share.py", host, port])
            .output()
            .await
            .expect("to run");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{said} {}", String::from_utf8_lossy(&ran.stderr));
        let lines = [
            "watched sunny",
            "it reads sunny",
            "and no more: the right 'walk' is not granted",
            "received hello",
            "then revoked",
        ];
        assert!(said.lines().eq(lines), "{said}");
        let peer = Peer::connect(harness.unix()).await;
        eventually("all of it gone", async || peer.nodes().await == 1).await;
    });
}

#[test]
fn a_python_child_finds_its_anchor_and_exports_an_object() {
    let Some(python) = python() else { return };
    let harness = Harness::with(|config| {
        config.allow_exec = vec![Allowed::ALL];
        config.launcher = Some(env!("CARGO_BIN_EXE_killick").into());
    });
    run(async {
        let client = Client::connect(harness.unix(), Options::default()).await.expect("connected");
        let place = client.walk("children/1").await.expect("walked");
        let rights = [Right::Walk, Right::Ls, Right::Load, Right::Store].into_iter().collect();
        let allowance = Allowance { nodes: 1, ..Allowance::default() };
        let (part, _grant) = place.attenuate(rights, allowance).await.expect("narrowed");
        let mut command = killick_client::Command::new(python);
        command.arg("server/examples/child.py").stdout(killick_client::Stdio::Piped);
        command.stderr(killick_client::Stdio::Piped);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let child = client.exec(&command, &part).await.expect("started");
        place.store(&child, false).await.expect("stored");
        drop((part, place));

        let (mut said, out) = (Vec::new(), child.stdout().await.expect("piped"));
        while said.iter().filter(|byte| **byte == b'\n').count() < 2 {
            let more = out.read(0).await.expect("read");
            if more.is_empty() {
                let why = child.stderr().await.expect("piped").read(0).await.expect("read");
                panic!("it has ended: {}", String::from_utf8_lossy(&why));
            }
            said.extend(more);
        }
        assert_eq!(said, b"loaded from Python\nchildren ['greeting']\n");
        let greeting = client.load_at("children/1/greeting").await.expect("loaded");
        assert_eq!(greeting.text(), Some("from Python"));

        let exported = child.bootstrap().await.expect("it exports something");
        let greeter = loader::Client { client: exported };
        for count in 1..=3 {
            let hello = format!("hello, caller number {count}");
            assert_eq!(load(&greeter).await.unwrap(), (Some(hello), count));
        }
        child.kill().await.expect("killed");
        assert!(load(&greeter).await.is_err());
        let peer = Peer::connect(harness.unix()).await;
        eventually("all of it gone", async || peer.nodes().await == 1).await;
    });
}
