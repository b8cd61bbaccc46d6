//! Stalls as the users of one thread live them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

use crate::crowd::{MessageLatencies, Scene};
use crate::net::Links;
use crate::scenarios::chosen;
use crate::scenarios::slow::{Slow, Tally};
use crate::seconds::Seconds;

/// What a user does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Stall,
    ReadOn,
}

#[derive(Debug)]
pub(crate) struct Troop {
    slow: Slow,
    /// By pair.
    stalls: Vec<bool>,
    /// Number of the first one among all who stall, here and elsewhere, and how many they are.
    first: u32,
    all: u32,
    /// What stalling users do next, by its time; empty before the run has begun.
    turns: BinaryHeap<Reverse<(u64, usize, Turn)>>,
    tally: Tally,
}

impl Troop {
    /// For the users of one thread. `senders` says how many of some pairs send, and `pairs` how many
    /// pairs there are in all.
    pub(crate) fn new(
        slow: &Slow,
        senders: impl Fn(Range<u32>) -> u32,
        pairs: u32,
        users: &Range<u32>,
    ) -> Troop {
        // All of the run are numbered, so that it makes no difference who has this one.
        let before = |pair| chosen(0..senders(0..pair), slow.stalling_share);
        let stalls = |pair: u32| before(pair + 1) > before(pair);
        let own = users.start / 2..users.end / 2;
        let (first, stalls) = (before(own.start), own.map(stalls).collect::<Vec<_>>());
        let stalling_users = stalls.iter().filter(|&&stalls| stalls).count() as u64;
        Troop {
            slow: slow.clone(),
            stalls,
            first,
            all: before(pairs),
            turns: BinaryHeap::new(),
            tally: Tally { stalling_users, ..Tally::default() },
        }
    }

    /// Whether this very user stalls.
    pub(crate) fn is_stalling(&self, slot: usize) -> bool {
        slot % 2 == 1 && self.stalls[slot / 2]
    }

    pub(crate) fn arrived(&self, slot: usize, links: &Links) {
        if self.is_stalling(slot) {
            links.limit_receive_buffer(slot, self.slow.receive_buffer_bytes);
        }
    }

    pub(crate) fn acknowledged(&mut self, slot: usize, latency_ns: u64) {
        self.latencies(slot).acknowledge.record(latency_ns);
    }

    pub(crate) fn delivered(&mut self, slot: usize, latency_ns: u64) {
        self.latencies(slot).deliver.record(latency_ns);
    }

    fn latencies(&mut self, slot: usize) -> &mut MessageLatencies {
        let is_disturbed = self.stalls[slot / 2];
        if is_disturbed { &mut self.tally.disturbed } else { &mut self.tally.undisturbed }
    }

    pub(crate) fn fell_behind(&mut self, slot: usize) {
        let stalls = self.is_stalling(slot);
        self.tally.behind.add(stalls);
    }

    pub(crate) fn repairs(&mut self, slot: usize) {
        let stalls = self.is_stalling(slot);
        self.tally.repairs.add(stalls);
    }

    pub(crate) fn closed(&mut self, slot: usize, reason: &str) {
        if self.is_stalling(slot) {
            *self.tally.closes.entry(reason.to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    /// The first stalls of all, spread evenly over a cycle so that not all stall at once.
    fn begin(&mut self, start_ns: u64) {
        let cycle_ns = nanoseconds(self.slow.stall_s) + nanoseconds(self.slow.between_s);
        let pairs = self.stalls.iter().enumerate().filter(|(_, stalls)| **stalls);
        for ((pair, _), number) in pairs.zip(self.first..) {
            let after_ns = u128::from(cycle_ns) * u128::from(number) / u128::from(self.all);
            let at_ns = start_ns + after_ns as u64;
            self.turns.push(Reverse((at_ns, 2 * pair + 1, Turn::Stall)));
        }
    }

    /// Lets users stall and read on when it is time; returns when it is next.
    pub(crate) fn stall_some(&mut self, scene: &Scene<'_>, links: &mut Links) -> u64 {
        if self.tally.stalling_users == 0 {
            return u64::MAX;
        }
        if self.turns.is_empty() {
            self.begin(scene.schedule.start_ns);
        }
        let stall_ns = nanoseconds(self.slow.stall_s);
        let between_ns = nanoseconds(self.slow.between_s);
        while let Some(&Reverse((at_ns, slot, turn))) = self.turns.peek() {
            if at_ns > scene.now_ns {
                return at_ns;
            }
            self.turns.pop();
            let next = match turn {
                Turn::Stall => {
                    // Whoever is about to come back can't stall, and reads this time.
                    if scene.members[slot].is_active() {
                        self.tally.stalls += 1;
                        links.pause(slot);
                    }
                    (at_ns + stall_ns, slot, Turn::ReadOn)
                }
                Turn::ReadOn => {
                    links.unpause(slot);
                    (at_ns + between_ns, slot, Turn::Stall)
                }
            };
            self.turns.push(Reverse(next));
        }
        u64::MAX
    }

    /// The run is over: everybody reads on.
    pub(crate) fn end_stalls(&mut self, links: &mut Links) {
        self.turns.drain().for_each(|Reverse((_, slot, _))| links.unpause(slot));
    }
}

fn nanoseconds(time: Seconds) -> u64 {
    Duration::from(time).as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generators::shares;
    use crate::scenarios::pairs::ChatScenario;
    use crate::target::{Service, Target};

    /// Who stalls first when.
    fn turns(scenario: &ChatScenario, threads: usize) -> Vec<(u32, u64)> {
        let mut all = Vec::new();
        for users in shares(scenario.users, 2, threads) {
            let first = users.start;
            let mut troop = {
                let senders = |pairs| scenario.senders(pairs);
                Troop::new(&Slow::default(), senders, scenario.pairs(), &users)
            };
            troop.begin(1000);
            let turns = troop.turns.drain();
            all.extend(turns.map(|Reverse((at_ns, slot, _))| (first + slot as u32, at_ns)));
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn the_same_users_stall_at_the_same_times_however_they_are_divided() {
        let address = "127.0.0.1:1".parse().unwrap();
        let target = Target { address, tls: None, web: false, service: Service::Relay, pid: None };
        let mut scenario = ChatScenario::new(target);
        (scenario.users, scenario.active_share) = (600, 0.5);
        let whole = turns(&scenario, 1);
        // 3 s of stall and 3 s of pause for 15 of the 150 pairs that send.
        let moments: Vec<u64> = whole.iter().map(|(_, at_ns)| *at_ns).collect();
        let expected: Vec<u64> = (0..15).map(|number| 1000 + number * 400_000_000).collect();
        assert_eq!(moments, expected);
        assert!(whole.iter().all(|(user, _)| user % 2 == 1), "{whole:?}");
        for threads in [2, 7, 300] {
            assert_eq!(turns(&scenario, threads), whole, "{threads} threads");
        }
    }
}
