//! The tests of the library.
//!
//! | module | what |
//! |---|---|
//! | `authority` | narrowed anchors: rights, limits, revocation |
//! | `contract` | the promises, one test each, through the public interface |
//! | `properties` | random operations against the model; the path grammar |
//! | `stress` | threads on shared trees, and what must hold meanwhile and at the end |
//! | `leaks` | every way a value can leave, counted; very deep and very wide trees |
//! | `regressions` | the seeds of the fuzz targets |

mod authority;
mod contract;
mod leaks;
mod properties;
mod regressions;
mod stress;

use std::env;

use crate::testing::Tracked;
use crate::{Anchor, Limits, Tree};

/// How much each kind of test does.
struct Sizes {
    /// Sequences of operations against the model, for each property.
    cases: u32,
    /// Bytes of one encoded sequence; an operation takes about five.
    sequence_bytes: usize,
    /// Operations per thread in a stress; `KILLICK_STRESS_OPS` overrides it.
    stress_ops: u64,
    /// Nodes in the deepest chain.
    deep: usize,
    /// Children of the widest node.
    wide: usize,
}

/// The one table of sizes: full, `KILLICK_TEST_SIZE=small` for sanitizers, and for Miri.
fn sizes() -> Sizes {
    let small = env::var_os("KILLICK_TEST_SIZE").is_some_and(|size| size == "small");
    let mut sizes = if cfg!(miri) {
        Sizes { cases: 4, sequence_bytes: 150, stress_ops: 100, deep: 300, wide: 300 }
    } else if small {
        Sizes { cases: 40, sequence_bytes: 500, stress_ops: 10_000, deep: 50_000, wide: 5_000 }
    } else {
        Sizes {
            cases: 300,
            sequence_bytes: 1_000,
            stress_ops: 20_000,
            deep: 1_000_000,
            wide: 100_000,
        }
    };
    if let Ok(ops) = env::var("KILLICK_STRESS_OPS") {
        sizes.stress_ops = ops.parse().expect("KILLICK_STRESS_OPS is a number of operations");
    }
    sizes
}

/// An empty tree with default limits, and its root.
fn tree() -> (Tree<Tracked>, Anchor<Tracked>) {
    let tree = Tree::new(Limits::default());
    let root = tree.root();
    (tree, root)
}
