//! An idle run against a model server: who comes, who stays, and what it costs.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use dunlin_loadtest::idle::{IdleScenario, run};
use dunlin_loadtest::report::Verdict;
use dunlin_loadtest::target::{Service, Target};
use dunlin_loadtest::token::Issuer;
use model::{Model, Sabotage};

/// No machine is slow enough to be later than this.
const NEVER_LATE: Duration = Duration::from_secs(3600);

fn target(address: SocketAddr) -> Target {
    let service = Service::Dunlin(Issuer::new("loadtest", &[7; 32]));
    Target { address, tls: None, web: false, service, pid: Some(std::process::id()) }
}

#[test]
fn all_come_and_stay_and_heartbeats_go_round() {
    let mut scenario = IdleScenario::new(target(Model::start(Sabotage::Nothing).address), 40);
    scenario.threads = 2;
    scenario.hold = Duration::from_millis(600);
    scenario.heartbeat_interval = Some(Duration::from_millis(20));
    scenario.lateness_p99_max = NEVER_LATE;
    let report = run(&scenario, &mut |_, _| {}).unwrap();
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    assert_eq!((report.arrived, report.arrive.count), (40, 40));
    assert!(report.heartbeats >= 40, "{report:#?}");
    let server = report.server.expect("the model runs in this process");
    assert!(server.samples.len() >= 2 && server.resident_bytes_end > 0);
    let harness = report.harness.expect("it can look at itself");
    assert!(harness.samples.len() >= 2 && harness.samples[0].usage.cpu_us > 0);
}

#[test]
fn round_trips_of_heartbeats_are_taken_and_lateness_spoils_them() {
    let mut scenario = IdleScenario::new(target(Model::start(Sabotage::Nothing).address), 10);
    scenario.heartbeat_interval = Some(Duration::from_millis(5));
    scenario.lateness_p99_max = Duration::ZERO;
    // Held for longer each time, until an answer has come on a machine of any speed.
    let report = (0..7).find_map(|attempt| {
        scenario.hold = Duration::from_millis(250 << attempt);
        let report = run(&scenario, &mut |_, _| {}).unwrap();
        (report.heartbeat_round_trip.count > 0).then_some(report)
    });
    let report = report.expect("the model answers heartbeats");
    assert!(report.heartbeat_lateness.count > 0, "{report:#?}");
    assert_eq!(report.verdict, Verdict::HarnessInvalid, "{report:#?}");
}

/// Accepts for another server, and closes the first connections without a word.
fn unreliable_front(server: SocketAddr, refusals: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().skip(refusals) {
            pass_on(client.unwrap(), server);
        }
    });
    address
}

fn pass_on(client: TcpStream, server: SocketAddr) {
    let server = TcpStream::connect(server).unwrap();
    for (mut from, mut to) in
        [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
    {
        // Either end may close at any time.
        thread::spawn(move || io::copy(&mut from, &mut to));
    }
}

#[test]
fn who_is_refused_once_comes_again() {
    let front = unreliable_front(Model::start(Sabotage::Nothing).address, 3);
    let mut scenario = IdleScenario::new(target(front), 8);
    scenario.hold = Duration::ZERO;
    scenario.lateness_p99_max = NEVER_LATE;
    let report = run(&scenario, &mut |_, _| {}).unwrap();
    assert_eq!((report.verdict, report.arrived), (Verdict::Ok, 8), "{report:#?}");
    assert_eq!(report.closes.retried.values().sum::<u64>(), 3, "{report:#?}");
    assert!(report.closes.failed.is_empty() && report.closes.closed.is_empty());
}

/// Accepts for another server, and says nothing to the first connections, which stay.
fn silent_front(server: SocketAddr, silent: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let kept: Vec<_> = listener.incoming().take(silent).collect();
        listener.incoming().for_each(|client| pass_on(client.unwrap(), server));
        drop(kept);
    });
    address
}

#[test]
fn who_is_told_nothing_comes_again() {
    let front = silent_front(Model::start(Sabotage::Nothing).address, 3);
    let mut scenario = IdleScenario::new(target(front), 8);
    scenario.hold = Duration::ZERO;
    scenario.lateness_p99_max = NEVER_LATE;
    // Attempts that a slow machine lets take longer come again as well.
    (scenario.arrive_timeout, scenario.retries_max) = (Duration::from_millis(500), 1000);
    let report = run(&scenario, &mut |_, _| {}).unwrap();
    assert_eq!((report.verdict, report.arrived), (Verdict::Ok, 8), "{report:#?}");
    assert!(report.closes.retried["not logged in after 500ms"] >= 3, "{report:#?}");
}

#[test]
fn a_server_that_says_nothing_is_a_failure_with_a_reason() {
    let mut scenario = IdleScenario::new(target(silent_front("[::1]:1".parse().unwrap(), 8)), 4);
    scenario.hold = Duration::ZERO;
    (scenario.arrive_timeout, scenario.retries_max) = (Duration::from_millis(50), 1);
    let report = run(&scenario, &mut |_, _| {}).unwrap();
    assert_eq!(report.verdict, Verdict::ProductFailure);
    let silent = [("not logged in after 50ms".to_owned(), 4)].into();
    assert_eq!((&report.closes.retried, &report.closes.failed), (&silent, &silent));
}

#[test]
fn a_server_that_is_not_there_is_a_failure_with_a_reason() {
    // Bound and dropped: nobody listens on this port now.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut scenario = IdleScenario::new(target(address), 4);
    scenario.hold = Duration::ZERO;
    scenario.retries_max = 1;
    let report = run(&scenario, &mut |_, _| {}).unwrap();
    assert_eq!(report.verdict, Verdict::ProductFailure);
    assert_eq!(report.closes.retried.values().sum::<u64>(), 4, "{report:#?}");
    assert_eq!(report.closes.failed.values().sum::<u64>(), 4, "{report:#?}");
}
