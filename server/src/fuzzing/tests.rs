//! Replays the seeds of the fuzz targets.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::{fuzz_session, fuzz_two_sessions};

/// How long one seed may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn replay(target: &str, at_least: usize, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut replayed = 0;
    for seed in std::fs::read_dir(&seeds).expect("seeds") {
        let path = seed.expect("a seed").path();
        let bytes = std::fs::read(&path).expect("bytes");
        let (done, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            run(&bytes);
            // An error means that it was not waited for.
            let _ = done.send(());
        });
        match ended.recv_timeout(PATIENCE) {
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{} hangs", path.display()),
            _ => assert!(thread.join().is_ok(), "{}", path.display()),
        }
        replayed += 1;
    }
    assert!(replayed >= at_least, "only {replayed} seeds in {}", seeds.display());
}

#[test]
fn every_seed_of_the_wire_target_ends_its_session_and_leaves_nothing() {
    replay("wire", 20, fuzz_session);
}

#[test]
fn every_seed_of_the_rpc_target_ends_its_sessions_and_leaves_nothing() {
    replay("rpc", 20, fuzz_two_sessions);
}

#[cfg(feature = "cluster")]
#[test]
fn every_seed_of_the_members_target_leaves_a_host_within_its_bounds() {
    replay("members", 5, super::fuzz_members);
}

#[test]
fn a_session_in_memory_ends_whatever_it_is_fed() {
    let mut message = capnp::message::Builder::new_default();
    let root = message.init_root::<capnp_rpc::rpc_capnp::message::Builder<'_>>();
    root.init_bootstrap().set_question_id(0);
    let valid = capnp::serialize::write_message_to_words(&message);
    fuzz_session(&[]);
    fuzz_session(&valid);
    // Each byte of a valid message spoilt, alone and followed by a good one.
    for place in 0..valid.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut spoilt = valid.clone();
            spoilt[place] ^= flip;
            fuzz_session(&spoilt);
            spoilt.extend(&valid);
            fuzz_session(&spoilt);
        }
    }
}
