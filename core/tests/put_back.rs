//! A file of a store that was cleaned is put back as it was before: that is said at the start, and nothing is
//! served of it, since something in it may have been erased since, by an erasure that was cleaned away.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dunlin_core::store::contract::ask::{ask, delete, heads, write};
use dunlin_core::store::contract::sample::{all, chat, entry, entry_of, set, with_body};
use dunlin_core::store::embedded::{
    DamageKind, EmbeddedConfig, EmbeddedStore, RecoveryReport, restore, verify_folder,
};
use dunlin_core::store::{
    Deletion, Range, Store, StoreError, StoreReply, StoreRequest, StoredEntry, Write, Written,
};
use dunlin_protocol::LogId;

/// Entries of the log that is looked at.
const ENTRIES: u64 = 60;

/// Erased before, between and after two cleanings.
const ERASED: [u64; 3] = [3, 4, 5];

fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        segment_bytes: 32 * 1024,
        cleaning_bytes_per_second: u64::MAX,
        cleaning_interval: Duration::from_hours(24),
        gone_within: Duration::ZERO,
        readers: 1,
        ..EmbeddedConfig::default()
    }
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, config()).unwrap()
}

fn log() -> LogId {
    chat(1, 2)
}

fn text(seq: u64) -> Vec<u8> {
    format!("the text of entry {seq}, ").repeat(20).into_bytes()
}

/// Appends to the log, and sets registers of another one again and again: most of what is written is dead.
fn fill(store: &EmbeddedStore, entries: u64) {
    for _ in 0..entries {
        let seq = heads(store, vec![log()])[0].seq + 1;
        let value = "what is set again ".repeat(60);
        let writes: Vec<Write> = std::iter::once(with_body(entry(log(), seq, 0), text(seq)))
            .chain((0..3).map(|number| Write::registers(chat(8, 9), [set(number, &value)])))
            .collect();
        let answers = write(store, writes);
        assert!(answers.iter().all(|answer| matches!(answer, Written::Stored { .. })));
    }
}

fn erase(store: &EmbeddedStore, seq: u64) {
    delete(store, Deletion::Erase { log: log(), seq });
}

fn read(store: &EmbeddedStore, seq: u64) -> Result<StoredEntry, StoreError> {
    let range = Range { from: seq, to: seq, ..all(log()) };
    match ask(store, StoreRequest::Ranges(vec![range]))? {
        StoreReply::Pages(mut pages) => Ok(pages.remove(0)?.entries.remove(0)),
        other => panic!("{other:?}"),
    }
}

type Files = BTreeMap<String, Vec<u8>>;

fn files(path: &Path) -> Files {
    let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let named = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(path).unwrap())
    };
    files.map(named).filter(|(name, _)| name != "LOCK" && !name.ends_with(".tmp")).collect()
}

fn folder_of(files: &Files) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |(name, content): (&String, &Vec<u8>)| {
        std::fs::write(folder.path().join(name), content).unwrap();
    };
    files.iter().for_each(put);
    folder
}

/// The segments that a file of segments holds.
fn span(name: &str) -> Option<(u32, u32)> {
    let name = name.strip_suffix(".log")?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    let (first, last) = name.split_once('-').unwrap_or((name, name));
    Some((number(first)?, number(last)?))
}

/// The files of now, but those of before in the place of what was cleaned since.
fn put_back(now: &Files, before: &Files) -> (Files, Vec<String>) {
    let (mut files, mut back) = (now.clone(), Vec::new());
    for (name, content) in before {
        let Some(old) = span(name) else { continue };
        let covers =
            |other: &String| span(other).is_some_and(|new| new.0 <= old.0 && old.1 <= new.1);
        let newer: Vec<String> = files.keys().filter(|other| covers(other)).cloned().collect();
        let [newer] = &newer[..] else { continue };
        // What is not cleaned is as it was, but for its end.
        if newer == name && files[name].starts_with(&content[..4096]) {
            continue;
        }
        files.remove(newer);
        files.insert(name.clone(), content.clone());
        back.push(name.clone());
    }
    (files, back)
}

struct Story {
    /// Before anything was cleaned, and between two cleanings.
    before: [Files; 2],
    now: Files,
}

