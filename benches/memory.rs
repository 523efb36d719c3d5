//! What a node costs in bytes and in blocks, for killick and for the other trees.
//!
//! This is a bench of its own because counting every allocation would slow the others down. Run by
//! `cargo test`, it checks instead that every implementation gives back what it took.

use std::alloc::System;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[allow(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use support::args::Args;
use support::bench::{Bench, Checks};
use support::harness::Plan;
use support::report::{Ratio, Row, Table};
use support::shapes::{CHAIN, Paths, Shape};
use support::{PerImpl, TreeImpl};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HELP: &str = "\
Counts what one node takes from the allocator in trees of several shapes: bytes as requested, and
blocks; without values, every node kept by a handle that is not counted, and with a u64 in each.

Usage: cargo bench --bench memory -- [OPTIONS] [SUBSTRING]...

      --quick             trees of 20,000 nodes, not of 1,000,000
      --filter SUBSTRING  only rows whose name holds it; may be repeated
      --impl SUBSTRING    only implementations whose name holds it; may be repeated
      --json FILE         also write the table and the facts about it as JSON
      --list              say what the rows are
      --check             check that dropping a tree gives everything back
                          (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

/// What is counted of each shape.
const COUNTS: [(&str, &str); 4] = [
    ("bytes", "bytes requested per node, no values"),
    ("bytes with values", "bytes requested per node, a u64 in each"),
    ("blocks", "allocations alive per node, no values"),
    ("blocks with values", "allocations alive per node, a u64 in each"),
];

/// How much of a tree may stay allocated after it is gone, beside what stayed after one before it:
/// caches of blocks to be used again.
const KEPT: f64 = 0.1;

const BENCH: Bench = Bench {
    name: "memory",
    help: HELP,
    options: &[],
    allocator: "the system's, counted",
    rows: |_| rows().map(|(shape, count, what)| (row_name(shape, count), what.into())).collect(),
    check,
    measure,
};

fn main() -> ExitCode {
    BENCH.main()
}

fn rows() -> impl Iterator<Item = (Shape, &'static str, &'static str)> {
    Shape::ALL.into_iter().flat_map(|shape| COUNTS.map(|(count, what)| (shape, count, what)))
}

fn row_name(shape: Shape, count: &str) -> String {
    format!("{shape}: {count}")
}

/// What the allocator has given out.
#[derive(Clone, Copy)]
struct Held {
    bytes: f64,
    blocks: f64,
}

impl Held {
    fn now() -> Held {
        let stats = ALLOCATOR.stats();
        Held {
            bytes: stats.bytes_allocated as f64 - stats.bytes_deallocated as f64,
            blocks: stats.allocations as f64 - stats.deallocations as f64,
        }
    }

    fn since(before: Held) -> Held {
        let now = Held::now();
        Held { bytes: now.bytes - before.bytes, blocks: now.blocks - before.blocks }
    }
}

/// What one tree held without values, with values, and after it was gone.
struct Life {
    bare: Held,
    full: Held,
    gone: Held,
}

/// Lives through a tree of one shape, every node of which is kept by a handle.
struct Live {
    shape: Shape,
    paths: Paths,
    nodes: usize,
}

impl Live {
    fn new(shape: Shape, nodes: usize) -> Self {
        Live { shape, paths: shape.paths(nodes), nodes: shape.nodes(nodes) }
    }

    /// Walks to every node, one by one.
    fn walk_all<T: TreeImpl>(&self, tree: &T, handles: &mut Vec<T::Handle>) {
        let root = tree.root();
        for path in self.paths.iter() {
            if self.shape != Shape::Chains {
                handles.push(T::walk(&root, path));
                continue;
            }
            let mut at = root.clone();
            for name in path.split('/') {
                at = T::walk(&at, name);
                handles.push(at.clone());
            }
        }
    }
}

impl PerImpl for Live {
    type Output = Option<Life>;

    fn of<T: TreeImpl>(&self) -> Option<Life> {
        if self.shape == Shape::Chains && !T::FITS_CHAINS {
            return None;
        }
        let mut handles = Vec::with_capacity(self.nodes);
        T::settle();
        let before = Held::now();
        let tree = T::new();
        self.walk_all(&tree, &mut handles);
        T::settle();
        let bare = Held::since(before);
        for (value, handle) in (0..).zip(&handles) {
            T::store(handle, Some(value));
        }
        T::settle();
        let full = Held::since(before);
        handles.clear();
        drop(tree);
        T::settle();
        Some(Life { bare, full, gone: Held::since(before) })
    }
}

/// Drops a tree of every shape and looks at what stays.
fn check(args: &Args, checks: &mut Checks) {
    for shape in Shape::ALL {
        let live = Live::new(shape, 10 * CHAIN);
        args.impls.each(&live);
        for (name, life) in args.impls.each(&live) {
            let line = format!("{name}: {shape}_trees_give_back_what_they_took");
            let Some(Life { full, gone, .. }) = life.filter(|_| args.wants(&line)) else {
                continue;
            };
            checks.run(&line, || {
                let (stays, held) = (gone.bytes, full.bytes);
                assert!(stays <= held * KEPT, "{stays} of {held} bytes stay");
            });
        }
    }
}

fn measure(args: &Args) -> Table {
    let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
    let mut table = Table::new("per node", &args.impls.names(), Ratio::FirstColumn);
    table.method = format!("trees of about {} nodes", plan.nodes);
    for shape in Shape::ALL {
        if COUNTS.iter().any(|(count, _)| args.wants(&row_name(shape, count))) {
            count_shape(args, shape, plan.nodes, &mut table);
        }
    }
    table
}

/// The rows of one shape.
fn count_shape(args: &Args, shape: Shape, nodes: usize, table: &mut Table) {
    let live = Live::new(shape, nodes);
    let lives = args.impls.each(&live);
    let per_node = |pick: fn(&Life) -> f64| -> Vec<Option<f64>> {
        let value = |life: &Option<Life>| life.as_ref().map(|life| pick(life) / live.nodes as f64);
        lives.iter().map(|(_, life)| value(life)).collect()
    };
    let columns = [
        per_node(|life| life.bare.bytes),
        per_node(|life| life.full.bytes),
        per_node(|life| life.bare.blocks),
        per_node(|life| life.full.blocks),
    ];
    for ((count, _), values) in COUNTS.into_iter().zip(columns) {
        let name = row_name(shape, count);
        if args.wants(&name) {
            table.push(Row { name, values, noise: None });
        }
    }
}
