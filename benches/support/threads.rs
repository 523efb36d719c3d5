//! What several threads do to one tree at a time. A job's time is wall-clock time; one iteration of
//! it is one operation of each thread.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::TreeImpl;
use super::fixtures::{FRESH, Job, Spine};
use super::shapes::Paths;

/// How many turns a thread takes at once.
const PORTION: usize = 64;
/// One in so many operations of [`mixed`] creates and prunes.
const CHURN: usize = 20;

/// Lets `threads` threads do `work(thread, turn)`, `iterations` times for each of them, after a
/// warm-up; the wall-clock time from the first start to the last end. The turns are dealt out in
/// small portions, so that no thread is done long before another and leaves it alone.
fn on_threads(threads: usize, iterations: u64, work: impl Fn(usize, usize) + Sync) -> Duration {
    let turns = usize::try_from(iterations).unwrap_or(usize::MAX / threads);
    let (start, dealt) = (Barrier::new(threads), AtomicUsize::new(0));
    let one = |thread: usize| {
        (0..turns / 8 + 1).for_each(|turn| work(thread, turn));
        start.wait();
        let (begin, mut turn) = (Instant::now(), 0);
        while dealt.fetch_add(PORTION, Ordering::Relaxed) < turns * threads {
            (turn..turn + PORTION).for_each(|turn| work(thread, turn));
            turn += PORTION;
        }
        (begin, Instant::now())
    };
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread of the bench")).collect()
    });
    let begin = spans.iter().map(|span| span.0).min();
    let end = spans.iter().map(|span| span.1).max();
    begin.zip(end).map_or(Duration::ZERO, |(begin, end)| end - begin)
}

/// Threads that create and prune, each under a parent of its own.
pub(crate) fn churn_own_parents<T: TreeImpl>(threads: usize) -> Job {
    let tree = T::new();
    let root = tree.root();
    let parents: Vec<_> = (0..threads).map(|n| T::walk(&root, &format!("p{n}"))).collect();
    let names: Vec<_> = (0..threads).map(|n| Paths::numbered(&format!("p{n}/x"), FRESH)).collect();
    Box::new(move |iterations| {
        let _alive = (&tree, &parents);
        on_threads(threads, iterations, |thread, turn| {
            drop(black_box(T::walk(&root, names[thread].get(turn % FRESH))));
        })
    })
}

/// Threads that create and prune under one parent, beside `fanout` siblings, each its own names.
pub(crate) fn churn_shared_parent<T: TreeImpl>(threads: usize, fanout: usize) -> Job {
    let tree = T::new();
    let root = tree.root();
    let parent = T::walk(&root, "p");
    for path in Paths::numbered("p/n", fanout).iter() {
        T::store(&T::walk(&root, path), Some(1));
    }
    let names: Vec<_> = (0..threads).map(|n| Paths::numbered(&format!("p/x{n}-"), FRESH)).collect();
    Box::new(move |iterations| {
        let _alive = (&tree, &parent);
        on_threads(threads, iterations, |thread, turn| {
            drop(black_box(T::walk(&root, names[thread].get(turn % FRESH))));
        })
    })
}

/// Threads that walk to nodes that exist and drop the handles, all over the same leaves.
pub(crate) fn walk<T: TreeImpl>(threads: usize, depth: usize, fanout: usize) -> Job {
    let Spine { tree, leaves } = Spine::<T>::new(depth, fanout);
    let root = tree.root();
    Box::new(move |iterations| {
        let _alive = &tree;
        on_threads(threads, iterations, |thread, turn| {
            let at = (turn + thread * fanout / threads) % fanout;
            drop(black_box(T::walk(&root, leaves.get(at))));
        })
    })
}

/// What a reading thread does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read {
    /// Reads a value in place by its path.
    Load,
    /// Walks to the node and drops the handle.
    Walk,
}

/// Threads that read at depth three among 16 siblings a level; each below a child of the root of
/// its own if they are `disjoint`, else all the same leaves.
pub(crate) fn read<T: TreeImpl>(threads: usize, read: Read, disjoint: bool) -> Job {
    const LEAVES: usize = 16;
    let tree = T::new();
    let root = tree.root();
    let tops = LEAVES.max(threads);
    for (prefix, count) in [("t", tops), ("t0/n", LEAVES)] {
        Paths::numbered(prefix, count).iter().for_each(|path| {
            T::store(&T::walk(&root, path), Some(1));
        });
    }
    let leaves: Vec<Paths> =
        (0..tops).map(|top| Paths::shuffled(&format!("t{top}/n8/n"), LEAVES)).collect();
    for path in leaves.iter().flat_map(Paths::iter) {
        T::store(&T::walk(&root, path), Some(1));
    }
    Box::new(move |iterations| {
        let _alive = &tree;
        on_threads(threads, iterations, |thread, turn| {
            let paths = &leaves[if disjoint { thread } else { 0 }];
            let path = paths.get((turn + thread) % LEAVES);
            match read {
                Read::Load => {
                    black_box(T::read_at(&root, path));
                }
                Read::Walk => drop(black_box(T::walk(&root, path))),
            }
        })
    })
}

/// Threads that load by path among `fanout` children of the root; one operation in twenty creates
/// a node beside them and prunes it.
pub(crate) fn mixed<T: TreeImpl>(threads: usize, fanout: usize) -> Job {
    let Spine { tree, leaves } = Spine::<T>::new(1, fanout);
    let root = tree.root();
    let names: Vec<_> = (0..threads).map(|n| Paths::numbered(&format!("x{n}-"), FRESH)).collect();
    Box::new(move |iterations| {
        let _alive = &tree;
        on_threads(threads, iterations, |thread, turn| {
            if turn % CHURN == 0 {
                drop(black_box(T::walk(&root, names[thread].get(turn / CHURN % FRESH))));
            } else {
                let at = (turn + thread * fanout / threads) % fanout;
                black_box(T::read_at(&root, leaves.get(at)));
            }
        })
    })
}
