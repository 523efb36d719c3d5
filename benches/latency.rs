//! How long single operations take at worst, for killick and for the other trees: beside threads
//! that create and prune, with more threads than cores, while one node gets very many children, and
//! while a big tree is dropped.
//!
//! `cargo bench --bench latency -- --help` says how. Run by `cargo test`, it checks instead that
//! every scene runs.

use std::fmt;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

#[allow(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use support::args::Args;
use support::bench::{Bench, Checks};
use support::report::{self, Ratio, Row, Table};
use support::shapes::{Paths, Shape};
use support::{PerImpl, TreeImpl};

const HELP: &str = "\
Takes the time of each operation of one thread by itself, in some 8 minutes, and prints the median,
high percentiles and the worst in nanoseconds, with their ratios to the first column's (x2.00:
twice as long). The clock adds some 20 ns to each. Operations follow one another at once: while one
takes long, others that would have waited are not counted.

Usage: cargo bench --bench latency -- [OPTIONS] [SUBSTRING]...

      --quick             shorter and with smaller trees: some 30 seconds
      --threads N,N,...   how many threads, all but one of which create and prune beside the one that
                          is measured; 2 and four times as many as there are cores if it is not said
      --filter SUBSTRING  only rows whose name holds it; may be repeated
      --impl SUBSTRING    only implementations whose name holds it; may be repeated
      --json FILE         also write the table and the facts about it as JSON
      --list              say what the rows are
      --check             measure nothing; run everything for a moment
                          (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

const BENCH: Bench = Bench {
    name: "latency",
    help: HELP,
    options: &["--threads"],
    allocator: "the system's",
    rows: |args| {
        let describe = |scene: &Scene| {
            let what = scene.kind.describe();
            scene.row_names().map(|name| (name, what.to_owned())).collect::<Vec<_>>()
        };
        scenes(args).iter().flat_map(describe).collect()
    },
    check,
    measure,
};

/// How many siblings there are where threads create and prune.
const SIBLINGS: usize = 1024;
/// How many fresh names each thread takes in turn.
const FRESH: usize = 64;
/// What is told of each scene.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99), ("max", 100.0)];

/// How long and how big.
#[derive(Clone, Copy)]
struct Size {
    lives: usize,
    time: Duration,
    children: usize,
    nodes: usize,
}

const FULL: Size =
    Size { lives: 3, time: Duration::from_secs(1), children: 1_000_000, nodes: 10_000_000 };
const QUICK: Size =
    Size { lives: 1, time: Duration::from_millis(200), children: 100_000, nodes: 200_000 };
const CHECK: Size = Size { lives: 1, time: Duration::from_millis(2), children: 500, nodes: 500 };

fn main() -> ExitCode {
    BENCH.main()
}

/// What is timed.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Load,
    Walk,
    Store,
    Churn,
    Ls,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// An operation by one of so many threads; the others create and prune in the same node.
    Beside { operation: Operation, threads: usize },
    /// The insertions into one node.
    Grow { children: usize },
    /// Loads from one tree while another one is dropped by another thread.
    Teardown { nodes: usize },
}

/// What is measured at one go.
#[derive(Clone, Copy)]
struct Scene {
    kind: Kind,
    size: Size,
}

fn size(args: &Args) -> Size {
    if args.quick { QUICK } else { FULL }
}

fn scenes(args: &Args) -> Vec<Scene> {
    use Operation::*;
    let size = size(args);
    let threads = args.threads.clone().unwrap_or_else(|| vec![2, 4 * report::cores()]);
    let beside = threads.iter().flat_map(|&threads| {
        [Load, Walk, Store, Churn, Ls].map(|operation| Kind::Beside { operation, threads })
    });
    beside
        .chain([Kind::Grow { children: size.children }, Kind::Teardown { nodes: size.nodes }])
        .map(|kind| Scene { kind, size })
        .collect()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kind::Beside { operation, threads } => {
                let operation = match operation {
                    Operation::Load => "load by path",
                    Operation::Walk => "walk hit",
                    Operation::Store => "store",
                    Operation::Churn => "create and prune",
                    Operation::Ls => "ls names",
                };
                let mark = if threads > report::cores() { " (> cores)" } else { "" };
                write!(f, "{operation}, threads: {threads}{mark}")
            }
            Kind::Grow { children } => write!(f, "insert, to {children} children"),
            Kind::Teardown { nodes } => write!(f, "load by path, {nodes} nodes dropped"),
        }
    }
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Kind::Beside { operation: Operation::Load, .. } => {
                "read a value in place by its path, among 1,024 siblings"
            }
            Kind::Beside { operation: Operation::Walk, .. } => {
                "walk to a node among 1,024 siblings, drop the handle"
            }
            Kind::Beside { operation: Operation::Store, .. } => {
                "store over a value by the handle of one of 1,024 siblings"
            }
            Kind::Beside { operation: Operation::Churn, .. } => {
                "create a node among 1,024 siblings, prune it"
            }
            Kind::Beside { operation: Operation::Ls, .. } => "list the names of 1,024 children",
            Kind::Grow { .. } => "create a node with a value, under one parent",
            Kind::Teardown { .. } => "read by path while another thread drops another tree",
        }
    }
}

impl Scene {
    fn row_names(&self) -> impl Iterator<Item = String> {
        PERCENTILES.iter().map(|(name, _)| format!("{}, {name}", self.kind))
    }
}

/// The times of operations, one by one.
struct Times(Histogram<u64>);

impl Times {
    fn new() -> Self {
        let minute = 60_000_000_000;
        Times(Histogram::new_with_bounds(1, minute, 3).expect("bounds that a histogram can have"))
    }

