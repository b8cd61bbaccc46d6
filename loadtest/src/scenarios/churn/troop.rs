//! Coming and going, as the users of one thread do it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

use crate::crowd::{Departure, Scene};
use crate::scenarios::ResumeTokens;
use crate::scenarios::churn::dice::Dice;
use crate::scenarios::churn::{Churn, Tally};

/// Users who leave in one tick: more would keep the thread from all else for too long.
const DEPARTURES_PER_TICK: usize = 256;

/// Whoever should leave and has not even arrived is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where a user wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// There, since that time: then the last sync ended.
    Here { since_ns: u64 },
    /// There from that time on, and it is not there yet.
    Back { at_ns: u64 },
}

#[derive(Debug)]
pub(crate) struct Troop {
    churn: Churn,
    /// By slot, so that the times of a user are the same whoever else is in this thread.
    dice: Vec<Dice>,
    has_begun: bool,
    /// Who leaves when.
    departures: BinaryHeap<Reverse<(u64, usize)>>,
    /// By slot.
    wishes: Vec<Wish>,
    /// When everybody was called back, at the end of the run.
    recalled_ns: u64,
    pub(crate) resume_tokens: ResumeTokens,
    tally: Tally,
}

impl Troop {
    pub(crate) fn new(churn: &Churn, users: &Range<u32>) -> Troop {
        Troop {
            churn: churn.clone(),
            dice: users.clone().map(|user| Dice::of(churn.seed, user)).collect(),
            has_begun: false,
            departures: BinaryHeap::new(),
            wishes: vec![Wish::Here { since_ns: 0 }; users.len()],
            recalled_ns: u64::MAX,
            resume_tokens: ResumeTokens::new(churn.credential, users.len()),
            tally: Tally::default(),
        }
    }

    /// Whether a user is away by its own will, or on the way back.
    pub(crate) fn is_away(&self, slot: usize) -> bool {
        matches!(self.wishes[slot], Wish::Back { .. })
    }

    pub(crate) fn writes(&mut self, slot: usize) -> bool {
        let writes = !self.is_away(slot);
        self.tally.unwritten += u64::from(!writes);
        writes
    }

    /// The end of a sync. `is_measured` tells whether a time is within the window.
    pub(crate) fn arrived(&mut self, slot: usize, now_ns: u64, is_measured: impl Fn(u64) -> bool) {
        let wish = std::mem::replace(&mut self.wishes[slot], Wish::Here { since_ns: now_ns });
        let Wish::Back { at_ns } = wish else {
            return;
        };
        if at_ns <= self.recalled_ns && is_measured(at_ns) {
            self.tally.arrive.record(now_ns.saturating_sub(at_ns));
        }
        let stay_ns = self.dice[slot].exponential_ns(self.churn.stay_s.into());
        self.departures.push(Reverse((at_ns + stay_ns, slot)));
    }

    pub(crate) fn acknowledged(&mut self, slot: usize, intended_ns: u64, now_ns: u64) {
        if self.is_here_since(slot, intended_ns) {
            self.tally.present.acknowledge.record(now_ns.saturating_sub(intended_ns));
        }
    }

    pub(crate) fn delivered(&mut self, slot: usize, intended_ns: u64, now_ns: u64) {
        let latencies = if self.is_here_since(slot, intended_ns) {
            &mut self.tally.present.deliver
        } else {
            &mut self.tally.absent_deliver
        };
        latencies.record(now_ns.saturating_sub(intended_ns));
    }

    fn is_here_since(&self, slot: usize, at_ns: u64) -> bool {
        matches!(self.wishes[slot], Wish::Here { since_ns } if since_ns <= at_ns)
    }

    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    /// A user leaves at its time; returns when it wants to be back.
    fn let_go(&mut self, slot: usize, at_ns: u64) -> u64 {
        let back_ns = at_ns + self.dice[slot].exponential_ns(self.churn.away_s.into());
        self.wishes[slot] = Wish::Back { at_ns: back_ns };
        self.tally.departures += 1;
        back_ns
    }

    fn begin(&mut self, start_ns: u64) {
        self.has_begun = true;
        for slot in 0..self.wishes.len() {
            let stay_ns = self.dice[slot].exponential_ns(self.churn.stay_s.into());
            self.departures.push(Reverse((start_ns + stay_ns, slot)));
        }
    }

    /// Lets those go whose time is over; returns when the next one's is.
    pub(crate) fn let_some_go(
        &mut self,
        scene: &Scene<'_>,
        departures: &mut Vec<Departure>,
    ) -> u64 {
        if !self.has_begun {
            self.begin(scene.schedule.start_ns);
        }
        while departures.len() < DEPARTURES_PER_TICK
            && let Some(&Reverse((at_ns, slot))) = self.departures.peek()
            && at_ns <= scene.now_ns
        {
            self.departures.pop();
            if scene.members[slot].is_active() {
                let back_ns = self.let_go(slot, at_ns);
                departures.push(Departure { slot, is_reset: false, back_ns });
            } else {
                let again_ns = scene.now_ns + LOOK_AGAIN.as_nanos() as u64;
                self.departures.push(Reverse((again_ns, slot)));
            }
        }
        self.departures.peek().map_or(u64::MAX, |Reverse((at_ns, _))| *at_ns)
    }

    /// The run is over: everybody comes back now, to take in what is missing.
    pub(crate) fn recall(&mut self, now_ns: u64) {
        self.recalled_ns = now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generators::shares;

    /// When each user leaves and wants to be back, with a server that lets them in after a while.
    fn times(threads: usize, login_ns: u64) -> Vec<(u32, u64, u64)> {
        let mut times = Vec::new();
        for users in shares(100, 2, threads) {
            let mut troop = Troop::new(&Churn::default(), &users);
            troop.begin(0);
            while let Some(Reverse((at_ns, slot))) = troop.departures.pop()
                && at_ns < 200_000_000_000
            {
                let back_ns = troop.let_go(slot, at_ns);
                times.push((users.start + slot as u32, at_ns, back_ns));
                troop.arrived(slot, back_ns + login_ns, |_| true);
            }
        }
        times.sort_unstable();
        times
    }

    #[test]
    fn everybody_comes_and_goes_at_the_same_times_however_they_are_divided() {
        let whole = times(1, 0);
        // 40 s for each turn of 100 users.
        assert!((400..600).contains(&whole.len()), "{}", whole.len());
        for threads in [2, 7, 50] {
            assert_eq!(times(threads, 3_000_000), whole, "{threads} threads");
        }
    }
}
