//! The injected bugs: each is a place in the tree's source that `KILLICK_MUTATION=<name>` makes wrong,
//! and each has a check that has to go red for it, on one rung or on several.
//!
//! The table of them in the documentation, `src/docs/mutations.md`, is what running them wrote:
//! `KILLICK_REGENERATE=1 cargo loom mutants`, and the same with `loom-epoch` and `shuttle`, each
//! writes the rows of its own rung.

mod list;
mod page;

use std::process::Command;

pub use list::MUTANTS;

/// An injected bug.
pub struct Mutant {
    /// What `KILLICK_MUTATION` calls it.
    pub name: &'static str,
    /// What goes wrong with it.
    pub breaks: &'static str,
    /// The checks that are there to catch it.
    pub caught_by: &'static [(Rung, &'static str)],
}

/// Where a check belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// A model of a race.
    Loom,
    /// A model on the real collector.
    Epoch,
    /// Random histories.
    Shuttle,
}

impl Rung {
    /// The cargo alias that runs the rung's checks.
    pub fn alias(self) -> &'static str {
        match self {
            Rung::Loom => "cargo loom",
            Rung::Epoch => "cargo loom-epoch",
            Rung::Shuttle => "cargo shuttle",
        }
    }
}

/// A bug that takes more random schedules to show than this is not caught.
const SCHEDULES: &str = "1000000";

/// Runs the checks of `rung` in this very test program, each with its bug switched on. With
/// `KILLICK_REGENERATE` the documentation's table gets what they said.
///
/// # Panics
/// If a bug is not caught.
pub fn run(rung: Rung) {
    let mut messages = Vec::new();
    let mut survivors = Vec::new();
    for mutant in MUTANTS {
        for (_, check) in mutant.caught_by.iter().filter(|(its, _)| *its == rung) {
            match run_one(mutant.name, check) {
                Some(message) => {
                    println!("mutant: {}: caught by {check}: {message}", mutant.name);
                    messages.push((mutant.name, message));
                }
                None => survivors.push(mutant.name),
            }
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    if std::env::var_os("KILLICK_REGENERATE").is_some() {
        page::update(rung, &messages);
    }
}

/// Runs one check with one bug. What it failed with, if it did.
fn run_one(mutant: &str, check: &str) -> Option<String> {
    let run = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", check, "--test-threads=1", "--nocapture"])
        .env("KILLICK_MUTATION", mutant)
        .env("KILLICK_SCHEDULES", SCHEDULES)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("this program runs again");
    let output = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(output.contains("running 1 test"), "there is no check {check}:\n{output}");
    if run.status.success() {
        return None;
    }
    // The first panic is the finding; what follows is the end of a program in disorder.
    let mut said = output.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    let message = said.next().unwrap_or("aborted").trim_end_matches(':').to_string();
    // What was compared, one side a line.
    let sides = said
        .map(str::trim)
        .take_while(|line| ["left:", "right:"].iter().any(|side| line.starts_with(side)));
    Some(sides.fold(message, |message, side| format!("{message}, {side}")))
}
