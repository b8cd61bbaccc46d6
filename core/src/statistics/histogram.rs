//! How large the values were that something took: durations, sizes.

use std::fmt;

/// Each power of two is cut into so many buckets, as a power of two itself.
const CUTS_LOG2: u32 = 3;

const CUTS: usize = 1 << CUTS_LOG2;

/// Values from here on are counted as the largest: 71 minutes in microseconds, 4 GiB in bytes.
const VALUE_END_LOG2: u32 = 32;

pub(super) const BUCKETS: usize = (VALUE_END_LOG2 - CUTS_LOG2 + 1) as usize * CUTS;

/// Counts values by their size.
///
/// Its memory is fixed, 2 KiB; recording is a few instructions and no allocation. Values below 8
/// have a bucket each, larger ones share one with those that are at most an eighth larger: so
/// a quantile is never too small, and at most 12.5 % too large, for values below 2^32.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [0; BUCKETS], sum: 0, max: 0 }
    }
}

impl fmt::Debug for Histogram {
    /// A summary: hundreds of zeros help nobody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Histogram { buckets: _, sum, max } = self;
        let mut summary = f.debug_struct("Histogram");
        summary.field("count", &self.count()).field("sum", sum).field("max", max);
        summary.finish_non_exhaustive()
    }
}

impl Histogram {
    pub(super) fn of_parts(buckets: [u64; BUCKETS], sum: u64, max: u64) -> Histogram {
        Histogram { buckets, sum, max }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.buckets[bucket_of(value)] += 1;
        self.sum = self.sum.wrapping_add(value);
        self.max = self.max.max(value);
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Histogram) {
        for (mine, its) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += its;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All values together. It wraps around, after more than anybody counts.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value; 0 if there was none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// A value that this part of all values does not exceed: 0.5 is the median, 0.99 leaves out
    /// the largest of a hundred. `None` if nothing was counted.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((count as f64 * part.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut reached = 0;
        let bucket = self.buckets.iter().position(|in_bucket| {
            reached += in_bucket;
            reached >= rank
        })?;
        Some(highest_of(bucket).min(self.max))
    }

    /// The buckets that hold something, ascending: the highest value of each, and how many it holds.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counted = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(bucket, count)| (highest_of(bucket), *count))
    }
}

pub(super) fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << VALUE_END_LOG2) - 1);
    if value < CUTS as u64 {
        return value as usize;
    }
    let power = value.ilog2();
    let cut = (value >> (power - CUTS_LOG2)) as usize & (CUTS - 1);
    (power - CUTS_LOG2 + 1) as usize * CUTS + cut
}

fn highest_of(bucket: usize) -> u64 {
    if bucket < CUTS {
        return bucket as u64;
    }
    let shift = (bucket / CUTS - 1) as u32;
    let lowest = ((CUTS + bucket % CUTS) as u64) << shift;
    lowest + (1 << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut lowest = 0;
        for bucket in 0..BUCKETS {
            let highest = highest_of(bucket);
            assert_eq!((bucket_of(lowest), bucket_of(highest)), (bucket, bucket));
            assert!(highest - lowest <= lowest / 8, "{lowest} to {highest}");
            lowest = highest + 1;
        }
        assert_eq!(lowest, 1 << VALUE_END_LOG2);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_at_most_an_eighth_too_large() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=1000).for_each(|value| histogram.record(value));
        for (part, exact) in [(0.0, 1), (0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1000)] {
            let told = histogram.quantile(part).unwrap();
            assert!((exact..=exact + exact / 8).contains(&told), "{part}: {told}, not {exact}");
        }
        assert_eq!((histogram.count(), histogram.sum(), histogram.max()), (1000, 500_500, 1000));
        histogram.record(u64::MAX);
        assert_eq!(histogram.quantile(1.0), Some((1 << VALUE_END_LOG2) - 1));
    }

    #[test]
    fn two_together_are_as_one_that_has_counted_all() {
        let (mut even, mut odd, mut all) =
            (Histogram::default(), Histogram::default(), Histogram::default());
        for value in (0..5000_u64).map(|number| number * number) {
            if value % 2 == 0 {
                even.record(value);
            } else {
                odd.record(value);
            }
            all.record(value);
        }
        even.add(&odd);
        assert_eq!(even, all);
        assert_eq!(all.buckets().map(|(_, count)| count).sum::<u64>(), 5000);
    }
}
