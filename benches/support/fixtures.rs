//! What each kind of workload does to an implementation: builds what it needs, then hands out a job
//! that can be run for any number of iterations and says how long they took.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::TreeImpl;
use super::shapes::{Paths, Shape, spine};

/// Runs that many iterations; the time they took.
pub(crate) type Job = Box<dyn FnMut(u64) -> Duration>;

/// How many fresh names churn takes in turn; a power of two.
pub(super) const FRESH: usize = 64;

/// Times `iterations` of `operation`.
fn timed(iterations: u64, mut operation: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..iterations {
        operation();
    }
    start.elapsed()
}

/// A tree with `fanout` children at each of `depth` levels along one path, a value in every leaf,
/// and the paths of the deepest leaves.
pub(super) struct Spine<T: TreeImpl> {
    pub(super) tree: T,
    pub(super) leaves: Paths,
}

impl<T: TreeImpl> Spine<T> {
    pub(super) fn new(depth: usize, fanout: usize) -> Self {
        let tree = T::new();
        let root = tree.root();
        for level in 1..=depth {
            let siblings = Paths::numbered(&format!("{}n", spine(level, fanout)), fanout);
            for path in siblings.iter() {
                T::store(&T::walk(&root, path), Some(level as u64));
            }
        }
        let leaves = Paths::shuffled(&format!("{}n", spine(depth, fanout)), fanout);
        Spine { tree, leaves }
    }
}

/// Walks to a node that exists and drops the handle. A value keeps the node.
pub(crate) fn walk_hit<T: TreeImpl>(depth: usize, fanout: usize) -> Job {
    let Spine { tree, mut leaves } = Spine::<T>::new(depth, fanout);
    let root = tree.root();
    Box::new(move |iterations| {
        let _alive = &tree;
        timed(iterations, || drop(black_box(T::walk(&root, leaves.cycle()))))
    })
}

/// Reads a value by path, in place, with no handle to the node.
pub(crate) fn load_at<T: TreeImpl>(depth: usize, fanout: usize) -> Job {
    let Spine { tree, mut leaves } = Spine::<T>::new(depth, fanout);
    let root = tree.root();
    Box::new(move |iterations| {
        let _alive = &tree;
        timed(iterations, || {
            black_box(T::read_at(&root, leaves.cycle()));
        })
    })
}

/// A job on one handle, whose node has a value.
fn on_handle<T: TreeImpl>(mut operation: impl FnMut(&T::Handle) + 'static) -> Job {
    let tree = T::new();
    let handle = T::walk(&tree.root(), "a/b");
    T::store(&handle, Some(1));
    Box::new(move |iterations| {
        let _alive = &tree;
        timed(iterations, || operation(black_box(&handle)))
    })
}

/// Takes a counted reference to the value and drops it.
pub(crate) fn load_by_handle<T: TreeImpl>() -> Job {
    on_handle::<T>(|handle| drop(black_box(T::load(handle))))
}

/// Reads the value in place.
pub(crate) fn read_by_handle<T: TreeImpl>() -> Job {
    on_handle::<T>(|handle| {
        black_box(T::read(handle));
    })
}

/// Clones a handle and drops the clone.
pub(crate) fn clone_drop<T: TreeImpl>() -> Job {
    on_handle::<T>(|handle| drop(black_box(handle.clone())))
}

/// Stores a value over another.
pub(crate) fn store_overwrite<T: TreeImpl>() -> Job {
    let mut value = 0;
    on_handle::<T>(move |handle| {
        value += 1;
        black_box(T::store(handle, Some(value)));
    })
}

/// Empties and fills the cell in turn; each is one operation.
pub(crate) fn store_toggle<T: TreeImpl>() -> Job {
    let mut filled = true;
    on_handle::<T>(move |handle| {
        filled = !filled;
        black_box(T::store(handle, filled.then_some(1)));
    })
}

/// Creates a node under `p` by walking to it and prunes it by dropping the handle: `names` in turn,
/// beside `siblings` that stay. `p` itself is kept by a handle.
fn churn<T: TreeImpl>(siblings: usize, mut names: Paths) -> Job {
    let tree = T::new();
    let root = tree.root();
    let parent = T::walk(&root, "p");
    for path in Paths::numbered("p/n", siblings).iter() {
        T::store(&T::walk(&root, path), Some(1));
    }
    Box::new(move |iterations| {
        let _alive = (&tree, &parent);
        timed(iterations, || drop(black_box(T::walk(&root, names.cycle()))))
    })
}

