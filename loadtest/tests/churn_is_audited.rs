//! Users who come and go, against a model server: they find what was written meanwhile, and if not,
//! the run says so.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;

use std::time::Duration;

use dunlin_loadtest::chat::churn::{Churn, ChurnReport};
use dunlin_loadtest::chat::{
    ChatReport, ChatScenario, Credential, Disturbance, DisturbanceReport, Load, Rate, run,
};
use dunlin_loadtest::report::Verdict;
use model::verdict::assert_found;
use model::{Model, Sabotage};

const USERS: u32 = 12;

fn scenario(model: &Model) -> ChatScenario {
    let mut scenario = ChatScenario::new(model.target());
    scenario.users = USERS;
    scenario.threads = 2;
    scenario.load = Load::Open { messages_per_second: Rate::constant(1000.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(700);
    scenario.drain_timeout = Duration::from_secs(60);
    let (stay_s, away_s) = (Duration::from_millis(100).into(), Duration::from_millis(50).into());
    scenario.disturbance = Some(Disturbance::Churn(Churn { stay_s, away_s, ..Churn::default() }));
    scenario
}

fn report(scenario: &ChatScenario) -> (ChatReport, ChurnReport) {
    let report = run(scenario, &mut |_, _| {}).unwrap();
    let Some(DisturbanceReport::Churn(churn)) = report.disturbance.clone() else {
        panic!("{report:#?}");
    };
    (report, *churn)
}

#[test]
fn users_find_what_was_written_while_they_were_away() {
    for credential in [Credential::ResumeToken, Credential::IssuerToken] {
        let model = Model::start(Sabotage::Nothing);
        let mut scenario = scenario(&model);
        let Some(Disturbance::Churn(churn)) = &mut scenario.disturbance else { panic!() };
        churn.credential = credential;
        let (report, churn) = report(&scenario);
        assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
        assert!(churn.departures > 0 && churn.logins > 0, "{churn:#?}");
        let totals = report.totals;
        // Everybody who left has come back, at the latest when the run was over.
        let logins = u64::from(USERS) + churn.departures;
        assert_eq!((totals.connections_opened, totals.connections_lost), (logins, 0));
        let by_token = if credential == Credential::ResumeToken { churn.departures } else { 0 };
        assert_eq!(model.resumed(), by_token);
        assert_eq!(totals.sent + churn.unwritten, 800);
        assert_eq!((totals.sent, totals.sent), (totals.acknowledged, totals.delivered));
        let (present, absent) = (churn.present.deliver, churn.deliver_to_absent);
        assert_eq!(present.count + absent.count, report.latency.deliver.count);
        assert!(churn.unwritten > 0 && absent.count > 0, "{churn:#?}");
    }
}

#[test]
fn what_they_do_not_find_is_reported() {
    for (sabotage, kind) in [
        (Sabotage::LoseStored, "lost"),
        (Sabotage::DoubleStored, "duplicated"),
        (Sabotage::CloseUnanswered, "closed"),
    ] {
        let model = Model::start(sabotage);
        let mut scenario = scenario(&model);
        // What a liar leaves out is waited for in vain.
        scenario.drain_timeout = Duration::from_secs(3);
        let (report, _) = report(&scenario);
        assert_found(&report, sabotage, kind);
    }
}
