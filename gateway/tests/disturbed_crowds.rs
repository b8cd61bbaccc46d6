//! What may befall a crowd, with the harness that measures it: everybody reconnects at once, readers
//! stall, users come and go. Nobody misses anything.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dunlin_loadtest::chat::churn::Churn;
use dunlin_loadtest::chat::slow::Slow;
use dunlin_loadtest::chat::storm::{Cut, RoundReport, Storm};
use dunlin_loadtest::chat::{
    self, ChatReport, ChatScenario, Credential, Disturbance, DisturbanceReport, Load, Rate,
};
use dunlin_loadtest::report::Verdict;
use dunlin_loadtest::spawn::SpawnedServer;

fn server(settings: &[&str]) -> SpawnedServer {
    let program = Path::new(env!("CARGO_BIN_EXE_dunlin"));
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    SpawnedServer::start(program, &[], &settings, Stdio::inherit()).unwrap()
}

fn scenario(server: &SpawnedServer, over_tls: bool, disturbance: Disturbance) -> ChatScenario {
    let mut scenario = ChatScenario::new(server.target(over_tls));
    scenario.users = 40;
    scenario.threads = 2;
    scenario.load = Load::Open { messages_per_second: Rate::constant(400.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(300);
    scenario.drain_timeout = Duration::from_secs(60);
    scenario.disturbance = Some(disturbance);
    scenario
}

/// The machine may be busy, so that the harness is late: only faults count here.
fn sound(scenario: &ChatScenario) -> (ChatReport, DisturbanceReport) {
    let report = chat::run(scenario, &mut |_, _| {}).unwrap();
    assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert_eq!(report.totals.sent, report.totals.delivered, "{report:#?}");
    let disturbance = report.disturbance.clone().unwrap();
    (report, disturbance)
}

/// Two rounds, in each of which 38 of 40 users are dropped.
fn storm(server: &SpawnedServer, over_tls: bool, storm: &Storm) -> Vec<RoundReport> {
    let storm = Storm {
        rounds: 2,
        established_share: 0.05,
        calm_s: Duration::from_millis(100).into(),
        return_timeout_s: Duration::from_secs(60).into(),
        ..storm.clone()
    };
    let scenario = scenario(server, over_tls, Disturbance::Storm(storm));
    let (report, DisturbanceReport::Storm(storm)) = sound(&scenario) else {
        panic!("it was a storm");
    };
    assert_eq!(report.totals.connections_lost, 0, "{report:#?}");
    assert_eq!(storm.rounds.len(), 2);
    for round in &storm.rounds {
        assert_eq!((round.dropped, round.returned), (38, 38), "{round:#?}");
    }
    storm.rounds
}

#[test]
fn everybody_comes_back_after_a_storm() {
    let server = server(&[]);
    for cut in [Cut::Reset, Cut::Close] {
        let rounds = storm(&server, false, &Storm { cut, ..Storm::default() });
        assert!(rounds.iter().all(|round| round.tls_resumed + round.tls_full == 0), "{rounds:#?}");
    }
}

#[test]
fn those_who_come_back_resume_their_tls_sessions_if_they_may() {
    let server = server(&[]);
    let rounds = storm(&server, true, &Storm::default());
    assert!(rounds.iter().all(|round| round.tls_resumed > 0), "{rounds:#?}");
    let (tls_resumption, credential) = (false, Credential::IssuerToken);
    let rounds = storm(&server, true, &Storm { tls_resumption, credential, ..Storm::default() });
    assert!(rounds.iter().all(|round| (round.tls_resumed, round.tls_full) == (0, 38)));
}

#[test]
fn a_reader_who_stalls_is_left_behind_and_finds_everything() {
    let server = server(&["limits.outbox_bytes_soft=65536"]);
    // How much the kernel takes in, and how fast the machine sends it, decides when pushes collapse.
    let behind = [1, 4, 16].into_iter().any(|stall_s| {
        let stall = Duration::from_secs(stall_s);
        let (stall_s, between_s) = (stall.into(), stall.into());
        let slow = Slow { stalling_share: 0.5, stall_s, between_s, ..Slow::default() };
        let mut scenario = scenario(&server, false, Disturbance::Slow(slow));
        scenario.users = 4;
        scenario.content_bytes = 60_000.into();
        scenario.load = Load::Open { messages_per_second: Rate::constant(150.0) };
        scenario.duration = stall;
        let (_, DisturbanceReport::Slow(slow)) = sound(&scenario) else {
            panic!("somebody was to be slow");
        };
        assert!(slow.stalls > 0, "{slow:#?}");
        slow.behind.stalling > 0
    });
    assert!(behind, "nobody was left behind");
}

#[test]
fn users_who_come_and_go_find_what_was_written_meanwhile() {
    let server = server(&[]);
    for over_tls in [false, true] {
        let (stay_s, away_s) =
            (Duration::from_millis(150).into(), Duration::from_millis(100).into());
        let churn = Disturbance::Churn(Churn { stay_s, away_s, ..Churn::default() });
        let (report, DisturbanceReport::Churn(churn)) = sound(&scenario(&server, over_tls, churn))
        else {
            panic!("users were to come and go");
        };
        assert!(churn.departures > 0, "{churn:#?}");
        assert_eq!(report.totals.connections_lost, 0, "{report:#?}");
    }
}
