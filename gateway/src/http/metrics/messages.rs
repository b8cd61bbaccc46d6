//! What is asked, what becomes of it, and how long it takes.

use std::collections::BTreeMap;

use dunlin_http::metrics::{Metrics, Unit};
use dunlin_protocol::wire::ErrorCode;

use super::spread;
use crate::log::names::code_name;
use crate::status::Status;
use crate::status::report::{Engine, Moments, Traffic};

/// A turn of a loop that takes longer is a stall: others have waited for it.
const STALL_US: u64 = 100_000;

pub(super) fn add(metrics: &mut Metrics, status: &Status) {
    add_requests(metrics, &status.engine);
    add_errors(metrics, &status.engine.errors);
    add_ways(metrics, &status.traffic);
    add_loops(metrics, &status.traffic, &status.engine);
    add_rarities(metrics, &status.engine);
    add_nodes(metrics, &status.engine);
}

fn add_requests(metrics: &mut Metrics, engine: &Engine) {
    let mut requests =
        metrics.counter("dunlin_requests", None, "Requests that a worker has taken, by kind");
    for (kind, count) in &engine.requests_by {
        requests = requests.labelled([("kind", kind.clone())], *count);
    }
    metrics
        .counter(
            "dunlin_messages",
            None,
            "Entries that were given to the store, and what was given to sessions of this node",
        )
        .labelled([("kind", "appended")], engine.appends)
        .labelled([("kind", "pushed")], engine.pushes)
        .labelled([("kind", "signalled")], engine.signals);
    metrics
        .gauge("dunlin_conversations", None, "Conversations in memory")
        .number(engine.conversations);
}

/// More numbers than there are codes.
const CODE_NUMBERS: i32 = 1000;

fn add_errors(metrics: &mut Metrics, errors: &BTreeMap<String, u64>) {
    let mut counter = metrics.counter(
        "dunlin_errors",
        None,
        "Requests that the engine refused, by the code as docs/protocol.md names it",
    );
    let codes = (1..CODE_NUMBERS).filter_map(|number| ErrorCode::try_from(number).ok());
    for code in codes.map(code_name) {
        let count = errors.get(code).copied().unwrap_or(0);
        counter = counter.labelled([("code", code)], count);
    }
}

fn add_ways(metrics: &mut Metrics, traffic: &Traffic) {
    metrics
        .histogram(
            "dunlin_acknowledge",
            Some(Unit::Seconds),
            "From the turn that reads a message to the end of the one that writes its acknowledgement",
        )
        .values(spread::seconds(&traffic.acknowledged_us));
    metrics
        .histogram(
            "dunlin_push",
            Some(Unit::Seconds),
            "From the turn that reads a message to the end of the one that writes a push of it on this node",
        )
        .values(spread::seconds(&traffic.pushed_us));
}

fn add_loops(metrics: &mut Metrics, traffic: &Traffic, engine: &Engine) {
    metrics
        .histogram("dunlin_shard_turn", Some(Unit::Seconds), "How long turns of I/O threads take")
        .values(spread::seconds(&traffic.tick_us));
    metrics
        .histogram(
            "dunlin_worker_turn",
            Some(Unit::Seconds),
            "How long turns of workers take that have something to do",
        )
        .values(spread::seconds(&engine.tick_us));
    metrics
        .counter(
            "dunlin_stalls",
            None,
            "Turns that took longer than 100 ms, in which everybody else on that thread has waited",
        )
        .labelled([("loop", "shard")], stalls(&traffic.tick_us))
        .labelled([("loop", "worker")], stalls(&engine.tick_us));
    metrics
        .histogram(
            "dunlin_store_round",
            Some(Unit::Seconds),
            "From a request to the store to the turn of the worker that takes the answer",
        )
        .values(spread::seconds(&engine.store_round_us));
    metrics
        .histogram("dunlin_append_entries", None, "Entries that a worker appends together")
        .values(spread::counts(&engine.batch_entries));
}

/// A bucket counts if all that is in it is one.
fn stalls(moments: &Moments) -> u64 {
    let long = moments.buckets.iter().filter(|(highest, _)| *highest >= STALL_US);
    long.map(|(_, count)| count).sum()
}

fn add_rarities(metrics: &mut Metrics, engine: &Engine) {
    metrics
        .counter("dunlin_store_overdue", None, "Requests that the store did not answer in time")
        .value(engine.store_overdue);
    metrics
        .counter("dunlin_expirations", None, "How often messages of a conversation have expired")
        .value(engine.expirations);
    metrics
        .counter(
            "dunlin_clients_ahead",
            None,
            "Conversations of which a client had more than the store: an older copy was put back",
        )
        .value(engine.clients_ahead);
    metrics
        .counter("dunlin_clock_jumps", None, "How often the clock of the machine was set")
        .value(engine.clock_jumps);
    metrics
        .counter("dunlin_deflated_responses", None, "Responses that were deflated")
        .value(engine.deflated);
    metrics
        .counter("dunlin_deflated", Some(Unit::Bytes), "Bytes that they had before")
        .value(engine.deflated_bytes);
    metrics
        .counter("dunlin_deflated_saved", Some(Unit::Bytes), "Bytes of these that were saved")
        .value(engine.deflated_saved_bytes);
}

fn add_nodes(metrics: &mut Metrics, engine: &Engine) {
    metrics
        .counter("dunlin_node_envelopes", None, "Envelopes between this node and others")
        .labelled([("direction", "in")], engine.envelopes_received)
        .labelled([("direction", "out")], engine.envelopes_sent);
    metrics
        .counter("dunlin_node_gaps", None, "How often something before an envelope was missing")
        .value(engine.envelope_gaps);
    metrics
        .counter("dunlin_node_forwards", None, "Sends that were forwarded to other nodes")
        .value(engine.forwarded);
    metrics
        .counter(
            "dunlin_node_forwards_late",
            None,
            "Batches of them that were not answered in time",
        )
        .value(engine.forwards_late);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_turn_is_a_stall() {
        let buckets = vec![(90_111, 5), (98_303, 6), (106_495, 2), (4_000_000, 1)];
        assert_eq!(stalls(&Moments { buckets, ..Moments::default() }), 3);
    }
}
