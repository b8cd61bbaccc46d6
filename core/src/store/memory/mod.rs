//! The store in memory: for tests, for simulations, and for servers that may forget.
//!
//! It keeps the whole contract of [`Store`] but durability. Several simulated nodes can share one
//! behind an `Arc`, and failures can be ordered in advance, so that what happens to a node whose
//! store fails can be tested without a disk.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use dunlin_protocol::{LogId, LogKind, UserId};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;

use super::{
    Append, Appended, CursorMove, DedupeKey, Head, Page, Range, Store, StoreDone, StoreError,
    StoreReply, StoreRequest, StoredEntry,
};

/// A store that lives as long as the process. Completions are called on the thread that submits,
/// after the store's own lock was let go, so they may submit again.
#[derive(Debug)]
pub struct MemoryStore {
    epoch: u64,
    state: Mutex<State>,
}

/// How an append fails that was ordered to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFailure {
    /// Nothing was stored.
    NotStored,
    /// It was stored, but the answer was lost, as happens with a store beyond a network.
    AnswerLost,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<LogId, Log>,
    cursors: HashMap<(LogId, UserId), u64, RandomState>,
    failures: VecDeque<AppendFailure>,
}

#[derive(Debug, Default)]
struct Log {
    /// The entry of sequence n is at n - 1.
    entries: Vec<StoredEntry>,
    keys: HashMap<DedupeKey, (u64, u64), RandomState>,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new(1)
    }
}

impl MemoryStore {
    /// An empty store of this epoch, which must not be 0.
    pub fn new(epoch: u64) -> MemoryStore {
        assert_ne!(epoch, 0, "an epoch is never 0");
        MemoryStore { epoch, state: Mutex::default() }
    }

    /// Makes the next `requests` append requests that are submitted fail with `Unavailable`,
    /// after those that were ordered to fail before.
    pub fn fail_appends(&self, requests: usize, failure: AppendFailure) {
        self.state.lock().failures.extend(std::iter::repeat_n(failure, requests));
    }

    /// Forgets the ordered failures that have not happened yet.
    pub fn heal(&self) {
        self.state.lock().failures.clear();
    }

    /// How many entries all logs have together.
    pub fn entries(&self) -> usize {
        self.state.lock().logs.values().map(|log| log.entries.len()).sum()
    }
}

impl Store for MemoryStore {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        let reply = self.state.lock().answer(request);
        done(reply);
    }
}

impl State {
    fn answer(&mut self, request: StoreRequest) -> Result<StoreReply, StoreError> {
        Ok(match request {
            StoreRequest::Write(_)
            | StoreRequest::Ranges(_)
            | StoreRequest::Register(_)
            | StoreRequest::Registers(_)
            | StoreRequest::Changes(_)
            | StoreRequest::Delete(_)
            | StoreRequest::Feed(_)
            | StoreRequest::Consumer(_)
            | StoreRequest::Consumers => {
                return Err(StoreError::Unavailable { reason: "not by this store".into() });
            }
            StoreRequest::Append(items) => StoreReply::Appended(self.append(items)?),
            StoreRequest::Range(range) => StoreReply::Page(self.range(&range)),
            StoreRequest::Heads(logs) => {
                StoreReply::Heads(logs.iter().map(|log| self.head(log)).collect())
            }
            StoreRequest::Cursors(questions) => {
                let cursor = |question| self.cursors.get(question).copied().unwrap_or(0);
                StoreReply::Cursors(questions.iter().map(cursor).collect())
            }
            StoreRequest::Logs { kind, after, limit } => {
                StoreReply::Logs(self.logs_of(kind, after, limit))
            }
        })
    }

    fn append(&mut self, items: Vec<Append>) -> Result<Vec<Appended>, StoreError> {
        let failure = self.failures.pop_front();
        let unavailable = || StoreError::Unavailable { reason: "a failure was ordered".into() };
        if failure == Some(AppendFailure::NotStored) {
            return Err(unavailable());
        }
        let mut stale = HashSet::default();
        let answers = items.into_iter().map(|item| self.append_one(item, &mut stale)).collect();
        if failure == Some(AppendFailure::AnswerLost) { Err(unavailable()) } else { Ok(answers) }
    }

    /// `stale` are the logs of which something was refused earlier in the batch.
    fn append_one(&mut self, item: Append, stale: &mut HashSet<LogId, RandomState>) -> Appended {
        if let Some(log) = self.logs.get(&item.log) {
            let used = item.key.and_then(|key| log.keys.get(&key));
            if let Some(&(seq, digest)) = used {
                stale.insert(item.log);
                return Appended::Duplicate { seq, digest };
            }
        }
        let head = self.head(&item.log);
        if head.seq.checked_add(1) != Some(item.seq) || stale.contains(&item.log) {
            stale.insert(item.log);
            return Appended::Conflict { head };
        }
        let log = self.logs.entry(item.log).or_default();
        if let Some(key) = item.key {
            log.keys.insert(key, (item.seq, item.digest));
        }
        log.entries.push(StoredEntry {
            seq: item.seq,
            meta: item.meta,
            erased: false,
            body: item.body,
        });
        if let Some(CursorMove { conversation, user, seq }) = item.cursor {
            let cursor = self.cursors.entry((conversation, user)).or_default();
            *cursor = seq.max(*cursor);
        }
        Appended::Stored
    }

    fn head(&self, log: &LogId) -> Head {
        let newest = self.logs.get(log).and_then(|log| log.entries.last());
        newest.map_or_else(Head::default, |entry| Head {
            seq: entry.seq,
            meta: entry.meta,
            ..Head::default()
        })
    }

    fn range(&self, range: &Range) -> Page {
        let head = self.head(&range.log);
        let (from, to) = (range.from.max(1), range.to.min(head.seq));
        if from > to {
            return Page { head, ..Page::default() };
        }
        let entries = self.logs.get(&range.log).map_or(&[][..], |log| &log.entries);
        let index = |seq: u64| usize::try_from(seq - 1).expect("an index of a vector in memory");
        let asked = &entries[index(from)..=index(to)];
        let (entries, more) = if range.backwards {
            take(asked.iter().rev(), range)
        } else {
            take(asked.iter(), range)
        };
        Page { entries, head, more }
    }

    fn logs_of(&self, kind: LogKind, after: Option<LogId>, limit: usize) -> Vec<LogId> {
        // Ids sort by kind first: what is below the kind is skipped, what is above ends it.
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.logs.range((start, Bound::Unbounded)).map(|(&id, _)| id);
        let ids = ids.skip_while(|id| (id.kind() as u8) < kind as u8);
        ids.take_while(|id| id.kind() == kind).take(limit).collect()
    }
}

/// Takes what the limits of the range allow; true if something is left.
fn take<'a>(
    asked: impl Iterator<Item = &'a StoredEntry>,
    range: &Range,
) -> (Vec<StoredEntry>, bool) {
    let mut taken = Vec::new();
    let mut bytes = 0;
    for entry in asked {
        bytes += entry.body.len();
        if taken.len() == range.entries_max || (bytes > range.bytes_max && !taken.is_empty()) {
            return (taken, true);
        }
        taken.push(entry.clone());
    }
    (taken, false)
}
