//! What a disk or a hand does to the files of a store that was stopped in order: it is said at the
//! start with the name of the file, a full check fails until somebody has acknowledged it, where
//! entries may be gone the epoch is new, and the rest is served.
//!
//! Each case runs on a folder of the system and on the simulated disk, with index files and without.

mod simulated_disk;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::store::contract::ask::{ask, heads, write as write_all};
use dunlin_core::store::contract::sample::{self, all, chat, entry_of, with_body};
use dunlin_core::store::embedded::{
    DamageKind, DamagedSource, EmbeddedConfig, EmbeddedStore, OpenError, OwnFolder, VerifyReport,
    check_backup, restore, restore_to, verify_folder,
};
use dunlin_core::store::{
    Deleted, Deletion, NewEntry, Range, Register, RegisterKey, RegisterRange, Set, Store,
    StoreError, StoreReply, StoreRequest, StoredEntry, Write, Written,
};
use dunlin_protocol::{LogId, UserId};
use simulated_disk::{SeededRandom, SimulatedDisk};

const STORED: Written = Written::Stored { version: 0 };

const LOGS: u64 = 4;
/// Entries of each log.
const ENTRIES: u64 = 120;

fn config() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 32 * 1024, readers: 1, ..EmbeddedConfig::default() }
}

static STARTS: AtomicU64 = AtomicU64::new(1);

/// Where a store is kept.
enum Medium {
    Folder(tempfile::TempDir),
    Simulated(SimulatedDisk),
}

