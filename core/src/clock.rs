//! Time, injected: by two clocks, since one of them may be set.
//!
//! What is stored, signed or told is Unix time. Whoever looks after the machine, a time server or the
//! wake of a virtual machine may move that at any time, by any amount. How long something lasts is
//! measured by a clock that only counts, so that a name that is closed for minutes opens after minutes,
//! whatever becomes of the date meanwhile.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Unix time moves against the other clock by no more than this in a quarter of a second, unless somebody
/// has set it: time servers that adjust a clock do so by half a second in a quarter of an hour.
const JUMP_MS_MIN: u64 = 5_000;

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Unix time in milliseconds. It may jump.
    pub unix_ms: u64,
    /// Milliseconds since some moment before; they pass one after another.
    pub monotonic_ms: u64,
}

impl Now {
    /// By a clock that is never set: both are the same.
    pub const fn steady(ms: u64) -> Now {
        Now { unix_ms: ms, monotonic_ms: ms }
    }
}

/// Where the engine reads the time.
pub trait Clock: Send + Sync + 'static {
    /// Unix time in milliseconds. It may jump; sequences and durations do not depend on it.
    fn unix_ms(&self) -> u64;

    /// Milliseconds since some moment in the past, as of `instant`, which was read just now: durations
    /// are measured by it. Whoever simulates time gives a time of his own.
    fn monotonic_ms(&self, instant: Instant) -> u64 {
        let passed = instant.saturating_duration_since(*STARTED);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Something to count from: the first time that anybody asks.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Notices that Unix time was set.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    last: Option<Now>,
}

/// By how much Unix time was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jump {
    Ahead { ms: u64 },
    Back { ms: u64 },
}

impl ClockWatch {
    /// To be called again and again: what has happened since the last time.
    pub(crate) fn look(&mut self, now: Now) -> Option<Jump> {
        let last = self.last.replace(now)?;
        let expected_ms =
            last.unix_ms.saturating_add(now.monotonic_ms.saturating_sub(last.monotonic_ms));
        let (ahead_ms, back_ms) =
            (now.unix_ms.saturating_sub(expected_ms), expected_ms.saturating_sub(now.unix_ms));
        if ahead_ms >= JUMP_MS_MIN {
            Some(Jump::Ahead { ms: ahead_ms })
        } else {
            (back_ms >= JUMP_MS_MIN).then_some(Jump::Back { ms: back_ms })
        }
    }
}

/// What ends by its date, does so by this one.
///
/// A date that was set ahead may be wrong, and what has ended by mistake does not come back: sessions are
/// forgotten, and so is which tokens were revoked. So for an hour after a jump such things end by the date that
/// there would be without it. If the date was right, they end an hour late.
#[derive(Debug, Default)]
pub(crate) struct EndingDate {
    watch: ClockWatch,
    /// By so much the date was set ahead.
    ahead_ms: u64,
    /// Until then that is doubted, by the clock that is never set.
    doubted_until_ms: u64,
}

/// So long a date that was set ahead is doubted, in milliseconds: time enough for whoever reads the log.
pub(crate) const DOUBTED_MS: u64 = 3_600_000;

impl EndingDate {
    /// The date in Unix milliseconds. To be called at each moment.
    pub(crate) fn at(&mut self, now: Now) -> u64 {
        if now.monotonic_ms >= self.doubted_until_ms {
            self.ahead_ms = 0;
        }
        match self.watch.look(now) {
            None => {}
            Some(Jump::Ahead { ms }) => {
                self.ahead_ms = self.ahead_ms.saturating_add(ms);
                self.doubted_until_ms = now.monotonic_ms.saturating_add(DOUBTED_MS);
            }
            Some(Jump::Back { ms }) => self.ahead_ms = self.ahead_ms.saturating_sub(ms),
        }
        now.unix_ms.saturating_sub(self.ahead_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed_once() {
        let mut watch = ClockWatch::default();
        let mut look = |unix_ms, monotonic_ms| watch.look(Now { unix_ms, monotonic_ms });
        assert_eq!(look(1_000_000, 0), None, "the first time there is nothing to compare with");
        // A worker that was busy for a minute has not set the clock.
        assert_eq!(look(1_060_000, 60_000), None);
        assert_eq!(look(1_064_999, 60_000), None);
        assert_eq!(look(2_065_249, 60_250), Some(Jump::Ahead { ms: 1_000_000 }));
        assert_eq!(look(2_065_499, 60_500), None);
        assert_eq!(look(1_065_749, 60_750), Some(Jump::Back { ms: 1_000_000 }));
        assert_eq!(look(1_065_999, 61_000), None);
    }

    #[test]
    fn a_date_that_was_set_ahead_ends_nothing_for_an_hour() {
        let mut date = EndingDate::default();
        let mut at = |unix_ms, monotonic_ms| date.at(Now { unix_ms, monotonic_ms });
        let week_ms = 7 * 86_400_000;
        assert_eq!(at(1_000_000, 0), 1_000_000);
        assert_eq!(at(1_000_250 + week_ms, 250), 1_000_250);
        assert_eq!(at(1_000_500 + week_ms, 500), 1_000_500);
        // It is set right, but for ten seconds that are doubted still.
        assert_eq!(at(1_010_750, 750), 1_000_750);
        // Once more, twice; and it stays so.
        assert_eq!(at(1_011_000 + week_ms, 1_000), 1_001_000);
        assert_eq!(at(1_011_250 + 2 * week_ms, 1_250), 1_001_250);
        let (hour_ms, right_ms) = (DOUBTED_MS, 2 * week_ms);
        assert_eq!(at(1_011_249 + right_ms + hour_ms, 1_249 + hour_ms), 1_001_249 + hour_ms);
        let over_ms = 1_011_250 + right_ms + hour_ms;
        assert_eq!(at(over_ms, 1_250 + hour_ms), over_ms);
    }

    #[test]
    fn time_passes_by_both_clocks_of_the_system() {
        let (clock, earlier) = (SystemClock, Instant::now());
        let later = earlier + std::time::Duration::from_secs(3_600);
        assert!(clock.monotonic_ms(later) - clock.monotonic_ms(earlier) > 3_000_000);
        assert!(clock.unix_ms() > 1_500_000_000_000);
    }
}
