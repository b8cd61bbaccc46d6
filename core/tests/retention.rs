//! Messages expire that are older than they may be, and nothing else does.

mod engine_support;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dunlin_core::admin::{AdminError, AdminReply, AdminRequest, RetentionRequest};
use dunlin_core::clock::Clock;
use dunlin_core::config::{EngineConfig, RetentionConfig};
use dunlin_core::limits::RETENTION_REST_MS;
use dunlin_core::store::contract::ask::{ask, delete, heads, ranges, write};
use dunlin_core::store::contract::sample::{all, chat, entry, user, with_body};
use dunlin_core::store::contract::wrapper::{Failing, Rate};
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::memory::{AppendFailure, MemoryStore};
use dunlin_core::store::{
    Deleted, Deletion, Range, Store, StoreDone, StoreError, StoreReply, StoreRequest,
};
use dunlin_protocol::LogId;
use dunlin_protocol::wire::ErrorCode;
use engine_support::Server;

/// A clock that is set by the test.
#[derive(Debug, Default)]
struct SetClock {
    unix_ms: AtomicU64,
    passed_ms: AtomicU64,
}

impl SetClock {
    fn at(unix_ms: u64) -> SetClock {
        SetClock { unix_ms: unix_ms.into(), passed_ms: 0.into() }
    }

    fn set(&self, unix_ms: u64) {
        self.unix_ms.store(unix_ms, Ordering::Relaxed);
    }

    /// Time passes. Returns what the date was before.
    fn pass(&self, ms: u64) -> u64 {
        self.passed_ms.fetch_add(ms, Ordering::Relaxed);
        self.unix_ms.fetch_add(ms, Ordering::Relaxed)
    }
}

impl Clock for SetClock {
    fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Ordering::Relaxed)
    }

    fn monotonic_ms(&self, _: Instant) -> u64 {
        self.passed_ms.load(Ordering::Relaxed)
    }
}

/// An engine that keeps messages for so many milliseconds, at a time.
fn engine<S: Store>(
    store: Arc<S>,
    now_ms: u64,
    kept: (u64, Option<u64>),
) -> (Server<S>, Arc<SetClock>) {
    let clock = Arc::new(SetClock::at(now_ms));
    let retention = RetentionConfig {
        kept_ms_min: kept.0,
        kept_ms_max: kept.1,
        conversations_per_second: 10_000,
    };
    let config = EngineConfig { workers: 2, retention, ..EngineConfig::default() };
    let given = Arc::clone(&clock) as Arc<dyn Clock>;
    (Server::with(2, store, |builder| builder.config(config).clock(given)), clock)
}

/// A conversation of which the entry at seq was written at 10 times seq.
fn fill(store: &dyn Store, log: LogId, entries: u64) {
    write(store, (1..=entries).map(|seq| entry(log, seq, 0)).collect());
}

fn floor(store: &dyn Store, log: LogId) -> u64 {
    heads(store, vec![log])[0].expired_below
}

fn retention(
    server: &Server<impl Store>,
    request: RetentionRequest,
) -> Result<AdminReply, AdminError> {
    server.engine.administer(AdminRequest::Retention(request))
}

#[track_caller]
fn wait_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "it never happens");
        std::thread::yield_now();
    }
}

#[test]
fn a_node_walks_over_all_conversations() {
    let store = Arc::new(MemoryStore::default());
    // More than a page of them, of any length, and the first with nothing in it.
    let logs: Vec<_> = (2..150).map(|other| chat(1, other)).collect();
    for (entries, log) in (0..).zip(&logs) {
        fill(&*store, *log, entries);
    }
    // These are written to at the end of all times as well.
    let (young, account) = (logs[100], LogId::account(user(1)));
    let mut last = entry(young, 101, 0);
    last.entry.as_mut().unwrap().meta.time_ms = u64::MAX / 2;
    write(&*store, vec![last, entry(account, 1, 0)]);
    let (server, clock) = engine(Arc::clone(&store), 5_000, (0, Some(1_000)));
    // Time passes as fast as it can.
    wait_until(|| {
        clock.pass(1_000);
        logs.iter().skip(1).all(|log| floor(&*store, *log) > 0)
    });
    for (entries, log) in (0..).zip(&logs) {
        let expected = if entries == 0 { 0 } else { entries + 1 };
        let kept = u64::from(*log == young);
        let head = heads(&*store, vec![*log])[0];
        assert_eq!((head.expired_below, head.seq), (expected, entries + kept), "{log}");
    }
    assert_eq!(floor(&*store, account), 0, "an account is no conversation");
    server.engine.stop();
}

