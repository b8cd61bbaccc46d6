//! Who is connected, who comes and goes.

use std::collections::BTreeMap;

use dunlin_http::metrics::{Metrics, Unit};
use dunlin_protocol::wire::CloseReason;

use super::spread;
use crate::log::names::reason_name;
use crate::status::Status;
use crate::status::report::{Connections, Traffic};

pub(super) fn add(metrics: &mut Metrics, status: &Status) {
    add_open(metrics, &status.connections, status.engine.sessions);
    add_coming(metrics, &status.connections);
    add_closed(metrics, &status.connections.closed);
    add_traffic(metrics, &status.traffic);
}

fn add_open(metrics: &mut Metrics, connections: &Connections, sessions: u64) {
    let Connections { open, handshaking, strangers, open_max, by_entrance, .. } = connections;
    let mut by = metrics.gauge(
        "dunlin_connections",
        None,
        "Connections that are open, by entrance; without those of which all was said",
    );
    for (entrance, count) in by_entrance {
        by = by.labelled([("entrance", entrance.clone())], *count as f64);
    }
    // A handshake may end between two looks.
    let waiting = strangers.saturating_sub(*handshaking);
    metrics
        .gauge(
            "dunlin_connection_states",
            None,
            "Connections by how far they are: in the handshake of TLS, without a login, with one",
        )
        .labelled([("state", "handshake")], *handshaking as f64)
        .labelled([("state", "stranger")], waiting as f64)
        .labelled([("state", "session")], open.saturating_sub(*strangers) as f64);
    metrics
        .gauge("dunlin_connections_max", None, "Connections that there may be")
        .number(*open_max);
    metrics.gauge("dunlin_sessions", None, "Sessions that are connected").number(sessions);
}

fn add_coming(metrics: &mut Metrics, connections: &Connections) {
    let Connections { accepted, refused_by, accept_pauses, .. } = connections;
    metrics
        .counter("dunlin_connections_accepted", None, "Connections that were let in")
        .value(*accepted);
    let mut refused = metrics.counter(
        "dunlin_connections_refused",
        None,
        "Connections that were turned away when they came, by the setting that it comes from",
    );
    for (limit, count) in refused_by {
        refused = refused.labelled([("limit", limit.clone())], *count);
    }
    metrics
        .counter(
            "dunlin_accept_pauses",
            None,
            "How often accepting paused for want of descriptors or memory",
        )
        .value(*accept_pauses);
    let Connections { handshakes_done, handshakes_failed, .. } = connections;
    metrics
        .counter("dunlin_handshakes", None, "Handshakes of TLS, by how they ended")
        .labelled([("result", "done")], *handshakes_done)
        .labelled([("result", "failed")], *handshakes_failed);
}

/// More numbers than there are reasons.
const REASON_NUMBERS: i32 = 1000;

fn add_closed(metrics: &mut Metrics, closed: &BTreeMap<String, u64>) {
    let mut counter = metrics.counter(
        "dunlin_connections_closed",
        None,
        "Connections that have ended, by the reason as docs/protocol.md names it",
    );
    let reasons = (1..REASON_NUMBERS).filter_map(|number| CloseReason::try_from(number).ok());
    for reason in reasons.map(reason_name) {
        let count = closed.get(reason).copied().unwrap_or(0);
        counter = counter.labelled([("reason", reason)], count);
    }
}

fn add_traffic(metrics: &mut Metrics, traffic: &Traffic) {
    let Traffic { frames_in, bytes_in, frames_out, bytes_out, outbox_flush_bytes, .. } = traffic;
    metrics
        .counter("dunlin_frames", None, "Frames that were read, and queued to be written")
        .labelled([("direction", "in")], *frames_in)
        .labelled([("direction", "out")], *frames_out);
    metrics
        .counter("dunlin_traffic", Some(Unit::Bytes), "Bytes that were read and written")
        .labelled([("direction", "in")], *bytes_in)
        .labelled([("direction", "out")], *bytes_out);
    metrics
        .histogram(
            "dunlin_outbox_flush",
            Some(Unit::Bytes),
            "How much waits for one connection when it begins to be written",
        )
        .values(spread::bytes(outbox_flush_bytes));
}
