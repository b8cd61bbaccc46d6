//! What every report of a crowd says, from what its threads brought home.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::crowd::outcome::Outcome;
use crate::crowd::{Load, Tally, Terms};
use crate::latency::LatencySummary;
use crate::phases::{Led, Window};
use crate::report::{Distribution, Findings, Series, Verdict};

/// Lateness up to here never spoils a figure: it is the noise of timers and schedulers.
const LATENESS_HARMLESS_NS: u64 = 100_000;

/// Above this share of the latency, lateness is what was measured.
const LATENESS_SHARE_MAX: f64 = 0.25;

/// Each from the intended start, but lateness: from the intended to the real one.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LatencyReport {
    pub acknowledge: LatencySummary,
    pub deliver: LatencySummary,
    pub lateness: LatencySummary,
}

/// The outcomes of all threads together.
pub(crate) struct Summary<T, Q> {
    pub(crate) verdict: Verdict,
    /// Why it is not ok, in words.
    pub(crate) reasons: Vec<String>,
    pub(crate) window: Window,
    pub(crate) sequel: Option<Q>,
    pub(crate) outcome: Outcome<T>,
    pub(crate) latency: LatencyReport,
    pub(crate) distributions: BTreeMap<String, Distribution>,
    pub(crate) harness_cpu_us: u64,
    /// Of this process, or of those who made the load.
    pub(crate) threads: usize,
    pub(crate) series: Series,
}

impl<T: Tally, Q> Summary<T, Q> {
    /// `by_delivery` if that is the latency which lateness may spoil, and not that of answers.
    pub(crate) fn new(terms: &Terms, by_delivery: bool, led: Led<Outcome<T>, Q>) -> Summary<T, Q> {
        let Led { outcomes, window, sequel, mut reasons, series } = led;
        let outcome = outcomes.into_iter().reduce(Outcome::merge).unwrap_or_default();
        let invalid = spoilt(terms, by_delivery, &outcome);
        let verdict = Verdict::from(Findings {
            faults: !outcome.faults.is_empty(),
            shortages: outcome.shortages.total() > 0,
            unfinished: !reasons.is_empty(),
            late: invalid.is_some(),
        });
        let faults = outcome.faults.counts().iter();
        reasons.extend(faults.map(|(kind, count)| format!("{kind}: {count}")));
        let shortages = outcome.shortages.iter();
        reasons.extend(shortages.map(|(lacked, count)| format!("{count} times: {lacked}")));
        reasons.extend(invalid);
        let elsewhere = || outcome.generators.iter().map(|part| &part.generator);
        let cpu_us_elsewhere = elsewhere().map(|generator| generator.cpu_us).sum::<u64>();
        let threads_elsewhere = elsewhere().map(|generator| generator.threads).sum();
        let is_here = outcome.generators.is_empty();
        Summary {
            verdict,
            reasons,
            window,
            sequel,
            latency: LatencyReport {
                acknowledge: outcome.acknowledge.summary(),
                deliver: outcome.deliver.summary(),
                lateness: outcome.lateness.summary(),
            },
            distributions: distributions(&outcome),
            harness_cpu_us: window.harness_cpu_us() + cpu_us_elsewhere,
            threads: if is_here { terms.threads } else { threads_elsewhere },
            series,
            outcome,
        }
    }
}

/// Those that were measured, to be drawn, by name.
fn distributions<T>(all: &Outcome<T>) -> BTreeMap<String, Distribution> {
    let together =
        [("acknowledge", &all.acknowledge), ("deliver", &all.deliver), ("lateness", &all.lateness)];
    let together = together.map(|(name, latencies)| (name.to_owned(), latencies));
    Distribution::of_measured(
        together.into_iter().chain(all.by_kind.named()).chain(all.requests.named()),
    )
}

/// Why the figures mean nothing, if they do: messages left so late that the latency is mostly the
/// harness's own. A closed load has no intended start, so nothing can be late.
fn spoilt<T>(terms: &Terms, by_delivery: bool, outcome: &Outcome<T>) -> Option<String> {
    if matches!(terms.load, Load::Closed { .. }) {
        return None;
    }
    let latency = if by_delivery { &outcome.deliver } else { &outcome.acknowledge };
    let (late_ns, latency_ns) = (outcome.lateness.quantile_ns(0.99), latency.quantile_ns(0.99));
    let limit_ns = latency_ns as f64 * LATENESS_SHARE_MAX;
    (late_ns > LATENESS_HARMLESS_NS && late_ns as f64 > limit_ns).then(|| {
        let (late_us, latency_us) = (late_ns / 1000, latency_ns / 1000);
        let of = if by_delivery { "deliveries" } else { "latency" };
        format!("the harness was late: p99 of lateness {late_us} us, of {of} {latency_us} us")
    })
}
