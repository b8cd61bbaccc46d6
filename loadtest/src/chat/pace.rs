//! When which user sends, under an open load.
//!
//! All messages of a run are numbered, and [`Rate`] says when each is due. Whose turn a number is
//! follows from the number alone: first one side of all pairs, then the other, so that the two of
//! a pair write in turn. The pairs take their turns in large strides, so that each thread, and
//! each machine, has an even share of every moment, whatever share of the users is its own. The
//! intended moments of all users are thus the same however they are divided.

use std::time::Duration;

use crate::chat::Rate;
use crate::chat::crowd::Crowd;
use crate::chat::senders::Senders;
use crate::net::Links;

/// The messages of one thread, one after the other.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    /// Pairs that send, of all threads.
    pairs: u64,
    /// Place in the order of all pairs, and index within the thread, of its own pairs by place.
    places: Vec<(u32, u32)>,
    /// Messages of this thread so far.
    count: u64,
    next: Due,
}

/// A message that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Nanoseconds after the start.
    pub(crate) after_ns: u64,
    /// Of the sender, within the thread.
    pub(crate) slot: usize,
}

impl Pace {
    /// For the senders of a thread, at least one pair, with a rate that begins after the warm-up.
    pub(crate) fn new(rate: &Rate, warm_up: Duration, senders: &Senders) -> Pace {
        let pairs = senders.all;
        let stride = stride(pairs);
        let places = (0..pairs).filter_map(|place| {
            let pair = (u64::from(place) * u64::from(stride) % u64::from(pairs)) as u32;
            let number = pair.checked_sub(senders.first)?;
            Some((place, *senders.own.get(number as usize)?))
        });
        let mut pace = Pace {
            rate: rate.clone().after(warm_up),
            pairs: u64::from(pairs),
            places: places.collect(),
            count: 0,
            next: Due { after_ns: 0, slot: 0 },
        };
        pace.next = pace.due();
        pace
    }

    /// The next message.
    pub(crate) fn next(&self) -> Due {
        self.next
    }

    /// The next message was sent.
    pub(crate) fn advance(&mut self) {
        self.count += 1;
        self.next = self.due();
    }

    fn due(&self) -> Due {
        let own = self.places.len() as u64;
        let (round, turn) = (self.count / (2 * own), self.count % (2 * own));
        let side = turn / own;
        let (place, pair) = self.places[(turn % own) as usize];
        let number = round * 2 * self.pairs + side * self.pairs + u64::from(place);
        // Never is far away: `as` makes infinity the largest number.
        let after_ns = (self.rate.due_s(number) * 1e9) as u64;
        Due { after_ns, slot: 2 * pair as usize + side as usize }
    }
}

/// Steps of about the golden ratio visit every place, and any range of places evenly.
fn stride(places: u32) -> u32 {
    let golden = (f64::from(places) * 0.618_033_988_75) as u32;
    let is_coprime = |&stride: &u32| greatest_common_divisor(stride, places) == 1;
    (golden.max(1)..=places).find(is_coprime).unwrap_or(1)
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

impl Crowd<'_> {
    /// Sends what is due by now; returns when the next message is.
    pub(super) fn pace(&mut self, now_ns: u64, links: &mut Links) -> u64 {
        loop {
            let Some(pace) = &mut self.pace else {
                self.all_sent = now_ns >= self.schedule.measure_to_ns;
                return u64::MAX;
            };
            let Due { after_ns, slot } = pace.next();
            let at_ns = self.schedule.start_ns.saturating_add(after_ns);
            self.all_sent = at_ns >= self.schedule.measure_to_ns;
            if at_ns > now_ns || self.all_sent {
                return at_ns;
            }
            pace.advance();
            if self.writes(slot) {
                self.enqueue(slot, at_ns, links);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generators::shares;

    const WARM_UP: Duration = Duration::from_millis(500);

    fn rate() -> Rate {
        "200:1,200..1000:2,50:1".parse().unwrap()
    }

    /// All that is due before a time, as (moment, user), of all threads.
    fn due(users: u32, threads: usize, end_ns: u64) -> Vec<(u64, u32)> {
        let mut all = Vec::new();
        for share in shares(users, 2, threads) {
            let (first, own) = (share.start / 2, (0..share.len() as u32 / 2).collect());
            let senders = Senders { all: users / 2, first, own };
            let mut pace = Pace::new(&rate(), WARM_UP, &senders);
            while pace.next().after_ns < end_ns {
                let Due { after_ns, slot } = pace.next();
                all.push((after_ns, share.start + slot as u32));
                pace.advance();
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn the_moments_of_all_users_are_the_same_however_they_are_divided() {
        let end_ns = 4_500_000_000;
        for users in [2, 6, 100, 254] {
            let whole = due(users, 1, end_ns);
            // 100 in the warm-up, then 200, 1200 and 50.
            assert_eq!(whole.len(), 1550, "{users} users");
            for threads in [2, 3, 7, 50] {
                assert_eq!(due(users, threads, end_ns), whole, "{users} users, {threads} threads");
            }
        }
    }

    #[test]
    fn everybody_has_a_turn_and_the_two_of_a_pair_write_by_turns() {
        let senders: Vec<u32> =
            due(100, 3, 4_500_000_000).into_iter().map(|(_, user)| user).collect();
        for round in senders.chunks_exact(100) {
            let (mut first, mut second) = (round[..50].to_vec(), round[50..].to_vec());
            assert!(first.iter().zip(&second).all(|(one, other)| one + 1 == *other));
            first.sort_unstable();
            second.sort_unstable();
            assert_eq!(first, (0..100).step_by(2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn each_thread_has_its_share_of_every_moment() {
        // 4 threads of 250 pairs each: of 40 messages in a row, 10 are each thread's.
        let senders = due(2000, 4, 4_500_000_000);
        for some in senders.chunks_exact(40) {
            for thread in 0..4 {
                let of = thread * 500..(thread + 1) * 500;
                let count = some.iter().filter(|(_, user)| of.contains(user)).count();
                assert!((8..=12).contains(&count), "{count} of thread {thread}");
            }
        }
    }
}
