//! The report of an idle run. docs/loadtest-reports.md explains each field of the JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::latency::LatencySummary;
use crate::process::Usage;
use crate::report::{Distribution, Findings, Report, Series, Verdict};
use crate::scenarios::idle::heartbeats::Pulse;
use crate::scenarios::idle::outcome::{IdleGeneratorReport, Outcome, Times};
use crate::scenarios::idle::scenario::IdleScenario;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct IdleReport {
    pub schema: &'static str,
    pub verdict: Verdict,
    pub reasons: Vec<String>,
    pub connections: u32,
    pub threads: usize,
    pub tls: bool,
    pub hold_s: f64,
    /// Connections that were logged in and synced at some time.
    pub arrived: u32,
    /// From the first connect to the last arrival, per second.
    pub arrivals_per_s: f64,
    /// From the connect to the end of the sync.
    pub arrive: LatencySummary,
    pub heartbeats: u64,
    /// From sending to the answer, of some connections.
    pub heartbeat_round_trip: LatencySummary,
    /// From the intended start to sending.
    pub heartbeat_lateness: LatencySummary,
    /// Heartbeats of the same connections that were due before the last one was answered.
    pub heartbeats_overdue: u64,
    pub closes: Closes,
    pub server: Option<IdleServerReport>,
    /// This process, by the same measures; absent if others made the connections.
    pub harness: Option<IdleServerReport>,
    /// Other processes that made the connections.
    pub generators: Vec<IdleGeneratorReport>,
    /// Latencies to be drawn, by name.
    pub distributions: BTreeMap<&'static str, Distribution>,
    /// The whole run second by second.
    pub series: Series,
}

impl Report for IdleReport {
    fn judgement(&mut self) -> (&mut Verdict, &mut Vec<String>) {
        (&mut self.verdict, &mut self.reasons)
    }
}

/// Ends of connections by reason.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Closes {
    /// Before they were logged in and synced, with another attempt.
    pub retried: BTreeMap<String, u64>,
    /// The same, after the last attempt.
    pub failed: BTreeMap<String, u64>,
    /// While they were held.
    pub closed: BTreeMap<String, u64>,
    /// At any time, since the harness's machine lacked something, without another attempt.
    pub machine: BTreeMap<String, u64>,
}

/// What a process used.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct IdleServerReport {
    pub resident_bytes_empty: u64,
    pub resident_bytes_full: u64,
    pub resident_bytes_end: u64,
    /// (full - empty) / connections.
    pub resident_bytes_per_connection: f64,
    /// The slope of a line through the samples while the connections came.
    pub resident_bytes_per_connection_slope: f64,
    /// Processor time of one arrival, in microseconds.
    pub cpu_us_per_arrival: f64,
    /// Processors kept busy while all were held.
    pub idle_cpu_share: f64,
    /// Processor time of one heartbeat and all that goes on beside, in microseconds.
    pub cpu_us_per_heartbeat: f64,
    pub samples: Vec<Sample>,
}

/// The server at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Nanoseconds on the clock of the run.
    pub at_ns: u64,
    /// Connections that are logged in and synced.
    pub connections: u32,
    /// Its memory and processor time.
    #[serde(flatten)]
    pub usage: Usage,
}

pub(crate) fn compose(
    scenario: &IdleScenario,
    outcomes: Vec<Outcome>,
    times: Times,
    (samples, harness_samples): (Vec<Sample>, Vec<Sample>),
) -> IdleReport {
    let all = outcomes.into_iter().reduce(Outcome::merge).unwrap_or_default();
    let Outcome { arrive, arrived, last_arrival_ns, pulse, generators, .. } = all;
    let closes = Closes {
        retried: all.retried,
        failed: all.failed,
        closed: all.closed,
        machine: all.machine,
    };
    let is_here = generators.is_empty();
    let elsewhere = generators.iter().map(|part| part.generator.threads);
    let expected = if times.is_cut_short { arrived } else { scenario.connections };
    let mut reasons = reasons(expected, arrived, &closes);
    let invalid = lateness(scenario, &pulse);
    let verdict = Verdict::from(Findings {
        faults: !closes.failed.is_empty() || !closes.closed.is_empty(),
        shortages: !closes.machine.is_empty(),
        unfinished: !reasons.is_empty(),
        late: invalid.is_some(),
    });
    reasons.extend(invalid);
    IdleReport {
        schema: "dunlin-loadtest/idle/1",
        verdict,
        reasons,
        connections: scenario.connections,
        threads: if is_here { scenario.threads } else { elsewhere.sum() },
        tls: scenario.target.tls.is_some(),
        hold_s: (times.ended_ns - times.gathered_ns) as f64 / 1e9,
        arrived,
        arrivals_per_s: f64::from(arrived) * 1e9 / last_arrival_ns.max(1) as f64,
        arrive: arrive.summary(),
        heartbeats: pulse.sent,
        heartbeat_round_trip: pulse.round_trip.summary(),
        heartbeat_lateness: pulse.lateness.summary(),
        heartbeats_overdue: pulse.overdue,
        closes,
        server: server(samples, times, arrived, pulse.sent),
        harness: is_here.then(|| server(harness_samples, times, arrived, pulse.sent)).flatten(),
        distributions: Distribution::of_measured([
            ("arrive", &arrive),
            ("heartbeat_lateness", &pulse.lateness),
            ("heartbeat_round_trip", &pulse.round_trip),
        ]),
        generators,
        series: Series::default(),
    }
}

