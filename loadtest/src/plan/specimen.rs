//! A report of a plan in which nothing has happened: every figure that the report of a run will have,
//! so that a threshold which names another one is refused before the run.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::chat::hostile::HostileReport;
use crate::chat::{self, Action, LatencyReport, MessageLatencyReport, Rates};
use crate::fanout;
use crate::latency::LatencySummary;
use crate::plan::Plan;
use crate::process::Usage;
use crate::report::ServerReport;

impl Plan {
    /// The figures of its reports, all of them 0.
    pub(super) fn specimen(&self) -> Value {
        let mut report = match self {
            Plan::Chat(plan) => of_chat(&plan.chat),
            Plan::Storm(plan) => with(of_chat(&plan.chat), "storm", &of_storm()),
            Plan::Slow(plan) => with(of_chat(&plan.chat), "slow", &of_slow()),
            Plan::Churn(plan) => with(of_chat(&plan.chat), "churn", &of_churn()),
            Plan::Hostile(plan) => with(of_chat(&plan.chat), "hostile", &of_hostile()),
            Plan::Capacity(plan) => json!({
                "highest_met_per_s": 0,
                "lowest_unmet_per_s": 0,
                "best": of_chat(&plan.chat),
            }),
            Plan::Fanout(_) => of_fanout(),
            Plan::Idle(_) => of_idle(),
        };
        let server = self.server();
        // What a process uses is known of those on this machine.
        if server.spawn.is_none() && server.server_pid.is_none() {
            let best = report.get_mut("best").and_then(Value::as_object_mut);
            best.map(|best| best.remove("server"));
            report.as_object_mut().map(|report| report.remove("server"));
        }
        if !self.generator().generators.is_empty() {
            report.as_object_mut().map(|report| report.remove("harness"));
        }
        report
    }
}

/// The JSON of what has a default.
fn zero(report: &impl Serialize) -> Value {
    serde_json::to_value(report).unwrap_or_default()
}

fn latency() -> Value {
    zero(&LatencySummary::default())
}

fn of_messages() -> Value {
    zero(&MessageLatencyReport::default())
}

fn usage() -> Value {
    let usage = ServerReport::new(0, Usage::default(), Usage::default(), 0.0, 0);
    zero(&ServerReport { commits: Some(0), ..usage })
}

fn of_chat(chat: &chat::ChatParameters) -> Value {
    let (mut by_kind, mut requests) = (Map::new(), Map::new());
    if chat.message.only().is_none() {
        for action in chat.message.values() {
            match action {
                Action::Message(kind) => drop(by_kind.insert(kind.to_string(), of_messages())),
                Action::Request(kind) => drop(requests.insert(kind.to_string(), latency())),
            }
        }
    }
    json!({
        "window_s": 0,
        "rates": Rates::default(),
        "totals": chat::Totals::default(),
        "latency": LatencyReport::default(),
        "latency_by_kind": by_kind,
        "request_latency": requests,
        "faults": { "counts": {} },
        "closes": {},
        "server": usage(),
        "harness_cpu_us": 0,
        "scenario": { "users": 0, "threads": 0, "warm_up_s": 0, "duration_s": 0, "active_share": 0 },
    })
}

fn with(mut report: Value, name: &str, disturbance: &Value) -> Value {
    report["disturbance"] = json!({ name: disturbance });
    report
}

fn of_storm() -> Value {
    json!({
        "established": 0,
        "resident_bytes_before": 0,
        "rounds": [{
            "round": 0,
            "begun_at_s": 0,
            "dropped": 0,
            "returned": 0,
            "back_50_s": 0,
            "back_99_s": 0,
            "back_100_s": 0,
            "returns_per_s": 0,
            "arrive": latency(),
            "attempts_repeated": 0,
            "tls_resumed": 0,
            "tls_full": 0,
            "established": of_messages(),
            "established_calm": of_messages(),
            "resident_bytes_back": 0,
            "resident_bytes_calm": 0,
            "cpu_us_per_return": 0,
        }],
    })
}

fn of_slow() -> Value {
    let counts = json!({ "stalling": 0, "others": 0 });
    json!({
        "stalling_users": 0,
        "stalls": 0,
        "behind": counts,
        "repairs": counts,
        "closes": {},
        "disturbed": of_messages(),
        "undisturbed": of_messages(),
    })
}

fn of_hostile() -> Value {
    zero(&HostileReport::default())
}

fn of_churn() -> Value {
    json!({
        "departures": 0,
        "logins": 0,
        "logins_per_s": 0,
        "arrive": latency(),
        "unwritten": 0,
        "present": of_messages(),
        "deliver_to_absent": latency(),
    })
}

fn of_fanout() -> Value {
    let mut server = usage();
    for name in ["deliveries", "cpu_us_per_delivery", "deliveries_per_cpu_s"] {
        server[name] = json!(0);
    }
    json!({
        "window_s": 0,
        "rates": Rates::default(),
        "totals": fanout::Totals::default(),
        "latency": LatencyReport::default(),
        "faults": { "counts": {} },
        "closes": {},
        "server": server,
        "harness_cpu_us": 0,
        "scenario": {
            "senders": 0, "conversations": 0, "devices": 0, "threads": 0, "content_bytes": 0,
            "warm_up_s": 0, "duration_s": 0,
        },
    })
}

fn of_idle() -> Value {
    let process = json!({
        "resident_bytes_empty": 0,
        "resident_bytes_full": 0,
        "resident_bytes_end": 0,
        "resident_bytes_per_connection": 0,
        "resident_bytes_per_connection_slope": 0,
        "cpu_us_per_arrival": 0,
        "idle_cpu_share": 0,
        "cpu_us_per_heartbeat": 0,
    });
    json!({
        "connections": 0,
        "threads": 0,
        "hold_s": 0,
        "arrived": 0,
        "arrivals_per_s": 0,
        "arrive": latency(),
        "heartbeats": 0,
        "heartbeat_round_trip": latency(),
        "heartbeat_lateness": latency(),
        "heartbeats_overdue": 0,
        "closes": { "retried": {}, "failed": {}, "closed": {}, "machine": {} },
        "server": process,
        "harness": process,
    })
}
