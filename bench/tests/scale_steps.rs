//! A small store goes through all steps of `dunlin-bench scale`, each in a process of its own, and each says
//! what it has found. What the figures are is not looked at.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin-bench"));
    command.arg("scale").arg(folder).args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

/// What a step has found, by name.
fn figures(folder: &Path, arguments: &[&str]) -> Vec<(String, f64)> {
    let output = run(folder, &[arguments, &["--json", "-"]].concat());
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    let report: Value = serde_json::from_slice(&output.stdout).expect(&complaints);
    let figure = |figure: &Value| {
        (figure["what"].as_str().unwrap().to_owned(), figure["value"].as_f64().unwrap())
    };
    report["figures"].as_array().unwrap().iter().map(figure).collect()
}

fn value(figures: &[(String, f64)], name: &str) -> f64 {
    let found = figures.iter().find(|(what, _)| what == name);
    found.unwrap_or_else(|| panic!("no {name} in {figures:?}")).1
}

#[test]
fn a_store_is_filled_killed_looked_at_saved_and_brought_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = &folder.path().join("data");
    let small = ["--messages", "2000", "--conversations", "30", "--users", "40"];
    let killed = run(folder, &[&["fill", "--killed"], &small[..]].concat());
    assert_eq!(killed.status.code(), None, "it ends by a signal");
    assert!(String::from_utf8_lossy(&killed.stdout).contains("messages, per second"));

    let look = ["look", "--times", "20"];
    let after_kill = figures(folder, &look);
    assert_eq!(value(&after_kill, "segments that had to be read"), 1.0);
    for filters in [&["--cold"][..], &["--filter-bytes-max", "0"]] {
        let found = figures(folder, &[&look[..], filters].concat());
        assert_eq!(value(&found, "segments that had to be read"), 0.0);
        assert!(value(&found, "message id that is new, p50") > 0.0);
    }

    let messages = value(&figures(folder, &["verify"]), "entries");
    assert_eq!(messages, 2000.0);
    let saved = figures(folder, &["backup"]);
    assert!(value(&saved, "backup --since, copied") < value(&saved, "backup --since, of"));
    let restored = figures(folder, &["restore"]);
    assert!(value(&restored, "index files that were made") > 0.0);
}
