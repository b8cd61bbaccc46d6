//! The store in memory: for tests, for simulations, and for servers that may forget.
//!
//! It keeps the whole contract of [`Store`] but durability. Several simulated nodes can share one
//! behind an `Arc`, and failures can be ordered in advance, so that what happens to a node whose
//! store fails can be tested without a disk.

mod feed;
mod log;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::{BufMut, BytesMut};
use dunlin_protocol::{LogId, LogKind};
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use parking_lot::Mutex;

use super::feed::{FeedItem, FeedWhat};
use super::{
    ChangeRange, ChangedLogs, DedupeKey, Deleted, Deletion, Head, KeyedEntry, Moment, Page, Range,
    Register, RegisterKey, RegisterRange, Registers, Store, StoreDone, StoreError, StoreReply,
    StoreRequest, Write, Written,
};
use feed::{Feed, Place};
use log::{Before, Erased, Log};

/// A store that lives as long as the process. Completions are called on the thread that submits,
/// after the store's own lock was let go, so they may submit again.
#[derive(Debug)]
pub struct MemoryStore {
    epoch: u64,
    state: Mutex<State>,
}

/// How a request to write fails that was ordered to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFailure {
    /// Nothing was stored.
    NotStored,
    /// It was stored, but the answer was lost, as happens with a store beyond a network.
    AnswerLost,
    /// Of one of its items nobody knows whether it was stored.
    Unknown {
        /// Which, from 0.
        item: usize,
        /// Whether it was.
        stored: bool,
    },
}

#[derive(Debug, Default)]
struct State {
    /// Of the store: a moment of another one is none of this.
    epoch: u64,
    logs: BTreeMap<LogId, Log>,
    feed: Feed,
    failures: VecDeque<AppendFailure>,
}

/// The logs of which an entry was refused earlier in a batch.
type Stale = HashSet<LogId, RandomState>;

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new(1)
    }
}

impl MemoryStore {
    /// An empty store of this epoch, which must not be 0.
    pub fn new(epoch: u64) -> MemoryStore {
        assert_ne!(epoch, 0, "an epoch is never 0");
        MemoryStore { epoch, state: Mutex::new(State { epoch, ..State::default() }) }
    }

    /// Makes the next `requests` requests to write that are submitted fail, after those that were ordered to fail before.
    pub fn fail_appends(&self, requests: usize, failure: AppendFailure) {
        self.state.lock().failures.extend(std::iter::repeat_n(failure, requests));
    }

    /// Forgets the ordered failures that have not happened yet.
    pub fn heal(&self) {
        self.state.lock().failures.clear();
    }

    /// How many entries all logs have together.
    pub fn entries(&self) -> usize {
        self.state.lock().logs.values().map(Log::entries).sum()
    }

