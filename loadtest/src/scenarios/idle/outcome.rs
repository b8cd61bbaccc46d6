//! What an idle run comes to, thread by thread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latency::Latencies;
use crate::remote::GeneratorReport;
use crate::scenarios::idle::heartbeats::Pulse;

/// What one thread, or another process, brings home.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// From the start of connecting to the end of the sync.
    pub(crate) arrive: Latencies,
    pub(crate) arrived: u32,
    /// The last arrival, in nanoseconds on the clock of the run.
    pub(crate) last_arrival_ns: u64,
    pub(crate) pulse: Pulse,
    /// Ends of connections by reason: on their way, with another attempt and without, and after
    /// they were active.
    pub(crate) retried: BTreeMap<String, u64>,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) closed: BTreeMap<String, u64>,
    /// Those of them that are this machine's fault.
    pub(crate) machine: BTreeMap<String, u64>,
    /// The processes among those who brought it, which do not speak of themselves.
    #[serde(skip)]
    pub(crate) generators: Vec<IdleGeneratorReport>,
}

impl Outcome {
    /// Adds that of another thread.
    pub(crate) fn merge(mut self, other: Outcome) -> Outcome {
        self.arrive.merge(&other.arrive);
        self.arrived += other.arrived;
        self.last_arrival_ns = self.last_arrival_ns.max(other.last_arrival_ns);
        self.pulse.merge(&other.pulse);
        add(&mut self.retried, other.retried);
        add(&mut self.failed, other.failed);
        add(&mut self.closed, other.closed);
        add(&mut self.machine, other.machine);
        self.generators.extend(other.generators);
        self
    }
}

fn add(to: &mut BTreeMap<String, u64>, from: BTreeMap<String, u64>) {
    for (reason, count) in from {
        *to.entry(reason).or_default() += count;
    }
}

/// Another process that made connections.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct IdleGeneratorReport {
    #[serde(flatten)]
    pub generator: GeneratorReport,
    pub arrived: u32,
    pub heartbeats: u64,
}

/// The moments of a run, in nanoseconds on its clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// When all were there, or the time was over.
    pub(super) gathered_ns: u64,
    /// It was told to stop before all were there.
    pub(super) is_cut_short: bool,
    /// When they were let go.
    pub(super) ended_ns: u64,
}
