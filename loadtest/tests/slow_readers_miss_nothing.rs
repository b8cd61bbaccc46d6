//! Readers who stall, against a model server: what they did not read they read later, and if
//! something is missing then, the run says so.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;

use std::time::Duration;

use dunlin_loadtest::chat::slow::{Slow, SlowReport};
use dunlin_loadtest::chat::{
    ChatReport, ChatScenario, Disturbance, DisturbanceReport, Load, Rate, run,
};
use dunlin_loadtest::report::Verdict;
use model::verdict::assert_found;
use model::{Model, Sabotage};

/// Of 4 pairs, one user of each of 2 stalls, and at the end of the window one of them does: their
/// stalls are as long as the pauses between them, and half a cycle apart.
fn scenario(model: &Model) -> ChatScenario {
    let mut scenario = ChatScenario::new(model.target());
    scenario.users = 8;
    scenario.load = Load::Open { messages_per_second: Rate::constant(800.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(500);
    scenario.drain_timeout = Duration::from_secs(60);
    let (pause, stalling_share) = (Duration::from_millis(100), 0.5);
    let (stall_s, between_s) = (pause.into(), pause.into());
    let slow = Slow { stalling_share, stall_s, between_s, ..Slow::default() };
    scenario.disturbance = Some(Disturbance::Slow(slow));
    scenario
}

fn report(scenario: &ChatScenario) -> (ChatReport, SlowReport) {
    let report = run(scenario, &mut |_, _| {}).unwrap();
    let Some(DisturbanceReport::Slow(slow)) = report.disturbance.clone() else {
        panic!("{report:#?}");
    };
    (report, *slow)
}

#[test]
fn what_was_not_read_is_read_later() {
    let model = Model::start(Sabotage::Nothing);
    for threads in [1, 2] {
        let mut scenario = scenario(&model);
        scenario.threads = threads;
        let (report, slow) = report(&scenario);
        assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
        assert_eq!(slow.stalling_users, 2);
        assert!(slow.stalls >= 2 && slow.closes.is_empty(), "{slow:#?}");
        let totals = report.totals;
        assert_eq!((totals.sent, totals.sent), (totals.acknowledged, totals.delivered));
        let (stalling, others) = (slow.disturbed.deliver, slow.undisturbed.deliver);
        assert_eq!(stalling.count + others.count, report.latency.deliver.count);
        assert!(stalling.count > 0 && others.count > 0, "{slow:#?}");
        // However fast or slow all is: some message has waited for a stall to end.
        assert!(stalling.max_us > 20_000.0, "{slow:#?}");
    }
}

#[test]
fn what_is_missing_after_the_stalls_is_found() {
    for (sabotage, kind) in [(Sabotage::LoseStored, "lost"), (Sabotage::DoublePush, "duplicated")] {
        let model = Model::start(sabotage);
        let mut scenario = scenario(&model);
        // What a liar leaves out is waited for in vain.
        scenario.drain_timeout = Duration::from_secs(3);
        let (report, _) = report(&scenario);
        assert_found(&report, sabotage, kind);
    }
}

#[test]
fn only_those_who_stall_may_be_closed() {
    let model = Model::start(Sabotage::CloseUnanswered);
    let (report, slow) = report(&scenario(&model));
    // Connections of pairs in which nobody stalls are among those that end.
    assert_eq!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert!(report.faults.counts.contains_key("closed"), "{report:#?}");
    assert!(slow.closes.values().sum::<u64>() < report.totals.connections_lost, "{report:#?}");
}
