//! What is dead leaves the disk, what lives does not, and cleaning writes no more than it frees.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::store::contract::ask::{
    changes, consumer, consumers, delete, feed, heads, range, registers, write,
};
use dunlin_core::store::contract::sample::{
    all, all_registers, chat, entry, from, key, set, since, with_body,
};
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::feed::{ConsumerName, FeedFrom, FeedWhat};
use dunlin_core::store::{
    ConsumerChange, Deletion, FeedRange, RegisterKey, Rule, Set, Store, StoreError, StoreReply,
    StoreRequest, Write, Written,
};
use dunlin_protocol::LogId;

const SEGMENT_BYTES: u32 = 256 * 1024;

/// Cleans when it is told to.
fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        segment_bytes: SEGMENT_BYTES,
        cleaning_bytes_per_second: u64::MAX,
        cleaning_interval: Duration::from_hours(24),
        ..EmbeddedConfig::default()
    }
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, config()).unwrap()
}

/// Where nothing dead may stay.
fn open_thorough(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, EmbeddedConfig { gone_within: Duration::ZERO, ..config() }).unwrap()
}

/// Bytes of the files whose names end so.
fn bytes_of(path: &Path, end: &str) -> u64 {
    let files = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.file_name().to_str().unwrap().ends_with(end));
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Whether any file has these bytes in it.
fn is_on_disk(path: &Path, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(path).unwrap().map(|file| std::fs::read(file.unwrap().path()));
    let found = |content: Vec<u8>| content.windows(bytes.len()).any(|window| window == bytes);
    // One that has got another name meanwhile is an index file, or has nothing in it yet.
    files.filter_map(Result::ok).any(found)
}

fn stored(answers: &[Written]) {
    assert!(answers.iter().all(|answer| matches!(answer, Written::Stored { .. })), "{answers:?}");
}

/// What a register is set to in a round: long enough that values matter.
fn value(number: u64, round: u64) -> String {
    format!("value {number} of round {round:06} ").repeat(10)
}

/// Sets `registers` registers of a log again and again, with an entry in each round.
fn rewrite(store: &EmbeddedStore, log: LogId, registers: u64, rounds: std::ops::Range<u64>) {
    let mut head = heads(store, vec![log])[0].seq;
    for round in rounds {
        let mut writes = Vec::new();
        for number in 0..registers {
            writes.push(Write::registers(log, [set(number, &value(number, round))]));
        }
        head += 1;
        writes.push(entry(log, head, 0));
        stored(&write(store, writes));
    }
}

/// The store holds what `rewrite` has left.
fn check(store: &EmbeddedStore, log: LogId, count: u64, rounds: u64) {
    let found = registers(store, all_registers(log));
    let expected: Vec<String> = (0..count).map(|number| value(number, rounds - 1)).collect();
    let values = found.registers.iter().map(|register| register.value.as_deref().unwrap());
    assert!(values.eq(expected.iter().map(String::as_bytes)));
    assert_eq!(found.version, count * rounds);
    let page = range(store, all(log));
    assert_eq!(page.entries.len() as u64, rounds);
    for stored in &page.entries {
        let written = entry(log, stored.seq, 0).entry.unwrap();
        assert_eq!((&stored.body, stored.meta), (&written.body, written.meta));
    }
    // What has changed since some version is what lives, each once.
    for version in [0, found.version / 2, found.version - 1] {
        let changed = changes(store, since(log, version)).registers;
        let mut later = found.registers.clone();
        later.retain(|register| register.version > version);
        later.sort_by_key(|register| register.version);
        assert_eq!(changed, later);
    }
    assert_eq!(store.verify().unwrap().damage, []);
}

