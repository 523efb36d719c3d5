//! Watchers that come, look and go beside changes of what they watch. At the end each is shown what is
//! there, whatever it has been shown before.

use std::sync::Arc;

use killick::testing::Observer;
use killick::{Anchor, Limits, Tree};
use shuttle::thread;

use crate::history::NAMES;
use crate::scenario::draw;

const THREADS: usize = 3;

/// One thread's steps, each by its dice. The watchers that are left.
fn steps(root: &Anchor<u32>, names: usize, dice: Vec<usize>) -> Vec<Observer<u32>> {
    let (mut observers, mut held) = (Vec::<Observer<u32>>::new(), Vec::new());
    for dice in dice {
        let name = NAMES[(dice >> 8) % names];
        match dice % 8 {
            0 => observers.push(Observer::new(root.clone(), true)),
            1 => observers.push(Observer::new(root.walk(name).unwrap(), dice >> 16 & 1 == 0)),
            2 => drop(observers.pop()),
            3 => {
                if let Some(observer) = observers.last_mut() {
                    let _new = observer.look();
                }
            }
            4 | 5 => {
                let value = (dice >> 16 & 1 == 0).then_some(1);
                root.store_at(name, value, true).unwrap();
            }
            6 => held.push(root.walk(name).unwrap()),
            _ => drop(held.pop()),
        }
    }
    observers
}

/// Runs an execution. The number of its steps.
pub(crate) fn run() -> usize {
    let tree = Arc::new(Tree::<u32>::new(Limits::default()));
    let names = draw(1, NAMES.len() + 1);
    let dice = |from, to| (0..draw(from, to)).map(|_| draw(0, 1 << 32)).collect::<Vec<_>>();
    // Marks and tables that those before have left.
    let before = dice(0, 8);
    let programs = [(); THREADS].map(|()| dice(1, 6));
    let count = before.len() + programs.iter().map(Vec::len).sum::<usize>();
    let mut left = steps(&tree.root(), names, before);
    let threads = programs.map(|dice| {
        let root = tree.root();
        thread::spawn(move || steps(&root, names, dice))
    });
    left.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap()));
    for observer in &mut left {
        let present = observer.present();
        assert_eq!(*observer.settle(), present, "a watcher missed the last change");
    }
    // Some see the end, the others go before.
    left.truncate(draw(0, left.len() + 1));
    drop(tree);
    left.into_iter().for_each(Observer::end);
    count
}
