//! All latencies of a run in a few hundred numbers: enough to draw them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::latency::Latencies;

/// Steps of the percentile curve for each further nine (90 %, 99 %, 99.9 % and so on).
const STEPS_PER_NINE: u32 = 10;

/// As far as the curve goes: 99.999 %.
const NINES_MAX: u32 = 5;

/// Bars of the histogram for each tenfold latency.
const BARS_PER_DECADE: f64 = 10.0;

/// How latencies are distributed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// Which latency what share of them stays within.
    pub curve: Vec<Quantile>,
    /// How many there are between two latencies; bars without any are left out.
    pub buckets: Vec<Bucket>,
}

/// A point of the percentile curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Quantile {
    pub share: f64,
    pub us: f64,
}

/// A bar of the histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Bucket {
    pub from_us: f64,
    pub to_us: f64,
    pub count: u64,
}

impl Distribution {
    /// That of the latencies of a run.
    pub fn of(latencies: &Latencies) -> Distribution {
        Distribution { curve: curve(latencies), buckets: buckets(latencies) }
    }

    /// Those of all latencies of which there are any, by name.
    pub(crate) fn of_measured<'a, Name: Ord>(
        kinds: impl IntoIterator<Item = (Name, &'a Latencies)>,
    ) -> BTreeMap<Name, Distribution> {
        let measured = kinds.into_iter().filter(|(_, latencies)| latencies.count() > 0);
        measured.map(|(name, latencies)| (name, Distribution::of(latencies))).collect()
    }
}

/// As far as the latencies tell: 1,000 of them say nothing about 99.999 %.
fn curve(latencies: &Latencies) -> Vec<Quantile> {
    let count = latencies.count() as f64;
    let shares = (0..=NINES_MAX * STEPS_PER_NINE)
        .map(|step| 1.0 - 10f64.powf(-f64::from(step) / f64::from(STEPS_PER_NINE)));
    let known = shares.take_while(|share| (1.0 - share) * count >= 1.0 - 1e-9);
    known.map(|share| Quantile { share, us: latencies.quantile_ns(share) as f64 / 1e3 }).collect()
}

fn buckets(latencies: &Latencies) -> Vec<Bucket> {
    let mut bars: BTreeMap<i32, u64> = BTreeMap::new();
    for (ns, count) in latencies.counted() {
        let bar = ((ns as f64 / 1e3).log10() * BARS_PER_DECADE).floor() as i32;
        *bars.entry(bar).or_default() += count;
    }
    let edge_us = |bar: i32| 10f64.powf(f64::from(bar) / BARS_PER_DECADE);
    let bucket = |(bar, count)| Bucket { from_us: edge_us(bar), to_us: edge_us(bar + 1), count };
    bars.into_iter().map(bucket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_a_bucket_and_the_curve_rises() {
        let mut latencies = Latencies::default();
        for us in 1..=1000 {
            latencies.record(us * 1000);
        }
        let distribution = Distribution::of(&latencies);
        assert_eq!(distribution.buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 1000);
        assert!(distribution.buckets.len() <= 31, "{distribution:?}");
        for bucket in &distribution.buckets {
            assert!(bucket.from_us < bucket.to_us && bucket.count > 0);
        }
        assert!(distribution.curve.is_sorted_by(|one, other| one.us <= other.us));
        // A thousandth of a thousand is the last thing that is known.
        assert!((distribution.curve.last().unwrap().share - 0.999).abs() < 1e-9);
    }

    #[test]
    fn nothing_and_one_are_distributions_too() {
        assert_eq!(Distribution::of(&Latencies::default()), Distribution::default());
        let mut one = Latencies::default();
        one.record(1);
        let distribution = Distribution::of(&one);
        assert_eq!((distribution.curve.len(), distribution.buckets.len()), (1, 1));
    }
}
