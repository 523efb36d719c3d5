//! Throughput by the number of threads, for killick and for the other trees; and with more threads
//! than cores, where a thread is put aside in the middle of what it does.
//!
//! `cargo bench --bench scaling -- --help` says how. Run by `cargo test`, it checks instead that
//! every workload runs.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[allow(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use support::args::Args;
use support::bench::{Bench, Checks};
use support::fixtures::Job;
use support::harness::{self, Plan, Stats};
use support::report::{self, Ratio, Row, Table};
use support::threads::{self, Read};
use support::{PerImpl, TreeImpl};

const HELP: &str = "\
Measures by the wall clock how many million operations a second all threads do together in one
tree, with their ratios to the first number of threads (x2.00: twice as many), in some 8 minutes.
Rows with more threads than the machine has cores are oversubscribed, and marked.

Usage: cargo bench --bench scaling -- [OPTIONS] [SUBSTRING]...

      --quick             fewer and shorter rounds: some 40 seconds with the default threads
      --threads N,N,...   how many threads; 1,2,4,8,16 if it is not said
      --filter SUBSTRING  only rows whose name holds it; may be repeated
      --impl SUBSTRING    only implementations whose name holds it; may be repeated
      --json FILE         also write the table and the facts about it as JSON
      --list              say what the rows are
      --check             measure nothing; run everything for a moment
                          (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

const THREADS: [usize; 5] = [1, 2, 4, 8, 16];

/// Longer turns than for one thread: with more threads than cores each needs several of the
/// scheduler's.
const FULL: Plan = Plan {
    slice: Duration::from_millis(50),
    lives: 3,
    rounds: 9,
    budget: Duration::from_secs(4),
    nodes: 0,
};
const QUICK: Plan = Plan {
    slice: Duration::from_millis(5),
    lives: 3,
    rounds: 3,
    budget: Duration::from_millis(200),
    nodes: 0,
};

const BENCH: Bench = Bench {
    name: "scaling",
    help: HELP,
    options: &["--threads"],
    allocator: "the system's",
    rows,
    check,
    measure,
};

fn main() -> ExitCode {
    BENCH.main()
}

/// What every thread does.
#[derive(Clone, Copy, Debug)]
enum Workload {
    Read { read: Read, disjoint: bool },
    ChurnOwnParents,
    ChurnSharedParent { fanout: usize },
    Mixed { fanout: usize },
}

impl Workload {
    const ALL: [Workload; 8] = [
        Workload::Read { read: Read::Load, disjoint: true },
        Workload::Read { read: Read::Load, disjoint: false },
        Workload::Read { read: Read::Walk, disjoint: true },
        Workload::Read { read: Read::Walk, disjoint: false },
        Workload::ChurnOwnParents,
        Workload::ChurnSharedParent { fanout: 16 },
        Workload::ChurnSharedParent { fanout: 1024 },
        Workload::Mixed { fanout: 1024 },
    ];

    fn describe(self) -> &'static str {
        match self {
            Workload::Read { read: Read::Load, .. } => {
                "read a value in place by its path, at depth 3 among 16 siblings a level"
            }
            Workload::Read { read: Read::Walk, .. } => "walk to such a node, drop the handle",
            Workload::ChurnOwnParents => "create a node and prune it, a parent for each thread",
            Workload::ChurnSharedParent { .. } => {
                "create a node beside f siblings and prune it, one parent, names of their own"
            }
            Workload::Mixed { .. } => {
                "95 % load by path among f children, 5 % create one beside and prune it"
            }
        }
    }

    fn job<T: TreeImpl>(self, threads: usize) -> Job {
        match self {
            Workload::Read { read, disjoint } => threads::read::<T>(threads, read, disjoint),
            Workload::ChurnOwnParents => threads::churn_own_parents::<T>(threads),
            Workload::ChurnSharedParent { fanout } => {
                threads::churn_shared_parent::<T>(threads, fanout)
            }
            Workload::Mixed { fanout } => threads::mixed::<T>(threads, fanout),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Workload::Read { read, disjoint } => {
                let read = match read {
                    Read::Load => "load by path",
                    Read::Walk => "walk hit",
                };
                write!(f, "{read} {}", if disjoint { "disjoint" } else { "shared" })
            }
            Workload::ChurnOwnParents => f.write_str("churn own parents"),
            Workload::ChurnSharedParent { fanout } => write!(f, "churn shared parent f{fanout}"),
            Workload::Mixed { fanout } => write!(f, "mixed 95/5 f{fanout}"),
        }
    }
}

/// A workload with so many threads: one row.
#[derive(Clone, Copy, Debug)]
struct Scaled {
    workload: Workload,
    threads: usize,
}

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.threads > report::cores() { " (> cores)" } else { "" };
        write!(f, "{}, threads: {}{mark}", self.workload, self.threads)
    }
}

impl PerImpl for Scaled {
    type Output = Option<Job>;

    fn of<T: TreeImpl>(&self) -> Option<Job> {
        Some(self.workload.job::<T>(self.threads))
    }
}

fn thread_counts(args: &Args) -> Vec<usize> {
    args.threads.clone().unwrap_or_else(|| THREADS.to_vec())
}

/// The rows of each workload, in the order of the numbers of threads.
fn scaled(args: &Args) -> Vec<Scaled> {
    let counts = thread_counts(args);
    Workload::ALL
        .into_iter()
        .flat_map(|workload| counts.iter().map(move |&threads| Scaled { workload, threads }))
        .collect()
}

fn rows(args: &Args) -> Vec<(String, String)> {
    let describe = |row: &Scaled| (row.to_string(), row.workload.describe().to_owned());
    scaled(args).iter().map(describe).collect()
}

fn check(args: &Args, checks: &mut Checks) {
    for workload in Workload::ALL {
        let row = Scaled { workload, threads: 3 };
        for (name, job) in args.impls.each(&row) {
            let line = format!("{name}: {row}");
            if let Some(mut job) = job.filter(|_| args.wants(&line)) {
                checks.run(&line, || assert!(job(1000) > Duration::ZERO));
            }
        }
    }
}

fn measure(args: &Args) -> Table {
    let plan = if args.quick { QUICK } else { FULL };
    let begin = Instant::now();
    let group = Ratio::FirstRowOf(|row| row.split(", threads").next());
    let mut table = Table::new("million operations / s", &args.impls.names(), group);
    for row in scaled(args) {
        if args.wants(&row.to_string()) {
            table.push(run(row, args, &plan));
        }
    }
    table.method = plan.describe(begin.elapsed());
    table
}

fn run(row: Scaled, args: &Args, plan: &Plan) -> Row {
    let prepare = || {
        args.impls.settle();
        args.impls.each(&row).into_iter().map(|(_, job)| job).collect()
    };
    let stats = harness::measure(prepare, row.threads as f64, plan);
    args.impls.settle();
    // Nanoseconds for one operation, all threads together.
    let millions = |stats: &Option<Stats>| stats.map(|stats| 1000.0 / stats.median);
    Row {
        name: row.to_string(),
        noise: Stats::worst_spread(&stats),
        values: stats.iter().map(millions).collect(),
    }
}
