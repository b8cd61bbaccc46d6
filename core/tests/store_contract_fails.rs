//! The contract of stores can fail: stores with one defect each are found, by the part that is
//! there for it.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use dunlin_core::store::contract::{PARTS, Part};
use dunlin_core::store::feed::FeedFrom;
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::question::{self, Changed, Heads, Logs, Question};
use dunlin_core::store::{
    ChangeRange, ChangedLogs, ConsumerChange, DedupeKey, Deleted, Deletion, FeedRange, Head,
    KeyedEntry, Moment, Range, Register, RegisterRange, Registers, Rule, Set, Store, StoreDone,
    StoreError, StoreReply, StoreRequest, Write, Written,
};
use dunlin_protocol::LogId;
use parking_lot::Mutex;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    /// Keys are forgotten.
    NoDedupe,
    /// The key is looked at after the sequence.
    SequenceBeforeKey,
    /// A duplicate has the digest of the retry.
    DigestOfRetry,
    /// Whatever sequence is wanted, the entry is stored after the head.
    NoSequence,
    /// A conflict does not say where the head is.
    NoHead,
    /// Each item of a batch is judged alone.
    ItemsAlone,
    /// All ranges are answered by the first one.
    OneRange,
    /// Each register of a write is set in a step of its own.
    SetsApart,
    /// A removal leaves no version.
    RemovedIsUnknown,
    /// What a write takes for granted is not looked at.
    NoFence,
    /// Rules are not looked at.
    NoRules,
    /// The entry of a write is stored even if a rule does not hold.
    HalfDone,
    /// All registers are listed, however their keys begin.
    NoPrefix,
    /// Lists of registers begin at the beginning again.
    ListsStartOver,
    /// Lists of registers know no limits.
    NoLimits,
    /// What is malformed is left out, the rest is done.
    TakesAnything,
    /// All registers have changed since whenever.
    ChangesOfAll,
    /// Nobody hears that a register was removed.
    NoMarks,
    /// Changes are cut off at the limit, in the middle of a version.
    VersionsParted,
    /// It is never said that somebody has to begin afresh.
    NeverAfresh,
    /// What should expire stays.
    NoExpiry,
    /// It is not said where a log begins.
    NoFloor,
    /// What should be erased stays.
    NoErasure,
    /// An erased entry leaves a hole.
    ErasedIsAHole,
    /// The registers of a log that is dropped stay.
    DropKeepsRegisters,
    /// What was counted below the floor is forgotten.
    NoCounts,
    /// Nothing is found by its key.
    NoKeys,
    /// What has expired is still found by its key.
    KeysOutlive,
    /// Registers change no log.
    RegistersUnseen,
    /// Deletions change no log.
    DeletionsUnseen,
    /// It is always asked since the newest moment.
    NewestMoment,
    /// Ranges begin where they begin, whatever the moment.
    RangesSinceEver,
    /// A moment that is none is the beginning.
    AnyMoment,
    /// The feed begins with the newest.
    FeedBackwards,
    /// The feed has no deletions.
    FeedWithoutDeletions,
    /// The feed begins at the beginning again.
    FeedStartsOver,
    /// Consumers are not remembered.
    NoConsumers,
    /// A consumer can go back.
    ConsumersBack,
    /// Now and then something is called stored that is not.
    Forgets,
    /// The numbers beside an entry are lost.
    NoNumbers,
    /// The limit of bytes is not kept.
    NoByteLimit,
    /// It is not said that something was left out.
    NoMore,
    /// `backwards` is not looked at.
    OnlyForwards,
    /// Lists of logs begin at the beginning again.
    LogsStartOver,
    /// Heads are those of a replica that is one write behind.
    OldHeads,
    /// Writes that are under way at the same time overtake each other.
    Overtaking,
    /// It answers before `submit` returns.
    AnswersWithin,
    /// It answers on another thread, and `submit` waits for that.
    WaitsWithin,
}

