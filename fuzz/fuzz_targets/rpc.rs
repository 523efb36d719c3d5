//! Messages of two clients who may work together, into sessions of the server.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| killick_server::fuzz_two_sessions(data));
