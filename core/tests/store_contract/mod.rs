//! What every implementation of `Store` must do, as one suite: each test of a store calls
//! [`check`] with a way to make an empty one.
#![allow(dead_code, reason = "each test of a store uses its part")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::store::{
    Append, Appended, CursorMove, DedupeKey, EntryMeta, Head, Page, Range, Store, StoreError,
    StoreReply, StoreRequest,
};
use dunlin_protocol::{ClientMessageId, LogId, LogKind, UserId};

/// Runs the whole suite, each part against a fresh store.
pub(crate) fn check(make: &dyn Fn() -> Arc<dyn Store>) {
    the_fence_orders_appends(&*make());
    a_batch_is_done_in_order(&*make());
    what_counts_on_a_duplicate_is_refused(&*make());
    a_key_is_used_once_in_its_log(&*make());
    ranges_keep_their_limits(&*make());
    heads_tell_the_newest_numbers(&*make());
    cursors_only_move_forwards(&*make());
    logs_are_listed_by_kind_and_id(&*make());
    many_threads_share_one_log(&*make());
}

/// Submits and waits. The deadline is only there so that a lost answer fails the test.
pub(crate) fn ask(store: &dyn Store, request: StoreRequest) -> Result<StoreReply, StoreError> {
    let (sender, receiver) = mpsc::channel();
    store.submit(request, Box::new(move |reply| sender.send(reply).unwrap()));
    receiver.recv_timeout(Duration::from_secs(60)).expect("the store answers every request")
}

pub(crate) fn append(store: &dyn Store, items: Vec<Append>) -> Vec<Appended> {
    match ask(store, StoreRequest::Append(items)) {
        Ok(StoreReply::Appended(answers)) => answers,
        other => panic!("not an answer to an append: {other:?}"),
    }
}

pub(crate) fn range(store: &dyn Store, range: Range) -> Page {
    match ask(store, StoreRequest::Range(range)) {
        Ok(StoreReply::Page(page)) => page,
        other => panic!("not an answer to a range: {other:?}"),
    }
}

pub(crate) fn heads(store: &dyn Store, logs: Vec<LogId>) -> Vec<Head> {
    match ask(store, StoreRequest::Heads(logs)) {
        Ok(StoreReply::Heads(heads)) => heads,
        other => panic!("not an answer to heads: {other:?}"),
    }
}

pub(crate) fn cursors(store: &dyn Store, questions: Vec<(LogId, UserId)>) -> Vec<u64> {
    match ask(store, StoreRequest::Cursors(questions)) {
        Ok(StoreReply::Cursors(cursors)) => cursors,
        other => panic!("not an answer to cursors: {other:?}"),
    }
}

pub(crate) fn logs(
    store: &dyn Store,
    kind: LogKind,
    after: Option<LogId>,
    limit: usize,
) -> Vec<LogId> {
    match ask(store, StoreRequest::Logs { kind, after, limit }) {
        Ok(StoreReply::Logs(logs)) => logs,
        other => panic!("not an answer to logs: {other:?}"),
    }
}

pub(crate) fn user(number: u64) -> UserId {
    UserId::new(number).unwrap()
}

pub(crate) fn chat(one: u64, other: u64) -> LogId {
    LogId::direct(user(one), user(other))
}

/// An entry whose every part follows from its log, its sequence and a salt.
pub(crate) fn item(log: LogId, seq: u64, salt: u64) -> Append {
    Append { key: Some(key(log, seq, salt)), digest: salt ^ seq, ..plain(log, seq, salt) }
}

/// The same without a key.
pub(crate) fn plain(log: LogId, seq: u64, salt: u64) -> Append {
    let body = format!("{log}/{seq}/{salt}").repeat(1 + (seq % 3) as usize);
    let meta = EntryMeta { time_ms: seq * 10, sender: salt, counted: seq, sender_counted: 1 };
    Append { log, seq, meta, key: None, digest: 0, cursor: None, body: Bytes::from(body) }
}

pub(crate) fn key(log: LogId, seq: u64, salt: u64) -> DedupeKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seq.to_be_bytes());
    id[8..].copy_from_slice(&salt.to_be_bytes());
    id[0] ^= log.as_bytes()[15];
    DedupeKey { sender: user(1 + salt), client_message_id: ClientMessageId(id) }
}

/// All of a log, upwards.
pub(crate) fn all(log: LogId) -> Range {
    let (entries_max, bytes_max) = (usize::MAX, usize::MAX);
    Range { log, from: 1, to: u64::MAX, entries_max, bytes_max, backwards: false }
}

/// The sequences of a page.
pub(crate) fn seqs(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq).collect()
}