#[test]
fn a_clock_that_was_ahead_holds_up_no_walk() {
    const CENTURY_MS: u64 = 100 * 365 * 86_400_000;
    let store = Arc::new(MemoryStore::default());
    let (log, later) = (chat(1, 2), chat(1, 3));
    fill(&*store, log, 100);
    let (server, clock) = engine(Arc::clone(&store), CENTURY_MS, (0, Some(1_000)));
    let pass = || clock.pass(1_000);
    wait_until(|| {
        pass();
        floor(&*store, log) == 101
    });
    // The clock is set right: what is due next is due in a century.
    clock.set(5_000);
    fill(&*store, later, 100);
    wait_until(|| {
        assert!(pass() < CENTURY_MS, "it waits until the clock is as wrong as before");
        floor(&*store, later) == 101
    });
    server.engine.stop();
}

#[test]
fn a_wrong_date_is_left_to_the_messages_that_were_sent_meanwhile() {
    const WEEK_MS: u64 = 7 * 86_400_000;
    const DATE_MS: u64 = 1_700_000_000_000;
    let clock = Arc::new(SetClock::at(DATE_MS));
    let given = Arc::clone(&clock) as Arc<dyn Clock>;
    let store = Arc::new(MemoryStore::default());
    let mut server = Server::with(2, store, |builder| builder.clock(given));
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let mut id = 0;
    // The time of a tick may be read before the clock is set.
    let mut sent_at = |date_ms| {
        clock.set(date_ms);
        (0..3).fold(0, |_, _| {
            id += 1;
            phone.send(bob, id, "a message").time_ms
        })
    };
    assert_eq!(sent_at(DATE_MS), DATE_MS);
    assert_eq!(sent_at(DATE_MS + WEEK_MS), DATE_MS + WEEK_MS);
    assert_eq!(sent_at(DATE_MS + 1), DATE_MS + 1);
    // Little differences between clocks of nodes put nothing out of order.
    assert_eq!(sent_at(DATE_MS - 999), DATE_MS + 1);
    server.engine.stop();
}

#[test]
fn a_clock_that_is_set_ahead_deletes_nothing_for_an_hour() {
    const YEAR_MS: u64 = 365 * 86_400_000;
    let store = Arc::new(MemoryStore::default());
    let log = chat(1, 2);
    fill(&*store, log, 100);
    let (server, clock) = engine(Arc::clone(&store), 5_000, (0, Some(YEAR_MS)));
    // What was set before the engine first looked at the clock is not seen.
    wait_until(|| {
        clock.set(clock.unix_ms() + 2 * YEAR_MS);
        server.engine.statistics().total().clock_jumps > 0
    });
    wait_until(|| {
        clock.pass(10_000);
        floor(&*store, log) > 0
    });
    let passed_ms = clock.passed_ms.load(Ordering::Relaxed);
    assert!(passed_ms >= RETENTION_REST_MS, "{passed_ms}");
    server.engine.stop();
}

/// Changes a byte of entries in the files of a store.
fn damage(folder: &Path, log: LogId, seqs: &[u64]) {
    for seq in seqs {
        let body = body(log, *seq);
        let mut found = 0;
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_none_or(|it| it != "log") {
                continue;
            }
            let bytes = std::fs::read(&file).unwrap();
            let Some(at) = bytes.windows(body.len()).position(|it| it == body) else { continue };
            let open = std::fs::File::options().write(true).open(&file).unwrap();
            open.write_all_at(b"?", at as u64).unwrap();
            found += 1;
        }
        assert_eq!(found, 1, "the entry {seq} of {log}");
    }
}

fn body(log: LogId, seq: u64) -> Vec<u8> {
    format!("<what {log} says at {seq}>").into_bytes()
}

