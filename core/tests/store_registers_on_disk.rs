//! Registers are found wherever they are: in memory, in index files of every level, without room for
//! filters, and in index files that were made again. The store in memory is told the same, and says what
//! must be read.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::store::contract::ask;
use dunlin_core::store::contract::sample::{all, all_registers, chat, since};
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{
    ChangeRange, Deletion, RegisterKey, RegisterRange, Rule, Set, Store, StoreError, StoreRequest,
    Write,
};
use dunlin_protocol::LogId;

const LOGS: u64 = 12;
const KEYS: u64 = 60;
const ROUNDS: u64 = 40;

fn small() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 64 * 1024, readers: 2, ..EmbeddedConfig::default() }
}

fn log(number: u64) -> LogId {
    chat(1, number + 2)
}

/// Keys of some lengths, so that blocks end at all places.
fn key(number: u64) -> RegisterKey {
    let letter = b'a' + (number % 3) as u8;
    RegisterKey::new(
        &[&[letter][..], &vec![b'-'; (number % 7) as usize * 6], &[number as u8]].concat(),
    )
    .unwrap()
}

/// Half of the values are small enough to be in memory.
fn value(round: u64, number: u64) -> Bytes {
    let bytes = if number.is_multiple_of(2) { 8 } else { 150 };
    let mut value = (round * 1000 + number).to_be_bytes().to_vec();
    value.resize(bytes, b'v');
    value.into()
}

/// What the writes of a round are. All registers are set once, and then some of them again and again;
/// some are removed, and a log is dropped now and then.
fn round(round: u64) -> Vec<Write> {
    let set = |number: u64| match (round + number) % 11 {
        0 if round > 0 => Set::removal(key(number)),
        1 => Set { key: key(number), value: Some(value(round, number)), rule: Rule::IfGreater },
        _ => Set::always(key(number), value(round, number)),
    };
    let of_log = |number: u64| {
        let chosen = (0..KEYS)
            .filter(move |key: &u64| round == 0 || (*key * 7 + round + number).is_multiple_of(9));
        let sets: Vec<Set> = chosen.map(set).collect();
        let parts = sets.chunks(5).map(<[Set]>::to_vec).collect::<Vec<_>>();
        parts.into_iter().map(move |part| Write::registers(log(number), part))
    };
    (0..LOGS).flat_map(of_log).collect()
}

/// Does the same to both, and compares the answers.
fn write_round(store: &EmbeddedStore, model: &MemoryStore, number: u64) {
    assert_eq!(ask::write(store, round(number)), ask::write(model, round(number)));
    if number % 10 == 9 {
        let deletion = Deletion::Drop { log: log(number / 10) };
        assert_eq!(ask::delete(store, deletion), ask::delete(model, deletion));
    }
}

/// Compares all that can be asked.
fn compare(store: &dyn Store, model: &dyn Store) {
    for number in 0..LOGS {
        let log = log(number);
        assert_eq!(ask::heads(store, vec![log]), ask::heads(model, vec![log]));
        let all = ask::registers(model, all_registers(log));
        assert_eq!(ask::registers(store, all_registers(log)), all);
        compare_pages(store, model, log);
        for key in (0..KEYS).map(key) {
            assert_eq!(ask::register(store, log, key.clone()), ask::register(model, log, key));
        }
        for version in [0, 1, all.version / 2, all.version.saturating_sub(3), all.version] {
            let wanted = ask::changes(model, since(log, version));
            assert_eq!(ask::changes(store, since(log, version)), wanted, "since {version}");
            compare_changes(store, model, log, version);
        }
    }
}

/// Page by page, by keys.
fn compare_pages(store: &dyn Store, model: &dyn Store, log: LogId) {
    for letter in [&b""[..], b"a", b"b-", b"z"] {
        let mut range = RegisterRange {
            prefix: letter.into(),
            registers_max: 4,
            bytes_max: 500,
            ..all_registers(log)
        };
        loop {
            let page = ask::registers(model, range.clone());
            assert_eq!(ask::registers(store, range.clone()), page, "{range:?}");
            let Some(last) = page.registers.last().filter(|_| page.more) else { break };
            range.after = Some(last.key.clone());
        }
    }
}

