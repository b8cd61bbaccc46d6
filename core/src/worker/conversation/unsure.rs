//! Logs of which it is not known whether the last batch is in them.
//!
//! When the store does not answer an append, its entries may be stored all the same, and nobody was
//! told of them. The senders are answered with an error and may never try again. So the heads of
//! these logs are read as soon as the store works, and if one has grown, its users are told that
//! they are behind.

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::membership::users_of;
use crate::store::{StoreReply, StoreRequest};
use crate::worker::Worker;
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, StoreResult};

/// The logs, each with the head that its users were told of.
pub(in crate::worker) type Unsure = HashMap<LogId, u64, RandomState>;

impl Worker {
    /// The fate of what was appended after `head` is not known.
    pub(in crate::worker) fn is_unsure_after(&mut self, log: LogId, head: u64) {
        let known = self.unsure.entry(log).or_insert(head);
        *known = head.min(*known);
    }

    /// Time has passed: asks again what became of them.
    pub(in crate::worker) fn tick_unsure(&mut self, effects: &mut Effects) {
        if self.unsure.is_empty() {
            return;
        }
        let mut asked: Vec<_> = self.unsure.drain().collect();
        // A seed of the simulation must lead to the same run, whatever the order of the table.
        asked.sort_unstable();
        let logs = asked.iter().map(|(log, _)| *log).collect();
        self.ask_store(StoreRequest::Heads(logs), Flow::Unsure(asked), effects);
    }

    pub(in crate::worker) fn unsure_heads_read(
        &mut self,
        asked: &[(LogId, u64)],
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let Ok(StoreReply::Heads(heads)) = result else {
            asked.iter().for_each(|&(log, head)| self.is_unsure_after(log, head));
            return;
        };
        for (&(log, known), head) in asked.iter().zip(&heads) {
            if head.seq > known {
                self.push_behind(&users_of(log), log, head.seq, effects);
            }
        }
    }
}
