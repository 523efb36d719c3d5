//! How the costs of a node grow with the number of nodes, for killick and for the other trees. The
//! bytes it takes are counted by `memory`, since counting them would slow this down.
//!
//! `cargo bench --bench growth -- --help` says how. Run by `cargo test`, it checks instead that
//! every size is built and taken down.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[allow(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use support::args::Args;
use support::bench::{Bench, Checks};
use support::harness::Stats;
use support::report::{Ratio, Row, Table};
use support::shapes::{Paths, SIZES, Shape};
use support::{PerImpl, TreeImpl};

const HELP: &str = "\
Builds trees of a thousand to ten million nodes with a value each, walks through them in random
order and drops them; prints nanoseconds per node with their ratios to the first column's (x2.00:
twice as long), in some 20 minutes and some gigabytes of memory.

Usage: cargo bench --bench growth -- [OPTIONS] [SUBSTRING]...

      --quick             up to a hundred thousand nodes: some 15 seconds
      --filter SUBSTRING  only rows whose name holds it; may be repeated
      --impl SUBSTRING    only implementations whose name holds it; may be repeated
      --json FILE         also write the table and the facts about it as JSON
      --list              say what the rows are
      --check             measure nothing; build and drop small trees
                          (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

const BENCH: Bench = Bench {
    name: "growth",
    help: HELP,
    options: &[],
    allocator: "the system's",
    rows: |args| {
        let rows =
            |(shape, nodes)| COSTS.map(|(cost, what)| (name(cost, shape, nodes), what.into()));
        trees(args).flat_map(rows).collect()
    },
    check,
    measure,
};

const SHAPES: [Shape; 3] = [Shape::Square, Shape::TenAry, Shape::Wide];

/// What is measured of each tree.
const COSTS: [(&str, &str); 3] = [
    ("build", "walk to each node and store a value; per node"),
    ("walk hit", "walk to nodes in random order, drop the handle; per walk"),
    ("teardown", "drop the tree, freeing included; per node"),
];

/// How many walks are timed in a large tree.
const WALKS: usize = 1_000_000;
/// How many nodes all trees of one measurement have at least.
const NODES: usize = 100_000;

fn main() -> ExitCode {
    BENCH.main()
}

fn name(cost: &str, shape: Shape, nodes: usize) -> String {
    format!("{cost} {shape}, nodes: {nodes}")
}

fn trees(args: &Args) -> impl Iterator<Item = (Shape, usize)> {
    let largest = if args.quick { 100_000 } else { usize::MAX };
    SHAPES.into_iter().flat_map(move |shape| {
        SIZES.into_iter().filter(move |nodes| *nodes <= largest).map(move |nodes| (shape, nodes))
    })
}

/// One shape in one size.
struct Tree {
    paths: Paths,
    shuffled: Paths,
    /// How often it is built, one after the other.
    times: usize,
}

impl Tree {
    fn new(shape: Shape, nodes: usize, times: usize) -> Self {
        let paths = shape.paths(nodes);
        let mut shuffled = paths.clone();
        shuffled.shuffle();
        Tree { paths, shuffled, times }
    }
}

impl PerImpl for Tree {
    type Output = Option<[f64; 3]>;

    /// Nanoseconds for each of [`COSTS`].
    fn of<T: TreeImpl>(&self) -> Option<[f64; 3]> {
        if self.paths.len() > T::LARGEST {
            return None;
        }
        let walks = self.shuffled.len().min(WALKS);
        let mut took = [Duration::ZERO; 3];
        for _ in 0..self.times {
            T::settle();
            let begin = Instant::now();
            let tree = T::new();
            let root = tree.root();
            for path in self.paths.iter() {
                T::store(&T::walk(&root, path), Some(1));
            }
            took[0] += begin.elapsed();
            let begin = Instant::now();
            for path in self.shuffled.iter().take(walks) {
                drop(black_box(T::walk(&root, path)));
            }
            took[1] += begin.elapsed();
            drop(root);
            let begin = Instant::now();
            drop(tree);
            T::settle();
            took[2] += begin.elapsed();
        }
        let each = [self.paths.len(), walks, self.paths.len()];
        let nanos = |at: usize| took[at].as_secs_f64() * 1e9 / (each[at] * self.times) as f64;
        Some([nanos(0), nanos(1), nanos(2)])
    }
}

fn check(args: &Args, checks: &mut Checks) {
    for shape in SHAPES {
        for (name, costs) in args.impls.each(&Tree::new(shape, SIZES[0], 1)) {
            let line = format!("{name}: {shape}");
            if let Some(costs) = costs.filter(|_| args.wants(&line)) {
                checks.run(&line, || assert!(costs.iter().all(|cost| *cost > 0.0)));
            }
        }
    }
}

fn measure(args: &Args) -> Table {
    let lives = |nodes: usize| if args.quick || nodes > 1_000_000 { 1 } else { 3 };
    let mut table = Table::new("ns per node, median", &args.impls.names(), Ratio::FirstColumn);
    let oftener = if args.quick { "small trees oftener" } else { "three times up to 1M nodes" };
    table.method = format!("once; {oftener}");
    for (shape, nodes) in trees(args) {
        if !COSTS.iter().any(|(cost, _)| args.wants(&name(cost, shape, nodes))) {
            continue;
        }
        let tree = Tree::new(shape, nodes, NODES.div_ceil(nodes));
        // The implementations take turns.
        let lives: Vec<_> = (0..lives(nodes)).map(|_| args.impls.each(&tree)).collect();
        for (at, (cost, _)) in COSTS.into_iter().enumerate() {
            let stats = |column: usize| {
                let costs = lives.iter().filter_map(|life| life[column].1).map(|costs| costs[at]);
                Some(costs.collect::<Vec<f64>>()).filter(|costs| !costs.is_empty()).map(Stats::of)
            };
            let stats: Vec<Option<Stats>> = (0..table.columns.len()).map(stats).collect();
            let name = name(cost, shape, nodes);
            if args.wants(&name) {
                table.push(Row {
                    name,
                    values: stats.iter().map(|stats| stats.map(|stats| stats.median)).collect(),
                    noise: Stats::worst_spread(&stats).filter(|_| lives.len() > 1),
                });
            }
        }
    }
    table
}
