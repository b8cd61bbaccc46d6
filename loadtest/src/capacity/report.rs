//! The report of a search. docs/loadtest-reports.md explains each field of the JSON.

use serde::Serialize;

use crate::capacity::CapacityParameters;
use crate::capacity::search::{Found, Judgement, Limit};
use crate::chat::{ChatReport, LatencyReport, MessageKind};
use crate::report::{FaultReport, Report, Verdict};

/// Faults that a server under too much load may show without breaking a promise: it was too slow,
/// or it closed a connection. Whatever else the auditor finds, no rate excuses.
const FAULTS_OF_LOAD: [&str; 3] = ["closed", "unanswered", "undelivered"];

/// Lateness beyond this share of a threshold may be what decides about it.
const LATENESS_SHARE_MAX: f64 = 0.25;

/// The result of a search.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct CapacityReport {
    pub schema: &'static str,
    pub verdict: Verdict,
    pub reasons: Vec<String>,
    pub limit: Limit,
    pub highest_met_per_s: Option<f64>,
    pub lowest_unmet_per_s: Option<f64>,
    pub search: CapacityParameters,
    /// All windows, as they were measured.
    pub steps: Vec<Step>,
    /// The whole report of the highest rate that was met.
    pub best: Option<ChatReport>,
}

/// A window at one rate.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct Step {
    pub rate_per_s: f64,
    pub judgement: Judgement,
    /// Why the rate was not met.
    pub reasons: Vec<String>,
    pub sent_per_s: f64,
    pub errors: u64,
    pub latency: LatencyReport,
    /// Processors that the server kept busy, if its process is known.
    pub server_cpu_share: Option<f64>,
    /// The same for the harness.
    pub harness_cpu_share: f64,
}

impl Step {
    /// Judges the run at a rate.
    pub(crate) fn new(
        rate_per_s: f64,
        report: &ChatReport,
        is_cut_short: bool,
        search: &CapacityParameters,
    ) -> Step {
        let seen = Seen {
            verdict: report.verdict,
            is_cut_short,
            reasons: &report.reasons,
            faults: report.faults.clone(),
            window_s: report.window_s,
            errors: errors(report),
            latency: report.latency,
        };
        let (judgement, reasons) = seen.judge(search);
        Step {
            rate_per_s,
            judgement,
            reasons,
            sent_per_s: report.rates.sent_per_s,
            errors: seen.errors,
            latency: report.latency,
            server_cpu_share: report.server.map(|server| server.cpu_share),
            harness_cpu_share: report.harness_cpu_us as f64 / 1e6 / report.window_s.max(1e-9),
        }
    }
}

impl Report for CapacityReport {
    fn judgement(&mut self) -> (&mut Verdict, &mut Vec<String>) {
        (&mut self.verdict, &mut self.reasons)
    }
}

/// What the server refused to do at this rate.
fn errors(report: &ChatReport) -> u64 {
    let totals = &report.totals;
    let durable = MessageKind::Durable.into();
    // A run with durable messages does not wait for its last signals.
    let waits = !report.scenario.message.values().any(|&action| action == durable);
    totals.postponed + totals.connections_lost + if waits { totals.signals_missing } else { 0 }
}

/// What matters of a run.
struct Seen<'a> {
    verdict: Verdict,
    /// The window was told to end before its time.
    is_cut_short: bool,
    reasons: &'a [String],
    faults: FaultReport,
    window_s: f64,
    errors: u64,
    latency: LatencyReport,
}

