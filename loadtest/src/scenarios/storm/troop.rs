//! A storm as the users of one thread live it.

use std::ops::Range;

use hashbrown::HashMap;

use crate::crowd::{Departure, Scene};
use crate::net::Links;
use crate::scenarios::ResumeTokens;
use crate::scenarios::storm::board::{Board, Moment, Step};
use crate::scenarios::storm::tally::Tally;
use crate::scenarios::storm::{Cut, Storm};

/// Connections that are dropped in one tick: more would keep the thread from all else for too long.
const DROPS_PER_TICK: usize = 256;

#[derive(Debug)]
pub(crate) struct Troop {
    cut: Cut,
    heeds_delay: bool,
    /// Connections of this thread that may be on their way at a time.
    arriving_max: usize,
    /// Slots from here on are dropped.
    spared: usize,
    moment: Moment,
    next_drop: usize,
    told: bool,
    /// Who was dropped and is not back, and when they first tried to be.
    missing: HashMap<usize, Option<u64>>,
    pub(crate) resume_tokens: ResumeTokens,
    tally: Tally,
}

impl Troop {
    pub(crate) fn new(storm: &Storm, all: u32, users: &Range<u32>) -> Troop {
        let established = storm.established(all);
        let dropped = users.end.saturating_sub(users.start.max(established));
        let share = f64::from(dropped) / f64::from(all - established);
        Troop {
            cut: storm.cut,
            heeds_delay: storm.heeds_delay,
            arriving_max: ((f64::from(storm.arriving_max) * share) as usize).max(1),
            spared: users.len() - dropped as usize,
            moment: Moment::BEFORE,
            next_drop: users.len(),
            told: false,
            missing: HashMap::new(),
            resume_tokens: ResumeTokens::new(storm.credential, users.len()),
            tally: Tally::default(),
        }
    }

    pub(crate) fn arriving_max(&self) -> usize {
        self.arriving_max
    }

    pub(crate) fn heeds_delay(&self) -> bool {
        self.heeds_delay
    }

    pub(crate) fn is_missing(&self, slot: usize) -> bool {
        self.missing.contains_key(&slot)
    }

    pub(crate) fn attempted(&mut self, slot: usize, now_ns: u64) {
        if let Some(first_attempt_ns) = self.missing.get_mut(&slot) {
            first_attempt_ns.get_or_insert(now_ns);
            self.tally.attempts += 1;
        }
    }

    pub(crate) fn arrived(&mut self, slot: usize, links: &Links) {
        let Some(first_attempt_ns) = self.missing.remove(&slot) else {
            return;
        };
        let now_ns = links.now_ns();
        self.tally.back.record(now_ns.saturating_sub(self.moment.begun_ns));
        self.tally.arrive.record(now_ns.saturating_sub(first_attempt_ns.unwrap_or(now_ns)));
        match links.is_resumed(slot) {
            None => {}
            Some(true) => self.tally.tls_resumed += 1,
            Some(false) => self.tally.tls_full += 1,
        }
    }

    pub(crate) fn acknowledged(&mut self, slot: usize, intended_ns: u64, now_ns: u64) {
        if slot < self.spared {
            let rages = self.moment.touches(intended_ns, now_ns);
            let latencies = if rages { &mut self.tally.raging } else { &mut self.tally.calm };
            latencies.acknowledge.record(now_ns.saturating_sub(intended_ns));
        }
    }

    pub(crate) fn delivered(&mut self, slot: usize, intended_ns: u64, now_ns: u64) {
        if slot < self.spared {
            let rages = self.moment.touches(intended_ns, now_ns);
            let latencies = if rages { &mut self.tally.raging } else { &mut self.tally.calm };
            latencies.deliver.record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// Goes on to what the board says; returns the time of what is still to come.
    fn follow(&mut self, board: &Board, now_ns: u64) -> u64 {
        let moment = board.moment();
        if moment.step == Step::Raging && now_ns < moment.begun_ns {
            return moment.begun_ns;
        }
        let is_new = (moment.round, moment.step) != (self.moment.round, self.moment.step);
        self.moment = moment;
        match moment.step {
            Step::Raging if is_new => {
                self.next_drop = self.spared;
                self.told = false;
            }
            Step::Collecting if is_new => board.hand_over(&std::mem::take(&mut self.tally)),
            Step::Before | Step::Raging | Step::Calm | Step::Collecting => {}
        }
        u64::MAX
    }

    /// Drops some of those who are to be dropped, and says when all are back. Returns when more is to
    /// be done.
    pub(crate) fn drop_some(
        &mut self,
        scene: &Scene<'_>,
        board: &Board,
        departures: &mut Vec<Departure>,
    ) -> u64 {
        let next_ns = self.follow(board, scene.now_ns);
        let everybody = scene.members.len();
        let some = self.next_drop..everybody.min(self.next_drop + DROPS_PER_TICK);
        self.next_drop = some.end;
        // Whoever is not active has lost the connection anyway, and is on the way back.
        for slot in some.filter(|&slot| scene.members[slot].is_active()) {
            self.tally.dropped += 1;
            self.missing.insert(slot, None);
            let is_reset = self.cut == Cut::Reset;
            departures.push(Departure { slot, is_reset, back_ns: scene.now_ns });
        }
        let rages = self.moment.step == Step::Raging;
        if self.next_drop == everybody && self.missing.is_empty() && !self.told && rages {
            self.told = true;
            board.everybody_is_back();
        }
        if self.next_drop < everybody { scene.now_ns } else { next_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_is_still_to_come_is_waited_for() {
        let (board, mut troop) = (Board::default(), Troop::new(&Storm::default(), 10, &(0..10)));
        assert_eq!(troop.follow(&board, 500), u64::MAX);
        board.rage(1000);
        assert_eq!(troop.follow(&board, 999), 1000);
        assert_eq!((troop.moment, troop.next_drop), (Moment::BEFORE, 10));
        assert_eq!(troop.follow(&board, 1000), u64::MAX);
        assert_eq!((troop.moment.step, troop.next_drop), (Step::Raging, 2));
    }
}
