//! The coordinator's part of a storm: when it begins, when it is over, and what memory it leaves.

use std::time::Duration;

use crate::chat::run::{Coordinator, is_told_to_stop};
use crate::chat::storm::Storm;
use crate::chat::storm::report::{Round, RoundReport, StormReport};
use crate::process::{self, Usage};

/// How long the threads may take to hand over what they have counted: they only need to look.
pub(crate) const COLLECT_TIMEOUT: Duration = Duration::from_secs(60);

impl Coordinator<'_, '_> {
    /// All rounds. Ends early if somebody does not come back, and says so among the reasons.
    pub(crate) fn storm(&mut self, storm: &Storm, reasons: &mut Vec<String>) -> StormReport {
        let mut report = StormReport::new(storm, self.scenario.users, self.server());
        for number in 1..=storm.rounds {
            let round = self.round(number, storm);
            let (returned, dropped) = (round.tally.back.count(), round.tally.dropped);
            report.rounds.push(RoundReport::from(&round));
            if returned < dropped {
                reasons.push(format!(
                    "storm {number}: {returned} of {dropped} users were back within {} s",
                    storm.return_timeout_s
                ));
                break;
            }
            if is_told_to_stop(self.scenario) {
                break;
            }
        }
        report
    }

    fn round(&mut self, number: u32, storm: &Storm) -> Round {
        let threads = self.threads.len();
        let before = self.server();
        let board = &self.shared.storm;
        let begun_ns = self.shared.clock.now_ns();
        board.rage(begun_ns);
        self.wait(&format!("storm {number}"), storm.return_timeout_s.into(), |shared| {
            shared.storm.returned() >= threads
        });
        let over_ns = self.shared.clock.now_ns();
        board.calm(over_ns);
        let back = self.server();
        let calm_ns = Duration::from(storm.calm_s).as_nanos() as u64;
        self.wait_until(&format!("calm {number}"), over_ns + calm_ns);
        let calm = self.server();
        board.collect();
        self.wait("collecting", COLLECT_TIMEOUT, |shared| shared.storm.handed() >= threads);
        let tally = board.take_tally();
        Round { number, tally, before, back, calm }
    }

    fn server(&self) -> Option<Usage> {
        self.scenario.target.pid.and_then(|pid| process::usage(pid).ok())
    }
}
