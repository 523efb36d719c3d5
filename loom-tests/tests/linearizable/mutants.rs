//! The injected bugs that histories show: those that no ordering hides and that need neither a limit
//! nor a tree that closes.

use killick_loom_tests::mutants::{Rung, run};

#[test]
fn every_injected_bug_shows_in_a_history() {
    run(Rung::Shuttle);
}
