//! Narrowed anchors: rights, limits, and their end.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_core::Stream;

use super::sizes;
use crate::{
    Allowance, Anchor, Charge, Denied, Grant, Kept, Limits, Narrow, NarrowError,
    NarrowStoreAtError, PathError, Resource, Right, Rights, Tree,
};

fn tree() -> (Tree<u64>, Anchor<u64>) {
    let tree = Tree::new(Limits::default());
    let root = tree.root();
    (tree, root)
}

fn unlimited() -> Allowance {
    Allowance::default()
}

fn exhausted<T>(resource: Resource, limit: usize) -> Result<T, Denied> {
    Err(Denied::Exhausted { resource, limit })
}

/// How an operation is refused, if it is.
fn denied<T, E>(result: Result<T, NarrowError<E>>) -> Option<Denied> {
    match result {
        Err(NarrowError::Denied(denied)) => Some(denied),
        _ => None,
    }
}

/// What each operation says that needs one right or more, without changing much.
fn attempts(narrow: &Narrow<u64>) -> Vec<(&'static str, Rights, Option<Denied>)> {
    let store = |kind: Result<u64, crate::NarrowStoreError<u64>>| match kind {
        Err(crate::NarrowStoreError::Denied(denied, _)) => Some(denied),
        _ => None,
    };
    let store_at = |stored: Result<u64, NarrowStoreAtError<u64>>| match stored {
        Err(NarrowStoreAtError::Denied(denied, _)) => Some(denied),
        _ => None,
    };
    let two = |one: Right, other: Right| Rights::from(one) | other.into();
    vec![
        ("walk", Right::Walk.into(), denied(narrow.walk("x"))),
        ("lookup", Right::Lookup.into(), denied(narrow.lookup("x"))),
        ("ls", Right::Ls.into(), narrow.ls().err()),
        ("ls_after", Right::Ls.into(), narrow.ls_after("", 1).err()),
        ("names", Right::Ls.into(), narrow.names().err()),
        ("names_after", Right::Ls.into(), narrow.names_after("", 1).err()),
        ("is_filled", Right::Ls.into(), narrow.is_filled().err()),
        ("child_count", Right::Ls.into(), narrow.child_count().err()),
        ("load", Right::Load.into(), narrow.load().err()),
        ("store", Right::Store.into(), store(narrow.store(1, true))),
        ("cas", Right::Store.into(), store(narrow.compare_and_store(0, 1))),
        (
            "swap",
            two(Right::Load, Right::Store),
            store(narrow.swap(1).map(|loaded| loaded.revision)),
        ),
        ("load_with", Right::Load.into(), narrow.load_with(|_, _| ()).err()),
        ("load_at", two(Right::Lookup, Right::Load), denied(narrow.load_at("x"))),
        (
            "load_at_with",
            two(Right::Lookup, Right::Load),
            denied(narrow.load_at_with("x", |_, _| ())),
        ),
        ("store_at", two(Right::Walk, Right::Store), store_at(narrow.store_at("y", 1, true))),
        ("store_at of none", two(Right::Lookup, Right::Store), {
            store_at(narrow.store_at("y", None, true))
        }),
        ("clear", two(Right::Load, Right::Store), narrow.clear().err()),
        ("wait", two(Right::Watch, Right::Load), narrow.wait().err()),
        ("watch", two(Right::Watch, Right::Load), narrow.watch().err()),
        ("watch_children", two(Right::Watch, Right::Ls), narrow.watch_children().err()),
        ("attenuate", Right::Attenuate.into(), narrow.attenuate(Rights::ALL, unlimited()).err()),
    ]
}

#[test]
fn a_part_of_a_grant_is_revoked_with_it_and_the_whole_not_with_the_part() {
    let tree: Tree<u8> = Tree::new(Limits::default());
    let (whole, outer) = tree.root().attenuate(Rights::ALL, unlimited());
    let (part, inner) = whole.attenuate(Rights::ALL, unlimited()).unwrap();
    let (_, other) = whole.attenuate(Rights::ALL, unlimited()).unwrap();
    other.revoke();
    assert_eq!((outer.is_revoked(), inner.is_revoked(), other.is_revoked()), (false, false, true));
    outer.revoke();
    assert!(inner.is_revoked() && part.is_revoked());
    inner.revoke();
}

