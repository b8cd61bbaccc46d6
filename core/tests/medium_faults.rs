//! Whatever the medium does to what was synced long ago: what was acknowledged is served as it was,
//! or it is said that it is not.
//!
//! Each seed runs a store on a simulated disk through some lives. Between two lives the store is
//! stopped in order, is killed, or loses its power, and then something may happen to one of its
//! files: a bit flips, it is lost, cut, or is again what it was at an earlier sync. Afterwards each
//! acknowledged entry is read as it was; or reading it is an error, and if more happened than that a bit
//! flipped, the file was named at the start; or it is gone, and then the epoch is another one. Within an
//! epoch no sequence has two contents. Where nothing happened nothing is said, and the epoch stays, also
//! if `EXTENT` was lost before. `MEDIUM_FAULT_SEEDS=1000..2000` runs others.
//!
//! The newest segment is not rolled back where the store was not stopped in order: what `EXTENT` knows
//! of it then is a lower bound.
//!
//! That it can fail was tried by hand. It finds a store that forgets `EXTENT` at the start; one that
//! takes every last batch that is not whole for unfinished; one that keeps the epoch after a loss; and an
//! orderly stop that writes nothing. (That neither end of a sealed segment is looked at, and that an older
//! `STORE` goes unseen, is found by `damage.rs`.)

mod simulated_disk;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range as SeedRange;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dunlin_core::store::contract::ask::ask;
use dunlin_core::store::contract::sample::{all, chat, entry, entry_of, with_body};
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore, OpenError};
use dunlin_core::store::{
    Head, Page, Range, Store, StoreError, StoreReply, StoreRequest, Write, Written,
};
use dunlin_protocol::LogId;
use simulated_disk::{Dice, MediumFault, SeededRandom, SimulatedDisk};

const SEEDS: SeedRange<u64> = 0..200;
const LOGS: u64 = 4;
const LIVES: u64 = 8;

fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        segment_bytes: 16 * 1024,
        readers: 1,
        merge_runs: 2,
        retry_interval: Duration::ZERO,
        ..EmbeddedConfig::default()
    }
}

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
    refused_starts: u64,
}

/// Asks until an index file that is being made again is there.
fn ask_patiently(store: &EmbeddedStore, request: &StoreRequest) -> Result<StoreReply, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match ask(store, request.clone()) {
            Err(StoreError::Unavailable { reason }) => {
                assert!(Instant::now() < deadline, "{reason}");
                thread::yield_now();
            }
            answer => return answer,
        }
    }
}

/// Reads one range, until the index file that it needs is there.
fn read_patiently(store: &EmbeddedStore, range: Range) -> Result<Page, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let page = match ask_patiently(store, &StoreRequest::Ranges(vec![range]))? {
            StoreReply::Pages(mut pages) => pages.remove(0),
            other => panic!("{other:?}"),
        };
        match page {
            Err(StoreError::Unavailable { reason }) => {
                assert!(Instant::now() < deadline, "{reason}");
                thread::yield_now();
            }
            page => return page,
        }
    }
}