impl Medium {
    fn open(&self) -> Result<EmbeddedStore, OpenError> {
        match self {
            Medium::Folder(folder) => EmbeddedStore::open(folder.path(), config()),
            Medium::Simulated(disk) => {
                // Each start draws other numbers.
                let random = SeededRandom::new(STARTS.fetch_add(1, Ordering::Relaxed));
                EmbeddedStore::open_on(Arc::new(disk.clone()), config(), &random)
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        match self {
            Medium::Folder(folder) => folder.path().join(name),
            Medium::Simulated(_) => PathBuf::from(name),
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Medium::Folder(folder) => {
                let entries = std::fs::read_dir(folder.path()).unwrap();
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
            }
            Medium::Simulated(disk) => disk.lengths().into_iter().map(|(name, _)| name).collect(),
        };
        names.sort();
        names
    }

    fn ending(&self, suffix: &str) -> Vec<String> {
        self.names().into_iter().filter(|name| name.ends_with(suffix)).collect()
    }

    fn get(&self, name: &str) -> Vec<u8> {
        match self {
            Medium::Folder(_) => std::fs::read(self.path(name)).unwrap(),
            Medium::Simulated(disk) => disk.content(name).unwrap(),
        }
    }

    fn put(&self, name: &str, content: &[u8]) {
        match self {
            Medium::Folder(_) => std::fs::write(self.path(name), content).unwrap(),
            Medium::Simulated(disk) => disk.put(name, content),
        }
    }

    fn lose(&self, name: &str) {
        match self {
            Medium::Folder(_) => std::fs::remove_file(self.path(name)).unwrap(),
            Medium::Simulated(disk) => disk.lose(name),
        }
    }

    /// Another one with the same files.
    fn copy(&self) -> Medium {
        match self {
            Medium::Folder(_) => {
                let copy = Medium::Folder(tempfile::tempdir().unwrap());
                self.names().iter().for_each(|name| copy.put(name, &self.get(name)));
                copy
            }
            Medium::Simulated(disk) => Medium::Simulated(disk.copy()),
        }
    }
}

fn entry(log: LogId, seq: u64) -> Write {
    // No zeros: nothing in it looks like a sector that was never written.
    let body = vec![1 + (seq % 255) as u8; 40 + (seq * 97 % 300) as usize];
    with_body(sample::entry(log, seq, 0), body)
}

fn log(number: u64) -> LogId {
    chat(1, 2 + number)
}

/// A store of several segments, stopped in order, and the same some time before.
struct Sample {
    before: Medium,
    medium: Medium,
    epoch: u64,
}

fn write(medium: &Medium, entries: std::ops::RangeInclusive<u64>) -> u64 {
    let store = medium.open().unwrap();
    assert_eq!(store.recovery().damage, []);
    for seq in entries {
        let batch = (0..LOGS).map(|number| entry(log(number), seq)).collect();
        assert!(write_all(&store, batch).iter().all(|answer| *answer == STORED));
    }
    // All that is sealed has an index file.
    let deadline = Instant::now() + Duration::from_secs(60);
    while medium.ending(".idx").is_empty() {
        assert!(Instant::now() < deadline, "{:?}", medium.names());
        std::thread::yield_now();
    }
    store.epoch()
}

fn sample(medium: Medium) -> Sample {
    write(&medium, 1..=ENTRIES / 2);
    let before = medium.copy();
    let epoch = write(&medium, ENTRIES / 2 + 1..=ENTRIES);
    assert!(medium.ending(".log").len() >= 5, "{:?}", medium.names());
    Sample { before, medium, epoch }
}

/// Runs a case on every medium, with index files and without.
fn on_all(case: impl Fn(&Sample)) {
    let media = || {
        let folder = Medium::Folder(tempfile::tempdir().unwrap());
        [folder, Medium::Simulated(SimulatedDisk::new(1))]
    };
    for medium in media() {
        case(&sample(medium));
    }
    for medium in media() {
        let sample = sample(medium);
        sample.medium.ending(".idx").iter().for_each(|name| sample.medium.lose(name));
        case(&sample);
    }
}

/// What is read of one entry.
fn read(store: &EmbeddedStore, log: LogId, seq: u64) -> Result<Option<StoredEntry>, StoreError> {
    let range = Range { from: seq, to: seq, ..all(log) };
    match ask(store, StoreRequest::Ranges(vec![range]))? {
        StoreReply::Pages(mut pages) => Ok(pages.remove(0)?.entries.into_iter().next()),
        other => panic!("{other:?}"),
    }
}

/// How many entries of all logs are there; every other one is refused as damaged, or is gone in a
/// new epoch.
fn served(store: &EmbeddedStore, epoch: u64) -> u64 {
    let mut served = 0;
    for log in (0..LOGS).map(log) {
        for seq in 1..=ENTRIES {
            match read(store, log, seq) {
                Ok(Some(found)) => {
                    assert_eq!(found.body, entry_of(&entry(log, seq)).body, "{log} {seq}");
                    served += 1;
                }
                Ok(None) => assert_ne!(store.epoch(), epoch, "{log} {seq} is silently gone"),
                Err(error) => assert_eq!(error, StoreError::Corrupt { log, seq }),
            }
        }
    }
    served
}

/// Opens a store of which a file was damaged, and looks whether it is told as it should be; returns
/// how much of it is served.
fn told(sample: &Sample, file: &str, is_new_epoch: Option<bool>) -> u64 {
    let medium = &sample.medium;
    let store = medium.open().unwrap();
    let report = store.recovery().clone();
    assert!(report.damage.iter().any(|damage| damage.file == file), "{file}: {report:?}");
    assert_eq!(report.history_lost, store.epoch() != sample.epoch);
    if let Some(is_new_epoch) = is_new_epoch {
        assert_eq!(report.history_lost, is_new_epoch, "{report:?}");
    }
    let served = served(&store, sample.epoch);
    let epoch = store.epoch();
    // It goes on: what is written now is kept.
    let next: Vec<u64> =
        heads(&store, (0..LOGS).map(log).collect()).iter().map(|head| head.seq + 1).collect();
    for (number, &seq) in (0..).zip(&next) {
        assert_eq!(write_all(&store, vec![entry(log(number), seq)]), [STORED]);
    }
    assert!(!store.verify().unwrap().told.is_empty());
    drop(store);
    // The next start is a quiet one, but the check still fails.
    let store = medium.open().unwrap();
    assert_eq!(
        (store.epoch(), store.recovery().history_lost),
        (epoch, false),
        "{file} {:?}",
        store.recovery()
    );
    assert!(store.verify().unwrap().told.iter().any(|told| told.what.contains(file)));
    for (number, &seq) in (0..).zip(&next) {
        assert_eq!(read(&store, log(number), seq).unwrap().unwrap().seq, seq);
    }
    // So does one that has to read everything.
    drop(store);
    medium.ending(".idx").iter().for_each(|name| medium.lose(name));
    drop(medium.open().unwrap());
    // (Once it is forgotten which entries were lost, there is one more epoch.)
    let store = medium.open().unwrap();
    assert!(!store.recovery().history_lost, "{file}");
    store.acknowledge_damage().unwrap();
    assert_eq!(store.verify().unwrap().told, []);
    drop(store);
    assert_eq!(medium.open().unwrap().recovery().told, []);
    served
}

fn flipped(medium: &Medium, name: &str, place: usize) {
    let mut content = medium.get(name);
    content[place] ^= 1;
    medium.put(name, &content);
}

/// Where the last frame of the newest segment begins, and where it ends.
fn last_frame(medium: &Medium, name: &str) -> (usize, usize) {
    let content = medium.get(name);
    let begin = (0..content.len() - 4).rev().find(|&at| content[at..at + 4] == *b"DBAT");
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (begin.unwrap(), end)
}

#[test]
fn a_store_that_nobody_touched_is_whole() {
    on_all(|sample| {
        let store = sample.medium.open().unwrap();
        let report = store.recovery();
        assert_eq!((&report.damage[..], report.history_lost), (&[][..], false));
        assert_eq!((store.epoch(), served(&store, 0)), (sample.epoch, LOGS * ENTRIES));
        let report = store.verify().unwrap();
        assert_eq!((report.damage, report.told), (vec![], vec![]));
    });
}

#[test]
fn a_bit_of_the_last_batch_is_flipped() {
    let sample = sample(Medium::Simulated(SimulatedDisk::new(1)));
    let newest = sample.medium.ending(".log").pop().unwrap();
    let (begin, end) = last_frame(&sample.medium, &newest);
    for place in begin..end {
        let medium = sample.medium.copy();
        flipped(&medium, &newest, place);
        let damaged = Sample { before: sample.before.copy(), medium, epoch: sample.epoch };
        if place % 37 == 0 {
            assert!(told(&damaged, &newest, None) >= LOGS * (ENTRIES - 1));
        } else {
            let store = damaged.medium.open().unwrap();
            assert_eq!(store.recovery().damage[0].file, newest, "at {place}");
        }
    }
    on_all(|sample| {
        let newest = sample.medium.ending(".log").pop().unwrap();
        let (_, end) = last_frame(&sample.medium, &newest);
        // The body of the last entry: it is known which one it is.
        flipped(&sample.medium, &newest, end - 1);
        assert_eq!(told(sample, &newest, Some(false)), LOGS * ENTRIES - 1);
    });
}

/// It is as if its bytes had changed: the place is told, and all else is served, checked and copied.
#[test]
fn a_page_of_a_file_cannot_be_read() {
    let sample = sample(Medium::Simulated(SimulatedDisk::new(1)));
    let without = sample.medium.copy();
    without.ending(".idx").iter().for_each(|name| without.lose(name));
    let mut damaged = 0;
    for before in [&sample.medium, &without] {
        let names = before.names().into_iter().filter(|name| name != "STORE");
        for (name, place) in names.flat_map(|name| pages(before, &name)) {
            let medium = before.copy();
            let Medium::Simulated(disk) = &medium else { unreachable!() };
            disk.spoil(&name, place);
            let store = medium.open().unwrap();
            let said = settled(&store);
            let served = served(&store, sample.epoch);
            let folder = tempfile::tempdir().unwrap();
            let backup = store.backup(&folder.path().join("backup")).unwrap();
            if name.ends_with(".log") {
                // There is room for so many in a page, and in its neighbours the ends of some.
                assert!(served >= LOGS * ENTRIES - 40, "{name} {place}: {served}");
                assert_eq!(served < LOGS * ENTRIES, !backup.damage.is_empty(), "{name} {place}");
            } else {
                assert_eq!((served, &backup.damage[..]), (LOGS * ENTRIES, &[][..]), "{name}");
            }
            let is_said = |file: &str| {
                let found = said.damage.iter().any(|damage| damage.file == file);
                found || said.told.iter().any(|told| told.what.contains(file))
            };
            if served < LOGS * ENTRIES {
                assert!(is_said(&name), "{name} {place}: {said:?}");
                damaged += 1;
            }
            // It goes on, and so does the next one.
            let next = heads(&store, vec![log(0)])[0].seq + 1;
            assert_eq!(write_all(&store, vec![entry(log(0), next)]), [STORED]);
            store.clean().unwrap();
            drop(store);
            let store = medium.open().unwrap();
            assert_eq!(read(&store, log(0), next).unwrap().unwrap().seq, next, "{name} {place}");
            assert!(!store.recovery().history_lost, "{name} {place}");
        }
    }
    assert!(damaged >= 40, "{damaged}");
}

/// What a full check says once all index files are made again.
fn settled(store: &EmbeddedStore) -> VerifyReport {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let report = store.verify().unwrap();
        if !report.damage.iter().any(|damage| damage.kind == DamageKind::Index) {
            return report;
        }
        assert!(Instant::now() < deadline, "{report:?}");
        std::thread::yield_now();
    }
}

/// A place in each page of a file in which anything is.
fn pages(medium: &Medium, name: &str) -> Vec<(String, usize)> {
    let content = medium.get(name);
    let pages = (0..content.len()).step_by(4096);
    let used = pages.filter(|at| content[*at..].iter().any(|byte| *byte != 0));
    used.map(|at| (name.to_owned(), at)).collect()
}

/// What is erased is gone, also if the disk can't read it any more.
#[test]
fn what_cannot_be_read_can_be_erased() {
    let sample = sample(Medium::Simulated(SimulatedDisk::new(1)));
    let name = sample.medium.ending(".log").remove(0);
    let content = sample.medium.get(&name);
    let mut erased = 0;
    for seq in 1..=ENTRIES {
        // (The first one of these; the same text is in other logs, too.)
        let body = entry_of(&entry(log(0), seq)).body.clone();
        let Some(begin) = content.windows(body.len()).position(|bytes| bytes == &body[..]) else {
            continue;
        };
        let end = begin + body.len() - 1;
        if begin / 4096 == end / 4096 {
            continue;
        }
        // Of its body, a part is in a page that can't be read.
        let medium = sample.medium.copy();
        let Medium::Simulated(disk) = &medium else { unreachable!() };
        disk.spoil(&name, end);
        let store = medium.open().unwrap();
        let erase = StoreRequest::Delete(vec![Deletion::Erase { log: log(0), seq }]);
        let StoreReply::Deleted(done) = ask(&store, erase).unwrap() else { unreachable!() };
        assert!(matches!(done[..], [Deleted::Done { .. }]), "{done:?}");
        drop(store);
        let store = medium.open().unwrap();
        let found = read(&store, log(0), seq).unwrap().unwrap();
        assert!(found.erased && found.body.is_empty(), "{found:?}");
        let left = medium.get(&name);
        assert!(left[begin..end].iter().all(|byte| *byte == 0));
        erased += 1;
    }
    assert!(erased > 0);
}

#[test]
fn a_segment_is_missing() {
    on_all(|sample| {
        let names = sample.medium.ending(".log");
        let (oldest, middle, newest) =
            (&names[0], &names[names.len() / 2], &names[names.len() - 1]);
        for name in [oldest, middle, newest] {
            let medium = sample.medium.copy();
            medium.lose(name);
            let damaged = Sample { before: sample.before.copy(), medium, epoch: sample.epoch };
            let served = told(&damaged, name, Some(true));
            assert!((LOGS * ENTRIES / 2..LOGS * ENTRIES).contains(&served), "{name}: {served}");
        }
    });
}

#[test]
fn a_segment_is_cut_short() {
    on_all(|sample| {
        let names = sample.medium.ending(".log");
        for name in [&names[0], &names[names.len() / 2], &names[names.len() - 1]] {
            let content = sample.medium.get(name);
            let used = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for length in [0, 4096, 5000, used - 1] {
                let medium = sample.medium.copy();
                medium.put(name, &content[..length]);
                let damaged = Sample { before: sample.before.copy(), medium, epoch: sample.epoch };
                told(&damaged, name, None);
            }
        }
    });
}

#[test]
fn a_segment_is_an_earlier_state_of_itself() {
    on_all(|sample| {
        let older = sample.before.ending(".log").pop().unwrap();
        let mut content = without_last_frame(&sample.medium, &older);
        // As long as it was when it was written, and as it was cut.
        for bytes in [config().segment_bytes as usize, content.len()] {
            let medium = sample.medium.copy();
            content.resize(bytes.max(content.len()), 0);
            medium.put(&older, &content);
            let damaged = Sample { before: sample.before.copy(), medium, epoch: sample.epoch };
            told(&damaged, &older, Some(true));
        }
    });
}

/// Without its last frame, and as long as before.
fn without_last_frame(medium: &Medium, name: &str) -> Vec<u8> {
    let (begin, _) = last_frame(medium, name);
    let mut content = medium.get(name);
    content[begin..].fill(0);
    content
}

/// A start that can't know from `EXTENT` how far the segments reached finds it out.
#[test]
fn a_segment_is_an_earlier_state_after_the_extent_was_lost_or_older() {
    on_all(|sample| {
        let lost = sample.medium.copy();
        lost.lose("EXTENT");
        let older = sample.medium.copy();
        older.put("EXTENT", &sample.before.get("EXTENT"));
        for without in [lost, older] {
            let epoch = without.open().unwrap().epoch();
            assert_ne!(epoch, sample.epoch);
            for name in without.ending(".log") {
                let medium = without.copy();
                medium.put(&name, &without_last_frame(&medium, &name));
                told(&Sample { before: sample.before.copy(), medium, epoch }, &name, Some(true));
            }
        }
    });
}

/// What is left of a segment of which something is lost must stay, too.
#[test]
fn a_segment_of_which_something_is_lost_becomes_an_earlier_state() {
    on_all(|sample| {
        let medium = sample.medium.copy();
        let name = medium.ending(".log")[1].clone();
        let (begin, end) = last_frame(&medium, &name);
        let content = medium.get(&name);
        // Of the last batch one record is lost, and the others are saved.
        medium.put(&name, &content[..end - 1]);
        let epoch = medium.open().unwrap().epoch();
        assert_ne!(epoch, sample.epoch);
        let mut content = medium.get(&name);
        content[begin..].fill(0);
        medium.put(&name, &content);
        let damaged = Sample { before: sample.before.copy(), medium, epoch };
        assert!(told(&damaged, &name, Some(true)) >= LOGS * (ENTRIES - 1));
    });
}

#[test]
fn a_segment_is_of_another_store() {
    on_all(|sample| {
        let other = Medium::Simulated(SimulatedDisk::new(2));
        let random = SeededRandom::new(99);
        let Medium::Simulated(disk) = &other else { unreachable!() };
        let store = EmbeddedStore::open_on(Arc::new(disk.clone()), config(), &random).unwrap();
        write_all(&store, vec![entry(log(0), 1)]);
        drop(store);
        let foreign = other.get("00000001.log");
        let names = sample.medium.ending(".log");
        // A place that was never used is no loss.
        for (name, is_loss) in [(&*names[0], true), (&*names[2], true), ("00000077.log", false)] {
            let medium = sample.medium.copy();
            medium.put(name, &foreign);
            let damaged = Sample { before: sample.before.copy(), medium, epoch: sample.epoch };
            let served = told(&damaged, name, Some(is_loss));
            assert_eq!(served < LOGS * ENTRIES, is_loss);
            assert_eq!(damaged.medium.get(name), foreign, "it is left as it is");
        }
    });
}

/// How many entries of a log a store can't answer any more, of all that it had.
fn missing(store: &EmbeddedStore, of: LogId) -> Vec<u64> {
    (1..=ENTRIES).filter(|seq| !matches!(read(store, of, *seq), Ok(Some(_)))).collect()
}

/// What an operator has to decide about: how much is lost, of which conversations.
#[test]
fn what_is_lost_with_a_segment_is_counted_and_named() {
    let sample = sample(Medium::Folder(tempfile::tempdir().unwrap()));
    let names = sample.medium.ending(".log");
    let indexed = sample.medium.ending(".idx").len();
    assert!(indexed > 0);
    let older = without_last_frame(&sample.medium, &names[1]);
    for (name, content) in [(&names[0], None), (&names[1], Some(older))] {
        let medium = sample.medium.copy();
        match content {
            None => medium.lose(name),
            Some(content) => medium.put(name, &content),
        }
        let Medium::Folder(folder) = &medium else { unreachable!() };
        let offline = verify_folder(folder.path(), config(), |_| {}).unwrap();
        let store = medium.open().unwrap();
        for report in [offline, store.verify().unwrap()] {
            assert_eq!(report.damage.len(), 1, "one loss is one place: {report:?}");
            let [loss] = &report.losses[..] else { panic!("{:?}", report.losses) };
            assert_eq!((&loss.file, loss.is_known), (name, true));
            let lost: Vec<Vec<u64>> = (0..LOGS).map(|log_| missing(&store, log(log_))).collect();
            let entries: usize = lost.iter().map(Vec::len).sum();
            assert_eq!(loss.entries, entries as u64);
            assert!(loss.batches.is_some_and(|batches| batches > 0), "{loss:?}");
            for (number, lost) in (0..).zip(lost).filter(|(_, lost)| !lost.is_empty()) {
                let named = loss.named.iter().find(|named| named.log == log(number)).unwrap();
                let found = (named.from, named.to, named.entries as usize);
                assert_eq!(found, (lost[0], lost[lost.len() - 1], lost.len()));
                let words = format!("conversation of users 1 and {}", 2 + number);
                assert!(loss.to_string().contains(&words), "{loss}");
            }
        }
    }
}

/// A full check of a folder without a server, which sees what a start would.
fn verified(medium: &Medium) -> VerifyReport {
    let Medium::Folder(folder) = medium else { unreachable!() };
    verify_folder(folder.path(), config(), |_| {}).unwrap()
}

/// Waits until every segment that was there at the start has an index file. One is as if a merge had
/// made one file of all.
fn indexed(medium: &Medium) {
    for _ in 0..2 {
        drop(medium.open().unwrap());
    }
    let covered = |log: &String| {
        medium.ending(".idx").iter().any(|idx| idx[..8] <= log[..8] && log[..8] <= idx[9..17])
    };
    let all = medium.ending(".log");
    assert!(all[..all.len() - 1].iter().all(covered), "{:?}", medium.names());
}

/// Where no index file knows it, what comes behind does, as far as it can; and where nothing does, that
/// is said. It stays so when index files are made of what is left.
#[test]
fn what_no_index_file_knows_is_told_by_what_comes_behind() {
    let sample = sample(Medium::Folder(tempfile::tempdir().unwrap()));
    let names = sample.medium.ending(".log");
    sample.medium.ending(".idx").iter().for_each(|name| sample.medium.lose(name));
    let (middle, newest) = (&names[1], &names[names.len() - 1]);
    sample.medium.lose(middle);
    sample.medium.lose(newest);
    let before = verified(&sample.medium);
    let store = sample.medium.open().unwrap();
    // What is missing and has something of its log behind it.
    let in_gap = |of: LogId| {
        let missing = missing(&store, of);
        let newest = (1..=ENTRIES).rev().find(|seq| !missing.contains(seq)).unwrap();
        missing.iter().filter(|seq| **seq < newest).count() as u64
    };
    let in_gaps = (0..LOGS).map(|number| in_gap(log(number))).sum::<u64>();
    let online = store.verify().unwrap();
    drop(store);
    indexed(&sample.medium);
    let after = verified(&sample.medium);
    for report in [before, online, after, sample.medium.open().unwrap().verify().unwrap()] {
        let files: Vec<_> = report.damage.iter().map(|damage| &damage.file).collect();
        assert_eq!(files, [middle, newest], "one loss is one place, with its own name");
        let [of_middle, of_newest] = &report.losses[..] else { panic!("{:?}", report.losses) };
        assert_eq!((&of_middle.file, &of_newest.file), (middle, newest));
        for loss in [of_middle, of_newest] {
            assert!(!loss.is_known && !loss.is_before, "{loss:?}");
            assert!(loss.batches.is_some_and(|batches| batches > 0), "{loss:?}");
            assert!(loss.to_string().contains("no index file knows"), "{loss}");
            assert!(!loss.to_string().contains(" 0 entries"), "{loss}");
        }
        assert_eq!((of_middle.entries, of_middle.logs), (in_gaps, LOGS), "{of_middle}");
        assert_eq!(of_newest.entries, 0);
    }
}

/// The same of a part of the newest segment: how many batches, `EXTENT` knows.
#[test]
fn what_is_lost_of_the_newest_segment_is_no_entries_at_no_time() {
    let sample = sample(Medium::Folder(tempfile::tempdir().unwrap()));
    let newest = sample.medium.ending(".log").pop().unwrap();
    let content = sample.medium.get(&newest);
    let used = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let cut = content[..4096 + (used - 4096) / 2].to_vec();
    let zeros = [&cut[..], &vec![0; content.len() - cut.len()]].concat();
    let mut flip = content.clone();
    // The head of a record in the middle, which is then no record any more.
    let middle = used / 2;
    let frame = content[middle..].windows(4).position(|bytes| bytes == b"DBAT").unwrap() + middle;
    flip[frame + 40] ^= 1;
    for (content, one_batch) in [(cut, false), (zeros, false), (flip, true)] {
        let medium = sample.medium.copy();
        medium.put(&newest, &content);
        let before = verified(&medium);
        let store = medium.open().unwrap();
        let lost = (0..LOGS).map(|number| missing(&store, log(number)).len() as u64).sum::<u64>();
        let online = store.verify().unwrap();
        for number in 0..LOGS {
            let next = heads(&store, vec![log(number)])[0].seq + 1;
            assert_eq!(write_all(&store, vec![entry(log(number), next)]), [STORED]);
        }
        drop(store);
        indexed(&medium);
        let after = verified(&medium);
        for report in [before, online, after, medium.open().unwrap().verify().unwrap()] {
            let [loss] = &report.losses[..] else { panic!("{:?}", report.losses) };
            assert_eq!((&loss.file, loss.is_known), (&newest, false));
            assert!(loss.to_string().contains("no index file knows"), "{loss}");
            assert!(!loss.to_string().contains(" 0 entries"), "{loss}");
            // (A batch has an entry of each log.)
            let batches = if one_batch { 1 } else { lost / LOGS };
            assert!(
                loss.batches.is_some_and(|found| found.abs_diff(batches) <= 1),
                "{loss} {lost}"
            );
            assert!(report.damage.iter().all(|damage| damage.file == newest), "{report:?}");
        }
    }
}

/// A damaged entry is not counted among the whole ones, and is named so that somebody knows whose it is.
#[test]
fn a_damaged_entry_is_named_and_not_counted() {
    on_all(|sample| {
        let body = entry_of(&entry(log(0), 7)).body.clone();
        let find = |name: &String| {
            let content = sample.medium.get(name);
            let at = content.windows(body.len()).position(|bytes| bytes == &body[..]);
            at.map(|at| (name.clone(), at))
        };
        let (name, at) = sample.medium.ending(".log").iter().find_map(find).unwrap();
        flipped(&sample.medium, &name, at + 3);
        let report = sample.medium.open().unwrap().verify().unwrap();
        assert_eq!(report.entries, LOGS * ENTRIES - 1);
        let [damage] = &report.damage[..] else { panic!("{report:?}") };
        assert!(damage.to_string().starts_with(&name), "{damage}");
        let words = "entry 7 of the conversation of users 1 and 2 is damaged";
        assert!(damage.to_string().ends_with(words), "{damage}");
    });
}

/// What was set anew is no damage any more: it is said, and neither a check nor a backup fails for it.
#[test]
fn a_damaged_register_that_was_set_anew_is_no_loss() {
    let of = LogId::identity(UserId::new(9).unwrap());
    let value = b"a value that is found again among all the others";
    let folder = Medium::Folder(tempfile::tempdir().unwrap());
    let set = |value: &'static [u8]| {
        let set = Set::always(RegisterKey::letter(b'a'), Bytes::from_static(value));
        let other = Set::always(RegisterKey::letter(b'b'), Bytes::from_static(b"of no account"));
        Write::registers(of, [set, other])
    };
    {
        let store = folder.open().unwrap();
        write_all(&store, vec![set(value)]);
        write_all(&store, vec![entry(log(0), 1)]);
    }
    let name = folder.ending(".log").remove(0);
    let content = folder.get(&name);
    let at = content.windows(value.len()).position(|bytes| bytes == value).unwrap();
    flipped(&folder, &name, at + 3);
    let store = folder.open().unwrap();
    let [damage] = &store.verify().unwrap().damage[..] else { panic!() };
    let offset = usize::try_from(damage.offset).unwrap();
    assert!(damage.file == name && (4096..at).contains(&offset), "{damage:?}");
    let words = "a register of the identity of user 9 that was set in its version 1 is damaged";
    assert!(damage.to_string().ends_with(words), "{damage}");
    let damage = damage.clone();
    write_all(&store, vec![set(b"the newer value")]);
    store.acknowledge_damage().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let copied = store.backup(copy.path()).unwrap();
    let online = store.verify().unwrap();
    drop(store);
    for report in [online, verified(&folder)] {
        assert_eq!((report.damage, report.told, report.losses), (vec![], vec![], vec![]));
        assert_eq!(report.dead, std::slice::from_ref(&damage));
    }
    for report in [copied, check_backup(copy.path()).unwrap()] {
        assert_eq!((report.damage, report.dead), (vec![], vec![damage.clone()]));
    }
    let restored = tempfile::tempdir().unwrap();
    restore(copy.path(), restored.path()).unwrap();
}

