//! What came of the coming and going. docs/loadtest-reports.md explains each field.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::crowd::{MessageLatencies, MessageLatencyReport};
use crate::latency::{Latencies, LatencySummary};
use crate::scenarios::churn::Churn;

/// What a thread, or another process, counts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) departures: u64,
    /// From when a user wanted to come to the end of the sync.
    pub(crate) arrive: Latencies,
    pub(crate) unwritten: u64,
    /// Of users who were there when the message was to be sent, and have not left since.
    pub(crate) present: MessageLatencies,
    /// To users who came for it later.
    pub(crate) absent_deliver: Latencies,
}

impl Tally {
    pub(crate) fn merge(&mut self, other: &Tally) {
        self.departures += other.departures;
        self.arrive.merge(&other.arrive);
        self.unwritten += other.unwritten;
        self.present.merge(&other.present);
        self.absent_deliver.merge(&other.absent_deliver);
    }
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct ChurnReport {
    pub settings: Churn,
    /// Times that a user left.
    pub departures: u64,
    /// Of users who wanted to come within the measured window.
    pub logins: u64,
    pub logins_per_s: f64,
    /// From when they wanted to come to the end of the sync.
    pub arrive: LatencySummary,
    /// Messages of the load that nobody wrote, since their sender was away.
    pub unwritten: u64,
    /// Of users who were there when the message was to be sent, and have not left since.
    pub present: MessageLatencyReport,
    /// To users who were away then, with the time for which they still were.
    pub deliver_to_absent: LatencySummary,
}

impl ChurnReport {
    pub(crate) fn new(churn: &Churn, tally: &Tally, window_s: f64) -> ChurnReport {
        ChurnReport {
            settings: churn.clone(),
            departures: tally.departures,
            logins: tally.arrive.count(),
            logins_per_s: tally.arrive.count() as f64 / window_s.max(1e-9),
            arrive: tally.arrive.summary(),
            unwritten: tally.unwritten,
            present: (&tally.present).into(),
            deliver_to_absent: tally.absent_deliver.summary(),
        }
    }
}

/// For people.
impl fmt::Display for ChurnReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "churn        {} departures, {} logins ({:.0} per second)",
            self.departures, self.logins, self.logins_per_s
        )?;
        let lines = [
            ("arrive", self.arrive),
            ("to present", self.present.deliver),
            ("to absent", self.deliver_to_absent),
        ];
        for (name, latency) in lines {
            writeln!(
                f,
                "{name:<12} p50 {:>9.0}  p99 {:>9.0}  p99.9 {:>9.0}  max {:>9.0} us  ({})",
                latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us, latency.count
            )?;
        }
        Ok(())
    }
}
