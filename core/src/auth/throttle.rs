//! How often a password may be guessed.
//!
//! Failed logins of a name fill a leaky bucket. When it is full the name is closed: no password is
//! tried for it, right or wrong, until the bucket has leaked down to half. That gap is the
//! hysteresis: without it, a guesser would get one try at every drop for ever, and the answers
//! would flicker. Other credentials of the user (tokens, resume) are not touched by it, so nobody
//! is thrown out by a stranger's guesses.
//!
//! Names that nobody has are counted as well: the answers must not tell which names exist.
//!
//! Time is that of the clock that is never set ([`Now::monotonic_ms`](crate::clock::Now)): a wrong date
//! closes nobody's name for longer, and opens none sooner.
//!
//! Memory is bounded by two tables of [`NAMES_MAX`] names. When the newer one is full, it becomes
//! the older one, and what that held is forgotten. To make a name forgotten, a guesser has to fail
//! for as many other names, and each failure costs a password hash.

use std::collections::hash_map::RandomState;

use dunlin_protocol::LogId;
use hashbrown::HashMap;

/// A name is closed at so many failures ...
const FAILURES_HIGH: u64 = 10;
/// ... and opens again at so many.
const FAILURES_LOW: u64 = 5;
/// One failure is forgiven in this time.
const FORGIVEN_MS: u64 = 30_000;
/// Names in each of the two tables: 2 x 16,384 entries of 40 bytes are 1.3 MB per worker.
pub const NAMES_MAX: usize = 16 * 1024;

const _: () = assert!(FAILURES_LOW < FAILURES_HIGH);

/// Failed logins by user name.
#[derive(Debug, Default)]
pub struct Throttle {
    newer: HashMap<LogId, Failures, RandomState>,
    older: HashMap<LogId, Failures, RandomState>,
}

/// The bucket, as the time at which it will be empty.
#[derive(Debug, Clone, Copy)]
struct Failures {
    empty_ms: u64,
    closed: bool,
}

impl Failures {
    /// Milliseconds until the name opens; 0 if it is open.
    fn closed_for_ms(self, now_ms: u64) -> u64 {
        let opens_ms = self.empty_ms.saturating_sub(FAILURES_LOW * FORGIVEN_MS);
        if self.closed { opens_ms.saturating_sub(now_ms) } else { 0 }
    }
}

impl Throttle {
    /// Whether a password may be tried for this name; if not, in how many milliseconds.
    pub fn check(&self, name: LogId, now_ms: u64) -> Result<(), u32> {
        match self.find(name).map_or(0, |failures| failures.closed_for_ms(now_ms)) {
            0 => Ok(()),
            wait_ms => Err(u32::try_from(wait_ms).unwrap_or(u32::MAX)),
        }
    }

    /// A password was wrong. To be called before it is tried, and taken back by
    /// [`succeeded`](Throttle::succeeded) or [`undecided`](Throttle::undecided): else many tries
    /// at one time would all find the name open.
    pub fn failed(&mut self, name: LogId, now_ms: u64) {
        let before = self.find(name).unwrap_or(Failures { empty_ms: now_ms, closed: false });
        let full_ms = now_ms + FAILURES_HIGH * FORGIVEN_MS;
        let empty_ms = (before.empty_ms.max(now_ms) + FORGIVEN_MS).min(full_ms);
        let closed = before.closed_for_ms(now_ms) > 0 || empty_ms == full_ms;
        if self.newer.len() >= NAMES_MAX && !self.newer.contains_key(&name) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(name, Failures { empty_ms, closed });
    }

    /// A password that was counted as wrong beforehand could not be tried.
    pub fn undecided(&mut self, name: LogId) {
        for table in [&mut self.newer, &mut self.older] {
            if let Some(failures) = table.get_mut(&name) {
                failures.empty_ms = failures.empty_ms.saturating_sub(FORGIVEN_MS);
                failures.closed = false;
            }
        }
    }

    /// A password was right: what failed before is forgiven.
    pub fn succeeded(&mut self, name: LogId) {
        self.newer.remove(&name);
        self.older.remove(&name);
    }

    fn find(&self, name: LogId) -> Option<Failures> {
        self.newer.get(&name).or_else(|| self.older.get(&name)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::names::log_of;

    fn fail(throttle: &mut Throttle, times: usize, now_ms: u64) {
        for _ in 0..times {
            throttle.failed(log_of("ada"), now_ms);
        }
    }

    #[test]
    fn a_name_closes_at_ten_and_opens_at_five() {
        let (mut throttle, ada, now_ms) = (Throttle::default(), log_of("ada"), 1_000_000);
        fail(&mut throttle, 9, now_ms);
        assert_eq!(throttle.check(ada, now_ms), Ok(()));
        fail(&mut throttle, 1, now_ms);
        assert_eq!(throttle.check(ada, now_ms), Err(150_000));
        assert_eq!(throttle.check(ada, now_ms + 149_999), Err(1));
        assert_eq!(throttle.check(log_of("bob"), now_ms), Ok(()));
        let later_ms = now_ms + 150_000;
        assert_eq!(throttle.check(ada, later_ms), Ok(()));
        // Half of the bucket is still full: five more close it again.
        fail(&mut throttle, 4, later_ms);
        assert_eq!(throttle.check(ada, later_ms), Ok(()));
        fail(&mut throttle, 1, later_ms);
        assert_eq!(throttle.check(ada, later_ms), Err(150_000));
    }

    #[test]
    fn slow_mistakes_are_forgiven() {
        let mut throttle = Throttle::default();
        for attempt in 0..100 {
            fail(&mut throttle, 1, attempt * FORGIVEN_MS);
            assert_eq!(throttle.check(log_of("ada"), attempt * FORGIVEN_MS), Ok(()));
        }
    }

    #[test]
    fn the_right_password_forgives() {
        let (mut throttle, ada) = (Throttle::default(), log_of("ada"));
        fail(&mut throttle, 9, 0);
        throttle.succeeded(ada);
        fail(&mut throttle, 9, 0);
        assert_eq!(throttle.check(ada, 0), Ok(()));
    }

    #[test]
    fn a_try_that_was_not_made_is_taken_back() {
        let (mut throttle, ada) = (Throttle::default(), log_of("ada"));
        for _ in 0..100 {
            fail(&mut throttle, 1, 0);
            throttle.undecided(ada);
        }
        assert_eq!(throttle.check(ada, 0), Ok(()));
        fail(&mut throttle, 9, 0);
        assert_eq!(throttle.check(ada, 0), Ok(()));
        fail(&mut throttle, 1, 0);
        assert!(throttle.check(ada, 0).is_err());
    }

    #[test]
    fn many_names_take_bounded_memory() {
        let mut throttle = Throttle::default();
        fail(&mut throttle, 10, 0);
        for name in 0..NAMES_MAX + 10 {
            throttle.failed(log_of(&name.to_string()), 0);
        }
        // One table later the name is still closed.
        assert!(throttle.check(log_of("ada"), 0).is_err());
        for name in 0..3 * NAMES_MAX {
            throttle.failed(log_of(&name.to_string()), 0);
        }
        assert!(throttle.newer.len() <= NAMES_MAX && throttle.older.len() <= NAMES_MAX);
    }
}
