//! killick beside trees behind locks and of concurrent maps, measured in turns in one process.
//!
//! `cargo bench --bench compare -- --help` says how. Run by `cargo test`, it checks instead that
//! every implementation keeps the same contract.

use std::process::ExitCode;
use std::time::Instant;

#[allow(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use support::args::Args;
use support::bench::Bench;
use support::fixtures::{self, Job};
use support::harness::{self, Plan, Stats};
use support::report::{Ratio, Row, Table};
use support::shapes::Shape;
use support::workload::Workload;
use support::{Impls, PerImpl, TreeImpl, check};

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
      --json FILE         also write the table and the facts about it as JSON
      --list              say what the workloads are
      --check             measure nothing; check that all implementations keep the contract
                          (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

const BENCH: Bench = Bench {
    name: "compare",
    help: HELP,
    options: &["--aged"],
    allocator: "the system's",
    rows: |_| {
        let all = Workload::all().into_iter();
        all.map(|workload| (workload.to_string(), workload.describe().to_owned())).collect()
    },
    check: check::run,
    measure,
};

fn main() -> ExitCode {
    BENCH.main()
}

fn measure(args: &Args) -> Table {
    let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
    let begin = Instant::now();
    if args.aged {
        eprintln!("ageing the heap");
        age(&args.impls, if args.quick { AGE / 5 } else { AGE });
    }
    let columns = args.impls.names();
    let mut table = Table::new("ns per operation, median", &columns, Ratio::FirstColumn);
    for workload in Workload::all() {
        if args.wants(&workload.to_string()) {
            table.push(run_workload(workload, &args.impls, &plan));
        }
    }
    let took = plan.describe(begin.elapsed());
    table.method = format!("whole trees of about {} nodes; {took}", plan.nodes);
    if args.aged {
        table.method.push_str(", heap aged");
    }
    table
}

/// One row. Before and after, what was put off is freed: nobody pays for another one's garbage.
fn run_workload(workload: Workload, impls: &Impls, plan: &Plan) -> Row {
    let prepare = || {
        impls.settle();
        let jobs = workload.jobs(impls, plan.nodes);
        impls.settle();
        jobs
    };
    let stats = harness::measure(prepare, workload.operations(plan.nodes), &workload.plan(plan));
    impls.settle();
    Row {
        name: workload.to_string(),
        noise: Stats::worst_spread(&stats),
        values: stats.iter().map(|stats| stats.map(|stats| stats.median)).collect(),
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
