//! Bytes from a client into a session of the server.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| killick_server::fuzz_session(data));
