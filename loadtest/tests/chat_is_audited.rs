//! A chat run against a model server: what is sound passes, and each way of breaking the promise
//! is found and named.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;

use std::time::Duration;

use dunlin_loadtest::chat::{ChatReport, ChatScenario, Load, MessageKind, Rate, RequestKind, run};
use dunlin_loadtest::target::Service;
use model::verdict::{assert_found, assert_sound};
use model::{Model, Sabotage};

fn scenario(sabotage: Sabotage) -> ChatScenario {
    let mut scenario = ChatScenario::new(Model::start(sabotage).target());
    scenario.users = 8;
    scenario.threads = 2;
    scenario.load = Load::Open { messages_per_second: Rate::constant(800.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(400);
    // No more than a bound: whoever is sound is done much earlier, on any machine in the end.
    scenario.drain_timeout = Duration::from_secs(60);
    scenario
}

fn report(scenario: &ChatScenario) -> ChatReport {
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
fn a_sound_server_passes_and_every_message_is_accounted_for() {
    let report = report(&scenario(Sabotage::Nothing));
    assert_sound(&report);
    let totals = report.totals;
    assert_eq!(totals.sent, 400);
    assert_eq!((totals.acknowledged, totals.delivered), (400, 400));
    assert_eq!((totals.entries_read, totals.unsent_at_end), (800, 0));
    assert!(report.latency.acknowledge.count > 200, "{report:#?}");
    assert!(report.latency_by_kind.is_empty(), "{report:#?}");
    assert!(report.server.is_some());
}

#[test]
fn a_changing_rate_sends_as_many_messages_as_its_integral_says() {
    let mut scenario = scenario(Sabotage::Nothing);
    // Nothing in the warm-up; then 160 within 0.2 s, and 0.2 s at 400.
    let messages_per_second = "0..1600:0.2,400:1".parse().unwrap();
    scenario.load = Load::Open { messages_per_second };
    let report = report(&scenario);
    assert_sound(&report);
    assert_eq!((report.totals.sent, report.totals.delivered), (240, 240));
    assert_eq!(report.latency.acknowledge.count, 240);
}

#[test]
fn a_closed_load_keeps_its_messages_outstanding() {
    let mut scenario = scenario(Sabotage::Nothing);
    scenario.load = Load::Closed { outstanding: 4 };
    let report = report(&scenario);
    assert_sound(&report);
    assert!(report.totals.sent >= 32);
    assert_eq!(report.totals.sent, report.totals.delivered);
}

#[test]
fn lost_answers_missing_pushes_and_postponed_messages_are_healed() {
    let harmless =
        [Sabotage::CloseUnanswered, Sabotage::SkipPush, Sabotage::OvertakePage, Sabotage::Postpone];
    for sabotage in harmless {
        let mut scenario = scenario(sabotage);
        scenario.reconnect = true;
        let report = report(&scenario);
        assert_sound(&report);
        let totals = report.totals;
        assert_eq!(totals.acknowledged, 400, "{sabotage:?}: {totals:?}");
        match sabotage {
            Sabotage::CloseUnanswered => {
                assert!(totals.connections_lost > 0 && totals.resent > 0, "{totals:?}");
            }
            Sabotage::SkipPush | Sabotage::OvertakePage => {
                assert!(totals.gaps_repaired > 0, "{totals:?}");
            }
            _ => assert!(totals.postponed > 0, "{totals:?}"),
        }
    }
}

#[test]
fn a_closed_connection_is_a_fault_where_none_is_expected() {
    finds(Sabotage::CloseUnanswered, "closed");
}

#[test]
fn what_the_log_lacks_is_lost() {
    finds(Sabotage::LoseStored, "lost");
    finds(Sabotage::LoseNewest, "lost");
}

#[test]
fn what_the_log_has_twice_or_in_another_order_is_found() {
    finds(Sabotage::DoubleStored, "duplicated");
    finds(Sabotage::SwapStored, "reordered");
}

#[test]
fn what_the_log_has_altered_or_made_up_is_found() {
    finds(Sabotage::AlterStored, "altered");
    finds(Sabotage::InventStored, "altered");
}

#[test]
fn pushes_that_are_missing_come_twice_late_or_altered_are_found() {
    finds(Sabotage::SkipLastPush, "undelivered");
    finds(Sabotage::DoublePush, "duplicated");
    finds(Sabotage::SwapPush, "reordered");
    finds(Sabotage::AlterPush, "altered");
}

#[test]
fn an_acknowledgement_with_the_sequence_of_another_message_is_found() {
    finds(Sabotage::WrongSequence, "sequence_reused");
}

/// Each latency of a mix is also that of its kind.
fn assert_is_told_apart(report: &ChatReport) {
    let kinds: Vec<_> = report.latency_by_kind.keys().copied().collect();
    assert_eq!(kinds, [MessageKind::Durable, MessageKind::Signal], "{report:#?}");
    let of_kinds = || report.latency_by_kind.values();
    let acknowledged: u64 = of_kinds().map(|latency| latency.acknowledge.count).sum();
    let delivered: u64 = of_kinds().map(|latency| latency.deliver.count).sum();
    assert_eq!(acknowledged, report.latency.acknowledge.count, "{report:#?}");
    assert_eq!(delivered, report.latency.deliver.count, "{report:#?}");
    assert!(of_kinds().all(|latency| latency.acknowledge.count > 0), "{report:#?}");
    assert!(report.distributions.contains_key("signal_acknowledge"), "{report:#?}");
}

#[test]
fn a_mix_of_kinds_and_lengths_is_audited_as_each_of_them() {
    for sabotage in [Sabotage::Nothing, Sabotage::CloseUnanswered, Sabotage::Postpone] {
        let mut scenario = scenario(sabotage);
        scenario.reconnect = true;
        scenario.message = "durable:3,signal:1".parse().unwrap();
        scenario.content_bytes = "10:1,500:2,1000:1".parse().unwrap();
        let report = report(&scenario);
        assert_sound(&report);
        let totals = report.totals;
        assert_eq!(totals.sent, 400, "{sabotage:?}: {totals:?}");
        // Each of a pair reads all durable messages; about a quarter are signals.
        let durable = totals.entries_read / 2;
        assert!((250..350).contains(&durable), "{sabotage:?}: {totals:?}");
        assert!(totals.acknowledged >= durable, "{sabotage:?}: {totals:?}");
        assert_eq!(totals.delivered + totals.signals_missing, 400, "{sabotage:?}: {totals:?}");
        assert_is_told_apart(&report);
    }
    for (sabotage, kind) in [(Sabotage::LoseStored, "lost"), (Sabotage::DoubleSignal, "duplicated")]
    {
        let mut scenario = scenario(sabotage);
        scenario.message = "durable:3,signal:1".parse().unwrap();
        let report = report(&scenario);
        assert!(report.faults.counts.contains_key(kind), "{sabotage:?}: {report:#?}");
    }
}

/// What the users of a real client do.
fn clients(sabotage: Sabotage) -> ChatScenario {
    let mut scenario = scenario(sabotage);
    scenario.message = "durable:4,signal:2,history:2,mark_read:2,sync:1".parse().unwrap();
    scenario
}

#[test]
fn requests_beside_messages_are_answered_and_have_their_own_latencies() {
    for sabotage in [Sabotage::Nothing, Sabotage::CloseUnanswered, Sabotage::Postpone] {
        let mut scenario = clients(sabotage);
        scenario.reconnect = true;
        let report = report(&scenario);
        assert_sound(&report);
        let totals = report.totals;
        // A mark before anything was said is left out.
        let all = totals.sent + totals.requested + totals.left_out;
        assert_eq!(all, 400, "{sabotage:?}: {totals:?}");
        assert!(totals.requested > 100, "{sabotage:?}: {totals:?}");
        assert_eq!(totals.answered, totals.requested, "{sabotage:?}: {totals:?}");
        assert_eq!(totals.delivered + totals.signals_missing, totals.sent, "{totals:?}");
        assert_is_told_apart(&report);
        let latency = &report.request_latency;
        let kinds: Vec<_> = latency.keys().copied().collect();
        let expected = [RequestKind::History, RequestKind::MarkRead, RequestKind::Sync];
        assert_eq!(kinds, expected, "{report:#?}");
        let measured: u64 = latency.values().map(|latency| latency.count).sum();
        assert!((1..=totals.answered).contains(&measured), "{report:#?}");
        assert_eq!(report.scenario.history_entries, Some(20));
        let points = &report.series.points;
        let answered: f64 = points
            .iter()
            .map(|point| point.rates.get("answered").unwrap_or(&0.0) * point.interval_s)
            .sum();
        assert_eq!(answered.round() as u64, totals.answered, "{points:#?}");
        let timed = points.iter().filter_map(|point| point.latency.get("answer"));
        assert_eq!(timed.map(|latency| latency.count).sum::<u64>(), totals.answered);
    }
}

#[test]
fn a_closed_load_asks_as_well() {
    let mut scenario = clients(Sabotage::Nothing);
    scenario.load = Load::Closed { outstanding: 3 };
    let report = report(&scenario);
    assert_sound(&report);
    assert!(report.totals.requested > 0, "{report:#?}");
    assert_eq!(report.totals.answered, report.totals.requested, "{report:#?}");
}

#[test]
fn what_is_wrong_with_the_answers_to_requests_is_found() {
    let wrong = [
        (Sabotage::AlterPage, "altered"),
        (Sabotage::SkipInPage, "not_dense"),
        (Sabotage::IgnoreMark, "unanswered"),
        (Sabotage::InventReceipt, "phantom"),
        (Sabotage::ForgetMark, "lost"),
    ];
    for (sabotage, kind) in wrong {
        let mut scenario = clients(sabotage);
        scenario.reconnect = sabotage == Sabotage::ForgetMark;
        if sabotage == Sabotage::IgnoreMark {
            // It is waited for in vain.
            scenario.drain_timeout = Duration::from_secs(1);
        }
        assert_found(&report(&scenario), sabotage, kind);
    }
}

#[test]
fn who_answers_nothing_is_asked_nothing() {
    let mut scenario = clients(Sabotage::Nothing);
    for service in [Service::Relay, Service::Holder] {
        scenario.target.service = service;
        assert!(scenario.check().unwrap_err().to_string().contains("chat.message"));
    }
}

#[test]
fn signals_are_counted_and_a_doubled_one_is_found() {
    for message in [MessageKind::Signal, MessageKind::QuietSignal] {
        for sabotage in [Sabotage::Nothing, Sabotage::DoubleSignal] {
            let mut scenario = scenario(sabotage);
            scenario.message = message.into();
            let report = report(&scenario);
            if sabotage == Sabotage::Nothing {
                assert_sound(&report);
                // On a busy machine the harness may not wait for the last ones.
                let totals = report.totals;
                assert_eq!(totals.delivered + totals.signals_missing, 400, "{report:#?}");
                assert!(totals.delivered > 0, "{report:#?}");
            } else {
                assert!(report.faults.counts.contains_key("duplicated"), "{report:#?}");
            }
        }
    }
}
