//! Single operations of killick under criterion; `compare` has the other trees beside it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use killick::{Allowance, Anchor, Grant, Limits, Rights, Tree};

#[allow(dead_code, reason = "each bench uses a part of what they share")]
#[path = "support/shapes.rs"]
mod shapes;

use shapes::{Paths, spine};

const CELLS: [(usize, usize); 6] = [(1, 1), (1, 16), (1, 1024), (3, 16), (8, 1), (8, 1024)];
/// How many fresh names create and prune take in turn.
const FRESH: usize = 64;

fn tree() -> Tree<u64> {
    Tree::new(Limits::default())
}

fn walk(base: &Anchor<u64>, path: &str) -> Anchor<u64> {
    base.walk(path).expect("a path within the default limits")
}

fn store(anchor: &Anchor<u64>, value: Option<u64>) -> u64 {
    anchor.store(value, true).expect("a store that overwrites into an open tree")
}

fn fill(root: &Anchor<u64>, paths: &Paths) {
    paths.iter().for_each(|path| {
        store(&walk(root, path), Some(1));
    });
}

/// A tree with `fanout` children at each of `depth` levels along one path, and the paths of the
/// deepest in an order that no cache foresees. Values keep them.
fn spine_tree(depth: usize, fanout: usize) -> (Tree<u64>, Paths) {
    let tree = tree();
    for level in 1..=depth {
        let siblings = Paths::numbered(&format!("{}n", spine(level, fanout)), fanout);
        fill(&tree.root(), &siblings);
    }
    (tree, Paths::shuffled(&format!("{}n", spine(depth, fanout)), fanout))
}

fn reads(c: &mut Criterion) {
    let mut group = c.benchmark_group("walk_hit");
    for (depth, fanout) in CELLS {
        let (tree, mut paths) = spine_tree(depth, fanout);
        let root = tree.root();
        group.bench_function(BenchmarkId::new(format!("depth_{depth}"), fanout), |b| {
            b.iter(|| drop(black_box(walk(&root, paths.cycle()))));
        });
    }
    group.finish();
    let mut group = c.benchmark_group("load_at");
    for (depth, fanout) in CELLS {
        let (tree, mut paths) = spine_tree(depth, fanout);
        let root = tree.root();
        group.bench_function(BenchmarkId::new(format!("depth_{depth}"), fanout), |b| {
            b.iter(|| root.load_at_with(paths.cycle(), |value, _| value.copied()));
        });
    }
    group.finish();
}

fn handles(c: &mut Criterion) {
    let tree = tree();
    let anchor = walk(&tree.root(), "a/b");
    store(&anchor, Some(1));
    c.bench_function("load_by_handle", |b| b.iter(|| drop(black_box(anchor.load()))));
    c.bench_function("load_with_by_handle", |b| {
        b.iter(|| anchor.load_with(|value, _| value.copied()));
    });
    c.bench_function("clone_and_drop", |b| b.iter(|| drop(black_box(anchor.clone()))));
    let mut value = 0;
    c.bench_function("store_overwrite", |b| {
        b.iter(|| {
            value += 1;
            store(&anchor, Some(value))
        });
    });
    let mut filled = true;
    c.bench_function("store_toggle", |b| {
        b.iter(|| {
            filled = !filled;
            store(&anchor, filled.then_some(1))
        });
    });
    killick::reclaim();
}

/// Create by walking, prune by dropping: `names` in turn under `p`, beside `siblings`.
fn churn(c: &mut Criterion, name: &str, siblings: usize, mut names: Paths) {
    let tree = tree();
    let root = tree.root();
    let parent = walk(&root, "p");
    fill(&root, &Paths::numbered("p/n", siblings));
    c.bench_function(name, |b| b.iter(|| drop(black_box(walk(&root, names.cycle())))));
    drop(parent);
    killick::reclaim();
}

