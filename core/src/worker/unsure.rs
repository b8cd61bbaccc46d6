//! Logs of which it is not known whether the last batch is in them.
//!
//! When the store does not answer an append, its entries may be stored all the same, and nobody was
//! told of them. The senders are answered with an error and may never try again. So the heads of
//! these logs are read as soon as the store works, and if one has grown, its users are told that
//! they are behind.

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::flow::{Answers, HeadsFlow, each};
use super::turn::Turn;
use crate::store::Head;

/// The logs, each with the head that its users were told of.
#[derive(Debug, Default)]
pub(super) struct Unsure(HashMap<LogId, u64, RandomState>);

impl Unsure {
    /// The fate of what was appended after `head` is not known.
    pub(super) fn after(&mut self, log: LogId, head: u64) {
        let known = self.0.entry(log).or_insert(head);
        *known = head.min(*known);
    }

    /// Time has passed: asks again what became of them.
    pub(super) fn ask(&mut self, turn: &mut Turn<'_>) {
        if self.0.is_empty() {
            return;
        }
        let mut asked: Vec<_> = self.0.drain().collect();
        // A seed of the simulation must lead to the same run, whatever the order of the table.
        asked.sort_unstable();
        let logs = asked.iter().map(|(log, _)| *log).collect();
        turn.ask_heads(logs, HeadsFlow::Unsure(asked));
    }

    /// The heads were read: which of the logs have grown, and up to where.
    pub(super) fn heads_read(
        &mut self,
        asked: Vec<(LogId, u64)>,
        answers: Answers<Head>,
    ) -> Vec<(LogId, u64)> {
        let mut grown = Vec::new();
        for ((log, known), answer) in each(asked, answers) {
            match answer {
                Ok(head) if head.seq > known => grown.push((log, head.seq)),
                Ok(_) => {}
                Err(_) => self.after(log, known),
            }
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::{INTERNAL, STORE_UNAVAILABLE};
    use crate::store::StoreRequest;
    use crate::worker::turn::stage::Stage;
    use dunlin_protocol::UserId;

    fn log(id: u64) -> LogId {
        LogId::account(UserId::new(id).unwrap())
    }

    fn heads(seqs: &[u64]) -> Answers<Head> {
        Ok(seqs.iter().map(|&seq| Ok(Head { seq, ..Head::default() })).collect())
    }

    /// What it asks the store for, with what it keeps of it.
    fn asked(unsure: &mut Unsure, stage: &mut Stage) -> Vec<(LogId, u64)> {
        let known: HashMap<_, _, RandomState> = unsure.0.clone();
        unsure.ask(&mut stage.turn());
        match &stage.asked()[..] {
            [] => Vec::new(),
            [StoreRequest::Heads(logs)] => logs.iter().map(|log| (*log, known[log])).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_logs_that_have_grown_are_told_of() {
        let (mut unsure, mut stage) = (Unsure::default(), Stage::new());
        assert_eq!(asked(&mut unsure, &mut stage), [], "nothing is open");
        for (id, head) in [(3, 5), (1, 7), (2, 0)] {
            unsure.after(log(id), head);
        }
        let open = asked(&mut unsure, &mut stage);
        assert_eq!(open, [(log(1), 7), (log(2), 0), (log(3), 5)], "in order");
        assert_eq!(asked(&mut unsure, &mut stage), [], "it is asked once at a time");
        let grown = unsure.heads_read(open, heads(&[7, 2, 9]));
        assert_eq!(grown, [(log(2), 2), (log(3), 9)]);
        assert_eq!(asked(&mut unsure, &mut stage), [], "it is known now");
    }

    #[test]
    fn as_long_as_the_store_says_nothing_it_is_asked_again() {
        let (mut unsure, mut stage) = (Unsure::default(), Stage::new());
        unsure.after(log(1), 7);
        let open = asked(&mut unsure, &mut stage);
        // Meanwhile another batch has failed, later ones before earlier ones or after them.
        unsure.after(log(1), 9);
        unsure.after(log(2), 3);
        assert_eq!(unsure.heads_read(open, Err(INTERNAL)), []);
        let open = asked(&mut unsure, &mut stage);
        assert_eq!(open, [(log(1), 7), (log(2), 3)], "whoever was told least is told");
        unsure.after(log(2), 2);
        let answers = Ok(vec![Err(INTERNAL), Err(STORE_UNAVAILABLE)]);
        assert_eq!(unsure.heads_read(open, answers), []);
        let open = asked(&mut unsure, &mut stage);
        assert_eq!(open, [(log(1), 7), (log(2), 2)]);
        let grown = unsure.heads_read(open, heads(&[8, 2]));
        assert_eq!(grown, [(log(1), 8)]);
    }
}
