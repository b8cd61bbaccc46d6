//! A search for the highest rate against a model server. No figure is asserted that depends on the
//! machine: what the search does with given figures is tested without a server.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;

use std::time::Duration;

use dunlin_loadtest::capacity::{
    CapacityParameters, CapacityReport, CapacityScenario, Event, Judgement, Limit, run,
};
use dunlin_loadtest::chat::ChatScenario;
use dunlin_loadtest::report::Verdict;
use model::{Model, Sabotage};

fn report(sabotage: Sabotage, acknowledge_p99_ms: f64) -> CapacityReport {
    let mut chat = ChatScenario::new(Model::start(sabotage).target());
    chat.users = 4;
    chat.warm_up = Duration::from_millis(100);
    chat.duration = Duration::from_millis(300);
    chat.drain_timeout = Duration::from_secs(60);
    let search = CapacityParameters {
        from_per_s: 200.0,
        to_per_s: 600.0,
        precision: 0.5,
        acknowledge_p99_ms: Some(acknowledge_p99_ms),
        ..CapacityParameters::default()
    };
    let (mut begun, mut told, mut seconds) = (0, 0, 0);
    let report = run(&CapacityScenario { chat, search }, &mut |event| match event {
        Event::Begun { .. } => begun += 1,
        Event::Progress { .. } => assert_eq!(begun, told + 1, "within a step"),
        Event::Second(second) => {
            assert_eq!(begun, told + 1, "within a step");
            seconds += usize::from(second.point.connections == 4);
        }
        Event::Step(_) => told += 1,
    });
    let report = report.unwrap();
    assert_eq!((begun, told), (report.steps.len(), report.steps.len()));
    assert!(seconds > 0, "nothing was to be seen");
    report
}

#[test]
fn rates_rise_as_long_as_they_are_met() {
    let report = report(Sabotage::Nothing, 60_000.0);
    match report.limit {
        Limit::Asked => {
            assert_eq!(report.verdict, Verdict::Ok);
            assert_eq!(report.highest_met_per_s, Some(600.0));
            let met = report.steps.iter().filter(|step| step.judgement == Judgement::Met);
            let rates: Vec<_> = met.map(|step| step.rate_per_s).collect();
            assert_eq!(rates, [200.0, 400.0, 600.0]);
            let best = report.best.expect("a rate was met");
            assert_eq!(best.totals.sent, 240);
            let points = &best.series.points;
            let told = points.iter().map(|point| point.rates["sent"] * point.interval_s);
            assert_eq!(told.sum::<f64>().round(), 240.0, "{points:#?}");
        }
        // The machine may be busy; then it must say so.
        Limit::Harness => assert_eq!(report.verdict, Verdict::HarnessInvalid, "{report:#?}"),
        Limit::Server | Limit::Broken | Limit::Interrupted => panic!("{report:#?}"),
    }
}

#[test]
fn what_no_server_can_meet_is_met_at_no_rate() {
    let report = report(Sabotage::Nothing, 1e-6);
    assert_eq!((report.highest_met_per_s, report.lowest_unmet_per_s), (None, Some(200.0)));
    assert!(matches!(report.limit, Limit::Server | Limit::Harness), "{report:#?}");
    assert_ne!(report.verdict, Verdict::Ok);
    assert_eq!(report.steps.len(), 2, "it was tried twice");
}

#[test]
fn a_broken_promise_ends_the_search() {
    let report = report(Sabotage::LoseStored, 60_000.0);
    assert_eq!((report.limit, report.verdict), (Limit::Broken, Verdict::ProductFailure));
    assert_eq!(report.steps.len(), 1, "{report:#?}");
    assert!(report.reasons.iter().any(|reason| reason.starts_with("lost")), "{report:#?}");
}
