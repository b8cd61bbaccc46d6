//! The report of a fan-out run. docs/loadtest-reports.md explains each field of the JSON.

use std::collections::BTreeMap;
use std::convert::Infallible;

use serde::Serialize;

use crate::crowd::{
    CrowdGeneratorReport, LatencyReport, Load, MessageKind, Outcome, Scenario, Summary, Totals,
};
use crate::phases::{Led, Rates, Window};
use crate::report::{Distribution, FaultReport, Reasons, Report, Series, ServerReport, Verdict};
use crate::scenarios::fanout::FanoutScenario;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct FanoutReport {
    pub schema: &'static str,
    pub verdict: Verdict,
    /// Why it is not ok, in words.
    pub reasons: Vec<String>,
    pub scenario: FanoutScenarioReport,
    /// Length of the measured window in seconds, as it was.
    pub window_s: f64,
    /// `delivered_per_s` counts a message once for each device.
    pub rates: Rates,
    pub totals: Totals,
    /// `deliver` has one latency for each device.
    pub latency: LatencyReport,
    /// The same latencies to be drawn, by name; those that were measured.
    pub distributions: BTreeMap<String, Distribution>,
    pub faults: FaultReport,
    /// Connections that ended, not by the harness, by reason.
    pub closes: Reasons,
    /// Absent if the server's process is not known.
    pub server: Option<FanoutServerReport>,
    /// Processor time of the harness within the window, in microseconds.
    pub harness_cpu_us: u64,
    /// Other processes that made the load.
    pub generators: Vec<CrowdGeneratorReport>,
    /// The whole run second by second.
    pub series: Series,
}

impl Report for FanoutReport {
    fn judgement(&mut self) -> (&mut Verdict, &mut Vec<String>) {
        (&mut self.verdict, &mut self.reasons)
    }
}

/// The scenario as it was run.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct FanoutScenarioReport {
    pub senders: u32,
    pub conversations: u32,
    pub devices: u32,
    pub threads: usize,
    pub tls: bool,
    pub message: MessageKind,
    pub content_bytes: usize,
    pub load: Load,
    pub warm_up_s: f64,
    pub duration_s: f64,
}

/// What the server's process used during the measured window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FanoutServerReport {
    /// By messages.
    #[serde(flatten)]
    pub usage: ServerReport,
    /// Deliveries of the window.
    pub deliveries: u64,
    /// Processor time of the server by `deliveries`, in microseconds.
    pub cpu_us_per_delivery: f64,
    /// Deliveries per second of the server's processor time.
    pub deliveries_per_cpu_s: f64,
}

/// What the server's process used, if it could be looked at.
fn server(scenario: &FanoutScenario, window: &Window) -> Option<FanoutServerReport> {
    let messages = window.count(|progress| match scenario.message {
        MessageKind::Durable | MessageKind::Signal => progress.acknowledged,
        MessageKind::QuietSignal => progress.sent,
    });
    let usage = window.server(scenario.target.pid, messages)?;
    let deliveries = window.count(|progress| progress.delivered);
    let cpu_us = usage.cpu_us as f64;
    Some(FanoutServerReport {
        usage,
        deliveries,
        cpu_us_per_delivery: cpu_us / deliveries.max(1) as f64,
        deliveries_per_cpu_s: deliveries as f64 * 1e6 / cpu_us.max(1.0),
    })
}

/// Puts the outcomes of all threads together.
pub(crate) fn compose(
    scenario: &FanoutScenario,
    led: Led<Outcome<()>, Infallible>,
) -> FanoutReport {
    let all = Summary::new(&scenario.terms(), true, led);
    FanoutReport {
        schema: "dunlin-loadtest/fanout/1",
        verdict: all.verdict,
        reasons: all.reasons,
        scenario: describe(scenario, all.threads),
        window_s: all.window.seconds(),
        rates: all.window.rates(),
        totals: all.outcome.totals,
        latency: all.latency,
        distributions: all.distributions,
        faults: FaultReport::from(&all.outcome.faults),
        closes: all.outcome.closes,
        server: server(scenario, &all.window),
        harness_cpu_us: all.harness_cpu_us,
        generators: all.outcome.generators,
        series: all.series,
    }
}

fn describe(scenario: &FanoutScenario, threads: usize) -> FanoutScenarioReport {
    FanoutScenarioReport {
        senders: scenario.senders,
        conversations: scenario.conversations,
        devices: scenario.devices,
        threads,
        tls: scenario.target.tls.is_some(),
        message: scenario.message,
        content_bytes: scenario.content_bytes,
        load: scenario.load.clone(),
        warm_up_s: scenario.warm_up.as_secs_f64(),
        duration_s: scenario.duration.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Fault;
    use crate::phases::{Look, Progress};
    use crate::process::Usage;
    use crate::target::{Service, Target};
    use crate::token::Issuer;

    fn scenario() -> FanoutScenario {
        FanoutScenario::new(Target {
            address: "127.0.0.1:1".parse().unwrap(),
            tls: None,
            web: false,
            service: Service::Dunlin(Issuer::new("test", &[0; 32])),
            pid: Some(1),
        })
    }

    fn outcome(late_us: u64, latency_us: u64) -> Outcome<()> {
        let mut outcome = Outcome::default();
        for _ in 0..100 {
            outcome.lateness.record(late_us * 1000);
            outcome.deliver.record(latency_us * 1000);
        }
        outcome
    }

    #[test]
    fn lateness_spoils_what_it_dominates_unless_there_are_faults() {
        let led = |outcome| Led {
            outcomes: vec![outcome],
            window: Window::default(),
            sequel: None,
            reasons: Vec::new(),
            series: Series::default(),
        };
        let verdict = |outcome| compose(&scenario(), led(outcome)).verdict;
        assert_eq!(verdict(outcome(50, 80)), Verdict::Ok);
        assert_eq!(verdict(outcome(200, 10_000)), Verdict::Ok);
        assert_eq!(verdict(outcome(5_000, 10_000)), Verdict::HarnessInvalid);
        let mut bad = outcome(5_000, 10_000);
        bad.faults.add(Fault::Lost { user: 1, counter: 2 });
        assert_eq!(verdict(outcome(1, 1).merge(bad)), Verdict::ProductFailure);
    }

    #[test]
    fn the_servers_time_is_divided_by_deliveries() {
        let look = |at_ns, acknowledged, delivered, cpu_us| Look {
            at_ns,
            progress: Progress { acknowledged, delivered, ..Progress::default() },
            server: Some(Usage { resident_bytes: 0, cpu_us }),
            commits: None,
            harness_cpu_us: 0,
        };
        let window = Window { before: look(0, 10, 80, 0), after: look(500_000_000, 20, 160, 400) };
        let server = server(&scenario(), &window).unwrap();
        assert_eq!((server.usage.messages, server.deliveries), (10, 80));
        assert_eq!((server.cpu_us_per_delivery, server.deliveries_per_cpu_s), (5.0, 200_000.0));
    }
}
