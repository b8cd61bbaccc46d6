//! The embedded store keeps the contract, and what it acknowledged outlives it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dunlin_core::store::contract::ask::{self, ask, heads, range, register, write, write_one};
use dunlin_core::store::contract::sample::{all, chat, entry, entry_of, key, seqs, with_body};
use dunlin_core::store::contract::{self, Answers};
use dunlin_core::store::embedded::{
    DamageKind, EmbeddedConfig, EmbeddedStore, OpenError, check_backup, restore,
};
use dunlin_core::store::{
    Head, Range, Rule, Set, Store, StoreError, StoreReply, StoreRequest, Write, Written,
};
use dunlin_protocol::{LogId, LogKind};

const STORED: Written = Written::Stored { version: 0 };

/// The verdict on a retry of what is at `seq`.
fn duplicate(seq: u64, of: &Write) -> Written {
    Written::Duplicate { seq, digest: entry_of(of).digest }
}

fn number(number: u64) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&number.to_be_bytes())
}

fn small() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 256 * 1024, readers: 2, ..EmbeddedConfig::default() }
}

#[test]
fn it_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicU64::new(0);
    contract::check(Answers::Elsewhere, &|| {
        let name = number.fetch_add(1, Ordering::Relaxed).to_string();
        Arc::new(EmbeddedStore::open(&folder.path().join(name), small()).unwrap())
    });
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (log, other) = (chat(1, 2), chat(1, 3));
    let mut epochs = Vec::new();
    for round in 0..5_u64 {
        let store = EmbeddedStore::open(folder.path(), small()).unwrap();
        assert!(!store.recovery().history_lost);
        epochs.push(store.epoch());
        // Some 400 KB a round: several segments.
        let bodies = (1..=200).map(|number| {
            let seq = round * 200 + number;
            with_body(entry(log, seq, 0), vec![seq as u8; 2000])
        });
        assert!(write(&store, bodies.collect()).iter().all(|answer| *answer == STORED));
        write(&store, vec![entry(other, round + 1, 0)]);
        assert_eq!(write_one(&store, entry(log, 7, 0)), duplicate(7, &entry(log, 7, 0)));
    }
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]));
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    let found = heads(&store, vec![log, other, chat(8, 9)]);
    assert_eq!(found.iter().map(|head| head.seq).collect::<Vec<_>>(), [1000, 5, 0]);
    assert_eq!(register(&store, log, key(1)).version, 0);
    let page = range(&store, all(log));
    assert_eq!(page.entries.len(), 1000);
    assert!(page.entries.iter().all(|entry| entry.body[..] == [entry.seq as u8; 2000]));
}

#[test]
fn a_key_that_an_earlier_part_of_the_same_request_has_used_is_a_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    let log = chat(1, 2);
    // 400 KB do not fit into a segment, so the first ones are committed before the last ones
    // are looked at.
    let mut writes: Vec<Write> =
        (1..=200).map(|seq| with_body(entry(log, seq, 0), vec![1; 2000])).collect();
    writes.extend([entry(log, 3, 0), entry(log, 200, 0)]);
    let answers = write(&store, writes);
    let duplicate = |seq| duplicate(seq, &entry(log, seq, 0));
    assert!(answers[..200].iter().all(|answer| *answer == STORED));
    assert_eq!(answers[200..], [duplicate(3), duplicate(200)]);
    // What counts on a duplicate is refused within its request, but not after it.
    assert_eq!(write_one(&store, entry(log, 201, 0)), STORED);
    let counted = store.statistics();
    assert!(counted.batches > 1);
    assert_eq!(counted.fsync_us.count(), counted.fsyncs);
}

/// Stores `entries` entries of 1,000 bytes in each of the logs, round-robin.
fn fill(store: &dyn Store, entries: std::ops::RangeInclusive<u64>, logs: u64) {
    for seq in entries {
        let batch = (0..logs).map(|other| {
            let log = chat(1, other + 2);
            let mut write = with_body(entry(log, seq, other), vec![seq as u8; 1000]);
            // A cursor moves with each entry.
            write.sets.push(Set { rule: Rule::IfGreater, ..Set::always(key(1), number(seq)) });
            write
        });
        let stored = Written::Stored { version: seq };
        assert!(write(store, batch.collect()).iter().all(|answer| *answer == stored));
    }
}

