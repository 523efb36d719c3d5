//! Operations on a tree against the sequential model.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| killick::testing::fuzz_tree_ops(data));
