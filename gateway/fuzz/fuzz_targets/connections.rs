#![no_main]
//! `cargo +nightly fuzz run --fuzz-dir gateway/fuzz connections`: see `gateway/src/fuzzing`.

libfuzzer_sys::fuzz_target!(
    init: {
        // Rust programs ignore it from their start, which a program without `main` does not have;
        // else the first write to a peer that has reset its connection is the end.
        // SAFETY: there is one thread, and to ignore a signal no handler is needed.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    },
    |script: &[u8]| dunlin_gateway::fuzz_connections(script)
);
