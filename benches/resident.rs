//! Whether memory comes back: what the process holds with a big tree and after it, and what is held
//! while a reader sleeps in the middle of a read.
//!
//! `cargo bench --bench resident -- --help` says how. Run by `cargo test`, it checks instead that
//! small trees are given back.

use std::alloc::System;
use std::env;
use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[allow(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use support::args::Args;
use support::bench::{Bench, Checks};
use support::report::{Ratio, Row, Table};
use support::shapes::{Paths, Shape};
use support::{Impls, Killick, PerImpl, TreeImpl};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HELP: &str = "\
Builds a tree of 1,000,000 nodes with a value each, drops it, frees what was put off, and prints
what the process held before, at most and afterwards: the bytes requested from the allocator, and
the pages that the system counts as resident. An allocator gives pages back when it likes; it is
not asked to. Each implementation has a process to itself.

And for killick: how much is held while one thread sleeps inside of 'load_with' and another one
creates and prunes for a second, and after both are done.

Usage: cargo bench --bench resident -- [OPTIONS] [SUBSTRING]...

      --quick             100,000 nodes and a fifth of a second
      --filter SUBSTRING  only rows whose name holds it; may be repeated
      --impl SUBSTRING    only implementations whose name holds it; may be repeated
      --json FILE         also write the table and the facts about it as JSON
      --list              say what the rows are
      --check             measure nothing; build and drop small trees
                          (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

const BENCH: Bench = Bench {
    name: "resident",
    help: HELP,
    options: &[],
    allocator: "the system's, counted",
    rows: |_| ROWS.map(|(name, what)| (name.into(), what.into())).into(),
    check,
    measure,
};

/// The rows, first those of [`come_back`], then those of [`sleeping_reader`].
const ROWS: [(&str, &str); 13] = [
    ("resident before, MB", "pages of the process, before there is a tree"),
    ("resident with the tree, MB", "pages with the tree"),
    ("resident after, MB", "pages after it was dropped and freed"),
    ("resident held, %", "how much of the tree's pages stays"),
    ("resident with a second tree, MB", "pages with another such tree, built after that"),
    ("requested with the tree, MB", "bytes of the tree, as requested from the allocator"),
    (HELD, "how much of these bytes stays"),
    ("reader asleep: churned, millions", "nodes created and pruned beside a reader that sleeps"),
    ("reader asleep: requested, MB", "bytes that are held back at the end of its sleep"),
    ("reader asleep: resident, MB", "pages by which the process is larger then"),
    ("reader awake: requested, MB", "bytes held when it has woken and what was put off is freed"),
    ("reader awake: resident, MB", "pages then"),
    ("no reader: requested, MB", "bytes held at the end of as much churn without a reader"),
];
/// The row that is checked.
const HELD: &str = "requested held, %";

/// Set for a process that measures one implementation: its name.
const ALONE: &str = "KILLICK_BENCH_ALONE";

/// How big and how long.
#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    sleep: Duration,
}

const FULL: Size = Size { nodes: 1_000_000, sleep: Duration::from_secs(1) };
const QUICK: Size = Size { nodes: 100_000, sleep: Duration::from_millis(200) };
const CHECK: Size = Size { nodes: 20_000, sleep: Duration::from_millis(20) };

fn main() -> ExitCode {
    match env::var(ALONE) {
        Ok(name) => alone(&name),
        Err(_) => BENCH.main(),
    }
}

const MB: f64 = 1e6;

/// What the process has.
#[derive(Clone, Copy)]
struct Held {
    requested: f64,
    resident: f64,
}

impl Held {
    fn now() -> Held {
        let stats = ALLOCATOR.stats();
        let requested = stats.bytes_allocated as f64 - stats.bytes_deallocated as f64;
        Held { requested, resident: resident().unwrap_or(f64::NAN) }
    }

    fn above(self, before: Held) -> Held {
        Held {
            requested: self.requested - before.requested,
            resident: self.resident - before.resident,
        }
    }
}

/// The bytes of the process's resident pages, as Linux counts them.
fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn build<T: TreeImpl>(paths: &Paths) -> T {
    let tree = T::new();
    for path in paths.iter() {
        T::store(&T::walk(&tree.root(), path), Some(1));
    }
    T::settle();
    tree
}

/// Builds and drops a tree; the first rows.
fn come_back<T: TreeImpl>(nodes: usize) -> Vec<f64> {
    let paths = Shape::Square.paths(nodes);
    T::settle();
    let before = Held::now();
    let tree = build::<T>(&paths);
    let full = Held::now();
    drop(tree);
    T::settle();
    let after = Held::now();
    let second = build::<T>(&paths);
    let again = Held::now();
    drop(second);
    let (tree, stays) = (full.above(before), after.above(before));
    vec![
        before.resident / MB,
        full.resident / MB,
        after.resident / MB,
        stays.resident / tree.resident * 100.0,
        again.resident / MB,
        tree.requested / MB,
        stays.requested / tree.requested * 100.0,
    ]
}

/// Creates and prunes for `time`; how many nodes.
fn churn(tree: &Killick, time: Duration) -> f64 {
    let (root, mut names) = (tree.root(), Paths::numbered("p/x", 64));
    let _parent = Killick::walk(&root, "p");
    let begin = Instant::now();
    let mut nodes = 0.0;
    while begin.elapsed() < time {
        for _ in 0..64 {
            drop(black_box(Killick::walk(&root, names.cycle())));
        }
        nodes += 64.0;
    }
    nodes
}

/// Lets one thread sleep in a read while this one creates and prunes; the other rows.
fn sleeping_reader(sleep: Duration) -> Vec<f64> {
    let tree = Killick::new();
    let read = Killick::walk(&tree.root(), "read");
    churn(&tree, sleep / 4);
    Killick::settle();
    let before = Held::now();
    churn(&tree, sleep);
    let alone = Held::now().above(before);
    Killick::settle();
    let (asleep, wait_until_asleep) = mpsc::channel();
    let (wake, wait_until_woken) = mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        read.load_with(|_, _| {
            asleep.send(()).expect("somebody waits for the reader to sleep");
            let _woken = wait_until_woken.recv();
        });
    });
    wait_until_asleep.recv().expect("a reader");
    let churned = churn(&tree, sleep);
    let meanwhile = Held::now().above(before);
    drop(wake);
    reader.join().expect("a reader that wakes");
    Killick::settle();
    let after = Held::now().above(before);
    vec![
        churned / 1e6,
        meanwhile.requested / MB,
        meanwhile.resident / MB,
        after.requested / MB,
        after.resident / MB,
        alone.requested / MB,
    ]
}