impl Seen<'_> {
    fn judge(&self, search: &CapacityParameters) -> (Judgement, Vec<String>) {
        let mut faults = self.faults.counts.keys();
        let is_measured = self.window_s > 0.0;
        // Whatever else came of it, no one can say that it was the server's limit.
        if self.verdict == Verdict::MachineFailure {
            return (Judgement::HarnessLate, self.reasons.to_vec());
        }
        let is_broken = !faults.all(|kind| FAULTS_OF_LOAD.contains(kind));
        if self.is_cut_short && !is_broken {
            return (Judgement::CutShort, Vec::new());
        }
        if !is_measured || is_broken {
            return (Judgement::Broken, self.reasons.to_vec());
        }
        match self.verdict {
            Verdict::ProductFailure => return (Judgement::Missed, self.reasons.to_vec()),
            Verdict::HarnessInvalid if self.is_too_late(search) => {
                return (Judgement::HarnessLate, self.reasons.to_vec());
            }
            Verdict::Ok
            | Verdict::HarnessInvalid
            | Verdict::MachineFailure
            | Verdict::Interrupted => {}
        }
        let missed = self.missed(search);
        let judgement = if missed.is_empty() { Judgement::Met } else { Judgement::Missed };
        (judgement, missed)
    }

    /// Whether lateness could decide if a threshold is met. What spoils the figures of a run need
    /// not: where a latency of 1 ms is far below the threshold, a lateness of 1 ms is, too.
    fn is_too_late(&self, search: &CapacityParameters) -> bool {
        let thresholds_ms = [search.acknowledge_p99_ms, search.deliver_p99_ms];
        let is_spoilt = |ms: f64| self.latency.lateness.p99_us / 1000.0 > ms * LATENESS_SHARE_MAX;
        thresholds_ms.into_iter().flatten().any(is_spoilt)
    }

    /// The thresholds that were not met, in words.
    fn missed(&self, search: &CapacityParameters) -> Vec<String> {
        let mut missed = Vec::new();
        if self.errors > search.errors_max {
            missed.push(format!("{} errors", self.errors));
        }
        let p99s = [
            ("acknowledge", self.latency.acknowledge.p99_us, search.acknowledge_p99_ms),
            ("deliver", self.latency.deliver.p99_us, search.deliver_p99_ms),
        ];
        for (name, p99_us, limit_ms) in p99s {
            let p99_ms = p99_us / 1000.0;
            if limit_ms.is_some_and(|limit_ms| p99_ms > limit_ms) {
                missed.push(format!("p99 of {name} is {p99_ms:.3} ms"));
            }
        }
        missed
    }
}

/// The whole report of a window that met its rate. A lateness that could not decide about a threshold
/// is no reason to doubt it, though a run by itself would call its latencies the harness's own: one
/// window is not good and invalid at once.
pub(crate) fn met(mut report: ChatReport) -> ChatReport {
    if report.verdict == Verdict::HarnessInvalid {
        report.verdict = Verdict::Ok;
        let reasons = report.reasons.iter();
        report.reasons =
            reasons.map(|reason| format!("no harm to the thresholds: {reason}")).collect();
    }
    report
}

