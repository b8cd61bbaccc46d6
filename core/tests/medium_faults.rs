//! Whatever the medium does to what was synced long ago: what was acknowledged is served as it was,
//! or it is said that it is not.
//!
//! Each seed runs a store on a simulated disk through some lives. Between two lives the store is
//! stopped in order, is killed, or loses its power, and then something may happen to one of its
//! files: a bit flips, a sector can't be read any more, it is lost, cut, or is again what it was at an earlier
//! sync. Afterwards each acknowledged entry is read as it was; or reading it is an error, and if more happened
//! than that a bit flipped or a sector was lost, the file was named at the start; or it is gone, and then the epoch is another one. Each register
//! holds what it was set to last, and is not there if it was removed, with the same two exceptions. Within an
//! epoch no sequence has two contents, and no version. Where nothing happened nothing is said, and the epoch stays, also
//! if `EXTENT` was lost before. `MEDIUM_FAULT_SEEDS=1000..2000` runs others.
//!
//! The newest segment is not rolled back where the store was not stopped in order: what `EXTENT` knows
//! of it then is a lower bound.
//!
//! That it can fail was tried by hand. It finds a store that forgets `EXTENT` at the start; one that
//! takes every last batch that is not whole for unfinished; one that keeps the epoch after a loss; and an
//! orderly stop that writes nothing. (That neither end of a sealed segment is looked at, and that an older
//! `STORE` goes unseen, is found by `damage.rs`.)
//!
//! Where the disk can't read two files that vouch for each other, the store does not open. Then the one is lost
//! that it names as the way out.

mod lives;
mod simulated_disk;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use dunlin_core::store::contract::ask::ask;
use dunlin_core::store::contract::sample::{
    all, all_registers, chat, entry, entry_of, key, since, with_body,
};
use dunlin_core::store::embedded::{Damage, DamageKind, EmbeddedStore, OpenError};
use dunlin_core::store::{
    Page, Range, Register, Registers, Set, Store, StoreError, StoreReply, StoreRequest, Write,
    Written,
};
use dunlin_protocol::LogId;
use lives::{Seeds, next_life};
use simulated_disk::{Dice, MediumFault, SeededRandom, SimulatedDisk};

const LOGS: u64 = 4;
/// Registers of each log.
const KEYS: u64 = 6;
const LIVES: u64 = 8;

fn log(number: u64) -> LogId {
    chat(1, 2 + number)
}

/// A message: everything in it follows from its number. It has no zeros, so that no sector of it looks
/// as if it had never been written.
fn message(log: LogId, seq: u64, number: u64) -> Write {
    let body = vec![1 + (number % 255) as u8; 1 + (number * 37 % 700) as usize];
    let mut write = with_body(entry(log, seq, number), body);
    write.entry.as_mut().unwrap().digest = number;
    write
}

/// What the clients of the store know.
#[derive(Default)]
struct Witness {
    epoch: u64,
    /// The numbers of the messages that were acknowledged in this epoch.
    acknowledged: BTreeMap<(LogId, u64), u64>,
    /// Sequences that are damaged in this epoch, and so are not given again, with the message if it is
    /// known.
    damaged: BTreeMap<(LogId, u64), Option<u64>>,
    next_message: u64,
    registers: RegisterWitness,
    /// All damage that was ever said.
    said: BTreeSet<String>,
    coverage: Coverage,
}

/// How often the seeds met what they are there to meet.
#[derive(Debug, Default, Clone, Copy)]
struct Coverage {
    faults: u64,
    said: u64,
    new_epochs: u64,
    damaged_entries: u64,
    damaged_registers: u64,
    refused_starts: u64,
    lost_witnesses: u64,
}

impl AddAssign for Coverage {
    fn add_assign(&mut self, other: Coverage) {
        self.faults += other.faults;
        self.said += other.said;
        self.new_epochs += other.new_epochs;
        self.damaged_entries += other.damaged_entries;
        self.damaged_registers += other.damaged_registers;
        self.refused_starts += other.refused_starts;
        self.lost_witnesses += other.lost_witnesses;
    }
}

/// A register of a log.
type Name = (LogId, u64);

/// What it is: the version that has set it, and the number that its value follows from, `None` if it was
/// removed. One that was never set has version 0.
type Slot = (u64, Option<u64>);

const NEVER: Slot = (0, None);

