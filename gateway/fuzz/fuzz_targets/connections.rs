#![no_main]
//! `cargo +nightly fuzz run --fuzz-dir gateway/fuzz connections`: see `shard/fuzzing`.

libfuzzer_sys::fuzz_target!(|script: &[u8]| dunlin_gateway::fuzz_connections(script));
