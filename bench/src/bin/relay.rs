//! The raw epoll relay alone. Everything is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use dunlin_bench::relay::program;

fn main() -> ExitCode {
    program::main(&program::Arguments::parse())
}
