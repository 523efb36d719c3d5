//! Models of the tree's races, each run through every interleaving by loom: see `tests/models`.
//!
//! `cargo loom` runs them; it sets `--cfg loom`, without which the tree has nothing that a model
//! could see.

#[cfg(all(feature = "models", not(loom)))]
compile_error!("the models need `--cfg loom`: run `cargo loom`");