/// Create and prune, the node being the only child of a parent that stays.
pub(crate) fn churn_own_parent<T: TreeImpl>() -> Job {
    churn::<T>(0, Paths::numbered("p/x", FRESH))
}

/// Create and prune with another name each time, beside `fanout` siblings.
pub(crate) fn churn_shared_parent<T: TreeImpl>(fanout: usize) -> Job {
    churn::<T>(fanout, Paths::numbered("p/x", FRESH))
}

/// Create and prune of one path again and again, beside `fanout` siblings.
pub(crate) fn churn_same_path<T: TreeImpl>(fanout: usize) -> Job {
    churn::<T>(fanout, Paths::numbered("p/x", 1))
}

/// Create and prune of a node together with its parent.
pub(crate) fn churn_cascade<T: TreeImpl>() -> Job {
    let tree = T::new();
    let root = tree.root();
    let mut paths = Paths::default();
    (0..FRESH).for_each(|n| paths.push(format_args!("x{n}/y")));
    Box::new(move |iterations| {
        let _alive = &tree;
        timed(iterations, || drop(black_box(T::walk(&root, paths.cycle()))))
    })
}

/// Nineteen loads by path, then one create and prune beside what is loaded.
pub(crate) fn mixed<T: TreeImpl>(fanout: usize) -> Job {
    let Spine { tree, mut leaves } = Spine::<T>::new(1, fanout);
    let root = tree.root();
    let mut fresh = Paths::numbered("x", FRESH);
    let mut turn = 0_u32;
    Box::new(move |iterations| {
        let _alive = &tree;
        timed(iterations, || {
            turn = (turn + 1) % 20;
            if turn == 0 {
                drop(black_box(T::walk(&root, fresh.cycle())));
            } else {
                black_box(T::read_at(&root, leaves.cycle()));
            }
        })
    })
}

/// Lists the names of `fanout` children, sorted, and looks at each.
pub(crate) fn ls_names<T: TreeImpl>(fanout: usize) -> Option<Job> {
    if !T::LISTS_CHILDREN {
        return None;
    }
    let Spine { tree, .. } = Spine::<T>::new(1, fanout);
    let root = tree.root();
    Some(Box::new(move |iterations| {
        let _alive = &tree;
        timed(iterations, || {
            T::ls_names(&root, |name| {
                black_box(name);
            });
        })
    }))
}

/// Lists `fanout` children, sorted, with a handle to each, looks at each and drops the handles.
pub(crate) fn ls_handles<T: TreeImpl>(fanout: usize) -> Option<Job> {
    if !T::LISTS_CHILDREN {
        return None;
    }
    let Spine { tree, .. } = Spine::<T>::new(1, fanout);
    let root = tree.root();
    Some(Box::new(move |iterations| {
        let _alive = &tree;
        timed(iterations, || {
            T::ls_handles(&root, |name, handle| {
                black_box((name, handle));
            });
        })
    }))
}

/// A tree with a value at each of `paths`.
fn build_tree<T: TreeImpl>(paths: &Paths) -> T {
    let tree = T::new();
    let root = tree.root();
    for path in paths.iter() {
        T::store(&T::walk(&root, path), Some(1));
    }
    tree
}

fn has_shape<T: TreeImpl>(shape: Shape) -> bool {
    T::FITS_CHAINS || shape != Shape::Chains
}

/// Builds a whole tree, path by path from the root. Taking it down is not counted.
pub(crate) fn build<T: TreeImpl>(shape: Shape, nodes: usize) -> Option<Job> {
    let paths = has_shape::<T>(shape).then(|| shape.paths(nodes))?;
    Some(Box::new(move |iterations| {
        let mut total = Duration::ZERO;
        for _ in 0..iterations {
            let start = Instant::now();
            let tree = black_box(build_tree::<T>(&paths));
            total += start.elapsed();
            drop(tree);
            T::settle();
        }
        total
    }))
}

/// Drops a whole tree, to the last byte: what is put off is done before the clock stops.
pub(crate) fn teardown<T: TreeImpl>(shape: Shape, nodes: usize) -> Option<Job> {
    let paths = has_shape::<T>(shape).then(|| shape.paths(nodes))?;
    Some(Box::new(move |iterations| {
        let mut total = Duration::ZERO;
        for _ in 0..iterations {
            let tree = black_box(build_tree::<T>(&paths));
            T::settle();
            let start = Instant::now();
            drop(tree);
            T::settle();
            total += start.elapsed();
        }
        total
    }))
}
