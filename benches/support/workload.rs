//! What is measured: the list of workloads, their names and what each of them means.

use std::fmt;

use super::fixtures::{self, Job};
use super::harness::Plan;
use super::shapes::Shape;
use super::{Impls, PerImpl, TreeImpl, threads};

/// How many threads the workloads with threads have.
const THREADS: usize = 2;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Workload {
    WalkHit { depth: usize, fanout: usize },
    LoadAt { depth: usize, fanout: usize },
    LoadByHandle,
    ReadByHandle,
    CloneDrop,
    StoreOverwrite,
    StoreToggle,
    ChurnOwnParent,
    ChurnCascade,
    ChurnSharedParent { fanout: usize },
    ChurnSamePath { fanout: usize },
    Mixed { fanout: usize },
    LsNames { fanout: usize },
    LsHandles { fanout: usize },
    ThreadsWalk { depth: usize, fanout: usize },
    ThreadsChurnOwnParents,
    ThreadsChurnSharedParent { fanout: usize },
    Build(Shape),
    Teardown(Shape),
}

use Workload::*;

/// A number of children as names have it.
struct Fanout(usize);

impl fmt::Display for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 100_000 && n % 1000 == 0 => write!(f, "{}k", n / 1000),
            n => write!(f, "{n}"),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            WalkHit { depth, fanout } => write!(f, "walk hit d{depth} f{}", Fanout(fanout)),
            LoadAt { depth, fanout } => write!(f, "load by path d{depth} f{}", Fanout(fanout)),
            LoadByHandle => f.write_str("load by handle"),
            ReadByHandle => f.write_str("read by handle"),
            CloneDrop => f.write_str("clone and drop"),
            StoreOverwrite => f.write_str("store overwrite"),
            StoreToggle => f.write_str("store toggle"),
            ChurnOwnParent => f.write_str("churn own parent"),
            ChurnCascade => f.write_str("churn cascade"),
            ChurnSharedParent { fanout } => {
                write!(f, "churn shared parent f{}", Fanout(fanout))
            }
            ChurnSamePath { fanout } => write!(f, "churn same path f{}", Fanout(fanout)),
            Mixed { fanout } => write!(f, "mixed 95/5 f{}", Fanout(fanout)),
            LsNames { fanout } => write!(f, "ls names {}", Fanout(fanout)),
            LsHandles { fanout } => write!(f, "ls handles {}", Fanout(fanout)),
            ThreadsWalk { depth, fanout } => {
                write!(f, "{THREADS} threads walk hit d{depth} f{}", Fanout(fanout))
            }
            ThreadsChurnOwnParents => write!(f, "{THREADS} threads churn own parents"),
            ThreadsChurnSharedParent { fanout } => {
                write!(f, "{THREADS} threads churn shared parent f{}", Fanout(fanout))
            }
            Build(shape) => write!(f, "build {shape}"),
            Teardown(shape) => write!(f, "teardown {shape}"),
        }
    }
}

impl Workload {
    /// Every workload, the small ones first: what big trees do to the heap comes last.
    pub(crate) fn all() -> Vec<Workload> {
        const WIDTHS: [usize; 3] = [16, 1024, 100_000];
        let cells: Vec<(usize, usize)> = [1, 3, 8]
            .into_iter()
            .flat_map(|depth| [1, 16, 1024].map(|fanout| (depth, fanout)))
            .chain([(1, 100_000)])
            .collect();
        let mut all = vec![];
        all.extend(cells.iter().map(|&(depth, fanout)| WalkHit { depth, fanout }));
        all.extend(cells.iter().map(|&(depth, fanout)| LoadAt { depth, fanout }));
        all.extend([LoadByHandle, ReadByHandle, CloneDrop, StoreOverwrite, StoreToggle]);
        all.extend([ChurnOwnParent, ChurnCascade]);
        all.extend([1, 16, 1024, 100_000].map(|fanout| ChurnSharedParent { fanout }));
        all.extend([1, 1024].map(|fanout| ChurnSamePath { fanout }));
        all.extend([16, 1024].map(|fanout| Mixed { fanout }));
        all.extend(WIDTHS.map(|fanout| LsNames { fanout }));
        all.extend(WIDTHS.map(|fanout| LsHandles { fanout }));
        all.extend(
            [(1, 16), (3, 16), (3, 1024)].map(|(depth, fanout)| ThreadsWalk { depth, fanout }),
        );
        all.push(ThreadsChurnOwnParents);
        all.extend([1, 16, 1024].map(|fanout| ThreadsChurnSharedParent { fanout }));
        all.extend(Shape::ALL.into_iter().flat_map(|shape| [Build(shape), Teardown(shape)]));
        all
    }