/// Which part must find it.
const FOUND_BY: &[(Defect, &str)] = &[
    (Defect::NoDedupe, "a_key_is_used_once_in_a_log"),
    (Defect::SequenceBeforeKey, "a_key_is_used_once_in_a_log"),
    (Defect::DigestOfRetry, "a_key_is_used_once_in_a_log"),
    (Defect::NoSequence, "sequences_are_dense"),
    (Defect::NoHead, "sequences_are_dense"),
    (Defect::ItemsAlone, "the_entries_of_a_batch_are_done_in_order"),
    (Defect::ItemsAlone, "what_counts_on_a_refused_entry_is_refused"),
    (Defect::OneRange, "ranges_of_several_logs_are_one_question"),
    (Defect::SetsApart, "versions_count_up_and_are_shared_by_a_write"),
    (Defect::SetsApart, "a_write_is_seen_as_a_whole"),
    (Defect::RemovedIsUnknown, "a_register_is_read_by_its_name"),
    (Defect::NoFence, "fences_are_kept"),
    (Defect::NoRules, "rules_are_kept"),
    (Defect::HalfDone, "a_refused_write_does_nothing"),
    (Defect::NoPrefix, "registers_are_listed_by_their_keys"),
    (Defect::ListsStartOver, "registers_are_listed_by_their_keys"),
    (Defect::NoLimits, "registers_are_listed_by_their_keys"),
    (Defect::TakesAnything, "what_no_store_takes_is_named"),
    (Defect::ChangesOfAll, "changes_cost_what_changed"),
    (Defect::NoMarks, "changes_cost_what_changed"),
    (Defect::VersionsParted, "changes_of_one_version_are_not_parted"),
    (Defect::NeverAfresh, "who_knows_what_is_gone_begins_afresh"),
    (Defect::NoExpiry, "expired_entries_are_no_gap"),
    (Defect::NoFloor, "expired_entries_are_no_gap"),
    (Defect::NoErasure, "an_erased_entry_keeps_all_but_its_body"),
    (Defect::ErasedIsAHole, "an_erased_entry_keeps_all_but_its_body"),
    (Defect::DropKeepsRegisters, "a_dropped_log_goes_on_at_its_sequences"),
    (Defect::NoCounts, "what_has_expired_leaves_its_counts"),
    (Defect::NoKeys, "an_entry_is_found_by_its_key"),
    (Defect::KeysOutlive, "an_entry_is_found_by_its_key"),
    (Defect::RegistersUnseen, "what_has_changed_since_a_moment_is_told"),
    (Defect::NewestMoment, "a_moment_is_passed_on_from_answer_to_answer"),
    (Defect::DeletionsUnseen, "deletions_are_changes"),
    (Defect::RangesSinceEver, "a_range_begins_after_a_moment"),
    (Defect::AnyMoment, "a_moment_of_nowhere_is_unknown"),
    (Defect::FeedBackwards, "the_feed_has_all_that_was_written"),
    (Defect::FeedWithoutDeletions, "the_feed_has_all_that_was_written"),
    (Defect::FeedStartsOver, "the_feed_goes_on_where_it_was"),
    (Defect::NoConsumers, "what_no_consumer_has_passed_is_kept"),
    (Defect::NoConsumers, "consumers_are_known_by_name"),
    (Defect::ConsumersBack, "consumers_are_known_by_name"),
    (Defect::Forgets, "many_threads_share_one_log"),
    (Defect::NoNumbers, "heads_tell_the_newest_numbers"),
    (Defect::NoByteLimit, "ranges_keep_their_limits"),
    (Defect::NoMore, "ranges_keep_their_limits"),
    (Defect::OnlyForwards, "ranges_keep_their_limits"),
    (Defect::LogsStartOver, "logs_are_listed_by_kind_and_id"),
    (Defect::OldHeads, "a_read_sees_what_was_stored_before"),
    (Defect::Overtaking, "writes_of_one_caller_to_one_log_keep_their_order"),
    (Defect::AnswersWithin, "submitting_waits_for_no_answer"),
    (Defect::WaitsWithin, "submitting_waits_for_no_answer"),
];

/// A store in memory with a defect.
struct Defective {
    defect: Defect,
    sound: MemoryStore,
    old_heads: Mutex<BTreeMap<LogId, Head>>,
    old_keys: Mutex<HashMap<(LogId, DedupeKey), KeyedEntry>>,
    waiting: Mutex<Option<(StoreRequest, StoreDone)>>,
    batches: AtomicU64,
}

impl Defective {
    fn new(defect: Defect) -> Defective {
        Defective {
            defect,
            sound: MemoryStore::default(),
            old_heads: Mutex::default(),
            old_keys: Mutex::default(),
            waiting: Mutex::default(),
            batches: AtomicU64::new(0),
        }
    }

