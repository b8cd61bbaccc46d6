//! What an idle connection costs the server in user memory, plain and with TLS: resident memory
//! with all connections, less that of the server without any, by their number. The kernel's
//! memory for sockets is not in it.
//!
//! The allocator asks for huge pages, and then memory comes in steps of 2 MiB, most of it unused at
//! this size: run it with `MIMALLOC_ALLOW_THP=0` in the environment.

use std::time::Duration;

use clap::Args;
use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::idle::{self, IdleScenario};
use dunlin_loadtest::report::Verdict;
use serde::Serialize;

use crate::measure::budget::{self, Bound, Budget};
use crate::measure::options::{Options, seconds};
use crate::measure::servers::Server;
use crate::measure::{median, worse};

/// Options of the command.
#[derive(Debug, Clone, Args)]
pub struct MemoryOptions {
    #[command(flatten)]
    #[allow(missing_docs, reason = "they have docs of their own")]
    pub common: Options,
    /// Connections, each with a user of its own.
    #[arg(long, default_value_t = 15_000)]
    pub connections: u32,
    /// How long they are held: what logins needed is given back after a minute.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "90")]
    pub hold: Duration,
}

/// Plain or TLS.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/benchmarks.md explains each field")]
pub struct Line {
    pub tls: bool,
    /// When all had arrived.
    pub bytes_per_connection_full: f64,
    /// At the end of the hold.
    pub bytes_per_connection: f64,
    pub bytes_per_connection_slope: f64,
    pub arrivals_per_s: f64,
    pub cpu_us_per_arrival: f64,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/benchmarks.md explains each field")]
pub struct MemoryReport {
    pub schema: &'static str,
    pub verdict: Verdict,
    pub connections: u32,
    pub lines: Vec<Line>,
    pub budgets: Vec<Budget>,
}

/// Measures.
pub fn measure(options: &MemoryOptions) -> Result<MemoryReport, LoadtestError> {
    let mut verdict = Verdict::Ok;
    let mut lines = Vec::new();
    for repetition in 1..=options.common.repetitions {
        for tls in [false, true] {
            eprintln!("memory: {repetition} of {}, tls {tls}", options.common.repetitions);
            lines.push(hold(options, tls, &mut verdict)?);
        }
    }
    let of = |tls: bool| {
        let of_kind = lines.iter().filter(move |line| line.tls == tls);
        median(of_kind.map(|line| line.bytes_per_connection))
    };
    let budgets = vec![
        Budget::new("bytes per idle connection, plain", of(false), Bound::AtMost(512.0)),
        Budget::new("bytes per idle connection, TLS 1.3", of(true), Bound::AtMost(3600.0)),
    ];
    let connections = options.connections;
    Ok(MemoryReport { schema: "dunlin-bench/memory/1", verdict, connections, lines, budgets })
}

fn hold(options: &MemoryOptions, tls: bool, verdict: &mut Verdict) -> Result<Line, LoadtestError> {
    let server = Server::dunlin(&options.common)?;
    let mut scenario = IdleScenario::new(server.target(tls), options.connections);
    scenario.processors.clone_from(&options.common.client_cpu);
    scenario.connects_per_second = options.common.connect_rate;
    scenario.hold = options.hold;
    let report = idle::run(&scenario, &mut |_, _| {})?;
    if report.verdict != Verdict::Ok {
        eprintln!("{:?}: {}", report.verdict, report.reasons.join("; "));
    }
    *verdict = worse(*verdict, report.verdict);
    let server = report.server.ok_or_else(|| {
        LoadtestError::Server("its process was gone before it could be looked at".to_owned())
    })?;
    let grown = server.resident_bytes_end.saturating_sub(server.resident_bytes_empty);
    Ok(Line {
        tls,
        bytes_per_connection_full: server.resident_bytes_per_connection,
        bytes_per_connection: grown as f64 / f64::from(report.arrived.max(1)),
        bytes_per_connection_slope: server.resident_bytes_per_connection_slope,
        arrivals_per_s: report.arrivals_per_s,
        cpu_us_per_arrival: server.cpu_us_per_arrival,
    })
}

/// Prints the report for people.
pub fn print(report: &MemoryReport) {
    println!("transport  B/connection when full  at the end  slope  arrivals/s  us CPU/arrival");
    for line in &report.lines {
        println!(
            "{:<9} {:>23.0} {:>11.0} {:>6.0} {:>11.0} {:>15.1}",
            if line.tls { "TLS" } else { "plain" },
            line.bytes_per_connection_full,
            line.bytes_per_connection,
            line.bytes_per_connection_slope,
            line.arrivals_per_s,
            line.cpu_us_per_arrival,
        );
    }
    budget::print(&report.budgets);
}
