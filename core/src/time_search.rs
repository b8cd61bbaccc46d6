//! Where what is older than a time ends: a binary search by time over the entries of a log. Retention cuts a log
//! off there, and a page of history by time begins there.
//!
//! The times of entries go back only where a clock was ahead and was set right, and what was written
//! before an entry is older than it, whatever its time says. So each that is read says where those on
//! one side of it belong: below one that is too old, everything is. (What a clock of the future has
//! dated may stay longer.) A damaged one says nothing, and must not hold up the others:
//!
//! ```text
//! oldest ─(old)─► upwards ───────────────────────► found
//!    │(damaged)      ▲ │(a damaged one was passed)    ▲
//!    ▼               │ ▼                              │
//!  head ─────────────┘ downwards ─────────────────────┘
//! ```
//!
//! Upwards, damaged entries are passed as if they were too old: so what is too old above them is found.
//! If nothing is, the search goes on below them, and they stay as long as the next one that can be read.

use dunlin_protocol::LogId;

use crate::refusal::DATA_CORRUPT;
use crate::store::{Head, Page, Range};
use crate::worker::flow::Answer;

/// The search in one log: at most two questions, and twice as many as the number of its entries has
/// binary digits.
#[derive(Debug)]
pub(crate) struct TimeSearch {
    pub(crate) log: LogId,
    /// What was written before this is too old.
    cutoff_ms: u64,
    /// Where the log begins.
    begin: u64,
    /// All entries below `low` are too old or gone; those from `high` on stay.
    low: u64,
    high: u64,
    stage: Stage,
}

/// What is to be read next.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The oldest entry, since most conversations have nothing that is too old.
    Oldest,
    /// The head: the oldest entry is damaged.
    Head,
    /// The middle of what is from here up to `high`. Between `low` and here are only damaged ones, or
    /// ones that are as old as these.
    Upwards(u64),
    /// The middle of what is from `low` up to here. From here to `high` are only damaged ones, or ones
    /// that stay as long as these.
    Downwards(u64),
}

/// What an answer has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// To be asked again.
    Next,
    /// Nothing is too old.
    Nothing,
    /// What is below is too old.
    Below(u64),
}

impl TimeSearch {
    pub(crate) fn new(log: LogId, cutoff_ms: u64) -> TimeSearch {
        TimeSearch { log, cutoff_ms, begin: 1, low: 1, high: u64::MAX, stage: Stage::Oldest }
    }

    /// What is to be read next.
    pub(crate) fn range(&self) -> Range {
        let (from, to) = match self.stage {
            Stage::Oldest => (1, u64::MAX),
            // Beyond the head there is nothing that could be damaged: the page has the head alone.
            Stage::Head => (u64::MAX, u64::MAX),
            Stage::Upwards(_) | Stage::Downwards(_) => (self.middle(), self.middle()),
        };
        Range {
            log: self.log,
            from,
            to,
            entries_max: 1,
            bytes_max: 0,
            backwards: false,
            since: None,
        }
    }

    fn middle(&self) -> u64 {
        let (from, to) = match self.stage {
            Stage::Oldest | Stage::Head => (self.low, self.high),
            Stage::Upwards(from) => (from, self.high),
            Stage::Downwards(to) => (self.low, to),
        };
        from + (to - from) / 2
    }

    /// What was read there.
    pub(crate) fn take(&mut self, answer: Answer<Page>) -> Step {
        let page = match answer {
            Ok(page) => page,
            Err(DATA_CORRUPT) => return self.take_damaged(),
            // It may be read another time: whoever needs it now has looked before.
            Err(_) => return Step::Nothing,
        };
        let entry = page.entries.first().map(|entry| (entry.seq, self.is_old(entry.meta.time_ms)));
        match (self.stage, entry) {
            (Stage::Oldest, Some((seq, true))) => self.begin(seq + 1, &page.head),
            (Stage::Head, _) => self.begin(page.head.expired_below.max(1), &page.head),
            (Stage::Upwards(_) | Stage::Downwards(_), Some((seq, is_old))) => {
                self.take_entry(seq, is_old)
            }
            // It is young, or the log is empty, or all of that has expired meanwhile.
            (Stage::Oldest | Stage::Upwards(_) | Stage::Downwards(_), _) => Step::Nothing,
        }
    }

