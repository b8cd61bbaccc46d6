//! Queues and budgets, each with its bound: the table "What waits where" of ARCHITECTURE.md.

use dunlin_http::metrics::{Metrics, Unit};

use crate::status::Status;
use crate::status::memory::{Bounded, Counted, Queues};

pub(super) fn add(metrics: &mut Metrics, status: &Status) {
    add_bytes(metrics, status);
    add_counts(metrics, &status.queues, status.memory.answers_waiting);
}

fn add_bytes(metrics: &mut Metrics, status: &Status) {
    let log = Bounded { bytes: status.log.queued_bytes, bytes_max: status.log.queued_bytes_max };
    let memory = &status.memory;
    let parts = [
        ("unfinished", memory.unfinished),
        ("commands", memory.commands),
        ("messages", memory.messages),
        ("answers", memory.answers),
        ("outboxes", memory.outboxes),
        ("log", log),
    ];
    let mut now = metrics.gauge(
        "dunlin_waiting",
        Some(Unit::Bytes),
        "What waits between sockets and disk, by part as in dunlin status",
    );
    for (part, bounded) in parts {
        now = now.labelled([("part", part)], bounded.bytes as f64);
    }
    let mut most =
        metrics.gauge("dunlin_waiting_max", Some(Unit::Bytes), "How much of it may wait");
    for (part, bounded) in parts {
        most = most.labelled([("part", part)], bounded.bytes_max as f64);
    }
}

fn add_counts(metrics: &mut Metrics, queues: &Queues, answers_waiting: u64) {
    let Queues { commands, mail, store, calls } = *queues;
    let queues = [("commands", commands), ("mail", mail), ("store", store), ("calls", calls)];
    let mut now = metrics.gauge(
        "dunlin_queued",
        None,
        "What waits by the piece: batches of requests and mail for workers, requests at the store, calls at the door",
    );
    for (queue, Counted { count, .. }) in queues {
        now = now.labelled([("queue", queue)], count as f64);
    }
    let mut most = metrics.gauge("dunlin_queued_max", None, "How many of them may wait");
    for (queue, Counted { count_max, .. }) in queues {
        most = most.labelled([("queue", queue)], count_max as f64);
    }
    metrics
        .gauge("dunlin_answers_waiting", None, "Requests that wait for room for their answer")
        .number(answers_waiting);
}
