//! Heartbeats of the idle users of a thread: an open load, spread evenly over the interval.
//!
//! Users take turns by slot, so that nothing is kept for each of them. Round trips are taken of
//! some users only: those keep an entry while an answer is outstanding.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use serde::{Deserialize, Serialize};

use crate::latency::Latencies;

/// Users of a thread whose round trips are taken; of more, every n-th.
const SAMPLED: usize = 256;

/// Heartbeats of one user that have not been answered.
#[derive(Debug, Clone, Copy)]
struct Outstanding {
    /// When the oldest was sent, if its answer is the next one to come.
    sent_ns: Option<u64>,
    count: u32,
}

/// Of one thread.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    slots: usize,
    interval_ns: u64,
    next_slot: usize,
    next_ns: u64,
    outstanding: HashMap<usize, Outstanding>,
}

/// What comes of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pulse {
    pub(crate) sent: u64,
    /// From the intended start to the real one, while all were held.
    pub(crate) lateness: Latencies,
    /// From sending to the answer, likewise.
    pub(crate) round_trip: Latencies,
    /// Turns of sampled users at which the answer to the heartbeat before was missing.
    pub(crate) overdue: u64,
}

impl Pulse {
    pub(crate) fn merge(&mut self, other: &Pulse) {
        self.sent += other.sent;
        self.lateness.merge(&other.lateness);
        self.round_trip.merge(&other.round_trip);
        self.overdue += other.overdue;
    }
}

/// A turn of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) slot: usize,
    intended_ns: u64,
}

impl Heartbeats {
    pub(crate) fn new(slots: usize, interval_ns: u64) -> Heartbeats {
        Heartbeats { slots, interval_ns, next_slot: 0, next_ns: 0, outstanding: HashMap::new() }
    }

    /// From now on, each user has a turn this often.
    pub(crate) fn set_interval(&mut self, interval_ns: u64) {
        self.interval_ns = interval_ns;
    }

    /// The next turn, if its time has come. The first is that of the first call.
    pub(crate) fn next_turn(&mut self, now_ns: u64) -> Option<Turn> {
        if self.next_ns == 0 {
            self.next_ns = now_ns;
        }
        if self.next_ns > now_ns || self.slots == 0 {
            return None;
        }
        let turn = Turn { slot: self.next_slot, intended_ns: self.next_ns };
        self.next_ns += (self.interval_ns / self.slots as u64).max(1);
        self.next_slot = (self.next_slot + 1) % self.slots;
        Some(turn)
    }

    /// The heartbeat of a turn goes out. Figures are taken `while_held`: while everybody arrives,
    /// the harness is busy with that.
    pub(crate) fn sent(&mut self, turn: Turn, now_ns: u64, while_held: bool, pulse: &mut Pulse) {
        pulse.sent += 1;
        if while_held {
            pulse.lateness.record(now_ns.saturating_sub(turn.intended_ns));
        }
        if !turn.slot.is_multiple_of(self.slots.div_ceil(SAMPLED)) {
            return;
        }
        match self.outstanding.entry(turn.slot) {
            Entry::Vacant(entry) => {
                let sent_ns = while_held.then_some(now_ns);
                entry.insert(Outstanding { sent_ns, count: 1 });
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().count += 1;
                pulse.overdue += u64::from(while_held);
            }
        }
    }

    /// An answer came; the clock is asked only if that matters. Returns the time that it took if
    /// it counts.
    pub(crate) fn answered(
        &mut self,
        slot: usize,
        now_ns: impl FnOnce() -> u64,
        pulse: &mut Pulse,
    ) -> Option<u64> {
        if self.outstanding.is_empty() {
            return None;
        }
        let Entry::Occupied(mut entry) = self.outstanding.entry(slot) else {
            return None;
        };
        let sent_ns = entry.get_mut().sent_ns.take();
        let round_trip_ns = sent_ns.map(|sent_ns| now_ns().saturating_sub(sent_ns));
        if let Some(round_trip_ns) = round_trip_ns {
            pulse.round_trip.record(round_trip_ns);
        }
        entry.get_mut().count -= 1;
        if entry.get().count == 0 {
            entry.remove();
        }
        round_trip_ns
    }

    /// Its connection is gone, and with it all answers.
    pub(crate) fn gone(&mut self, slot: usize) {
        self.outstanding.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(heartbeats: &mut Heartbeats, now_ns: u64) -> Vec<Turn> {
        std::iter::from_fn(|| heartbeats.next_turn(now_ns)).collect()
    }

    #[test]
    fn everybody_has_one_turn_in_each_interval() {
        let mut heartbeats = Heartbeats::new(4, 1000);
        let first = turns(&mut heartbeats, 1);
        assert_eq!(first, [Turn { slot: 0, intended_ns: 1 }]);
        let slots: Vec<_> = turns(&mut heartbeats, 1001).iter().map(|turn| turn.slot).collect();
        assert_eq!(slots, [1, 2, 3, 0]);
    }

    #[test]
    fn a_late_thread_is_late_by_the_intended_start() {
        let (mut heartbeats, mut pulse) = (Heartbeats::new(1, 1_000_000), Pulse::default());
        for turn in turns(&mut heartbeats, 1) {
            heartbeats.sent(turn, 1, false, &mut pulse);
        }
        for turn in turns(&mut heartbeats, 3_000_001) {
            heartbeats.sent(turn, 3_000_001, true, &mut pulse);
        }
        let lateness = pulse.lateness.summary();
        assert_eq!((pulse.sent, lateness.count), (4, 3));
        assert!((lateness.max_us - 2000.0).abs() < 10.0, "{lateness:?}");
    }

    #[test]
    fn an_answer_belongs_to_the_oldest_heartbeat() {
        let (mut heartbeats, mut pulse) = (Heartbeats::new(1, 1000), Pulse::default());
        let turn = |intended_ns| Turn { slot: 0, intended_ns };
        heartbeats.sent(turn(0), 1_000_000, true, &mut pulse);
        heartbeats.sent(turn(0), 2_000_000, true, &mut pulse);
        heartbeats.answered(0, || 5_000_000, &mut pulse);
        heartbeats.answered(0, || panic!("the second one was not timed"), &mut pulse);
        assert_eq!(pulse.overdue, 1);
        heartbeats.sent(turn(0), 9_000_000, true, &mut pulse);
        heartbeats.gone(0);
        heartbeats.answered(0, || panic!("nothing is outstanding"), &mut pulse);
        let round_trip = pulse.round_trip.summary();
        assert_eq!(round_trip.count, 1);
        assert!((round_trip.max_us - 4000.0).abs() < 10.0, "{round_trip:?}");
    }

    #[test]
    fn some_of_many_are_sampled() {
        let (mut heartbeats, mut pulse) = (Heartbeats::new(10 * SAMPLED, 1000), Pulse::default());
        for slot in 0..10 * SAMPLED {
            heartbeats.sent(Turn { slot, intended_ns: 0 }, 1, true, &mut pulse);
        }
        assert_eq!(heartbeats.outstanding.len(), SAMPLED);
    }
}
