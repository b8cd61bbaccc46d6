//! Random times from a seed.

use std::time::Duration;

/// SplitMix64: every seed is good, and nobody's secrets depend on it.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Those of a user. Users of one seed start at different places that have nothing to do with each
    /// other.
    pub(crate) fn of(seed: u64, user: u32) -> Dice {
        Dice(Dice(seed ^ (u64::from(user) << 32)).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An exponentially distributed time in nanoseconds.
    pub(crate) fn exponential_ns(&mut self, mean: Duration) -> u64 {
        // 53 bits make a fraction above 0, whose logarithm is finite.
        let fraction = ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (-fraction.ln() * mean.as_nanos() as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_mean_and_the_spread_that_they_should_and_follow_from_the_seed() {
        let mean = Duration::from_micros(1);
        let times = |seed, user| {
            let mut dice = Dice::of(seed, user);
            (0..100_000).map(|_| dice.exponential_ns(mean)).collect::<Vec<_>>()
        };
        let firsts = (0..100_000).map(|user| Dice::of(1, user).exponential_ns(mean));
        for drawn in [times(1, 0), firsts.collect()] {
            let sum: u64 = drawn.iter().sum();
            assert!((99_000_000..101_000_000).contains(&sum), "{sum}");
            // Of an exponential distribution, 1 in e is above the mean.
            let above = drawn.iter().filter(|&&time| time > 1000).count();
            assert!((36_000..37_600).contains(&above), "{above}");
        }
        assert_eq!(times(1, 0), times(1, 0));
        assert_ne!(times(1, 0), times(2, 0));
        assert_ne!(times(1, 0), times(1, 1));
    }
}
