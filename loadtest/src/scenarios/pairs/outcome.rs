//! What a run counts, thread by thread.

use serde::{Deserialize, Serialize};

use crate::audit::FaultLog;
use crate::chat::disturbance::Tally;
use crate::chat::request::RequestLatencies;
use crate::crowd::LatenciesByKind;
use crate::latency::{Latencies, LatencySummary};
use crate::remote::GeneratorReport;
use crate::report::Reasons;

/// What one thread, or another process, brings home.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) faults: FaultLog,
    pub(crate) acknowledge: Latencies,
    pub(crate) deliver: Latencies,
    /// The same once more, if there is more than one kind.
    pub(crate) by_kind: LatenciesByKind,
    pub(crate) requests: RequestLatencies,
    pub(crate) lateness: Latencies,
    pub(crate) totals: Totals,
    /// Connections that ended, not by the harness, by reason.
    pub(crate) closes: Reasons,
    /// What this machine lacked.
    pub(crate) shortages: Reasons,
    /// What befell the users, unless the coordinator has asked for it already.
    pub(crate) disturbance: Option<Tally>,
    /// The processes among those who brought it, which do not speak of themselves.
    #[serde(skip)]
    pub(crate) generators: Vec<ChatGeneratorReport>,
}

/// Another process that made load.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/benchmarks.md explains each field")]
pub struct ChatGeneratorReport {
    #[serde(flatten)]
    pub generator: GeneratorReport,
    pub totals: Totals,
    pub lateness: LatencySummary,
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/benchmarks.md explains each field")]
pub struct Totals {
    pub sent: u64,
    pub resent: u64,
    pub postponed: u64,
    pub arrivals_postponed: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub signals_missing: u64,
    pub requested: u64,
    pub answered: u64,
    pub left_out: u64,
    pub connections_opened: u64,
    pub connections_lost: u64,
    pub gaps_repaired: u64,
    pub behind: u64,
    pub entries_read: u64,
    pub unsent_at_end: u64,
}

impl Totals {
    /// Adds those of another thread.
    pub(crate) fn add(&mut self, other: Totals) {
        self.sent += other.sent;
        self.resent += other.resent;
        self.postponed += other.postponed;
        self.arrivals_postponed += other.arrivals_postponed;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.signals_missing += other.signals_missing;
        self.requested += other.requested;
        self.answered += other.answered;
        self.left_out += other.left_out;
        self.connections_opened += other.connections_opened;
        self.connections_lost += other.connections_lost;
        self.gaps_repaired += other.gaps_repaired;
        self.behind += other.behind;
        self.entries_read += other.entries_read;
        self.unsent_at_end += other.unsent_at_end;
    }
}