/// A backup of a store that was damaged says the same in a line, and so does what was restored from it.
#[test]
fn a_backup_without_a_segment_says_what_is_lost() {
    let sample = sample(Medium::Folder(tempfile::tempdir().unwrap()));
    let names = sample.medium.ending(".log");
    let lost = names[2].clone();
    sample.medium.lose(&lost);
    let store = sample.medium.open().unwrap();
    let gone = (0..LOGS).map(|number| missing(&store, log(number)).len() as u64).sum::<u64>();
    let batches = store.verify().unwrap().losses[0].batches;
    let (copy, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let copied = store.backup(copy.path()).unwrap();
    assert_eq!(copied.damage, store.verify().unwrap().damage);
    drop(store);
    let checked = check_backup(copy.path()).unwrap();
    let target = || OwnFolder::open(new.path());
    let restored = restore_to(copy.path(), DamagedSource::Accept, target).unwrap();
    let told = EmbeddedStore::open(new.path(), config()).unwrap();
    let at_start = told.recovery().damage.clone();
    let online = told.verify().unwrap();
    drop(told);
    let offline = verify_folder(new.path(), config(), |_| {}).unwrap();
    let found = [
        (checked.damage, checked.losses),
        (restored.damage, restored.losses),
        (online.damage, online.losses),
        (offline.damage, offline.losses),
    ];
    for (damage, losses) in found {
        assert_eq!(damage, at_start);
        assert_eq!(damage.iter().map(|damage| &damage.file).collect::<Vec<_>>(), [&lost]);
        let [loss] = &losses[..] else { panic!("{losses:?}") };
        assert_eq!((&loss.file, loss.batches, loss.entries), (&lost, batches, gone), "{loss}");
        assert!(!loss.is_known && !loss.is_before && loss.logs == LOGS, "{loss}");
    }
}

/// Each says which one it is, so that it is one command to put them back; and nobody looks for another
/// store.
#[test]
fn two_segments_have_each_others_names() {
    on_all(|sample| {
        let names = sample.medium.ending(".log");
        let (one, other) = (sample.medium.get(&names[1]), sample.medium.get(&names[2]));
        let medium = sample.medium.copy();
        medium.put(&names[1], &other);
        medium.put(&names[2], &one);
        let kinds = [(&names[1], 3), (&names[2], 2)].map(|(name, number)| {
            let said = format!("{name} is segment {number} of this store");
            (name.clone(), DamageKind::Misplaced { first: number, last: number }, said)
        });
        let store = medium.open().unwrap();
        for found in [&store.recovery().damage, &store.verify().unwrap().damage] {
            let of_files = found.iter().filter(|damage| kinds.iter().any(|k| k.0 == damage.file));
            let of_files: Vec<_> = of_files.collect();
            assert_eq!(of_files.len(), 2, "one place for each: {found:?}");
            for (damage, (file, kind, said)) in of_files.into_iter().zip(&kinds) {
                assert_eq!((&damage.file, damage.kind), (file, *kind));
                assert!(damage.to_string().starts_with(said), "{damage}");
            }
        }
        drop(store);
        let damaged = Sample { before: sample.before.copy(), medium, epoch: sample.epoch };
        assert_eq!(damaged.medium.open().unwrap().recovery().damage.len(), 2);
    });
}

#[test]
fn the_extent_is_missing_damaged_or_older() {
    on_all(|sample| {
        let good = sample.medium.get("EXTENT");
        let older = sample.before.get("EXTENT");
        let mut flipped = good.clone();
        // Whichever slot is the newer one.
        flipped[60] ^= 1;
        flipped[4096 + 60] ^= 1;
        let mut row = good.clone();
        row[8192 + 64 + 20] ^= 1;
        let cases =
            [None, Some(&good[..100]), Some(&good[..0]), Some(&flipped[..]), Some(&row[..])];
        // It ends behind both slots, before the rows or among them.
        let cut = [5000, 8192, good.len() - 64].map(|bytes| Some(&good[..bytes]));
        for content in cases.into_iter().chain(cut).chain([Some(&older[..])]) {
            let medium = sample.medium.copy();
            match content {
                Some(content) => medium.put("EXTENT", content),
                None => medium.lose("EXTENT"),
            }
            let damaged = Sample { before: sample.before.copy(), medium, epoch: sample.epoch };
            assert_eq!(told(&damaged, "EXTENT", Some(true)), LOGS * ENTRIES);
        }
    });
}

#[test]
fn without_the_extent_index_files_are_evidence() {
    let sample = sample(Medium::Folder(tempfile::tempdir().unwrap()));
    let newest = sample.medium.ending(".log").pop().unwrap();
    let indexed = sample.medium.ending(".idx").pop().unwrap();
    let last = format!("{}.log", &indexed[9..17]);
    sample.medium.lose("EXTENT");
    sample.medium.lose(&last);
    if newest != last {
        sample.medium.lose(&newest);
    }
    let store = sample.medium.open().unwrap();
    let files: Vec<_> = store.recovery().damage.iter().map(|damage| &*damage.file).collect();
    assert_eq!(files, ["EXTENT", &last]);
    assert_ne!(store.epoch(), sample.epoch);
}

#[test]
fn an_older_identity_is_noticed() {
    on_all(|sample| {
        let before = sample.medium.get("STORE");
        sample.medium.lose("EXTENT");
        let epoch = sample.medium.open().unwrap().epoch();
        assert_ne!(epoch, sample.epoch);
        sample.medium.put("STORE", &before);
        let store = sample.medium.open().unwrap();
        assert_eq!(store.recovery().damage[0].kind, DamageKind::Outdated);
        assert_eq!(store.recovery().damage[0].file, "STORE");
        assert!(store.epoch() != epoch && store.epoch() != sample.epoch);
    });
}

#[test]
fn without_its_identity_a_store_is_no_new_one() {
    on_all(|sample| {
        let good = sample.medium.get("STORE");
        sample.medium.lose("STORE");
        for left in [vec![".log", ".idx", "EXTENT"], vec![".log"], vec!["EXTENT"]] {
            let medium = sample.medium.copy();
            for name in medium.names() {
                if !left.iter().any(|left| name.ends_with(left)) {
                    medium.lose(&name);
                }
            }
            let refused = medium.open().unwrap_err();
            assert!(matches!(refused, OpenError::NoIdentity { .. }), "{refused}");
            assert!(refused.to_string().contains("STORE"));
        }
        sample.medium.put("STORE", &good);
        assert_eq!(served(&sample.medium.open().unwrap(), 0), LOGS * ENTRIES);
    });
}

#[test]
fn a_segment_that_comes_back_is_read_again_if_the_index_knows_it() {
    let sample = sample(Medium::Folder(tempfile::tempdir().unwrap()));
    let oldest = &sample.medium.ending(".log")[0];
    let content = sample.medium.get(oldest);
    sample.medium.lose(oldest);
    let store = sample.medium.open().unwrap();
    assert!(served(&store, sample.epoch) < LOGS * ENTRIES);
    drop(store);
    sample.medium.put(oldest, &content);
    let store = sample.medium.open().unwrap();
    assert_eq!(served(&store, 0), LOGS * ENTRIES);
    assert!(!store.recovery().history_lost);
}

#[test]
fn what_was_lost_may_come_again_in_another_epoch_only() {
    let medium = Medium::Simulated(SimulatedDisk::new(1));
    let store = medium.open().unwrap();
    let lone = chat(8, 9);
    assert_eq!(write_all(&store, vec![entry(lone, 1)]), [STORED]);
    drop(store);
    let sample = sample(medium);
    sample.medium.lose(&sample.medium.ending(".log")[0]);
    let store = sample.medium.open().unwrap();
    let epoch = store.epoch();
    // The index knows of it, so the sequence is not given again.
    assert_eq!(read(&store, lone, 1), Err(StoreError::Corrupt { log: lone, seq: 1 }));
    assert_eq!(heads(&store, vec![lone])[0].seq, 1);
    drop(store);
    sample.medium.ending(".idx").iter().for_each(|name| sample.medium.lose(name));
    let store = sample.medium.open().unwrap();
    assert_eq!(heads(&store, vec![lone])[0].seq, 0);
    assert!(store.epoch() != epoch && store.epoch() != sample.epoch);
    let epoch = store.epoch();
    drop(store);
    // That is said once.
    assert_eq!(sample.medium.open().unwrap().epoch(), epoch);
}

/// What was put back is known again, or a second loss of it would be seen by nobody who does not ask for it.
#[test]
fn a_segment_that_was_put_back_can_be_lost_again() {
    let Sample { medium, epoch, .. } = sample(Medium::Folder(tempfile::tempdir().unwrap()));
    let oldest = medium.ending(".log")[0].clone();
    let content = medium.get(&oldest);
    let mut epochs = vec![epoch];
    for cut in [content.len() / 3, content.len() / 2] {
        medium.put(&oldest, &content[..cut]);
        let store = medium.open().unwrap();
        assert!(store.recovery().damage.iter().any(|damage| damage.file == oldest), "{cut}");
        assert!(served(&store, epoch) < LOGS * ENTRIES);
        assert!(!epochs.contains(&store.epoch()));
        epochs.push(store.epoch());
        drop(store);
        medium.put(&oldest, &content);
        let store = medium.open().unwrap();
        assert_eq!((served(&store, 0), store.recovery().history_lost), (LOGS * ENTRIES, false));
        assert_eq!(store.recovery().damage, []);
    }
}

/// Where something of a segment is lost that no index file knew, the index file that is made of the rest is the
/// only one that knows the rest.
#[test]
fn what_an_index_file_knows_of_the_rest_is_not_forgotten_in_silence() {
    let Sample { medium, .. } = sample(Medium::Simulated(SimulatedDisk::new(1)));
    let oldest = medium.ending(".log")[0].clone();
    let mut content = medium.get(&oldest);
    let (frame, end) = last_frame(&medium, &oldest);
    content[frame..end].fill(1);
    medium.put(&oldest, &content);
    medium.ending(".idx").iter().for_each(|name| medium.lose(name));
    let store = medium.open().unwrap();
    assert!(store.recovery().history_lost && read(&store, log(0), 1).unwrap().is_some());
    drop(store);
    medium.lose(&oldest);
    let store = medium.open().unwrap();
    let epoch = store.epoch();
    assert_eq!(read(&store, log(0), 1), Err(StoreError::Corrupt { log: log(0), seq: 1 }));
    drop(store);
    medium.ending(".idx").iter().for_each(|name| medium.lose(name));
    let store = medium.open().unwrap();
    assert_ne!(store.epoch(), epoch, "{:?}", store.recovery());
    assert!(store.recovery().damage.iter().any(|damage| damage.file == oldest));
}

#[test]
fn an_index_file_that_is_made_again_does_not_forget_what_its_segment_has_lost() {
    let medium = Medium::Simulated(SimulatedDisk::new(1));
    let log = chat(8, 9);
    let key = RegisterKey::new(b"the key of a register").unwrap();
    let set = |value: &str| {
        let value = Bytes::copy_from_slice(value.repeat(9).as_bytes());
        Write::registers(log, [Set::always(key.clone(), value)])
    };
    let fill = |store: &EmbeddedStore, from: u64| {
        let seqs = from..from + ENTRIES;
        let batch = |seq| (0..LOGS).map(|number| entry(self::log(number), seq)).collect();
        seqs.for_each(|seq| drop(write_all(store, batch(seq))));
    };
    let store = medium.open().unwrap();
    write_all(&store, vec![set("the older value")]);
    fill(&store, 1);
    write_all(&store, vec![set("the newer value")]);
    let segment = medium.ending(".log").pop().unwrap();
    fill(&store, ENTRIES + 1);
    let epoch = store.epoch();
    drop(store);
    // The next start gives all but the newest segment an index file.
    drop(medium.open().unwrap());
    let holds = |name: &str, bytes: &[u8]| {
        medium.get(name).windows(bytes.len()).position(|window| window == bytes)
    };
    let value = holds(&segment, b"the newer value").unwrap();
    flipped(&medium, &segment, value - 1);
    let mut indexed = medium.ending(".idx");
    indexed.retain(|name| name[..8] <= segment[..8] && segment[..8] <= name[9..17]);
    let place = holds(&indexed[0], key.as_bytes()).unwrap();
    flipped(&medium, &indexed[0], place);

    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let store = medium.open().unwrap();
        let question = StoreRequest::Register(vec![(log, key.clone())]);
        let read = match ask(&store, question) {
            Ok(StoreReply::Register(mut registers)) => registers.remove(0),
            other => panic!("{other:?}"),
        };
        match read {
            Err(StoreError::Unavailable { .. }) => assert!(Instant::now() < deadline),
            Err(StoreError::CorruptRegister { .. }) => break,
            read => {
                assert_ne!(store.epoch(), epoch, "{read:?} is silently there");
                assert!(store.recovery().damage.iter().any(|damage| damage.file == segment));
                break;
            }
        }
    }
}