/// What the clients know of registers.
#[derive(Default)]
struct RegisterWitness {
    /// What each may be: what was acknowledged, and what was under way when the last life ended.
    may_be: BTreeMap<Name, BTreeSet<Slot>>,
    /// Those that could not be read.
    damaged: BTreeSet<Name>,
    /// All that they ever were.
    ever: BTreeSet<(Name, Slot)>,
    /// The highest version of each log that was acknowledged in this epoch.
    versions: BTreeMap<LogId, u64>,
}

/// What a register is set to by a write of this number: now and then it is removed.
fn set(name: u64, number: u64) -> Set {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(8 + (number * 53 % 300) as usize, 1 + (number % 255) as u8);
    if number.is_multiple_of(5) {
        Set::removal(key(name))
    } else {
        Set::always(key(name), value.into())
    }
}

fn slot_of(register: &Register) -> Slot {
    let number = |value: &[u8]| {
        let number = u64::from_be_bytes(value[..8].try_into().unwrap());
        assert_eq!(set(0, number).value.as_deref(), Some(value), "made up");
        number
    };
    (register.version, register.value.as_deref().map(number))
}

impl RegisterWitness {
    /// A write has set these.
    fn written(&mut self, log: LogId, sets: &[(u64, Option<u64>)], version: u64) {
        if sets.is_empty() {
            return;
        }
        for &(number, _) in sets {
            self.may_be.insert((log, number), BTreeSet::new());
            self.damaged.remove(&(log, number));
        }
        self.may_be(log, sets, version);
        let before = self.versions.insert(log, version);
        assert!(before < Some(version), "{log}: version {version} was given twice");
    }

    /// A write may have set these.
    fn may_be(&mut self, log: LogId, sets: &[(u64, Option<u64>)], version: u64) {
        for &(number, value) in sets {
            let (name, slot) = ((log, number), (version, value));
            self.ever.insert((name, slot));
            self.may_be.entry(name).or_insert_with(|| BTreeSet::from([NEVER])).insert(slot);
        }
    }

    /// Compares the registers of a log with what they may be. Returns those that can't be read.
    fn check(&mut self, store: &EmbeddedStore, log: LogId, is_new_epoch: bool) -> Vec<Name> {
        let (mut unread, mut served) = (Vec::new(), Vec::new());
        for number in 0..KEYS {
            let name = (log, number);
            let register = match read_register(store, name) {
                Ok(register) => register,
                Err(StoreError::CorruptRegister { .. }) => {
                    unread.push(name);
                    continue;
                }
                other => panic!("{other:?}"),
            };
            let slot = slot_of(&register);
            let may_be = self.may_be.entry(name).or_insert_with(|| BTreeSet::from([NEVER]));
            let was = slot == NEVER || self.ever.contains(&(name, slot));
            assert!(
                may_be.contains(&slot) || (is_new_epoch && was),
                "{name:?} is silently {slot:?} and not one of {may_be:?}"
            );
            *may_be = BTreeSet::from([slot]);
            self.damaged.remove(&name);
            served.push(register);
        }
        if unread.is_empty() {
            check_pages(store, log, &served);
        }
        unread
    }
}

/// Who asks for all of them, or for what has changed, is told the same.
fn check_pages(store: &EmbeddedStore, log: LogId, served: &[Register]) {
    let listed = registers_patiently(store, &StoreRequest::Registers(vec![all_registers(log)]));
    let there = served.iter().filter(|register| register.value.is_some());
    let slots = |registers: &[Register]| -> Vec<Slot> { registers.iter().map(slot_of).collect() };
    let wanted = (slots(&listed.registers), slots(served));
    assert!(listed.registers.iter().eq(there), "{log}: {wanted:?}");
    for version in [0, listed.version / 2] {
        let changed = registers_patiently(store, &StoreRequest::Changes(vec![since(log, version)]));
        let mut later: Vec<Register> = served.to_vec();
        later.retain(|register| register.version > version);
        later.sort_by_key(|register| register.version);
        let wanted = (slots(&changed.registers), slots(&later));
        assert!(changed.registers == later && !changed.afresh, "{log} since {version}: {wanted:?}");
    }
}

/// Asks until the index file that it needs is there: it may be being made again.
fn patiently<T>(ask: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match ask() {
            Err(StoreError::Unavailable { reason }) => {
                assert!(Instant::now() < deadline, "{reason}");
                thread::yield_now();
            }
            answer => return answer,
        }
    }
}

