//! killick beside trees behind locks and of concurrent maps, measured in turns in one process.
//!
//! `cargo bench --bench compare -- --help` says how. Run by `cargo test`, it checks instead that
//! every implementation keeps the same contract.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[allow(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use support::args::{Args, Mode, Program};
use support::fixtures::{self, Job};
use support::harness::{Plan, Stats, measure};
use support::report::{self, Results, Row};
use support::shapes::Shape;
use support::workload::Workload;
use support::{Impls, PerImpl, TreeImpl, check};

const PROGRAM: Program = Program("compare");

/// How many nodes the trees have that age the heap; a fifth of it when in a hurry.
const AGE: usize = 500_000;

const HELP: &str = "\
Measures killick beside other trees, in turns in one process, and prints the medians of the time
per operation with their ratios to the first column's (x2.00: twice its time), in some 8 minutes.
'noise' is half the distance between the quartiles, the worst of the row.

Usage: cargo bench --bench compare -- [OPTIONS] [SUBSTRING]...

      --quick             smaller trees and fewer rounds: less than a minute
      --filter SUBSTRING  only workloads whose name holds it; may be repeated
      --impl SUBSTRING    only implementations whose name holds it; may be repeated
      --aged              first build and drop big trees, as a process that has run for long
      --json FILE         also write {\"workload\": {\"implementation\": nanoseconds}}
      --list              say what the workloads are
      --check             measure nothing; check that all implementations keep the contract
                          (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

fn main() -> ExitCode {
    let args = match Args::parse(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(error) => return PROGRAM.usage(&error.to_string()),
    };
    match args.mode {
        Mode::Help => {
            report::print(HELP);
            ExitCode::SUCCESS
        }
        Mode::List => {
            list(&args);
            ExitCode::SUCCESS
        }
        Mode::Check => run_checks(&args),
        Mode::Measure => run_workloads(&args),
    }
}

fn wanted(args: &Args) -> Vec<Workload> {
    Workload::all().into_iter().filter(|workload| args.wants(&workload.to_string())).collect()
}

fn list(args: &Args) {
    let mut text = String::new();
    for workload in wanted(args) {
        text.push_str(&format!("{:<36}{}\n", workload.to_string(), workload.describe()));
    }
    report::print(&text);
}

fn run_checks(args: &Args) -> ExitCode {
    let (passed, failed) = check::run(&args.impls, |line| args.wants(line));
    PROGRAM.checked(args, passed, failed)
}

fn run_workloads(args: &Args) -> ExitCode {
    let workloads = wanted(args);
    if workloads.is_empty() {
        return PROGRAM.nothing(args, "workload");
    }
    if let Err(error) = report::writable(args.json.as_deref()) {
        return PROGRAM.failure(&error);
    }
    let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
    let begin = Instant::now();
    if args.aged {
        eprintln!("ageing the heap");
        age(&args.impls, if args.quick { AGE / 5 } else { AGE });
    }
    let mut results = Results::default();
    for (at, workload) in workloads.iter().enumerate() {
        let row_begin = Instant::now();
        let row = run_workload(*workload, &args.impls, &plan);
        let took = row_begin.elapsed().as_secs_f64();
        eprintln!("[{:>2}/{}] {} ({took:.1} s)", at + 1, workloads.len(), row.line());
        results.push(row);
    }
    report::print(&format!(
        "\n{}{}\n{}",
        report::facts("the system's"),
        how(args, &plan, begin.elapsed()),
        results.table("ns per operation, median")
    ));
    let written = results.write(args.json.as_deref());
    written.map_or_else(|error| PROGRAM.failure(&error), |()| ExitCode::SUCCESS)
}

/// How the numbers came about: one line for the report.
fn how(args: &Args, plan: &Plan, took: Duration) -> String {
    let aged = if args.aged { ", heap aged" } else { "" };
    format!(
        "{:<10}{} times built anew, up to {} rounds of {} ms each, \
         whole trees of about {} nodes{aged}; {:.0} s in all\n",
        "method",
        plan.lives,
        plan.rounds,
        plan.slice.as_millis(),
        plan.nodes,
        took.as_secs_f64()
    )
}

/// One row. Before and after, what was put off is freed: nobody pays for another one's garbage.
fn run_workload(workload: Workload, impls: &Impls, plan: &Plan) -> Row {
    let prepare = || {
        impls.settle();
        let jobs = workload.jobs(impls, plan.nodes);
        impls.settle();
        jobs
    };
    let stats = measure(prepare, workload.operations(plan.nodes), &workload.plan(plan));
    impls.settle();
    let noise = stats.iter().flatten().map(|stats| stats.spread).reduce(f64::max);
    let medians = stats.iter().map(|stats: &Option<Stats>| stats.map(|stats| stats.median));
    Row {
        workload: workload.to_string(),
        values: impls.names().into_iter().zip(medians).collect(),
        noise,
    }
}

/// Builds and drops a big tree of every implementation and shape that has one.
fn age(impls: &Impls, nodes: usize) {
    struct Age(usize);
    impl PerImpl for Age {
        type Output = ();
        fn of<T: TreeImpl>(&self) {
            for shape in Shape::ALL {
                let job: Option<Job> = fixtures::build::<T>(shape, self.0);
                job.into_iter().for_each(|mut job| {
                    job(1);
                });
            }
        }
    }
    impls.each(&Age(nodes));
}
