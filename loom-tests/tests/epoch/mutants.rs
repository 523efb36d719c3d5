//! The injected bugs that have to do with when memory is freed.

use killick_loom_tests::mutants::{Rung, run};

#[test]
fn every_injected_bug_shows_on_the_real_collector() {
    run(Rung::Epoch);
}