#[test]
fn every_set_of_rights_allows_what_it_says_and_names_what_is_missing() {
    let (_tree, root) = tree();
    for bits in 0..1 << Right::ALL.len() {
        let has = |right: &Right| bits & (1 << *right as u32) != 0;
        let rights: Rights = Right::ALL.into_iter().filter(has).collect();
        let (narrow, _) = root.attenuate(rights, unlimited());
        for (name, needed, denied) in attempts(&narrow) {
            let missing = needed.iter().find(|&right| !rights.contains(right));
            assert_eq!(denied, missing.map(Denied::Right), "{name} with {rights}");
        }
    }
}

#[test]
fn a_cell_has_no_half_that_is_not_granted() {
    let (_tree, root) = tree();
    for bits in 0..1 << Right::ALL.len() {
        let has = |right: &Right| bits & (1 << *right as u32) != 0;
        let (narrow, grant) =
            root.attenuate(Right::ALL.into_iter().filter(has).collect(), unlimited());
        let (loader, storer) = narrow.cell().unwrap();
        assert_eq!((loader.is_some(), storer.is_some()), (has(&Right::Load), has(&Right::Store)));
        if let Some(storer) = &storer {
            storer.store(7, true).unwrap();
            assert_eq!((storer.clear(), storer.clear()), (Ok(true), Ok(false)));
        }
        if let Some(loader) = &loader {
            assert!(loader.load().unwrap().value.is_none());
            let missing = (!has(&Right::Watch)).then_some(Denied::Right(Right::Watch));
            assert_eq!(loader.watch().err(), missing);
        }
        grant.revoke();
        assert_eq!(narrow.cell().err(), Some(Denied::Revoked));
        assert!(loader.is_none_or(|loader| loader.load().err() == Some(Denied::Revoked)));
        assert!(storer.is_none_or(|storer| storer.clear() == Err(Denied::Revoked)));
    }
}

#[test]
fn forms_without_a_handle_keep_the_depth_and_leave_no_node() {
    let (tree, root) = tree();
    let (narrow, grant) = root.attenuate(Rights::ALL, Allowance { depth: 1, ..unlimited() });
    assert_eq!(narrow.store_at("a", 1, false).unwrap(), 1);
    root.store_at("a/b", 2, false).unwrap();
    let too_deep = |refused| matches!(refused, NarrowError::Denied(Denied::Exhausted { .. }));
    assert!(too_deep(narrow.load_at("a/b").unwrap_err()));
    assert!(too_deep(narrow.load_at_with("a/b", |_, _| unreachable!()).unwrap_err()));
    let bad = PathError::DotDot { offset: 2 };
    assert_eq!(narrow.load_at("a/../b").unwrap_err(), NarrowError::Failed(bad));
    let refused = narrow.store_at("a/c", 3, true).unwrap_err();
    assert!(matches!(refused, NarrowStoreAtError::Denied(Denied::Exhausted { .. }, Some(3))));
    assert_eq!(narrow.store_at("nowhere", None, true).unwrap(), 0);
    let (blind, _) = root.attenuate(Right::Walk.into(), unlimited());
    assert_eq!(blind.store_at("new", 4, true).unwrap_err().into_value(), Some(4));
    assert_eq!(tree.nodes(), 3, "the root, a, and a/b");
    assert_eq!(grant.used(Resource::Nodes), 0, "no handle is left");
}

