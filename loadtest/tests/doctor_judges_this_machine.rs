//! `dunlin-loadtest doctor` on the machine that runs the tests, whatever that is.
#![forbid(unsafe_code)]

use std::process::{Command, Output};

fn doctor(arguments: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_dunlin-loadtest");
    Command::new(program).arg("doctor").args(arguments.split(' ')).output().unwrap()
}

fn findings(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn one_connection_is_possible_everywhere() {
    let output = doctor("--connections 1 --json");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let diagnosis = findings(&output);
    assert_eq!(diagnosis["schema"], "dunlin-loadtest/doctor/1");
    assert_ne!(diagnosis["severity"], "blocks");
    for check in ["descriptors", "net.ipv4.tcp_mem", "memory available"] {
        let finding = diagnosis["findings"].as_array().unwrap().iter();
        let finding = finding.clone().find(|finding| finding["check"] == check).unwrap();
        assert_eq!(finding["severity"], "ok", "{finding}");
    }
}

#[test]
fn four_thousand_million_connections_are_possible_nowhere() {
    let output = doctor("--connections 4000000000 --tls --json");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let diagnosis = findings(&output);
    assert_eq!(diagnosis["severity"], "blocks");
    for finding in diagnosis["findings"].as_array().unwrap() {
        let is_fine = finding["severity"] == "ok" || finding["found"] == "can't be read";
        assert!(is_fine || finding["mend"].is_string(), "{finding}");
    }
}

#[test]
fn people_get_a_table_with_commands() {
    let output = doctor("--connections 4000000000 --address 192.0.2.1:7410");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("net.ipv4.ip_local_port_range") && text.contains("         > "),
        "{text}"
    );
}