fn assert_filled(store: &dyn Store, entries: u64, logs: u64) {
    let names: Vec<LogId> = (0..logs).map(|other| chat(1, other + 2)).collect();
    assert_eq!(ask::logs(store, LogKind::Direct, None, usize::MAX), names);
    let found = heads(store, names.clone());
    for (other, log) in (0..).zip(names) {
        // A cursor has moved with each entry.
        let meta = entry_of(&entry(log, entries, other)).meta;
        let newest = Head { seq: entries, meta, version: entries, ..Head::default() };
        assert_eq!(found[other as usize], newest);
        assert_eq!(register(store, log, key(1)).value, Some(number(entries)));
        assert_eq!(register(store, log, key(2)).version, 0);
        let page = range(store, all(log));
        assert_eq!(seqs(&page), (1..=entries).collect::<Vec<_>>());
        assert!(page.entries.iter().all(|entry| entry.body[..] == [entry.seq as u8; 1000]));
        for seq in [1, entries / 2, entries] {
            let retry = entry(log, seq, other);
            assert_eq!(write_one(store, retry.clone()), duplicate(seq, &retry));
        }
    }
}

fn index_files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "idx")).collect()
}

/// Waits until the indexer has nothing to do: a file for every segment but the active one, and
/// fewer than four of one level.
fn wait_for_index(folder: &Path, files_max: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !(1..=files_max).contains(&index_files(folder).len()) {
        assert!(Instant::now() < deadline, "{:?}", index_files(folder));
        std::thread::yield_now();
    }
}

#[test]
fn sealed_segments_are_found_through_index_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    fill(&store, 1..=200, 40); // About 9 MB: 36 segments, merged to two levels.
    assert_filled(&store, 200, 40);
    wait_for_index(folder.path(), 8);
    assert_filled(&store, 200, 40);
    drop(store);

    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    assert!(store.recovery().segments_scanned <= 2, "{:?}", store.recovery());
    assert_filled(&store, 200, 40);
    fill(&store, 201..=210, 40);
    assert_filled(&store, 210, 40);
    drop(store);

    // No memory for filters: they are read from the files.
    let config = EmbeddedConfig { filter_bytes_max: 0, ..small() };
    let store = EmbeddedStore::open(folder.path(), config).unwrap();
    assert_filled(&store, 210, 40);
}

/// Small messages, some 40 segments of them, and how many bytes of filters there are in the end.
fn filled_with_filters(folder: &Path, filter_bytes_max: usize) -> (EmbeddedStore, u64) {
    let store =
        EmbeddedStore::open(folder, EmbeddedConfig { filter_bytes_max, ..small() }).unwrap();
    for first in (1..=80_000).step_by(1000) {
        let batch = (first..first + 1000).map(|seq| entry(chat(1, 2), seq, seq));
        assert!(write(&store, batch.collect()).iter().all(|answer| *answer == STORED));
    }
    wait_for_index(folder, 8);
    let bytes = store.statistics().filter_bytes_total;
    (store, bytes)
}

/// Merging makes a file that is as large as those in whose place it comes: its filter must not be kept out
/// by theirs. And what is newest is in memory, whatever was there before.
#[test]
fn filters_that_fit_are_in_memory_and_those_of_the_newest_files_first() {
    let folder = tempfile::tempdir().unwrap();
    let (store, all) = filled_with_filters(&folder.path().join("all"), usize::MAX);
    assert_eq!(store.statistics().filter_bytes, all);
    drop(store);
    for (name, max, fits) in [("enough", all * 9 / 8, true), ("half", all / 2, false)] {
        let folder = folder.path().join(name);
        let max = usize::try_from(max).unwrap();
        let (store, _) = filled_with_filters(&folder, max);
        let deadline = Instant::now() + Duration::from_secs(60);
        let placed = || {
            let now = store.statistics();
            let has_some = 0 < now.filter_bytes && now.filter_bytes <= max as u64;
            has_some && (now.filter_bytes == now.filter_bytes_total) == fits
        };
        while !placed() {
            assert!(Instant::now() < deadline, "{name}: {:?}", store.statistics());
            std::thread::yield_now();
        }
        drop(store);
        let config = EmbeddedConfig { filter_bytes_max: max, ..small() };
        let store = EmbeddedStore::open(&folder, config).unwrap();
        let now = store.statistics();
        assert_eq!(now.filter_bytes == now.filter_bytes_total, fits, "{name}: {now:?}");
        let retry = entry(chat(1, 2), 77, 77);
        assert_eq!(write_one(&store, retry.clone()), duplicate(77, &retry));
    }
}

