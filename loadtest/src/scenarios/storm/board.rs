//! What the coordinator of a storm and the threads tell each other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::scenarios::storm::tally::Tally;

/// Where a round stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    pub(crate) round: u32,
    pub(crate) step: Step,
    /// May be still to come: then the round has not begun.
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
    /// Round and step in one number, so that nobody sees one without the other.
    stage: AtomicU64,
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
            stage: AtomicU64::new(stage(&Moment::BEFORE)),
            begun_ns: AtomicU64::new(Moment::BEFORE.begun_ns),
            over_ns: AtomicU64::new(Moment::BEFORE.over_ns),
            returned: AtomicUsize::new(0),
            handed: AtomicUsize::new(0),
            tally: Mutex::default(),
        }
    }
}

fn stage(moment: &Moment) -> u64 {
    u64::from(moment.round) * STEPS.len() as u64 + moment.step as u64
}

impl Board {
    pub(crate) fn moment(&self) -> Moment {
        // The stage is written last, so whoever sees it sees what belongs to it.
        let stage = self.stage.load(Ordering::Acquire);
        let steps = STEPS.len() as u64;
        Moment {
            round: (stage / steps) as u32,
            step: STEPS[(stage % steps) as usize],
            begun_ns: self.begun_ns.load(Ordering::Relaxed),
            over_ns: self.over_ns.load(Ordering::Relaxed),
        }
    }

    /// Goes on to a moment of this round, or of the next one. Only the coordinator does, or whoever
    /// passes on its word.
    pub(crate) fn go_on(&self, moment: Moment) {
        if moment.round != self.moment().round {
            self.returned.store(0, Ordering::Relaxed);
            self.handed.store(0, Ordering::Relaxed);
        }
        // Threads may see these times before the stage that they belong to: they are right at once.
        self.begun_ns.store(moment.begun_ns, Ordering::Relaxed);
        self.over_ns.store(moment.over_ns, Ordering::Relaxed);
        self.stage.store(stage(&moment), Ordering::Release);
    }

    /// The next round begins at this time.
    pub(crate) fn rage(&self, begun_ns: u64) {
        let round = self.moment().round + 1;
        self.go_on(Moment { round, step: Step::Raging, begun_ns, over_ns: u64::MAX });
    }

    pub(crate) fn calm(&self, now_ns: u64) {
        self.go_on(Moment { step: Step::Calm, over_ns: now_ns, ..self.moment() });
    }

    pub(crate) fn collect(&self) {
        self.go_on(Moment { step: Step::Collecting, ..self.moment() });
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

    /// What all of so many threads have handed over in this round; once in each.
    pub(crate) fn take_whole_tally(&self, threads: usize) -> Option<Tally> {
        let is_whole = self.handed() >= threads;
        is_whole.then(|| {
            self.handed.store(0, Ordering::Relaxed);
            self.take_tally()
        })
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

    #[test]
    fn nobody_sees_a_round_with_the_step_of_another_one() {
        let (board, rounds) = (Board::default(), 20_000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..rounds {
                    board.rage(1);
                    board.calm(2);
                    board.collect();
                }
            });
            let mut before = (0, Step::Before);
            while before != (rounds, Step::Collecting) {
                let Moment { round, step, .. } = board.moment();
                assert!(before <= (round, step), "{before:?}, then {:?}", (round, step));
                before = (round, step);
            }
        });
    }
}
