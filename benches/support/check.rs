//! Whether an implementation keeps the contract: a baseline that does not has no business in a
//! comparison.

use std::sync::Barrier;
use std::thread;

use super::args::Args;
use super::bench::Checks;
use super::model::Model;
use super::shapes::Noise;
use super::{PerImpl, TreeImpl};

type Check = (&'static str, fn());

/// Every check of `T`.
fn checks<T: TreeImpl>() -> Vec<Check> {
    vec![
        ("nodes_appear_when_walked_and_vanish_with_the_last_handle", nodes_come_and_go::<T>),
        ("a_value_keeps_its_node_until_it_is_cleared", a_value_keeps_its_node::<T>),
        ("a_child_keeps_its_parents", a_child_keeps_its_parents::<T>),
        ("empty_components_and_dots_are_dropped", empty_components_are_dropped::<T>),
        ("a_walk_from_a_handle_meets_a_walk_from_the_root", relative_walks_meet::<T>),
        ("revisions_rise_by_one_with_each_change", revisions_rise::<T>),
        ("listings_are_complete_and_sorted", listings_are_sorted::<T>),
        ("a_handle_outlives_its_tree", a_handle_outlives_its_tree::<T>),
        ("random_operations_equal_the_model", random_operations::<T>),
        ("threads_on_few_paths_leave_an_empty_tree", threads_leave_an_empty_tree::<T>),
    ]
}

struct Listed;

impl PerImpl for Listed {
    type Output = Vec<Check>;
    fn of<T: TreeImpl>(&self) -> Vec<Check> {
        checks::<T>()
    }
}

/// Runs the checks whose line `implementation: check` is wanted.
pub(crate) fn run(args: &Args, report: &mut Checks) {
    for (implementation, checks) in args.impls.each(&Listed) {
        for (check, run) in checks {
            let line = format!("{implementation}: {check}");
            if args.wants(&line) {
                report.run(&line, run);
            }
        }
    }
}

fn names<T: TreeImpl>(handle: &T::Handle) -> Vec<String> {
    let mut names = Vec::new();
    T::ls_names(handle, |name| names.push(name.to_owned()));
    names
}

fn nodes_come_and_go<T: TreeImpl>() {
    let tree = T::new();
    let root = tree.root();
    assert_eq!(tree.nodes(), 1);
    let leaf = T::walk(&root, "a/b/c");
    let again = T::walk(&root, "a/b/c");
    assert!(T::same(&leaf, &again));
    assert_eq!(tree.nodes(), 4);
    drop(leaf);
    assert!(T::lookup(&root, "a/b/c").is_some());
    let clone = again.clone();
    drop(again);
    assert!(T::lookup(&root, "a/b/c").is_some());
    drop(clone);
    assert_eq!(tree.nodes(), 1);
    assert!(T::lookup(&root, "a/b/c").is_none());
    assert!(T::lookup(&root, "a").is_none());
    assert_eq!(tree.nodes(), 1, "a look-up creates nothing");
}

fn a_value_keeps_its_node<T: TreeImpl>() {
    let tree = T::new();
    let root = tree.root();
    T::store(&T::walk(&root, "a/b"), Some(7));
    assert_eq!(tree.nodes(), 3);
    assert_eq!(T::read_at(&root, "a/b"), (Some(7), 1));
    let (value, revision) = T::load(&T::walk(&root, "a/b"));
    T::store(&T::walk(&root, "a/b"), Some(8));
    assert_eq!((value.as_deref(), revision), (Some(&7), 1), "a loaded value stays");
    T::store(&T::walk(&root, "a/b"), None);
    assert_eq!(tree.nodes(), 1);
    assert_eq!(T::read_at(&root, "a/b"), (None, 0));
}

fn a_child_keeps_its_parents<T: TreeImpl>() {
    let tree = T::new();
    let root = tree.root();
    let parent = T::walk(&root, "a");
    let child = T::walk(&parent, "b");
    let sibling = T::walk(&root, "a/c");
    drop(parent);
    assert_eq!(names::<T>(&root), ["a"]);
    drop(child);
    assert_eq!(names::<T>(&T::walk(&root, "a")), ["c"]);
    drop(sibling);
    assert_eq!(tree.nodes(), 1);
}

fn empty_components_are_dropped<T: TreeImpl>() {
    let tree = T::new();
    let root = tree.root();
    for itself in ["", "/", "//", ".", "./."] {
        assert!(T::same(&root, &T::walk(&root, itself)), "{itself:?}");
    }
    let node = T::walk(&root, "a/.b");
    T::store(&node, Some(1));
    for spelled in ["/a/.b", "a//.b", "a/.b/", "./a/./.b/.", "//a/.b//"] {
        assert!(T::same(&node, &T::walk(&root, spelled)), "{spelled:?}");
        assert_eq!(T::read_at(&root, spelled).0, Some(1), "{spelled:?}");
    }
    assert!(T::same(&node, &T::walk(&node, "")));
    assert_eq!(T::read_at(&node, "."), (Some(1), 1));
    assert_eq!(tree.nodes(), 3);
}

fn relative_walks_meet<T: TreeImpl>() {
    let tree = T::new();
    let root = tree.root();
    let base = T::walk(&root, "a/b");
    let relative = T::walk(&base, "c/d");
    T::store(&relative, Some(3));
    assert!(T::same(&relative, &T::walk(&root, "a/b/c/d")));
    assert_eq!(T::read_at(&base, "/c/d"), (Some(3), 1));
    assert!(T::lookup(&base, "a").is_none());
    let found = T::lookup(&base, "c").expect("the node between");
    assert!(T::same(&relative, &T::walk(&found, "d")));
}

fn revisions_rise<T: TreeImpl>() {
    let tree = T::new();
    let node = T::walk(&tree.root(), "a");
    assert_eq!(T::read(&node), (None, 0));
    assert_eq!(T::store(&node, None), 0);
    assert_eq!(T::store(&node, Some(5)), 1);
    assert_eq!(T::store(&node, Some(6)), 2);
    assert_eq!(T::read(&node), (Some(6), 2));
    assert_eq!(T::store(&node, None), 3);
    assert_eq!(T::store(&node, None), 3);
    let (value, revision) = T::load(&node);
    assert_eq!((value.as_deref(), revision), (None, 3));
}

fn listings_are_sorted<T: TreeImpl>() {
    let tree = T::new();
    let root = tree.root();
    let parent = T::walk(&root, "p");
    assert!(names::<T>(&parent).is_empty());
    let kept: Vec<_> = (0..200).map(|n| T::walk(&root, &format!("p/n{n}/below"))).collect();
    let mut expected: Vec<String> = (0..200).map(|n| format!("n{n}")).collect();
    expected.sort_unstable();
    assert_eq!(names::<T>(&parent), expected);
    let mut handles = Vec::new();
    T::ls_handles(&parent, |name, handle| handles.push((name.to_owned(), handle.clone())));
    assert!(handles.iter().map(|(name, _)| name).eq(&expected));
    for (name, handle) in &handles {
        assert!(T::same(handle, &T::walk(&parent, name)));
    }
    drop(kept);
    assert_eq!(names::<T>(&parent), expected, "listed handles keep their nodes");
    drop(handles);
    assert!(names::<T>(&parent).is_empty());
    assert_eq!(tree.nodes(), 2);
}

fn a_handle_outlives_its_tree<T: TreeImpl>() {
    let tree = T::new();
    let root = tree.root();
    let held = T::walk(&root, "a/b");
    T::store(&held, Some(1));
    let (value, _) = T::load(&held);
    drop(tree);
    drop(root);
    let clone = held.clone();
    assert!(T::same(&clone, &T::walk(&held, "")));
    drop(held);
    drop(clone);
    assert_eq!(value.as_deref(), Some(&1), "a loaded value outlives all of it");
}

/// The handles of one run, each with the canonical path of its node.
struct Run<T: TreeImpl> {
    tree: T,
    model: Model,
    held: Vec<(T::Handle, String)>,
    noise: Noise,
}

impl<T: TreeImpl> Run<T> {
    /// One to four names of three, spelled with noise.
    fn path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..=self.noise.below(4) {
            path.push_str(["", "/", "./"][self.noise.below(3)]);
            path.push_str(["a/", "bb/", "c"][self.noise.below(3)]);
            path.push('/');
        }
        path
    }

    fn hold(&mut self, handle: T::Handle, path: String) {
        self.model.acquire(&path);
        self.held.push((handle, path));
    }

    fn step(&mut self) {
        let at = self.noise.below(self.held.len());
        let (base, base_path) = (self.held[at].0.clone(), self.held[at].1.clone());
        self.model.acquire(&base_path);
        let path = self.path();
        let full = Model::join(&base_path, &path);
        match self.noise.below(12) {
            0..=2 => self.hold(T::walk(&base, &path), full),
            3 => match T::lookup(&base, &path) {
                Some(found) => {
                    assert!(self.model.exists(&full), "{full} was found");
                    self.hold(found, full);
                }
                None => assert!(!self.model.exists(&full), "{full} was not found"),
            },
            // The first one is the root's, which the others are walked from.
            4..=7 if at > 0 => {
                let (handle, path) = self.held.swap_remove(at);
                drop(handle);
                self.model.release(&path);
            }
            8 => {
                let value = Some(self.noise.next());
                assert_eq!(T::store(&base, value), self.model.store(&base_path, value));
            }
            9 => assert_eq!(T::store(&base, None), self.model.store(&base_path, None)),
            10 => self.hold(base.clone(), base_path.clone()),
            _ => assert_eq!(T::read_at(&base, &path), self.model.read(&full), "{full}"),
        }
        let (value, revision) = T::load(&base);
        assert_eq!((value.as_deref().copied(), revision), self.model.read(&base_path));
        assert_eq!(T::read(&base), self.model.read(&base_path));
        assert_eq!(names::<T>(&base), self.model.children(&base_path));
        drop(base);
        self.model.release(&base_path);
        assert_eq!(self.tree.nodes(), self.model.len());
    }
}