/// A damaged record that nothing refers to any more keeps no file from being cleaned, and leaves with what
/// is dead.
#[test]
fn what_was_damaged_and_set_anew_leaves_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let log = chat(1, 2);
    let damaged = b"the value that the disk will change";
    let old = |store: &EmbeddedStore| {
        let old = Write::registers(log, [Set::always(key(7), Bytes::from_static(damaged))]);
        stored(&write(store, vec![old]));
        rewrite(store, log, 5, 0..3);
    };
    old(&open(folder.path()));
    let segment = folder.path().join("00000001.log");
    let mut content = std::fs::read(&segment).unwrap();
    let at = content.windows(damaged.len()).position(|bytes| bytes == damaged).unwrap();
    content[at + 3] ^= 1;
    std::fs::write(&segment, content).unwrap();
    let store = open_thorough(folder.path());
    assert_eq!(store.verify().unwrap().damage.len(), 1);
    stored(&write(&store, vec![Write::registers(log, [set(7, "a newer value")])]));
    let report = store.verify().unwrap();
    assert_eq!((report.damage.len(), report.dead.len()), (0, 1));
    store.clean().unwrap();
    assert!(store.statistics().cleaned_files > 0);
    let report = store.verify().unwrap();
    assert_eq!((report.damage, report.dead), (vec![], vec![]));
    assert!(!is_on_disk(folder.path(), &damaged[4..]));
}

#[test]
fn registers_that_are_set_again_cost_nothing_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let log = chat(1, 2);
    let (count, rounds) = (20, 600);
    let store = open(folder.path());
    rewrite(&store, log, count, 0..rounds / 2);
    store.clean().unwrap();
    rewrite(&store, log, count, rounds / 2..rounds);
    let before = bytes_of(folder.path(), ".log");
    store.clean().unwrap();
    let after = bytes_of(folder.path(), ".log");
    let counted = store.statistics();
    assert!(counted.cleaned_files > 0);
    let (written, freed) = (counted.cleaning_written_bytes, counted.cleaning_freed_bytes);
    assert!(written <= freed, "{written} bytes were written to free {freed}");
    // Entries that live, and two segments: one that is written, and the newest that is sealed.
    let alive = rounds * 300 + count * 500;
    let rest = 2 * u64::from(SEGMENT_BYTES);
    assert!(before > 3 * alive && after < alive * 3 / 2 + rest, "{before} bytes became {after}");
    check(&store, log, count, rounds);
    drop(store);
    // It is all there after a restart, and when the index is made anew.
    check(&open(folder.path()), log, count, rounds);
    lose_index(folder.path());
    let store = open(folder.path());
    check(&store, log, count, rounds);
    assert!(!store.recovery().history_lost && store.recovery().damage.is_empty());
    // It can be cleaned again, and goes on.
    store.clean().unwrap();
    rewrite(&store, log, count, rounds..rounds + 1);
    check(&store, log, count, rounds + 1);
}

#[test]
fn what_was_replaced_removed_or_has_expired_is_gone_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_thorough(folder.path());
    let (log, dropped) = (chat(1, 2), chat(1, 3));
    let secret = |word: &str| Bytes::from(format!("a secret {word} of many letters"));
    let hold = |number, word: &str| Set::always(key(number), secret(word));
    stored(&write(&store, vec![Write::registers(log, [hold(1, "replaced"), hold(2, "removed")])]));
    stored(&write(&store, vec![Write::registers(dropped, [hold(1, "dropped")])]));
    let mut old = entry(log, 1, 0);
    old.entry.as_mut().unwrap().body = secret("expired");
    let mut young = entry(log, 2, 0);
    young.entry.as_mut().unwrap().body = secret("alive");
    stored(&write(&store, vec![old, young]));
    store.clean().unwrap();
    let all_words = ["replaced", "removed", "expired", "dropped", "alive"];
    assert!(all_words.iter().all(|word| is_on_disk(folder.path(), &secret(word))));

    stored(&write(&store, vec![Write::registers(log, [hold(1, "new")])]));
    stored(&write(&store, vec![Write::registers(log, [Set::removal(key(2))])]));
    delete(&store, Deletion::Truncate { log, below: 2 });
    delete(&store, Deletion::Drop { log: dropped });
    // The newest segment is sealed by the first, and has one behind it by the second.
    for _ in 0..3 {
        store.clean().unwrap();
        stored(&write(&store, vec![Write::registers(chat(8, 9), [set(1, "later")])]));
    }
    for (word, stays) in
        [("replaced", false), ("removed", false), ("expired", false), ("dropped", false)]
            .into_iter()
            .chain([("alive", true), ("new", true)])
    {
        assert_eq!(is_on_disk(folder.path(), &secret(word)), stays, "{word}");
    }
    let check = |store: &EmbeddedStore| {
        let found = registers(store, all_registers(log)).registers;
        assert_eq!((found.len(), &found[0].value), (1, &Some(secret("new"))));
        let page = range(store, all(log));
        assert_eq!((page.entries.len(), page.head.seq), (1, 2));
        assert_eq!((page.head.expired_below, &page.entries[0].body), (2, &secret("alive")));
        assert_eq!(registers(store, all_registers(dropped)).registers, []);
        assert_eq!(heads(store, vec![dropped])[0].version, 2);
        assert_eq!(store.verify().unwrap().damage, []);
    };
    check(&store);
    drop(store);
    check(&open(folder.path()));
}

