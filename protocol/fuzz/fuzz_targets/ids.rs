#![no_main]
//! `cargo +nightly fuzz run --fuzz-dir protocol/fuzz ids`: see `checks.rs`.

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::ids(input));