    /// Forgets which registers were removed, as a store does after a while: whoever asks what has
    /// changed since before is answered `afresh`.
    pub fn forget_marks(&self) {
        let State { logs, feed, .. } = &mut *self.state.lock();
        logs.values_mut().for_each(|log| feed.dead(log.forget_marks()));
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
            StoreRequest::Write(writes) => StoreReply::Written(self.write(writes)?),
            StoreRequest::Ranges(ranges) => {
                StoreReply::Pages(ranges.iter().map(|range| self.range(range)).collect())
            }
            StoreRequest::Register(questions) => {
                let register = |(log, key): (LogId, RegisterKey)| Ok(self.register(log, key));
                StoreReply::Register(questions.into_iter().map(register).collect())
            }
            StoreRequest::Registers(ranges) => {
                let registers = |range| Ok(self.registers(range));
                StoreReply::Registers(ranges.iter().map(registers).collect())
            }
            StoreRequest::Changes(ranges) => {
                StoreReply::Registers(ranges.iter().map(|range| Ok(self.changes(range))).collect())
            }
            StoreRequest::Delete(deletions) => {
                StoreReply::Deleted(deletions.iter().map(|item| self.delete(*item)).collect())
            }
            StoreRequest::Feed(range) => StoreReply::Feed(self.feed.page(&range)?),
            StoreRequest::Consumer(change) => {
                let State { logs, feed, .. } = self;
                feed.change(change, |item| is_alive(logs, item))?;
                StoreReply::Done
            }
            StoreRequest::Consumers => StoreReply::Consumers(self.feed.consumers()),
            StoreRequest::Heads(logs) => {
                StoreReply::Heads(logs.iter().map(|log| Ok(self.head(log))).collect())
            }
            StoreRequest::Changed { logs, since } => {
                StoreReply::Changed(self.changed(&logs, since)?)
            }
            StoreRequest::Keys(keys) => {
                StoreReply::Keys(keys.iter().map(|(log, key)| Ok(self.keyed(log, key))).collect())
            }
            StoreRequest::Logs { kind, after, limit } => {
                StoreReply::Logs(self.logs_of(kind, after, limit))
            }
        })
    }

    fn head(&self, log: &LogId) -> Head {
        self.logs.get(log).map(Log::head).unwrap_or_default()
    }

    fn range(&self, range: &Range) -> Result<Page, StoreError> {
        let after = range.since.map_or(Ok(0), |moment| self.place(moment))?;
        Ok(self.logs.get(&range.log).map(|log| log.range(range, after)).unwrap_or_default())
    }

    fn changed(&self, logs: &[LogId], since: Option<Moment>) -> Result<ChangedLogs, StoreError> {
        let after = since.map_or(Ok(0), |moment| self.place(moment))?;
        let changed = |(place, id): (u32, &LogId)| {
            let log = self.logs.get(id).filter(|log| log.changed_at() > after)?;
            Some((place, Ok(log.head())))
        };
        let heads = (0..).zip(logs).filter_map(changed).collect();
        Ok(ChangedLogs { heads, now: self.moment() })
    }

    /// The moment: the epoch, and the place of what the feed has got last.
    fn moment(&self) -> Moment {
        let mut bytes = BytesMut::new();
        bytes.put_u64(self.epoch);
        bytes.put_u64(self.feed.last_place());
        Moment::from_bytes(&bytes).expect("two numbers are short enough")
    }

    fn place(&self, moment: Moment) -> Result<Place, StoreError> {
        let place = match moment.as_bytes().split_first_chunk::<8>() {
            Some((epoch, place)) if *epoch == self.epoch.to_be_bytes() => place,
            Some(_) | None => return Err(StoreError::MomentUnknown),
        };
        let place = <[u8; 8]>::try_from(place).ok().map(Place::from_be_bytes);
        place.filter(|at| *at <= self.feed.last_place()).ok_or(StoreError::MomentUnknown)
    }

    fn keyed(&self, log: &LogId, key: &DedupeKey) -> Option<KeyedEntry> {
        self.logs.get(log)?.keyed(key)
    }

    fn register(&self, log: LogId, key: RegisterKey) -> Register {
        match self.logs.get(&log) {
            Some(log) => log.register(&key),
            None => Register { key, version: 0, value: None },
        }
    }

    fn registers(&self, range: &RegisterRange) -> Registers {
        self.logs.get(&range.log).map(|log| log.registers(range)).unwrap_or_default()
    }

    fn changes(&self, range: &ChangeRange) -> Registers {
        self.logs.get(&range.log).unwrap_or(&Log::default()).changes(range)
    }

    fn logs_of(&self, kind: LogKind, after: Option<LogId>, limit: usize) -> Vec<LogId> {
        // Ids sort by kind first: what is below the kind is skipped, what is above ends it.
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.logs.range((start, Bound::Unbounded)).map(|(&id, _)| id);
        let ids = ids.skip_while(|id| (id.kind() as u8) < kind as u8);
        ids.take_while(|id| id.kind() == kind).take(limit).collect()
    }
}

