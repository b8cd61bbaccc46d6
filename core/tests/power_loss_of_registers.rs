//! Whatever the disk does to what was not fsynced: a write is there as a whole or not at all, what was
//! deleted stays deleted, and nobody sees a register that nobody has set.
//!
//! Each seed runs a store on a simulated disk through some lives, beside a model that is told the same.
//! At a random call the power is cut: while it serves, while it overwrites what was erased, and while it
//! recovers from the last time. What was under way then may be there or not; everything else is known.
//! `POWER_LOSS_SEEDS=1000..2000` runs others.
//!
//! Found by it when tried, within a second: a start that does not erase again what a crash has left
//! half erased, a merge that keeps the older of two registers, an index file that forgets the floors.
//! Found within the seeds that run by default: a cleaned file that is not synced before it gets its name, a
//! write parted between two frames, an erasure that overwrites before it is durable.
//!
//! Found by `power_cut_at_every_call.rs` instead: a cleaner, or an erasure, that does not make sure of the
//! name of a cleaned file, a cleaner that misses what was erased while it copied, and an indexer that does not
//! erase again what could not be overwritten.

mod lives;
mod simulated_disk;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::store::contract::ask::{self, ask, heads};
use dunlin_core::store::contract::sample::{all, chat, user};
use dunlin_core::store::embedded::disk::Disk;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore, OpenError};
use dunlin_core::store::{
    ChangeRange, DedupeKey, Deleted, Deletion, EntryMeta, Fence, Head, NewEntry, Register,
    RegisterKey, RegisterRange, Rule, Set, StoreReply, StoreRequest, Write, Written,
};
use dunlin_protocol::{ClientMessageId, LogId};
use lives::{Seeds, cut_while_opening, next_life};
use simulated_disk::{Dice, Faults, SeededRandom, SimulatedDisk};
use smallvec::SmallVec;

const LOGS: u64 = 4;
const KEYS: u64 = 5;

/// How long it is known which registers were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    Kept,
    /// They are forgotten as soon as that can be done.
    Forgotten,
}

fn config(marks: Marks) -> EmbeddedConfig {
    let kept = EmbeddedConfig::default().marks_kept;
    EmbeddedConfig {
        marks_kept: if marks == Marks::Kept { kept } else { Duration::ZERO },
        // What is dead is cleaned away at once, so that the power fails in the middle of that as well.
        cleaning_interval: Duration::ZERO,
        cleaning_bytes_per_second: u64::MAX,
        gone_within: Duration::ZERO,
        ..lives::config()
    }
}

/// A log as it must be.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    head: Head,
    /// Those that have not expired; `None` where the body was erased.
    entries: BTreeMap<u64, (EntryMeta, Option<Bytes>)>,
    /// With those that were removed.
    registers: BTreeMap<Vec<u8>, (u64, Option<Bytes>)>,
    known_from: u64,
    /// The newest version that has removed a register: where removals are forgotten, what has changed since
    /// an older one may not be known any more.
    removed_by: u64,
}

/// What is asked for.
#[derive(Debug, Clone)]
enum Task {
    Write(Box<Write>),
    Delete(Deletion),
}

impl Task {
    fn log(&self) -> LogId {
        match self {
            Task::Write(write) => write.log,
            Task::Delete(deletion) => deletion.log(),
        }
    }
}

impl Model {
    /// The model after a task, if it is done; `None` if it is refused.
    fn after(&self, task: &Task) -> Option<Model> {
        let mut model = self.clone();
        match task {
            Task::Write(write) => model.write(write)?,
            Task::Delete(Deletion::Truncate { below, .. }) => model.truncate(*below),
            Task::Delete(Deletion::Erase { seq, .. }) => model.entries.get_mut(seq)?.1 = None,
            Task::Delete(Deletion::Drop { .. }) => {
                if !model.entries.is_empty() || !model.registers.is_empty() {
                    model.truncate(u64::MAX);
                    model.registers.clear();
                    model.head.version += 1;
                    model.known_from = model.head.version;
                }
            }
        }
        Some(model)
    }