/// Little of a file is dead, so it is cleaned only when that has been dead for too long. A server that
/// is started again has to know since when.
#[test]
fn what_is_dead_is_gone_in_time_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let gone_within = Duration::from_secs(6);
    let open = || EmbeddedStore::open(folder.path(), EmbeddedConfig { gone_within, ..config() });
    let (log, secret) = (chat(1, 2), b"a secret that has expired");
    let store = open().unwrap();
    stored(&write(&store, vec![with_body(entry(log, 1, 0), secret.to_vec())]));
    let alive = |seq| with_body(entry(log, seq, 0), vec![seq as u8; 5000]);
    (2..=40).for_each(|seq| stored(&write(&store, vec![alive(seq)])));
    drop(store);
    let store = open().unwrap();
    stored(&write(&store, vec![alive(41)]));
    delete(&store, Deletion::Truncate { log, below: 2 });
    drop(store);
    // It finds out here that something is dead.
    let store = open().unwrap();
    stored(&write(&store, vec![alive(42)]));
    store.clean().unwrap();
    drop(store);
    std::thread::sleep(gone_within / 2 + Duration::from_millis(100));
    let store = open().unwrap();
    store.clean().unwrap();
    assert!(!is_on_disk(folder.path(), secret));
    assert_eq!(range(&store, all(log)).entries.len(), 41);
    assert_eq!(store.verify().unwrap().damage, []);
}

#[test]
fn what_is_dead_as_a_whole_becomes_a_header() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let log = chat(1, 2);
    let entries = 6000;
    for from in (1..=entries).step_by(500) {
        stored(&write(&store, (from..from + 500).map(|seq| entry(log, seq, 0)).collect()));
    }
    delete(&store, Deletion::Truncate { log, below: entries + 1 });
    let other = chat(3, 4);
    let again = |round| Write::registers(other, [set(1, &value(1, round))]);
    for rounds in 0..20 {
        stored(&write(&store, (0..100).map(|round| again(100 * rounds + round)).collect()));
    }
    store.clean().unwrap();
    let first = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
    let mut names: Vec<String> = first
        .map(|file| file.file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".log"))
        .collect();
    names.sort();
    assert!(names[0].starts_with("00000001-"), "{names:?}");
    let bytes = std::fs::metadata(folder.path().join(&names[0])).unwrap().len();
    assert!(bytes < 64 * 1024, "{bytes}");
    let head = heads(&store, vec![log])[0];
    assert_eq!((head.seq, head.expired_below), (entries, entries + 1));
    drop(store);
    let store = open(folder.path());
    assert_eq!(heads(&store, vec![log])[0], head);
    // Its sequences go on, whatever was cleaned away.
    stored(&write(&store, vec![entry(log, entries + 1, 0)]));
    let found = registers(&store, all_registers(other)).registers;
    assert_eq!(found[0].value.as_deref(), Some(value(1, 1999).as_bytes()));
    assert_eq!(store.verify().unwrap().damage, []);
}

fn name(name: &str) -> ConsumerName {
    ConsumerName::new(name).unwrap()
}

