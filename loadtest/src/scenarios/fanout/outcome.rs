//! What a run counts, thread by thread.

use serde::{Deserialize, Serialize};

use crate::audit::FaultLog;
use crate::latency::{Latencies, LatencySummary};
use crate::remote::GeneratorReport;
use crate::report::Reasons;

/// What one thread, or another process, brings home.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) faults: FaultLog,
    pub(crate) acknowledge: Latencies,
    /// One for each device that a message reached.
    pub(crate) deliver: Latencies,
    pub(crate) lateness: Latencies,
    pub(crate) totals: Totals,
    /// Connections that ended, not by the harness, by reason.
    pub(crate) closes: Reasons,
    /// What this machine lacked.
    pub(crate) shortages: Reasons,
    /// The processes among those who brought it, which do not speak of themselves.
    #[serde(skip)]
    pub(crate) generators: Vec<FanoutGeneratorReport>,
}

/// Another process that made load.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/benchmarks.md explains each field")]
pub struct FanoutGeneratorReport {
    #[serde(flatten)]
    pub generator: GeneratorReport,
    pub totals: Totals,
    pub lateness: LatencySummary,
}

impl Outcome {
    /// Adds that of another thread.
    pub(crate) fn merge(mut self, other: Outcome) -> Outcome {
        self.faults.merge(other.faults);
        self.acknowledge.merge(&other.acknowledge);
        self.deliver.merge(&other.deliver);
        self.lateness.merge(&other.lateness);
        self.totals.add(other.totals);
        self.closes.merge(&other.closes);
        self.shortages.merge(&other.shortages);
        self.generators.extend(other.generators);
        self
    }
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/benchmarks.md explains each field")]
pub struct Totals {
    pub sent: u64,
    pub postponed: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub signals_missing: u64,
    pub connections_opened: u64,
    pub gaps_repaired: u64,
    pub behind: u64,
    pub entries_read: u64,
    pub unsent_at_end: u64,
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.sent += other.sent;
        self.postponed += other.postponed;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.signals_missing += other.signals_missing;
        self.connections_opened += other.connections_opened;
        self.gaps_repaired += other.gaps_repaired;
        self.behind += other.behind;
        self.entries_read += other.entries_read;
        self.unsent_at_end += other.unsent_at_end;
    }
}
