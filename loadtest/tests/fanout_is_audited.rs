//! A fan-out run against a model server: what is sound passes, and what goes wrong at one device of
//! many is found and named.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;

use std::time::Duration;

use dunlin_loadtest::chat::{Load, MessageKind, Rate};
use dunlin_loadtest::fanout::{FanoutReport, FanoutScenario, run};
use dunlin_loadtest::target::Service;
use model::verdict::{assert_found, assert_sound};
use model::{Model, Sabotage};

/// 400 messages: 100 of each sender, each to three devices.
fn scenario(sabotage: Sabotage) -> FanoutScenario {
    let mut scenario = FanoutScenario::new(Model::start(sabotage).target());
    scenario.senders = 4;
    scenario.devices = 3;
    scenario.threads = 2;
    scenario.load = Load::Open { messages_per_second: Rate::constant(800.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(400);
    // No more than a bound: whoever is sound is done much earlier, on any machine in the end.
    scenario.drain_timeout = Duration::from_secs(60);
    scenario
}

fn report(scenario: &FanoutScenario) -> FanoutReport {
    run(scenario, &mut |_, _| {}).unwrap()
}

/// A run against a server that does wrong finds it.
fn finds(sabotage: Sabotage, kind: &str) {
    let mut scenario = scenario(sabotage);
    if sabotage == Sabotage::SkipLastPush {
        // It is waited for in vain.
        scenario.drain_timeout = Duration::from_secs(1);
    }
    assert_found(&report(&scenario), sabotage, kind);
}

#[test]
fn a_sound_server_delivers_every_message_to_every_device() {
    let report = report(&scenario(Sabotage::Nothing));
    assert_sound(&report);
    let totals = report.totals;
    assert_eq!((totals.sent, totals.acknowledged, totals.delivered), (400, 400, 1200));
    assert_eq!((totals.entries_read, totals.unsent_at_end), (800, 0));
    assert_eq!(totals.connections_opened, 16);
    let latency = report.latency;
    assert!(latency.acknowledge.count > 200, "{report:#?}");
    assert_eq!(latency.deliver.count, 3 * latency.acknowledge.count, "{report:#?}");
    assert!(report.server.is_some());
}

#[test]
fn one_writes_in_many_conversations_in_turn() {
    let mut scenario = scenario(Sabotage::Nothing);
    (scenario.senders, scenario.conversations, scenario.devices) = (2, 10, 2);
    let report = report(&scenario);
    assert_sound(&report);
    let totals = report.totals;
    assert_eq!((totals.sent, totals.delivered, totals.entries_read), (400, 800, 800));
    assert_eq!(totals.connections_opened, 2 * (1 + 10 * 2));
}

#[test]
fn a_closed_load_waits_until_all_devices_have_a_message() {
    for message in [MessageKind::Durable, MessageKind::Signal, MessageKind::QuietSignal] {
        let mut scenario = scenario(Sabotage::Nothing);
        scenario.message = message;
        scenario.load = Load::Closed { outstanding: 3 };
        let report = report(&scenario);
        assert_sound(&report);
        let totals = report.totals;
        assert!(totals.sent >= 4 * 3, "{report:#?}");
        assert_eq!(totals.delivered + totals.signals_missing, 3 * totals.sent, "{report:#?}");
    }
}

#[test]
fn missing_pushes_and_postponed_messages_are_healed() {
    for sabotage in [Sabotage::SkipPush, Sabotage::Postpone] {
        let report = report(&scenario(sabotage));
        assert_sound(&report);
        let totals = report.totals;
        assert_eq!((totals.acknowledged, totals.delivered), (400, 1200), "{totals:?}");
        match sabotage {
            Sabotage::SkipPush => assert!(totals.gaps_repaired > 0, "{totals:?}"),
            _ => assert!(totals.postponed > 0, "{totals:?}"),
        }
    }
}

#[test]
fn deliveries_that_one_device_misses_or_gets_twice_late_or_altered_are_found() {
    finds(Sabotage::SkipLastPush, "undelivered");
    finds(Sabotage::DoublePush, "duplicated");
    finds(Sabotage::SwapPush, "reordered");
    finds(Sabotage::AlterPush, "altered");
}

#[test]
fn what_is_wrong_in_the_log_is_found() {
    finds(Sabotage::LoseStored, "lost");
    finds(Sabotage::LoseNewest, "lost");
    finds(Sabotage::DoubleStored, "duplicated");
    finds(Sabotage::SwapStored, "reordered");
    finds(Sabotage::AlterStored, "altered");
    finds(Sabotage::InventStored, "altered");
    finds(Sabotage::WrongSequence, "sequence_reused");
}

#[test]
fn a_closed_connection_is_a_fault() {
    finds(Sabotage::CloseUnanswered, "closed");
}

#[test]
fn whoever_was_closed_comes_back_and_all_is_audited_even_then() {
    let report = report(&scenario(Sabotage::CloseUnanswered));
    assert_eq!(report.faults.counts.keys().copied().collect::<Vec<_>>(), ["closed"]);
    let totals = report.totals;
    assert!(totals.connections_lost > 0 && totals.resent > 0, "{report:#?}");
    assert_eq!((totals.acknowledged, totals.delivered), (400, 1200), "{report:#?}");
    assert_eq!(totals.entries_read, 800, "{report:#?}");
}

#[test]
fn nobody_waits_for_a_server_that_has_vanished() {
    let mut scenario = scenario(Sabotage::Vanish);
    // Whoever waited for all of it would still be there when the tests are given up.
    (scenario.drain_timeout, scenario.read_timeout) =
        (Duration::from_secs(36_000), Duration::from_secs(36_000));
    assert_found(&report(&scenario), Sabotage::Vanish, "closed");
}

#[test]
fn a_signal_that_one_device_gets_twice_is_found() {
    for message in [MessageKind::Signal, MessageKind::QuietSignal] {
        let mut scenario = scenario(Sabotage::DoubleSignal);
        scenario.message = message;
        let report = report(&scenario);
        assert!(report.faults.counts.contains_key("duplicated"), "{report:#?}");
    }
}

#[test]
fn what_can_not_be_run_is_refused() {
    let refused = |change: fn(&mut FanoutScenario)| {
        let mut scenario = scenario(Sabotage::Nothing);
        change(&mut scenario);
        scenario.check().is_err()
    };
    assert!(!refused(|_| {}));
    assert!(refused(|scenario| scenario.devices = 0));
    assert!(refused(|scenario| scenario.conversations = 10_001));
    assert!(refused(
        |scenario| scenario.load = Load::Open { messages_per_second: Rate::constant(f64::NAN) }
    ));
    assert!(refused(|scenario| (scenario.senders, scenario.devices) = (1 << 16, 1 << 16)));
    assert!(refused(|scenario| scenario.target.service = Service::Relay));
}
