//! Where a power cut comes seldom, but must not: between the calls of cleaning and erasing.
//!
//! A store cleans and erases on a simulated disk that keeps what it was before each call. Of each of these
//! moments everything is tried that a power cut may leave: nothing of what was not synced, all, one change
//! alone, all but one. Whatever it is, the store opens without a word, has everything, and what was erased
//! stays erased. (`power_loss_of_registers.rs` tries parts of writes as well, at moments that chance chooses.)

mod simulated_disk;

use std::collections::HashSet;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::store::contract::ask::{
    ask, consumer, delete, feed, heads, range, registers, write,
};
use dunlin_core::store::contract::sample::{all, all_registers, chat, entry, from, set, with_body};
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::feed::{ConsumerName, FeedFrom};
use dunlin_core::store::{
    ConsumerChange, Deleted, Deletion, FeedRange, StoreError, StoreRequest, Write, Written,
};
use dunlin_protocol::LogId;
use simulated_disk::{SeededRandom, SimulatedDisk};

/// Registers, and how often all of them are set.
const REGISTERS: u64 = 20;
const ROUNDS: u64 = 12;

/// The entry that is erased. It is in the first segment.
const ERASED: u64 = 1;

/// A store that leaves the segment which is written when it cleans for the second time.
const SOON: Duration = Duration::from_millis(2);

/// One that does not.
const LATE: Duration = Duration::from_hours(1);

fn open(disk: &SimulatedDisk, gone_within: Duration) -> EmbeddedStore {
    let config = EmbeddedConfig {
        segment_bytes: 16 * 1024,
        readers: 1,
        // Each segment has an index file of its own.
        merge_runs: 64,
        // It cleans when it is told to.
        cleaning_interval: Duration::from_hours(24),
        cleaning_bytes_per_second: u64::MAX,
        gone_within,
        ..EmbeddedConfig::default()
    };
    EmbeddedStore::open_on(Arc::new(disk.clone()), config, &SeededRandom::new(1)).unwrap()
}

fn log() -> LogId {
    chat(1, 2)
}

/// No zeros: nothing in it looks as if it were erased.
fn body(seq: u64) -> Bytes {
    vec![seq as u8; 200].into()
}

fn value(round: u64, number: u64) -> String {
    format!("value {number} of round {round:06} ").repeat(10)
}

fn name() -> ConsumerName {
    ConsumerName::new("slow").unwrap()
}

/// Files whose names end so.
fn count(disk: &SimulatedDisk, end: &str) -> usize {
    disk.lengths().iter().filter(|(name, _)| name.ends_with(end)).count()
}

/// A store of some segments of which nearly everything is dead, and nothing was cleaned: until now, a
/// consumer of the feed stood at the beginning.
fn mostly_dead(gone_within: Duration) -> (SimulatedDisk, EmbeddedStore) {
    let disk = SimulatedDisk::new(1);
    let store = open(&disk, gone_within);
    let start = feed(&store, FeedRange { items_max: 0, ..from(FeedFrom::Beginning) }).position;
    consumer(&store, ConsumerChange::Passed { name: name(), position: start });
    for round in 0..ROUNDS {
        let sets = |number| Write::registers(log(), [set(number, &value(round, number))]);
        let mut writes: Vec<Write> = (0..REGISTERS).map(sets).collect();
        let seq = round + 1;
        writes.push(with_body(entry(log(), seq, 0), body(seq)));
        let written = write(&store, writes);
        assert!(written.iter().all(|one| matches!(one, Written::Stored { .. })), "{written:?}");
    }
    // What comes next is not the first batch of a segment, which makes sure of all names.
    let segments = count(&disk, ".log");
    for number in 0.. {
        if count(&disk, ".log") > segments {
            break;
        }
        write(&store, vec![Write::registers(chat(8, 9), [set(number, &value(0, number))])]);
    }
    // All but the one that is written are indexed.
    let deadline = Instant::now() + Duration::from_secs(60);
    while count(&disk, ".idx") + 1 < count(&disk, ".log") {
        assert!(Instant::now() < deadline, "{:?}", disk.lengths());
        std::thread::yield_now();
    }
    assert!(count(&disk, ".log") > 3, "{:?}", disk.lengths());
    consumer(&store, ConsumerChange::Removed { name: name() });
    (disk, store)
}

/// A store opens without a word and has everything.
fn check(disk: &SimulatedDisk, is_erased: Option<bool>) {
    let store = open(disk, LATE);
    let report = store.recovery();
    assert_eq!((&report.damage[..], report.history_lost), (&[][..], false), "{report:?}");
    compare(&store, is_erased);
}

