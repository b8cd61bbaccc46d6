//! The final reading of a log by one reader.

use std::collections::VecDeque;

use crate::audit::ledger::book::{Book, Writer};
use crate::audit::view::View;

/// What one reader reads, and what that must show: what was certain when it began. A server that is
/// behind may store more while the log is read, or after.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) stored: Book,
    /// The highest sequence that the reader had been told.
    pub(super) highest: u64,
    /// By writer.
    owed: Box<[Owed]>,
}

/// What a writer had sent, but for what waited for its acknowledgement.
#[derive(Debug, Clone)]
struct Owed {
    sent: u32,
    unanswered: VecDeque<u32>,
}

impl Reading {
    /// It begins where what the reader was told does.
    pub(super) fn new(told: &View, writers: &[Writer]) -> Reading {
        let owed = writers
            .iter()
            .map(|writer| Owed { sent: writer.sent, unanswered: writer.pending.clone() });
        Reading { stored: Book::after(told.base()), highest: told.highest(), owed: owed.collect() }
    }

    /// The first range of sequences where another one reads something else.
    pub(super) fn differs_from(&self, other: &Reading) -> Option<(u64, u64)> {
        self.stored.view.differs_from(&other.stored.view)
    }

    /// What was owed and is not stored: the number of each writer, and the counters of its messages.
    pub(super) fn lost(&self) -> impl Iterator<Item = (usize, u32)> {
        self.owed.iter().enumerate().flat_map(|(writer, owed)| {
            let missing = self.stored.orders.missing(writer, owed.sent);
            let is_lost = |counter: &u32| {
                *counter <= owed.sent && owed.unanswered.binary_search(counter).is_err()
            };
            missing.filter(is_lost).map(move |counter| (writer, counter))
        })
    }
}