    fn write(&mut self, write: &Write) -> Option<()> {
        let version = write.fence.version.unwrap_or(self.head.version);
        let fits = write.entry.as_ref().is_none_or(|entry| entry.seq == self.head.seq + 1);
        let met = write.sets.iter().all(|set| {
            let held = self.registers.get(set.key.as_bytes());
            let value = held.and_then(|(_, value)| value.as_deref());
            set.rule.holds(held.map_or(0, |(version, _)| *version), value, set.value.as_deref())
        });
        if version != self.head.version || !fits || !met {
            return None;
        }
        if let Some(NewEntry { seq, meta, body, .. }) = &write.entry {
            (self.head.seq, self.head.meta) = (*seq, *meta);
            self.entries.insert(*seq, (*meta, Some(body.clone())));
        }
        if !write.sets.is_empty() {
            self.head.version += 1;
        }
        for set in &write.sets {
            if set.value.is_none() {
                self.removed_by = self.head.version;
            }
            let slot = (self.head.version, set.value.clone());
            self.registers.insert(set.key.as_bytes().to_vec(), slot);
        }
        Some(())
    }

    fn truncate(&mut self, below: u64) {
        let below = below.min(self.head.seq + 1);
        if below > self.head.expired_below.max(1) {
            self.head.expired_below = below;
            self.head.expired = self.entries[&(below - 1)].0.into();
            self.entries = self.entries.split_off(&below);
        }
    }

    /// Why a store does not have the log like this, if it has not.
    fn differs(
        &self,
        store: &EmbeddedStore,
        log: LogId,
        dice: &mut Dice,
        marks: Marks,
    ) -> Option<String> {
        let head = heads(store, vec![log])[0];
        if head != self.head {
            return Some(format!("{head:?} is not {:?}", self.head));
        }
        let page = ask::range(store, all(log));
        let read: BTreeMap<_, _> = page
            .entries
            .into_iter()
            .map(|entry| (entry.seq, (entry.meta, (!entry.erased).then_some(entry.body))))
            .collect();
        if read != self.entries {
            return Some(format!("entries {read:?} are not {:?}", self.entries));
        }
        self.registers_differ(store, log, dice, marks)
    }

    fn registers_differ(
        &self,
        store: &EmbeddedStore,
        log: LogId,
        dice: &mut Dice,
        marks: Marks,
    ) -> Option<String> {
        let slots = || self.registers.iter();
        let register = |(key, (version, value)): (&Vec<u8>, &(u64, Option<Bytes>))| Register {
            key: RegisterKey::new(key).unwrap(),
            version: *version,
            value: value.clone(),
        };
        let wanted: Vec<Register> =
            slots().map(register).filter(|one| one.value.is_some()).collect();
        let range = RegisterRange {
            log,
            prefix: SmallVec::new(),
            after: None,
            registers_max: 100,
            bytes_max: usize::MAX,
        };
        let listed = ask::registers(store, range);
        if (&listed.registers, listed.version, listed.more) != (&wanted, self.head.version, false) {
            return Some(format!("registers {listed:?} are not {wanted:?}"));
        }
        let since = dice.below(self.head.version + 2);
        let range = ChangeRange { log, since, registers_max: 100, bytes_max: usize::MAX };
        let mut changed = ask::changes(store, range);
        let mut afresh = since > self.head.version || (since > 0 && since < self.known_from);
        // If removals are forgotten, all are told or none.
        afresh |=
            marks == Marks::Forgotten && changed.afresh && since > 0 && since < self.removed_by;
        let mut wanted: Vec<Register> = slots().map(register).collect();
        wanted.retain(|register| register.version > since && !afresh);
        wanted.sort_by(|one, other| (one.version, &one.key).cmp(&(other.version, &other.key)));
        if marks == Marks::Forgotten && since == 0 {
            changed.registers.retain(|one| one.value.is_some() || !wanted.contains(one));
            wanted.retain(|one| one.value.is_some());
        }
        if (&changed.registers, changed.afresh) != (&wanted, afresh) {
            return Some(format!("changes since {since} {changed:?} are not {wanted:?}"));
        }
        None
    }
}

/// How often the seeds met what they are there to meet.
#[derive(Debug, Default)]
struct Coverage {
    done: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    erased: AtomicU64,
    cut_while_recovering: AtomicU64,
    index_files: AtomicU64,
    cleaned: AtomicU64,
    forgotten: AtomicU64,
}

/// One more of something.
fn count(what: &AtomicU64) {
    what.fetch_add(1, Ordering::Relaxed);
}

struct World<'a> {
    logs: BTreeMap<LogId, Model>,
    /// What was under way at the end: it may have been done.
    open: Option<Task>,
    dice: Dice,
    coverage: &'a Coverage,
    made: u64,
    marks: Marks,
}