/// Puts what was found into words.
pub(crate) fn compose(
    search: &CapacityParameters,
    found: Found,
    steps: Vec<Step>,
    best: Option<ChatReport>,
) -> CapacityReport {
    let last = steps.iter().rev().find(|step| Some(step.rate_per_s) == found.lowest_unmet_per_s);
    let details = last.map_or(&[][..], |step| &step.reasons);
    let verdict = match (found.limit, found.highest_met_per_s) {
        (Limit::Server, Some(_)) | (Limit::Asked, _) => Verdict::Ok,
        (Limit::Server, None) | (Limit::Broken, _) => Verdict::ProductFailure,
        (Limit::Harness, _) => Verdict::HarnessInvalid,
        (Limit::Interrupted, _) => Verdict::Interrupted,
    };
    let what = match found.limit {
        Limit::Server => "limit of the server",
        Limit::Harness => "limit of the harness: the server may bear more",
        Limit::Asked => "the highest rate that was asked for is met",
        Limit::Broken => "the server broke its promise",
        Limit::Interrupted => "higher rates were not looked at",
    };
    let at = found.lowest_unmet_per_s.map(|rate| format!(" at {rate:.0} per second"));
    let mut reasons = vec![format!("{what}{}", at.unwrap_or_default())];
    reasons.extend(details.iter().cloned());
    CapacityReport {
        schema: "dunlin-loadtest/capacity/1",
        verdict,
        reasons,
        limit: found.limit,
        highest_met_per_s: found.highest_met_per_s,
        lowest_unmet_per_s: found.lowest_unmet_per_s,
        search: search.clone(),
        steps,
        best,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::LatencySummary;

    fn judge(change: impl FnOnce(&mut Seen<'_>, &mut CapacityParameters)) -> (Judgement, String) {
        let latency = LatencyReport {
            acknowledge: LatencySummary { p99_us: 5_000.0, ..LatencySummary::default() },
            deliver: LatencySummary { p99_us: 7_000.0, ..LatencySummary::default() },
            ..LatencyReport::default()
        };
        let mut search = CapacityParameters {
            acknowledge_p99_ms: Some(5.0),
            deliver_p99_ms: Some(7.0),
            errors_max: 2,
            ..CapacityParameters::default()
        };
        let reasons = ["of the run".to_owned()];
        let mut seen = Seen {
            verdict: Verdict::Ok,
            is_cut_short: false,
            reasons: &reasons,
            faults: FaultReport::default(),
            window_s: 1.0,
            errors: 2,
            latency,
        };
        change(&mut seen, &mut search);
        let (judgement, reasons) = seen.judge(&search);
        (judgement, reasons.join("; "))
    }

    fn faults(kind: &'static str) -> FaultReport {
        FaultReport { counts: [(kind, 1)].into(), examples: Vec::new() }
    }

    #[test]
    fn each_threshold_can_be_missed() {
        assert_eq!(judge(|_, _| {}), (Judgement::Met, String::new()));
        let (judgement, reasons) = judge(|seen, search| {
            seen.errors = 3;
            search.acknowledge_p99_ms = Some(4.9);
            search.deliver_p99_ms = Some(6.9);
        });
        assert_eq!(judgement, Judgement::Missed);
        let expected = "3 errors; p99 of acknowledge is 5.000 ms; p99 of deliver is 7.000 ms";
        assert_eq!(reasons, expected);
        let unasked = judge(|_, search| search.acknowledge_p99_ms = None);
        assert_eq!(unasked.0, Judgement::Met);
    }

    #[test]
    fn the_harness_the_load_and_a_broken_promise_are_told_apart() {
        let late = |p99_us| {
            judge(|seen, _| {
                seen.verdict = Verdict::HarnessInvalid;
                seen.latency.lateness.p99_us = p99_us;
            })
        };
        // A quarter of 5 ms.
        assert_eq!(late(1_251.0), (Judgement::HarnessLate, "of the run".to_owned()));
        assert_eq!(late(1_250.0).0, Judgement::Met);
        let failed = |faults: FaultReport, window_s: f64| {
            judge(|seen, _| {
                seen.verdict = Verdict::ProductFailure;
                (seen.faults, seen.window_s) = (faults, window_s);
            })
        };
        assert_eq!(failed(faults("closed"), 1.0).0, Judgement::Missed);
        assert_eq!(failed(faults("lost"), 1.0), (Judgement::Broken, "of the run".to_owned()));
        assert_eq!(failed(FaultReport::default(), 1.0).0, Judgement::Missed);
        assert_eq!(failed(FaultReport::default(), 0.0).0, Judgement::Broken);
        let of_machine = judge(|seen, _| {
            (seen.verdict, seen.window_s) = (Verdict::MachineFailure, 0.0);
        });
        assert_eq!(of_machine.0, Judgement::HarnessLate);
    }

    #[test]
    fn a_window_that_was_cut_short_says_nothing_unless_it_shows_a_broken_promise() {
        let cut_short = |faults: FaultReport| {
            judge(|seen, _| {
                (seen.is_cut_short, seen.window_s) = (true, 0.0);
                (seen.verdict, seen.faults) = (Verdict::ProductFailure, faults);
            })
        };
        assert_eq!(cut_short(FaultReport::default()).0, Judgement::CutShort);
        assert_eq!(cut_short(faults("lost")).0, Judgement::Broken);
    }

    #[test]
    fn the_verdict_follows_from_what_limits() {
        let verdict = |limit, highest_met_per_s| {
            let found = Found { highest_met_per_s, lowest_unmet_per_s: None, limit };
            compose(&CapacityParameters::default(), found, Vec::new(), None).verdict
        };
        assert_eq!(verdict(Limit::Server, Some(1.0)), Verdict::Ok);
        assert_eq!(verdict(Limit::Asked, Some(1.0)), Verdict::Ok);
        assert_eq!(verdict(Limit::Server, None), Verdict::ProductFailure);
        assert_eq!(verdict(Limit::Broken, Some(1.0)), Verdict::ProductFailure);
        assert_eq!(verdict(Limit::Harness, Some(1.0)), Verdict::HarnessInvalid);
        assert_eq!(verdict(Limit::Interrupted, Some(1.0)), Verdict::Interrupted);
    }
}
