//! What is read, and how much of it.

use dunlin_protocol::{LogId, LogKind};

use super::ask::{heads, logs, range, write};
use super::sample::{all, chat, entry, entry_of, seqs, set, user};
use crate::store::{Head, Page, Range, Store, Write, Written};

pub(super) fn ranges_keep_their_limits(store: &dyn Store) {
    let log = chat(1, 2);
    let empty = range(store, all(log));
    assert_eq!(empty, Page::default());
    write(store, (1..=10).map(|seq| entry(log, seq, 0)).collect());
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

    let bytes = |seq| entry_of(&entry(log, seq, 0)).body.len();
    let of_bytes = |bytes_max, backwards| {
        let page = range(store, Range { bytes_max, backwards, ..all(log) });
        (seqs(&page), page.more)
    };
    assert_eq!(of_bytes(0, false), (vec![1], true));
    assert_eq!(of_bytes(bytes(1) + bytes(2), false), (vec![1, 2], true));
    assert_eq!(of_bytes(bytes(1) + bytes(2) - 1, false), (vec![1], true));
    assert_eq!(of_bytes(bytes(10) + bytes(9), true), (vec![10, 9], true));
}

pub(super) fn heads_tell_the_newest_numbers(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    write(store, vec![entry(log, 1, 0), entry(log, 2, 9)]);
    let newest = Head { seq: 2, meta: entry_of(&entry(log, 2, 9)).meta, ..Head::default() };
    assert_eq!(heads(store, vec![other, log]), [Head::default(), newest]);
    assert_eq!(heads(store, Vec::new()), []);
}

pub(super) fn logs_are_listed_by_kind_and_id(store: &dyn Store) {
    let chats: Vec<LogId> = (2..=6).map(|other| chat(1, other)).collect();
    let accounts: Vec<LogId> = (1..=3).map(|owner| LogId::account(user(owner))).collect();
    let all_logs = chats.iter().rev().chain(accounts.iter().rev());
    write(store, all_logs.map(|&log| entry(log, 1, 0)).collect());
    write(store, vec![entry(chats[3], 2, 0)]);
    write(store, vec![entry(LogId::identity(user(1)), 2, 0)]); // Refused: makes no log.
    let group = LogId::from_bytes(&[2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    let group = group.expect("an id of a group");
    write(store, vec![Write::registers(group, [set(1, "a")])]); // Registers make one as well.
    assert_eq!(logs(store, LogKind::Direct, None, 10), chats);
    assert_eq!(logs(store, LogKind::Direct, None, 2), chats[..2]);
    assert_eq!(logs(store, LogKind::Direct, Some(chats[1]), 2), chats[2..4]);
    assert_eq!(logs(store, LogKind::Direct, Some(chats[4]), 2), []);
    assert_eq!(logs(store, LogKind::Account, None, 10), accounts);
    assert_eq!(logs(store, LogKind::Account, Some(chats[0]), 10), accounts);
    assert_eq!(logs(store, LogKind::Identity, None, 10), []);
    assert_eq!(logs(store, LogKind::Group, None, 10), [group]);
    assert_eq!(logs(store, LogKind::Name, None, 10), []);
}

/// Whoever reads after an answer sees what it said, on whatever thread and by whatever question.
/// (A replica that lags behind would not do.)
pub(super) fn a_read_sees_what_was_stored_before(store: &dyn Store) {
    const ENTRIES: u64 = 50;
    let log = chat(1, 2);
    for seq in 1..=ENTRIES {
        assert_eq!(write(store, vec![entry(log, seq, 0)]), [Written::Stored { version: 0 }]);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(heads(store, vec![log])[0].seq, seq));
            scope.spawn(|| assert_eq!(seqs(&range(store, Range { from: seq, ..all(log) })), [seq]));
        });
    }
}
