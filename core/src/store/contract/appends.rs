//! The fence, the keys and the cursors.

use dunlin_protocol::LogId;

use super::ask::{append, cursors, range};
use super::sample::{all, chat, item, plain, retry, seqs, user};
use crate::store::{Append, Appended, CursorMove, Head, Store};

pub(super) fn the_fence_orders_appends(store: &dyn Store) {
    let log = chat(1, 2);
    assert_ne!(store.epoch(), 0);
    let empty = Head::default();
    assert_eq!(append(store, vec![plain(log, 0, 0)]), [Appended::Conflict { head: empty }]);
    assert_eq!(append(store, vec![plain(log, 2, 0)]), [Appended::Conflict { head: empty }]);
    assert_eq!(append(store, vec![plain(log, 1, 0)]), [Appended::Stored]);
    let head = Head { seq: 1, meta: plain(log, 1, 0).meta, ..Head::default() };
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

pub(super) fn what_counts_on_a_duplicate_is_refused(store: &dyn Store) {
    let log = chat(1, 2);
    append(store, vec![item(log, 1, 0), item(log, 2, 7)]);
    // Numbered when the head was 1: meanwhile another appender has stored something at 2. The
    // first is a retry; the second would fit, but its counts stand on the first one being at 2.
    let batch = vec![retry(item(log, 2, 0), &item(log, 1, 0)), item(log, 3, 0)];
    let head = Head { seq: 2, meta: item(log, 2, 7).meta, ..Head::default() };
    let duplicate = Appended::Duplicate { seq: 1, digest: item(log, 1, 0).digest };
    assert_eq!(append(store, batch), [duplicate, Appended::Conflict { head }]);
    assert_eq!(append(store, vec![item(log, 3, 0)]), [Appended::Stored]);
}

pub(super) fn a_batch_is_done_in_order(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    let batch = vec![
        item(log, 1, 0),
        item(other, 1, 0),
        item(log, 3, 0), // A hole: refused ...
        item(log, 4, 0), // ... and so is what builds on it,
        item(log, 2, 7), // even what fits by chance: it was numbered without knowing the head.
        item(other, 2, 0),
        retry(item(other, 9, 0), &item(other, 2, 0)), // A retry within the batch.
        retry(item(log, 9, 0), &item(log, 1, 0)),     // A retry in a log that was refused.
    ];
    let head = Head { seq: 1, meta: item(log, 1, 0).meta, ..Head::default() };
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

pub(super) fn a_key_is_used_once_in_its_log(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    let first = item(log, 1, 3);
    assert_eq!(append(store, vec![first.clone()]), [Appended::Stored]);
    let duplicate = [Appended::Duplicate { seq: 1, digest: first.digest }];
    for seq in [0, 1, 2, 3] {
        // The key is looked at before the sequence, and the digest is that of the first one.
        let again = Append { digest: 99, ..retry(item(log, seq, 3), &first) };
        assert_eq!(append(store, vec![again]), duplicate);
    }
    // A refused append uses no key up, and a key belongs to one log and one sender.
    let refused = item(log, 5, 4);
    assert!(matches!(append(store, vec![refused.clone()])[..], [Appended::Conflict { .. }]));
    let again = retry(item(log, 2, 4), &refused);
    let mut of_another_sender = retry(item(log, 3, 3), &first);
    of_another_sender.key.as_mut().expect("it has one").sender = user(77);
    let in_another_log = retry(item(other, 1, 3), &first);
    let batch = vec![again, of_another_sender, in_another_log];
    assert_eq!(append(store, batch), [Appended::Stored; 3]);
    // Two entries without a key are never duplicates.
    assert_eq!(append(store, vec![plain(log, 4, 3), plain(log, 5, 3)]), [Appended::Stored; 2]);
}

pub(super) fn cursors_only_move_forwards(store: &dyn Store) {
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