/// Whoever tries it again learns that it is no use, and others are not kept from writing.
#[test]
fn a_retry_of_an_entry_whose_head_is_damaged_is_refused_for_good() {
    let sample = sample(Medium::Simulated(SimulatedDisk::new(1)));
    let name = sample.medium.ending(".log").remove(0);
    let first = entry(log(0), 3);
    let body = &entry_of(&first).body;
    let content = sample.medium.get(&name);
    let begin = content.windows(body.len()).position(|bytes| bytes == &body[..]).unwrap();
    let mut damaged = 0;
    for place in begin - 60..begin {
        let medium = sample.medium.copy();
        flipped(&medium, &name, place);
        let store = medium.open().unwrap();
        let again = |number, first: &Write| {
            let seq = heads(&store, vec![log(number)])[0].seq + 1;
            let entry = NewEntry { seq, ..entry_of(first).clone() };
            Write::entry(log(number), entry)
        };
        let answers = write_all(&store, vec![again(0, &first), again(1, &entry(log(1), 999))]);
        assert_eq!(answers[1], STORED, "another log, at {place}");
        match answers[0] {
            Written::Corrupt => damaged += 1,
            Written::Duplicate { seq: 3, .. } => {}
            ref other => panic!("{other:?} at {place}"),
        }
        assert_eq!(write_all(&store, vec![again(0, &first)]), answers[..1], "alone, at {place}");
    }
    assert!(damaged > 20, "{damaged}");
}