fn log(number: u64) -> LogId {
    chat(1, 2 + number)
}

impl World<'_> {
    fn task(&mut self) -> Task {
        let log = log(self.dice.below(LOGS));
        let model = self.logs.entry(log).or_default().clone();
        let seq = self.dice.below(model.head.seq + 2);
        match self.dice.below(40) {
            0 => Task::Delete(Deletion::Drop { log }),
            1..4 => Task::Delete(Deletion::Truncate { log, below: seq }),
            4..10 => Task::Delete(Deletion::Erase { log, seq }),
            _ => Task::Write(Box::new(self.write(log, &model))),
        }
    }

    fn write(&mut self, log: LogId, model: &Model) -> Write {
        let entry = self.dice.chance(60).then(|| self.entry(model.head.seq + 1));
        let mut sets = SmallVec::<[Set; 1]>::new();
        for key in 0..KEYS {
            if self.dice.chance(if entry.is_some() { 20 } else { 40 }) {
                sets.push(self.set(key, model));
            }
        }
        if entry.is_none() && sets.is_empty() {
            sets.push(self.set(0, model));
        }
        let behind = u64::from(self.dice.chance(10));
        let version = self.dice.chance(30).then(|| model.head.version.saturating_sub(behind));
        Write { log, fence: Fence { head: None, version }, entry, sets }
    }

    fn entry(&mut self, seq: u64) -> NewEntry {
        self.made += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.made.to_be_bytes());
        let key = DedupeKey { sender: user(1), client_message_id: ClientMessageId(id) };
        let meta = EntryMeta { time_ms: self.made, sender: 1, counted: seq, sender_counted: seq };
        let body = vec![self.made as u8; 1 + self.dice.below(1500) as usize].into();
        NewEntry { seq, meta, key: Some(key), digest: self.made, body }
    }

    fn set(&mut self, key: u64, model: &Model) -> Set {
        self.made += 1;
        let key = RegisterKey::numbered(b'k', key);
        let held = model.registers.get(key.as_bytes());
        // The version of one that was removed may be forgotten.
        let is_removed = held.is_some_and(|(_, value)| value.is_none());
        let forgets = is_removed && self.marks == Marks::Forgotten;
        let version = held.map_or(0, |(version, _)| *version);
        let rule = match self.dice.below(10) {
            0..6 => Rule::Always,
            6 if forgets => Rule::Always,
            6 => Rule::IfVersion(version),
            7 => Rule::IfAbsent,
            _ => Rule::IfGreater,
        };
        let bytes = if self.dice.chance(50) { 0 } else { self.dice.below(300) as usize };
        let mut value = self.made.to_be_bytes().to_vec();
        value.resize(8 + bytes, 7);
        let value = (!self.dice.chance(15)).then(|| value.into());
        Set { key, value, rule }
    }

    /// Does some tasks; ends when it is not known what became of one.
    fn serve(&mut self, store: &EmbeddedStore) {
        for _ in 0..self.dice.below(80) {
            let task = self.task();
            let request = match &task {
                Task::Write(write) => StoreRequest::Write(vec![(**write).clone()]),
                Task::Delete(deletion) => StoreRequest::Delete(vec![*deletion]),
            };
            let answer = ask(store, request);
            let model = self.logs.entry(task.log()).or_default();
            match (answer, model.after(&task)) {
                (Ok(StoreReply::Written(verdicts)), after)
                    if !matches!(verdicts[..], [Written::Unknown]) =>
                {
                    let stored = matches!(verdicts[..], [Written::Stored { .. }]);
                    assert_eq!(stored, after.is_some(), "{verdicts:?} to {task:?} at {model:?}");
                    count(if stored { &self.coverage.done } else { &self.coverage.refused });
                    *model = after.unwrap_or_else(|| model.clone());
                }
                (Ok(StoreReply::Deleted(verdicts)), after)
                    if !matches!(verdicts[..], [Deleted::Unknown]) =>
                {
                    *model = after.unwrap_or_else(|| model.clone());
                    let is_erasure = matches!(task, Task::Delete(Deletion::Erase { .. }));
                    match verdicts[..] {
                        [Deleted::Done { head }] => {
                            assert_eq!(head, model.head);
                            count(if is_erasure {
                                &self.coverage.erased
                            } else {
                                &self.coverage.done
                            });
                        }
                        [Deleted::NoSuchEntry { head }] => assert_eq!(head, model.head),
                        ref other => panic!("{other:?} to {task:?}"),
                    }
                }
                _ => {
                    count(&self.coverage.unknown);
                    self.open = Some(task);
                    return;
                }
            }
        }
    }

    /// Compares a store that was just opened with what it must have.
    fn check(&mut self, store: &EmbeddedStore) {
        if let Some(task) = self.open.take() {
            let log = task.log();
            let before = self.logs[&log].clone();
            if before.differs(store, log, &mut self.dice, self.marks).is_some()
                && let Some(after) = before.after(&task)
            {
                self.logs.insert(log, after);
            }
        }
        for (&log, model) in &self.logs {
            let differs = model.differs(store, log, &mut self.dice, self.marks);
            assert_eq!(differs, None, "log {log}");
        }
    }
}

