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
    /// It was this date before the first look.
    known_ms: u64,
}

/// By how much Unix time was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jump {
    Ahead { ms: u64 },
    Back { ms: u64 },
}

impl ClockWatch {
    /// One that knows that it was this date once: a first one before it was set back.
    pub(crate) fn after(known_ms: u64) -> ClockWatch {
        ClockWatch { last: None, known_ms }
    }

    /// To be called again and again: what has happened since the last time.
    pub(crate) fn look(&mut self, now: Now) -> Option<Jump> {
        let before = Now { unix_ms: self.known_ms, monotonic_ms: now.monotonic_ms };
        let is_behind = self.known_ms > now.unix_ms;
        let last = self.last.replace(now).or_else(|| is_behind.then_some(before))?;
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

/// The date, for those whom a wrong one would make do what can't be undone.
///
/// Whether a date is wrong nobody can know who has just been given it. But when it is set, it is known what it
/// would be otherwise, and of the two each asks for the one by which it does less harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dates {
    /// What ends by its date, does so by this one: the earlier of the two, for an hour. What has ended by
    /// mistake does not come back: sessions are forgotten, and so is which tokens were revoked. If the date
    /// was right, they end an hour late.
    pub(crate) ending_ms: u64,
    /// What was made before is revoked by this one: the later of the two. If the date is wrong, what was
    /// made by the right one would outlive its revocation.
    pub(crate) revoking_ms: u64,
    /// The date has stood for an hour, and is not known to be behind: so it may take back what an earlier one
    /// has said, an end that is too far off.
    pub(crate) stands: bool,
}

impl Dates {
    /// By a date that nobody has set.
    #[cfg(test)]
    pub(crate) fn steady(ms: u64) -> Dates {
        Dates { ending_ms: ms, revoking_ms: ms, stands: false }
    }
}

/// Keeps in mind how the date was set: see [`Dates`].
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    watch: ClockWatch,
    /// By so much the date was set ahead, and nobody knows yet whether it was right to.
    ahead_ms: u64,
    /// By so much the date was set back behind one that had stood.
    behind_ms: u64,
    /// Until then it is doubted, by the clock that is never set. `None` before the first look.
    doubted_until_ms: Option<u64>,
}

/// So long a date that was set is doubted, in milliseconds: time enough for whoever reads the log.
pub(crate) const DOUBTED_MS: u64 = 3_600_000;

impl Calendar {
    /// One that knows that it was this date once.
    pub(crate) fn after(known_ms: u64) -> Calendar {
        Calendar { watch: ClockWatch::after(known_ms), ..Calendar::default() }
    }

    /// The dates. To be called at each moment.
    pub(crate) fn at(&mut self, now: Now) -> Dates {
        let until_ms = now.monotonic_ms.saturating_add(DOUBTED_MS);
        let doubted_until_ms = self.doubted_until_ms.get_or_insert(until_ms);
        let jump = self.watch.look(now);
        if jump.is_some() {
            *doubted_until_ms = until_ms;
        }
        let stands = now.monotonic_ms >= *doubted_until_ms;
        if stands {
            self.ahead_ms = 0;
        }
        match jump {
            None => {}
            Some(Jump::Ahead { ms }) => shift(ms, &mut self.behind_ms, &mut self.ahead_ms),
            Some(Jump::Back { ms }) => shift(ms, &mut self.ahead_ms, &mut self.behind_ms),
        }
        Dates {
            ending_ms: now.unix_ms.saturating_sub(self.ahead_ms),
            revoking_ms: now.unix_ms.saturating_add(self.behind_ms),
            stands: stands && self.behind_ms == 0,
        }
    }
}

