//! Where what is too old ends: a binary search by time over the entries of a log.

use dunlin_protocol::LogId;

use crate::store::{Page, Range};

/// The search in one log. The times of entries never go back.
#[derive(Debug)]
pub(crate) struct Search {
    pub(super) log: LogId,
    /// What was written before this is too old.
    cutoff_ms: u64,
    /// All entries below `low` are too old or gone; those from `high` on stay.
    low: u64,
    high: u64,
    is_begun: bool,
}

/// What a page has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// To be asked again.
    Next,
    /// Nothing is too old.
    Nothing,
    /// What is below is too old.
    Below(u64),
}

impl Search {
    pub(super) fn new(log: LogId, cutoff_ms: u64) -> Search {
        Search { log, cutoff_ms, low: 1, high: u64::MAX, is_begun: false }
    }

    /// What is to be read next: the oldest entry first, since most conversations have nothing that is
    /// too old; then the one in the middle.
    pub(super) fn range(&self) -> Range {
        let (from, to) = if self.is_begun {
            let middle = self.low + (self.high - self.low) / 2;
            (middle, middle)
        } else {
            (1, u64::MAX)
        };
        Range { log: self.log, from, to, entries_max: 1, bytes_max: 0, backwards: false }
    }

    /// What was read there.
    pub(super) fn take(&mut self, page: &Page) -> Step {
        let Some(entry) = page.entries.first() else {
            // It is empty, or all of it has expired meanwhile.
            return Step::Nothing;
        };
        let is_old = entry.meta.time_ms < self.cutoff_ms;
        if !self.is_begun {
            if !is_old {
                return Step::Nothing;
            }
            (self.is_begun, self.high) = (true, page.head.seq + 1);
        }
        if is_old {
            self.low = entry.seq + 1;
        } else {
            self.high = entry.seq;
        }
        if self.low < self.high { Step::Next } else { Step::Below(self.low) }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::UserId;
    use proptest::prelude::*;

    use super::*;
    use crate::store::{EntryMeta, Head, StoredEntry};

    fn page(times: &[u64], expired_below: u64, range: &Range) -> Page {
        let seq = times.len() as u64;
        let head = Head { seq, expired_below, ..Head::default() };
        let from = range.from.max(expired_below).max(1);
        let entry = (from <= range.to.min(seq)).then(|| StoredEntry {
            seq: from,
            meta: EntryMeta { time_ms: times[from as usize - 1], ..EntryMeta::default() },
            erased: false,
            body: bytes::Bytes::new(),
        });
        Page { entries: entry.into_iter().collect(), head, more: true }
    }

    proptest! {
        #[test]
        fn it_finds_the_first_entry_that_stays(
            mut times in prop::collection::vec(0_u64..50, 0..200),
            cutoff_ms in 0_u64..60,
            expired in 0_u64..210,
        ) {
            times.sort_unstable();
            let expired = expired.min(times.len() as u64);
            let user = UserId::new(1).unwrap();
            let mut search = Search::new(LogId::direct(user, user), cutoff_ms);
            let mut asked = 0;
            let found = loop {
                asked += 1;
                match search.take(&page(&times, expired + 1, &search.range())) {
                    Step::Next => {}
                    Step::Nothing => break None,
                    Step::Below(below) => break Some(below),
                }
            };
            let old = times.iter().filter(|time| **time < cutoff_ms).count() as u64;
            prop_assert_eq!(found, (old > expired).then_some(old + 1));
            prop_assert!(asked <= 10, "{} questions", asked);
        }
    }
}
