//! The list, by name. What each breaks is what the documentation says of it.

use super::Mutant;
use super::Rung::{Epoch, Loom, Shuttle};

/// Every injected bug.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "acquire_revives_the_dead",
        breaks: "Zero is not final: a walker takes a reference on a node that its pruner is about to free.",
        caught_by: &[
            (Loom, "walk_vs_drop::walker_never_gets_a_pruned_node"),
            (Epoch, "walker_never_gets_a_freed_node"),
            (Shuttle, "children_of_the_root_under_pct"),
        ],
    },
    Mutant {
        name: "close_reads_cells",
        breaks: "The tree's end only reads empty cells, so a store after it does not see that the tree is closed.",
        caught_by: &[(Loom, "store_vs_drop::store_into_a_closing_tree_is_refused_or_swept")],
    },
    Mutant {
        name: "close_reads_links",
        breaks: "The tree's end only reads children words, so a node linked after it takes a value that nobody drops.",
        caught_by: &[(
            Loom,
            "store_vs_drop::store_at_a_new_node_of_a_closing_tree_is_refused_or_swept",
        )],
    },
    Mutant {
        name: "dead_relaxed",
        breaks: "A list's second look at the children may come before the look that found one of them dead.",
        caught_by: &[(Loom, "ls_vs_create_and_prune::names_are_those_of_one_moment")],
    },
    Mutant {
        name: "free_without_epoch",
        breaks: "Nodes and tables are freed at once, under the guards that can reach them.",
        caught_by: &[
            (Loom, "walk_vs_drop::lookup_finds_a_live_node_or_none"),
            (Epoch, "creation_and_prune_of_one_path_leave_nothing"),
            (Shuttle, "children_of_the_root_under_random_schedules"),
        ],
    },
    Mutant {
        name: "insert_ignores_freeze",
        breaks: "A slot is written although it is frozen, so a child is linked or unlinked in a table that has been replaced.",
        caught_by: &[(Loom, "table::unlinking_meets_a_growing_table")],
    },
    Mutant {
        name: "left_of_two_moments",
        breaks: "Who unlinks the last child of a table counts one more that came and went meanwhile, and leaves an empty table.",
        caught_by: &[(Loom, "table::pruner_that_counts_in_vain_does_not_hide_that_none_is_left")],
    },
    Mutant {
        name: "link_exchange_without_acquire",
        breaks: "A link that follows the tree's end does not acquire that the tree is closed.",
        caught_by: &[(
            Loom,
            "store_vs_drop::store_at_a_new_node_of_a_closing_tree_is_refused_or_swept",
        )],
    },
    Mutant {
        name: "link_load_relaxed",
        breaks: "A walker reads a node or a table before its contents.",
        caught_by: &[(Loom, "walk_vs_walk::two_walkers_on_paths_that_part_share_the_node_above")],
    },
    Mutant {
        name: "link_publish_relaxed",
        breaks: "A node or a table is published before its contents.",
        caught_by: &[(Loom, "walk_vs_walk::two_walkers_on_paths_that_part_share_the_node_above")],
    },
    Mutant {
        name: "link_without_owner_reference",
        breaks: "The reference on the owner is taken after the link, when the owner may be dead.",
        caught_by: &[
            (Loom, "create_vs_cascade::creation_below_a_held_node_meets_its_last_release"),
            (Shuttle, "children_of_a_node_that_comes_and_goes_under_pct"),
        ],
    },
    Mutant {
        name: "load_at_reads_the_dead",
        breaks: "A load by path reads the revision of a node that is gone.",
        caught_by: &[
            (Loom, "walk_vs_drop::load_at_agrees_with_the_lookup_before_it"),
            (Shuttle, "children_of_a_node_that_comes_and_goes_under_pct"),
        ],
    },
    Mutant {
        name: "ls_ignores_the_gone",
        breaks: "A list of a table does not see that a child came and went between its two looks.",
        caught_by: &[(Shuttle, "lists_of_children_that_take_turns_in_bursts")],
    },
    Mutant {
        name: "ls_without_validation",
        breaks: "A list mixes the children of two moments.",
        caught_by: &[
            (Loom, "ls_vs_create_and_prune::names_are_those_of_one_moment"),
            (Shuttle, "children_of_a_table_that_grows_and_shrinks_under_pct"),
        ],
    },
    Mutant {
        name: "prune_pins_late",
        breaks: "The pruner is pinned after the count is zero, when others may have freed the parent that it reads.",
        caught_by: &[
            (Loom, "walk_vs_drop::pruner_reads_its_parent_although_others_prune_that"),
            (Epoch, "pruner_reads_its_parent_although_others_free_that"),
            (Shuttle, "children_of_a_node_that_comes_and_goes_under_pct"),
        ],
    },
    Mutant {
        name: "rebuild_keeps_owner_reference",
        breaks: "The thread that replaces an empty table by nothing keeps the reference on the owner.",
        caught_by: &[(Loom, "table::last_two_children_of_a_table_leave_nothing")],
    },
    Mutant {
        name: "rebuild_stops_at_a_mark",
        breaks: "Who finds that a watcher has changed the mark leaves a table that has become empty: it stays for ever, and its node with it.",
        caught_by: &[
            (Loom, "watch_vs_change::last_child_of_a_table_and_its_watcher_leave_nothing"),
            (Shuttle, "watchers_see_the_last_change_under_random_schedules"),
        ],
    },
    Mutant {
        name: "rebuild_without_freeze",
        breaks: "A table is replaced while others still write to it.",
        caught_by: &[(Loom, "table::unlinking_meets_a_growing_table")],
    },
    Mutant {
        name: "register_fence_acqrel",
        breaks: "A watcher that begins looks for the end of the tree before it is listed, and the end tells those that are listed.",
        caught_by: &[(Loom, "watch_vs_close::watch_that_begins_in_a_closing_tree_ends")],
    },
    Mutant {
        name: "release_last_relaxed",
        breaks: "The last release does not acquire the others', so the node is freed before they have read it.",
        caught_by: &[(Loom, "walk_vs_drop::node_is_freed_after_its_last_holder_read_it")],
    },
    Mutant {
        name: "release_relaxed",
        breaks: "A death does not release what its thread did before: a list misses a child made before another died.",
        caught_by: &[(Loom, "ls_vs_create_and_prune::names_are_those_of_one_moment")],
    },
    Mutant {
        name: "release_shared_relaxed",
        breaks: "A release that is not the last does not release its thread's reads: the node is freed before them.",
        caught_by: &[(Loom, "walk_vs_drop::node_is_freed_after_its_last_holder_read_it")],
    },
    Mutant {
        name: "revision_stays",
        breaks: "Two contents of a cell have one revision.",
        caught_by: &[
            (Loom, "store_vs_drop::swaps_and_compare_and_store_number_the_changes"),
            (Shuttle, "children_of_the_root_under_random_schedules"),
        ],
    },
    Mutant {
        name: "room_of_replaced_given_back",
        breaks: "The room of a node that was replaced is given back twice: the limit of nodes is exceeded.",
        caught_by: &[(Loom, "limits::limit_of_nodes_is_never_exceeded")],
    },
    Mutant {
        name: "room_of_replaced_child_given_back",
        breaks: "The room of a child goes back although a fresh one has taken its place.",
        caught_by: &[(Loom, "limits::limit_of_children_in_a_table_is_never_exceeded")],
    },
    Mutant {
        name: "room_taken_in_vain",
        breaks: "A walk that is refused takes room for a moment, and keeps another out of what there is.",
        caught_by: &[(Loom, "limits::walker_that_is_refused_keeps_no_other_out_of_a_table")],
    },
    Mutant {
        name: "seal_changes_nothing",
        breaks: "The tree's end leaves the word of an empty cell as it was, so a store that read it before succeeds after.",
        caught_by: &[(Loom, "store_vs_drop::no_value_is_left_when_a_tree_has_been_dropped")],
    },
    Mutant {
        name: "seal_trusts_another_clear",
        breaks: "The tree's end leaves a cell that another thread has just emptied unwritten, so a store after that does not see that the tree is closed.",
        caught_by: &[(
            Loom,
            "store_vs_drop::store_after_a_clear_in_a_closing_tree_is_refused_or_swept",
        )],
    },
    Mutant {
        name: "slot_load_relaxed",
        breaks: "A walker reads a node in a table before its contents.",
        caught_by: &[(Loom, "table::two_who_link_one_name_in_a_growing_table_get_one_node")],
    },
    Mutant {
        name: "slot_publish_relaxed",
        breaks: "A node is published in a table before its contents.",
        caught_by: &[(Loom, "table::two_who_link_one_name_in_a_growing_table_get_one_node")],
    },
    Mutant {
        name: "stack_load_relaxed",
        breaks: "Who tells watchers reads one before it is made.",
        caught_by: &[(Loom, "watch_vs_change::watcher_that_goes_leaves_the_other_told")],
    },
    Mutant {
        name: "stack_publish_relaxed",
        breaks: "A watcher is listed before it is made.",
        caught_by: &[(Loom, "watch_vs_change::watcher_that_goes_leaves_the_other_told")],
    },
    Mutant {
        name: "store_without_node_reference",
        breaks: "The value's reference on its node is taken after the value is visible, when it may be gone again.",
        caught_by: &[
            (Loom, "store_vs_drop::store_into_a_closing_tree_is_refused_or_swept"),
            (Shuttle, "children_of_the_root_under_pct"),
        ],
    },
    Mutant {
        name: "take_relaxed",
        breaks: "A watcher that was told looks before the change.",
        caught_by: &[(Loom, "watch_vs_change::store_is_seen_by_the_first_look_or_told")],
    },
    Mutant {
        name: "tell_fence_acqrel",
        breaks: "Who changes a cell looks for watchers of the parent's children as of before the change.",
        caught_by: &[(
            Loom,
            "watch_vs_change::filled_child_with_an_old_mark_is_seen_by_the_first_look_or_told",
        )],
    },
    Mutant {
        name: "unlink_keeps_owner_reference",
        breaks: "The reference of an emptied children word is never given back: the owner is leaked.",
        caught_by: &[
            (Loom, "create_vs_cascade::two_cascades_that_meet_leave_nothing"),
            (Shuttle, "children_of_the_root_under_random_schedules"),
        ],
    },
    Mutant {
        name: "unmark_for_good",
        breaks: "Who finds nobody to tell takes the mark of a cell away from a watcher that has just come.",
        caught_by: &[
            (
                Loom,
                "watch_vs_change::filled_child_with_an_old_mark_is_seen_by_the_first_look_or_told",
            ),
            (Shuttle, "watchers_see_the_last_change_under_random_schedules"),
        ],
    },
    Mutant {
        name: "unwatch_for_good",
        breaks: "A watcher of children that goes takes the mark away from one that has just come.",
        caught_by: &[
            (Loom, "watch_vs_change::children_watcher_that_goes_leaves_the_other_told"),
            (Shuttle, "watchers_see_the_last_change_under_random_schedules"),
        ],
    },
    Mutant {
        name: "value_last_relaxed",
        breaks: "The last release of a value does not acquire the others': its destructor runs before they have read it.",
        caught_by: &[(Loom, "store_vs_drop::value_is_dropped_after_its_last_reader")],
    },
    Mutant {
        name: "value_load_relaxed",
        breaks: "A loader reads a value before its contents.",
        caught_by: &[(Loom, "store_vs_drop::value_keeps_its_node_when_the_last_handle_goes")],
    },
    Mutant {
        name: "value_publish_relaxed",
        breaks: "A value is published before its contents.",
        caught_by: &[(Loom, "store_vs_drop::value_keeps_its_node_when_the_last_handle_goes")],
    },
    Mutant {
        name: "value_release_relaxed",
        breaks: "A release of a value does not release its holder's reads: the destructor runs before them.",
        caught_by: &[(Loom, "store_vs_drop::value_is_dropped_after_its_last_reader")],
    },
    Mutant {
        name: "value_seal_relaxed",
        breaks: "The tree's end meets an empty cell without releasing that the tree is closed.",
        caught_by: &[(Loom, "store_vs_drop::store_into_a_closing_tree_is_refused_or_swept")],
    },
    Mutant {
        name: "value_watch_relaxed",
        breaks: "Who takes a mark away does not see the watcher that has set it.",
        caught_by: &[(Loom, "watch_vs_change::watcher_that_goes_leaves_the_other_told")],
    },
    Mutant {
        name: "value_without_epoch",
        breaks: "A value that leaves its cell is dropped at once, under the guards that can reach it.",
        caught_by: &[
            (Loom, "store_vs_drop::value_keeps_its_node_when_the_last_handle_goes"),
            (Epoch, "value_is_not_freed_under_its_reader"),
            (Shuttle, "children_of_the_root_under_random_schedules"),
        ],
    },
    Mutant {
        name: "walk_adopts_the_dead",
        breaks: "A walk returns the dead node that it found.",
        caught_by: &[
            (Loom, "walk_vs_drop::walker_never_gets_a_pruned_node"),
            (Shuttle, "children_of_the_root_under_random_schedules"),
        ],
    },
    Mutant {
        name: "watch_ends_early",
        breaks: "A watcher of a closed tree ends although it has not seen its cell empty.",
        caught_by: &[(
            Loom,
            "watch_vs_close::watch_of_a_closing_tree_shows_the_cell_empty_and_ends",
        )],
    },
];
