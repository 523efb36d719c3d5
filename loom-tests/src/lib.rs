//! Models of the tree's races, each run through every interleaving by loom (`tests/models`), and
//! random histories of it, run by shuttle and searched for a sequential order (`tests/linearizable`).
//! A few models run on the real collector (`tests/epoch`) in the place of the stand-in that frees early.
//!
//! `cargo loom` runs the first, `cargo shuttle` the second, `cargo loom-epoch` the third; they set
//! `--cfg loom`, `--cfg shuttle`, and `--cfg crossbeam_loom` besides `--cfg loom`, without which the
//! tree has nothing that a model could see.

pub mod mutants;

#[cfg(all(feature = "models", not(any(loom, shuttle))))]
compile_error!(
    "the models need `--cfg loom` or `--cfg shuttle`: run `cargo loom`, `cargo shuttle`"
);

#[cfg(all(feature = "epoch-models", not(all(loom, crossbeam_loom))))]
compile_error!(
    "the real collector is modelled with `--cfg loom` and `--cfg crossbeam_loom`: run `cargo loom-epoch`"
);
