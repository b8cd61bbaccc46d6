//! How long a durable message takes at half of the highest rate.
//!
//! The highest rate is found by a closed load; then messages start at fixed times, whatever the
//! server does, and each latency counts from the intended start. Beside it stand the time of one
//! fsync of a preallocated file on the same disk, which no durable answer can beat, and what the raw
//! relay takes for the same messages at the same rate: tails that it has too are the machine's.

use std::os::unix::fs::FileExt;
use std::time::Instant;

use clap::Args;
use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::chat::{Load, MessageKind, Rate};
use dunlin_loadtest::latency::LatencySummary;
use dunlin_loadtest::report::Verdict;
use serde::Serialize;

use crate::measure::budget::{self, Bound, Budget};
use crate::measure::options::Options;
use crate::measure::servers::Server;
use crate::measure::{median, messages_per_s, run, worse};

/// Fsyncs that are timed in each repetition.
const FSYNCS: usize = 200;

/// Bytes of each: what a batch of a dozen messages takes.
const FSYNC_BYTES: usize = 4096;

/// Options of the command.
#[derive(Debug, Clone, Args)]
pub struct LatencyOptions {
    #[command(flatten)]
    #[allow(missing_docs, reason = "they have docs of their own")]
    pub common: Options,
    /// Connections, in pairs.
    #[arg(long, default_value_t = 1000)]
    pub connections: u32,
    /// Messages that each keeps outstanding while the highest rate is found. An open load sends them
    /// one by one, and so must the load that says what is possible: with more, one read and one
    /// write carry several messages, which half of that rate would not.
    #[arg(long, default_value_t = 1)]
    pub outstanding: u32,
    /// This rate instead of half of the highest.
    #[arg(long, value_name = "MESSAGES/S")]
    pub rate: Option<f64>,
    /// Signals, without the store.
    #[arg(long)]
    pub signals: bool,
}

/// One repetition.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct Repetition {
    pub highest_per_s: f64,
    pub rate_per_s: f64,
    pub acknowledge: LatencySummary,
    pub deliver: LatencySummary,
    pub lateness: LatencySummary,
    /// Through the relay, at the same rate.
    pub relay_deliver: LatencySummary,
    pub relay_lateness: LatencySummary,
    pub messages_per_fsync: Option<f64>,
    /// Median time of one write of 4 KiB with its fsync, in microseconds.
    pub fsync_us: f64,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct LatencyReport {
    pub schema: &'static str,
    pub verdict: Verdict,
    pub connections: u32,
    pub message: MessageKind,
    pub content_bytes: usize,
    pub repetitions: Vec<Repetition>,
    pub budgets: Vec<Budget>,
}

/// Measures.
pub fn measure(options: &LatencyOptions) -> Result<LatencyReport, LoadtestError> {
    let mut verdict = Verdict::Ok;
    let mut repetitions = Vec::new();
    for repetition in 1..=options.common.repetitions {
        eprintln!("latency: {repetition} of {}", options.common.repetitions);
        repetitions.push(repeat(options, &mut verdict)?);
    }
    let budgets = vec![budget_of(options, &repetitions)];
    Ok(LatencyReport {
        schema: "dunlin-bench/latency/1",
        verdict,
        connections: options.connections,
        message: message(options),
        content_bytes: options.common.content_bytes,
        repetitions,
        budgets,
    })
}

fn message(options: &LatencyOptions) -> MessageKind {
    if options.signals { MessageKind::Signal } else { MessageKind::Durable }
}

fn repeat(options: &LatencyOptions, verdict: &mut Verdict) -> Result<Repetition, LoadtestError> {
    let (common, users, message) = (&options.common, options.connections, message(options));
    let fsync_us = fsync_us().map_err(LoadtestError::machine("timing an fsync"))?;
    let highest_per_s = match options.rate {
        Some(rate) => rate * 2.0,
        None => {
            let server = Server::dunlin(common)?;
            let mut scenario = common.scenario(server.target(false), users, message);
            scenario.load = Load::Closed { outstanding: options.outstanding };
            let report = run(&scenario)?;
            *verdict = worse(*verdict, report.verdict);
            messages_per_s(&report)
        }
    };
    let rate_per_s = (highest_per_s / 2.0).max(1.0);
    let mut open = |server: Server, message| {
        let mut scenario = common.scenario(server.target(false), users, message);
        scenario.load = Load::Open { messages_per_second: Rate::constant(rate_per_s) };
        let report = run(&scenario)?;
        *verdict = worse(*verdict, report.verdict);
        Ok::<_, LoadtestError>(report)
    };
    let relay = open(Server::relay(common)?, MessageKind::QuietSignal)?;
    let report = open(Server::dunlin(common)?, message)?;
    Ok(Repetition {
        highest_per_s,
        rate_per_s,
        acknowledge: report.latency.acknowledge,
        deliver: report.latency.deliver,
        lateness: report.latency.lateness,
        relay_deliver: relay.latency.deliver,
        relay_lateness: relay.latency.lateness,
        messages_per_fsync: report.server.and_then(|server| server.messages_per_commit()),
        fsync_us,
    })
}

/// In the folder for temporary files, where the data of a server that is started for a
/// measurement is as well.
fn fsync_us() -> std::io::Result<f64> {
    let file = tempfile::tempfile()?;
    let zeroes = vec![0; FSYNC_BYTES * FSYNCS];
    file.write_all_at(&zeroes, 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(FSYNCS);
    for at in (0..zeroes.len() as u64).step_by(FSYNC_BYTES) {
        let start = Instant::now();
        file.write_all_at(&[1; FSYNC_BYTES], at)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(times))
}

fn budget_of(options: &LatencyOptions, repetitions: &[Repetition]) -> Budget {
    if options.signals {
        let p99 = median(repetitions.iter().map(|repetition| repetition.acknowledge.p99_us));
        return Budget::new("signals at half load: p99 in ms", p99 / 1e3, Bound::AtMost(1.0));
    }
    let ratios = repetitions.iter().map(|one| one.acknowledge.p99_us / one.fsync_us);
    let what = "durable at half load: p99 of acks by one fsync";
    Budget::new(what, median(ratios), Bound::AtMost(3.0))
}

/// Prints the report for people.
pub fn print(report: &LatencyReport) {
    println!(
        "highest/s     rate/s  ack p50 us       p99     p99.9  deliver p99   late p99  relay p99  \
         late p99   one fsync  msgs/fsync"
    );
    for repetition in &report.repetitions {
        let Repetition { acknowledge, deliver, lateness, relay_deliver, relay_lateness, .. } =
            repetition;
        println!(
            "{:>9.0} {:>10.0} {:>11.0} {:>9.0} {:>9.0} {:>12.0} {:>10.0} {:>10.0} {:>9.0} {:>11.0} \
             {:>11}",
            repetition.highest_per_s,
            repetition.rate_per_s,
            acknowledge.p50_us,
            acknowledge.p99_us,
            acknowledge.p999_us,
            deliver.p99_us,
            lateness.p99_us,
            relay_deliver.p99_us,
            relay_lateness.p99_us,
            repetition.fsync_us,
            repetition
                .messages_per_fsync
                .map_or_else(String::new, |messages| format!("{messages:.0}")),
        );
    }
    budget::print(&report.budgets);
}
