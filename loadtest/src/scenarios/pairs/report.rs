//! The report of a chat run. docs/loadtest-reports.md explains each field of the JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::crowd::{
    Action, CrowdGeneratorReport, LatencyReport, Load, MessageKind, MessageLatencyReport, Outcome,
    RequestKind, Scenario, Summary, Totals,
};
use crate::latency::LatencySummary;
use crate::phases::{Led, Rates};
use crate::report::{Distribution, FaultReport, Reasons, Report, Series, ServerReport, Verdict};
use crate::scenarios::pairs::disturbance::Tally;
use crate::scenarios::pairs::{ChatScenario, DisturbanceReport};
use crate::weighted::Weighted;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct ChatReport {
    pub schema: &'static str,
    pub verdict: Verdict,
    /// Why it is not ok, in words.
    pub reasons: Vec<String>,
    pub scenario: ScenarioReport,
    /// Length of the measured window in seconds, as it was.
    pub window_s: f64,
    pub rates: Rates,
    pub totals: Totals,
    pub latency: LatencyReport,
    /// The latencies of each kind of a mix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub latency_by_kind: BTreeMap<MessageKind, MessageLatencyReport>,
    /// From the intended start of each request of a mix to its answer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub request_latency: BTreeMap<RequestKind, LatencySummary>,
    /// The same latencies to be drawn, by name; those that were measured.
    pub distributions: BTreeMap<String, Distribution>,
    /// What befell the users, and what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disturbance: Option<DisturbanceReport>,
    pub faults: FaultReport,
    /// Connections that ended, not by the harness, by reason.
    pub closes: Reasons,
    /// Absent if the server's process is not known.
    pub server: Option<ServerReport>,
    /// Processor time of the harness within the window, in microseconds.
    pub harness_cpu_us: u64,
    /// Other processes that made the load.
    pub generators: Vec<CrowdGeneratorReport>,
    /// The whole run second by second.
    pub series: Series,
}

impl Report for ChatReport {
    fn judgement(&mut self) -> (&mut Verdict, &mut Vec<String>) {
        (&mut self.verdict, &mut self.reasons)
    }
}

/// The scenario as it was run.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct ScenarioReport {
    pub users: u32,
    pub threads: usize,
    pub tls: bool,
    pub message: Weighted<Action>,
    pub content_bytes: Weighted<usize>,
    /// If there are requests for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_entries: Option<u32>,
    pub load: Load,
    pub warm_up_s: f64,
    pub duration_s: f64,
    pub active_share: f64,
    pub reconnect: bool,
}

/// Puts the outcomes of all threads together.
pub(crate) fn compose(
    scenario: &ChatScenario,
    led: Led<Outcome<Tally>, DisturbanceReport>,
) -> ChatReport {
    let is_quiet = scenario.is_quiet();
    let mut all = Summary::new(&scenario.terms(), is_quiet, led);
    let window = all.window;
    let counted = all.outcome.tally.take().zip(scenario.disturbance.as_ref());
    let counted =
        counted.and_then(|(tally, disturbance)| tally.report(disturbance, window.seconds()));
    let messages =
        window.count(|progress| if is_quiet { progress.delivered } else { progress.acknowledged });
    ChatReport {
        schema: "dunlin-loadtest/chat/1",
        verdict: all.verdict,
        reasons: all.reasons,
        scenario: describe(scenario, all.threads),
        window_s: window.seconds(),
        rates: window.rates(),
        totals: all.outcome.totals,
        latency: all.latency,
        latency_by_kind: all.outcome.by_kind.report(),
        request_latency: all.outcome.requests.report(),
        disturbance: all.sequel.or(counted),
        distributions: all.distributions,
        faults: FaultReport::from(&all.outcome.faults),
        closes: all.outcome.closes,
        server: window.server(scenario.target.pid, messages),
        harness_cpu_us: all.harness_cpu_us,
        generators: all.outcome.generators,
        series: all.series,
    }
}

fn describe(scenario: &ChatScenario, threads: usize) -> ScenarioReport {
    ScenarioReport {
        users: scenario.users,
        threads,
        tls: scenario.target.tls.is_some(),
        message: scenario.message.clone(),
        content_bytes: scenario.content_bytes.clone(),
        history_entries: scenario.asks_for_history().then_some(scenario.history_entries),
        load: scenario.load.clone(),
        warm_up_s: scenario.warm_up.as_secs_f64(),
        duration_s: scenario.duration.as_secs_f64(),
        active_share: scenario.active_share,
        reconnect: scenario.reconnect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Fault;
    use crate::crowd::Rate;
    use crate::phases::Window;
    use crate::target::{Service, Target};
    use crate::token::Issuer;

    fn scenario() -> ChatScenario {
        let target = Target {
            address: "127.0.0.1:1".parse().unwrap(),
            tls: None,
            web: false,
            service: Service::Dunlin(Issuer::new("test", &[0; 32])),
            pid: None,
        };
        let mut scenario = ChatScenario::new(target);
        scenario.load = Load::Open { messages_per_second: Rate::constant(10.0) };
        scenario
    }

    fn outcome(late_us: u64, latency_us: u64) -> Outcome<Tally> {
        let mut outcome = Outcome::default();
        for _ in 0..100 {
            outcome.lateness.record(late_us * 1000);
            outcome.acknowledge.record(latency_us * 1000);
        }
        outcome
    }

    fn led(outcomes: Vec<Outcome<Tally>>) -> Led<Outcome<Tally>, DisturbanceReport> {
        let (window, series) = (Window::default(), Series::default());
        Led { outcomes, window, sequel: None, reasons: Vec::new(), series }
    }

    #[test]
    fn lateness_spoils_what_it_dominates() {
        let verdict = |late_us, latency_us| {
            compose(&scenario(), led(vec![outcome(late_us, latency_us)])).verdict
        };
        assert_eq!(verdict(50, 80), Verdict::Ok);
        assert_eq!(verdict(200, 10_000), Verdict::Ok);
        assert_eq!(verdict(5_000, 10_000), Verdict::HarnessInvalid);
    }

    #[test]
    fn a_fault_in_any_thread_fails_the_run_even_if_the_harness_was_late() {
        let mut bad = outcome(5_000, 10_000);
        bad.faults.add(Fault::Lost { user: 1, counter: 2 });
        let report = compose(&scenario(), led(vec![outcome(1, 1), bad]));
        assert_eq!(report.verdict, Verdict::ProductFailure);
        assert_eq!(report.reasons[0], "lost: 1");
        assert_eq!(report.latency.acknowledge.count, 200);
    }
}
