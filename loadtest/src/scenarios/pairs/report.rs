//! The report of a chat run. docs/benchmarks.md explains each field of the JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::audit::FaultLog;
use crate::chat::outcome::{ChatGeneratorReport, Outcome, Totals};
use crate::chat::{
    Action, ChatScenario, DisturbanceReport, Load, MessageKind, MessageLatencyReport, RequestKind,
};
use crate::latency::{Latencies, LatencySummary};
use crate::phases::{Led, Rates};
use crate::report::{
    Distribution, FaultReport, Findings, Reasons, Report, Series, ServerReport, Verdict,
};
use crate::weighted::Weighted;

/// Lateness up to here never spoils a figure: it is the noise of timers and schedulers.
const LATENESS_HARMLESS_NS: u64 = 100_000;

/// Above this share of the latency, lateness is what was measured.
const LATENESS_SHARE_MAX: f64 = 0.25;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/benchmarks.md explains each field")]
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
    pub generators: Vec<ChatGeneratorReport>,
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
#[allow(missing_docs, reason = "docs/benchmarks.md explains each field")]
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

/// Each from the intended start, but lateness: from the intended to the real one.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LatencyReport {
    pub acknowledge: LatencySummary,
    pub deliver: LatencySummary,
    pub lateness: LatencySummary,
}

/// Puts the outcomes of all threads together.
pub(crate) fn compose(scenario: &ChatScenario, led: Led<Outcome, DisturbanceReport>) -> ChatReport {
    let Led { outcomes, window, sequel, mut reasons, series } = led;
    let mut all = outcomes.into_iter().reduce(merge).unwrap_or_default();
    let counted = all.disturbance.take().zip(scenario.disturbance.as_ref());
    let counted =
        counted.and_then(|(tally, disturbance)| tally.report(disturbance, window.seconds()));
    let disturbance = sequel.or(counted);
    let messages =
        window.count(
            |progress| {
                if scenario.is_quiet() { progress.delivered } else { progress.acknowledged }
            },
        );
    let invalid = spoilt(scenario, &all);
    let verdict = Verdict::from(Findings {
        faults: !all.faults.is_empty(),
        shortages: all.shortages.total() > 0,
        unfinished: !reasons.is_empty(),
        late: invalid.is_some(),
    });
    reasons.extend(all.faults.counts().iter().map(|(kind, count)| format!("{kind}: {count}")));
    reasons.extend(all.shortages.iter().map(|(lacked, count)| format!("{count} times: {lacked}")));
    reasons.extend(invalid);
    let elsewhere_cpu_us = all.generators.iter().map(|part| part.generator.cpu_us);
    ChatReport {
        schema: "dunlin-loadtest/chat/1",
        verdict,
        reasons,
        scenario: describe(scenario, &all.generators),
        window_s: window.seconds(),
        rates: window.rates(),
        totals: all.totals,
        latency: LatencyReport {
            acknowledge: all.acknowledge.summary(),
            deliver: all.deliver.summary(),
            lateness: all.lateness.summary(),
        },
        latency_by_kind: all.by_kind.report(),
        request_latency: all.requests.report(),
        disturbance,
        distributions: distributions(&all),
        faults: FaultReport::from(&all.faults),
        closes: all.closes,
        server: window.server(scenario.target.pid, messages),
        harness_cpu_us: window.harness_cpu_us() + elsewhere_cpu_us.sum::<u64>(),
        generators: all.generators,
        series,
    }
}

fn distributions(all: &Outcome) -> BTreeMap<String, Distribution> {
    let together =
        [("acknowledge", &all.acknowledge), ("deliver", &all.deliver), ("lateness", &all.lateness)];
    let together = together.map(|(name, latencies)| (name.to_owned(), latencies));
    Distribution::of_measured(
        together.into_iter().chain(all.by_kind.named()).chain(all.requests.named()),
    )
}

/// Why the figures mean nothing, if they do: messages left so late that the latency is mostly the
/// harness's own. A closed load has no intended start, so nothing can be late.
fn spoilt(scenario: &ChatScenario, outcome: &Outcome) -> Option<String> {
    if matches!(scenario.load, Load::Closed { .. }) {
        return None;
    }
    let late_ns = outcome.lateness.quantile_ns(0.99);
    let of: &Latencies = if scenario.is_quiet() { &outcome.deliver } else { &outcome.acknowledge };
    let limit_ns = of.quantile_ns(0.99) as f64 * LATENESS_SHARE_MAX;
    (late_ns > LATENESS_HARMLESS_NS && late_ns as f64 > limit_ns).then(|| {
        format!(
            "the harness was late: p99 of lateness {} us, of latency {} us",
            late_ns / 1000,
            of.quantile_ns(0.99) / 1000
        )
    })
}

fn describe(scenario: &ChatScenario, generators: &[ChatGeneratorReport]) -> ScenarioReport {
    let elsewhere = generators.iter().map(|part| part.generator.threads);
    ScenarioReport {
        users: scenario.users,
        threads: if generators.is_empty() { scenario.threads } else { elsewhere.sum() },
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

pub(crate) fn merge(mut one: Outcome, other: Outcome) -> Outcome {
    one.acknowledge.merge(&other.acknowledge);
    one.deliver.merge(&other.deliver);
    one.by_kind.merge(&other.by_kind);
    one.requests.merge(&other.requests);
    one.lateness.merge(&other.lateness);
    one.totals.add(other.totals);
    one.closes.merge(&other.closes);
    one.shortages.merge(&other.shortages);
    match (&mut one.disturbance, other.disturbance) {
        (Some(one), Some(other)) => one.merge(&other),
        (one, other) => *one = one.take().or(other),
    }
    let faults: FaultLog = other.faults;
    one.faults.merge(faults);
    one.generators.extend(other.generators);
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Fault;
    use crate::chat::Rate;
    use crate::phases::Window;
    use crate::target::{Service, Target};
    use crate::token::Issuer;

    fn scenario() -> ChatScenario {
        let target = Target {
            address: "127.0.0.1:1".parse().unwrap(),
            tls: None,
            service: Service::Dunlin(Issuer::new("test", &[0; 32])),
            pid: None,
        };
        let mut scenario = ChatScenario::new(target);
        scenario.load = Load::Open { messages_per_second: Rate::constant(10.0) };
        scenario
    }

    fn outcome(late_us: u64, latency_us: u64) -> Outcome {
        let mut outcome = Outcome::default();
        for _ in 0..100 {
            outcome.lateness.record(late_us * 1000);
            outcome.acknowledge.record(latency_us * 1000);
        }
        outcome
    }

    fn led(outcomes: Vec<Outcome>) -> Led<Outcome, DisturbanceReport> {
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