#[test]
fn what_a_consumer_has_not_passed_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let log = chat(1, 2);
    let start = feed(&store, FeedRange { items_max: 0, ..from(FeedFrom::Beginning) }).position;
    consumer(&store, ConsumerChange::Passed { name: name("slow"), position: start });
    rewrite(&store, log, 10, 0..400);
    store.clean().unwrap();
    assert_eq!(store.statistics().cleaned_files, 0);
    let behind = consumers(&store)[0].behind_bytes;
    assert!(behind > 400 * 10 * 200, "{behind}");
    drop(store);

    let store = open(folder.path());
    store.clean().unwrap();
    assert_eq!(store.statistics().cleaned_files, 0);
    // Page by page, it hears everything, in order.
    let mut heard = 0;
    let mut after = FeedFrom::Beginning;
    loop {
        let page = feed(&store, FeedRange { items_max: 777, ..from(after) });
        for item in &page.items {
            assert_eq!(item.log, log);
            match &item.what {
                FeedWhat::Register(register) => {
                    let (number, round) = (heard % 11, heard / 11);
                    let value = value(number, round);
                    assert_eq!(register.value.as_deref(), Some(value.as_bytes()));
                }
                FeedWhat::Entry(entry) => assert_eq!((heard % 11, entry.seq), (10, heard / 11 + 1)),
                other => panic!("{other:?}"),
            }
            heard += 1;
        }
        after = FeedFrom::After(page.position.clone());
        if !page.more {
            let position = page.position;
            consumer(&store, ConsumerChange::Passed { name: name("slow"), position });
            break;
        }
    }
    assert_eq!(heard, 400 * 11);
    store.clean().unwrap();
    assert!(store.statistics().cleaned_files > 0);
    // A place that was passed long ago is good: what lives comes from there.
    let page = feed(&store, FeedRange { items_max: 5, ..from(FeedFrom::Beginning) });
    assert_eq!(page.items.len(), 5);
    let rest = feed(&store, from(FeedFrom::After(page.position)));
    assert_eq!(
        rest.items.len() as u64,
        feed(&store, from(FeedFrom::Beginning)).items.len() as u64 - 5
    );
    check(&store, log, 10, 400);
}

/// Where removals are forgotten at once.
fn open_forgetful(path: &Path) -> EmbeddedStore {
    let config =
        EmbeddedConfig { gone_within: Duration::ZERO, marks_kept: Duration::ZERO, ..config() };
    EmbeddedStore::open(path, config).unwrap()
}

/// Cleans until nothing changes any more; each time the segment that is written gets one behind it.
fn clean_well(store: &EmbeddedStore) {
    for _ in 0..6 {
        store.clean().unwrap();
        stored(&write(store, vec![Write::registers(chat(8, 9), [set(1, "later")])]));
    }
    store.clean().unwrap();
}

fn lose_index(path: &Path) {
    for file in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
        if file.file_name().to_str().unwrap().ends_with(".idx") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
}

fn long_key(word: &str) -> RegisterKey {
    RegisterKey::new(format!("the key of a {word} register").as_bytes()).unwrap()
}

fn hold(word: &str, value: &str) -> Set {
    Set::always(long_key(word), Bytes::from(format!("{value} of many letters")))
}

