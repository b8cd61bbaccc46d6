//! What a run counts, thread by thread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit::FaultLog;
use crate::crowd::{LatenciesByKind, RequestKind, Tally};
use crate::latency::{Latencies, LatencySummary};
use crate::remote::GeneratorReport;
use crate::report::Reasons;

/// What one thread, or another process, brings home.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome<T> {
    pub(crate) faults: FaultLog,
    pub(crate) acknowledge: Latencies,
    /// One for each connection that a message reached.
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
    pub(crate) tally: Option<T>,
    /// The processes among those who brought it, which do not speak of themselves.
    #[serde(skip)]
    pub(crate) generators: Vec<CrowdGeneratorReport>,
}

impl<T> Default for Outcome<T> {
    fn default() -> Outcome<T> {
        Outcome {
            faults: FaultLog::default(),
            acknowledge: Latencies::default(),
            deliver: Latencies::default(),
            by_kind: LatenciesByKind::default(),
            requests: RequestLatencies::default(),
            lateness: Latencies::default(),
            totals: Totals::default(),
            closes: Reasons::default(),
            shortages: Reasons::default(),
            tally: None,
            generators: Vec::new(),
        }
    }
}

impl<T: Tally> Outcome<T> {
    /// Adds that of another thread.
    pub(crate) fn merge(mut self, other: Outcome<T>) -> Outcome<T> {
        self.faults.merge(other.faults);
        self.acknowledge.merge(&other.acknowledge);
        self.deliver.merge(&other.deliver);
        self.by_kind.merge(&other.by_kind);
        self.requests.merge(&other.requests);
        self.lateness.merge(&other.lateness);
        self.totals.add(other.totals);
        self.closes.merge(&other.closes);
        self.shortages.merge(&other.shortages);
        match (&mut self.tally, other.tally) {
            (Some(tally), Some(other)) => tally.merge(&other),
            (tally, other) => *tally = tally.take().or(other),
        }
        self.generators.extend(other.generators);
        self
    }
}

/// Another process that made load.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct CrowdGeneratorReport {
    #[serde(flatten)]
    pub generator: GeneratorReport,
    pub totals: Totals,
    pub lateness: LatencySummary,
}

/// From the intended start to the answer, by kind: a set for each thread, however many users it
/// has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RequestLatencies(BTreeMap<RequestKind, Latencies>);

impl RequestLatencies {
    pub(crate) fn record(&mut self, kind: RequestKind, latency_ns: u64) {
        self.0.entry(kind).or_default().record(latency_ns);
    }

    fn merge(&mut self, other: &RequestLatencies) {
        for (&kind, latencies) in &other.0 {
            self.0.entry(kind).or_default().merge(latencies);
        }
    }

    /// By name.
    pub(crate) fn named(&self) -> impl Iterator<Item = (String, &Latencies)> {
        self.0.iter().map(|(kind, latencies)| (kind.to_string(), latencies))
    }

    pub(crate) fn report(&self) -> BTreeMap<RequestKind, LatencySummary> {
        self.0.iter().map(|(&kind, latencies)| (kind, latencies.summary())).collect()
    }
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
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
    fn add(&mut self, other: Totals) {
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
