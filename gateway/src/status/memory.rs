//! What waits in memory between sockets and disk, and how much may: each bound of docs/operating.md.

use dunlin_core::limits::{
    COMMANDS_BYTES_MAX, DOOR_CALLS_MAX, STORE_OUTSTANDING_BYTES_MAX, STORE_OUTSTANDING_MAX,
    WORKER_BACKLOG_MAX,
};
use dunlin_core::statistics::EngineStatistics;
use serde::{Deserialize, Serialize};

use crate::shard::control::{MemoryBounds, Node};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Frames and records that have not arrived whole.
    pub(crate) unfinished: Bounded,
    /// Requests that no worker has taken yet.
    pub(crate) commands: Bounded,
    /// Messages that are not durable yet.
    pub(crate) messages: Bounded,
    /// Large answers, from when they are read to when they are written.
    pub(crate) answers: Bounded,
    /// What waits to be written, these answers among it.
    pub(crate) outboxes: Bounded,
    /// Requests that wait for room for their answer, now.
    pub(crate) answers_waiting: u64,
}

/// Bytes now, and at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounded {
    pub(crate) bytes: u64,
    pub(crate) bytes_max: u64,
}

/// How many wait, and may: what is counted by the piece.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queues {
    /// Batches of requests for workers.
    pub(crate) commands: Counted,
    /// Answers and messages of others for workers.
    pub(crate) mail: Counted,
    /// Requests at the store.
    pub(crate) store: Counted,
    /// Calls at the door.
    pub(crate) calls: Counted,
}

/// How many now, and at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) count: u64,
    pub(crate) count_max: u64,
}

impl Queues {
    pub(super) fn of(statistics: &EngineStatistics, queue_batches: usize) -> Queues {
        let total = statistics.total();
        let workers = statistics.workers.len();
        let counted = |count, count_max: usize| Counted { count, count_max: count_max as u64 };
        Queues {
            commands: counted(total.commands_queued, workers * queue_batches),
            mail: counted(total.messages_queued, workers * WORKER_BACKLOG_MAX),
            store: counted(total.store_outstanding, workers * STORE_OUTSTANDING_MAX),
            calls: counted(statistics.calls_waiting, DOOR_CALLS_MAX),
        }
    }
}

impl Memory {
    pub(super) fn of(node: &Node, statistics: &EngineStatistics) -> Memory {
        let total = statistics.total();
        let workers = statistics.workers.len();
        let MemoryBounds { unfinished, outboxes, answers } = node.memory_bounds();
        let bounded = |bytes, bytes_max: usize| Bounded { bytes, bytes_max: bytes_max as u64 };
        let counted = node.counters.snapshot();
        Memory {
            unfinished: bounded(counted.unfinished_bytes, unfinished),
            commands: bounded(total.command_bytes, workers * COMMANDS_BYTES_MAX),
            messages: bounded(total.message_bytes, workers * STORE_OUTSTANDING_BYTES_MAX),
            answers: bounded(total.answer_bytes, answers),
            outboxes: bounded(counted.outbox_bytes, outboxes),
            answers_waiting: total.answers_waiting,
        }
    }

    /// By name, for people.
    pub(super) fn rows(&self) -> [(&'static str, Bounded); 5] {
        [
            ("begun", self.unfinished),
            ("requests", self.commands),
            ("messages", self.messages),
            ("answers", self.answers),
            ("outboxes", self.outboxes),
        ]
    }
}
