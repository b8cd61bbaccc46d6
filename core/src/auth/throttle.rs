//! How often a password may be guessed, and by whom.
//!
//! Failed logins fill leaky buckets. When one is full it is closed: no password that it counts is
//! tried, right or wrong, until it has leaked down to half. That gap is the hysteresis: without it, a
//! guesser would get one try at every drop for ever, and the answers would flicker. Other credentials of
//! the user (tokens, resume) are not touched by it, so nobody is thrown out by a stranger's guesses.
//!
//! Who guesses is a [`Guesser`], and a name has a bucket for each of them. So that somebody who keeps on
//! guessing from one address shuts out that address and not the owner of the name, who is elsewhere. All
//! strangers together have one more bucket of the name, which is ten times as large, since there are
//! attackers with many addresses. A device on which the user was logged in before is no stranger: it has
//! a bucket of its own and no other, so nobody who lacks its id can shut the owner out of it.
//!
//! Names that nobody has are counted as well: the answers must not tell which names exist.
//!
//! A guess that is being looked at is neither right nor wrong. It takes a place in its buckets all the same,
//! or many guesses at one time would all find them open; but whoever finds no place for that reason alone
//! [waits](Verdict::Wait) until it is known. So many devices that log in at once by the right password all
//! get in.
//!
//! Time is that of the clock that is never set ([`Now::monotonic_ms`](crate::clock::Now)): a wrong date
//! closes nobody's name for longer, and opens none sooner.
//!
//! Memory is bounded by [`BUCKETS_MAX`]. Buckets that have leaked empty go first, then those with the fewest
//! failures; one that is closed never goes. To make one forgotten in which there are nine failures, a guesser
//! has to bring as many others beyond nine at the same time, and each failure costs a password hash. If there
//! are only closed ones, no new guesser is let in: a failure is forgiven in half a minute, so it needs more
//! than 5,000 hashes a second to come so far, of which a core computes fifty.

use std::collections::hash_map::RandomState;

use dunlin_protocol::LogId;
use hashbrown::HashMap;

use crate::request::Source;

/// Failures of one guesser for one name until it is closed.
const FAILURES_OF_ONE: u64 = 10;
/// Failures of all strangers for one name. One alone, who goes on guessing at the rate that is forgiven, never
/// fills it; ten do.
const FAILURES_OF_STRANGERS: u64 = 100;
/// One failure is forgiven in this time.
const FORGIVEN_MS: u64 = 30_000;
/// Buckets of a worker: 2.5 MB.
pub const BUCKETS_MAX: usize = 32 * 1024;

/// Who guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guesser {
    /// Somebody who comes from there.
    Stranger(Source),
    /// A device, or a session, of which the user is known to have been the one who used it.
    Known(u64),
}

/// A password that is to be tried for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guess {
    /// The log of the name, or whatever else stands for the user.
    pub name: LogId,
    /// Who guesses.
    pub by: Guesser,
}

/// Whether a password may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may, and how it has [ended](Throttle::ended) must be told.
    Try,
    /// Not before one has ended that is being tried for the same name.
    Wait,
    /// Not for so many milliseconds.
    Closed(u32),
}

/// How a try has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was the password.
    Right,
    /// It was not.
    Wrong,
    /// Nobody has looked.
    Untried,
}

/// Failed logins by name and guesser.
#[derive(Debug, Default)]
pub struct Throttle {
    buckets: HashMap<Key, Bucket, RandomState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    name: LogId,
    /// `None` for all strangers together.
    by: Option<Guesser>,
}

impl Key {
    fn failures_max(self) -> u64 {
        if self.by.is_some() { FAILURES_OF_ONE } else { FAILURES_OF_STRANGERS }
    }
}

impl Guess {
    fn keys(self) -> impl Iterator<Item = Key> {
        let Guess { name, by } = self;
        let strangers = match by {
            Guesser::Stranger(_) => Some(Key { name, by: None }),
            Guesser::Known(_) => None,
        };
        std::iter::once(Key { name, by: Some(by) }).chain(strangers)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// When all failures in it will be forgiven.
    empty_ms: u64,
    closed: bool,
    /// What is being tried.
    trying: u32,
}

impl Bucket {
    fn failures(self, now_ms: u64) -> u64 {
        self.empty_ms.saturating_sub(now_ms).div_ceil(FORGIVEN_MS)
    }

