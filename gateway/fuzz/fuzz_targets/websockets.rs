#![no_main]
//! `cargo +nightly fuzz run --fuzz-dir gateway/fuzz websockets`: see `gateway/src/fuzzing/websocket.rs`.

libfuzzer_sys::fuzz_target!(|script: &[u8]| dunlin_gateway::fuzz_websockets(script));