#[test]
fn index_files_that_are_lost_or_damaged_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    fill(&store, 1..=100, 40);
    wait_for_index(folder.path(), 8);
    drop(store);

    for path in index_files(folder.path()) {
        std::fs::remove_file(path).unwrap();
    }
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    assert!(store.recovery().segments_scanned > 10, "{:?}", store.recovery());
    assert_filled(&store, 100, 40);
    drop(store);

    // The last byte is in the part that is read when the store opens.
    let path = index_files(folder.path()).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    assert_eq!(store.recovery().indexes_rebuilt, 1);
    assert_filled(&store, 100, 40);
}

#[test]
fn a_damaged_block_of_an_index_file_is_refused_and_then_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    fill(&store, 1..=100, 40);
    wait_for_index(folder.path(), 8);
    drop(store);

    for path in index_files(folder.path()) {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096 + 100] ^= 1; // The first block of keys.
        std::fs::write(&path, bytes).unwrap();
    }
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    // A retry that may be in a damaged block is not decided, until the file is good again.
    for seq in 1..=100 {
        for other in 0..40 {
            let retry = entry(chat(1, other + 2), seq, other);
            let answer = loop {
                match ask(&store, StoreRequest::Write(vec![retry.clone()])) {
                    Err(StoreError::Unavailable { .. }) => std::thread::yield_now(),
                    answer => break answer,
                }
            };
            assert_eq!(answer, Ok(StoreReply::Written(vec![duplicate(seq, &retry)])));
        }
    }
    assert_filled(&store, 100, 40);
}

#[test]
fn a_folder_belongs_to_one_process_and_one_kind_of_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let store = EmbeddedStore::open(&path, small()).unwrap();
    write(&store, vec![entry(chat(1, 2), 1, 0)]);
    let locked = EmbeddedStore::open(&path, small()).unwrap_err();
    assert!(matches!(locked, OpenError::Locked { .. }), "{locked}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in std::fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    drop(store);

    let other = folder.path().join("other");
    drop(EmbeddedStore::open(&other, small()).unwrap());
    std::fs::copy(path.join("00000001.log"), other.join("00000001.log")).unwrap();
    let served = EmbeddedStore::open(&other, small()).unwrap();
    let damage = &served.recovery().damage;
    assert_eq!((damage.len(), &*damage[0].file), (1, "00000001.log"));
    assert_eq!(damage[0].kind, DamageKind::Foreign);
    assert_eq!(write_one(&served, entry(chat(1, 2), 1, 0)), STORED);
    drop(served);

    let documents = folder.path().join("documents");
    std::fs::create_dir(&documents).unwrap();
    std::fs::write(documents.join("letter.txt"), "Dear").unwrap();
    let no_store = EmbeddedStore::open(&documents, small()).unwrap_err();
    assert!(matches!(no_store, OpenError::NotAStore { .. }), "{no_store}");

    let mut identity = std::fs::read(path.join("STORE")).unwrap();
    identity[40] ^= 1;
    std::fs::write(path.join("STORE"), &identity).unwrap();
    let damaged = EmbeddedStore::open(&path, small()).unwrap_err();
    assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged}");
    identity[40] ^= 1;
    identity[8] = 3;
    let checksum = crc32c::crc32c(&identity[..60]).to_le_bytes();
    identity[60..].copy_from_slice(&checksum);
    std::fs::write(path.join("STORE"), &identity).unwrap();
    let newer = EmbeddedStore::open(&path, small()).unwrap_err();
    assert!(matches!(newer, OpenError::Version { found: 3, known: 2, .. }), "{newer}");
    let setting = EmbeddedConfig { readers: 0, ..small() };
    assert!(matches!(EmbeddedStore::open(&path, setting), Err(OpenError::Setting { .. })));
}