fn the_fence_orders_appends(store: &dyn Store) {
    let log = chat(1, 2);
    assert_ne!(store.epoch(), 0);
    let empty = Head::default();
    assert_eq!(append(store, vec![plain(log, 0, 0)]), [Appended::Conflict { head: empty }]);
    assert_eq!(append(store, vec![plain(log, 2, 0)]), [Appended::Conflict { head: empty }]);
    assert_eq!(append(store, vec![plain(log, 1, 0)]), [Appended::Stored]);
    let head = Head { seq: 1, meta: plain(log, 1, 0).meta };
    assert_eq!(append(store, vec![plain(log, 1, 5)]), [Appended::Conflict { head }]);
    assert_eq!(append(store, vec![plain(log, 3, 5)]), [Appended::Conflict { head }]);
    assert_eq!(append(store, vec![plain(log, 2, 5)]), [Appended::Stored]);
    assert_eq!(append(store, Vec::new()), []);
    let page = range(store, all(log));
    assert_eq!(seqs(&page), [1, 2]);
    for (entry, salt) in page.entries.iter().zip([0, 5]) {
        let stored = plain(log, entry.seq, salt);
        assert_eq!((&entry.body, entry.meta), (&stored.body, stored.meta));
    }
}

fn what_counts_on_a_duplicate_is_refused(store: &dyn Store) {
    let log = chat(1, 2);
    append(store, vec![item(log, 1, 0), item(log, 2, 7)]);
    // Numbered when the head was 1: meanwhile another appender has stored something at 2. The
    // first is a retry; the second would fit, but its counts stand on the first one being at 2.
    let batch = vec![item(log, 2, 0).with_key_of(&item(log, 1, 0)), item(log, 3, 0)];
    let head = Head { seq: 2, meta: item(log, 2, 7).meta };
    let duplicate = Appended::Duplicate { seq: 1, digest: item(log, 1, 0).digest };
    assert_eq!(append(store, batch), [duplicate, Appended::Conflict { head }]);
    assert_eq!(append(store, vec![item(log, 3, 0)]), [Appended::Stored]);
}

fn a_batch_is_done_in_order(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    let batch = vec![
        item(log, 1, 0),
        item(other, 1, 0),
        item(log, 3, 0), // A hole: refused ...
        item(log, 4, 0), // ... and so is what builds on it,
        item(log, 2, 7), // even what fits by chance: it was numbered without knowing the head.
        item(other, 2, 0),
        item(other, 9, 0).with_key_of(&item(other, 2, 0)), // A retry within the batch.
        item(log, 9, 0).with_key_of(&item(log, 1, 0)),     // A retry in a log that was refused.
    ];
    let head = Head { seq: 1, meta: item(log, 1, 0).meta };
    let expected = [
        Appended::Stored,
        Appended::Stored,
        Appended::Conflict { head },
        Appended::Conflict { head },
        Appended::Conflict { head },
        Appended::Stored,
        Appended::Duplicate { seq: 2, digest: item(other, 2, 0).digest },
        Appended::Duplicate { seq: 1, digest: item(log, 1, 0).digest },
    ];
    assert_eq!(append(store, batch), expected);
    assert_eq!(append(store, vec![item(log, 2, 7)]), [Appended::Stored]);
    assert_eq!(seqs(&range(store, all(log))), [1, 2]);
    assert_eq!(seqs(&range(store, all(other))), [1, 2]);
}

trait WithKey {
    fn with_key_of(self, other: &Append) -> Append;
}

impl WithKey for Append {
    fn with_key_of(self, other: &Append) -> Append {
        Append { key: other.key, digest: other.digest, ..self }
    }
}

fn a_key_is_used_once_in_its_log(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    let first = item(log, 1, 3);
    assert_eq!(append(store, vec![first.clone()]), [Appended::Stored]);
    let duplicate = [Appended::Duplicate { seq: 1, digest: first.digest }];
    for seq in [0, 1, 2, 3] {
        // The key is looked at before the sequence.
        let retry = Append { digest: 99, ..item(log, seq, 3).with_key_of(&first) };
        assert_eq!(append(store, vec![Append { digest: 99, ..retry }]), duplicate);
    }
    // A refused append uses no key up, and a key belongs to one log and one sender.
    let refused = item(log, 5, 4);
    assert!(matches!(append(store, vec![refused.clone()])[..], [Appended::Conflict { .. }]));
    let again = item(log, 2, 4).with_key_of(&refused);
    let mut of_another_sender = item(log, 3, 3).with_key_of(&first);
    of_another_sender.key.as_mut().unwrap().sender = user(77);
    let in_another_log = item(other, 1, 3).with_key_of(&first);
    let batch = vec![again, of_another_sender, in_another_log];
    assert_eq!(append(store, batch), [Appended::Stored; 3]);
    // Two entries without a key are never duplicates.
    assert_eq!(append(store, vec![plain(log, 4, 3), plain(log, 5, 3)]), [Appended::Stored; 2]);
}

