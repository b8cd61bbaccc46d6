//! The program `dunlin`. Everything is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// A server allocates and frees small things on many threads: mimalloc keeps them apart.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dunlin_gateway::cli::run()
}
