//! Random operations against the model, and the path grammar.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::sizes;
use crate::testing::{
    Op, SLOTS, World, fuzz_authority, fuzz_path, fuzz_tree_ops, limits_profile, reference_parse,
};
use crate::{Limits, Tree};

/// Runs `property` on the table's number of cases. A failure shows its smallest input, which belongs
/// in `fuzz/seeds`, and not in a file of proptest's own.
fn check<S: Strategy>(input: S, property: impl Fn(S::Value)) {
    let config = Config {
        cases: sizes().cases,
        failure_persistence: None,
        // A leak shows only after a wait, so that finding its smallest input could take very long.
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&input, |value| {
        property(value);
        Ok::<(), TestCaseError>(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn any_sequence_of_operations_agrees_with_the_model() {
    check(vec(any::<u8>(), 0..sizes().sequence_bytes), |bytes| fuzz_tree_ops(&bytes));
}

#[test]
fn any_use_of_narrowed_anchors_agrees_with_the_model() {
    check(vec(any::<u8>(), 0..sizes().sequence_bytes), |bytes| fuzz_authority(&bytes));
}

/// Operations around one crowded node: children come and go in groups, so that every form of the
/// table of children is met growing and shrinking.
fn crowd_op() -> impl Strategy<Value = Op> {
    let at = 0..SLOTS / 4;
    let count = prop_oneof![Just(1u8), Just(2), Just(14), Just(15), 1..40u8, any::<u8>()];
    let name = prop_oneof![Just("a"), Just("b"), Just("c0"), Just("c17"), Just("c200/x")];
    let path = name.prop_map(|name| name.as_bytes().to_vec());
    prop_oneof![
        4 => (at.clone(), 0..800u16, count.clone())
            .prop_map(|(at, first, count)| Op::Grow { at, first, count }),
        4 => (any::<u8>(), count).prop_map(|(from, count)| Op::Shrink { from, count }),
        2 => (at.clone(), path.clone(), at.clone())
            .prop_map(|(at, path, to)| Op::Walk { at, path, to }),
        1 => (at.clone(), any::<u8>(), at.clone())
            .prop_map(|(at, index, to)| Op::Ls { at, index, to }),
        1 => (at.clone(), path, any::<bool>(), any::<bool>())
            .prop_map(|(at, path, fill, overwrite)| Op::StoreAt { at, path, fill, overwrite }),
        1 => at.clone().prop_map(|at| Op::Drop { at }),
        1 => at.clone().prop_map(|at| Op::Names { at }),
        1 => (at, any::<bool>()).prop_map(|(at, children)| Op::Watch { at, children }),
        1 => any::<u8>().prop_map(|which| Op::Look { which }),
    ]
}

#[test]
fn crowded_nodes_agree_with_the_model() {
    let sequences = (any::<u8>(), vec(crowd_op(), 1..sizes().sequence_bytes / 8));
    check(sequences, |(limits, ops)| {
        let mut world = World::new(limits_profile(limits));
        for op in &ops {
            world.apply(op);
        }
        world.finish(limits & 0x80 != 0);
    });
}

/// Programs for up to three threads.
fn programs() -> impl Strategy<Value = Vec<Vec<Op>>> {
    let any_op = vec(any::<u8>(), 0..100).prop_map(|bytes| Op::decode(&bytes));
    let crowd = vec(crowd_op(), 0..20);
    vec(prop_oneof![any_op, crowd], 2..4)
}

/// Runs the same phase a few times, as no two runs meet in the same way.
fn run_phases(limits: u8, kinds: &[u8], programs: &[Vec<Op>]) {
    let mut world = World::new(limits_profile(limits));
    for &kind in kinds {
        world.apply(&Op::Phase { kind, programs: programs.to_vec() });
    }
    assert_eq!(world.nodes(), 1);
    world.finish(false);
}

#[test]
fn threads_below_nodes_of_their_own_agree_with_the_model() {
    check(programs(), |programs| run_phases(0, &[0; 5], &programs));
}

#[test]
fn threads_on_the_same_paths_find_the_promises_kept() {
    check((any::<u8>(), programs()), |(limits, programs)| {
        run_phases(limits, &[1, 5, 1, 5, 1, 5], &programs);
    });
}

#[test]
fn every_number_of_children_agrees_with_the_model_up_and_down() {
    let mut world = World::new(Limits::default());
    let most = if cfg!(miri) { 40 } else { 700 };
    for first in 0..most {
        world.apply(&Op::Grow { at: 0, first, count: 1 });
    }
    assert_eq!(world.nodes(), 1 + usize::from(most));
    // From the front, so that no removal is of the newest child.
    for left in (0..most).rev() {
        world.apply(&Op::Shrink { from: u8::try_from(left / 2).unwrap_or(u8::MAX), count: 1 });
        world.apply(&Op::Names { at: 0 });
        assert_eq!(world.nodes(), 1 + usize::from(left));
    }
    world.finish(false);
}

#[test]
fn any_text_is_read_as_the_reference_reads_it() {
    check(vec(any::<u8>(), 0..100), |bytes| fuzz_path(&bytes));
}

#[test]
fn texts_that_are_almost_paths_are_read_as_the_reference_reads_them() {
    let byte = prop_oneof![
        8 => Just(b'/'),
        8 => Just(b'.'),
        8 => any::<u8>().prop_map(|byte| 0x21 + byte % 0x5E),
        1 => any::<u8>(),
    ];
    let limits = (any::<u8>(), any::<u8>(), any::<u8>());
    check((limits, vec(byte, 0..60)), |((names, path, start), text)| {
        fuzz_path(&[&[names, path, start], text.as_slice()].concat());
    });
}

fn names() -> impl Strategy<Value = Vec<String>> {
    let name = "[!-.0-\\[\\]-~]{1,12}".prop_filter("a name", |name| name != "." && name != "..");
    vec(name, 0..8)
}

#[test]
fn a_path_of_joined_names_leads_through_these_names() {
    check(names(), |names| {
        let tree = Tree::<()>::new(Limits::default());
        let leaf = tree.root().walk(names.join("/")).unwrap();
        let mut at = tree.root();
        for name in &names {
            let below = at.ls();
            assert_eq!(below.iter().map(|child| child.name()).collect::<Vec<_>>(), [name]);
            at = below[0].clone();
        }
        assert_eq!(at, leaf);
    });
}

#[test]
fn normalising_a_path_twice_changes_nothing_more() {
    let filler = prop_oneof![Just("/"), Just("//"), Just("/./"), Just("/.//./")];
    check((names(), vec(filler, 9)), |(names, fillers)| {
        let limits = Limits::default();
        let mut text = fillers[8].to_string();
        for (name, filler) in names.iter().zip(&fillers) {
            text += name;
            text += filler;
        }
        let once = reference_parse(text.as_bytes(), 0, &limits).unwrap().join(&b'/');
        let twice = reference_parse(&once, 0, &limits).unwrap().join(&b'/');
        assert_eq!(once, twice);
        let tree = Tree::<()>::new(limits);
        let kept = tree.root().walk(&text).unwrap();
        assert_eq!(tree.root().lookup(&once), Ok(Some(kept)), "{text} and its normal form");
    });
}
