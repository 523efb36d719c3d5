//! The injected bugs that the histories have to show: each is a place in the tree's source that
//! `KILLICK_MUTATION=<name>` makes wrong. The models of `tests/models` know all of them; here are
//! those that no ordering hides and that need neither a limit nor a tree that closes.

use std::process::Command;

/// A bug, and the test that is there to catch it.
const MUTANTS: &[(&str, &str)] = &[
    ("acquire_revives_the_dead", "children_of_the_root_under_pct"),
    ("free_without_epoch", "children_of_the_root_under_random_schedules"),
    ("link_without_owner_reference", "children_of_a_node_that_comes_and_goes_under_pct"),
    ("load_at_reads_the_dead", "children_of_a_node_that_comes_and_goes_under_pct"),
    ("ls_without_validation", "children_of_the_root_under_random_schedules"),
    ("prune_pins_late", "children_of_a_node_that_comes_and_goes_under_pct"),
    ("revision_stays", "children_of_the_root_under_random_schedules"),
    ("store_without_node_reference", "children_of_the_root_under_pct"),
    ("unlink_keeps_owner_reference", "children_of_the_root_under_random_schedules"),
    ("walk_adopts_the_dead", "children_of_the_root_under_random_schedules"),
];

/// A bug that takes more schedules to show than this is not caught.
const SCHEDULES: &str = "200000";

#[test]
fn every_injected_bug_shows_in_a_history() {
    let histories = std::env::current_exe().unwrap();
    let mut survivors = Vec::new();
    for (mutant, test) in MUTANTS {
        let run = Command::new(&histories)
            .args(["--exact", test, "--test-threads=1", "--nocapture"])
            .env("KILLICK_MUTATION", mutant)
            .env("KILLICK_SCHEDULES", SCHEDULES)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&run.stderr) + String::from_utf8_lossy(&run.stdout);
        assert!(output.contains("running 1 test"), "there is no test {test}");
        if run.status.success() {
            survivors.push(mutant);
            continue;
        }
        let why = output.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
        println!("mutant: {mutant}: caught by {test}: {}", why.unwrap_or("aborted"));
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}