    /// The store in memory answers within `submit`.
    fn ask<Q: Question>(&self, question: Q) -> Result<Q::Answer, StoreError>
    where
        Q::Answer: Send,
    {
        let (sender, receiver) = mpsc::channel();
        question::ask(&self.sound, question, move |answer| sender.send(answer).unwrap());
        receiver.recv().unwrap()
    }

    fn head(&self, log: LogId) -> Head {
        *self.ask(Heads(vec![log])).unwrap()[0].as_ref().unwrap()
    }

    fn answer(&self, request: StoreRequest) -> Result<StoreReply, StoreError> {
        match request {
            StoreRequest::Write(writes) => self.write(writes).map(StoreReply::Written),
            StoreRequest::Ranges(ranges) => self.ranges(ranges),
            StoreRequest::Heads(logs) if self.defect == Defect::OldHeads => {
                let old = self.old_heads.lock();
                let head = |log| Ok(old.get(&log).copied().unwrap_or_default());
                Ok(StoreReply::Heads(logs.into_iter().map(head).collect()))
            }
            StoreRequest::Heads(logs) => {
                let mut heads = self.ask(Heads(logs))?;
                heads.iter_mut().flatten().for_each(|head| self.spoil_head(head));
                Ok(StoreReply::Heads(heads))
            }
            StoreRequest::Changed { logs, since } => {
                self.changed(logs, since).map(StoreReply::Changed)
            }
            StoreRequest::Keys(keys) => self.keys(keys),
            StoreRequest::Logs { kind, limit, .. } if self.defect == Defect::LogsStartOver => {
                self.ask(Logs { kind, after: None, limit }).map(StoreReply::Logs)
            }
            StoreRequest::Register(names) => {
                let mut registers = self.ask(names)?;
                if self.defect == Defect::RemovedIsUnknown {
                    let removed = |register: &&mut Register| register.value.is_none();
                    let registers = registers.iter_mut().flatten().filter(removed);
                    registers.for_each(|register| register.version = 0);
                }
                Ok(StoreReply::Register(registers))
            }
            StoreRequest::Registers(ranges) => {
                let ranges = ranges.into_iter().map(|range| self.spoil_range(range));
                self.ask(ranges.collect::<Vec<_>>()).map(StoreReply::Registers)
            }
            StoreRequest::Changes(ranges) => {
                let answers = ranges.into_iter().map(|range| self.changes(range));
                Ok(StoreReply::Registers(answers.collect()))
            }
            StoreRequest::Delete(deletions) => {
                let verdicts = deletions.into_iter().map(|deletion| self.delete(deletion));
                Ok(StoreReply::Deleted(verdicts.collect()))
            }
            StoreRequest::Feed(range) => self.feed(range),
            StoreRequest::Consumer(change) => self.consumer(change),
            request => {
                let (sender, receiver) = mpsc::channel();
                self.sound.submit(request, Box::new(move |reply| sender.send(reply).unwrap()));
                receiver.recv().unwrap()
            }
        }
    }

    fn ranges(&self, mut ranges: Vec<Range>) -> Result<StoreReply, StoreError> {
        let first = ranges.first().copied();
        for range in &mut ranges {
            match self.defect {
                Defect::OneRange => *range = first.unwrap(),
                Defect::NoByteLimit => range.bytes_max = usize::MAX,
                Defect::OnlyForwards => range.backwards = false,
                Defect::RangesSinceEver | Defect::AnyMoment => range.since = None,
                _ => {}
            }
        }
        let mut pages = self.ask(ranges)?;
        for page in pages.iter_mut().flatten() {
            match self.defect {
                Defect::ErasedIsAHole => page.entries.retain(|entry| !entry.erased),
                Defect::NoFloor => page.head.expired_below = 0,
                Defect::NoMore => page.more = false,
                _ => {}
            }
        }
        Ok(StoreReply::Pages(pages))
    }

    fn spoil_head(&self, head: &mut Head) {
        if self.defect == Defect::NoCounts {
            head.expired = Default::default();
        }
    }

    fn changed(&self, logs: Vec<LogId>, since: Option<Moment>) -> Result<ChangedLogs, StoreError> {
        let since = match (self.defect, since) {
            (Defect::AnyMoment, _) => None,
            (Defect::NewestMoment, Some(_)) => {
                Some(self.ask(Changed { logs: Vec::new(), since: None })?.now)
            }
            (_, since) => since,
        };
        let mut answer = self.ask(Changed { logs, since })?;
        let head = |head: &Result<Head, StoreError>| *head.as_ref().unwrap();
        match self.defect {
            Defect::RegistersUnseen => answer.heads.retain(|(_, of)| head(of).seq > 0),
            Defect::DeletionsUnseen => answer.heads.retain(|(_, of)| head(of).expired_below == 0),
            _ => {}
        }
        Ok(answer)
    }

