//! Children that take turns beside another one, so that this one is never the only child, and lists
//! of them. A list that is wrong here has looked twice and seen the same, whatever came and went between.

use std::sync::Arc;

use killick::{Anchor, Limits, Tree};
use shuttle::thread;

use crate::history::NAMES;
use crate::scenario::draw;

/// Lists in one execution.
const LISTS: usize = 3;

/// Runs an execution. The number of its lists.
pub(crate) fn run() -> usize {
    let mut names = NAMES;
    // Which child has which slot of the table.
    (0..3).for_each(|at| names.swap(at, draw(at, NAMES.len())));
    let [first, second, beside, ..] = names;
    let tree = Arc::new(Tree::<u32>::new(Limits::default()));
    let walk = |tree: &Tree<u32>, name: &str| -> Anchor<u32> { tree.root().walk(name).unwrap() };
    let mut one = walk(&tree, first);
    // The table has a slot for each.
    drop((walk(&tree, second), walk(&tree, beside)));
    let writer = {
        let tree = tree.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                let two = walk(&tree, second);
                drop(one);
                one = walk(&tree, first);
                let beside = walk(&tree, beside);
                drop(two);
                let two = walk(&tree, second);
                drop(one);
                one = walk(&tree, first);
                drop((two, beside));
            }
            one
        })
    };
    for _ in 0..LISTS {
        let listed = tree.root().names();
        assert!(!listed.is_empty(), "no moment had no child");
        assert!(!listed.iter().eq([beside]), "no moment had {beside} alone");
    }
    drop(writer.join().unwrap());
    assert_eq!(tree.root().child_count(), 0, "nodes are left under the root");
    LISTS
}
