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
use support::report::{Ratio, Row, Table};
use support::shapes::{CHAIN, Paths, SIZES, Shape};
use support::{PerImpl, TreeImpl};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HELP: &str = "\
Counts what one node takes from the allocator in trees of several shapes: bytes as requested, and
blocks; without values, every node kept by a handle that is not counted, and with a u64 in each.
And how the bytes grow with the tree. In full it takes some minutes and gigabytes.

Usage: cargo bench --bench memory -- [OPTIONS] [SUBSTRING]...

      --quick             trees of up to 100,000 nodes, not of 10,000,000
      --filter SUBSTRING  only rows whose name holds it; may be repeated
      --impl SUBSTRING    only implementations whose name holds it; may be repeated
      --json FILE         also write the table and the facts about it as JSON
      --list              say what the rows are
      --check             check that dropping a tree gives everything back
                          (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

/// Something that is counted.
struct Count {
    name: &'static str,
    what: &'static str,
    of: fn(&Life) -> f64,
}

const COUNTS: [Count; 4] = [
    Count {
        name: "bytes with values",
        what: "bytes requested per node, a u64 in each",
        of: |life| life.full.bytes,
    },
    Count {
        name: "bytes",
        what: "bytes requested per node, no values",
        of: |life| life.bare.bytes,
    },
    Count {
        name: "blocks with values",
        what: "allocations alive per node, a u64 in each",
        of: |life| life.full.blocks,
    },
    Count {
        name: "blocks",
        what: "allocations alive per node, no values",
        of: |life| life.bare.blocks,
    },
];

/// How much of a tree may stay allocated after it is gone, beside what stayed after one before it:
/// caches of blocks to be used again.
const KEPT: f64 = 0.1;

const BENCH: Bench = Bench {
    name: "memory",
    help: HELP,
    options: &[],
    allocator: "the system's, counted",
    rows,
    check,
    measure,
};

fn main() -> ExitCode {
    BENCH.main()
}

/// One tree, and what is counted of it.
struct Rows {
    shape: Shape,
    nodes: usize,
    counts: &'static [Count],
}

impl Rows {
    /// Everything of trees of one size, and of other sizes how the bytes grow.
    fn all(args: &Args) -> Vec<Rows> {
        let (nodes, largest) = if args.quick { (10_000, 100_000) } else { (1_000_000, usize::MAX) };
        let whole = Shape::ALL.into_iter().map(|shape| Rows { shape, nodes, counts: &COUNTS });
        let others = SIZES.into_iter().filter(|size| *size != nodes && *size <= largest);
        let growth = others
            .flat_map(|nodes| Shape::ALL.map(|shape| Rows { shape, nodes, counts: &COUNTS[..1] }));
        whole.chain(growth).collect()
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let Rows { shape, nodes, counts } = self;
        counts.iter().map(move |count| format!("{} {shape}, nodes: {nodes}", count.name))
    }

    fn count(&self, args: &Args, table: &mut Table) {
        let live = Live::new(self.shape, self.nodes);
        let lives = args.impls.each(&live);
        for (name, count) in self.names().zip(self.counts) {
            if !args.wants(&name) {
                continue;
            }
            let per_node = |life: &Life| (count.of)(life) / live.nodes as f64;
            let values = lives.iter().map(|(_, life)| life.as_ref().map(per_node)).collect();
            table.push(Row { name, values, noise: None });
        }
    }
}

fn rows(args: &Args) -> Vec<(String, String)> {
    let describe = |rows: &Rows| {
        let what = rows.counts.iter().map(|count| count.what.to_owned());
        rows.names().zip(what).collect::<Vec<_>>()
    };
    Rows::all(args).iter().flat_map(describe).collect()
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
        if self.nodes > T::LARGEST || self.shape == Shape::Chains && !T::FITS_CHAINS {
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
    let mut table = Table::new("per node", &args.impls.names(), Ratio::FirstColumn);
    table.method = "a tree each".to_owned();
    for rows in Rows::all(args) {
        if rows.names().any(|name| args.wants(&name)) {
            rows.count(args, &mut table);
        }
    }
    table
}