    fn keys(&self, keys: Vec<(LogId, DedupeKey)>) -> Result<StoreReply, StoreError> {
        let mut found = self.ask(keys.clone())?;
        let mut old = self.old_keys.lock();
        for (key, found) in keys.into_iter().zip(found.iter_mut().flatten()) {
            match (self.defect, &found) {
                (Defect::NoKeys, _) => *found = None,
                (Defect::KeysOutlive, Some(entry)) => drop(old.insert(key, *entry)),
                (Defect::KeysOutlive, None) => *found = old.get(&key).copied(),
                _ => {}
            }
        }
        Ok(StoreReply::Keys(found))
    }

    fn write(&self, mut writes: Vec<Write>) -> Result<Vec<Written>, StoreError> {
        let batch = self.batches.fetch_add(1, Ordering::Relaxed);
        match self.defect {
            Defect::Forgets if batch % 50 == 49 => {
                return Ok(vec![Written::Stored { version: 0 }; writes.len()]);
            }
            Defect::ItemsAlone => {
                let alone = writes.into_iter().map(|write| self.ask(vec![write]));
                return Ok(alone.map(|verdicts| verdicts.unwrap().remove(0)).collect());
            }
            Defect::SetsApart => {
                return writes.into_iter().map(|write| self.write_in_steps(write)).collect();
            }
            Defect::TakesAnything => writes.retain(|write| write.check().is_ok()),
            _ => {}
        }
        writes.iter_mut().for_each(|write| self.spoil(write));
        let asked = writes.clone();
        let mut verdicts = self.ask(writes)?;
        for (write, verdict) in asked.iter().zip(&mut verdicts) {
            self.spoil_verdict(write, verdict);
        }
        Ok(verdicts)
    }

    fn write_in_steps(&self, write: Write) -> Result<Written, StoreError> {
        let Write { log, fence, entry, sets } = write;
        let mut verdict = None;
        if let Some(entry) = entry {
            let alone = Write { fence, ..Write::entry(log, entry) };
            verdict = Some(self.ask(vec![alone])?.remove(0));
        }
        for set in sets {
            thread::yield_now();
            verdict = Some(self.ask(vec![Write::registers(log, [set])])?.remove(0));
        }
        Ok(verdict.expect("it does something"))
    }

    fn spoil(&self, write: &mut Write) {
        let next = self.head(write.log).seq + 1;
        let entry = write.entry.as_mut();
        match self.defect {
            Defect::NoDedupe => entry.into_iter().for_each(|entry| entry.key = None),
            Defect::NoSequence => entry.into_iter().for_each(|entry| entry.seq = next),
            Defect::SequenceBeforeKey => {
                let stale = entry.into_iter().filter(|entry| entry.seq != next);
                stale.for_each(|entry| entry.key = None);
            }
            Defect::NoNumbers => entry.into_iter().for_each(|entry| entry.meta.counted = 0),
            Defect::OldHeads => {
                self.old_heads.lock().insert(write.log, self.head(write.log));
            }
            Defect::NoFence => write.fence = Default::default(),
            Defect::NoRules => write.sets.iter_mut().for_each(|set| set.rule = Rule::Always),
            _ => {}
        }
    }

    fn spoil_verdict(&self, write: &Write, verdict: &mut Written) {
        match (self.defect, verdict) {
            (Defect::DigestOfRetry, Written::Duplicate { digest, .. }) => {
                *digest = write.entry.as_ref().unwrap().digest;
            }
            (Defect::NoHead, Written::Conflict { head }) => *head = Head::default(),
            (Defect::HalfDone, Written::Unmet { .. }) => {
                let entry = write.entry.clone();
                let half = entry.map(|entry| self.ask(vec![Write::entry(write.log, entry)]));
                drop(half);
            }
            _ => {}
        }
    }

    fn spoil_range(&self, mut range: RegisterRange) -> RegisterRange {
        match self.defect {
            Defect::NoPrefix => range.prefix.clear(),
            Defect::ListsStartOver => range.after = None,
            Defect::NoLimits => (range.registers_max, range.bytes_max) = (usize::MAX, usize::MAX),
            _ => {}
        }
        range
    }

