//! Latencies of the messages of some users, apart from those of the others.

use serde::Serialize;

use crate::latency::{Latencies, LatencySummary};

/// From the intended start.
#[derive(Debug, Default)]
pub(crate) struct MessageLatencies {
    pub(crate) acknowledge: Latencies,
    pub(crate) deliver: Latencies,
}

impl MessageLatencies {
    pub(crate) fn merge(&mut self, other: &MessageLatencies) {
        self.acknowledge.merge(&other.acknowledge);
        self.deliver.merge(&other.deliver);
    }
}

/// What is reported of them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct MessageLatencyReport {
    pub acknowledge: LatencySummary,
    pub deliver: LatencySummary,
}

impl From<&MessageLatencies> for MessageLatencyReport {
    fn from(latencies: &MessageLatencies) -> MessageLatencyReport {
        MessageLatencyReport {
            acknowledge: latencies.acknowledge.summary(),
            deliver: latencies.deliver.summary(),
        }
    }
}