fn create_and_prune(c: &mut Criterion) {
    churn(c, "create_prune/own_parent", 0, Paths::numbered("p/x", FRESH));
    for siblings in [1, 16, 1024] {
        let name = format!("create_prune/shared_parent/{siblings}");
        churn(c, &name, siblings, Paths::numbered("p/x", FRESH));
    }
    let tree = tree();
    let root = tree.root();
    c.bench_function("create_prune/cascade", |b| {
        b.iter(|| drop(black_box(walk(&root, "x/y"))));
    });
    killick::reclaim();
}

fn listings(c: &mut Criterion) {
    for width in [16, 1024] {
        let (tree, _) = spine_tree(1, width);
        let root = tree.root();
        c.bench_function(&format!("ls_names/{width}"), |b| {
            b.iter(|| {
                root.names().iter().for_each(|name| {
                    black_box(name);
                });
            });
        });
        c.bench_function(&format!("ls_handles/{width}"), |b| {
            b.iter(|| drop(black_box(root.ls())));
        });
    }
}

/// What watching costs those who change what is watched, and what is left of it when the watcher has
/// gone: nothing.
fn watching(c: &mut Criterion) {
    for (name, watchers) in [("after", 0), ("beside", 1)] {
        let tree = tree();
        let root = tree.root();
        let parent = walk(&root, "p");
        fill(&root, &Paths::numbered("p/n", 16));
        let cell = walk(&parent, "n0");
        drop((cell.watch(), parent.watch_children()));
        let cells: Vec<_> = (0..watchers).map(|_| cell.watch()).collect();
        let mut value = 0;
        c.bench_function(&format!("watch/store_{name}_a_watcher"), |b| {
            b.iter(|| {
                value += 1;
                store(&cell, Some(value))
            });
        });
        let children: Vec<_> = (0..watchers).map(|_| parent.watch_children()).collect();
        let mut names = Paths::numbered("p/x", FRESH);
        c.bench_function(&format!("watch/create_prune_{name}_a_watcher"), |b| {
            b.iter(|| drop(black_box(walk(&root, names.cycle()))));
        });
        drop((cells, children));
        killick::reclaim();
    }
}

/// What a narrowed anchor costs beside one that is not, and what it takes to take it back.
fn authority(c: &mut Criterion) {
    let tree = tree();
    let root = tree.root();
    store(&walk(&root, "a/b"), Some(1));
    let counted = Allowance { nodes: 1000, ..Allowance::default() };
    let (whole, a) = (root.clone(), walk(&root, "a"));
    let (narrow, _grant) = root.attenuate(Rights::ALL, Allowance::default());
    let (limited, _limits) = root.attenuate(Rights::ALL, counted);
    let mut group = c.benchmark_group("authority");
    group.bench_function("load/whole", |b| b.iter(|| drop(black_box(a.load()))));
    let a = narrow.walk("a").expect("granted");
    group.bench_function("load/narrow", |b| b.iter(|| drop(black_box(a.load()))));
    group.bench_function("walk/whole", |b| b.iter(|| drop(black_box(walk(&whole, "a/b")))));
    group.bench_function("walk/narrow", |b| b.iter(|| drop(black_box(narrow.walk("a/b")))));
    group.bench_function("walk/limited", |b| b.iter(|| drop(black_box(limited.walk("a/b")))));

    // One grant of many, with a handle or with a thousand.
    let others: Vec<_> =
        (0..10_000).map(|_| root.attenuate(Rights::ALL, Allowance::default())).collect();
    for handles in [1, 1000] {
        let granted = || {
            let (narrow, grant) = root.attenuate(Rights::ALL, Allowance::default());
            let held: Vec<_> = (0..handles).map(|_| narrow.walk("a/b")).collect();
            (grant, narrow, held)
        };
        let revoke = |(grant, narrow, held): (Grant, _, _)| {
            grant.revoke();
            (narrow, held)
        };
        group.bench_function(BenchmarkId::new("revoke_one_of_10000", handles), |b| {
            b.iter_batched(granted, revoke, BatchSize::SmallInput);
        });
    }
    drop(others);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = reads, handles, create_and_prune, watching, listings, authority
}
criterion_main!(benches);