#[test]
fn what_is_reached_through_a_narrowed_anchor_is_narrowed_the_same_way() {
    let (_tree, root) = tree();
    let _kept = root.walk("a/b").unwrap();
    let other = root.walk("elsewhere").unwrap();
    let (narrow, grant) = root.walk("a").unwrap().attenuate(Rights::ALL, unlimited());
    let (reader, _) =
        narrow.attenuate(Rights::READ | Right::Attenuate.into(), unlimited()).unwrap();
    let (wide, _) = other.attenuate(Rights::ALL, unlimited());
    let reached = [
        reader.lookup("b").unwrap().unwrap(),
        reader.lookup("").unwrap().unwrap(),
        reader.ls().unwrap().remove(0),
        reader.authority().narrow(&other).unwrap(),
        wide.and(reader.authority()).unwrap(),
        // Asked for all, gets what there was.
        reader.attenuate(Rights::ALL, unlimited()).unwrap().0,
        reader.clone(),
    ];
    for one in &reached {
        assert_eq!(denied_store(one), Some(Denied::Right(Right::Store)), "{one:?}");
        assert_eq!(denied(one.walk("new")), Some(Denied::Right(Right::Walk)));
        assert!(!one.rights().contains(Right::Store));
    }
    // And all of it by the grant above, to the last.
    grant.revoke();
    for one in &reached {
        assert_eq!(one.load().unwrap_err(), Denied::Revoked);
        assert!(one.is_revoked());
    }
    assert!(wide.load().is_ok(), "what one grant more was applied to is as it was");
    assert!(other.load().value.is_none());
}

fn denied_store(narrow: &Narrow<u64>) -> Option<Denied> {
    match narrow.store(1, true) {
        Err(crate::NarrowStoreError::Denied(denied, value)) => {
            assert_eq!(value, Some(1), "the value comes back");
            Some(denied)
        }
        _ => None,
    }
}

#[test]
fn nodes_are_counted_once_each_with_those_above_them() {
    let (tree, root) = tree();
    let base = root.walk("deep/base").unwrap();
    let (narrow, grant) = base.attenuate(Rights::ALL, Allowance { nodes: 4, ..unlimited() });
    let used = || grant.used(Resource::Nodes);
    assert_eq!(used(), 0, "its own node does not count");
    let abc = narrow.walk("a/b/c").unwrap();
    assert_eq!(used(), 3);
    let again = narrow.walk("a/b").unwrap();
    assert_eq!(used(), 3);
    let d = narrow.walk("a/b/d").unwrap();
    assert_eq!(used(), 4);
    let nodes = tree.nodes();
    assert_eq!(denied(narrow.walk("e")), exhausted::<()>(Resource::Nodes, 4).err());
    assert_eq!(denied(d.walk("f/g")), exhausted::<()>(Resource::Nodes, 4).err());
    assert_eq!(tree.nodes(), nodes, "what was refused left nothing");
    drop(abc);
    assert_eq!(used(), 3);
    // Somebody else's node counts as well once it is held by this grant.
    let _others = base.walk("e/f").unwrap();
    assert_eq!(denied(narrow.lookup("e/f")), exhausted::<()>(Resource::Nodes, 4).err());
    let e = narrow.lookup("e").unwrap().unwrap();
    assert_eq!(used(), 4);
    drop((again, d, e));
    assert_eq!(used(), 0);
}

