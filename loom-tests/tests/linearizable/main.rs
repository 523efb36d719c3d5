//! Random operations on a small tree, under shuttle's schedulers. Each execution's history, of
//! operations with their results and with when they started and ended, must have a sequential order
//! ([`order`]). The tree's code is the real one; only the primitives below it are shuttle's.
//!
//! Four threads of a few operations each: walk, lookup, names, ls, load by handle and by path, store,
//! clear, swap, compare_and_store, and the release of a handle, the last one included. Tables that
//! grow, shrink and become empty have scenarios of their own, and so have names whose hashes collide.
//! One test has no dice but a writer whose every history has the same answer ([`turns`]); two have
//! watchers, who are shown what is there in the end ([`watchers`]).
//!
//! Shuttle is sequentially consistent: weak orderings are what loom's models are for. These histories
//! are longer than a model can be, and nobody chose them.
#![cfg(shuttle)]

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

mod bursts;
mod history;
mod mutants;
mod order;
mod scenario;
mod turns;
mod watchers;

use bursts::Bursts;
use scenario::Scenario;

/// Schedules of each test, unless `KILLICK_SCHEDULES` says otherwise.
const SCHEDULES: usize = 4_000;

/// Changes of priority in one execution of PCT.
const DEPTH: usize = 5;

fn variable(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        Err(_) => default,
    }
}

/// Checks the histories of `KILLICK_SCHEDULES` executions.
fn check<S: Scheduler + 'static>(
    name: &str,
    make: impl FnOnce(u64, usize) -> S,
    scenario: Scenario,
) {
    execute(name, make, move || {
        let history = scenario::run(scenario);
        order::assert_linearizable(&history);
        history.len()
    });
}

/// Runs `execution`, which tells the number of its operations, under `KILLICK_SCHEDULES` schedules.
fn execute<S: Scheduler + 'static>(
    name: &str,
    make: impl FnOnce(u64, usize) -> S,
    execution: impl Fn() -> usize + Send + Sync + 'static,
) {
    let schedules = variable("KILLICK_SCHEDULES", SCHEDULES as u64) as usize;
    let seed = variable("KILLICK_SEED", 1);
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    let operations = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = operations.clone();
    let run = Runner::new(make(seed, schedules), config).run(move || {
        killick::model::execution(|| {
            count.fetch_add(execution(), std::sync::atomic::Ordering::Relaxed);
        });
    });
    assert_eq!(run, schedules, "the scheduler stopped early");
    let operations = operations.load(std::sync::atomic::Ordering::Relaxed);
    println!("shuttle: {name}: {run} schedules, seed {seed}, {operations} operations, complete");
}

fn random(seed: u64, schedules: usize) -> RandomScheduler {
    RandomScheduler::new_from_seed(seed, schedules)
}

fn pct(seed: u64, schedules: usize) -> PctScheduler {
    PctScheduler::new_from_seed(!seed, DEPTH, schedules) // other programs than `random`'s
}

#[test]
fn children_of_the_root_under_random_schedules() {
    check("children_of_the_root_under_random_schedules", random, scenario::ROOT);
}

#[test]
fn children_of_the_root_under_pct() {
    check("children_of_the_root_under_pct", pct, scenario::ROOT);
}

#[test]
fn lists_of_the_root_under_random_schedules() {
    check("lists_of_the_root_under_random_schedules", random, scenario::LISTED);
}

#[test]
fn lists_of_the_root_under_pct() {
    check("lists_of_the_root_under_pct", pct, scenario::LISTED);
}

#[test]
fn children_of_a_node_that_comes_and_goes_under_random_schedules() {
    check(
        "children_of_a_node_that_comes_and_goes_under_random_schedules",
        random,
        scenario::TRANSIENT,
    );
}

#[test]
fn children_of_a_node_that_comes_and_goes_under_pct() {
    check("children_of_a_node_that_comes_and_goes_under_pct", pct, scenario::TRANSIENT);
}

#[test]
fn children_of_a_table_that_grows_and_shrinks_under_random_schedules() {
    check(
        "children_of_a_table_that_grows_and_shrinks_under_random_schedules",
        random,
        scenario::CROWD,
    );
}

#[test]
fn children_of_a_table_that_grows_and_shrinks_under_pct() {
    check("children_of_a_table_that_grows_and_shrinks_under_pct", pct, scenario::CROWD);
}

#[test]
fn children_of_a_table_that_comes_and_goes_under_random_schedules() {
    check(
        "children_of_a_table_that_comes_and_goes_under_random_schedules",
        random,
        scenario::TRANSIENT_CROWD,
    );
}

#[test]
fn children_of_a_table_that_comes_and_goes_under_pct() {
    check("children_of_a_table_that_comes_and_goes_under_pct", pct, scenario::TRANSIENT_CROWD);
}

#[test]
fn children_of_two_hashes_under_random_schedules() {
    check("children_of_two_hashes_under_random_schedules", random, scenario::COLLIDING_CROWD);
}

#[test]
fn children_of_two_hashes_under_pct() {
    check("children_of_two_hashes_under_pct", pct, scenario::COLLIDING_CROWD);
}

#[test]
fn lists_of_children_that_take_turns_in_bursts() {
    execute("lists_of_children_that_take_turns_in_bursts", Bursts::new, turns::run);
}

#[test]
fn watchers_see_the_last_change_under_random_schedules() {
    execute("watchers_see_the_last_change_under_random_schedules", random, watchers::run);
}

#[test]
fn watchers_see_the_last_change_under_pct() {
    execute("watchers_see_the_last_change_under_pct", pct, watchers::run);
}
