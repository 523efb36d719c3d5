//! Replays the seeds of the fuzz targets.

use std::fs;
use std::path::Path;

use crate::testing::{fuzz_authority, fuzz_path, fuzz_tree_ops};

/// Hands every file in `fuzz/seeds/<target>` to `run`, and its name to whoever reads a failure.
fn replay(target: &str, run: impl Fn(&[u8])) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    if package.join("Cargo.toml.orig").exists() {
        // A published package carries no seeds.
        return;
    }
    let folder = package.join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    for seed in seeds {
        println!("{}", seed.display());
        run(&fs::read(&seed).unwrap());
    }
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn seeds_of_path_are_read_as_the_reference_reads_them() {
    replay("path", fuzz_path);
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn seeds_of_tree_ops_agree_with_the_model() {
    replay("tree_ops", fuzz_tree_ops);
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn seeds_of_authority_agree_with_the_model() {
    replay("authority", fuzz_authority);
}
