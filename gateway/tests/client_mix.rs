//! What the clients of people who chat ask for beside their messages, with the harness that measures
//! it: every answer agrees with what was said and with what was marked as read.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dunlin_loadtest::chat::churn::Churn;
use dunlin_loadtest::chat::{self, ChatReport, ChatScenario, Load, Rate, RequestKind};
use dunlin_loadtest::report::Verdict;
use dunlin_loadtest::spawn::{LISTEN_FOR_WEB, SpawnedServer};

fn server() -> SpawnedServer {
    let program = Path::new(env!("CARGO_BIN_EXE_dunlin"));
    SpawnedServer::start(program, &[], &LISTEN_FOR_WEB.map(str::to_owned), Stdio::inherit())
        .unwrap()
}

fn scenario(server: &SpawnedServer) -> ChatScenario {
    let mut scenario = ChatScenario::new(server.target(false));
    scenario.users = 20;
    scenario.threads = 2;
    scenario.message = "durable:4,signal:2,history:2,mark_read:3,sync:1".parse().unwrap();
    scenario.content_bytes = "30:2,1000:1".parse().unwrap();
    scenario.load = Load::Open { messages_per_second: Rate::constant(1000.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(900);
    scenario.drain_timeout = Duration::from_secs(60);
    scenario
}

/// The machine may be busy, so that the harness is late: only faults count here.
fn sound(scenario: &ChatScenario) -> ChatReport {
    let report = chat::run(scenario, &mut |_, _| {}).unwrap();
    assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    let totals = report.totals;
    assert!(totals.requested > 0, "{report:#?}");
    assert_eq!(totals.answered, totals.requested, "{report:#?}");
    report
}

#[test]
fn what_clients_ask_for_is_answered_by_what_was_said() {
    let server = server();
    for history_entries in [1, 20] {
        let mut scenario = scenario(&server);
        scenario.history_entries = history_entries;
        let report = sound(&scenario);
        let totals = report.totals;
        assert_eq!(totals.sent + totals.requested + totals.left_out, 1000, "{report:#?}");
        let kinds: Vec<_> = report.request_latency.keys().copied().collect();
        let expected = [RequestKind::History, RequestKind::MarkRead, RequestKind::Sync];
        assert_eq!(kinds, expected, "{report:#?}");
    }
}

#[test]
fn read_marks_outlive_the_connections_of_their_users() {
    let server = server();
    let mut scenario = scenario(&server);
    let (stay_s, away_s) = (Duration::from_millis(300), Duration::from_millis(50));
    let churn = Churn { stay_s: stay_s.into(), away_s: away_s.into(), ..Churn::default() };
    scenario.disturbance = Some(churn.into());
    sound(&scenario);
}

#[test]
fn what_is_asked_by_web_socket_is_answered_no_less() {
    let server = server();
    for over_tls in [false, true] {
        let mut scenario = scenario(&server);
        scenario.target = server.web_target(over_tls).unwrap();
        // Large messages, too, which signals can't be, and users who come back.
        scenario.message = "durable:4,history:2,mark_read:3,sync:1".parse().unwrap();
        scenario.content_bytes = "30:2,30000:1".parse().unwrap();
        let (stay_s, away_s) = (Duration::from_millis(300), Duration::from_millis(50));
        let churn = Churn { stay_s: stay_s.into(), away_s: away_s.into(), ..Churn::default() };
        scenario.disturbance = Some(churn.into());
        sound(&scenario);
    }
}
