//! What is known of one log: a position up to which everything was delivered, and a few entries
//! that arrived before their turn.
//!
//! ```text
//!   1 2 3 4 5 6 7 8 9        position 4: delivered     aside 6, 7: wait for 5
//!   ■ ■ ■ ■ ? ■ ■ ? ?        head 9: 5, 8 and 9 are missing and are fetched, the first gap first
//! ```

use std::collections::BTreeMap;

use dunlin_protocol::wire::{Entry, entry};

use super::membership::Membership;
use super::reading::Reading;
use super::saved::SavedLog;

/// Entries of one log that wait for a missing one. The highest are forgotten first: they are
/// needed last, and are fetched again.
const ASIDE_ENTRIES_MAX: usize = 256;
/// Entries that one History asks for.
const PAGE_ENTRIES: u32 = 200;

/// Empty pages in a row, over seconds, until a promised head is believed to be wrong.
const EMPTY_PAGES_MAX: u32 = 3;

/// One log of this user.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) position: u64,
    pub(super) head: u64,
    /// The newest entry that has arrived, and its time.
    newest: (u64, u64),
    /// Entries below have expired, or were cleared.
    pub(super) expired_below: u64,
    /// What we knew when the last Sync was asked for.
    pub(super) asked: Asked,
    aside: BTreeMap<u64, Entry>,
    pub(super) aside_bytes: usize,
    pub(super) repair: Repair,
    /// Halved when a damaged entry is among those asked for, until it stands alone.
    page_entries: u32,
    /// Fruitless repairs in a row.
    failures: u32,
    pub(super) reading: Reading,
    pub(super) membership: Membership,
    /// When it was used last, by a counter.
    pub(super) used: u64,
}

/// The part of a log that a Sync is told, and by which its answer is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) head: u64,
    pub(super) peer_read_seq: u64,
    pub(super) read_seq: u64,
    pub(super) membership_version: u64,
}

/// How a gap is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// There is none.
    Idle,
    /// Perhaps what is under way closes it.
    Waiting { until_ms: u64 },
    /// A request asks for what is missing.
    Fetching,
}

/// What became of a page that was fetched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// Ask again, for less.
    Narrowed,
    /// This entry is the damaged one; the log goes on behind it.
    Skipped(u64),
}

impl Log {
    pub(super) fn new() -> Log {
        Log {
            position: 0,
            head: 0,
            newest: (0, 0),
            expired_below: 0,
            asked: Asked::default(),
            aside: BTreeMap::new(),
            aside_bytes: 0,
            repair: Repair::Idle,
            page_entries: PAGE_ENTRIES,
            failures: 0,
            reading: Reading::new(),
            membership: Membership::default(),
            used: 0,
        }
    }

    /// What is known of it, for a later run.
    pub(super) fn saved(&self) -> SavedLog {
        SavedLog {
            position: self.position,
            head: self.head,
            expired_below: self.expired_below,
            reading: self.reading.saved(),
            membership: self.membership.saved(),
            newest_seq: self.newest.0,
            newest_time_ms: self.newest.1,
            ..SavedLog::default()
        }
    }

    pub(super) fn restored(saved: &SavedLog) -> Log {
        Log {
            position: saved.position,
            // Nobody has more than there is.
            head: saved.head.max(saved.position),
            expired_below: saved.expired_below,
            reading: Reading::restored(&saved.reading),
            membership: Membership::restored(&saved.membership),
            newest: (saved.newest_seq, saved.newest_time_ms),
            ..Log::new()
        }
    }

    /// Puts an entry in its place, unless it was delivered before.
    pub(super) fn offer(&mut self, entry: Entry) {
        self.head = self.head.max(entry.seq);
        self.newest = self.newest.max((entry.seq, entry.time_ms));
        if entry.seq <= self.position || self.aside.contains_key(&entry.seq) {
            return;
        }
        self.aside_bytes += size(&entry);
        self.aside.insert(entry.seq, entry);
        // The next in order always stays: without it nothing would ever move.
        while self.aside.len() > ASIDE_ENTRIES_MAX {
            self.forget_highest();
        }
    }

    /// The time of the entry at the head; 0 if that has not arrived.
    pub(super) fn head_time_ms(&self) -> u64 {
        let (seq, time_ms) = self.newest;
        if seq == self.head { time_ms } else { 0 }
    }

    /// Takes the next entry in order, if it is there.
    pub(super) fn next(&mut self) -> Option<Entry> {
        let entry = self.aside.remove(&(self.position + 1))?;
        self.aside_bytes -= size(&entry);
        self.position += 1;
        self.failures = 0;
        Some(entry)
    }

    /// Leaves out everything up to `seq`. Returns the first that was left out.
    pub(super) fn skip_to(&mut self, seq: u64) -> Option<u64> {
        if seq <= self.position {
            return None;
        }
        let first = self.position + 1;
        self.position = seq;
        self.head = self.head.max(seq);
        self.aside = self.aside.split_off(&(seq + 1));
        self.aside_bytes = self.aside.values().map(size).sum();
        self.reading.skipped();
        Some(first)
    }