/// Whether an entry can be read; `None` if it has expired.
fn is_whole(store: &dyn Store, log: LogId, seq: u64) -> Option<bool> {
    let range = Range { from: seq, to: seq, ..all(log) };
    let Ok(StoreReply::Pages(pages)) = ask(store, StoreRequest::Ranges(vec![range])) else {
        panic!("no pages");
    };
    match &pages[0] {
        Ok(page) => page.entries.first().map(|_| true),
        Err(StoreError::Corrupt { .. }) => Some(false),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn what_is_damaged_expires_with_its_neighbours() {
    // What is damaged of 50 entries, and what stays of them when 30 are too old, and 45, and all.
    let cases: [(&[u64], [u64; 2]); 8] = [
        (&[], [31, 46]),
        (&[1], [31, 46]),
        (&[25], [31, 46]),
        (&[50], [31, 46]),
        (&[1, 2, 3, 24, 25, 26, 49, 50], [31, 46]),
        (&[31, 32], [31, 46]),
        // Nobody knows how old these are: they stay as long as the next one that can be read.
        (&[28, 29, 30, 31, 45], [28, 45]),
        (&[25, 26, 27, 28, 29, 30, 37, 38, 43, 44], [25, 46]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { segment_bytes: 1 << 18, ..EmbeddedConfig::default() };
    let store = Arc::new(EmbeddedStore::open(folder.path(), config).unwrap());
    let logs: Vec<_> = (2..).take(cases.len()).map(|other| chat(1, other)).collect();
    for log in &logs {
        let entries = (1..=50).map(|seq| with_body(entry(*log, seq, 0), body(*log, seq)));
        write(&*store, entries.collect());
    }
    for (log, (damaged, _)) in logs.iter().zip(&cases) {
        damage(folder.path(), *log, damaged);
        for seq in 1..=50 {
            assert_eq!(is_whole(&*store, *log, seq), Some(!damaged.contains(&seq)), "{log} {seq}");
        }
    }
    let (server, clock) = engine(Arc::clone(&store), 400, (0, Some(100)));
    let apply = |now_ms| {
        clock.set(now_ms);
        for log in &logs {
            let request = RetentionRequest::Apply { conversation: *log };
            assert_eq!(retention(&server, request), Ok(AdminReply::Done));
        }
        logs.iter().map(|log| floor(&*store, *log)).collect::<Vec<_>>()
    };
    // The entry at seq was written at 10 times seq.
    for (step, now_ms) in [401, 551].into_iter().enumerate() {
        assert_eq!(apply(now_ms), cases.map(|(_, stays)| stays[step]), "at {now_ms}");
    }
    assert_eq!(apply(10_000), [51; 8]);
    server.engine.stop();
}

/// A store that can read no register by its name.
struct RegistersDamaged(Arc<MemoryStore>);

impl Store for RegistersDamaged {
    fn submit(&self, request: StoreRequest, done: StoreDone) {
        let StoreRequest::Register(names) = request else { return self.0.submit(request, done) };
        let damaged = |(log, key)| Err(StoreError::CorruptRegister { log, key });
        done(Ok(StoreReply::Register(names.into_iter().map(damaged).collect())));
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }
}

#[test]
fn the_bounds_of_the_node_hold_where_a_setting_is_damaged() {
    let memory = Arc::new(MemoryStore::default());
    let log = chat(1, 2);
    fill(&*memory, log, 100);
    for (kept_ms_max, expected) in [(None, 0), (Some(300), 70)] {
        let store = Arc::new(RegistersDamaged(Arc::clone(&memory)));
        let (server, _clock) = engine(store, 1_000, (0, kept_ms_max));
        let apply = RetentionRequest::Apply { conversation: log };
        assert_eq!(retention(&server, apply), Ok(AdminReply::Done));
        assert_eq!(floor(&*memory, log), expected);
        server.engine.stop();
    }
}

#[test]
fn a_lower_cursor_is_accepted_when_its_message_has_expired() {
    let store = Arc::new(MemoryStore::default());
    let mut server = Server::with(2, Arc::clone(&store), |builder| builder);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut phone, mut other) = (server.live(ann), server.live(bob));
    let log = LogId::direct(ann, bob);
    for id in 1..=10 {
        other.send(ann, id, "hello");
    }
    let truncate = |below| delete(&*store, Deletion::Truncate { log, below });
    assert_eq!(phone.mark_read(log, 7), (7, 7));
    assert!(matches!(truncate(9), Deleted::Done { .. }));
    // What has expired is read to its end with any of it.
    for seq in [1, 6, 7, 8] {
        assert_eq!(phone.mark_read(log, seq), (8, 8), "{seq}");
    }
    assert_eq!(other.mark_read(log, 3), (8, 0));
    assert_eq!(phone.mark_read(log, 9), (9, 9));
    // All of it has expired.
    assert!(matches!(truncate(11), Deleted::Done { .. }));
    assert_eq!(phone.mark_read(log, 9), (10, 10));
    assert_eq!(other.mark_read(log, 10), (10, 0));
    server.engine.stop();
}

#[test]
fn what_is_too_old_expires_when_the_operator_says_so() {
    let store = Arc::new(MemoryStore::default());
    let (log, other) = (chat(1, 2), chat(1, 3));
    fill(&*store, log, 100);
    fill(&*store, other, 100);
    let (server, _clock) = engine(Arc::clone(&store), 1_000, (200, None));
    let apply = |conversation| retention(&server, RetentionRequest::Apply { conversation });
    let set = |kept_ms| retention(&server, RetentionRequest::Set { conversation: log, kept_ms });
    // For ever, unless it says otherwise.
    assert_eq!(apply(log), Ok(AdminReply::Done));
    assert_eq!(floor(&*store, log), 0);
    assert_eq!(set(Some(500)), Ok(AdminReply::Done));
    assert_eq!(apply(log), Ok(AdminReply::Done));
    assert_eq!(apply(other), Ok(AdminReply::Done));
    assert_eq!((floor(&*store, log), floor(&*store, other)), (50, 0));
    let page = ranges(&*store, vec![all(log)]).remove(0);
    assert_eq!(page.entries[0].meta.time_ms, 500);
    // Not sooner than the node allows; and what has expired does not come back.
    assert_eq!(set(Some(1)), Ok(AdminReply::Done));
    assert_eq!(apply(log), Ok(AdminReply::Done));
    assert_eq!(floor(&*store, log), 80);
    assert_eq!((set(None), apply(log)), (Ok(AdminReply::Done), Ok(AdminReply::Done)));
    assert_eq!(floor(&*store, log), 80);
    // Only conversations have messages.
    let no_conversation = LogId::account(user(1));
    let refused = apply(no_conversation);
    assert!(
        matches!(refused, Err(AdminError::Refused { code: ErrorCode::NoSuchConversation, .. })),
        "{refused:?}"
    );
    store.fail_appends(1, AppendFailure::Unknown { item: 0, stored: false });
    let refused = set(Some(7));
    assert!(
        matches!(refused, Err(AdminError::Refused { code: ErrorCode::StoreUnavailable, .. })),
        "{refused:?}"
    );
    server.engine.stop();
}

#[test]
fn clients_are_told_where_a_conversation_begins() {
    let clock = Arc::new(SetClock::at(1_000));
    let given = Arc::clone(&clock) as Arc<dyn Clock>;
    let store = Arc::new(MemoryStore::default());
    let mut server = Server::with(2, store, |builder| builder.clock(given));
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let log = LogId::direct(ann, bob);
    phone.send(bob, 1, "one");
    phone.send(bob, 2, "two");
    clock.set(2_000);
    // The time of a tick may be read before the clock is set.
    for id in 3..6 {
        phone.send(bob, id, "more");
    }
    let set = RetentionRequest::Set { conversation: log, kept_ms: Some(500) };
    assert_eq!(retention(&server, set), Ok(AdminReply::Done));
    let apply = RetentionRequest::Apply { conversation: log };
    assert_eq!(retention(&server, apply), Ok(AdminReply::Done));
    let page = phone.history(log);
    assert!(page.expired_below >= 3 && page.head == 5, "{page:?}");
    assert!(page.entries.iter().all(|entry| entry.seq >= page.expired_below), "{page:?}");
    let synced = server.client(bob).sync(Default::default());
    assert_eq!(synced.conversations.len(), 1);
    let state = &synced.conversations[0];
    assert_eq!((state.expired_below, state.head), (page.expired_below, 5));
    // It goes on.
    assert_eq!(phone.send(bob, 9, "on").seq, 6);
    server.engine.stop();
}

#[test]
fn what_fails_is_done_another_time() {
    let memory = Arc::new(MemoryStore::default());
    let log = chat(1, 2);
    fill(&*memory, log, 100);
    let rate = Rate::permille(300);
    let store = Arc::new(Failing::over(Arc::clone(&memory) as _, rate.clone(), 1));
    let (server, _clock) = engine(store, 1_000, (0, Some(300)));
    let apply = || retention(&server, RetentionRequest::Apply { conversation: log });
    // Whatever is answered meanwhile: never does anything expire that should not.
    for _ in 0..50 {
        let answer = apply();
        let failed =
            matches!(answer, Err(AdminError::Refused { code: ErrorCode::StoreUnavailable, .. }));
        assert!(answer == Ok(AdminReply::Done) || failed, "{answer:?}");
        assert!([0, 70].contains(&floor(&*memory, log)));
    }
    assert!(rate.struck() > 0);
    rate.set(0);
    assert_eq!((apply(), floor(&*memory, log)), (Ok(AdminReply::Done), 70));
    server.engine.stop();
}
