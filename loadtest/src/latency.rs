//! Latencies of a run, and what is reported of them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What takes longer counts as this long: one hour, far beyond any figure of interest. (A message to
/// somebody who is away takes as long as they are.)
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// Latencies in nanoseconds, exact to a thousandth. Between processes they are the V2 format of
/// HdrHistogram in base64.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
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

impl From<Latencies> for String {
    fn from(latencies: Latencies) -> String {
        to_text(&latencies.0)
    }
}

impl TryFrom<String> for Latencies {
    type Error = NoLatencies;

    fn try_from(text: String) -> Result<Latencies, NoLatencies> {
        from_text(&text, &Latencies::default().0).map(Latencies)
    }
}

/// A text that is no histogram of latencies.
#[derive(Debug, Clone, Error)]
#[error("no histogram: {0}")]
pub struct NoLatencies(String);

/// A histogram on its way to another process. Buckets in which nothing was counted take next to
/// nothing, however many there are in a row.
pub(crate) fn to_text<T: Counter>(histogram: &Histogram<T>) -> String {
    let mut bytes = Vec::new();
    V2Serializer::new()
        .serialize(histogram, &mut bytes)
        .expect("a count fits into the format, and a vector takes all bytes");
    BASE64_STANDARD.encode(bytes)
}

/// The histogram that was sent; it must have the bounds of `own`, to be added to it.
pub(crate) fn from_text<T: Counter>(
    text: &str,
    own: &Histogram<T>,
) -> Result<Histogram<T>, NoLatencies> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| NoLatencies(error.to_string()))?;
    let histogram: Histogram<T> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| NoLatencies(error.to_string()))?;
    let bounds = |of: &Histogram<T>| (of.low(), of.high(), of.sigfig());
    if bounds(&histogram) != bounds(own) {
        return Err(NoLatencies(format!("its bounds are {:?}", bounds(&histogram))));
    }
    Ok(histogram)
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

    #[test]
    fn latencies_of_another_process_are_the_same_or_refused() {
        let mut latencies = Latencies::default();
        for latency_ns in [1, 999, 123_456, 7_000_000_000, u64::MAX] {
            latencies.record(latency_ns);
        }
        let json = serde_json::to_string(&latencies).unwrap();
        assert_eq!(serde_json::from_str::<Latencies>(&json).unwrap(), latencies);
        let mut bytes = Vec::new();
        let other = Histogram::<u64>::new_with_bounds(1, 1_000_000, 2).unwrap();
        V2Serializer::new().serialize(&other, &mut bytes).unwrap();
        for text in [BASE64_STANDARD.encode(bytes), "?".to_owned(), String::new()] {
            assert!(Latencies::try_from(text).is_err());
        }
    }
}
