//! What a thread tells of its progress: counts since the start, and the account of the running
//! second.

use crate::audit::FaultLog;
use crate::phases::{Board, Progress};
use crate::report::Interval;

/// Kept by the thread alone, so that nothing on the way of a message takes a lock or touches what
/// others touch; told every so often.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) progress: Progress,
    pub(crate) second: Interval,
    told: Progress,
}

impl Account {
    /// A message was answered, so long after its intended start.
    pub(crate) fn acknowledged(&mut self, latency_ns: u64) {
        self.progress.acknowledged += 1;
        self.second.acknowledge.record(latency_ns);
    }

    /// A request beside the messages was answered, so long after its intended start.
    pub(crate) fn answered(&mut self, latency_ns: u64) {
        self.progress.answered += 1;
        self.second.answer.record(latency_ns);
    }

    /// A message reached one who was to read it.
    pub(crate) fn delivered(&mut self, latency_ns: u64) {
        self.progress.delivered += 1;
        self.second.deliver.record(latency_ns);
    }

    /// Tells the board; of the second as soon as it is past.
    pub(crate) fn tell(&mut self, now_ns: u64, faults: &FaultLog, board: &Board) {
        self.progress.errors = faults.counts().values().sum();
        self.second.see_errors(faults.counts());
        self.publish(board);
        self.second.hand_over_if_past(now_ns, &board.seconds);
    }

    /// Tells the board all that is left.
    pub(crate) fn close(&mut self, faults: &FaultLog, board: &Board) {
        self.progress.errors = faults.counts().values().sum();
        self.second.see_errors(faults.counts());
        self.publish(board);
        self.second.hand_over(&board.seconds);
    }

    fn publish(&mut self, board: &Board) {
        board.publish(self.told, self.progress);
        self.told = self.progress;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Fault;
    use crate::net::Clock;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn everything_is_told_once() {
        let (board, mut faults) = (Board::new(Clock::start()), FaultLog::default());
        let mut account = Account::default();
        for told in 1..=3 {
            account.acknowledged(1_000_000);
            account.delivered(2_000_000);
            faults.add(Fault::Lost { user: 1, counter: 2 });
            account.tell(0, &faults, &board);
            let progress = board.progress();
            let counts = (progress.acknowledged, progress.delivered, progress.errors);
            assert_eq!(counts, (told, told, told));
        }
        let taken = board.seconds.take();
        assert_eq!((taken.deliver.count(), taken.errors.total()), (0, 0), "it is not past");
        account.tell(SECOND_NS, &faults, &board);
        let taken = board.seconds.take();
        assert_eq!((taken.acknowledge.count(), taken.deliver.count()), (3, 3));
        assert_eq!(taken.errors.total(), 3);
        account.delivered(1_000_000);
        faults.add(Fault::Lost { user: 1, counter: 3 });
        account.close(&faults, &board);
        let taken = board.seconds.take();
        assert_eq!((taken.acknowledge.count(), taken.deliver.count()), (0, 1));
        assert_eq!((taken.errors.total(), board.progress().errors), (1, 4));
    }
}