impl Witness {
    /// Compares a store that was just opened with what is known.
    fn check(&mut self, store: &EmbeddedStore, fault: Option<(&str, MediumFault)>) {
        let report = store.recovery();
        let said: BTreeSet<String> = report.damage.iter().map(ToString::to_string).collect();
        if fault.is_none() {
            // What was damaged before may be so still.
            assert!(said.is_subset(&self.said) && !report.history_lost, "{report:?}");
        }
        self.said.extend(said);
        let is_new_epoch = self.epoch != 0 && store.epoch() != self.epoch;
        assert!(!report.history_lost || is_new_epoch);
        self.coverage.said += u64::from(!report.damage.is_empty());
        self.coverage.new_epochs += u64::from(is_new_epoch);
        self.epoch = store.epoch();
        if is_new_epoch {
            assert!(!report.told.is_empty(), "{fault:?}: {report:?}");
            self.damaged.clear();
        }
        let before = std::mem::take(&mut self.acknowledged);
        for (&(log, seq), &number) in &before {
            let range = Range { from: seq, to: seq, ..all(log) };
            match read_patiently(store, range) {
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
    }

    /// An entry can't be read: something happened, and if it was more than a bit, it was said at once.
    fn check_said(&self, store: &EmbeddedStore, fault: Option<(&str, MediumFault)>) {
        let (file, fault) = fault.expect("nothing is damaged by itself");
        let report = store.recovery();
        let named = report.damage.iter().any(|damage| damage.file == file);
        assert!(named || fault == MediumFault::Flip, "{file} {fault:?} {report:?}");
    }

    /// What is served beyond that was under way when the last life ended: from now on it counts.
    fn adopt(&mut self, store: &EmbeddedStore) {
        for log in (0..LOGS).map(log) {
            for seq in 1..=self.head(store, log) {
                if self.acknowledged.contains_key(&(log, seq)) {
                    continue;
                }
                let range = Range { from: seq, to: seq, ..all(log) };
                match read_patiently(store, range) {
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
        match ask_patiently(store, &StoreRequest::Heads(vec![log])) {
            Ok(StoreReply::Heads(heads)) => heads[0].as_ref().unwrap().seq,
            other => panic!("{other:?}"),
        }
    }

    /// Writes until the power fails, or all is written.
    fn write(&mut self, store: &EmbeddedStore, dice: &mut Dice) {
        for _ in 0..dice.below(40) {
            let log = log(dice.below(LOGS));
            let Ok(StoreReply::Heads(heads)) = ask(store, StoreRequest::Heads(vec![log])) else {
                return;
            };
            let Ok(Head { seq: head, .. }) = heads[0] else { return };
            let mut items = Vec::new();
            for seq in head + 1..head + 2 + dice.below(4) {
                self.next_message += 1;
                items.push(message(log, seq, self.next_message));
            }
            let request = StoreRequest::Write(items.clone());
            let Ok(StoreReply::Written(answers)) = ask(store, request) else { return };
            for (item, answer) in items.iter().map(entry_of).zip(answers) {
                if answer == Written::Unknown {
                    return;
                }
                assert_eq!(answer, Written::Stored { version: 0 });
                let before = self.acknowledged.insert((log, item.seq), item.digest);
                assert_eq!(before, None, "{log} {} was given twice", item.seq);
                let is_damaged = self.damaged.contains_key(&(log, item.seq));
                assert!(!is_damaged, "{log} {} was taken", item.seq);
            }
        }
    }
}

fn open(disk: &SimulatedDisk, random: &SeededRandom) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open_on(Arc::new(disk.clone()), config(), random)
}

/// Something happens to one of the files.
fn spoil(disk: &SimulatedDisk, dice: &mut Dice, is_orderly: bool) -> Option<(String, MediumFault)> {
    let names: Vec<String> = disk.lengths().into_iter().map(|(name, _)| name).collect();
    let newest = names.iter().filter(|name| name.ends_with(".log")).max().cloned();
    let faults = [MediumFault::Flip, MediumFault::Lose, MediumFault::Cut, MediumFault::RollBack];
    let fault = faults[dice.below(4) as usize];
    let name = names.get(dice.below(names.len() as u64) as usize)?.clone();
    let is_unbounded = !is_orderly && newest.as_ref() == Some(&name);
    if fault == MediumFault::RollBack && is_unbounded {
        return None;
    }
    disk.damage(&name, fault, dice).then_some((name, fault))
}

/// Runs a store through its lives.
fn live(seed: u64) -> Coverage {
    let mut disk = SimulatedDisk::new(seed);
    let mut dice = Dice::new(seed);
    let mut witness = Witness::default();
    let random = SeededRandom::new(seed);
    let mut fault = None;
    for _ in 0..LIVES {
        let store = match open(&disk, &random) {
            Ok(store) => store,
            Err(error) => {
                // Without its identity nothing of it can be read.
                let (name, _) = fault.expect("a store that nothing happened to opens");
                assert_eq!(name, "STORE", "{error}");
                witness.coverage.refused_starts += 1;
                return witness.coverage;
            }
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
        disk = match (is_orderly, dice.chance(30)) {
            (true, _) => disk.copy(),
            (false, true) => disk.after_kill(),
            (false, false) => disk.after_power_cut(),
        };
        fault = if dice.chance(60) { spoil(&disk, &mut dice, is_orderly) } else { None };
        witness.coverage.faults += u64::from(fault.is_some());
    }
    witness.coverage
}

fn seeds() -> SeedRange<u64> {
    let Ok(chosen) = std::env::var("MEDIUM_FAULT_SEEDS") else { return SEEDS };
    let (from, to) = chosen.split_once("..").expect("from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// Names the seed that failed.
struct Failing(u64);

impl Drop for Failing {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("MEDIUM_FAULT_SEEDS={}..{} failed", self.0, self.0 + 1);
        }
    }
}

#[test]
fn it_is_served_right_or_said() {
    let (mut sum, mut count) = (Coverage::default(), 0);
    for seed in seeds() {
        let _failing = Failing(seed);
        let coverage = live(seed);
        sum.faults += coverage.faults;
        sum.said += coverage.said;
        sum.new_epochs += coverage.new_epochs;
        sum.damaged_entries += coverage.damaged_entries;
        sum.refused_starts += coverage.refused_starts;
        count += 1;
    }
    println!("{sum:?}");
    // The dice have met everything that matters, often.
    let Coverage { faults, said, new_epochs, damaged_entries, refused_starts } = sum;
    assert!(faults >= count && said * 2 >= count && new_epochs * 4 >= count, "{sum:?}");
    assert!(damaged_entries >= count && refused_starts * 20 >= count, "{sum:?}");
}