fn story() -> Story {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let settle = |store: EmbeddedStore| {
        drop(store);
        files(path)
    };
    let store = open(path);
    fill(&store, ENTRIES / 3);
    erase(&store, ERASED[0]);
    let plain = settle(store);
    let step = |seq| {
        let store = open(path);
        erase(&store, seq);
        delete(&store, Deletion::Truncate { log: log(), below: seq - 1 });
        fill(&store, ENTRIES / 3);
        store.clean().unwrap();
        settle(store)
    };
    let cleaned = step(ERASED[1]);
    let now = step(ERASED[2]);
    // Nothing but the erased entries themselves know of it any more.
    let erased = text(ERASED[1]);
    assert!(!now.values().any(|file| file.windows(erased.len()).any(|bytes| bytes == erased)));
    Story { before: [plain, cleaned], now }
}

/// Nothing is served that was erased, and everything else is right or damaged. Returns how much is served.
fn check(store: &EmbeddedStore) -> u64 {
    let mut served = 0;
    for seq in ERASED[2] - 1..=ENTRIES {
        match read(store, seq) {
            Ok(found) if ERASED.contains(&seq) => assert!(found.body.is_empty(), "{found:?}"),
            Ok(found) => {
                assert_eq!(found.body, entry_of(&with_body(entry(log(), seq, 0), text(seq))).body);
                served += 1;
            }
            Err(error) => assert_eq!(error, StoreError::Corrupt { log: log(), seq }),
        }
    }
    served
}

fn outdated(report: &RecoveryReport) -> Vec<String> {
    let outdated = report.damage.iter().filter(|damage| damage.kind == DamageKind::Outdated);
    outdated.map(|damage| damage.file.clone()).collect()
}

#[test]
fn what_is_older_than_its_cleaning_is_said_and_not_served() {
    let story = story();
    let whole = check(&open(folder_of(&story.now).path()));
    for (before, indexed) in
        story.before.iter().flat_map(|before| [(before, true), (before, false)])
    {
        let (mut files, back) = put_back(&story.now, before);
        assert!(!back.is_empty(), "{:?} {:?}", before.keys(), story.now.keys());
        files.retain(|name, _| indexed || !name.ends_with(".idx"));
        let folder = folder_of(&files);
        let path = folder.path();
        let offline = verify_folder(path, config(), |_| {}).unwrap();
        let store = open(path);
        assert_eq!(outdated(store.recovery()), back);
        assert!(store.recovery().history_lost);
        if indexed {
            assert!(check(&store) < whole);
        }
        let online = store.verify().unwrap();
        for file in &back {
            let is_said = |damage: &dunlin_core::store::embedded::Damage| damage.file == *file;
            assert!(offline.damage.iter().any(is_said) && online.damage.iter().any(is_said));
        }
        let backup = tempfile::tempdir().unwrap();
        assert!(!store.backup(&backup.path().join("backup")).unwrap().damage.is_empty());
        // It goes on.
        fill(&store, 3);
        store.clean().unwrap();
        let epoch = store.epoch();
        drop(store);
        let store = open(path);
        assert_eq!((outdated(store.recovery()), store.epoch()), (back.clone(), epoch));
        drop(store);
        back.iter().for_each(|name| {
            assert_eq!(std::fs::read(path.join(name)).unwrap(), files[name], "it is left as it is");
        });
        if !indexed {
            continue;
        }
        // The very files are as good as ever.
        back.iter().for_each(|name| std::fs::remove_file(path.join(name)).unwrap());
        for (name, content) in story.now.iter().filter(|(name, _)| span(name).is_some()) {
            if !path.join(name).exists() {
                std::fs::write(path.join(name), content).unwrap();
            }
        }
        let store = open(path);
        assert_eq!((outdated(store.recovery()), store.epoch()), (vec![], epoch));
        assert_eq!(check(&store), whole);
    }
}

/// Whoever has made `EXTENT` anew, from the files that are there or from a backup, knows how often they were
/// cleaned.
#[test]
fn it_is_said_after_a_restore_and_after_the_extent_was_lost() {
    let story = story();
    let lost = folder_of(&story.now);
    std::fs::remove_file(lost.path().join("EXTENT")).unwrap();
    drop(open(lost.path()));
    let folder = tempfile::tempdir().unwrap();
    let (backup, restored) = (folder.path().join("backup"), folder.path().join("restored"));
    open(folder_of(&story.now).path()).backup(&backup).unwrap();
    restore(&backup, &restored).unwrap();
    for path in [lost.path(), &restored] {
        let (files, back) = put_back(&files(path), &story.before[0]);
        assert_eq!(outdated(open(folder_of(&files).path()).recovery()), back);
        assert!(!back.is_empty());
    }
}
