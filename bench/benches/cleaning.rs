//! A day of cursor moves and rewrites at speed: what is left on the disk, what cleaning writes for it, and
//! what a durable message waits for meanwhile, with and without cleaning.
//!
//! `cargo bench -p dunlin-bench --bench cleaning -- 2000000` moves so many cursors. A million users who
//! read 20 times a day make 20 million moves; a tenth of that, over segments of an eighth, has the same
//! number of segments. The limits: disk <= 1.5 of what is alive, written <= freed.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::{
    EntryMeta, NewEntry, RegisterKey, Rule, Set, Store, StoreReply, StoreRequest, Write, Written,
};
use dunlin_protocol::{LogId, UserId};

/// Conversations, and members of each whose cursors move.
const CONVERSATIONS: u64 = 2_000;
const MEMBERS: u64 = 10;
/// Messages that are there before, and live.
const MESSAGES: u64 = 200_000;
/// One in so many moves is a rewrite of something larger.
const REWRITE_EVERY: u64 = 10;
/// Writes of one request.
const BATCH: u64 = 256;

/// The body of an entry with 200 B of content, about.
static BODY: [u8; 256] = [b'x'; 256];
/// Settings of an account.
static SETTINGS: [u8; 400] = [b's'; 400];
/// Bytes of a record of an entry, of a cursor and of settings on the disk.
const ENTRY_BYTES: u64 = 80 + 256;
const CURSOR_BYTES: u64 = 80 + 9 + 16;
const SETTINGS_BYTES: u64 = 80 + 1 + 400;

fn user(number: u64) -> UserId {
    UserId::new(number).expect("a user id of the benchmark is in range")
}

fn conversation(number: u64) -> LogId {
    LogId::direct(user(1_000_000 + number), user(2_000_000 + number))
}

fn config(cleans: bool) -> EmbeddedConfig {
    let interval = if cleans { Duration::from_millis(100) } else { Duration::from_hours(24) };
    EmbeddedConfig {
        segment_bytes: 8 * 1024 * 1024,
        cleaning_interval: interval,
        ..EmbeddedConfig::default()
    }
}

/// Writes, and waits until it is durable; how long that took.
fn write(store: &EmbeddedStore, writes: Vec<Write>) -> Duration {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let start = Instant::now();
    let done = move |reply| sender.send(reply).expect("the receiver waits");
    store.submit(StoreRequest::Write(writes), Box::new(done));
    let reply = receiver.recv().expect("the store answers");
    let elapsed = start.elapsed();
    let stored = matches!(&reply, Ok(StoreReply::Written(all))
        if all.iter().all(|one| matches!(one, Written::Stored { .. })));
    assert!(stored, "{reply:?}");
    elapsed
}

fn message(log: LogId, seq: u64) -> Write {
    let meta = EntryMeta { time_ms: seq, sender: 1, ..EntryMeta::default() };
    let body = Bytes::from_static(&BODY);
    Write::entry(log, NewEntry { seq, meta, key: None, digest: 0, body })
}

/// The nth move: of each cursor in turn, forwards.
fn moved(number: u64) -> Write {
    if number.is_multiple_of(REWRITE_EVERY) {
        let log = LogId::account(user(1 + number / REWRITE_EVERY % CONVERSATIONS));
        let set = Set::always(RegisterKey::letter(b's'), Bytes::from_static(&SETTINGS));
        return Write::registers(log, [set]);
    }
    let turn = number / (CONVERSATIONS * MEMBERS);
    // A step that meets all of them, in no order that the disk would like.
    let place = number.wrapping_mul(7919) % (CONVERSATIONS * MEMBERS);
    let key = RegisterKey::numbered(b'r', 1 + place / CONVERSATIONS);
    let value = [(turn + 1).to_be_bytes(), [0; 8]].concat();
    let set = Set { key, value: Some(value.into()), rule: Rule::IfGreater };
    Write::registers(conversation(place % CONVERSATIONS), [set])
}

/// Bytes that the files of segments take.
fn segment_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("the folder of the store").flatten();
    let segments = files.filter(|file| file.path().extension().is_some_and(|end| end == "log"));
    segments.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// One message after the other until it is told to end: how long each took.
fn messages(store: &EmbeddedStore, enough: &AtomicBool) -> Vec<Duration> {
    let log = LogId::direct(user(1), user(2));
    let mut took = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        took.push(write(store, vec![message(log, took.len() as u64 + 1)]));
        thread::sleep(Duration::from_millis(2));
    }
    took.sort_unstable();
    took
}

fn day(moves: u64, cleans: bool) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let store = EmbeddedStore::open(folder.path(), config(cleans)).expect("the store opens");
    for first in (0..MESSAGES).step_by(BATCH as usize) {
        let numbers = first..MESSAGES.min(first + BATCH);
        let all = numbers.map(|n| message(conversation(n % CONVERSATIONS), n / CONVERSATIONS + 1));
        write(&store, all.collect());
    }
    let (enough, start) = (AtomicBool::new(false), Instant::now());
    let took = thread::scope(|scope| {
        let waiting = scope.spawn(|| messages(&store, &enough));
        for first in (0..moves).step_by(BATCH as usize) {
            write(&store, (first..moves.min(first + BATCH)).map(moved).collect());
        }
        enough.store(true, Ordering::Relaxed);
        waiting.join().expect("messages are stored")
    });
    let seconds = start.elapsed().as_secs_f64();
    let quantile = |part: f64| {
        let at = ((took.len() - 1) as f64 * part) as usize;
        took[at].as_micros()
    };
    let at_end = segment_bytes(folder.path());
    if cleans {
        store.clean().expect("the store can be cleaned");
    }
    let after = segment_bytes(folder.path());
    // In place of every tenth move something else is written, always of the same cursors.
    let cursors = moves.min(CONVERSATIONS * MEMBERS) * (REWRITE_EVERY - 1) / REWRITE_EVERY;
    let alive = (MESSAGES + took.len() as u64) * ENTRY_BYTES
        + cursors * CURSOR_BYTES
        + CONVERSATIONS.min(moves) * SETTINGS_BYTES;
    let counted = store.statistics();
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "cleaning {}: {moves} moves in {seconds:.1} s, {:.0}/s; a durable message beside them p50 {} us, \
         p99 {} us, slowest {} us of {}",
        if cleans { "on" } else { "off" },
        moves as f64 / seconds,
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
        took.len()
    );
    println!(
        "  segments {:.1} MB at the end, {:.1} MB after it; alive {:.1} MB: {:.2}; written {:.1} MB to \
         free {:.1} MB in {} files",
        megabytes(at_end),
        megabytes(after),
        megabytes(alive),
        after as f64 / alive as f64,
        megabytes(counted.cleaning_written_bytes),
        megabytes(counted.cleaning_freed_bytes),
        counted.cleaned_files
    );
}

fn main() {
    let moves = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let moves = moves.unwrap_or(2_000_000);
    for cleans in [false, true, false, true] {
        day(moves, cleans);
    }
}
