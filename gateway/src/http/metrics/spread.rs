//! From our histograms to those of scrapers.
//!
//! Ours have eight buckets for each power of two. A scraper keeps a series for each bucket of each server,
//! so it gets two of them: what it makes of a quantile is at most a half too large, and in between it
//! interpolates.

use dunlin_http::metrics::Spread;

use crate::status::report::Moments;

/// The first and the last bound of a duration, as powers of two of microseconds: 64 us and 16.8 s.
const DURATION_LOG2: std::ops::RangeInclusive<u32> = 6..=24;

/// Of a number of things: 1 to 32,767.
const COUNT_LOG2: std::ops::RangeInclusive<u32> = 1..=15;

/// Of bytes: 127 to 134 million.
const BYTES_LOG2: std::ops::RangeInclusive<u32> = 7..=27;

/// Of what was recorded in whole microseconds, in seconds.
pub(super) fn seconds(moments: &Moments) -> Spread {
    let bounds = DURATION_LOG2.flat_map(|power| [1 << power, (1 << power) + (1 << (power - 1))]);
    // A microsecond that was begun counts as none, so a value is below its number and one.
    spread(moments, bounds.map(|bound_us| (bound_us, bound_us as f64 / 1e6)), 1e6)
}

/// Of pieces.
pub(super) fn counts(moments: &Moments) -> Spread {
    spread(moments, COUNT_LOG2.map(|power| (1 << power, ((1_u64 << power) - 1) as f64)), 1.0)
}

/// Of bytes.
pub(super) fn bytes(moments: &Moments) -> Spread {
    spread(moments, BYTES_LOG2.map(|power| (1 << power, ((1_u64 << power) - 1) as f64)), 1.0)
}

/// With buckets that end below each bound, which is told by the number beside it.
fn spread(moments: &Moments, bounds: impl Iterator<Item = (u64, f64)>, divisor: f64) -> Spread {
    let mut rest = moments.buckets.iter().peekable();
    let buckets = bounds
        .map(|(bound, told)| {
            let mut count = 0;
            while let Some((_, more)) = rest.next_if(|(highest, _)| *highest < bound) {
                count += more;
            }
            (told, count)
        })
        .collect();
    let beyond = rest.map(|(_, count)| count).sum();
    Spread { buckets, beyond, sum: moments.sum as f64 / divisor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_bucket() {
        let buckets = vec![(7, 1), (63, 2), (71, 3), (103, 4), ((1 << 24) - 1, 5), (1 << 31, 6)];
        let moments = Moments { buckets, sum: 5_000_000, ..Moments::default() };
        let spread = seconds(&moments);
        assert_eq!(spread.buckets[..3], [(0.000_064, 3), (0.000_096, 3), (0.000_128, 4)]);
        let all: u64 = spread.buckets.iter().map(|(_, count)| count).sum();
        assert_eq!((all, spread.beyond, spread.sum), (15, 6, 5.0));
        assert!(spread.buckets.is_sorted_by(|one, next| one.0 < next.0));
    }

    #[test]
    fn what_is_counted_is_told_exactly() {
        let buckets = vec![(1, 1), (2, 1), (3, 1), (4, 1)];
        let spread = counts(&Moments { buckets, sum: 10, ..Moments::default() });
        assert_eq!(spread.buckets[..3], [(1.0, 1), (3.0, 2), (7.0, 1)]);
    }
}
