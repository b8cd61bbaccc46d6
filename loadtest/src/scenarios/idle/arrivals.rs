//! Connections on their way to being logged in: since when, and when those try again that failed.
//!
//! Among a million connects a few are refused or reset by a machine at its limits. One that fails
//! on its way is counted and tries again; only one that fails too often is lost to the run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

/// The wait before the second attempt; doubled for each that follows.
const BACK_OFF_NS: u64 = 200_000_000;

/// Those who failed together come back over half of a wait, in so many steps.
const SPREAD: u64 = 16;

#[derive(Debug, Clone, Copy)]
struct Arrival {
    begun_ns: u64,
    /// When the running attempt began; `None` while it waits for the next one.
    attempt_ns: Option<u64>,
    failures: u32,
}

/// Of one thread.
#[derive(Debug)]
pub(crate) struct Arrivals {
    retries_max: u32,
    by_slot: HashMap<usize, Arrival>,
    /// When which slot tries again, the next one on top.
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Arrivals {
    pub(crate) fn new(retries_max: u32) -> Arrivals {
        Arrivals { retries_max, by_slot: HashMap::new(), waiting: BinaryHeap::new() }
    }

    /// How many are on their way, with those that wait for another attempt.
    pub(crate) fn len(&self) -> usize {
        self.by_slot.len()
    }

    pub(crate) fn begin(&mut self, slot: usize, now_ns: u64) {
        let arrival = Arrival { begun_ns: now_ns, attempt_ns: Some(now_ns), failures: 0 };
        self.by_slot.insert(slot, arrival);
    }

    /// It is there; returns when its first attempt began.
    pub(crate) fn complete(&mut self, slot: usize) -> Option<u64> {
        self.by_slot.remove(&slot).map(|arrival| arrival.begun_ns)
    }

    /// It failed. Whether it tries again, not before `wait_ns` from now; if not, it is forgotten.
    pub(crate) fn fail(&mut self, slot: usize, now_ns: u64, wait_ns: u64) -> bool {
        let Some(arrival) = self.by_slot.get_mut(&slot) else {
            return false;
        };
        if arrival.failures >= self.retries_max {
            self.by_slot.remove(&slot);
            return false;
        }
        let back_off_ns = (BACK_OFF_NS << arrival.failures.min(16)).max(wait_ns);
        arrival.failures += 1;
        arrival.attempt_ns = None;
        let spread_ns = back_off_ns / 2 / SPREAD * (slot as u64 % SPREAD);
        self.waiting.push(Reverse((now_ns + back_off_ns + spread_ns, slot)));
        true
    }

    /// It will not come at all.
    pub(crate) fn give_up(&mut self, slot: usize) {
        self.by_slot.remove(&slot);
    }

    /// The next one whose wait is over.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<usize> {
        let &Reverse((at_ns, slot)) = self.waiting.peek()?;
        if at_ns > now_ns {
            return None;
        }
        self.waiting.pop();
        if let Some(arrival) = self.by_slot.get_mut(&slot) {
            arrival.attempt_ns = Some(now_ns);
        }
        Some(slot)
    }

    /// Those whose attempt began before this time.
    pub(crate) fn begun_before(&self, time_ns: u64) -> Vec<usize> {
        let began_before =
            |arrival: &Arrival| arrival.attempt_ns.is_some_and(|began_ns| began_ns < time_ns);
        let overdue = self.by_slot.iter().filter(|(_, arrival)| began_before(arrival));
        overdue.map(|(&slot, _)| slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_comes_back_later_each_time_and_not_for_ever() {
        let mut arrivals = Arrivals::new(2);
        arrivals.begin(0, 5);
        assert!(arrivals.fail(0, 1_000, 0));
        assert_eq!(arrivals.due(1_000 + BACK_OFF_NS - 1), None);
        assert_eq!(arrivals.due(1_000 + BACK_OFF_NS), Some(0));
        assert!(arrivals.fail(0, 0, 0));
        assert_eq!((arrivals.due(2 * BACK_OFF_NS - 1), arrivals.len()), (None, 1));
        assert_eq!(arrivals.due(2 * BACK_OFF_NS), Some(0));
        assert!(!arrivals.fail(0, 0, 0));
        assert_eq!((arrivals.len(), arrivals.due(u64::MAX)), (0, None));
    }

    #[test]
    fn the_time_of_an_arrival_counts_from_the_first_attempt() {
        let mut arrivals = Arrivals::new(1);
        arrivals.begin(3, 70);
        assert!(arrivals.fail(3, 100, 0));
        assert_eq!(arrivals.complete(3), Some(70));
        assert_eq!(arrivals.complete(3), None);
    }

    #[test]
    fn each_attempt_has_its_own_time() {
        let mut arrivals = Arrivals::new(1);
        arrivals.begin(0, 70);
        arrivals.begin(1, 90);
        assert_eq!((arrivals.begun_before(70), arrivals.begun_before(90)), (vec![], vec![0]));
        assert!(arrivals.fail(0, 100, 0));
        assert_eq!(arrivals.begun_before(u64::MAX), [1], "who waits is not on the way");
        assert_eq!(arrivals.due(BACK_OFF_NS * 2), Some(0));
        assert_eq!(arrivals.begun_before(BACK_OFF_NS), [1]);
        arrivals.complete(1);
        assert_eq!(arrivals.begun_before(u64::MAX), [0]);
    }

    #[test]
    fn the_server_says_how_long_and_a_crowd_is_spread() {
        let mut arrivals = Arrivals::new(1);
        for slot in 0..64 {
            arrivals.begin(slot, 0);
            assert!(arrivals.fail(slot, 0, 10 * BACK_OFF_NS));
        }
        assert_eq!(arrivals.due(10 * BACK_OFF_NS - 1), None);
        let first = std::iter::from_fn(|| arrivals.due(10 * BACK_OFF_NS)).count();
        assert_eq!(first, 64 / SPREAD as usize);
        assert_eq!(std::iter::from_fn(|| arrivals.due(15 * BACK_OFF_NS)).count(), 64 - first);
    }
}
