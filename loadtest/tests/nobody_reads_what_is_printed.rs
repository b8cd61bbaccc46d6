//! The harness does its work to the end when nobody reads what it prints.

use std::process::{Command, Output, Stdio};

/// With a standard output, and maybe a standard error, whose reader has gone.
fn unread(arguments: &[&str], stderr: Option<Stdio>) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"));
    command.args(arguments).stdin(Stdio::null()).stdout(writer);
    command.stderr(stderr.unwrap_or_else(Stdio::piped)).output().unwrap()
}

#[test]
fn a_finding_has_its_exit_code_and_no_panic() {
    let read = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest")).arg("doctor").output().unwrap();
    let output = unread(&["doctor"], None);
    assert_eq!(output.status.code(), read.status.code());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn an_error_that_nobody_hears_has_its_exit_code() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = unread(&["check", "/no/such/scenario.toml"], Some(writer.into()));
    assert_eq!(output.status.code(), Some(2));
}
