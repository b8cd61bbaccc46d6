//! What a storm came to. docs/loadtest-reports.md explains each field.

use std::fmt;

use serde::Serialize;

use crate::crowd::MessageLatencyReport;
use crate::latency::LatencySummary;
use crate::process::{self, Usage};
use crate::scenarios::storm::Storm;
use crate::scenarios::storm::tally::Tally;

/// A storm with all its rounds.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct StormReport {
    pub settings: Storm,
    /// Users who were never dropped.
    pub established: u32,
    /// Resident memory of the server before the first round, if it is local.
    pub resident_bytes_before: Option<u64>,
    pub rounds: Vec<RoundReport>,
}

/// For people: a line for each round.
impl fmt::Display for StormReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "storm            back  50 %     99 %    100 %   per s  wait max s | established us: \
             deliver p50      p99      max  calm p99 | MB resident"
        )?;
        let seconds =
            |time: Option<f64>| time.map_or("never".to_owned(), |seconds| format!("{seconds:.3}"));
        for round in &self.rounds {
            let (raging, calm) = (round.established.deliver, round.established_calm.deliver);
            let megabytes = |bytes: Option<u64>| {
                bytes.map_or("-".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1e6))
            };
            writeln!(
                f,
                "{:>5} {:>9} {:>8} {:>8} {:>8} {:>7.0} {:>11.3} | {:>27.0} {:>8.0} {:>8.0} {:>9.0} | {}, \
                 calm {}",
                round.round,
                round.returned,
                seconds(round.back_50_s),
                seconds(round.back_99_s),
                seconds(round.back_100_s),
                round.returns_per_s,
                round.arrive.max_us / 1e6,
                raging.p50_us,
                raging.p99_us,
                raging.max_us,
                calm.p99_us,
                megabytes(round.resident_bytes_back),
                megabytes(round.resident_bytes_calm),
            )?;
        }
        Ok(())
    }
}

/// One round.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct RoundReport {
    pub round: u32,
    /// On the clock of the run.
    pub begun_at_s: f64,
    pub dropped: u64,
    pub returned: u64,
    /// From the beginning of the round, in seconds, until so many percent were back, if they were.
    pub back_50_s: Option<f64>,
    pub back_99_s: Option<f64>,
    pub back_100_s: Option<f64>,
    pub returns_per_s: f64,
    /// From a user's first attempt to connect to the end of the sync; `max_us` is the longest wait.
    pub arrive: LatencySummary,
    /// Attempts beyond the first one of each.
    pub attempts_repeated: u64,
    pub tls_resumed: u64,
    pub tls_full: u64,
    /// What the spared users saw of it: messages that were under way meanwhile.
    pub established: MessageLatencyReport,
    /// The same users' messages at other times since the round before.
    pub established_calm: MessageLatencyReport,
    /// When all were back.
    pub resident_bytes_back: Option<u64>,
    /// After the calm.
    pub resident_bytes_calm: Option<u64>,
    /// Processor time of the server per return, in microseconds, with all else that it did.
    pub cpu_us_per_return: Option<f64>,
}

/// A round as the coordinator saw it.
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) begun_ns: u64,
    pub(crate) tally: Tally,
    pub(crate) before: Option<Usage>,
    pub(crate) back: Option<Usage>,
    pub(crate) calm: Option<Usage>,
}

impl StormReport {
    pub(crate) fn new(storm: &Storm, users: u32, before: Option<Usage>) -> StormReport {
        StormReport {
            settings: storm.clone(),
            established: storm.established(users),
            resident_bytes_before: before.map(|usage| usage.resident_bytes),
            rounds: Vec::new(),
        }
    }
}

impl From<&Round> for RoundReport {
    fn from(round: &Round) -> RoundReport {
        let tally = &round.tally;
        let returned = tally.back.count();
        let usages = round.before.zip(round.back);
        let cpu = usages.map(|(before, back)| process::cpu_between(before, back));
        RoundReport {
            round: round.number,
            begun_at_s: round.begun_ns as f64 / 1e9,
            dropped: tally.dropped,
            returned,
            back_50_s: tally.back_s(0.5),
            back_99_s: tally.back_s(0.99),
            back_100_s: tally.back_s(1.0),
            returns_per_s: returned as f64 * 1e9 / tally.back.quantile_ns(1.0).max(1) as f64,
            arrive: tally.arrive.summary(),
            attempts_repeated: tally.attempts.saturating_sub(tally.dropped),
            tls_resumed: tally.tls_resumed,
            tls_full: tally.tls_full,
            established: (&tally.raging).into(),
            established_calm: (&tally.calm).into(),
            resident_bytes_back: round.back.map(|usage| usage.resident_bytes),
            resident_bytes_calm: round.calm.map(|usage| usage.resident_bytes),
            cpu_us_per_return: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / returned.max(1) as f64),
        }
    }
}
