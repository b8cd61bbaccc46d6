//! Ctrl-C ends a run, and not its report; a second one ends everything.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod program;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use model::{Model, Sabotage};
use program::{DEADLINE, ISSUER_KEY, Program};
use rustix::process::Signal;
use serde_json::Value;

fn words<'a>(scenario: &'a str, address: &'a str, json: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let all = [scenario, "--address", address, "--issuer-key", ISSUER_KEY, "--json", json];
    [&all[..], more].concat()
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn address(model: &Model) -> String {
    model.address.to_string()
}

/// Interrupts a run as soon as it does this, and returns its report and what it printed.
fn interrupted(scenario: &str, doing: &str, signal: Signal, more: &[&str]) -> (Value, String) {
    let (model, folder) = (Model::start(Sabotage::Nothing), tempfile::tempdir().unwrap());
    let (address, json) = (address(&model), folder.path().join("report.json"));
    let html = folder.path().join("report.html").to_str().unwrap().to_owned();
    let more = [more, &["--html", &html]].concat();
    let json = json.to_str().unwrap();
    let mut program = Program::start(&words(scenario, &address, json, &more));
    program.wait_for_line(doing);
    program.signal(signal);
    assert_eq!(program.wait().code(), Some(5), "{}", program.printed());
    assert!(std::fs::read_to_string(html).unwrap().contains("interrupted"));
    (read(json), program.printed())
}

#[test]
fn a_chat_ends_with_what_was_measured() {
    // A closed load, in which nothing can be late, however busy the machine is.
    let more = ["--duration-s", "3600", "--users", "4", "--warm-up-s", "0"];
    let more = [&more[..], &["--threshold", "totals.sent>=1"]].concat();
    let (report, printed) = interrupted("chat", "measuring", Signal::INT, &more);
    assert_eq!(
        (&report["verdict"], &report["run"]["interrupted"]),
        (&"interrupted".into(), &true.into())
    );
    assert!(printed.starts_with("INTERRUPTED\n"), "{printed}");
    let window_s = report["window_s"].as_f64().unwrap();
    assert!(window_s > 0.0 && window_s < 3600.0, "{window_s}");
    // What was under way was brought home, and audited.
    let totals = &report["totals"];
    assert!(totals["sent"].as_u64() > Some(0), "{totals}");
    assert_eq!((&totals["acknowledged"], &totals["delivered"]), (&totals["sent"], &totals["sent"]));
    assert_eq!(totals["entries_read"].as_u64(), totals["sent"].as_u64().map(|sent| 2 * sent));
    assert_eq!(report["thresholds"][0]["kept"], true);
    assert_eq!(report["thresholds"][0]["value"], totals["sent"].as_f64().unwrap());
    assert!(!report["run"]["command"].as_str().unwrap().contains(ISSUER_KEY));
}

#[test]
fn a_run_that_has_not_begun_says_so_and_blames_nobody() {
    // So few arrive in a second that not all can be there.
    let more = ["--users", "1000", "--connects-per-s", "1", "--gather-timeout-s", "3600"];
    let (report, _) = interrupted("chat", "connecting", Signal::TERM, &more);
    assert_eq!(report["faults"]["counts"], serde_json::json!({}));
    assert_eq!((&report["verdict"], &report["window_s"]), (&"interrupted".into(), &0.0.into()));
    let more = ["--connections", "1000", "--connects-per-s", "1", "--gather-timeout-s", "3600"];
    let (report, _) = interrupted("idle", "connecting", Signal::INT, &more);
    assert_eq!(report["verdict"], "interrupted", "{report}");
}

#[test]
fn those_who_are_held_and_those_who_hear_are_let_go() {
    let (report, _) =
        interrupted("idle", "holding", Signal::INT, &["--connections", "20", "--hold-s", "3600"]);
    assert_eq!(report["arrived"], 20);
    let more = ["--duration-s", "3600", "--outstanding", "1", "--devices", "3"];
    let (report, _) = interrupted("fanout", "measuring", Signal::INT, &more);
    let totals = &report["totals"];
    assert_eq!(totals["delivered"].as_u64(), totals["sent"].as_u64().map(|sent| 3 * sent));
}

#[test]
fn a_search_says_how_far_it_came() {
    let more = ["--users", "4", "--acknowledge-p99-ms", "60000", "--from-per-s", "50"];
    let more = [&more[..], &["--warm-up-s", "0", "--duration-s", "3600"]].concat();
    let (report, _) = interrupted("capacity", "50/s: measuring", Signal::INT, &more);
    assert_eq!(
        (&report["limit"], &report["verdict"]),
        (&"interrupted".into(), &"interrupted".into())
    );
    assert_eq!(report["steps"][0]["judgement"], "cut_short");
    assert_eq!(report["best"], Value::Null);
}

#[test]
fn generators_that_are_interrupted_with_their_coordinator_bring_their_share_home() {
    let (model, folder) = (Model::start(Sabotage::Nothing), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (secret, json, address) = (path("secret"), path("report.json"), address(&model));
    std::fs::write(&secret, "the secret of this test\n").unwrap();
    let listen =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut generator =
        Program::start(&["generate", "--listen", &listen, "--secret-file", &secret]);
    wait_until(|| std::net::TcpStream::connect(&listen).is_ok());
    let more = ["--generators", &listen, "--generators-secret-file", &secret, "--users", "4"];
    let more = [&more[..], &["--duration-s", "3600"]].concat();
    let mut coordinator = Program::start(&words("chat", &address, &json, &more));
    coordinator.wait_for_line("measuring");
    generator.signal(Signal::INT);
    generator.wait_for_line("interrupted");
    coordinator.signal(Signal::INT);
    assert_eq!(coordinator.wait().code(), Some(5), "{}", coordinator.printed());
    assert!(read(&json)["totals"]["acknowledged"].as_u64() > Some(0));
    assert_eq!(generator.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once_and_leaves_no_server_behind() {
    let folder = tempfile::tempdir().unwrap();
    // A server that never says where it listens, and where it is.
    let (server, seen) = (folder.path().join("server"), folder.path().join("seen"));
    let script = format!(
        "#!/bin/sh\necho $$ \"$5\" > {}.new\nmv {0}.new {0}\nexec sleep 3600\n",
        seen.display()
    );
    std::fs::write(&server, script).unwrap();
    std::fs::set_permissions(&server, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut program = Program::start(&["idle", "--spawn", server.to_str().unwrap()]);
    wait_until(|| seen.exists());
    let seen = std::fs::read_to_string(&seen).unwrap();
    let (pid, data) = seen.trim().split_once(' ').unwrap();
    let own_folder = Path::new(data).parent().unwrap();
    assert!(own_folder.exists() && Path::new(&format!("/proc/{pid}")).exists());
    program.signal(Signal::INT);
    // Each signal counts once, however late the first one is taken.
    while program.wait_if_ended().is_none() {
        program.signal(Signal::INT);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(program.ended_by(), Some(Signal::INT.as_raw()));
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the server still runs");
    assert!(!own_folder.exists(), "its folder is still there");
}

fn wait_until(is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < DEADLINE, "it does not come true");
        thread::sleep(Duration::from_millis(10));
    }
}
