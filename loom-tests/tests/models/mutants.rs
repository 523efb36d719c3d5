//! The injected bugs that models catch: all of them.

use killick_loom_tests::mutants::{Rung, run};

#[test]
fn every_injected_bug_is_caught_by_its_model() {
    run(Rung::Loom);
}
