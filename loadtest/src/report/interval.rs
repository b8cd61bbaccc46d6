//! What the running second has shown so far.
//!
//! Each generator thread keeps its own account and hands it over once a second, so that nothing on
//! the way of a message takes a lock. It does so when a second of the run's clock is over; the
//! coordinator looks a little later and finds the second complete.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::latency::{NoLatencies, from_text, to_text};
use crate::report::Reasons;

/// One second of the run's clock.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Shorter latencies are not told apart, longer ones count as this long.
const LATENCY_MIN_NS: u64 = 1_000;
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Latencies of one second, exact to a hundredth: a tenth of the memory of
/// [`Latencies`](crate::latency::Latencies), 12 KB, since every thread has some.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Brief(Histogram<u32>);

impl Default for Brief {
    fn default() -> Brief {
        let histogram = Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 2);
        Brief(histogram.expect("the bounds are far apart, and 2 digits are allowed"))
    }
}

impl Brief {
    pub(crate) fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1000.0
    }

    fn merge(&mut self, other: &Brief) {
        if !other.0.is_empty() {
            self.0.add(&other.0).expect("all histograms have the same bounds");
        }
    }

    fn clear(&mut self) {
        if !self.0.is_empty() {
            self.0.reset();
        }
    }
}

impl From<Brief> for String {
    fn from(latencies: Brief) -> String {
        to_text(&latencies.0)
    }
}

impl TryFrom<String> for Brief {
    type Error = NoLatencies;

    fn try_from(text: String) -> Result<Brief, NoLatencies> {
        from_text(&text, &Brief::default().0).map(Brief)
    }
}

/// The account of a second. What other processes tell of theirs is one, too.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Interval {
    /// From the intended start to the answer.
    #[serde(skip_serializing_if = "Brief::is_empty")]
    pub(crate) acknowledge: Brief,
    /// From the intended start of a request of a mix to its answer.
    #[serde(skip_serializing_if = "Brief::is_empty")]
    pub(crate) answer: Brief,
    /// From the intended start to the partner.
    #[serde(skip_serializing_if = "Brief::is_empty")]
    pub(crate) deliver: Brief,
    /// From the connect to the end of the sync.
    #[serde(skip_serializing_if = "Brief::is_empty")]
    pub(crate) arrive: Brief,
    /// From a heartbeat to its answer.
    #[serde(skip_serializing_if = "Brief::is_empty")]
    pub(crate) heartbeat: Brief,
    /// Connections that ended, by reason.
    pub(crate) closes: Reasons,
    /// Faults that were found, by kind.
    pub(crate) errors: Reasons,
    /// Faults of the thread up to now.
    #[serde(skip)]
    errors_seen: BTreeMap<&'static str, u64>,
    /// The second of the run's clock that it is about.
    #[serde(skip)]
    second: u64,
}

impl Interval {
    /// Hands the account over if its second is past.
    pub(crate) fn hand_over_if_past(&mut self, now_ns: u64, to: &Handover) {
        let second = now_ns / SECOND_NS;
        if second != self.second {
            self.hand_over(to);
            self.second = second;
        }
    }

    /// Takes note of the faults that are new in the list of a thread.
    pub(crate) fn see_errors(&mut self, counts: &BTreeMap<&'static str, u64>) {
        for (&kind, &count) in counts {
            let seen = self.errors_seen.insert(kind, count).unwrap_or(0);
            if count > seen {
                self.errors.add_many(kind, count - seen);
            }
        }
    }

    /// Hands it over, and begins anew.
    pub(crate) fn hand_over(&mut self, to: &Handover) {
        to.add(self);
        self.acknowledge.clear();
        self.answer.clear();
        self.deliver.clear();
        self.arrive.clear();
        self.heartbeat.clear();
        (self.closes, self.errors) = Default::default();
    }

    fn merge(&mut self, other: &Interval) {
        self.acknowledge.merge(&other.acknowledge);
        self.answer.merge(&other.answer);
        self.deliver.merge(&other.deliver);
        self.arrive.merge(&other.arrive);
        self.heartbeat.merge(&other.heartbeat);
        self.closes.merge(&other.closes);
        self.errors.merge(&other.errors);
    }
}

/// Where the threads leave their accounts for the coordinator.
#[derive(Debug, Default)]
pub(crate) struct Handover(Mutex<Interval>);

impl Handover {
    /// What all threads have left since the last time.
    pub(crate) fn take(&self) -> Interval {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds what a thread or another process tells.
    pub(crate) fn add(&self, interval: &Interval) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).merge(interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_handed_over_when_it_is_past_and_taken_once() {
        let handover = Handover::default();
        let (mut one, mut other) = (Interval::default(), Interval::default());
        one.acknowledge.record(1_000_000);
        one.closes.add("gone");
        other.acknowledge.record(3_000_000);
        one.hand_over_if_past(SECOND_NS - 1, &handover);
        assert_eq!(handover.take().acknowledge.count(), 0);
        one.hand_over_if_past(SECOND_NS, &handover);
        other.hand_over_if_past(SECOND_NS, &handover);
        one.hand_over_if_past(SECOND_NS + 1, &handover);
        let taken = handover.take();
        assert_eq!((taken.acknowledge.count(), taken.closes.total()), (2, 1));
        assert!((taken.acknowledge.quantile_us(1.0) - 3000.0).abs() < 30.0);
        assert_eq!(one.acknowledge.count(), 0);
        assert_eq!(handover.take().acknowledge.count(), 0);
    }

    #[test]
    fn what_another_process_tells_is_added_and_told_once() {
        let (there, here) = (Handover::default(), Handover::default());
        let mut interval = Interval::default();
        interval.closes.add("gone");
        interval.see_errors(&BTreeMap::from([("lost", 2)]));
        interval.deliver.record(3_000_000);
        interval.hand_over(&there);
        for _ in 0..2 {
            let json = serde_json::to_string(&there.take()).unwrap();
            here.add(&serde_json::from_str(&json).unwrap());
        }
        let taken = here.take();
        assert_eq!((taken.closes.total(), taken.errors.total()), (1, 2));
        assert_eq!((taken.deliver.count(), taken.acknowledge.count()), (1, 0));
        assert!((taken.deliver.quantile_us(1.0) - 3000.0).abs() < 30.0);
    }

    #[test]
    fn a_second_of_latencies_is_short_on_its_way() {
        let mut interval = Interval::default();
        let length = |interval: &Interval| serde_json::to_string(interval).unwrap().len();
        assert!(length(&interval) < 40, "{}", length(&interval));
        // Anything from 20 us to 20 ms, each twice as rare as half of it: a thousand or so buckets.
        for latency_us in 20..20_000u64 {
            (0..20_000 / latency_us).for_each(|_| interval.deliver.record(latency_us * 1000));
        }
        assert!(length(&interval) < 4096, "{}", length(&interval));
    }

    #[test]
    fn each_fault_is_told_once() {
        let (handover, mut interval) = (Handover::default(), Interval::default());
        for (counts, news) in [(3, 3), (3, 0), (8, 5)] {
            interval.see_errors(&BTreeMap::from([("lost", counts)]));
            interval.hand_over(&handover);
            assert_eq!(handover.take().errors.total(), news);
        }
    }
}