    fn time(&mut self, operation: impl FnOnce()) {
        let begin = Instant::now();
        operation();
        let nanos = begin.elapsed().as_nanos();
        self.0.saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX));
    }
}

impl PerImpl for Scene {
    type Output = Option<Times>;

    fn of<T: TreeImpl>(&self) -> Option<Times> {
        T::settle();
        let times = match self.kind {
            Kind::Beside { operation: Operation::Ls, .. } if !T::LISTS_CHILDREN => return None,
            Kind::Teardown { nodes } if nodes > T::LARGEST => return None,
            Kind::Beside { operation, threads } => beside::<T>(operation, threads, self.size.time),
            Kind::Grow { children } => grow::<T>(children),
            Kind::Teardown { nodes } => teardown::<T>(nodes),
        };
        T::settle();
        Some(times)
    }
}

/// A tree with [`SIBLINGS`] children of `p`, a value in each, and their paths.
fn siblings<T: TreeImpl>() -> (T, Paths) {
    let tree = T::new();
    let paths = Paths::shuffled("p/n", SIBLINGS);
    for path in paths.iter() {
        T::store(&T::walk(&tree.root(), path), Some(1));
    }
    (tree, paths)
}

fn beside<T: TreeImpl>(operation: Operation, threads: usize, time: Duration) -> Times {
    let (tree, mut paths) = siblings::<T>();
    let root = tree.root();
    let (parent, node) = (T::walk(&root, "p"), T::walk(&root, "p/n512"));
    let mut fresh = Paths::numbered("p/x", FRESH);
    let mut times = Times::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for other in 1..threads {
            let (root, done) = (root.clone(), &done);
            let mut names = Paths::numbered(&format!("p/x{other}-"), FRESH);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    drop(black_box(T::walk(&root, names.cycle())));
                }
            });
        }
        let begin = Instant::now();
        while times.0.is_empty() || begin.elapsed() < time {
            times.time(|| match operation {
                Operation::Load => {
                    black_box(T::read_at(&root, paths.cycle()));
                }
                Operation::Walk => drop(black_box(T::walk(&root, paths.cycle()))),
                Operation::Store => {
                    black_box(T::store(&node, Some(2)));
                }
                Operation::Churn => drop(black_box(T::walk(&root, fresh.cycle()))),
                Operation::Ls => T::ls_names(&parent, |name| {
                    black_box(name);
                }),
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    times
}

fn grow<T: TreeImpl>(children: usize) -> Times {
    let tree = T::new();
    let parent = T::walk(&tree.root(), "p");
    let mut times = Times::new();
    for path in Paths::numbered("n", children).iter() {
        times.time(|| {
            T::store(&T::walk(&parent, path), Some(1));
        });
    }
    times
}

fn teardown<T: TreeImpl>(nodes: usize) -> Times {
    let doomed = T::new();
    for path in Shape::Square.paths(nodes).iter() {
        T::store(&T::walk(&doomed.root(), path), Some(1));
    }
    let (tree, mut paths) = siblings::<T>();
    let root = tree.root();
    let mut times = Times::new();
    thread::scope(|scope| {
        let other = scope.spawn(move || {
            drop(doomed);
            T::settle();
        });
        // At least once, however fast the other one is.
        loop {
            times.time(|| {
                black_box(T::read_at(&root, paths.cycle()));
            });
            if other.is_finished() {
                break;
            }
        }
    });
    times
}

fn check(args: &Args, checks: &mut Checks) {
    let kinds = scenes(args).into_iter().map(|scene| match scene.kind {
        Kind::Beside { operation, .. } => Kind::Beside { operation, threads: 3 },
        Kind::Grow { .. } => Kind::Grow { children: CHECK.children },
        Kind::Teardown { .. } => Kind::Teardown { nodes: CHECK.nodes },
    });
    for kind in kinds {
        for (name, times) in args.impls.each(&Scene { kind, size: CHECK }) {
            let line = format!("{name}: {kind}");
            if let Some(times) = times.filter(|_| args.wants(&line)) {
                checks.run(&line, || assert!(!times.0.is_empty() && times.0.max() > 0));
            }
        }
    }
}

fn measure(args: &Args) -> Table {
    let size = size(args);
    let mut table = Table::new("nanoseconds", &args.impls.names(), Ratio::FirstColumn);
    table.method = format!("{} times built anew, {:?} each", size.lives, size.time);
    for scene in scenes(args) {
        if scene.row_names().any(|name| args.wants(&name)) {
            let all = times(args, &scene);
            for (name, (_, percentile)) in scene.row_names().zip(PERCENTILES) {
                let value = |times: &Option<Times>| {
                    times.as_ref().map(|times| times.0.value_at_percentile(percentile) as f64)
                };
                if args.wants(&name) {
                    table.push(Row { name, values: all.iter().map(value).collect(), noise: None });
                }
            }
        }
    }
    table
}

/// The times of each implementation over all its lives, which take turns.
fn times(args: &Args, scene: &Scene) -> Vec<Option<Times>> {
    let mut all: Vec<Option<Times>> = Vec::new();
    for _ in 0..scene.size.lives {
        let lives = args.impls.each(scene).into_iter().map(|(_, times)| times);
        if all.is_empty() {
            all = lives.collect();
            continue;
        }
        for (all, times) in all.iter_mut().zip(lives) {
            if let (Some(all), Some(times)) = (all, times) {
                all.0.add(&times.0).expect("histograms of the same bounds");
            }
        }
    }
    all
}