/// What can't be read of a log need not be in the way for ever.
#[test]
fn a_log_with_a_damaged_register_can_be_dropped_and_written_anew() {
    let of = log(9);
    let folder = Medium::Folder(tempfile::tempdir().unwrap());
    let value = b"a value that is found again among all the others";
    {
        let store = folder.open().unwrap();
        let set = |letter, value| Set::always(RegisterKey::letter(letter), Bytes::from(value));
        let write = Write::registers(of, [set(b'a', value.to_vec()), set(b'b', b"b".to_vec())]);
        assert_eq!(write_all(&store, vec![write]), [Written::Stored { version: 1 }]);
        // Behind it, so that it is not the end of the segment.
        write_all(&store, vec![entry(log(0), 1)]);
    }
    let name = folder.ending(".log").remove(0);
    let content = folder.get(&name);
    let begin = content.windows(value.len()).position(|bytes| bytes == value).unwrap();
    let mut damaged = 0;
    for place in begin - 40..begin + value.len() {
        let medium = folder.copy();
        flipped(&medium, &name, place);
        let store = medium.open().unwrap();
        damaged += u64::from(registers(&store, of).is_err());
        let deletion = Deletion::Drop { log: of };
        let dropped = ask(&store, StoreRequest::Delete(vec![deletion])).unwrap();
        let StoreReply::Deleted(dropped) = dropped else { panic!("{dropped:?}") };
        assert!(matches!(dropped[..], [Deleted::Done { .. }]), "{dropped:?} at {place}");
        assert_eq!(registers(&store, of).unwrap(), [], "at {place}");
        let again = Set::always(RegisterKey::letter(b'a'), Bytes::from_static(b"again"));
        let written = write_all(&store, vec![Write::registers(of, [again])]);
        assert!(matches!(written[..], [Written::Stored { .. }]), "{written:?} at {place}");
        drop(store);
        let found = registers(&medium.open().unwrap(), of).unwrap();
        assert_eq!(found[0].value.as_deref(), Some(&b"again"[..]), "at {place}");
        assert_eq!(found.len(), 1, "at {place}");
    }
    // (Where its head is hit, it is the start that tells.)
    assert!(damaged >= value.len() as u64 / 2, "{damaged}");
}

