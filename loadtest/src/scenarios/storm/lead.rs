//! The coordinator's part of a storm: when it begins, when it is over, and what memory it leaves.

use std::time::Duration;

use crate::phases::Coordinator;
use crate::scenarios::storm::report::{Round, RoundReport, StormReport};
use crate::scenarios::storm::{Board, Storm};

/// Time for generators in other processes to learn of a round before it begins, so that it does for
/// all of them at one moment.
pub(crate) const NOTICE_ELSEWHERE: Duration = Duration::from_secs(1);

/// How long the threads may take to hand over what they have counted: they only need to look.
pub(crate) const COLLECT_TIMEOUT: Duration = Duration::from_secs(60);

impl Storm {
    /// All rounds. Ends early if somebody does not come back, and says so among the reasons.
    pub(crate) fn lead<T>(
        &self,
        users: u32,
        board: &Board,
        coordinator: &mut Coordinator<'_, '_, T>,
        reasons: &mut Vec<String>,
    ) -> StormReport {
        let mut report = StormReport::new(self, users, coordinator.server());
        for number in 1..=self.rounds {
            let Some(round) = self.round(number, board, coordinator) else {
                let timeout_s = COLLECT_TIMEOUT.as_secs();
                reasons.push(format!(
                    "storm {number}: its counts were not handed over within {timeout_s} s"
                ));
                break;
            };
            let (returned, dropped) = (round.tally.back.count(), round.tally.dropped);
            report.rounds.push(RoundReport::from(&round));
            if returned < dropped {
                reasons.push(format!(
                    "storm {number}: {returned} of {dropped} users were back within {} s",
                    self.return_timeout_s
                ));
                break;
            }
            if coordinator.course.is_told_to_stop() {
                break;
            }
        }
        report
    }

    /// `None` if what was counted is not complete.
    fn round<T>(
        &self,
        number: u32,
        board: &Board,
        coordinator: &mut Coordinator<'_, '_, T>,
    ) -> Option<Round> {
        let threads = coordinator.threads.len();
        let clock = coordinator.board.clock;
        let elsewhere = coordinator.course.generators.as_ref();
        let notice = elsewhere.map_or(Duration::ZERO, |_| NOTICE_ELSEWHERE);
        let begun_ns = clock.now_ns() + notice.as_nanos() as u64;
        board.rage(begun_ns);
        coordinator.wait_until(&format!("calm before storm {number}"), begun_ns);
        let before = coordinator.server();
        coordinator.wait(&format!("storm {number}"), self.return_timeout_s.into(), |_| {
            board.returned() >= threads
        });
        let over_ns = clock.now_ns();
        board.calm(over_ns);
        let back = coordinator.server();
        let calm_ns = Duration::from(self.calm_s).as_nanos() as u64;
        coordinator.wait_until(&format!("calm {number}"), over_ns + calm_ns);
        let calm = coordinator.server();
        board.collect();
        if !coordinator.wait("collecting", COLLECT_TIMEOUT, |_| board.handed() >= threads) {
            return None;
        }
        let tally = board.take_tally();
        Some(Round { number, begun_ns, tally, before, back, calm })
    }
}