#[test]
fn a_full_check_finds_what_a_flipped_bit_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    fill(&store, 1..=100, 40);
    let report = store.verify().unwrap();
    assert_eq!(report.damage, []);
    assert_eq!((report.entries, report.logs), (4000, 40));
    drop(store);

    let path = folder.path().join("00000002.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.len() / 2; // In the middle of some entry's body, very likely.
    bytes[place] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    let damage = store.verify().unwrap().damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!(damage[0].file, "00000002.log");
    let DamageKind::Entry { log, seq } = damage[0].kind else { panic!("{damage:?}") };
    let only = Range { from: seq, to: seq, ..all(log) };
    let read = ask(&store, StoreRequest::Ranges(vec![only]));
    assert_eq!(read, Ok(StoreReply::Pages(vec![Err(StoreError::Corrupt { log, seq })])));
    // The others are readable, up to the damaged one in one page.
    let page = range(&store, all(log));
    assert_eq!(seqs(&page), (1..seq).collect::<Vec<_>>());
    assert!(page.more);
    let after = range(&store, Range { from: seq + 1, ..all(log) });
    assert_eq!(seqs(&after), (seq + 1..=100).collect::<Vec<_>>());
    assert_eq!(heads(&store, vec![log])[0].seq, 100);
}

/// What is written while it reads is no damage of what it reads.
#[test]
fn a_full_check_finds_nothing_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { segment_bytes: 16 * 1024, ..small() };
    let store = EmbeddedStore::open(folder.path(), config).unwrap();
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seq in 1..=1500 {
                let written = write_one(&store, with_body(entry(chat(1, 2), seq, 0), vec![7; 500]));
                assert_eq!(written, STORED);
            }
            done.store(1, Ordering::Relaxed);
        });
        while done.load(Ordering::Relaxed) == 0 {
            assert_eq!(store.verify().unwrap().damage, []);
        }
    });
}

#[test]
fn a_backup_is_taken_while_others_write_and_restored_with_a_new_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    let store = EmbeddedStore::open(&data, small()).unwrap();
    fill(&store, 1..=100, 40);
    let other = chat(500, 501);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for seq in 1..=300 {
                write(&store, vec![entry(other, seq, 0)]);
            }
        });
        let report = store.backup(&copy).unwrap();
        assert!(report.bytes > 4_000_000, "{report:?}");
        writer.join().unwrap();
    });
    let epoch = store.epoch();
    assert!(matches!(store.backup(&copy), Err(OpenError::NotEmpty { .. })));
    drop(store);

    let target = folder.path().join("restored");
    let checked = check_backup(&copy).unwrap();
    assert!((4000..=4300).contains(&checked.entries), "{checked:?}");
    assert_eq!(checked.epoch, epoch);
    let report = restore(&copy, &target).unwrap();
    assert_eq!((report.entries, report.bytes), (checked.entries, checked.bytes));
    let store = EmbeddedStore::open(&target, small()).unwrap();
    assert_ne!(store.epoch(), epoch);
    assert_eq!(store.epoch(), report.epoch);
    assert!(!store.recovery().history_lost);
    assert_eq!(store.verify().unwrap().damage, []);
    let during = range(&store, all(other));
    assert_eq!(seqs(&during), (1..=during.head.seq).collect::<Vec<_>>());
    write(&store, vec![entry(other, during.head.seq + 1, 7)]);
    drop(store);
    assert!(matches!(restore(&copy, &target), Err(OpenError::NotEmpty { .. })));
}

#[test]
fn a_restore_believes_no_byte_that_it_has_not_checked() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let store = EmbeddedStore::open(&folder.path().join("data"), small()).unwrap();
    fill(&store, 1..=20, 40);
    store.backup(&copy).unwrap();
    let paths = std::fs::read_dir(&copy).unwrap().map(|entry| entry.unwrap().path());
    let paths: Vec<PathBuf> = paths.filter(|path| !path.ends_with("LOCK")).collect();
    assert!(paths.len() > 3);
    for (number, path) in paths.iter().enumerate() {
        let good = std::fs::read(path).unwrap();
        for place in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(path, bad).unwrap();
            let target = folder.path().join(format!("{number}-{place}"));
            assert!(check_backup(&copy).is_err(), "{} at {place}", path.display());
            assert!(restore(&copy, &target).is_err(), "{} at {place}", path.display());
            assert!(!target.exists());
        }
        std::fs::remove_file(path).unwrap();
        assert!(restore(&copy, &folder.path().join("missing")).is_err());
        std::fs::write(path, good).unwrap();
    }
    restore(&copy, &folder.path().join("good")).unwrap();
}