    fn is_old(&self, time_ms: u64) -> bool {
        time_ms < self.cutoff_ms
    }

    /// All below `low` is too old, or gone.
    fn begin(&mut self, low: u64, head: &Head) -> Step {
        if self.is_old(head.meta.time_ms) {
            // The numbers of the newest entry can be read even if it is damaged.
            let end = head.seq + 1;
            return if end > head.expired_below.max(1) { Step::Below(end) } else { Step::Nothing };
        }
        self.begin = head.expired_below.max(1);
        // The newest entry stays.
        (self.low, self.high, self.stage) = (low, head.seq, Stage::Upwards(low));
        self.go_on()
    }

    fn take_entry(&mut self, seq: u64, is_old: bool) -> Step {
        if is_old {
            self.low = seq + 1;
        } else {
            self.high = seq;
        }
        self.stage = match self.stage {
            Stage::Upwards(from) => Stage::Upwards(from.max(self.low)),
            Stage::Downwards(to) => Stage::Downwards(to.min(self.high)),
            other @ (Stage::Oldest | Stage::Head) => other,
        };
        self.go_on()
    }

    fn take_damaged(&mut self) -> Step {
        let middle = self.middle();
        self.stage = match self.stage {
            Stage::Oldest => {
                self.stage = Stage::Head;
                return Step::Next;
            }
            // There is no entry in that page: nothing of the log can be read.
            Stage::Head => return Step::Nothing,
            Stage::Upwards(_) => Stage::Upwards(middle + 1),
            Stage::Downwards(_) => Stage::Downwards(middle),
        };
        self.go_on()
    }

    fn go_on(&mut self) -> Step {
        if let Stage::Upwards(from) = self.stage
            && from >= self.high
        {
            self.stage = Stage::Downwards(self.high);
        }
        match self.stage {
            Stage::Downwards(to) if self.low >= to => self.found(),
            Stage::Oldest | Stage::Head | Stage::Upwards(_) | Stage::Downwards(_) => Step::Next,
        }
    }