    /// The entries that are missing before the next ones that are there.
    pub(super) fn gap(&self) -> Option<(u64, u64)> {
        let last = self.aside.keys().next().map_or(self.head, |first| first - 1);
        (last > self.position).then_some((self.position + 1, last))
    }

    /// The first entry that waits.
    pub(super) fn first_aside(&self) -> Option<u64> {
        self.aside.keys().next().copied()
    }

    /// Forgets all that waits, to save memory. It is fetched again.
    pub(super) fn forget_aside(&mut self) {
        self.aside.clear();
        self.aside_bytes = 0;
    }

    fn forget_highest(&mut self) {
        if let Some((_, entry)) = self.aside.pop_last() {
            self.aside_bytes -= size(&entry);
        }
    }

    /// How many entries to ask for next.
    pub(super) fn page_entries(&self) -> u32 {
        self.page_entries
    }

    /// A page arrived, and its entries were delivered.
    pub(super) fn page_arrived(&mut self, head: u64) {
        self.page_entries = PAGE_ENTRIES;
        self.head = self.head.max(head);
    }

    /// A page brought nothing, though the log should go on. A head of the page that is lower than
    /// ours may be older than a push; only after a while it is the truth.
    pub(super) fn page_was_empty(&mut self, head: u64) {
        if self.failures >= EMPTY_PAGES_MAX {
            let highest = self.aside.keys().next_back().copied().unwrap_or(0);
            self.head = head.max(self.position).max(highest);
        }
    }

    /// The page can't be read because of a damaged entry.
    pub(super) fn page_damaged(&mut self) -> Damage {
        self.repair = Repair::Idle;
        if self.page_entries > 1 {
            self.page_entries /= 2;
            return Damage::Narrowed;
        }
        self.page_entries = PAGE_ENTRIES;
        Damage::Skipped(self.position + 1)
    }

    /// A repair brought nothing: how long to wait before the next one, in milliseconds.
    pub(super) fn repair_failed(&mut self) -> u64 {
        self.failures = (self.failures + 1).min(6);
        500 << self.failures
    }

    /// The connection broke: whatever was asked for will not come.
    pub(super) fn disconnected(&mut self) {
        self.repair = Repair::Idle;
        self.failures = 0;
    }
}

/// What an entry costs while it waits.
fn size(entry: &Entry) -> usize {
    let content = match &entry.body {
        Some(entry::Body::Message(message)) => message.content.len(),
        _ => 0,
    };
    content + std::mem::size_of::<Entry>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64) -> Entry {
        Entry { seq, ..Entry::default() }
    }

    fn taken(log: &mut Log) -> Vec<u64> {
        std::iter::from_fn(|| log.next()).map(|entry| entry.seq).collect()
    }

    #[test]
    fn entries_are_taken_once_and_in_order() {
        let mut log = Log::new();
        log.offer(entry(2));
        assert_eq!(taken(&mut log), []);
        assert_eq!(log.gap(), Some((1, 1)));
        log.offer(entry(1));
        log.offer(entry(1));
        log.offer(entry(4));
        assert_eq!(taken(&mut log), [1, 2]);
        log.offer(entry(2));
        assert_eq!(taken(&mut log), []);
        assert_eq!(log.gap(), Some((3, 3)));
        log.offer(entry(3));
        assert_eq!(taken(&mut log), [3, 4]);
        assert_eq!((log.gap(), log.aside_bytes), (None, 0));
    }

    #[test]
    fn what_waits_is_bounded_and_asked_for_again() {
        let mut log = Log::new();
        for seq in 2..2000 {
            log.offer(entry(seq));
        }
        assert_eq!(log.aside.len(), ASIDE_ENTRIES_MAX);
        log.offer(entry(1));
        assert_eq!(taken(&mut log).len(), ASIDE_ENTRIES_MAX, "the lowest are kept");
        assert_eq!(log.gap(), Some((257, 1999)));
        assert_eq!(log.aside_bytes, 0);
    }

    #[test]
    fn skipping_goes_on_behind_what_was_skipped() {
        let mut log = Log::new();
        log.offer(entry(5));
        log.offer(entry(9));
        assert_eq!(log.skip_to(7), Some(1));
        assert_eq!(log.skip_to(7), None);
        assert_eq!(log.gap(), Some((8, 8)));
        log.offer(entry(8));
        assert_eq!(taken(&mut log), [8, 9]);
        assert_eq!(log.aside_bytes, 0);
    }

    #[test]
    fn a_damaged_entry_is_cornered_and_skipped() {
        let mut log = Log::new();
        log.head = 500;
        let mut narrowed = 0;
        while log.page_damaged() == Damage::Narrowed {
            narrowed += 1;
            assert!(narrowed < 20);
        }
        assert_eq!(log.page_entries(), PAGE_ENTRIES);
    }

    #[test]
    fn a_head_that_was_promised_too_high_is_corrected() {
        let mut log = Log::new();
        log.head = 90;
        for _ in 0..EMPTY_PAGES_MAX {
            log.page_arrived(2);
            log.page_was_empty(2);
            assert_eq!(log.gap(), Some((1, 90)), "the page may be older than the promise");
            log.repair_failed();
        }
        log.page_was_empty(2);
        assert_eq!(log.gap(), Some((1, 2)));
    }
}
