//! What a threshold may name before a run is what the report of the run has.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod program;

use std::collections::BTreeSet;
use std::path::Path;

use model::{Model, Sabotage};
use program::{ISSUER_KEY, command, output};
use serde_json::Value;

/// Sections whose numbers are no figures of the run.
const NO_FIGURES: [&str; 11] = [
    "run",
    "thresholds",
    "series",
    "distributions",
    "settings",
    "search",
    "steps",
    "samples",
    "examples",
    "generators",
    // What was asked for is described, and partly in words.
    "scenario",
];

fn figures(value: &Value, path: &str, names: &mut BTreeSet<String>) {
    match value {
        Value::Number(_) => drop(names.insert(path.to_owned())),
        Value::Array(members) => members.iter().for_each(|one| figures(one, path, names)),
        Value::Object(fields) => {
            for (name, value) in
                fields.iter().filter(|(name, _)| !NO_FIGURES.contains(&name.as_str()))
            {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                figures(value, &path, names);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Runs a scenario, and lets a plan of it ask for every figure of its report.
fn assert_that_all_can_be_asked_for(scenario: &str, words: &str, section: &str, fields: &str) {
    let model = Model::start(Sabotage::Nothing);
    let (address, pid) = (model.address.to_string(), std::process::id().to_string());
    let target = ["--address", &address, "--server-pid", &pid, "--issuer-key", ISSUER_KEY];
    let words: Vec<_> = words.split_whitespace().collect();
    let output = output(&[&[scenario][..], &target, &words, &["--json", "-", "--quiet"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let mut names = BTreeSet::new();
    figures(&report, "", &mut names);
    assert!(names.len() > 10, "{names:?}");
    let thresholds: Vec<_> = names.iter().map(|name| format!("\"{name}>=-1\"")).collect();
    let plan = format!(
        "scenario = \"{scenario}\"\n[server]\naddress = \"{address}\"\nserver_pid = {pid}\n\
         [{section}]\n{fields}\n[output]\nthreshold = [{}]\n",
        thresholds.join(", ")
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.toml");
    std::fs::write(&file, plan).unwrap();
    assert_sound(&file);
}

fn assert_sound(plan: &Path) {
    let mut command = command(&["check", "--issuer-key", ISSUER_KEY]);
    let output = command.arg(plan).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn of_a_chat_and_a_search() {
    let mix = "durable:2,signal:1,history:1,mark_read:1,sync:1";
    let words = format!("--users 4 --message {mix} --outstanding 2 --duration-s 1 --warm-up-s 0");
    assert_that_all_can_be_asked_for("chat", &words, "chat", &format!("message = \"{mix}\""));
    let words = "--users 4 --duration-s 0.3 --warm-up-s 0 --from-per-s 50 --to-per-s 50 \
                 --acknowledge-p99-ms 60000";
    let fields = "acknowledge_p99_ms = 60000";
    assert_that_all_can_be_asked_for("capacity", words, "capacity", fields);
}

#[test]
fn of_a_fan_out_and_those_who_idle() {
    let words = "--devices 2 --outstanding 1 --duration-s 0.5 --warm-up-s 0";
    assert_that_all_can_be_asked_for("fanout", words, "fanout", "");
    let words = "--connections 4 --hold-s 0.5 --heartbeat-s 0.1";
    assert_that_all_can_be_asked_for("idle", words, "idle", "");
}

#[test]
fn of_disturbances() {
    let chat = "--users 8 --rate-per-s 100 --duration-s 1 --warm-up-s 0";
    for (scenario, words) in [
        ("storm", "--rounds 2 --calm-s 0.2 --established-share 0.25"),
        ("slow", "--stalling-share 0.5 --stall-s 0.2 --between-s 0.2"),
        ("churn", "--stay-s 0.5 --away-s 0.2"),
    ] {
        let words = format!("{chat} {words}");
        assert_that_all_can_be_asked_for(scenario, &words, "chat", "rate_per_s = 100");
    }
}

#[test]
fn a_figure_that_will_not_be_is_refused_before_anybody_is_called() {
    // Nobody listens there, which would be said if it came to that.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let words = ["chat", "--issuer-key", ISSUER_KEY, "--threshold", "server.cpu_share<=1"];
    let output = output(&[&words[..], &["--address", &nobody.to_string()]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("output.threshold: server.cpu_share<=1: there will be no such figure"),
        "{said}"
    );
    assert!(!said.contains("connection refused"), "{said}");
}
