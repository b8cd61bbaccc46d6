//! Latencies of a run, and what is reported of them.

use hdrhistogram::Histogram;
use serde::Serialize;

/// What takes longer counts as this long: one hour, far beyond any figure of interest. (A message to
/// somebody who is away takes as long as they are.)
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// Latencies in nanoseconds, exact to a thousandth.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3);
        Latencies(histogram.expect("1 is below half of an hour, and 3 digits are allowed"))
    }
}

impl Latencies {
    /// Takes one in.
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns.max(1));
    }

    /// Adds those of another thread.
    pub fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this share of them stays within, in nanoseconds.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// Each latency in nanoseconds with the number of times that it occurred, in rising order.
    pub fn counted(&self) -> impl Iterator<Item = (u64, u64)> {
        let recorded = self.0.iter_recorded();
        recorded.map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
    }

    /// The usual figures.
    pub fn summary(&self) -> LatencySummary {
        let us = |ns: u64| ns as f64 / 1000.0;
        LatencySummary {
            count: self.0.len(),
            min_us: if self.0.is_empty() { 0.0 } else { us(self.0.min()) },
            mean_us: self.0.mean() / 1000.0,
            p50_us: us(self.quantile_ns(0.5)),
            p90_us: us(self.quantile_ns(0.9)),
            p99_us: us(self.quantile_ns(0.99)),
            p999_us: us(self.quantile_ns(0.999)),
            p9999_us: us(self.quantile_ns(0.9999)),
            max_us: us(self.0.max()),
        }
    }
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LatencySummary {
    pub count: u64,
    pub min_us: f64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub p9999_us: f64,
    pub max_us: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_two_threads_are_those_of_all() {
        let (mut one, mut other) = (Latencies::default(), Latencies::default());
        for latency_us in 1..=500 {
            one.record(latency_us * 1000);
            other.record((latency_us + 500) * 1000);
        }
        one.merge(&other);
        one.record(u64::MAX);
        let summary = one.summary();
        assert_eq!(summary.count, 1001);
        assert!((summary.p50_us - 500.0).abs() < 2.0, "{summary:?}");
        assert!((summary.p99_us - 991.0).abs() < 3.0, "{summary:?}");
        assert_eq!(Latencies::default().summary().count, 0);
    }
}
