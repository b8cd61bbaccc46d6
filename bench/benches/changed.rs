//! What it costs to ask which of a user's conversations have changed since a moment, and to list the registers
//! of an account.
//!
//! `cargo bench -p dunlin-bench --bench changed` prints the lowest and the median time of an answer, with the
//! way to the thread that reads and back where it takes that way: 50 and 10,000 conversations of which nothing,
//! a hundredth or all has changed, with all of it in memory, and since a moment that is many segments back.
//! Against it stand the heads of all of them, in turns, which is what had to be asked before. The goal is
//! a millisecond for 10,000 of which nothing has changed, 10 us for 50, and 0.2 us for a register.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::question::{self, Changed, Heads, Question};
use dunlin_core::store::{
    EntryMeta, Moment, NewEntry, RegisterKey, RegisterRange, Set, Write, Written,
};
use dunlin_protocol::{LogId, UserId};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Conversations of others, which are written to as well.
const OTHERS: u64 = 100_000;
/// Entries of others since the moment that is long ago: some 40 MB, in segments of 1 MiB.
const SINCE_LONG: u64 = 100_000;
const SEGMENT_BYTES: u32 = 1024 * 1024;
/// The lowest and the median of so many answers count.
const ROUNDS: usize = 101;
/// Writes that are made durable together.
const BATCH: usize = 1000;

static BODY: [u8; 256] = [b'x'; 256];

fn user(number: u64) -> UserId {
    UserId::new(number).expect("a user id of the benchmark is in range")
}

/// A conversation of user 1 with somebody.
fn own(number: u64) -> LogId {
    LogId::direct(user(1), user(2 + number))
}

fn of_others(number: u64) -> LogId {
    LogId::direct(user(2), user(1_000_000 + number))
}

fn ask<Q: Question>(store: &EmbeddedStore, question: Q) -> Q::Answer
where
    Q::Answer: Send,
{
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    question::ask(store, question, move |answer| sender.send(answer).expect("it is waited for"));
    receiver.recv().expect("the store answers").expect("the store can do it")
}

/// Appends an entry to each of some conversations, all of which have so many.
fn append(store: &EmbeddedStore, logs: &[LogId], before: u64) {
    let meta = EntryMeta { time_ms: before, sender: 1, ..EntryMeta::default() };
    let (seq, body) = (before + 1, Bytes::from_static(&BODY));
    let entry = NewEntry { seq, meta, key: None, digest: 0, body };
    for logs in logs.chunks(BATCH) {
        let writes: Vec<Write> = logs.iter().map(|log| Write::entry(*log, entry.clone())).collect();
        let verdicts: Vec<Written> = ask(store, writes);
        let stored = |verdict: &Written| matches!(verdict, Written::Stored { .. });
        assert!(verdicts.iter().all(stored), "{:?}", verdicts.first());
    }
}

/// The lowest and the median time, in microseconds.
fn timed(mut ask: impl FnMut() -> usize, expected: usize) -> (f64, f64) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let found = ask();
            let time = start.elapsed();
            assert_eq!(found, expected);
            time
        })
        .collect();
    times.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    (micros(times[0]), micros(times[ROUNDS / 2]))
}

fn told(what: &str, (lowest, median): (f64, f64), items: usize) {
    let each = lowest * 1e3 / items as f64;
    println!("{what:58} {lowest:10.1} {median:10.1} us {each:10.0} ns each");
}

fn now(store: &EmbeddedStore) -> Moment {
    ask(store, Changed { logs: Vec::new(), since: None }).now
}

/// Questions about so many conversations, of which so many have changed since.
fn questions(store: &EmbeddedStore, what: &str, count: usize, changed: usize, since: Moment) {
    let logs: Vec<LogId> = (0..count as u64).map(own).collect();
    let since = Some(since);
    let answer = || ask(store, Changed { logs: logs.clone(), since }).heads.len();
    let name = format!("{what}: {changed} of {count} have changed");
    told(&name, timed(answer, changed), count);
}

