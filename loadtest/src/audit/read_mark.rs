//! How far one side of a conversation has read, by its own marks.

use crate::audit::fault::{Fault, FaultLog};

/// The read cursor of one side. It never moves back, and what was answered is durable.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadMark {
    /// The highest sequence that the user asked for.
    asked: u64,
    /// The highest one that the server answered.
    answered: u64,
}

impl ReadMark {
    /// The user marks everything up to `seq` as read.
    pub fn asked(&mut self, seq: u64) {
        self.asked = self.asked.max(seq);
    }

    /// The server has moved the cursor to `seq`, or it was further already.
    pub fn answered(&mut self, seq: u64) {
        self.answered = self.answered.max(seq);
    }

    /// The answer to a mark says where the cursor is: where it was asked to be, or further.
    pub fn moved(&mut self, user: u32, asked: u64, seq: u64, faults: &mut FaultLog) {
        self.shown(user, seq, faults);
        if seq < asked {
            faults.add(Fault::ReadMarkWentBack { user, marked: asked, found: seq });
        }
        self.answered(asked);
    }

    /// `reader` is told that this user has read up to `seq`.
    pub fn shown(&self, reader: u32, seq: u64, faults: &mut FaultLog) {
        if seq > self.asked {
            let detail = format!("it is marked as read, though only {} was", self.asked);
            faults.add(Fault::Phantom { user: reader, seq, detail });
        }
    }

    /// The user itself is told so on a new connection, when no mark is under way.
    pub fn found(&self, user: u32, seq: u64, faults: &mut FaultLog) {
        self.shown(user, seq, faults);
        if seq < self.answered {
            faults.add(Fault::ReadMarkWentBack { user, marked: self.answered, found: seq });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_between_what_was_answered_and_what_was_asked_for() {
        let mut mark = ReadMark::default();
        [3, 9, 5].into_iter().for_each(|seq| mark.asked(seq));
        [5, 3].into_iter().for_each(|seq| mark.answered(seq));
        for (found, kinds) in [(4, vec!["lost"]), (5, vec![]), (9, vec![]), (10, vec!["phantom"])] {
            let mut faults = FaultLog::default();
            mark.found(0, found, &mut faults);
            assert_eq!(faults.counts().keys().copied().collect::<Vec<_>>(), kinds, "{found}");
        }
        let mut faults = FaultLog::default();
        mark.shown(1, 1, &mut faults);
        assert!(faults.is_empty(), "a receipt may be an old one");
        mark.shown(1, 10, &mut faults);
        assert_eq!(faults.counts()["phantom"], 1);
    }

    #[test]
    fn the_answer_to_a_mark_is_no_less_than_was_asked_for() {
        let mut mark = ReadMark::default();
        mark.asked(9);
        for (seq, kinds) in [(4, vec!["lost"]), (5, vec![]), (9, vec![]), (10, vec!["phantom"])] {
            let mut faults = FaultLog::default();
            mark.moved(0, 5, seq, &mut faults);
            assert_eq!(faults.counts().keys().copied().collect::<Vec<_>>(), kinds, "{seq}");
        }
        assert_eq!(mark.answered, 5);
    }
}