/// Why the harness was too late for the figures to mean anything.
fn lateness(scenario: &IdleScenario, pulse: &Pulse) -> Option<String> {
    let late = Duration::from_nanos(pulse.lateness.quantile_ns(0.99));
    (late > scenario.lateness_p99_max).then(|| format!("heartbeats were late: p99 {late:.1?}"))
}

fn reasons(expected: u32, arrived: u32, closes: &Closes) -> Vec<String> {
    let mut reasons = Vec::new();
    if arrived < expected {
        reasons.push(format!("{arrived} of {expected} users could log in"));
    }
    let describe = |(reason, count): (&String, &u64)| format!("{count} closed: {reason}");
    reasons.extend(closes.failed.iter().map(describe));
    reasons.extend(closes.closed.iter().map(describe));
    reasons.extend(closes.machine.iter().map(describe));
    reasons
}

fn server(
    samples: Vec<Sample>,
    times: Times,
    arrived: u32,
    heartbeats: u64,
) -> Option<IdleServerReport> {
    let (empty, end) = (*samples.first()?, *samples.last()?);
    let full = samples.iter().find(|sample| sample.at_ns >= times.gathered_ns);
    let full = full.copied().unwrap_or(end);
    let coming: Vec<Sample> =
        samples.iter().copied().filter(|sample| sample.at_ns <= full.at_ns).collect();
    let cpu_us = |from: Sample, to: Sample| (to.usage.cpu_us - from.usage.cpu_us) as f64;
    let held_us = (end.at_ns - full.at_ns) as f64 / 1e3;
    let held_share = held_us / (end.at_ns - empty.at_ns).max(1) as f64 * 1e3;
    let grown = full.usage.resident_bytes.saturating_sub(empty.usage.resident_bytes) as f64;
    Some(IdleServerReport {
        resident_bytes_empty: empty.usage.resident_bytes,
        resident_bytes_full: full.usage.resident_bytes,
        resident_bytes_end: end.usage.resident_bytes,
        resident_bytes_per_connection: grown / f64::from(arrived.max(1)),
        resident_bytes_per_connection_slope: slope(&coming),
        cpu_us_per_arrival: cpu_us(empty, full) / f64::from(arrived.max(1)),
        idle_cpu_share: cpu_us(full, end) / held_us.max(1.0),
        cpu_us_per_heartbeat: cpu_us(full, end) / (heartbeats as f64 * held_share).max(1.0),
        samples,
    })
}

/// Least squares of resident bytes over connections.
fn slope(samples: &[Sample]) -> f64 {
    let points = samples
        .iter()
        .map(|sample| (f64::from(sample.connections), sample.usage.resident_bytes as f64));
    let count = samples.len() as f64;
    let (sum_x, sum_y) =
        points.clone().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (covariance, variance) = points.fold((0.0, 0.0), |(covariance, variance), (x, y)| {
        (covariance + (x - mean_x) * (y - mean_y), variance + (x - mean_x).powi(2))
    });
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_the_memory_of_one_more_connection() {
        let sample = |connections: u32| Sample {
            at_ns: 0,
            connections,
            usage: Usage { resident_bytes: 5_000_000 + 512 * u64::from(connections), cpu_us: 0 },
        };
        let samples: Vec<_> = [0, 10, 500, 1000, 15_000].map(sample).to_vec();
        assert!((slope(&samples) - 512.0).abs() < 1e-6);
        assert_eq!(slope(&samples[..1]), 0.0);
    }
}