/// Page by page, by versions.
fn compare_changes(store: &dyn Store, model: &dyn Store, log: LogId, version: u64) {
    let mut range = ChangeRange { log, since: version, registers_max: 3, bytes_max: 400 };
    loop {
        let page = ask::changes(model, range);
        assert_eq!(ask::changes(store, range), page, "{range:?}");
        let Some(last) = page.registers.last().filter(|_| page.more) else { break };
        range.since = last.version;
    }
}

fn index_files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "idx")).collect()
}

/// Waits until there are files of merged segments.
fn wait_for_merges(folder: &Path) {
    let is_merged = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        name.split_once('-').is_some_and(|(first, last)| first != last)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !index_files(folder).iter().any(is_merged) {
        assert!(Instant::now() < deadline, "{:?}", index_files(folder));
        std::thread::yield_now();
    }
}

#[test]
fn registers_are_found_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let model = MemoryStore::default();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    for number in 0..ROUNDS {
        write_round(&store, &model, number);
    }
    compare(&store, &model);
    wait_for_merges(folder.path());
    compare(&store, &model);
    assert_eq!(store.verify().unwrap().damage, []);
    drop(store);

    // No memory for filters: they are read from the files.
    let config = EmbeddedConfig { filter_bytes_max: 0, ..small() };
    let store = EmbeddedStore::open(folder.path(), config).unwrap();
    assert!(store.recovery().segments_scanned <= 2, "{:?}", store.recovery());
    compare(&store, &model);
    for number in ROUNDS..ROUNDS + 10 {
        write_round(&store, &model, number);
    }
    compare(&store, &model);
    drop(store);

    for path in index_files(folder.path()) {
        std::fs::remove_file(path).unwrap();
    }
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    assert_eq!((&store.recovery().damage[..], store.recovery().history_lost), (&[][..], false));
    compare(&store, &model);
    assert_eq!(store.verify().unwrap().damage, []);
}