#[test]
fn limits_of_a_part_come_out_of_those_of_the_whole() {
    let (_tree, root) = tree();
    let allowance = Allowance { nodes: 3, value_bytes: 10, watches: 1, ..unlimited() };
    let (whole, outer) = root.attenuate(Rights::ALL, allowance);
    let wider = Allowance { nodes: 100, value_bytes: 6, ..unlimited() };
    let (part, inner) = whole.walk("part").unwrap().attenuate(Rights::ALL, wider).unwrap();
    let held = part.walk("a/b").unwrap();
    assert_eq!((inner.used(Resource::Nodes), outer.used(Resource::Nodes)), (2, 3));
    assert_eq!(denied(part.walk("c")), exhausted::<()>(Resource::Nodes, 3).err());
    assert_eq!(inner.used(Resource::Nodes), 2, "the refused one counts nowhere");

    let bytes = part.authority().charge(Resource::ValueBytes, 5).unwrap();
    let refused = part.authority().charge(Resource::ValueBytes, 2).map(drop);
    assert_eq!(refused, exhausted(Resource::ValueBytes, 6));
    let beside = whole.authority().charge(Resource::ValueBytes, 5).unwrap();
    let refused = part.authority().charge(Resource::ValueBytes, 1).map(drop);
    assert_eq!(refused, exhausted(Resource::ValueBytes, 10));
    let huge = whole.authority().charge(Resource::ValueBytes, usize::MAX).map(drop);
    assert_eq!(huge, exhausted(Resource::ValueBytes, 10));
    drop((bytes, beside));
    let used = |grant: &Grant| Resource::ALL.map(|resource| grant.used(resource));
    assert_eq!(used(&inner), [2, 0, 0, 0, 0, 0]);

    let watch = held.watch().unwrap();
    assert_eq!(whole.watch_children().map(drop), exhausted(Resource::Watches, 1));
    drop((watch, held, part));
    assert_eq!((used(&inner), used(&outer)), ([0; Resource::ALL.len()], [0; Resource::ALL.len()]));
}

#[test]
fn depth_is_that_below_the_anchor_that_was_narrowed() {
    let (tree, root) = tree();
    let _deep = root.walk("base/x/y/z").unwrap();
    let base = root.walk("base").unwrap();
    let (narrow, _) = base.attenuate(Rights::ALL, Allowance { depth: 2, ..unlimited() });
    let xy = narrow.walk("x//./y/").unwrap();
    let too_deep = || exhausted::<()>(Resource::Depth, 2).err();
    assert_eq!(denied(xy.walk("new")), too_deep());
    assert_eq!(denied(narrow.walk("x/y/new")), too_deep());
    assert_eq!(denied(xy.lookup("z")), too_deep());
    assert_eq!(xy.ls().err(), too_deep());
    assert_eq!(xy.names().unwrap().iter().collect::<Vec<_>>(), ["z"]);
    assert_eq!(xy.walk(".").unwrap(), xy);
    // What is no path is told as that.
    let error = narrow.walk("a/b/c/..").unwrap_err();
    assert_eq!(error, NarrowError::Failed(PathError::DotDot { offset: 6 }.into()));
    assert_eq!(tree.nodes(), 5);
}

#[test]
fn a_revoked_grant_lets_go_of_what_it_alone_kept() {
    let (tree, root) = tree();
    let (narrow, grant) = root.attenuate(Rights::ALL, Allowance { nodes: 10, ..unlimited() });
    let mine = narrow.walk("mine/alone").unwrap();
    let shared = narrow.walk("shared").unwrap();
    let theirs = root.walk("shared").unwrap();
    let stored = narrow.walk("stored").unwrap();
    stored.store(5, true).unwrap();
    let mut watch = pin!(shared.watch().unwrap());
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(watch.as_mut().poll_next(&mut context), Poll::Ready(Some(Ok(_)))));
    assert!(watch.as_mut().poll_next(&mut context).is_pending());
    let mut told = pin!(mine.revoked());
    assert!(told.as_mut().poll(&mut context).is_pending());
    assert_eq!(tree.nodes(), 5);

    grant.revoke();
    grant.revoke();
    assert_eq!(tree.nodes(), 3, "the root, what others hold, and what holds a value");
    assert_eq!(grant.used(Resource::Nodes), 0);
    assert_eq!(theirs.store(1, true).unwrap(), 1);
    assert_eq!(root.load_at("stored").unwrap().value.as_deref(), Some(&5));
    assert!(told.as_mut().poll(&mut context).is_ready());
    let last = watch.as_mut().poll_next(&mut context);
    assert!(matches!(last, Poll::Ready(Some(Err(Denied::Revoked)))));
    assert!(matches!(watch.as_mut().poll_next(&mut context), Poll::Ready(None)));
    for (name, _, denied) in attempts(&mine) {
        assert_eq!(denied, Some(Denied::Revoked), "{name}");
    }
    assert_eq!(mine.keep().map(drop), Err(Denied::Revoked));
    assert_eq!(shared.authority().narrow(&theirs).map(drop), Err(Denied::Revoked));
}

