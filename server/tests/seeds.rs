//! Replays the seeds of the fuzz target `wire`: bytes that a session has to survive.

use std::path::Path;

#[test]
fn every_seed_of_the_wire_target_ends_its_session() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/wire");
    let mut replayed = 0;
    for seed in std::fs::read_dir(&seeds).unwrap() {
        // Panics if the session does not end, or ends in a panic.
        killick_server::fuzz_session(&std::fs::read(seed.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 20, "only {replayed} seeds in {}", seeds.display());
}