fn read(store: &EmbeddedStore, range: Range) -> Result<Page, StoreError> {
    patiently(|| match ask(store, StoreRequest::Ranges(vec![range]))? {
        StoreReply::Pages(mut pages) => pages.remove(0),
        other => panic!("{other:?}"),
    })
}

fn read_register(store: &EmbeddedStore, (log, number): Name) -> Result<Register, StoreError> {
    patiently(|| match ask(store, StoreRequest::Register(vec![(log, key(number))]))? {
        StoreReply::Register(mut registers) => registers.remove(0),
        other => panic!("{other:?}"),
    })
}

/// Of a log of which all registers can be read.
fn registers_patiently(store: &EmbeddedStore, request: &StoreRequest) -> Registers {
    let read = patiently(|| match ask(store, request.clone())? {
        StoreReply::Registers(mut registers) => registers.remove(0),
        other => panic!("{other:?}"),
    });
    read.unwrap()
}

impl Witness {
    /// Keeps in mind what was said at a start.
    fn hear(&mut self, store: &EmbeddedStore) {
        self.said.extend(store.recovery().damage.iter().map(ToString::to_string));
    }

    /// Compares a store that was just opened with what is known.
    fn check(&mut self, store: &EmbeddedStore, fault: Option<(&str, MediumFault)>) {
        let (report, before) = (store.recovery(), self.said.clone());
        self.hear(store);
        if fault.is_none() {
            // What was damaged before may be so still.
            assert!(self.said == before && !report.history_lost, "{report:?}");
        }
        let is_new_epoch = self.epoch != 0 && store.epoch() != self.epoch;
        assert!(!report.history_lost || is_new_epoch);
        self.coverage.said += u64::from(!report.damage.is_empty());
        self.coverage.new_epochs += u64::from(is_new_epoch);
        self.epoch = store.epoch();
        if is_new_epoch {
            assert!(!report.told.is_empty(), "{fault:?}: {report:?}");
            self.damaged.clear();
            self.registers.versions.clear();
        }
        let before = std::mem::take(&mut self.acknowledged);
        for (&(log, seq), &number) in &before {
            let range = Range { from: seq, to: seq, ..all(log) };
            match read(store, range) {
                Ok(page) if page.entries.is_empty() => {
                    assert!(is_new_epoch, "{log} {seq} is silently gone: {fault:?} {report:?}");
                }
                Ok(page) => {
                    let (found, was) = (&page.entries[0], message(log, seq, number));
                    let was = entry_of(&was);
                    assert_eq!((found.seq, &found.body), (seq, &was.body), "{fault:?} {report:?}");
                    self.acknowledged.insert((log, seq), number);
                }
                Err(StoreError::Corrupt { .. }) => {
                    self.coverage.damaged_entries += 1;
                    self.check_said(store, fault);
                    self.damaged.insert((log, seq), Some(number));
                }
                other => panic!("{other:?}"),
            }
        }
        self.adopt(store);
        for log in (0..LOGS).map(log) {
            for name in self.registers.check(store, log, is_new_epoch) {
                if self.registers.damaged.insert(name) {
                    self.coverage.damaged_registers += 1;
                    self.check_said(store, fault);
                }
            }
        }
    }

    /// Something can't be read: something happened, and if it was more than a bit or a sector, it was said
    /// at once.
    fn check_said(&self, store: &EmbeddedStore, fault: Option<(&str, MediumFault)>) {
        let (file, fault) = fault.expect("nothing is damaged by itself");
        let report = store.recovery();
        let named = report.damage.iter().any(|damage| damage.file == file);
        let is_small = matches!(fault, MediumFault::Flip | MediumFault::Unreadable);
        assert!(named || is_small, "{file} {fault:?} {report:?}");
    }

