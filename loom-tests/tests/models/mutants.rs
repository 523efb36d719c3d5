//! The injected bugs: each is a place in the tree's source that `KILLICK_MUTATION=<name>` makes
//! wrong, and a model that has to go red for it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A bug, and the model that is there to catch it.
const MUTANTS: &[(&str, &str)] = &[
    ("acquire_revives_the_dead", "walk_vs_drop::walker_never_gets_a_pruned_node"),
    ("close_reads_cells", "store_vs_drop::store_into_a_closing_tree_is_refused_or_swept"),
    (
        "close_reads_links",
        "store_vs_drop::store_at_a_new_node_of_a_closing_tree_is_refused_or_swept",
    ),
    ("dead_relaxed", "ls_vs_create_and_prune::names_are_those_of_one_moment"),
    ("free_without_epoch", "walk_vs_drop::lookup_finds_a_live_node_or_none"),
    (
        "link_exchange_without_acquire",
        "store_vs_drop::store_at_a_new_node_of_a_closing_tree_is_refused_or_swept",
    ),
    ("link_load_relaxed", "walk_vs_walk::two_walkers_on_paths_that_part_share_the_node_above"),
    ("link_publish_relaxed", "walk_vs_walk::two_walkers_on_paths_that_part_share_the_node_above"),
    (
        "link_without_owner_reference",
        "create_vs_cascade::creation_below_a_held_node_meets_its_last_release",
    ),
    ("load_at_reads_the_dead", "walk_vs_drop::load_at_agrees_with_the_lookup_before_it"),
    ("ls_without_validation", "ls_vs_create_and_prune::names_are_those_of_one_moment"),
    ("prune_pins_late", "walk_vs_drop::pruner_reads_its_parent_although_others_prune_that"),
    ("release_last_relaxed", "walk_vs_drop::node_is_freed_after_its_last_holder_read_it"),
    ("release_relaxed", "ls_vs_create_and_prune::names_are_those_of_one_moment"),
    ("release_shared_relaxed", "walk_vs_drop::node_is_freed_after_its_last_holder_read_it"),
    ("revision_stays", "store_vs_drop::swaps_and_compare_and_store_number_the_changes"),
    ("room_of_replaced_given_back", "limits::limit_of_nodes_is_never_exceeded"),
    ("store_into_closed_stays", "store_vs_drop::store_into_a_closing_tree_is_refused_or_swept"),
    (
        "store_without_node_reference",
        "store_vs_drop::store_into_a_closing_tree_is_refused_or_swept",
    ),
    ("unlink_keeps_owner_reference", "create_vs_cascade::two_cascades_that_meet_leave_nothing"),
    (
        "value_exchange_without_acquire",
        "store_vs_drop::store_into_a_closing_tree_is_refused_or_swept",
    ),
    ("value_last_relaxed", "store_vs_drop::value_is_dropped_after_its_last_reader"),
    ("value_load_relaxed", "store_vs_drop::value_keeps_its_node_when_the_last_handle_goes"),
    ("value_publish_relaxed", "store_vs_drop::value_keeps_its_node_when_the_last_handle_goes"),
    ("value_release_relaxed", "store_vs_drop::value_is_dropped_after_its_last_reader"),
    ("value_touch_relaxed", "store_vs_drop::store_into_a_closing_tree_is_refused_or_swept"),
    ("walk_adopts_the_dead", "walk_vs_drop::walker_never_gets_a_pruned_node"),
];

#[test]
fn every_injected_bug_is_caught_by_its_model() {
    let models = std::env::current_exe().unwrap();
    let mut survivors = Vec::new();
    for (mutant, model) in MUTANTS {
        let run = Command::new(&models)
            .args(["--exact", model, "--test-threads=1"])
            .env("KILLICK_MUTATION", mutant)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&run.stderr) + String::from_utf8_lossy(&run.stdout);
        assert!(output.contains("running 1 test"), "there is no model {model}");
        if run.status.success() {
            survivors.push(mutant);
            continue;
        }
        let why = output.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
        println!("mutant: {mutant}: caught by {model}: {}", why.unwrap_or("aborted"));
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}

#[test]
fn every_injected_bug_has_a_model() {
    let listed: BTreeSet<_> = MUTANTS.iter().map(|(mutant, _)| mutant.to_string()).collect();
    let mut injected = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src"), &mut injected);
    assert_eq!(injected, listed, "bugs in the source (left), rows of the table (right)");
}

/// The names that the source below `dir` gives to `mutated` and `weakened`.
fn collect(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(path).unwrap();
            for call in ["mutated(", "weakened(", "weakened_to("] {
                for after in source.split(call).skip(1) {
                    if let Some(name) = after.trim_start().strip_prefix('"') {
                        names.extend(name.split('"').next().map(String::from));
                    }
                }
            }
        }
    }
}