/// A jump first takes back one in the other direction.
fn shift(ms: u64, back: &mut u64, forth: &mut u64) {
    let taken_back = ms.min(*back);
    *back -= taken_back;
    *forth = forth.saturating_add(ms - taken_back);
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

    const WEEK_MS: u64 = 7 * 86_400_000;

    #[test]
    fn a_date_that_was_set_ahead_ends_nothing_for_an_hour() {
        let mut calendar = Calendar::default();
        let mut at = |unix_ms, monotonic_ms| calendar.at(Now { unix_ms, monotonic_ms }).ending_ms;
        assert_eq!(at(1_000_000, 0), 1_000_000);
        assert_eq!(at(1_000_250 + WEEK_MS, 250), 1_000_250);
        assert_eq!(at(1_000_500 + WEEK_MS, 500), 1_000_500);
        // It is set right, but for ten seconds that are doubted still.
        assert_eq!(at(1_010_750, 750), 1_000_750);
        // Once more, twice; and it stays so.
        assert_eq!(at(1_011_000 + WEEK_MS, 1_000), 1_001_000);
        assert_eq!(at(1_011_250 + 2 * WEEK_MS, 1_250), 1_001_250);
        let (hour_ms, right_ms) = (DOUBTED_MS, 2 * WEEK_MS);
        assert_eq!(at(1_011_249 + right_ms + hour_ms, 1_249 + hour_ms), 1_001_249 + hour_ms);
        let over_ms = 1_011_250 + right_ms + hour_ms;
        assert_eq!(at(over_ms, 1_250 + hour_ms), over_ms);
    }

    #[test]
    fn a_date_that_was_set_back_revokes_as_if_it_was_not() {
        let mut calendar = Calendar::default();
        let hour_ms = DOUBTED_MS;
        let mut at = |unix_ms, monotonic_ms| calendar.at(Now { unix_ms, monotonic_ms }).revoking_ms;
        assert_eq!(at(2 * WEEK_MS, 0), 2 * WEEK_MS);
        assert_eq!(at(WEEK_MS + 250, 250), 2 * WEEK_MS + 250, "for as long as it is so");
        assert_eq!(at(WEEK_MS + 2 * hour_ms, 2 * hour_ms), 2 * WEEK_MS + 2 * hour_ms);
        let later_ms = 2 * hour_ms + 250;
        assert_eq!(at(2 * WEEK_MS + later_ms, later_ms), 2 * WEEK_MS + later_ms, "set right");
        // Ahead for less than an hour: nobody has believed it.
        let (ahead_ms, right_ms) = (later_ms + 250, later_ms + 500);
        assert_eq!(at(9 * WEEK_MS + ahead_ms, ahead_ms), 9 * WEEK_MS + ahead_ms, "it may be right");
        assert_eq!(at(2 * WEEK_MS + right_ms, right_ms), 2 * WEEK_MS + right_ms);
    }

    #[test]
    fn a_date_stands_when_nobody_has_set_it_for_an_hour() {
        let mut calendar = Calendar::default();
        let mut stands = |unix_ms, monotonic_ms| calendar.at(Now { unix_ms, monotonic_ms }).stands;
        let hour_ms = DOUBTED_MS;
        assert!(!stands(WEEK_MS, 0) && !stands(WEEK_MS + hour_ms - 1, hour_ms - 1));
        assert!(stands(WEEK_MS + hour_ms, hour_ms));
        // Behind by a week.
        assert!(!stands(hour_ms + 1, hour_ms + 1) && !stands(2 * hour_ms, 2 * hour_ms));
        assert!(!stands(3 * hour_ms, 3 * hour_ms), "it is still behind");
        assert!(!stands(WEEK_MS + 3 * hour_ms + 1, 3 * hour_ms + 1));
        assert!(stands(WEEK_MS + 4 * hour_ms + 1, 4 * hour_ms + 1), "set right");
    }

    #[test]
    fn a_first_date_may_be_behind_what_an_earlier_run_has_known() {
        let first = |unix_ms| Calendar::after(WEEK_MS).at(Now { unix_ms, monotonic_ms: 5 });
        assert_eq!(first(WEEK_MS - 86_400_000).revoking_ms, WEEK_MS);
        assert_eq!(first(WEEK_MS + 1).revoking_ms, WEEK_MS + 1);
        // How long nobody has written says nothing.
        assert_eq!(first(9 * WEEK_MS).ending_ms, 9 * WEEK_MS);
        let behind = ClockWatch::after(WEEK_MS).look(Now::steady(0));
        assert_eq!(behind, Some(Jump::Back { ms: WEEK_MS }));
    }

    #[test]
    fn time_passes_by_both_clocks_of_the_system() {
        let (clock, earlier) = (SystemClock, Instant::now());
        let later = earlier + std::time::Duration::from_secs(3_600);
        assert!(clock.monotonic_ms(later) - clock.monotonic_ms(earlier) > 3_000_000);
        assert!(clock.unix_ms() > 1_500_000_000_000);
    }
}
