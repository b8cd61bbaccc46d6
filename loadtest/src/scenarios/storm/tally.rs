//! What a thread, or another process, counts of a round.

use serde::{Deserialize, Serialize};

use crate::crowd::MessageLatencies;
use crate::latency::Latencies;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) dropped: u64,
    /// From the beginning of the round to the end of the sync.
    pub(crate) back: Latencies,
    /// From the first attempt to connect to the end of the sync.
    pub(crate) arrive: Latencies,
    pub(crate) attempts: u64,
    pub(crate) tls_resumed: u64,
    pub(crate) tls_full: u64,
    /// Of the pairs that were spared: messages that were under way while it raged.
    pub(crate) raging: MessageLatencies,
    /// Theirs at any other time.
    pub(crate) calm: MessageLatencies,
}

impl Tally {
    /// Seconds until this share of those who were dropped was back; `None` if it never was.
    pub(crate) fn back_s(&self, share: f64) -> Option<f64> {
        let wanted = self.dropped as f64 * share;
        let returned = self.back.count() as f64;
        (returned > 0.0 && wanted <= returned)
            .then(|| self.back.quantile_ns(wanted / returned) as f64 / 1e9)
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        self.dropped += other.dropped;
        self.back.merge(&other.back);
        self.arrive.merge(&other.arrive);
        self.attempts += other.attempts;
        self.tls_resumed += other.tls_resumed;
        self.tls_full += other.tls_full;
        self.raging.merge(&other.raging);
        self.calm.merge(&other.calm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_who_were_dropped() {
        let mut tally = Tally { dropped: 4, ..Tally::default() };
        assert_eq!(tally.back_s(0.5), None);
        (1..=3).for_each(|second| tally.back.record(second * 1_000_000_000));
        let half = tally.back_s(0.5).expect("three of four are back");
        assert!((half - 2.0).abs() < 0.01, "{half}");
        assert_eq!(tally.back_s(1.0), None);
    }
}