/// Whatever block it is: nothing wrong is read, and the file is made again.
#[test]
fn a_damaged_block_of_an_index_file_tells_no_lies_about_registers() {
    let folder = tempfile::tempdir().unwrap();
    let model = MemoryStore::default();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    for number in 0..ROUNDS {
        write_round(&store, &model, number);
    }
    wait_for_merges(folder.path());
    drop(store);
    for path in index_files(folder.path()) {
        let mut bytes = std::fs::read(&path).unwrap();
        let blocks = bytes.len() / 4096;
        for block in 1..blocks {
            bytes[block * 4096 + 40] ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    for number in 0..LOGS {
        let wanted = ask::registers(&model, all_registers(log(number)));
        // Until the file is good again, there is no answer.
        let read = loop {
            match ask::answer(&store, vec![all_registers(log(number))]).remove(0) {
                Ok(read) => break read,
                Err(StoreError::Unavailable { .. }) if Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read, wanted);
    }
    compare(&store, &model);
}

/// Whether a question is answered by the thread that asks.
fn is_answered_at_once(store: &EmbeddedStore, question: StoreRequest) -> bool {
    let (sender, answered) = std::sync::mpsc::channel();
    let answer = move |reply: Result<_, StoreError>| {
        reply.expect("the store can do it");
        sender.send(std::thread::current().id()).expect("it is waited for");
    };
    store.submit(question, Box::new(answer));
    answered.recv().expect("an answer") == std::thread::current().id()
}

/// Whoever comes for the first time is looked for in vain: that needs neither a file nor another thread.
#[test]
fn what_was_never_there_is_known_without_a_file() {
    const ASKED: u64 = 200;
    let folder = tempfile::tempdir().unwrap();
    let model = MemoryStore::default();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    for number in 0..ROUNDS {
        write_round(&store, &model, number);
    }
    drop(store);
    let stranger = |number: u64| log(1000 + number);
    let register = |number| StoreRequest::Register(vec![(stranger(number), key(1))]);
    let registers = |number| StoreRequest::Registers(vec![all_registers(stranger(number))]);
    for (filter_bytes_max, least) in [(small().filter_bytes_max, ASKED * 9 / 10), (0, 0)] {
        let config = EmbeddedConfig { filter_bytes_max, ..small() };
        let store = EmbeddedStore::open(folder.path(), config).unwrap();
        for question in [&register as &dyn Fn(u64) -> StoreRequest, &registers] {
            let at_once = |number: &u64| is_answered_at_once(&store, question(*number));
            let count = (0..ASKED).filter(at_once).count() as u64;
            assert!(count >= least && (least > 0 || count == 0), "{count} of {ASKED}");
        }
        // Who has no conversations asks for the moment alone.
        for since in [None, Some(ask::now(&store))] {
            let nothing = StoreRequest::Changed { logs: Vec::new(), since };
            assert!(is_answered_at_once(&store, nothing));
        }
        // What is there is read from its file.
        let known = StoreRequest::Registers(vec![all_registers(log(2))]);
        assert!(!is_answered_at_once(&store, known));
    }
    // Of a log that began in this segment all is in memory, if it is small.
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    let set = |number, value: &'static [u8]| Set::always(key(number), Bytes::from_static(value));
    for (value, numbers) in [(&b"small"[..], ASKED..2 * ASKED), (&[7; 25], 2 * ASKED..3 * ASKED)] {
        for newcomer in numbers.clone().map(stranger) {
            ask::write_one(&store, Write::registers(newcomer, [set(1, value)]));
            let read = ask::registers(&store, all_registers(newcomer));
            assert_eq!(read.registers[0].value.as_deref(), Some(value));
        }
        let at_once = |number: &u64| is_answered_at_once(&store, registers(*number));
        let count = numbers.filter(at_once).count() as u64;
        let is_small = value == b"small";
        assert!(if is_small { count >= ASKED * 9 / 10 } else { count == 0 }, "{count}");
    }
}

/// What is in memory of the newest segment is bounded, however little its registers take on the disk.
#[test]
fn a_segment_ends_when_its_index_takes_too_much_memory() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { index_bytes_max: 16 * 1024, ..EmbeddedConfig::default() };
    let store = EmbeddedStore::open(folder.path(), config).unwrap();
    for number in 0..500 {
        let set = Set::always(key(0), Bytes::from_static(b"small"));
        ask::write(&store, vec![Write::registers(log(number), [set])]);
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let segments = names.filter(|name| name.to_str().unwrap().ends_with(".log")).count();
    assert!(segments >= 4, "{segments} segments for 500 logs of some 300 bytes in memory each");
    for number in 0..500 {
        assert_eq!(ask::register(&store, log(number), key(0)).version, 1);
    }
}

/// The threads that read pages are all busy, and whoever asks for little is answered.
#[test]
fn little_questions_do_not_wait_behind_pages() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    // Too large to be kept in memory, so somebody has to read it.
    ask::write(&store, vec![Write::registers(log(1), [Set::always(key(1), value(1, 1))])]);
    let (open, opened) = crossbeam_channel::bounded::<()>(0);
    for _ in 0..2 * small().readers {
        let opened = opened.clone();
        // A completion is called on the thread that has read.
        let wait = move |_| assert!(opened.recv().is_err(), "it is opened by being dropped");
        store.submit(StoreRequest::Ranges(vec![all(log(1))]), Box::new(wait));
    }
    assert_eq!(ask::register(&store, log(1), key(1)).value, Some(value(1, 1)));
    let few = RegisterRange { bytes_max: 64 * 1024, ..all_registers(log(1)) };
    assert_eq!(ask::registers(&store, few).registers.len(), 1);
    let few = ChangeRange { bytes_max: 64 * 1024, ..since(log(1), 0) };
    assert_eq!(ask::changes(&store, few).registers.len(), 1);
    drop(open);
}
