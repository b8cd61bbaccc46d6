//! The messages of an open load: each has its intended start, whatever became of those before it.

use std::time::Duration;

use crate::crowd::Load;
use crate::crowd::{Senders, Turns};
use crate::phases::Schedule;

/// Of one thread. Of a closed load, or of a thread without senders, none is ever due.
#[derive(Debug)]
pub(crate) struct OpenLoad {
    turns: Option<Turns>,
    /// No more messages will be due.
    all_sent: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A message is due, intended for this time.
    Send { sender: usize, at_ns: u64 },
    /// None is before this time.
    Wait { until_ns: u64 },
}

impl OpenLoad {
    /// With a rate that begins after the warm-up.
    pub(crate) fn new(load: &Load, warm_up: Duration, senders: &Senders) -> OpenLoad {
        let turns = match load {
            Load::Open { messages_per_second } if !senders.own.is_empty() => {
                Some(Turns::new(messages_per_second.clone().after(warm_up), senders))
            }
            Load::Open { .. } | Load::Closed { .. } => None,
        };
        OpenLoad { turns, all_sent: false }
    }

    /// The next message that is due by now counts as sent.
    pub(crate) fn next(&mut self, now_ns: u64, schedule: &Schedule) -> Next {
        let Some(turns) = &mut self.turns else {
            return Next::Wait { until_ns: u64::MAX };
        };
        let turn = turns.next();
        let at_ns = schedule.start_ns.saturating_add(turn.after_ns);
        self.all_sent = at_ns >= schedule.measure_to_ns;
        if at_ns > now_ns || self.all_sent {
            return Next::Wait { until_ns: at_ns };
        }
        turns.advance();
        Next::Send { sender: turn.sender, at_ns }
    }

    /// Whether all has been sent that was due, however late this thread is; without an open load,
    /// whether the window has passed.
    pub(crate) fn is_over(&self, now_ns: u64, schedule: &Schedule) -> bool {
        match self.turns {
            Some(_) => self.all_sent,
            None => now_ns >= schedule.measure_to_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::Rate;

    const SCHEDULE: Schedule =
        Schedule { start_ns: 1_000, measure_from_ns: 1_000, measure_to_ns: 2_000_001_000 };

    fn load(load: &Load, own: Vec<u32>) -> OpenLoad {
        OpenLoad::new(load, Duration::ZERO, &Senders { all: 2, first: 0, own, sides: 1 })
    }

    fn open() -> Load {
        Load::Open { messages_per_second: Rate::constant(2.0) }
    }

    #[test]
    fn a_late_thread_sends_all_that_was_due_before_it_is_done() {
        let mut load = load(&open(), vec![0, 1]);
        assert_eq!(load.next(999, &SCHEDULE), Next::Wait { until_ns: 1_000 });
        let (mut sent, late_ns) = (Vec::new(), 9_000_000_000);
        loop {
            assert!(!load.is_over(late_ns, &SCHEDULE));
            match load.next(late_ns, &SCHEDULE) {
                Next::Send { sender, at_ns } => sent.push((sender, at_ns)),
                Next::Wait { until_ns } => break assert!(until_ns >= SCHEDULE.measure_to_ns),
            }
        }
        let half_seconds = |count: u64| 1_000 + count * 500_000_000;
        let expected = [0, 1, 0, 1].into_iter().zip((0..4).map(half_seconds));
        assert_eq!(sent, expected.collect::<Vec<_>>());
        assert!(load.is_over(0, &SCHEDULE));
    }

    #[test]
    fn a_window_that_is_cut_short_ends_the_load() {
        let mut load = load(&open(), vec![0, 1]);
        assert!(matches!(load.next(1_000, &SCHEDULE), Next::Send { .. }));
        assert!(matches!(load.next(1_000, &SCHEDULE), Next::Wait { .. }));
        assert!(!load.is_over(1_000, &SCHEDULE));
        let cut = Schedule { measure_to_ns: 2_000, ..SCHEDULE };
        load.next(2_000, &cut);
        assert!(load.is_over(2_000, &cut));
    }

    #[test]
    fn where_nothing_is_due_the_window_is_waited_for() {
        for mut load in [load(&Load::Closed { outstanding: 1 }, vec![0]), load(&open(), vec![])] {
            assert_eq!(load.next(u64::MAX, &SCHEDULE), Next::Wait { until_ns: u64::MAX });
            assert!(!load.is_over(SCHEDULE.measure_to_ns - 1, &SCHEDULE));
            assert!(load.is_over(SCHEDULE.measure_to_ns, &SCHEDULE));
        }
    }
}