    fn found(&self) -> Step {
        if self.low > self.begin { Step::Below(self.low) } else { Step::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dunlin_protocol::UserId;
    use proptest::prelude::*;

    use super::*;
    use crate::refusal::STORE_UNAVAILABLE;
    use crate::store::{EntryMeta, StoredEntry};

    /// A log of which some entries are damaged.
    struct Damaged {
        /// Of each entry from 1 on.
        times: Vec<u64>,
        expired_below: u64,
        damaged: BTreeSet<u64>,
    }

    impl Damaged {
        fn read(&self, range: &Range) -> Answer<Page> {
            let seq = self.times.len() as u64;
            let meta = |seq: u64| {
                let time_ms = if seq == 0 { 0 } else { self.times[seq as usize - 1] };
                EntryMeta { time_ms, ..EntryMeta::default() }
            };
            let expired_below = self.expired_below;
            let head = Head { seq, expired_below, meta: meta(seq), ..Head::default() };
            let from = range.from.max(expired_below).max(1);
            let is_there = from <= range.to.min(seq);
            if is_there && self.damaged.contains(&from) {
                return Err(DATA_CORRUPT);
            }
            let entry = is_there.then(|| StoredEntry {
                seq: from,
                meta: meta(from),
                erased: false,
                body: bytes::Bytes::new(),
            });
            Ok(Page { entries: entry.into_iter().collect(), head, more: true })
        }

        /// What is found, with the number of questions.
        fn search(&self, cutoff_ms: u64) -> (Option<u64>, usize) {
            let user = UserId::new(1).unwrap();
            let mut search = TimeSearch::new(LogId::direct(user, user), cutoff_ms);
            let mut asked = 0;
            loop {
                asked += 1;
                match search.take(self.read(&search.range())) {
                    Step::Next => {}
                    Step::Nothing => return (None, asked),
                    Step::Below(below) => return (Some(below), asked),
                }
            }
        }

        /// The first entry that is not too old, or the end.
        fn first_young(&self, cutoff_ms: u64) -> u64 {
            1 + self.times.iter().filter(|time| **time < cutoff_ms).count() as u64
        }
    }

    fn log(mut times: Vec<u64>, expired: u64, damaged: impl IntoIterator<Item = u64>) -> Damaged {
        times.sort_unstable();
        let expired_below = expired.min(times.len() as u64) + 1;
        Damaged { times, expired_below, damaged: damaged.into_iter().collect() }
    }

    proptest! {
        #[test]
        fn it_finds_the_first_entry_that_stays(
            times in prop::collection::vec(0_u64..50, 0..200),
            cutoff_ms in 0_u64..60,
            expired in 0_u64..210,
        ) {
            let log = log(times, expired, []);
            let (found, asked) = log.search(cutoff_ms);
            let young = log.first_young(cutoff_ms);
            prop_assert_eq!(found, (young > log.expired_below).then_some(young));
            prop_assert!(asked <= 10, "{} questions", asked);
        }

        #[test]
        fn a_damaged_row_stays_as_long_as_what_follows(
            times in prop::collection::vec(0_u64..50, 1..200),
            cutoff_ms in 0_u64..60,
            expired in 0_u64..210,
            row in (1_u64..200, 0_u64..200),
        ) {
            let log = log(times, expired, row.0..=row.0 + row.1);
            let (found, asked) = log.search(cutoff_ms);
            let mut stays = log.first_young(cutoff_ms);
            // Unless everything is too old, as its head says.
            if stays <= log.times.len() as u64 {
                while stays > 1 && log.damaged.contains(&(stays - 1)) {
                    stays -= 1;
                }
            }
            prop_assert_eq!(found, (stays > log.expired_below).then_some(stays));
            prop_assert!(asked <= 18, "{} questions", asked);
        }

        #[test]
        fn what_is_young_stays_whatever_is_damaged(
            times in prop::collection::vec(0_u64..50, 1..200),
            cutoff_ms in 0_u64..60,
            expired in 0_u64..210,
            damaged in prop::collection::vec(1_u64..200, 0..100),
        ) {
            let log = log(times, expired, damaged);
            let (found, asked) = log.search(cutoff_ms);
            let young = log.first_young(cutoff_ms);
            let is_damaged = |seq: &u64| log.damaged.contains(seq);
            let in_doubt = (log.expired_below..young).find(is_damaged).unwrap_or(young);
            let below = found.unwrap_or(log.expired_below);
            prop_assert!(below <= young.max(log.expired_below), "{} of {}", below, young);
            // What is older than all that is damaged goes in any case, and so does all of a log that
            // is too old.
            prop_assert!(below >= in_doubt, "{} of {}", below, in_doubt);
            prop_assert!(young <= log.times.len() as u64 || below == young);
            prop_assert!(found != Some(log.expired_below), "nothing to be done");
            prop_assert!(asked <= 18, "{} questions", asked);
        }
    }

    #[test]
    fn what_cannot_be_read_now_is_left_to_the_next_walk() {
        let user = UserId::new(1).unwrap();
        let mut search = TimeSearch::new(LogId::direct(user, user), 5);
        assert_eq!(search.take(Err(STORE_UNAVAILABLE)), Step::Nothing);
        // Not even the head is known.
        let mut search = TimeSearch::new(LogId::direct(user, user), 5);
        assert_eq!(search.take(Err(DATA_CORRUPT)), Step::Next);
        assert_eq!(search.take(Err(DATA_CORRUPT)), Step::Nothing);
    }
}
