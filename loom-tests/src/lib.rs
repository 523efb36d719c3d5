//! Models of the tree's races, each run through every interleaving by loom (`tests/models`), and
//! random histories of it, run by shuttle and searched for a sequential order (`tests/linearizable`).
//!
//! `cargo loom` runs the ones, `cargo shuttle` the others; they set `--cfg loom` and `--cfg shuttle`,
//! without which the tree has nothing that a model could see.

#[cfg(all(feature = "models", not(any(loom, shuttle))))]
compile_error!(
    "the models need `--cfg loom` or `--cfg shuttle`: run `cargo loom`, `cargo shuttle`"
);