fn open(disk: &SimulatedDisk, seed: u64, marks: Marks) -> Result<EmbeddedStore, OpenError> {
    lives::open(disk, config(marks), &SeededRandom::new(seed))
}

/// Everything has to be found in the segments alone, also when they were cleaned.
fn lose_index(disk: &SimulatedDisk) {
    let names = disk.lengths().into_iter().map(|(name, _)| name);
    for name in names.filter(|name| name.ends_with(".idx")) {
        disk.remove(&name).unwrap();
    }
}

fn live(seed: u64, coverage: &Coverage, marks: Marks) {
    let mut disk = SimulatedDisk::new(seed);
    let dice = Dice::new(seed);
    let mut world = World { logs: BTreeMap::new(), open: None, dice, coverage, made: 0, marks };
    for _ in 0..2 + world.dice.below(5) {
        let cut;
        (disk, cut) = cut_while_opening(disk, &mut world.dice, 30, |disk| open(disk, seed, marks));
        coverage.cut_while_recovering.fetch_add(cut, Ordering::Relaxed);
        let store = open(&disk, seed, marks).unwrap();
        let report = store.recovery();
        assert_eq!((&report.damage[..], report.history_lost), (&[][..], false));
        world.check(&store);
        if world.dice.chance(30) {
            let sync = world.dice.below(10);
            disk.set_faults(Faults { write: sync / 4, sync, ..Faults::default() });
        }
        if world.dice.chance(80) {
            disk.cut_power_after(world.dice.below(250));
        }
        world.serve(&store);
        disk.set_faults(Faults::default());
        if !disk.is_dead() && world.open.is_none() {
            world.check(&store);
            assert_eq!(store.verify().unwrap().damage, []);
        }
        for (&log, model) in &world.logs {
            // Since the version before the last removal.
            let since = model.removed_by.saturating_sub(1);
            let range = ChangeRange { log, since, registers_max: 100, bytes_max: usize::MAX };
            let is_forgotten = !disk.is_dead() && since >= model.known_from.max(1);
            if is_forgotten && world.open.is_none() && ask::changes(&store, range).afresh {
                count(&coverage.forgotten);
            }
        }
        let cleaned = store.statistics().cleaned_files;
        coverage.cleaned.fetch_add(cleaned, Ordering::Relaxed);
        drop(store);
        let names = disk.lengths();
        let files = names.iter().filter(|(name, _)| name.ends_with(".idx")).count();
        coverage.index_files.fetch_add(files as u64, Ordering::Relaxed);
        disk = next_life(&disk, &mut world.dice);
        if world.dice.chance(15) {
            lose_index(&disk);
        }
    }
    world.check(&open(&disk, seed, marks).unwrap());
}

#[test]
fn a_write_is_whole_and_what_is_deleted_stays_deleted() {
    live_all(Marks::Kept);
}

#[test]
fn what_was_removed_stays_removed_when_that_is_forgotten() {
    live_all(Marks::Forgotten);
}

fn live_all(marks: Marks) {
    let seeds = Seeds::of("POWER_LOSS_SEEDS", 0..400);
    let coverage = Coverage::default();
    seeds.run(|seed| live(seed, &coverage, marks));
    println!("{coverage:?}");
    // The dice have met everything that matters, often.
    let many = seeds.count() / 4;
    let Coverage {
        done,
        refused,
        unknown,
        erased,
        cut_while_recovering,
        index_files,
        cleaned,
        forgotten,
    } = coverage;
    assert!((marks == Marks::Forgotten) == (forgotten.into_inner() >= many));
    for met in [done, refused, unknown, erased, cut_while_recovering, index_files, cleaned] {
        assert!(met.into_inner() >= many);
    }
}
