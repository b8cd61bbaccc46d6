//! Logs of which it is not known whether the last batch is in them.
//!
//! When the store does not answer an append, its entries may be stored all the same, and nobody was
//! told of them. The senders are answered with an error and may never try again. So the heads of
//! these logs are read as soon as the store works, and if one has grown, its users are told that
//! they are behind.

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::flow::{Answer, HeadsFlow};
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
        answer: Answer<Vec<Head>>,
    ) -> impl Iterator<Item = (LogId, u64)> + use<> {
        let heads = answer.unwrap_or_else(|_| {
            asked.iter().for_each(|&(log, head)| self.after(log, head));
            Vec::new()
        });
        let both = asked.into_iter().zip(heads);
        both.filter_map(|((log, known), head)| (head.seq > known).then_some((log, head.seq)))
    }
}
