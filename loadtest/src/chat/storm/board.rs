//! What the coordinator of a storm and the threads tell each other.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::chat::storm::tally::Tally;

/// Where a round stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// Nothing has happened yet.
    Before,
    /// Connections are dropped and come back.
    Raging,
    /// All are back.
    Calm,
    /// The threads hand over what they have counted.
    Collecting,
}

const STEPS: [Step; 4] = [Step::Before, Step::Raging, Step::Calm, Step::Collecting];

/// What a thread reads off the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) round: u32,
    pub(crate) step: Step,
    pub(crate) begun_ns: u64,
    /// The end of this round; never, while it rages.
    pub(crate) over_ns: u64,
}

impl Moment {
    pub(crate) const BEFORE: Moment =
        Moment { round: 0, step: Step::Before, begun_ns: u64::MAX, over_ns: u64::MAX };

    /// Whether any of this time was in the storm.
    pub(crate) fn touches(&self, from_ns: u64, to_ns: u64) -> bool {
        from_ns < self.over_ns && to_ns >= self.begun_ns
    }
}

#[derive(Debug)]
pub(crate) struct Board {
    round: AtomicU32,
    step: AtomicU8,
    begun_ns: AtomicU64,
    over_ns: AtomicU64,
    /// Threads of which everybody is back in this round.
    returned: AtomicUsize,
    /// Threads that have handed over their tally of this round.
    handed: AtomicUsize,
    tally: Mutex<Tally>,
}

impl Default for Board {
    fn default() -> Board {
        Board {
            round: AtomicU32::new(0),
            step: AtomicU8::new(Step::Before as u8),
            begun_ns: AtomicU64::new(u64::MAX),
            over_ns: AtomicU64::new(u64::MAX),
            returned: AtomicUsize::new(0),
            handed: AtomicUsize::new(0),
            tally: Mutex::default(),
        }
    }
}

impl Board {
    pub(crate) fn moment(&self) -> Moment {
        // The step is written last, so whoever sees it sees what belongs to it.
        let step = STEPS[usize::from(self.step.load(Ordering::Acquire))];
        Moment {
            round: self.round.load(Ordering::Relaxed),
            step,
            begun_ns: self.begun_ns.load(Ordering::Relaxed),
            over_ns: self.over_ns.load(Ordering::Relaxed),
        }
    }

    fn step(&self, step: Step) {
        self.step.store(step as u8, Ordering::Release);
    }

    pub(crate) fn rage(&self, now_ns: u64) {
        self.returned.store(0, Ordering::Relaxed);
        self.handed.store(0, Ordering::Relaxed);
        self.over_ns.store(u64::MAX, Ordering::Relaxed);
        self.begun_ns.store(now_ns, Ordering::Relaxed);
        self.round.fetch_add(1, Ordering::Relaxed);
        self.step(Step::Raging);
    }

    pub(crate) fn calm(&self, now_ns: u64) {
        self.over_ns.store(now_ns, Ordering::Relaxed);
        self.step(Step::Calm);
    }

    pub(crate) fn collect(&self) {
        self.step(Step::Collecting);
    }

    pub(crate) fn everybody_is_back(&self) {
        self.returned.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn returned(&self) -> usize {
        self.returned.load(Ordering::Acquire)
    }

    pub(crate) fn hand_over(&self, tally: &Tally) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).merge(tally);
        self.handed.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn handed(&self) -> usize {
        self.handed.load(Ordering::Acquire)
    }

    /// What all threads have handed over since the last time.
    pub(crate) fn take_tally(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_before_or_ended_after_touches_the_storm_too() {
        let board = Board::default();
        assert!(!board.moment().touches(0, 1));
        board.rage(100);
        let raging = board.moment();
        assert_eq!((raging.round, raging.step), (1, Step::Raging));
        assert!(raging.touches(90, 100) && raging.touches(150, 200) && !raging.touches(80, 99));
        board.calm(300);
        let calm = board.moment();
        assert!(calm.touches(299, 400) && !calm.touches(300, 400));
    }
}