fn ranges_keep_their_limits(store: &dyn Store) {
    let log = chat(1, 2);
    let empty = range(store, all(log));
    assert_eq!(empty, Page::default());
    append(store, (1..=10).map(|seq| item(log, seq, 0)).collect());
    let of = |from, to, entries_max, backwards| {
        let page = range(store, Range { from, to, entries_max, backwards, ..all(log) });
        assert_eq!(page.head.seq, 10);
        (seqs(&page), page.more)
    };
    assert_eq!(of(3, 5, 10, false), (vec![3, 4, 5], false));
    assert_eq!(of(3, 5, 10, true), (vec![5, 4, 3], false));
    assert_eq!(of(3, 5, 2, false), (vec![3, 4], true));
    assert_eq!(of(3, 5, 2, true), (vec![5, 4], true));
    assert_eq!(of(8, u64::MAX, 3, true), (vec![10, 9, 8], false));
    assert_eq!(of(0, 2, 3, false), (vec![1, 2], false));
    assert_eq!(of(11, 20, 3, false), (vec![], false));
    assert_eq!(of(5, 4, 3, false), (vec![], false));
    assert_eq!(of(1, 4, 0, false), (vec![], true));

    let bytes = |seq| item(log, seq, 0).body.len();
    let of_bytes = |bytes_max, backwards| {
        let page = range(store, Range { bytes_max, backwards, ..all(log) });
        (seqs(&page), page.more)
    };
    assert_eq!(of_bytes(0, false), (vec![1], true));
    assert_eq!(of_bytes(bytes(1) + bytes(2), false), (vec![1, 2], true));
    assert_eq!(of_bytes(bytes(1) + bytes(2) - 1, false), (vec![1], true));
    assert_eq!(of_bytes(bytes(10) + bytes(9), true), (vec![10, 9], true));
}

fn heads_tell_the_newest_numbers(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    append(store, vec![item(log, 1, 0), item(log, 2, 9)]);
    let newest = Head { seq: 2, meta: item(log, 2, 9).meta };
    assert_eq!(heads(store, vec![other, log]), [Head::default(), newest]);
    assert_eq!(heads(store, Vec::new()), []);
}

fn cursors_only_move_forwards(store: &dyn Store) {
    let (log, account, reader) = (chat(1, 2), LogId::account(user(1)), user(1));
    let question = vec![(log, reader), (log, user(2)), (chat(1, 3), reader)];
    assert_eq!(cursors(store, question.clone()), [0, 0, 0]);
    let moved = |seq, to| {
        let cursor = Some(CursorMove { conversation: log, user: reader, seq: to });
        Append { cursor, ..item(account, seq, 0) }
    };
    append(store, vec![moved(1, 5)]);
    assert_eq!(cursors(store, question.clone()), [5, 0, 0]);
    append(store, vec![moved(2, 3), moved(9, 8)]); // Backwards; refused.
    assert_eq!(cursors(store, question.clone()), [5, 0, 0]);
    append(store, vec![moved(3, 7)]);
    assert_eq!(cursors(store, question), [7, 0, 0]);
}

fn logs_are_listed_by_kind_and_id(store: &dyn Store) {
    let chats: Vec<LogId> = (2..=6).map(|other| chat(1, other)).collect();
    let accounts: Vec<LogId> = (1..=3).map(|owner| LogId::account(user(owner))).collect();
    let all_logs = chats.iter().rev().chain(accounts.iter().rev());
    append(store, all_logs.map(|&log| item(log, 1, 0)).collect());
    append(store, vec![item(chats[3], 2, 0)]);
    append(store, vec![item(LogId::identity(user(1)), 2, 0)]); // Refused: makes no log.
    assert_eq!(logs(store, LogKind::Direct, None, 10), chats);
    assert_eq!(logs(store, LogKind::Direct, None, 2), chats[..2]);
    assert_eq!(logs(store, LogKind::Direct, Some(chats[1]), 2), chats[2..4]);
    assert_eq!(logs(store, LogKind::Direct, Some(chats[4]), 2), []);
    assert_eq!(logs(store, LogKind::Account, None, 10), accounts);
    assert_eq!(logs(store, LogKind::Account, Some(chats[0]), 10), accounts);
    assert_eq!(logs(store, LogKind::Identity, None, 10), []);
    assert_eq!(logs(store, LogKind::Group, None, 10), []);
    assert_eq!(logs(store, LogKind::Name, None, 10), []);
}

/// Four threads append to one log, each retrying at the head that a conflict told: the log ends
/// up dense, and each thread's entries are in the order in which it sent them.
fn many_threads_share_one_log(store: &dyn Store) {
    const EACH: u64 = 50;
    let log = chat(1, 2);
    std::thread::scope(|scope| {
        for salt in 0..4 {
            scope.spawn(move || append_at_whatever_head(store, log, salt, EACH));
        }
    });
    let page = range(store, all(log));
    assert_eq!(seqs(&page), (1..=4 * EACH).collect::<Vec<_>>());
    for salt in 0..4 {
        let own = page.entries.iter().filter(|entry| entry.meta.sender == salt);
        let numbers: Vec<u64> = own.map(|entry| entry.meta.time_ms).collect();
        assert_eq!(numbers, (1..=EACH).map(|number| number * 10).collect::<Vec<_>>());
    }
}

fn append_at_whatever_head(store: &dyn Store, log: LogId, salt: u64, entries: u64) {
    let mut seq = 1;
    for number in 1..=entries {
        loop {
            let entry = Append { seq, ..item(log, number, salt) };
            match append(store, vec![entry])[..] {
                [Appended::Stored] => break seq += 1,
                [Appended::Conflict { head }] => seq = head.seq + 1,
                ref other => panic!("neither stored nor a conflict: {other:?}"),
            }
        }
    }
}
