//! Storms against a model server: everybody comes back and nothing is lost, and if not, the run
//! says so.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;

use std::time::Duration;

use dunlin_loadtest::chat::storm::{Cut, Storm, StormReport};
use dunlin_loadtest::chat::{
    ChatReport, ChatScenario, Credential, Disturbance, DisturbanceReport, Load, MessageKind, Rate,
    run,
};
use dunlin_loadtest::report::Verdict;
use model::verdict::{assert_found, assert_sound};
use model::{Model, Sabotage};

fn storm() -> Storm {
    Storm {
        rounds: 3,
        established_share: 0.1,
        calm_s: Duration::from_millis(100).into(),
        // No more than a bound: whoever is let in comes back much earlier.
        return_timeout_s: Duration::from_secs(60).into(),
        ..Storm::default()
    }
}

/// 2 users are spared, 18 are dropped.
fn scenario(model: &Model, storm: Storm) -> ChatScenario {
    let mut scenario = ChatScenario::new(model.target());
    scenario.users = 20;
    scenario.threads = 2;
    scenario.load = Load::Open { messages_per_second: Rate::constant(800.0) };
    scenario.warm_up = Duration::from_millis(50);
    scenario.duration = Duration::from_millis(200);
    scenario.drain_timeout = Duration::from_secs(60);
    scenario.disturbance = Some(Disturbance::Storm(storm));
    scenario
}

fn report(scenario: &ChatScenario) -> (ChatReport, StormReport) {
    let report = run(scenario, &mut |_, _| {}).unwrap();
    let Some(DisturbanceReport::Storm(storm)) = report.disturbance.clone() else {
        panic!("{report:#?}");
    };
    (report, storm)
}

#[test]
fn everybody_comes_back_each_time_and_every_message_is_accounted_for() {
    let ways = [(Cut::Reset, Credential::ResumeToken), (Cut::Close, Credential::IssuerToken)];
    for (cut, credential) in ways {
        let model = Model::start(Sabotage::Nothing);
        let (report, storm) = report(&scenario(&model, Storm { cut, credential, ..storm() }));
        assert_sound(&report);
        assert_eq!((storm.established, storm.rounds.len()), (2, 3), "{storm:#?}");
        for round in &storm.rounds {
            assert_eq!((round.dropped, round.returned, round.arrive.count), (18, 18, 18));
            assert!(round.back_50_s <= round.back_99_s && round.back_99_s <= round.back_100_s);
            assert!(round.back_100_s.is_some() && round.resident_bytes_calm.is_some());
        }
        let established = storm
            .rounds
            .iter()
            .map(|round| round.established.deliver.count + round.established_calm.deliver.count);
        assert!(established.sum::<u64>() > 0, "{storm:#?}");
        let resumed = if credential == Credential::ResumeToken { 3 * 18 } else { 0 };
        assert_eq!(model.resumed(), resumed);
        let totals = report.totals;
        assert_eq!((totals.sent, totals.sent), (totals.acknowledged, totals.delivered));
        assert_eq!((totals.entries_read, totals.unsent_at_end), (2 * totals.sent, 0));
        assert_eq!((totals.connections_opened, totals.connections_lost), (20 + 3 * 18, 0));
    }
}

#[test]
fn only_those_who_are_spared_need_to_send() {
    let model = Model::start(Sabotage::Nothing);
    let mut scenario = scenario(&model, storm());
    scenario.active_share = 0.0;
    let (report, storm) = report(&scenario);
    assert_sound(&report);
    // Everything that was measured was theirs.
    let of_established = storm.rounds.iter().map(|round| {
        round.established.acknowledge.count + round.established_calm.acknowledge.count
    });
    assert!(report.totals.sent > 0, "{report:#?}");
    assert_eq!(report.totals.entries_read, 2 * report.totals.sent);
    assert!(of_established.sum::<u64>() <= report.totals.sent, "{storm:#?}");
}

#[test]
fn signals_survive_a_storm_as_far_as_they_must() {
    let model = Model::start(Sabotage::Nothing);
    let mut scenario = scenario(&model, storm());
    scenario.message = MessageKind::Signal.into();
    let (report, storm) = report(&scenario);
    assert_sound(&report);
    assert!(storm.rounds.iter().all(|round| round.returned == 18), "{storm:#?}");
}

#[test]
fn somebody_who_never_comes_back_is_a_failure() {
    let model = Model::start(Sabotage::ShutOut);
    let return_timeout_s = Duration::from_secs(3).into();
    let mut scenario = scenario(&model, Storm { return_timeout_s, ..storm() });
    // It is waited for in vain.
    scenario.drain_timeout = Duration::from_secs(1);
    scenario.read_timeout = Duration::from_secs(1);
    let (report, storm) = report(&scenario);
    assert_eq!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert!(report.reasons.iter().any(|reason| reason.starts_with("storm 1: ")), "{report:#?}");
    let [round] = &storm.rounds[..] else { panic!("{storm:#?}") };
    assert!(round.returned < round.dropped && round.attempts_repeated > 0, "{round:#?}");
    assert_eq!(round.back_100_s, None);
}

#[test]
fn what_a_storm_loses_or_closes_without_need_is_found() {
    for (sabotage, kind) in [(Sabotage::LoseStored, "lost"), (Sabotage::CloseUnanswered, "closed")]
    {
        let model = Model::start(sabotage);
        let mut scenario = scenario(&model, storm());
        // What a liar leaves out is waited for in vain.
        scenario.drain_timeout = Duration::from_secs(3);
        let (report, _) = report(&scenario);
        assert_found(&report, sabotage, kind);
    }
}