    /// What is served beyond that was under way when the last life ended: from now on it counts.
    fn adopt(&mut self, store: &EmbeddedStore) {
        for log in (0..LOGS).map(log) {
            for seq in 1..=self.head(store, log) {
                if self.acknowledged.contains_key(&(log, seq)) {
                    continue;
                }
                let range = Range { from: seq, to: seq, ..all(log) };
                match read(store, range) {
                    Ok(page) => {
                        let found = page.entries.first().expect("a log is dense up to its head");
                        let number = found.meta.sender;
                        assert_eq!(found.body, entry_of(&message(log, seq, number)).body);
                        // An earlier state of a file may be the good one.
                        if let Some(Some(was)) = self.damaged.remove(&(log, seq)) {
                            assert_eq!(number, was, "{log} {seq} was taken");
                        }
                        self.acknowledged.insert((log, seq), number);
                    }
                    Err(StoreError::Corrupt { .. }) => {
                        self.damaged.entry((log, seq)).or_insert(None);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn head(&self, store: &EmbeddedStore, log: LogId) -> u64 {
        let head = patiently(|| match ask(store, StoreRequest::Heads(vec![log]))? {
            StoreReply::Heads(mut heads) => heads.remove(0),
            other => panic!("{other:?}"),
        });
        head.unwrap().seq
    }

    /// Writes until the power fails, or all is written.
    fn write(&mut self, store: &EmbeddedStore, dice: &mut Dice) {
        for _ in 0..dice.below(40) {
            let log = log(dice.below(LOGS));
            let Ok(StoreReply::Heads(heads)) = ask(store, StoreRequest::Heads(vec![log])) else {
                return;
            };
            let Ok(head) = heads[0] else { return };
            let (mut seq, mut version) = (head.seq, head.version);
            let writes: Vec<(Write, Sets)> =
                (0..1 + dice.below(4)).map(|_| self.any_write(log, &mut seq, dice)).collect();
            let request = writes.iter().map(|(write, _)| write.clone()).collect();
            let answers = match ask(store, StoreRequest::Write(request)) {
                Ok(StoreReply::Written(answers)) => answers,
                _ => vec![Written::Unknown; writes.len()],
            };
            let mut is_unsure = false;
            for ((write, sets), answer) in writes.iter().zip(answers) {
                let before = version;
                version += u64::from(!sets.is_empty());
                match answer {
                    Written::Stored { version: stored } => {
                        assert!(stored == version || is_unsure, "{stored} is not {version}");
                        self.registers.written(log, sets, stored);
                        self.stored(log, write);
                    }
                    Written::Unknown => {
                        is_unsure = true;
                        let versions = head.version + 1..=before + 1;
                        versions.for_each(|version| self.registers.may_be(log, sets, version));
                    }
                    Written::Conflict { .. } if is_unsure => {}
                    other => panic!("{other:?} at {version}"),
                }
            }
            if is_unsure {
                return;
            }
        }
    }

    fn stored(&mut self, log: LogId, write: &Write) {
        let Some(item) = &write.entry else { return };
        let before = self.acknowledged.insert((log, item.seq), item.digest);
        assert_eq!(before, None, "{log} {} was given twice", item.seq);
        let is_damaged = self.damaged.contains_key(&(log, item.seq));
        assert!(!is_damaged, "{log} {} was taken", item.seq);
    }

    /// An entry, registers, or both.
    fn any_write(&mut self, log: LogId, seq: &mut u64, dice: &mut Dice) -> (Write, Sets) {
        let has_entry = dice.chance(70);
        let mut sets = Vec::new();
        for name in 0..KEYS {
            if dice.chance(15) || (name == 0 && !has_entry) {
                self.next_message += 1;
                sets.push((name, self.next_message));
            }
        }
        self.next_message += 1;
        let mut write = Write::registers(log, sets.iter().map(|&(name, number)| set(name, number)));
        if has_entry {
            *seq += 1;
            write.entry = message(log, *seq, self.next_message).entry;
        }
        let value = |number| set(0, number).value.map(|_| number);
        (write, sets.into_iter().map(|(name, number)| (name, value(number))).collect())
    }
}

/// Which registers a write sets, and the numbers that their values follow from.
type Sets = Vec<(u64, Option<u64>)>;

/// Something happens to one of the files.
fn spoil(disk: &SimulatedDisk, dice: &mut Dice, is_orderly: bool) -> Option<(String, MediumFault)> {
    let names: Vec<String> = disk.lengths().into_iter().map(|(name, _)| name).collect();
    let newest = names.iter().filter(|name| name.ends_with(".log")).max().cloned();
    let faults = [
        MediumFault::Flip,
        MediumFault::Unreadable,
        MediumFault::Lose,
        MediumFault::Cut,
        MediumFault::RollBack,
    ];
    let fault = faults[dice.below(5) as usize];
    let name = names.get(dice.below(names.len() as u64) as usize)?.clone();
    let is_unbounded = !is_orderly && newest.as_ref() == Some(&name);
    if fault == MediumFault::RollBack && is_unbounded {
        return None;
    }
    disk.damage(&name, fault, dice).then_some((name, fault))
}

/// Waits until an index file that may be damaged is made again. False if only the next start can do that:
/// something is lost of its segments as well, which nobody had looked at, and which is written down now; or one
/// of them is not read.
fn makes_index_again(store: &EmbeddedStore, disk: &SimulatedDisk) -> bool {
    let extent = disk.content("EXTENT");
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_index = |damage: &Damage| damage.kind == DamageKind::Index;
    let is_refused =
        |damage: &Damage| matches!(damage.kind, DamageKind::OtherCopy | DamageKind::Outdated);
    let has_refused = store.recovery().damage.iter().any(is_refused);
    while store.verify().unwrap().damage.iter().any(is_index) {
        assert!(Instant::now() < deadline, "an index file is not made again");
        if has_refused || disk.content("EXTENT") != extent {
            return false;
        }
        thread::yield_now();
    }
    true
}

/// Opens a store. Where two files that vouch for each other can't be read, that is refused, and somebody goes on
/// without one of them. (What can't be read of an index file may come to light only when that is used, and what
/// can't be read of a segment when the index is made again.)
fn open(
    disk: &SimulatedDisk,
    random: &SeededRandom,
    witness: &mut Witness,
) -> Result<EmbeddedStore, OpenError> {
    match lives::open(disk, lives::config(), random) {
        Err(OpenError::Unread { names, way_out, .. }) => {
            assert!(names.len() > 1, "{names:?}");
            witness.coverage.lost_witnesses += 1;
            disk.lose(&way_out);
            lives::open(disk, lives::config(), random)
        }
        opened => opened,
    }
}

/// Runs a store through its lives.
fn live(seed: u64) -> Coverage {
    let mut disk = SimulatedDisk::new(seed);
    let mut dice = Dice::new(seed);
    let mut witness = Witness::default();
    let random = SeededRandom::new(seed);
    let mut fault = None;
    for _ in 0..LIVES {
        let store = match open(&disk, &random, &mut witness) {
            Ok(store) => store,
            Err(error) => {
                // Without its identity nothing of it can be read.
                let (name, _) = fault.expect("a store that nothing happened to opens");
                assert_eq!(name, "STORE", "{error}");
                witness.coverage.refused_starts += 1;
                return witness.coverage;
            }
        };
        let is_index = |(name, _): &&(String, MediumFault)| name.ends_with(".idx");
        let store = match fault.as_ref().filter(is_index) {
            Some(_) if !makes_index_again(&store, &disk) => {
                witness.hear(&store);
                drop(store);
                open(&disk, &random, &mut witness).unwrap()
            }
            Some(_) | None => store,
        };
        let happened = fault.as_ref().map(|(name, fault): &(String, _)| (name.as_str(), *fault));
        witness.check(&store, happened);
        let is_orderly = dice.chance(50);
        if !is_orderly {
            disk.cut_power_after(dice.below(150));
        }
        witness.write(&store, &mut dice);
        if !is_orderly {
            disk.cut_power_after(0);
        }
        drop(store);
        disk = if is_orderly { disk.copy() } else { next_life(&disk, &mut dice) };
        fault = if dice.chance(60) { spoil(&disk, &mut dice, is_orderly) } else { None };
        witness.coverage.faults += u64::from(fault.is_some());
    }
    witness.coverage
}

#[test]
fn it_is_served_right_or_said() {
    let (seeds, sum) = (Seeds::of("MEDIUM_FAULT_SEEDS", 0..200), Mutex::new(Coverage::default()));
    seeds.run(|seed| {
        let coverage = live(seed);
        *sum.lock().unwrap() += coverage;
    });
    let (sum, count) = (sum.into_inner().unwrap(), seeds.count());
    println!("{sum:?}");
    // The dice have met everything that matters, often.
    let Coverage { faults, said, new_epochs, damaged_entries, refused_starts, .. } = sum;
    assert!(faults >= count && said * 2 >= count && new_epochs * 4 >= count, "{sum:?}");
    assert!(damaged_entries >= count && refused_starts * 20 >= count, "{sum:?}");
    assert!(sum.damaged_registers * 10 >= count, "{sum:?}");
}