    /// Milliseconds until it opens; 0 if it is open.
    fn closed_for_ms(self, failures_max: u64, now_ms: u64) -> u64 {
        let opens_ms = self.empty_ms.saturating_sub(failures_max / 2 * FORGIVEN_MS);
        if self.closed { opens_ms.saturating_sub(now_ms) } else { 0 }
    }

    fn fail(&mut self, failures_max: u64, now_ms: u64) {
        let was_closed = self.closed_for_ms(failures_max, now_ms) > 0;
        let full_ms = now_ms + failures_max * FORGIVEN_MS;
        self.empty_ms = (self.empty_ms.max(now_ms) + FORGIVEN_MS).min(full_ms);
        self.closed = was_closed || self.empty_ms == full_ms;
    }

    fn is_of_use(self, now_ms: u64) -> bool {
        self.trying > 0 || self.empty_ms > now_ms
    }
}

impl Throttle {
    /// Whether a password may be tried.
    pub fn begin(&mut self, guess: Guess, now_ms: u64) -> Verdict {
        let mut waits = false;
        let mut closed_for_ms = 0;
        for key in guess.keys() {
            let Some(bucket) = self.buckets.get(&key) else { continue };
            let failures_max = key.failures_max();
            closed_for_ms = bucket.closed_for_ms(failures_max, now_ms).max(closed_for_ms);
            let taken = bucket.failures(now_ms) + u64::from(bucket.trying);
            waits |= bucket.trying > 0 && taken >= failures_max;
        }
        if closed_for_ms > 0 {
            return Verdict::Closed(u32::try_from(closed_for_ms).unwrap_or(u32::MAX));
        }
        if waits {
            return Verdict::Wait;
        }
        if !self.has_room(guess, now_ms) {
            return Verdict::Closed(FORGIVEN_MS as u32);
        }
        for key in guess.keys() {
            self.buckets.entry(key).or_default().trying += 1;
        }
        Verdict::Try
    }

    /// How the try has ended. What one guesser has failed is forgiven by the right password, but not what all
    /// strangers have: they may guess on while the owner comes and goes.
    pub fn ended(&mut self, guess: Guess, how: Ended, now_ms: u64) {
        for key in guess.keys() {
            let Some(bucket) = self.buckets.get_mut(&key) else { continue };
            bucket.trying = bucket.trying.saturating_sub(1);
            match (how, key.by) {
                (Ended::Wrong, _) => bucket.fail(key.failures_max(), now_ms),
                (Ended::Right, Some(_)) => (bucket.empty_ms, bucket.closed) = (0, false),
                (Ended::Right, None) | (Ended::Untried, _) => {}
            }
            if !bucket.is_of_use(now_ms) {
                self.buckets.remove(&key);
            }
        }
    }

    fn has_room(&mut self, guess: Guess, now_ms: u64) -> bool {
        let new = guess.keys().filter(|key| !self.buckets.contains_key(key)).count();
        if self.buckets.len() + new > BUCKETS_MAX {
            self.make_room(now_ms);
        }
        self.buckets.len() + new <= BUCKETS_MAX
    }

