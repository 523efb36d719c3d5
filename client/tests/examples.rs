//! The examples do what they say.

#![allow(dead_code, unreachable_pub, reason = "an example is a program of its own")]
#![allow(clippy::duplicate_mod, reason = "each has its own support")]

mod support;

#[path = "../examples/batch.rs"]
mod batch;
#[path = "../examples/capability.rs"]
mod capability;
#[path = "../examples/reconnect.rs"]
mod reconnect;
#[path = "../examples/rendezvous.rs"]
mod rendezvous;

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
