//! Operations on narrowed anchors against a model.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| killick::testing::fuzz_authority(data));