fn random_operations<T: TreeImpl>() {
    for seed in 0..8 {
        let (tree, mut model) = (T::new(), Model::new());
        model.acquire("");
        let held = vec![(tree.root(), String::new())];
        let mut run = Run { tree, model, held, noise: Noise::new(seed) };
        (0..1500).for_each(|_| run.step());
        for (handle, path) in run.held.drain(..) {
            T::store(&handle, None);
            run.model.store(&path, None);
            drop(handle);
            run.model.release(&path);
        }
        assert_eq!(run.tree.nodes(), run.model.len(), "seed {seed}");
    }
}

/// Threads walk and release on one path, where the last release of one meets the look-up of
/// another; every so often they store and read elsewhere. While one holds a node a look-up must
/// find that very node; in the end nothing may be left.
fn threads_leave_an_empty_tree<T: TreeImpl>() {
    let tree = T::new();
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for seed in 0..4 {
            let (tree, start) = (&tree, &start);
            scope.spawn(move || {
                let root = tree.root();
                let mut noise = Noise::new(seed);
                start.wait();
                for turn in 0..50_000 {
                    if turn % 32 == 0 {
                        thread_stores::<T>(&root, &mut noise);
                    }
                    let held = T::walk(&root, "a/b");
                    let found = T::lookup(&root, "a/b").expect("a node that is held");
                    assert!(T::same(&held, &found), "two nodes at a/b");
                }
            });
        }
    });
    assert_eq!(tree.nodes(), 1, "every handle is dropped and every value cleared");
}

fn thread_stores<T: TreeImpl>(root: &T::Handle, noise: &mut Noise) {
    let path = ["a", "a/b", "a/b/c", "a/d", "e/b"][noise.below(5)];
    let held = T::walk(root, path);
    T::store(&held, Some(1));
    let (value, _) = T::read_at(root, path);
    assert!(matches!(value, None | Some(1)), "{value:?} at {path}");
    T::store(&held, None);
}
