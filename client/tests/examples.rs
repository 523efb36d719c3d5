//! The examples do what they say.

#![allow(dead_code, unreachable_pub, reason = "an example is a program of its own")]
#![allow(clippy::duplicate_mod, reason = "each has its own support")]

mod support;

#[path = "../examples/batch.rs"]
mod batch;
#[path = "../examples/capability.rs"]
mod capability;
#[path = "../examples/channel.rs"]
mod channel;
#[path = "../examples/reconnect.rs"]
mod reconnect;
#[path = "../examples/rendezvous.rs"]
mod rendezvous;

use std::process::{Command, Stdio};

use support::{Harness, run, tree_is_empty};

#[test]
fn one_program_finds_at_the_rendezvous_what_another_stores() {
    let harness = Harness::start();
    run(async {
        for address in [harness.unix(), harness.tcp()] {
            let found = rendezvous::run(address).await.expect("an example that succeeds");
            assert_eq!(found, "hello, whoever you are");
        }
        tree_is_empty(&harness.client().await).await;
    });
}

#[test]
fn a_batch_brings_back_what_it_stored_and_leaves_nothing() {
    let harness = Harness::start();
    run(async {
        assert_eq!(batch::run(harness.unix()).await.expect("an example that succeeds"), 2_000);
        tree_is_empty(&harness.client().await).await;
    });
}

#[test]
fn a_capability_is_called_and_goes_with_its_host() {
    let harness = Harness::start();
    run(async {
        let (said, left) = capability::run(harness.unix()).await.expect("an example that succeeds");
        assert_eq!(said, ["hello, caller number 1", "hello, caller number 2"]);
        assert!(!left);
    });
}

/// Tells the process of the peer where the server is.
const PEER: &str = "KILLICK_TEST_PEER";

#[test]
fn one_process_receives_through_a_channel_what_another_sends() {
    let harness = Harness::start();
    run(async {
        for address in [harness.unix(), harness.tcp()] {
            let mut peer = Command::new(std::env::current_exe().expect("this test"));
            peer.args(["--exact", "the_peer_that_sends"]).env(PEER, address.to_string());
            peer.stdout(Stdio::null());
            let received =
                channel::run(address, &mut peer).await.expect("an example that succeeds");
            assert_eq!(received.len(), 100);
            for (number, text) in (1..).zip(received) {
                assert!(text.starts_with(&format!("message {number} of process ")), "{text}");
                assert!(!text.ends_with(&format!(" {}", std::process::id())), "another process");
            }
        }
        tree_is_empty(&harness.client().await).await;
    });
}

/// The other process of the test above; an ordinary run of it does nothing.
#[test]
fn the_peer_that_sends() {
    let Ok(address) = std::env::var(PEER) else { return };
    run(async {
        channel::peer(&address.parse().expect("an address")).await.expect("all sent");
    });
}

#[test]
fn a_worker_is_found_again_after_a_restart() {
    let mut harness = Harness::start();
    run(async {
        let address = harness.unix().clone();
        let restart = || {
            harness.stop();
            harness.start_again();
        };
        reconnect::run(&address, restart).await.expect("an example that succeeds");
    });
}
