//! How long to wait before the next connection: what the server said, else longer each time; both
//! at random, since everybody comes back at once when a server goes down.

use super::random::Random;

const BASE_MS: u64 = 500;
const MAXIMUM_MS: u64 = 60_000;
/// 500 ms doubled seven times exceeds the maximum.
const DOUBLINGS_MAX: u32 = 7;
/// A server that asks for more than a day is mistaken.
const TOLD_MAXIMUM_MS: u64 = 24 * 60 * 60 * 1000;

/// Counts the attempts since the last Synced.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next delay in milliseconds. `told_ms` is what the server asked for, 0 if it did not:
    /// nobody comes back earlier than told.
    pub(super) fn delay_ms(&mut self, told_ms: u32, random: &mut Random) -> u64 {
        let doublings = self.attempts.min(DOUBLINGS_MAX);
        self.attempts = self.attempts.saturating_add(1);
        if told_ms > 0 {
            let told_ms = u64::from(told_ms).min(TOLD_MAXIMUM_MS);
            return random.between(told_ms, told_ms + told_ms / 2);
        }
        let delay_ms = (BASE_MS << doublings).min(MAXIMUM_MS);
        random.between(delay_ms / 2, delay_ms + delay_ms / 2)
    }

    /// All is well again.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_maximum_and_differ() {
        let mut random = Random::new(1);
        let mut backoff = Backoff::default();
        for attempt in 0..200 {
            let expected = (BASE_MS << attempt.min(DOUBLINGS_MAX)).min(MAXIMUM_MS);
            let delay = backoff.delay_ms(0, &mut random);
            assert!((expected / 2..=expected * 3 / 2).contains(&delay), "{attempt}: {delay}");
        }
        backoff.reset();
        assert!(backoff.delay_ms(0, &mut random) <= BASE_MS * 3 / 2);
        let first = Backoff::default().delay_ms(0, &mut Random::new(1));
        let second = Backoff::default().delay_ms(0, &mut Random::new(2));
        assert_ne!(first, second);
    }

    #[test]
    fn nobody_comes_back_earlier_than_told() {
        let mut random = Random::new(7);
        for _ in 0..100 {
            let delay = Backoff::default().delay_ms(4000, &mut random);
            assert!((4000..=6000).contains(&delay), "{delay}");
        }
        assert!(Backoff::default().delay_ms(u32::MAX, &mut random) <= TOLD_MAXIMUM_MS * 3 / 2);
    }
}