/// It has everything, each entry as it was, or erased if it may be.
fn compare(store: &EmbeddedStore, is_erased: Option<bool>) {
    let (page, head) = (range(store, all(log())), heads(store, vec![log()])[0]);
    assert_eq!((page.entries.len() as u64, head.seq), (ROUNDS, ROUNDS));
    for entry in page.entries {
        match is_erased.filter(|_| entry.seq == ERASED) {
            Some(is_erased) => assert_eq!(entry.erased, is_erased),
            None if entry.erased => assert_eq!(entry.seq, ERASED),
            None => assert_eq!(entry.body, body(entry.seq)),
        }
    }
    let held = registers(store, all_registers(log())).registers;
    let held = held.iter().map(|register| register.value.as_deref().unwrap());
    let wanted: Vec<String> = (0..REGISTERS).map(|number| value(ROUNDS - 1, number)).collect();
    assert!(held.eq(wanted.iter().map(String::as_bytes)), "registers are not what they were");
}

/// Cuts the power at all moments that were recorded. From the moment `erased` on the entry is erased,
/// which must have been asked for before the first one if it is given; otherwise nothing ever is.
fn cut_everywhere(disk: &SimulatedDisk, erased: Option<usize>) {
    let mut tried = HashSet::new();
    for (at, moment) in disk.moments().iter().enumerate() {
        let is_erased = match erased {
            None => Some(false),
            Some(erased) => (at >= erased).then_some(true),
        };
        for (number, cut) in moment.power_cuts().iter().enumerate() {
            if tried.insert((cut.fingerprint(), is_erased)) {
                let names = cut.lengths();
                let cut = std::panic::AssertUnwindSafe(|| check(cut, is_erased));
                let checked = std::panic::catch_unwind(cut);
                assert!(checked.is_ok(), "cut {number} before call {at}: {names:?}");
            }
        }
    }
    assert!(tried.len() > 20, "{}", tried.len());
}

/// Cleans until the segment that is written has an index file.
fn index_all(store: &EmbeddedStore, disk: &SimulatedDisk) {
    let (before, deadline) = (count(disk, ".idx"), Instant::now() + Duration::from_secs(60));
    while count(disk, ".idx") == before {
        assert!(Instant::now() < deadline, "{:?}", disk.lengths());
        store.clean().unwrap();
    }
}

#[test]
fn a_row_of_segments_becomes_one_file() {
    let (disk, store) = mostly_dead(SOON);
    disk.record();
    store.clean().unwrap();
    assert!(store.statistics().cleaned_files > 0);
    assert!(disk.lengths().iter().any(|(name, _)| name.starts_with("00000001-")));
    drop(store);
    cut_everywhere(&disk, None);
}

#[test]
fn what_a_file_covers_is_removed_once_that_keeps_its_name() {
    let (disk, store) = mostly_dead(LATE);
    disk.refuse_names(true);
    store.clean().unwrap_err();
    disk.refuse_names(false);
    disk.record();
    let before = count(&disk, ".log");
    store.clean().unwrap();
    assert!(count(&disk, ".log") < before);
    drop(store);
    cut_everywhere(&disk, None);
}

#[test]
fn an_entry_is_erased_in_a_file_that_may_lose_its_name() {
    let (disk, store) = mostly_dead(SOON);
    disk.refuse_names(true);
    store.clean().unwrap_err();
    disk.refuse_names(false);
    disk.record();
    assert!(matches!(
        delete(&store, Deletion::Erase { log: log(), seq: ERASED }),
        Deleted::Done { .. }
    ));
    let erased = disk.recorded();
    // Once its segment is indexed nothing would erase it again.
    index_all(&store, &disk);
    store.clean().unwrap();
    drop(store);
    cut_everywhere(&disk, Some(erased));
}

#[test]
fn an_entry_is_erased_while_it_is_copied() {
    let (disk, store) = mostly_dead(LATE);
    let store = Arc::new(store);
    disk.record();
    let (erasing, recorded) = (Arc::downgrade(&store), disk.clone());
    let (sender, erased) = mpsc::channel();
    // All is copied, and the copy has no name yet.
    disk.meanwhile(".log.tmp", move || {
        let store = erasing.upgrade().unwrap();
        let answer = delete(&*store, Deletion::Erase { log: log(), seq: ERASED });
        assert!(matches!(answer, Deleted::Done { .. }));
        sender.send(recorded.recorded()).unwrap();
    });
    store.clean().unwrap();
    compare(&store, Some(true));
    drop(store);
    cut_everywhere(&disk, Some(erased.try_recv().unwrap()));
}

#[test]
fn an_entry_that_can_not_be_erased_is_when_that_is_indexed() {
    let (disk, store) = mostly_dead(SOON);
    disk.refuse_writes_to(Some("00000001.log"));
    let erase = Deletion::Erase { log: log(), seq: ERASED };
    let refused = ask(&store, StoreRequest::Delete(vec![erase]));
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    disk.refuse_writes_to(None);
    disk.record();
    index_all(&store, &disk);
    let erased = disk.recorded();
    store.clean().unwrap();
    drop(store);
    cut_everywhere(&disk, Some(erased));
}
