//! Latencies of some messages, apart from those of the others: of some users, or of a kind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crowd::MessageKind;
use crate::latency::{Latencies, LatencySummary};

/// From the intended start.
#[derive(Debug, Default, Serialize, Deserialize)]
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

/// Those of each kind of a mix: a set for each thread, however many users it has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LatenciesByKind(BTreeMap<MessageKind, MessageLatencies>);

impl LatenciesByKind {
    pub(crate) fn of(&mut self, kind: MessageKind) -> &mut MessageLatencies {
        self.0.entry(kind).or_default()
    }

    pub(crate) fn merge(&mut self, other: &LatenciesByKind) {
        for (&kind, latencies) in &other.0 {
            self.of(kind).merge(latencies);
        }
    }

    /// All of them by a name of their own: `durable_acknowledge`.
    pub(crate) fn named(&self) -> impl Iterator<Item = (String, &Latencies)> {
        self.0.iter().flat_map(|(kind, latencies)| {
            [
                (format!("{kind}_acknowledge"), &latencies.acknowledge),
                (format!("{kind}_deliver"), &latencies.deliver),
            ]
        })
    }

    pub(crate) fn report(&self) -> BTreeMap<MessageKind, MessageLatencyReport> {
        self.0.iter().map(|(&kind, latencies)| (kind, latencies.into())).collect()
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
