//! What an idle connection costs the server in user memory, plain and with TLS: resident memory
//! with all connections, less that of the server without any, by their number. Beside it stands the
//! [holder](crate::holder), which knows nothing of its connections, and in the same run what the
//! kernel keeps for a connection. That is for both of its ends, since both are on this machine.
//!
//! What was freed goes back to the system after some seconds, and the index of what was written after half
//! a minute: so what counts is the end of a hold of a minute.

use std::time::Duration;

use clap::Args;
use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::idle::{self, IdleScenario};
use dunlin_loadtest::report::Verdict;
use serde::Serialize;

use crate::measure::budget::{self, Bound, Budget};
use crate::measure::kernel::KernelMemory;
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

/// Who holds the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contender {
    /// The limit: no users, no protocol.
    Holder,
    /// Dunlin without TLS.
    Plain,
    /// Dunlin with TLS 1.3.
    Tls,
}

/// In the order of a turn.
const CONTENDERS: [Contender; 3] = [Contender::Holder, Contender::Plain, Contender::Tls];

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Contender::Holder => "holder",
            Contender::Plain => "plain",
            Contender::Tls => "TLS",
        }
    }
}

/// One contender in one repetition.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct Line {
    pub contender: Contender,
    /// When all had arrived.
    pub bytes_per_connection_full: f64,
    /// At the end of the hold.
    pub bytes_per_connection: f64,
    pub bytes_per_connection_slope: f64,
    pub arrivals_per_s: f64,
    pub cpu_us_per_arrival: f64,
    /// With all that goes on beside.
    pub cpu_us_per_heartbeat: f64,
    /// Of the kernel, while all are held, for both ends of a connection.
    pub kernel_per_connection: KernelMemory,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
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
        for contender in CONTENDERS {
            let (of, name) = (options.common.repetitions, contender.name());
            eprintln!("memory: {repetition} of {of}, {name}");
            lines.push(hold(options, contender, &mut verdict)?);
        }
    }
    let budgets = budgets(&lines);
    let connections = options.connections;
    Ok(MemoryReport { schema: "dunlin-bench/memory/2", verdict, connections, lines, budgets })
}

fn budgets(lines: &[Line]) -> Vec<Budget> {
    let of = |contender: Contender| {
        let of_kind = lines.iter().filter(move |line| line.contender == contender);
        median(of_kind.map(|line| line.bytes_per_connection))
    };
    vec![
        Budget::new("bytes per idle connection, plain", of(Contender::Plain), Bound::AtMost(512.0)),
        Budget::new(
            "bytes per idle connection, TLS 1.3",
            of(Contender::Tls),
            Bound::AtMost(3600.0),
        ),
    ]
}

fn hold(
    options: &MemoryOptions,
    contender: Contender,
    verdict: &mut Verdict,
) -> Result<Line, LoadtestError> {
    let server = match contender {
        Contender::Holder => Server::holder(&options.common)?,
        Contender::Plain | Contender::Tls => {
            let room = idle::server_settings(options.connections);
            Server::dunlin_with(&options.common, room.as_slice())?
        }
    };
    let mut scenario =
        IdleScenario::new(server.target(contender == Contender::Tls), options.connections);
    scenario.processors.clone_from(&options.common.client_cpu);
    scenario.connects_per_second = options.common.connect_rate;
    scenario.hold = options.hold;
    let look = || KernelMemory::look().map_err(LoadtestError::machine("looking at the kernel"));
    let before = look()?;
    // Progress is told once a second; the last look at all of them is the one that counts.
    let mut held = Ok(before);
    let report = idle::run(&scenario, &mut |_, connections| {
        if connections == options.connections {
            held = look();
        }
    })?;
    let held = held?;
    if report.verdict != Verdict::Ok {
        eprintln!("{:?}: {}", report.verdict, report.reasons.join("; "));
    }
    *verdict = worse(*verdict, report.verdict);
    let server = report.server.ok_or_else(|| {
        LoadtestError::Server("its process was gone before it could be looked at".to_owned())
    })?;
    let grown = server.resident_bytes_end.saturating_sub(server.resident_bytes_empty);
    Ok(Line {
        contender,
        bytes_per_connection_full: server.resident_bytes_per_connection,
        bytes_per_connection: grown as f64 / f64::from(report.arrived.max(1)),
        bytes_per_connection_slope: server.resident_bytes_per_connection_slope,
        arrivals_per_s: report.arrivals_per_s,
        cpu_us_per_arrival: server.cpu_us_per_arrival,
        cpu_us_per_heartbeat: server.cpu_us_per_heartbeat,
        kernel_per_connection: held.per_connection(before, report.arrived),
    })
}

/// Prints the report for people.
pub fn print(report: &MemoryReport) {
    println!(
        "contender  B/connection when full  at the end  slope  arrivals/s  us CPU/arrival  \
         /heartbeat  kernel: slab B  TCP B"
    );
    for line in &report.lines {
        println!(
            "{:<9} {:>23.0} {:>11.0} {:>6.0} {:>11.0} {:>15.1} {:>11.2} {:>15.0} {:>6.0}",
            line.contender.name(),
            line.bytes_per_connection_full,
            line.bytes_per_connection,
            line.bytes_per_connection_slope,
            line.arrivals_per_s,
            line.cpu_us_per_arrival,
            line.cpu_us_per_heartbeat,
            line.kernel_per_connection.slab_bytes,
            line.kernel_per_connection.tcp_bytes,
        );
    }
    budget::print(&report.budgets);
}