    /// Forgets what is of no use any more and, if that is little, half of what is neither closed nor being
    /// tried: that with the fewest failures. So it is done once in thousands of failures.
    fn make_room(&mut self, now_ms: u64) {
        self.buckets.retain(|_, bucket| bucket.is_of_use(now_ms));
        if self.buckets.len() <= BUCKETS_MAX / 4 * 3 {
            return;
        }
        let may_go = |key: &Key, bucket: &Bucket| {
            bucket.trying == 0 && bucket.closed_for_ms(key.failures_max(), now_ms) == 0
        };
        let open = self.buckets.iter().filter(|(key, bucket)| may_go(key, bucket));
        let mut ends_ms: Vec<u64> = open.map(|(_, bucket)| bucket.empty_ms).collect();
        let half = ends_ms.len() / 2;
        if half == 0 {
            return;
        }
        let (_, &mut most_ms, _) = ends_ms.select_nth_unstable(half - 1);
        let mut left = half;
        self.buckets.retain(|key, bucket| {
            let goes = left > 0 && may_go(key, bucket) && bucket.empty_ms <= most_ms;
            left -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::names::log_of;

    const NOW_MS: u64 = 1_000_000;

    fn stranger(name: &str, source: u64) -> Guess {
        Guess { name: log_of(name), by: Guesser::Stranger(Source(source)) }
    }

    fn known(name: &str, device: u64) -> Guess {
        Guess { name: log_of(name), by: Guesser::Known(device) }
    }

    fn fail(throttle: &mut Throttle, guess: Guess, times: usize, now_ms: u64) {
        for _ in 0..times {
            assert_eq!(throttle.begin(guess, now_ms), Verdict::Try);
            throttle.ended(guess, Ended::Wrong, now_ms);
        }
    }

    /// What would be said to a guess, which is not made.
    fn look(throttle: &mut Throttle, guess: Guess, now_ms: u64) -> Verdict {
        let verdict = throttle.begin(guess, now_ms);
        if verdict == Verdict::Try {
            throttle.ended(guess, Ended::Untried, now_ms);
        }
        verdict
    }

    #[test]
    fn a_guesser_is_shut_out_at_ten_and_let_in_at_five() {
        let (mut throttle, guess) = (Throttle::default(), stranger("ada", 1));
        fail(&mut throttle, guess, 10, NOW_MS);
        assert_eq!(look(&mut throttle, guess, NOW_MS), Verdict::Closed(150_000));
        assert_eq!(look(&mut throttle, guess, NOW_MS + 149_999), Verdict::Closed(1));
        assert_eq!(look(&mut throttle, stranger("bob", 1), NOW_MS), Verdict::Try);
        let later_ms = NOW_MS + 150_000;
        // Half of the bucket is still full: five more close it again.
        fail(&mut throttle, guess, 5, later_ms);
        assert_eq!(look(&mut throttle, guess, later_ms), Verdict::Closed(150_000));
    }

    #[test]
    fn who_guesses_shuts_out_nobody_elsewhere() {
        let (mut throttle, attacker) = (Throttle::default(), stranger("ada", 1));
        let mut now_ms = NOW_MS;
        // For a day, as often as it is let.
        while now_ms < NOW_MS + 86_400_000 {
            match throttle.begin(attacker, now_ms) {
                Verdict::Try => throttle.ended(attacker, Ended::Wrong, now_ms),
                Verdict::Closed(wait_ms) => now_ms += u64::from(wait_ms),
                Verdict::Wait => panic!("nothing is being tried"),
            }
            assert_eq!(look(&mut throttle, stranger("ada", 2), now_ms), Verdict::Try);
        }
    }

    #[test]
    fn strangers_from_everywhere_are_one_stranger_but_no_known_device() {
        let mut throttle = Throttle::default();
        for source in 0..100 {
            fail(&mut throttle, stranger("ada", source), 1, NOW_MS);
        }
        let all = look(&mut throttle, stranger("ada", 1000), NOW_MS);
        assert_eq!(all, Verdict::Closed(50 * 30_000));
        assert_eq!(look(&mut throttle, stranger("bob", 1000), NOW_MS), Verdict::Try);
        fail(&mut throttle, known("ada", 7), 10, NOW_MS);
        assert_eq!(look(&mut throttle, known("ada", 7), NOW_MS), Verdict::Closed(150_000));
        assert_eq!(look(&mut throttle, known("ada", 8), NOW_MS), Verdict::Try);
    }

    #[test]
    fn slow_mistakes_are_forgiven() {
        let mut throttle = Throttle::default();
        for attempt in 0..1000 {
            fail(&mut throttle, stranger("ada", 1), 1, attempt * FORGIVEN_MS);
        }
    }

    #[test]
    fn the_right_password_forgives_who_has_it_and_nobody_else() {
        let mut throttle = Throttle::default();
        for source in 0..9 {
            fail(&mut throttle, stranger("ada", source), 9, NOW_MS);
        }
        for _ in 0..3 {
            assert_eq!(throttle.begin(stranger("ada", 3), NOW_MS), Verdict::Try);
            throttle.ended(stranger("ada", 3), Ended::Right, NOW_MS);
        }
        fail(&mut throttle, stranger("ada", 3), 9, NOW_MS);
        fail(&mut throttle, stranger("ada", 0), 1, NOW_MS);
        assert_eq!(look(&mut throttle, stranger("ada", 0), NOW_MS), Verdict::Closed(150_000));
        // That were 91 of the strangers' hundred.
        fail(&mut throttle, stranger("ada", 100), 9, NOW_MS);
        assert!(matches!(look(&mut throttle, stranger("ada", 101), NOW_MS), Verdict::Closed(_)));
    }

    #[test]
    fn what_is_being_tried_takes_places_and_closes_nothing() {
        let (mut throttle, guess) = (Throttle::default(), stranger("ada", 1));
        for _ in 0..10 {
            assert_eq!(throttle.begin(guess, NOW_MS), Verdict::Try);
        }
        assert_eq!(look(&mut throttle, guess, NOW_MS), Verdict::Wait);
        throttle.ended(guess, Ended::Wrong, NOW_MS);
        assert_eq!(look(&mut throttle, guess, NOW_MS), Verdict::Wait, "nine and one that failed");
        throttle.ended(guess, Ended::Untried, NOW_MS);
        assert_eq!(look(&mut throttle, guess, NOW_MS), Verdict::Try);
        throttle.ended(guess, Ended::Right, NOW_MS);
        for _ in 0..3 {
            assert_eq!(throttle.begin(guess, NOW_MS), Verdict::Try);
        }
        for _ in 0..10 {
            assert!(!matches!(look(&mut throttle, guess, NOW_MS), Verdict::Closed(_)));
            throttle.ended(guess, Ended::Wrong, NOW_MS);
        }
        assert!(matches!(look(&mut throttle, guess, NOW_MS), Verdict::Closed(_)));
    }

    #[test]
    fn nothing_is_kept_of_who_was_right() {
        let (mut throttle, guess) = (Throttle::default(), known("ada", 1));
        fail(&mut throttle, guess, 3, NOW_MS);
        assert_eq!(throttle.begin(guess, NOW_MS), Verdict::Try);
        throttle.ended(guess, Ended::Right, NOW_MS);
        assert!(throttle.buckets.is_empty());
    }

    #[test]
    fn a_flood_of_other_names_makes_nothing_forgotten_that_matters() {
        let mut throttle = Throttle::default();
        fail(&mut throttle, known("closed", 1), 10, NOW_MS);
        fail(&mut throttle, known("nine", 1), 9, NOW_MS);
        for name in 0..4 * BUCKETS_MAX {
            fail(&mut throttle, known(&name.to_string(), 1), 1, NOW_MS);
            assert!(throttle.buckets.len() <= BUCKETS_MAX);
        }
        assert_eq!(look(&mut throttle, known("closed", 1), NOW_MS), Verdict::Closed(150_000));
        fail(&mut throttle, known("nine", 1), 1, NOW_MS);
        assert!(matches!(look(&mut throttle, known("nine", 1), NOW_MS), Verdict::Closed(_)));
    }

    #[test]
    fn where_all_are_closed_nobody_new_is_let_in_until_one_is_forgiven() {
        let mut throttle = Throttle::default();
        for device in 0..BUCKETS_MAX as u64 {
            let key = Key { name: log_of("ada"), by: Some(Guesser::Known(device)) };
            let empty_ms = NOW_MS + FAILURES_OF_ONE * FORGIVEN_MS;
            throttle.buckets.insert(key, Bucket { empty_ms, closed: true, trying: 0 });
        }
        let refused = Verdict::Closed(30_000);
        assert_eq!(look(&mut throttle, stranger("bob", 1), NOW_MS), refused);
        assert_eq!(look(&mut throttle, known("ada", 1), NOW_MS), Verdict::Closed(150_000));
        let later_ms = NOW_MS + FAILURES_OF_ONE * FORGIVEN_MS;
        assert_eq!(look(&mut throttle, stranger("bob", 1), later_ms), Verdict::Try);
    }
}