fn heads(store: &EmbeddedStore, what: &str, count: usize) {
    let logs: Vec<LogId> = (0..count as u64).map(own).collect();
    let answer = || ask(store, Heads(logs.clone())).len();
    told(&format!("{what}: heads of {count}"), timed(answer, count), count);
}

fn open(folder: &Path, segment_bytes: u32) -> EmbeddedStore {
    let config = EmbeddedConfig { segment_bytes, ..EmbeddedConfig::default() };
    EmbeddedStore::open(folder, config).expect("the store opens")
}

fn wait_for_index(store: &EmbeddedStore) {
    store.clean().expect("it cleans");
}

/// What has changed, in a store whose index is in memory or in files.
fn changes(store: &EmbeddedStore, what: &str, between: impl Fn(&EmbeddedStore, u64)) {
    let all: Vec<LogId> = (0..10_000).map(own).collect();
    append(store, &all, 0);
    append(store, &(0..OTHERS).map(of_others).collect::<Vec<_>>(), 0);
    for (turn, part) in [(0, 0), (1, 100), (2, 1)] {
        let since = now(store);
        // Every so many, of 50 as of 10,000.
        let changed: Vec<LogId> = all
            .iter()
            .copied()
            .enumerate()
            .filter(|(at, _)| part > 0 && at % part == 0)
            .map(|(_, log)| log)
            .collect();
        // Each turn changes what the one before has not: the sequences follow from the heads.
        for log in changed.chunks(BATCH) {
            let known = ask(store, Heads(log.to_vec()));
            for (log, head) in log.iter().zip(known) {
                append(store, &[*log], head.expect("nothing is damaged").seq);
            }
        }
        between(store, turn);
        for count in [50, 10_000] {
            let expected = if part == 0 { 0 } else { count_of(count, part) };
            questions(store, what, count, expected, since);
        }
    }
    heads(store, what, 50);
    heads(store, what, 10_000);
}

fn count_of(count: usize, part: usize) -> usize {
    count.div_ceil(part)
}

/// So many registers of an account, one conversation each.
fn registers(store: &EmbeddedStore, what: &str, count: u64, between: impl Fn(&EmbeddedStore)) {
    let log = LogId::account(user(count));
    let set = |number: u64| {
        let key = RegisterKey::of(b'c', own(number).as_bytes());
        Set::always(key, Bytes::from_static(b"\x08\x01"))
    };
    let writes: Vec<Write> =
        (0..count).map(|number| Write::registers(log, [set(number)])).collect();
    for writes in writes.chunks(BATCH) {
        ask(store, writes.to_vec());
    }
    between(store);
    let answer = || {
        let range = RegisterRange {
            log,
            prefix: b"c"[..].into(),
            after: None,
            registers_max: usize::MAX,
            bytes_max: usize::MAX,
        };
        ask(store, vec![range]).remove(0).expect("nothing is damaged").registers.len()
    };
    told(&format!("{what}: {count} registers"), timed(answer, count as usize), count as usize);
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the stores");
    println!("{:58} {:>10} {:>10}", "", "lowest", "median");
    let memory = open(&folder.path().join("memory"), EmbeddedConfig::default().segment_bytes);
    changes(&memory, "in memory", |_, _| ());
    for count in [50, 10_000] {
        registers(&memory, "in memory", count, |_| ());
    }
    drop(memory);
    let files = open(&folder.path().join("files"), SEGMENT_BYTES);
    changes(&files, "in files", |store, turn| {
        let logs: Vec<LogId> = (0..SINCE_LONG).map(of_others).collect();
        append(store, &logs, turn + 1);
        wait_for_index(store);
    });
    for count in [50, 10_000] {
        registers(&files, "in files", count, |store| {
            // So that the next segment begins, and this one gets its file.
            let logs: Vec<LogId> =
                (0..10_000).map(|at| of_others(OTHERS + count * 10 + at)).collect();
            append(store, &logs, 0);
            wait_for_index(store);
        });
    }
}
