//! When which sender sends, under an open load.
//!
//! All messages of a run are numbered, and [`Rate`] says when each is due. Whose turn a number is
//! follows from the number alone. Senders take their turns in large strides, so that each thread,
//! and each machine, has an even share of every moment, whatever share of the senders is its own;
//! of pairs, it is first the turn of one side of all of them, then of the other, so that the two of
//! a pair write in turn. The intended moments of all are thus the same however they are divided.

use crate::crowd::Rate;

/// The senders of a thread, among all.
#[derive(Debug)]
pub(crate) struct Senders {
    /// Senders, or pairs of them, of all threads.
    pub(crate) all: u32,
    /// The number among them of the first one of this thread; the others follow.
    pub(crate) first: u32,
    /// Their indexes within the thread.
    pub(crate) own: Vec<u32>,
    /// 2 if they are pairs: the two of the pair with an index are senders of this thread with twice
    /// that number, and the next one.
    pub(crate) sides: u32,
}

impl Senders {
    /// All of this thread.
    pub(crate) fn all_own(&self) -> impl Iterator<Item = usize> {
        let sides = self.sides as usize;
        self.own
            .iter()
            .flat_map(move |&own| (0..sides).map(move |side| own as usize * sides + side))
    }
}

/// The messages of one thread, one after the other.
#[derive(Debug)]
pub(crate) struct Turns {
    rate: Rate,
    all: u64,
    sides: u64,
    /// Place in the order of all senders, and index within the thread, of its own ones by place.
    places: Vec<(u32, u32)>,
    /// Messages of this thread so far.
    count: u64,
    next: Turn,
}

/// A message that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Nanoseconds after the start.
    pub(crate) after_ns: u64,
    /// Within the thread.
    pub(crate) sender: usize,
}

impl Turns {
    /// For the senders of a thread, at least one.
    pub(crate) fn new(rate: Rate, senders: &Senders) -> Turns {
        let all = senders.all;
        let stride = stride(all);
        let places = (0..all).filter_map(|place| {
            let sender = (u64::from(place) * u64::from(stride) % u64::from(all)) as u32;
            let number = sender.checked_sub(senders.first)?;
            Some((place, *senders.own.get(number as usize)?))
        });
        let mut turns = Turns {
            rate,
            all: u64::from(all),
            sides: u64::from(senders.sides),
            places: places.collect(),
            count: 0,
            next: Turn { after_ns: 0, sender: 0 },
        };
        turns.next = turns.turn();
        turns
    }

    /// The next message.
    pub(crate) fn next(&self) -> Turn {
        self.next
    }

    /// The next message was sent.
    pub(crate) fn advance(&mut self) {
        self.count += 1;
        self.next = self.turn();
    }

    fn turn(&self) -> Turn {
        let own = self.places.len() as u64;
        let (round, turn) = (self.count / (self.sides * own), self.count % (self.sides * own));
        let side = turn / own;
        let (place, index) = self.places[(turn % own) as usize];
        let number = round * self.sides * self.all + side * self.all + u64::from(place);
        // Never is far away: `as` makes infinity the largest number.
        let after_ns = (self.rate.due_s(number) * 1e9) as u64;
        Turn { after_ns, sender: (u64::from(index) * self.sides + side) as usize }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::generators::shares;

    const END_NS: u64 = 4_500_000_000;

    fn rate() -> Rate {
        let rate: Rate = "200:1,200..1000:2,50:1".parse().unwrap();
        rate.after(Duration::from_millis(500))
    }

    /// All that is due before the end, as (moment, sender), of all threads.
    fn due(senders: u32, sides: u32, threads: usize) -> Vec<(u64, u32)> {
        let mut all = Vec::new();
        for share in shares(senders, sides, threads) {
            let (first, own) = (share.start / sides, (0..share.len() as u32 / sides).collect());
            let senders = Senders { all: senders / sides, first, own, sides };
            let mut turns = Turns::new(rate(), &senders);
            while turns.next().after_ns < END_NS {
                let Turn { after_ns, sender } = turns.next();
                all.push((after_ns, share.start + sender as u32));
                turns.advance();
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn the_moments_of_all_senders_are_the_same_however_they_are_divided() {
        for (senders, sides) in [(2, 2), (6, 2), (100, 2), (254, 2), (1, 1), (4, 1), (125, 1)] {
            let whole = due(senders, sides, 1);
            // 100 in the warm-up, then 200, 1200 and 50.
            assert_eq!(whole.len(), 1550, "{senders} senders");
            for threads in [2, 3, 7, 50] {
                assert_eq!(due(senders, sides, threads), whole, "{senders} in {threads} threads");
            }
        }
    }

    #[test]
    fn everybody_has_a_turn_and_the_two_of_a_pair_write_by_turns() {
        let senders: Vec<u32> = due(100, 2, 3).into_iter().map(|(_, sender)| sender).collect();
        for round in senders.chunks_exact(100) {
            let (mut first, mut second) = (round[..50].to_vec(), round[50..].to_vec());
            assert!(first.iter().zip(&second).all(|(one, other)| one + 1 == *other));
            first.sort_unstable();
            second.sort_unstable();
            assert_eq!(first, (0..100).step_by(2).collect::<Vec<_>>());
        }
        let alone: Vec<u32> = due(7, 1, 3).into_iter().map(|(_, sender)| sender).collect();
        for round in alone.chunks_exact(7) {
            let mut round = round.to_vec();
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn each_thread_has_its_share_of_every_moment() {
        // 4 threads of 250 pairs each: of 40 messages in a row, 10 are each thread's.
        let senders = due(2000, 2, 4);
        for some in senders.chunks_exact(40) {
            for thread in 0..4 {
                let of = thread * 500..(thread + 1) * 500;
                let count = some.iter().filter(|(_, sender)| of.contains(sender)).count();
                assert!((8..=12).contains(&count), "{count} of thread {thread}");
            }
        }
    }
}