#[test]
fn that_a_register_was_removed_is_forgotten_on_the_disk_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_forgetful(folder.path());
    let log = chat(1, 2);
    stored(&write(&store, vec![Write::registers(log, [hold("lost", "one"), hold("kept", "two")])]));
    clean_well(&store);
    stored(&write(&store, vec![Write::registers(log, [hold("lost", "three")])]));
    clean_well(&store);
    // The newest record of the log is the mark.
    stored(&write(&store, vec![Write::registers(log, [Set::removal(long_key("lost"))])]));
    assert!(is_on_disk(folder.path(), long_key("lost").as_bytes()));
    clean_well(&store);
    assert!(!is_on_disk(folder.path(), long_key("lost").as_bytes()));
    assert!(is_on_disk(folder.path(), long_key("kept").as_bytes()));
    let check = |store: &EmbeddedStore| {
        let answer = |version| changes(store, since(log, version));
        for version in [1, 2] {
            assert_eq!((answer(version).afresh, answer(version).registers), (true, vec![]));
        }
        assert_eq!((answer(3).afresh, answer(3).registers), (false, vec![]));
        assert!(answer(4).afresh, "the log never had this version");
        let all = answer(0);
        assert_eq!((all.afresh, all.version, all.registers.len()), (false, 3, 1));
        assert_eq!(registers(store, all_registers(log)).registers, all.registers);
        assert_eq!(all.registers[0].key, long_key("kept"));
        assert_eq!(store.verify().unwrap().damage, []);
    };
    check(&store);
    drop(store);
    check(&open_forgetful(folder.path()));
    lose_index(folder.path());
    let store = open_forgetful(folder.path());
    assert!(!store.recovery().history_lost && store.recovery().damage.is_empty());
    check(&store);
    // Nothing of it is in the feed: removals that are forgotten change nothing.
    let items = feed(&store, from(FeedFrom::Beginning)).items;
    let of_log: Vec<_> = items.iter().filter(|item| item.log == log).collect();
    assert!(
        matches!(&of_log[..], [only] if matches!(&only.what, FeedWhat::Register(one) if one.key == long_key("kept"))),
        "{of_log:?}"
    );
    // It can be set again, as one that never was.
    let again = Set { rule: Rule::IfAbsent, ..hold("lost", "four") };
    stored(&write(&store, vec![Write::registers(log, [again])]));
    let answer = changes(&store, since(log, 3));
    assert_eq!((answer.afresh, answer.registers.len(), answer.version), (false, 1, 4));
    clean_well(&store);
    assert!(!changes(&store, since(log, 3)).afresh);
    assert_eq!(registers(&store, all_registers(log)).registers.len(), 2);
}

#[test]
fn a_mark_stays_as_long_as_an_older_value_does() {
    let folder = tempfile::tempdir().unwrap();
    let log = chat(1, 2);
    let store = open_forgetful(folder.path());
    // A consumer that stands still keeps the older value.
    stored(&write(&store, vec![Write::registers(log, [hold("lost", "one"), hold("kept", "two")])]));
    let start = feed(&store, FeedRange { items_max: 0, ..from(FeedFrom::Beginning) }).position;
    consumer(&store, ConsumerChange::Passed { name: name("slow"), position: start });
    clean_well(&store);
    stored(&write(&store, vec![Write::registers(log, [Set::removal(long_key("lost"))])]));
    clean_well(&store);
    // It is forgotten in answers, but not on the disk.
    assert!(changes(&store, since(log, 1)).afresh);
    assert!(is_on_disk(folder.path(), b"one of many letters"));
    drop(store);
    lose_index(folder.path());
    let store = open_forgetful(folder.path());
    let found = registers(&store, all_registers(log)).registers;
    assert_eq!(found.len(), 1, "{found:?}");
    consumer(&store, ConsumerChange::Removed { name: name("slow") });
    clean_well(&store);
    assert!(!is_on_disk(folder.path(), b"one of many letters"));
    assert!(!is_on_disk(folder.path(), long_key("lost").as_bytes()));
    drop(store);
    lose_index(folder.path());
    let store = open_forgetful(folder.path());
    assert_eq!(registers(&store, all_registers(log)).registers, found);
}

#[test]
fn what_was_removed_lately_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_thorough(folder.path());
    let log = chat(1, 2);
    stored(&write(&store, vec![Write::registers(log, [hold("lost", "one"), hold("kept", "two")])]));
    stored(&write(&store, vec![Write::registers(log, [Set::removal(long_key("lost"))])]));
    stored(&write(&store, vec![Write::registers(log, [hold("kept", "three")])]));
    clean_well(&store);
    let answer = changes(&store, since(log, 1));
    assert_eq!((answer.afresh, answer.registers.len()), (false, 2));
    assert!(!is_on_disk(folder.path(), b"one of many letters"));
    assert!(is_on_disk(folder.path(), long_key("lost").as_bytes()));
    drop(store);
    lose_index(folder.path());
    assert_eq!(changes(&open_thorough(folder.path()), since(log, 1)), answer);
}