/// All rows of one implementation.
struct Measure(Size);

impl PerImpl for Measure {
    type Output = Vec<Option<f64>>;

    fn of<T: TreeImpl>(&self) -> Vec<Option<f64>> {
        let mut values = come_back::<T>(self.0.nodes);
        if T::NAME == Killick::NAME {
            values.extend(sleeping_reader(self.0.sleep));
        }
        let mut values: Vec<_> = values.into_iter().map(Some).collect();
        values.resize(ROWS.len(), None);
        values
    }
}

/// Measures one implementation, in this process, which has nothing else to do.
fn alone(name: &str) -> ExitCode {
    let size = if env::args().any(|arg| arg == "--quick") { QUICK } else { FULL };
    let all = Impls { filters: vec![name.to_owned()] }.each(&Measure(size));
    let values = all.into_iter().find(|(found, _)| *found == name).map(|(_, values)| values);
    println!("{}", serde_json::to_string(&values.unwrap_or_default()).expect("numbers"));
    ExitCode::SUCCESS
}

/// The same, in a process of its own.
fn in_process(name: &str, args: &Args) -> Result<Vec<Option<f64>>, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let quick = args.quick.then_some("--quick");
    let output = Command::new(program).args(quick).env(ALONE, name).output();
    let output = output.map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn check(args: &Args, checks: &mut Checks) {
    for (name, values) in args.impls.each(&Measure(CHECK)) {
        let line = format!("{name}: memory_comes_back");
        if args.wants(&line) {
            checks.run(&line, || {
                let held = ROWS.iter().position(|(name, _)| *name == HELD).map(|at| values[at]);
                assert!(held.flatten().is_some_and(|held| held < 50.0), "{held:?} % stay");
            });
        }
    }
}

fn measure(args: &Args) -> Table {
    let names = args.impls.names();
    let mut table = Table::new("", &names, Ratio::FirstColumn);
    let size = if args.quick { QUICK } else { FULL };
    table.method = format!("a process each; {} nodes; {:?} of churn", size.nodes, size.sleep);
    let columns: Vec<_> = names.iter().map(|name| in_process(name, args)).collect();
    for (name, error) in
        names.iter().zip(&columns).filter_map(|(n, c)| Some((n, c.as_ref().err()?)))
    {
        eprintln!("{name}: {error}");
    }
    for (at, (name, _)) in ROWS.into_iter().enumerate().filter(|(_, (name, _))| args.wants(name)) {
        let value = |column: &Result<Vec<_>, _>| column.as_ref().ok().and_then(|values| values[at]);
        table.push(Row {
            name: name.to_owned(),
            values: columns.iter().map(value).collect(),
            noise: None,
        });
    }
    table
}