/// Writing.
impl State {
    fn write(&mut self, writes: Vec<Write>) -> Result<Vec<Written>, StoreError> {
        writes.iter().try_for_each(Write::check).map_err(StoreError::Malformed)?;
        let failure = self.failures.pop_front();
        let unavailable = || StoreError::Unavailable { reason: "a failure was ordered".into() };
        if failure == Some(AppendFailure::NotStored) {
            return Err(unavailable());
        }
        let mut stale = Stale::default();
        let items = writes.into_iter().enumerate();
        let verdicts = items.map(|(place, write)| match failure {
            Some(AppendFailure::Unknown { item, stored }) if item == place => {
                if stored {
                    self.write_one(write, &mut stale);
                } else if write.entry.is_some() {
                    stale.insert(write.log);
                }
                Written::Unknown
            }
            Some(_) | None => self.write_one(write, &mut stale),
        });
        let verdicts = verdicts.collect();
        if failure == Some(AppendFailure::AnswerLost) { Err(unavailable()) } else { Ok(verdicts) }
    }

    fn write_one(&mut self, write: Write, stale: &mut Stale) -> Written {
        let before = if stale.contains(&write.log) { Before::Refused } else { Before::Stored };
        let refusal = match self.logs.get(&write.log) {
            Some(log) => log.refusal(&write, before),
            None => Log::default().refusal(&write, before),
        };
        if let Some(refusal) = refusal {
            if write.entry.is_some() {
                stale.insert(write.log);
            }
            return refusal;
        }
        Written::Stored { version: self.do_write(write) }
    }

    /// Nothing is in the way of it. The version of the log afterwards.
    fn do_write(&mut self, write: Write) -> u64 {
        let State { logs, feed, .. } = self;
        let log = logs.entry(write.log).or_default();
        if let Some(entry) = write.entry {
            let stored = log.append(entry, feed.next_place());
            feed.add(write.log, FeedWhat::Entry(stored));
        }
        if write.sets.is_empty() {
            log.changed(feed.last_place());
            return log.head().version;
        }
        let version = log.begin_version();
        for set in write.sets {
            let register = Register { key: set.key, version, value: set.value };
            let replaced = log.set(&register, feed.next_place());
            feed.add(write.log, FeedWhat::Register(register));
            feed.dead(replaced);
        }
        log.changed(feed.last_place());
        version
    }

    fn delete(&mut self, deletion: Deletion) -> Deleted {
        let State { logs, feed, .. } = self;
        let Some(log) = logs.get_mut(&deletion.log()) else {
            let head = Head::default();
            return match deletion {
                Deletion::Erase { .. } => Deleted::NoSuchEntry { head },
                Deletion::Truncate { .. } | Deletion::Drop { .. } => Deleted::Done { head },
            };
        };
        match deletion {
            Deletion::Truncate { log: id, below } => {
                let expired = log.truncate(below);
                if !expired.is_empty() {
                    let below = log.head().expired_below;
                    tell_of_deletion(feed, (id, log), FeedWhat::Truncated { below }, expired);
                }
            }
            Deletion::Erase { log: id, seq } => match log.erase(seq) {
                None => return Deleted::NoSuchEntry { head: log.head() },
                Some(Erased::Before) => {}
                Some(Erased::Now(entry, place)) => {
                    feed.erase(place, entry);
                    tell_of_deletion(feed, (id, log), FeedWhat::Erased { seq }, []);
                }
            },
            Deletion::Drop { log: id } => {
                if !log.is_empty() {
                    let gone = log.drop_all();
                    tell_of_deletion(feed, (id, log), FeedWhat::Dropped, gone);
                }
            }
        }
        Deleted::Done { head: log.head() }
    }
}

/// Only a consumer wants to know: whoever begins later does not see what was deleted.
fn tell_of_deletion(
    feed: &mut Feed,
    (id, log): (LogId, &mut Log),
    what: FeedWhat,
    gone: impl IntoIterator<Item = Place>,
) {
    feed.add(id, what);
    log.changed(feed.last_place());
    feed.dead([feed.next_place() - 1]);
    feed.dead(gone);
}

/// Whether what the feed has is needed for itself, and not only by those who have not passed it.
fn is_alive(logs: &BTreeMap<LogId, Log>, item: &FeedItem) -> bool {
    let Some(log) = logs.get(&item.log) else { return false };
    match &item.what {
        FeedWhat::Entry(entry) => log.has_entry(entry.seq),
        FeedWhat::Register(register) => log.has_register(&register.key, register.version),
        FeedWhat::Truncated { .. } | FeedWhat::Erased { .. } | FeedWhat::Dropped => false,
    }
}