#[test]
fn a_mark_stays_behind_an_older_value_that_cannot_be_cleaned() {
    let folder = tempfile::tempdir().unwrap();
    let log = chat(1, 2);
    let store = open_forgetful(folder.path());
    let lone = with_body(entry(chat(3, 4), 1, 0), "an entry that goes bad");
    stored(&write(&store, vec![lone]));
    stored(&write(&store, vec![Write::registers(log, [hold("lost", "one"), hold("kept", "two")])]));
    clean_well(&store);
    // A file in which anything is damaged is left as it is. This is the end of the head of a record.
    let file = folder.path().join("00000001.log");
    let mut content = std::fs::read(&file).unwrap();
    let place = content.windows(22).position(|window| window == b"an entry that goes bad").unwrap();
    content[place - 1] ^= 1;
    std::fs::write(&file, &content).unwrap();
    stored(&write(&store, vec![Write::registers(log, [Set::removal(long_key("lost"))])]));
    stored(&write(&store, vec![Write::registers(log, [hold("kept", "three")])]));
    clean_well(&store);
    assert!(changes(&store, since(log, 1)).afresh);
    // The file of the mark is cleaned of something else.
    let cleaned = store.statistics().cleaned_files;
    stored(&write(&store, vec![Write::registers(log, [hold("kept", "four")])]));
    clean_well(&store);
    assert!(!is_on_disk(folder.path(), b"three of many letters"));
    assert!(is_on_disk(folder.path(), b"one of many letters"));
    assert!(store.statistics().cleaned_files > cleaned);
    let found = registers(&store, all_registers(log)).registers;
    assert_eq!(found.len(), 1, "{found:?}");
    drop(store);
    lose_index(folder.path());
    let store = open_forgetful(folder.path());
    assert_eq!(registers(&store, all_registers(log)).registers, found);
}

/// What a cleaned file says nothing of was cleaned away, or is lost with the rest of it.
#[test]
fn a_cleaned_file_that_was_cut_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (log, count) = (chat(1, 2), 20);
    let store = open_thorough(folder.path());
    for round in 0..300 {
        rewrite(&store, log, count, round..round + 1);
        // Of each part of each file something lives.
        stored(&write(&store, vec![Write::registers(log, [set(100 + round, "kept")])]));
    }
    store.clean().unwrap();
    drop(store);
    let mut lost = 0;
    let names = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
    for name in names.filter(|name| name.to_str().unwrap().ends_with(".log")) {
        let length = std::fs::metadata(folder.path().join(&name)).unwrap().len();
        for part in [4, 2] {
            let copy = tempfile::tempdir().unwrap();
            for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
            let file = std::fs::File::options().write(true).open(copy.path().join(&name)).unwrap();
            file.set_len(length - length / part).unwrap();
            let store = open(copy.path());
            let each = (0..400).map(|number| (log, key(number))).collect();
            for asked in [
                StoreRequest::Register(each),
                StoreRequest::Registers(vec![all_registers(log)]),
                StoreRequest::Changes(vec![since(log, 0)]),
                StoreRequest::Ranges(vec![all(log)]),
            ] {
                // (A question that is never answered fails by its deadline.)
                lost += damaged_answers(&store, asked);
            }
        }
    }
    assert!(lost > 0, "something was cut off");
}

/// How many answers say that what was asked for is damaged.
fn damaged_answers(store: &EmbeddedStore, asked: StoreRequest) -> usize {
    let (sender, answered) = std::sync::mpsc::channel();
    store.submit(asked, Box::new(move |answer| drop(sender.send(answer))));
    let answer = answered.recv_timeout(Duration::from_secs(60)).expect("an answer");
    fn damaged<T>(answers: &[Result<T, StoreError>]) -> usize {
        answers.iter().filter(|answer| answer.is_err()).count()
    }
    match answer {
        Ok(StoreReply::Register(answers)) => damaged(&answers),
        Ok(StoreReply::Registers(answers)) => damaged(&answers),
        Ok(StoreReply::Pages(answers)) => damaged(&answers),
        other => panic!("{other:?}"),
    }
}
