//! What a worker has to come back to: at the end of the tick, and after a while.

use std::collections::VecDeque;

use dunlin_protocol::LogId;

use crate::limits::{STATE_IDLE_MS, TABLE_ROOM_MIN};
use crate::store::Write;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// What has something to number at the end of the tick, each once.
    ready: Vec<LogId>,
    /// Each conversation in memory once, with the time at which to look whether it is idle; the
    /// earliest first. By the clock that is never set.
    sweep: VecDeque<(u64, LogId)>,
}

/// What a tick appends: one request to the store for all conversations.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) writes: Vec<Write>,
    pub(crate) runs: Vec<Run>,
}

/// Writes to one log, which stand together in the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) log: LogId,
    pub(crate) count: usize,
}

impl Agenda {
    /// It has something to number at the end of the tick.
    pub(crate) fn number(&mut self, log: LogId) {
        self.ready.push(log);
    }

    /// It was put into memory: whether it is idle is to be looked at in a while.
    pub(crate) fn sweep_later(&mut self, log: LogId, now_ms: u64) {
        self.sweep.push_back((now_ms + STATE_IDLE_MS, log));
    }

    /// What is to be numbered now.
    pub(super) fn take_ready(&mut self) -> Vec<LogId> {
        std::mem::take(&mut self.ready)
    }

    /// The next one whose time to be looked at has come.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<LogId> {
        let due = self.sweep.pop_front_if(|(due_ms, _)| *due_ms <= now_ms);
        due.map(|(_, log)| log)
    }

    /// Gives room back as what it lists does, with which it is forgotten.
    pub(super) fn give_room_back(&mut self) {
        if self.sweep.capacity() > TABLE_ROOM_MIN && self.sweep.len() < self.sweep.capacity() / 8 {
            self.sweep.shrink_to((self.sweep.len() * 2).max(TABLE_ROOM_MIN));
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::UserId;

    use super::*;

    #[test]
    fn each_is_looked_at_once_it_is_due() {
        let user = |id| UserId::new(id).unwrap();
        let (one, other) = (LogId::direct(user(1), user(2)), LogId::direct(user(1), user(3)));
        let mut agenda = Agenda::default();
        agenda.sweep_later(one, 1_000);
        agenda.sweep_later(other, 1_001);
        assert_eq!(agenda.take_due(1_000 + STATE_IDLE_MS - 1), None);
        assert_eq!(agenda.take_due(1_000 + STATE_IDLE_MS), Some(one));
        assert_eq!(agenda.take_due(1_000 + STATE_IDLE_MS), None);
        assert_eq!(agenda.take_due(1_001 + STATE_IDLE_MS), Some(other));
    }
}
