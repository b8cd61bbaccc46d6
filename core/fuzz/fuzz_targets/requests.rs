#![no_main]
//! `cargo +nightly fuzz run --fuzz-dir core/fuzz requests`: see `checks.rs`.

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::requests(input));