    /// What one operation of it is.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            WalkHit { .. } => "walk from the root to a node kept by its value, drop the handle",
            LoadAt { .. } => "read a value in place by its path from the root, with no handle",
            LoadByHandle => "take a counted reference to the value and drop it",
            ReadByHandle => "read the value in place",
            CloneDrop => "clone a handle, drop the clone",
            StoreOverwrite => "store a value over another",
            StoreToggle => "empty a cell, or fill it",
            ChurnOwnParent => "create the only child of a node that stays, prune it",
            ChurnCascade => "create a node and its parent, prune both",
            ChurnSharedParent { .. } => {
                "create a node beside f siblings, 64 names in turn, prune it"
            }
            ChurnSamePath { .. } => "create the same node beside f siblings, prune it",
            Mixed { .. } => {
                "95 % load by path among f children, 5 % create one beside and prune it"
            }
            LsNames { .. } => "list that many children's names, sorted",
            LsHandles { .. } => "list that many children, sorted, with handles; drop them",
            ThreadsWalk { .. } => {
                "walk hit by all threads over the same leaves; wall time / all walks"
            }
            ThreadsChurnOwnParents => "churn by all threads, a parent each; wall time / all nodes",
            ThreadsChurnSharedParent { .. } => {
                "churn by all threads beside f siblings, names of their own; wall time / all nodes"
            }
            Build(Shape::Chains) => "build chains of 1000, a walk and a value each; per node",
            Build(_) => "build a tree, a walk and a value for every node; per node",
            Teardown(_) => "drop that tree, freeing included; per node",
        }
    }

    /// How many operations one iteration of its job is, in trees of `nodes` nodes.
    pub(crate) fn operations(&self, nodes: usize) -> f64 {
        let operations = match *self {
            Build(shape) | Teardown(shape) => shape.nodes(nodes),
            ThreadsWalk { .. } | ThreadsChurnOwnParents | ThreadsChurnSharedParent { .. } => {
                THREADS
            }
            _ => 1,
        };
        operations as f64
    }

    /// How `plan` suits it: threads need longer turns, to be under way together most of the time,
    /// and whole trees are built anew in any case.
    pub(crate) fn plan(&self, plan: &Plan) -> Plan {
        match self {
            ThreadsWalk { .. } | ThreadsChurnOwnParents | ThreadsChurnSharedParent { .. } => {
                Plan { slice: plan.slice * 8, budget: plan.budget * 2, ..*plan }
            }
            Build(_) | Teardown(_) => Plan { lives: plan.lives.min(3), ..*plan },
            _ => *plan,
        }
    }

    /// A job for each implementation, `None` for one that it makes no sense for.
    pub(crate) fn jobs(self, impls: &Impls, nodes: usize) -> Vec<Option<Job>> {
        let jobs = impls.each(&Prepare { workload: self, nodes });
        jobs.into_iter().map(|(_, job)| job).collect()
    }
}

struct Prepare {
    workload: Workload,
    nodes: usize,
}

impl PerImpl for Prepare {
    type Output = Option<Job>;

    fn of<T: TreeImpl>(&self) -> Option<Job> {
        match self.workload {
            WalkHit { depth, fanout } => Some(fixtures::walk_hit::<T>(depth, fanout)),
            LoadAt { depth, fanout } => Some(fixtures::load_at::<T>(depth, fanout)),
            LoadByHandle => Some(fixtures::load_by_handle::<T>()),
            ReadByHandle => Some(fixtures::read_by_handle::<T>()),
            CloneDrop => Some(fixtures::clone_drop::<T>()),
            StoreOverwrite => Some(fixtures::store_overwrite::<T>()),
            StoreToggle => Some(fixtures::store_toggle::<T>()),
            ChurnOwnParent => Some(fixtures::churn_own_parent::<T>()),
            ChurnCascade => Some(fixtures::churn_cascade::<T>()),
            ChurnSharedParent { fanout } => Some(fixtures::churn_shared_parent::<T>(fanout)),
            ChurnSamePath { fanout } => Some(fixtures::churn_same_path::<T>(fanout)),
            Mixed { fanout } => Some(fixtures::mixed::<T>(fanout)),
            LsNames { fanout } => fixtures::ls_names::<T>(fanout),
            LsHandles { fanout } => fixtures::ls_handles::<T>(fanout),
            ThreadsWalk { depth, fanout } => Some(threads::walk::<T>(THREADS, depth, fanout)),
            ThreadsChurnOwnParents => Some(threads::churn_own_parents::<T>(THREADS)),
            ThreadsChurnSharedParent { fanout } => {
                Some(threads::churn_shared_parent::<T>(THREADS, fanout))
            }
            Build(shape) => fixtures::build::<T>(shape, self.nodes),
            Teardown(shape) => fixtures::teardown::<T>(shape, self.nodes),
        }
    }
}
