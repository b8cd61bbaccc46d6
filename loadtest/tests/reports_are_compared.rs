//! The real program compares the reports of two real runs.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod program;

use model::{Model, Sabotage};
use program::{ISSUER_KEY, output};
use serde_json::{Value, json};

/// The report of a short closed run of so many users.
fn report(users: &str, json: &str) {
    let address = Model::start(Sabotage::Nothing).address.to_string();
    let words = ["chat", "--address", &address, "--issuer-key", ISSUER_KEY, "--users", users];
    let more = ["--warm-up-s", "0", "--duration-s", "1", "--json", json, "--quiet"];
    let output = output(&[&words[..], &more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn compare(words: &[&str]) -> (Option<i32>, String) {
    let output = output(&[&["compare"][..], words].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_report_is_no_worse_than_itself_and_what_is_slower_is_worse() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, slower, broken) = (path("one.json"), path("slower.json"), path("broken.json"));
    report("4", &one);
    let (code, text) = compare(&[&one, &one]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("0 worse and 0 better"), "{text}");

    let mut report: Value = serde_json::from_slice(&std::fs::read(&one).unwrap()).unwrap();
    // Of one second, nothing is known of its noise.
    let p99_us = report["latency"]["acknowledge"]["p99_us"].as_f64().unwrap();
    report["latency"]["acknowledge"]["p99_us"] = json!(2.0 * p99_us);
    report["scenario"]["users"] = json!(6);
    std::fs::write(&slower, report.to_string()).unwrap();
    let (code, text) = compare(&[&one, &slower]);
    assert_eq!(code, Some(1), "{text}");
    for words in
        ["WORSE    latency.acknowledge.p99_us", "differs: scenario.users: 4 and 6", "2.000"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(compare(&[&slower, &one]).0, Some(0), "the other way round it is better");
    assert_eq!(compare(&[&one, &slower, "--worse-than", "2.5"]).0, Some(0));
    assert_eq!(compare(&[&one, &slower, "--only", "rates"]).0, Some(0));
    let (code, text) = compare(&[&one, &slower, "--json"]);
    let comparison: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &comparison["worse"]), (Some(1), &json!(1)), "{text}");

    report["verdict"] = json!("harness_invalid");
    std::fs::write(&broken, report.to_string()).unwrap();
    assert_eq!(compare(&[&one, &broken]).0, Some(3));
    report["schema"] = json!("dunlin-loadtest/idle/1");
    std::fs::write(&broken, report.to_string()).unwrap();
    let wrong: [&[&str]; 4] = [
        &[&one, &broken],
        &[&one, "no-such-file.json"],
        &[&one, &one, "--worse-than", "0.9"],
        &[&one, &one, "--only", "nothing"],
    ];
    for words in wrong {
        let (code, text) = compare(words);
        assert_eq!((code, text.lines().count()), (Some(2), 1), "{words:?}: {text}");
    }
}
