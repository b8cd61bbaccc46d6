//! Whose fault it is that a run failed: the server's, or that of the harness's machine.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use dunlin_loadtest::chat::{self, ChatReport, ChatScenario};
use dunlin_loadtest::fanout::{self, FanoutReport, FanoutScenario};
use dunlin_loadtest::idle::{self, IdleReport, IdleScenario};
use dunlin_loadtest::report::{Threshold, Verdict, judge};
use dunlin_loadtest::target::{Service, Target};
use dunlin_loadtest::token::Issuer;

/// No machine has a way for TCP to a broadcast address: ENETUNREACH at once.
const NO_WAY: &str = "255.255.255.255:7410";

fn target(address: SocketAddr) -> Target {
    let service = Service::Dunlin(Issuer::new("loadtest", &[7; 32]));
    Target { address, tls: None, web: false, service, pid: None }
}

/// Bound and dropped: nobody listens on this port now.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn chat(address: SocketAddr) -> ChatReport {
    let mut scenario = ChatScenario::new(target(address));
    scenario.users = 4;
    // Nobody arrives, so this is how long it takes: enough for a first attempt on any machine.
    scenario.gather_timeout = Duration::from_secs(3);
    chat::run(&scenario, &mut |_, _| {}).unwrap()
}

fn idle(address: SocketAddr) -> IdleReport {
    let mut scenario = IdleScenario::new(target(address), 4);
    scenario.hold = Duration::ZERO;
    scenario.retries_max = 0;
    idle::run(&scenario, &mut |_, _| {}).unwrap()
}

fn fanout(address: SocketAddr) -> FanoutReport {
    let mut scenario = FanoutScenario::new(target(address));
    scenario.threads = 2;
    scenario.senders = 2;
    fanout::run(&scenario, &mut |_, _| {}).unwrap()
}

#[test]
fn a_server_that_refuses_fails_the_product() {
    let report = chat(nobody());
    assert_eq!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert!(report.closes.total() >= 4, "{report:#?}");
    assert_eq!(idle(nobody()).verdict, Verdict::ProductFailure);
    assert_eq!(fanout(nobody()).verdict, Verdict::ProductFailure);
}

#[test]
fn a_machine_that_has_no_way_to_the_server_is_no_fault_of_the_server() {
    let report = chat(NO_WAY.parse().unwrap());
    assert_eq!(report.verdict, Verdict::MachineFailure, "{report:#?}");
    assert!(report.faults.counts.is_empty(), "{report:#?}");
    let report = idle(NO_WAY.parse().unwrap());
    assert_eq!(report.verdict, Verdict::MachineFailure, "{report:#?}");
    assert_eq!(report.closes.machine.values().sum::<u64>(), 4, "{report:#?}");
    let report = fanout(NO_WAY.parse().unwrap());
    assert_eq!(report.verdict, Verdict::MachineFailure, "{report:#?}");
}

#[test]
fn a_threshold_is_held_against_the_report_of_a_run() {
    let mut report = chat(nobody());
    let reasons = report.reasons.len();
    let broken: Threshold = "closes<=0".parse().unwrap();
    let kept: Threshold = "totals.sent<=0".parse().unwrap();
    judge(&mut report, &[broken.clone(), kept]).unwrap();
    assert_eq!(report.reasons.len(), reasons + 1, "{report:#?}");
    assert!(report.reasons[reasons].contains(&broken.to_string()), "{report:#?}");
    assert!(judge(&mut report, &["nonsense<=0".parse().unwrap()]).is_err());
}