#[test]
fn an_anchor_is_narrowed_so_often_and_no_more() {
    let (_tree, root) = tree();
    let (mut narrow, _) = root.attenuate(Rights::ALL, unlimited());
    for _ in 1..16 {
        narrow = narrow.attenuate(Rights::ALL, unlimited()).unwrap().0;
    }
    let refused = narrow.attenuate(Rights::ALL, unlimited()).map(drop);
    assert_eq!(refused, Err(Denied::TooManyGrants { limit: 16 }));
    let (other, _) = root.attenuate(Rights::ALL, unlimited());
    assert_eq!(narrow.and(other.authority()).map(drop), Err(Denied::TooManyGrants { limit: 16 }));
    assert_eq!(narrow.and(narrow.authority()).unwrap(), narrow);
}

#[test]
fn every_refusal_is_read_back_from_its_words() {
    let all = Right::ALL.into_iter().map(Denied::Right);
    let exhausted = Resource::ALL
        .into_iter()
        .flat_map(|resource| [0, 1, 7].map(|limit| Denied::Exhausted { resource, limit }));
    let others = [Denied::Revoked, Denied::TooManyGrants { limit: 16 }];
    for denied in all.chain(exhausted).chain(others) {
        assert_eq!(denied.to_string().parse(), Ok(denied));
    }
    let one = Denied::Exhausted { resource: Resource::Nodes, limit: 1 };
    assert_eq!(one.to_string(), "the grant's limit of 1 node would be exceeded");
    for words in ["", "the right 'x' is not granted", "the grant's limit of 5", "revoke"] {
        assert_eq!(words.parse::<Denied>(), Err(()), "{words}");
    }
}

/// Whether no use succeeds after the return of `revoke`, whatever is under way on other threads.
#[test]
fn nothing_succeeds_after_revoke_has_returned() {
    let rounds = sizes().stress_ops / 50;
    let (tree, root) = tree();
    let _kept = root.walk("busy").unwrap();
    for round in 0..rounds {
        let (narrow, grant) = root.attenuate(Rights::ALL, Allowance { nodes: 100, ..unlimited() });
        let returned = AtomicBool::new(false);
        let (narrow, returned) = (&narrow, &returned);
        thread::scope(|scope| {
            for worker in 0..2 {
                scope.spawn(move || {
                    loop {
                        // Read before the use: one that begins after the return has to fail.
                        let after = returned.load(Ordering::SeqCst);
                        let stored = match worker {
                            0 => narrow.store(round, true).is_ok(),
                            _ => narrow
                                .walk("busy")
                                .is_ok_and(|busy| busy.store(round, true).is_ok()),
                        };
                        assert!(!(after && stored), "a use succeeded after the return");
                        if !stored {
                            break;
                        }
                    }
                });
            }
            if round % 4 > 0 {
                thread::yield_now();
            }
            grant.revoke();
            let before = (root.load().revision, root.load_at("busy").unwrap().revision);
            returned.store(true, Ordering::SeqCst);
            thread::yield_now();
            let after = (root.load().revision, root.load_at("busy").unwrap().revision);
            assert_eq!(before, after, "a use under way took effect after the return");
        });
        assert_eq!(grant.used(Resource::Nodes), 0);
    }
    drop(_kept);
    assert_eq!(tree.nodes(), 2, "the root and what was stored");
}

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// What a random use of grants has in its hands.
#[derive(Default)]
struct Hands {
    anchors: Vec<Narrow<u64>>,
    grants: Vec<Grant>,
    charges: Vec<Charge>,
    kept: Vec<(Kept, Narrow<u64>)>,
}