    fn changes(&self, range: ChangeRange) -> Result<Registers, StoreError> {
        let spoiled = match self.defect {
            Defect::ChangesOfAll => ChangeRange { since: 0, ..range },
            Defect::VersionsParted => {
                ChangeRange { registers_max: usize::MAX, bytes_max: usize::MAX, ..range }
            }
            _ => range,
        };
        let mut answer = self.ask(vec![spoiled])?.remove(0)?;
        match self.defect {
            Defect::VersionsParted => {
                answer.more = answer.registers.len() > range.registers_max;
                answer.registers.truncate(range.registers_max);
            }
            Defect::NoMarks => answer.registers.retain(|register| register.value.is_some()),
            Defect::NeverAfresh => answer.afresh = false,
            _ => {}
        }
        Ok(answer)
    }

    fn delete(&self, deletion: Deletion) -> Deleted {
        let spoiled = match (self.defect, deletion) {
            (Defect::NoExpiry, Deletion::Truncate { log, .. })
            | (Defect::NoErasure, Deletion::Erase { log, .. }) => {
                return Deleted::Done { head: self.head(log) };
            }
            (Defect::DropKeepsRegisters, Deletion::Drop { log }) => {
                let version = self.head(log).version;
                if version < 2 {
                    // So that the head looks as it should.
                    let key = dunlin_core::store::contract::sample::key(99);
                    self.ask(vec![Write::registers(log, [Set::removal(key)])]).unwrap();
                }
                Deletion::Truncate { log, below: u64::MAX }
            }
            (_, deletion) => deletion,
        };
        self.ask(vec![spoiled]).unwrap().remove(0)
    }

    fn feed(&self, mut range: FeedRange) -> Result<StoreReply, StoreError> {
        let goes_on = matches!(range.from, FeedFrom::After(_));
        if self.defect == Defect::FeedStartsOver && goes_on {
            range.from = FeedFrom::Beginning;
        }
        let mut page = self.ask(range)?;
        match self.defect {
            Defect::FeedBackwards => page.items.reverse(),
            Defect::FeedWithoutDeletions => page.items.retain(|item| item.bytes() > 0),
            _ => {}
        }
        Ok(StoreReply::Feed(page))
    }

    fn consumer(&self, change: ConsumerChange) -> Result<StoreReply, StoreError> {
        if self.defect == Defect::NoConsumers {
            return Ok(StoreReply::Done);
        }
        if let (Defect::ConsumersBack, ConsumerChange::Passed { name, .. }) = (self.defect, &change)
        {
            self.ask(ConsumerChange::Removed { name: name.clone() })?;
        }
        self.ask(change).map(|()| StoreReply::Done)
    }
}

impl Defective {
    /// Of two writes that come one after the other, the second is done first.
    fn overtake(&self, request: StoreRequest, done: StoreDone) {
        let earlier = self.waiting.lock().take();
        match (earlier, request) {
            (None, StoreRequest::Write(writes)) => {
                *self.waiting.lock() = Some((StoreRequest::Write(writes), done));
            }
            (earlier, request) => {
                done(self.answer(request));
                if let Some((request, done)) = earlier {
                    done(self.answer(request));
                }
            }
        }
    }
}

impl Store for Defective {
    fn epoch(&self) -> u64 {
        self.sound.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        match self.defect {
            Defect::Overtaking => self.overtake(request, done),
            Defect::WaitsWithin => {
                let answer = self.answer(request);
                thread::spawn(move || done(answer)).join().unwrap();
            }
            _ => done(self.answer(request)),
        }
    }
}

fn fails(part: &Part, defect: Defect) -> bool {
    catch_unwind(AssertUnwindSafe(|| (part.check)(&Defective::new(defect)))).is_err()
}

#[test]
fn each_defect_is_found_by_the_part_that_is_there_for_it() {
    thread::scope(|scope| {
        for &(defect, name) in FOUND_BY {
            let part = PARTS.iter().find(|part| part.name == name).unwrap();
            scope.spawn(move || assert!(fails(part, defect), "{name} does not find {defect:?}"));
        }
    });
}

#[test]
fn every_part_has_a_defect_that_it_finds() {
    for part in PARTS {
        assert!(FOUND_BY.iter().any(|(_, name)| *name == part.name), "{}", part.name);
    }
}
