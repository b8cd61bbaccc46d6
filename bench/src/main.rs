//! `dunlin-bench`: figures of Dunlin beside the limits that it has. docs/benchmarks.md shows how
//! to use it.
#![forbid(unsafe_code)]

#[macro_use]
#[path = "../../loadtest/src/printing.rs"]
mod printing;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dunlin_bench::holder;
use dunlin_bench::measure::latency::{self, LatencyOptions};
use dunlin_bench::measure::memory::{self, MemoryOptions};
use dunlin_bench::measure::ratio::{self, RatioOptions};
use dunlin_bench::measure::servers;
use dunlin_bench::profile::{self, ProfileOptions};
use dunlin_bench::relay::program as relay;
use dunlin_bench::scale::{self, ScaleOptions};
use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::interrupt::end_with_servers;
use dunlin_loadtest::report::Verdict;
use serde::Serialize;

/// The same as in the program `dunlin`, which this one is as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage, or a machine that can't measure.
const USAGE: u8 = 2;

/// Measures Dunlin beside the limits that it has, and says which budgets are kept.
///
/// Exit codes: 0 measured, whatever the figures are; 1 the server broke its promise; 2 wrong
/// usage, or the machine can't run it; 3 the harness was too slow for its figures to mean anything.
#[derive(Debug, Parser)]
#[command(name = "dunlin-bench", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Rates and processor time per message, signals and durable, beside the raw relay.
    Ratio(RatioOptions),
    /// Latencies of durable messages at half of the highest rate, beside one fsync.
    Latency(LatencyOptions),
    /// User memory of idle connections, plain and TLS.
    Memory(MemoryOptions),
    /// What each layer of a server costs, from the stacks of a profile.
    Profile(ProfileOptions),
    /// Disk, memory and time of a large store: filled, looked at, cared for, step by step.
    Scale(ScaleOptions),
    /// Be the relay.
    #[command(name = servers::RELAY, hide = true)]
    Relay(relay::Arguments),
    /// Be the holder.
    #[command(name = servers::HOLDER, hide = true)]
    Holder(holder::Arguments),
}

fn main() -> ExitCode {
    // Dunlin reads its own command line.
    if std::env::args_os().nth(1).is_some_and(|command| command == servers::SERVE) {
        return dunlin_gateway::cli::run();
    }
    let command = Arguments::parse().command;
    let measures = match &command {
        Command::Ratio(_) | Command::Latency(_) | Command::Memory(_) => true,
        Command::Profile(_) | Command::Scale(_) | Command::Relay(_) | Command::Holder(_) => false,
    };
    if measures && let Err(error) = end_with_servers() {
        eprintln!("dunlin-bench: listening for signals: {error}");
        return ExitCode::from(USAGE);
    }
    let measured = match command {
        Command::Ratio(options) => ratio::measure(&options).and_then(|report| {
            output(options.common.json, &report, ratio::print)?;
            Ok(report.verdict)
        }),
        Command::Latency(options) => latency::measure(&options).and_then(|report| {
            output(options.common.json, &report, latency::print)?;
            Ok(report.verdict)
        }),
        Command::Memory(options) => memory::measure(&options).and_then(|report| {
            output(options.common.json, &report, memory::print)?;
            Ok(report.verdict)
        }),
        Command::Profile(options) => profile::read(&options).and_then(|report| {
            output(options.json, &report, profile::print)?;
            Ok(Verdict::Ok)
        }),
        Command::Scale(options) => scale::measure(&options).and_then(|report| {
            output(options.json, &report, scale::print)?;
            Ok(Verdict::Ok)
        }),
        Command::Relay(arguments) => return relay::main(&arguments),
        Command::Holder(arguments) => return holder::main(&arguments),
    };
    measured.map_or_else(
        |error| {
            eprintln!("dunlin-bench: {error}");
            ExitCode::from(USAGE)
        },
        Verdict::exit_code,
    )
}

fn output<R: Serialize>(
    file: Option<PathBuf>,
    report: &R,
    print: impl FnOnce(&R),
) -> Result<(), LoadtestError> {
    let json = serde_json::to_string_pretty(report).map_err(io::Error::other);
    let written = match file {
        None => {
            print(report);
            Ok(())
        }
        Some(path) if path.as_os_str() == "-" => {
            json.and_then(|json| writeln!(io::stdout(), "{json}"))
        }
        Some(path) => {
            print(report);
            json.and_then(|json| std::fs::write(path, json + "\n"))
        }
    };
    written.map_err(LoadtestError::machine("writing the report"))
}