impl Hands {
    /// One random operation; all limits hold after it.
    fn step(&mut self, random: &mut Random, root: &Anchor<u64>) {
        if self.anchors.is_empty() || self.grants.len() < 2 {
            let (nodes, value_bytes) = (random.below(12), random.below(100));
            let allowance = Allowance { nodes, value_bytes, ..unlimited() };
            let (anchor, grant) = root.attenuate(Rights::ALL, allowance);
            self.anchors.push(anchor);
            self.grants.push(grant);
            return;
        }
        let at = random.below(self.anchors.len());
        let anchor = self.anchors[at].clone();
        match random.below(16) {
            0..4 => {
                let path = ["a", "b", "a/b", "a/b/c", "b/c/d", "."][random.below(6)];
                self.anchors.extend(anchor.walk(path));
            }
            4..7 => drop(self.anchors.swap_remove(at)),
            7 => self.anchors.extend(anchor.ls().unwrap_or_default().into_iter().take(3)),
            8 => self
                .charges
                .extend(anchor.authority().charge(Resource::ValueBytes, random.below(40))),
            9 => drop(self.charges.pop()),
            10 => self.kept.extend(anchor.keep().map(|kept| (kept, anchor))),
            11 => drop(self.kept.pop()),
            12 => {
                let allowance = Allowance { nodes: random.below(6), ..unlimited() };
                if let Ok((part, grant)) = anchor.attenuate(Rights::ALL, allowance) {
                    self.anchors.push(part);
                    self.grants.push(grant);
                }
            }
            13 => self
                .anchors
                .extend(anchor.and(self.anchors[random.below(self.anchors.len())].authority())),
            14 if random.below(8) == 0 => {
                let grant = random.below(self.grants.len());
                self.grants.swap_remove(grant).revoke();
                self.anchors.retain(|anchor| !anchor.is_revoked());
                self.kept.retain(|(_, anchor)| !anchor.is_revoked());
            }
            _ => drop(anchor.store(1, true).and_then(|_| anchor.store(None, true))),
        }
        for grant in &self.grants {
            for resource in [Resource::Nodes, Resource::ValueBytes] {
                assert!(grant.used(resource) <= grant.allowance().of(resource));
            }
        }
        if self.anchors.len() > 200 {
            self.anchors.truncate(100);
        }
        if self.grants.len() > 20 {
            self.grants.truncate(10);
        }
    }
}

/// The nodes that are kept by each grant, found anew from all that is held.
fn recount(hands: &Hands, grant: &Grant) -> usize {
    let held = hands.anchors.iter().chain(hands.kept.iter().map(|(_, anchor)| anchor));
    held.flat_map(|narrow| narrow.counted(grant)).collect::<HashSet<_>>().len()
}

#[test]
fn what_is_freed_is_given_back_exactly() {
    let operations = sizes().stress_ops * 50;
    let (tree, root) = tree();
    let mut hands = Hands::default();
    let mut random = Random(11);
    let mut seen = Vec::new();
    for step in 0..operations {
        hands.step(&mut random, &root);
        seen.extend(hands.grants.last().cloned().filter(|_| step % 1_000 == 0));
        if step % 1_000 == 0 {
            for grant in &hands.grants {
                if grant.allowance().nodes < usize::MAX {
                    assert_eq!(grant.used(Resource::Nodes), recount(&hands, grant), "step {step}");
                }
            }
        }
    }
    seen.append(&mut hands.grants);
    drop(hands);
    for grant in seen {
        assert_eq!(Resource::ALL.map(|resource| grant.used(resource)), [0; Resource::ALL.len()]);
    }
    root.clear();
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn a_grant_that_many_held_by_takes_no_more_memory_than_before() {
    let (_tree, root) = tree();
    let (narrow, grant) = root.attenuate(Rights::ALL, Allowance { nodes: 1_000, ..unlimited() });
    let mut held: Vec<_> = (0..1_000).map(|name| narrow.walk(name.to_string()).unwrap()).collect();
    let (holders, nodes) = grant.room();
    assert!(holders >= 1_000 && nodes >= 1_000);
    held.truncate(1);
    let (holders, nodes) = grant.room();
    assert!(holders < 100 && nodes < 100, "room for {holders} and {nodes}");
    assert_eq!((grant.holders(), grant.used(Resource::Nodes)), (2, 1));
}
