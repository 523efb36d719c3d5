//! The library's reading of a path against a second, independent one.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| killick::testing::fuzz_path(data));
