//! `dunlin status`: a running server says what it counts.

use std::collections::BTreeSet;
use std::time::Instant;

use dunlin_protocol::wire::ErrorCode;
use serde_json::Value;

use crate::program::{PATIENCE, Place};
use crate::wire::Client;

const DOCUMENT: &str = include_str!("../../../docs/operating.md");

fn json(place: &Place, over: &str) -> Value {
    let out = place.run(&["status", "--json", "--over", over]).done();
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

/// Workers publish what they count a few times a second.
fn json_when(place: &Place, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = json(place, "0");
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
    }
}

#[test]
fn without_a_server_there_is_nothing_to_say() {
    let place = Place::new();
    place.run(&["status"]).refused("no server runs on");
    assert!(!place.data().exists(), "asking makes no data folder");
    place.add("ada", "pass word 1").done();
    place.run(&["status", "--json"]).refused("no server runs on");
    place.run(&["status", "--over", "0.1"]).refused("no server runs on");
    let server = place.serve();
    place.run(&["status", "--over", "0"]).done();
    server.kill();
    place.run(&["status"]).refused("no server runs on");
}

#[test]
fn it_tells_where_memory_is() {
    let place = Place::new();
    place.run(&["status", "--memory"]).refused("no server runs on");
    let server = place.serve();
    let _connected = Client::connect(server.tcp);
    let page = place.run(&["status", "--memory"]).done();
    let row = |name: &str| {
        let row = page.lines().find_map(|line| line.strip_prefix(name)).expect(&page);
        row.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect::<Vec<_>>()
    };
    let most = json(&place, "0")["connections"]["open_max"].to_string();
    assert_eq!(row("connections"), ["1", &most]);
    assert!(row("messages")[1].ends_with("iB"), "{page}");
    assert!(row("process, resident")[0].ends_with("MiB"), "{page}");
    assert_eq!(row("process, resident")[1], "-");
    server.end();
}

#[test]
fn what_happens_is_counted() {
    let place = Place::new();
    let server = place.serve();
    place.add("ada", "pass word 1").done();
    let mut ada = Client::connect(server.tcp);
    ada.log_in("ada", "pass word 1").unwrap();
    let guess = Client::connect(server.tcp).log_in("ada", "something else");
    assert_eq!(guess, Err(ErrorCode::WrongCredentials));
    let status = json_when(&place, |status| {
        status["engine"]["sessions"] == 1
            && status["engine"]["errors"]["WRONG_CREDENTIALS"] == 1
            && status["connections"]["closed"]["PEER_CLOSED"] == 1
    });
    let number = |of: &Value| of.as_u64().unwrap_or_else(|| panic!("{of}"));
    assert!(status["server"].as_str().unwrap().starts_with("dunlin/"));
    assert_eq!((number(&status["shards"]), number(&status["connections"]["open"])), (1, 1));
    assert_eq!(number(&status["connections"]["accepted"]), 2);
    let traffic = &status["traffic"];
    // Hello and Login of each, and their answers.
    assert_eq!((number(&traffic["frames_in"]), number(&traffic["frames_out"])), (4, 4));
    assert!(number(&traffic["bytes_in"]) > 50 && number(&traffic["bytes_out"]) > 50);
    assert_eq!(number(&traffic["outbox_bytes"]), 0);
    assert_eq!(number(&traffic["outbox_flush_bytes"]["count"]), 4);
    let store = &status["store"];
    // The name, the account, the password, and the session.
    assert!(number(&store["registers"]) >= 4 && number(&store["damaged_reads"]) == 0);
    assert_eq!(store["fsync_us"]["count"], store["fsyncs"]);
    for moments in ["tick_us", "store_round_us", "batch_entries"] {
        let counted = number(&status["engine"][moments]["count"]);
        // The entries of an account are appended by themselves, in no batch.
        assert!(counted > 0 || moments == "batch_entries", "{moments}: {status:#}");
    }
    let disk = &status["disk"];
    assert!(number(&disk["segments"]) >= 1 && number(&disk["store_bytes"]) > 0);
    assert!(number(&disk["free_bytes"]) <= number(&disk["total_bytes"]));
    assert!(number(&status["log"]["lines_written"]) > 0);
    assert_eq!(number(&status["log"]["lines_dropped"]), 0);
    // The command itself asks nothing of the workers.
    assert_eq!(status["engine"]["calls_waiting"], 0);

    let page = place.run(&["status", "--over", "0"]).done();
    for text in ["up ", "1 open", "1 sessions", "WRONG_CREDENTIALS 1", "fsync", " free of "] {
        assert!(page.contains(text), "{text}: {page}");
    }
    server.end();
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let place = Place::new();
    let server = place.serve();
    place.add("ada", "pass word 1").done();
    let all = json(&place, "0");
    assert_eq!(all["change"]["over_ms"], all["uptime_ms"]);
    let lately = json(&place, "0.2");
    let over_ms = lately["change"]["over_ms"].as_u64().unwrap();
    assert!(over_ms >= 200 && over_ms < lately["uptime_ms"].as_u64().unwrap());
    // Nobody did anything meanwhile, whatever was done before.
    assert_eq!(lately["change"]["fsync_us"]["count"], 0);
    assert!(all["change"]["fsync_us"]["count"].as_u64().unwrap() > 0);
    let refused = place.run(&["status", "--over=-1"]);
    assert!(!refused.success && refused.error.contains("0 to 3600"), "{refused:?}");
    server.end();
}

fn names(value: &Value, into: &mut BTreeSet<String>) {
    if let Value::Object(fields) = value {
        for (name, field) in fields {
            // Reasons, codes, entrances, settings and kinds are explained elsewhere.
            into.insert(name.clone());
            let by_name = ["closed", "errors", "by_entrance", "refused_by", "requests_by"];
            if !by_name.contains(&name.as_str()) {
                names(field, into);
            }
        }
    }
}

#[test]
fn every_name_is_explained() {
    let place = Place::new();
    let server = place.serve();
    let mut known = BTreeSet::new();
    names(&json(&place, "0"), &mut known);
    assert!(known.len() > 50, "{known:?}");
    for name in known {
        assert!(DOCUMENT.contains(&format!("`{name}`")), "{name}");
    }
    server.end();
}