/// All registers of a log.
fn registers(store: &EmbeddedStore, log: LogId) -> Result<Vec<Register>, StoreError> {
    let prefix = Default::default();
    let range = RegisterRange { log, prefix, after: None, registers_max: 10, bytes_max: 1000 };
    match ask(store, StoreRequest::Registers(vec![range]))? {
        StoreReply::Registers(mut pages) => Ok(pages.remove(0)?.registers),
        other => panic!("{other:?}"),
    }
}

/// Nothing that is there goes for a name that a hand has made, however wide.
#[test]
fn a_stray_file_takes_the_place_of_nothing() {
    on_all(|sample| {
        let names = sample.medium.ending(".log");
        let (some, foreign) = (sample.medium.get(&names[1]), vec![b'x'; 9000]);
        for stray in ["00000001-00000003.log", "00000001-0000ffff.log", "00000002-fffffffe.log"] {
            for content in [&[][..], &foreign, &some] {
                let medium = sample.medium.copy();
                medium.put(stray, content);
                let store = medium.open().unwrap();
                let told = &store.recovery().damage;
                assert!(told.iter().any(|damage| damage.file.contains(stray)), "{told:?}");
                assert_eq!(served(&store, sample.epoch), LOGS * ENTRIES, "{stray}");
                assert_eq!(medium.get(&format!("{stray}.stray")), content, "it can be looked at");
            }
        }
    });
}

