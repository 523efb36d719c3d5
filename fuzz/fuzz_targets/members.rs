//! What other hosts say, into the membership of one.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| killick_server::fuzz_members(data));