/// Numbers go on where they were, whatever a file is called.
#[test]
fn a_stray_number_is_not_gone_on_from() {
    on_all(|sample| {
        let newest = sample.medium.ending(".log").pop().unwrap();
        let newest = u32::from_str_radix(&newest[..8], 16).unwrap();
        // The next one is taken, the last one of all too.
        let next = format!("{:08x}.log", newest + 1);
        for stray in [&*next, "0ffffff0.log", "fffffffe.log", "ffffffff.log"] {
            for content in [&b""[..], &[b'x'; 9000]] {
                let medium = sample.medium.copy();
                medium.put(stray, content);
                let store = medium.open().unwrap();
                for seq in ENTRIES + 1..=2 * ENTRIES {
                    let batch = (0..LOGS).map(|number| entry(log(number), seq)).collect();
                    let answers = write_all(&store, batch);
                    assert!(answers.iter().all(|answer| *answer == STORED), "{stray}: {answers:?}");
                }
                assert_eq!(served(&store, sample.epoch), LOGS * ENTRIES, "{stray}");
                drop(store);
                let written = medium.ending(".log");
                let far = newest + 40;
                let is_far = |name: &String| u32::from_str_radix(&name[..8], 16).unwrap() > far;
                assert!(!written.iter().any(|name| is_far(name) && name != stray), "{written:?}");
                let store = medium.open().unwrap();
                assert_eq!(heads(&store, vec![log(0)])[0].seq, 2 * ENTRIES, "{stray}");
            }
        }
    });
}

/// Of a segment that nothing else knows of, the number alone tells that others have to come behind it.
#[test]
fn what_is_written_behind_an_unreadable_segment_has_a_higher_number() {
    let sample = sample(Medium::Simulated(SimulatedDisk::new(1)));
    let newest = sample.medium.ending(".log").pop().unwrap();
    let number = u32::from_str_radix(&newest[..8], 16).unwrap();
    // Some numbers were left out by batches that failed.
    let unreadable = format!("{:08x}.log", number + 5);
    sample.medium.put(&unreadable, &vec![b'?'; 16 * 1024]);
    let store = sample.medium.open().unwrap();
    for seq in ENTRIES + 1..=2 * ENTRIES {
        let batch = (0..LOGS).map(|number| entry(log(number), seq)).collect();
        assert!(write_all(&store, batch).iter().all(|answer| *answer == STORED));
    }
    drop(store);
    let written = sample.medium.ending(".log");
    let is_between = |name: &&String| **name > newest && **name < unreadable;
    assert_eq!(written.iter().find(is_between), None);
    let store = sample.medium.open().unwrap();
    assert!(!store.recovery().history_lost);
    assert_eq!(heads(&store, vec![log(0)])[0].seq, 2 * ENTRIES);
}
