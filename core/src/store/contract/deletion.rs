//! Deletion: what is in no answer any more, and what stays.

use super::ask::{delete, heads, ranges, register, registers, write, write_one};
use super::sample::{all, all_registers, chat, entry, entry_of, key, read, retry_of, seqs, set};
use crate::store::{
    Deleted, Deletion, EntryMeta, Head, Page, Range, Rule, RunningCounts, Set, Store, Write,
    Written,
};

fn page(store: &dyn Store, log: dunlin_protocol::LogId) -> Page {
    ranges(store, vec![all(log)]).remove(0)
}

pub(super) fn expired_entries_are_no_gap(store: &dyn Store) {
    let (log, none) = (chat(1, 2), chat(1, 3));
    write(store, (1..=6).map(|seq| entry(log, seq, 0)).collect());
    write(store, vec![Write::registers(log, [set(1, "a")])]);
    let whole = heads(store, vec![log])[0];
    // Nothing is below the first one.
    for below in [0, 1] {
        assert_eq!(delete(store, Deletion::Truncate { log, below }), Deleted::Done { head: whole });
    }
    let counts = |seq| RunningCounts::from(entry_of(&entry(log, seq, 0)).meta);
    let head = Head { expired_below: 4, expired: counts(3), ..whole };
    assert_eq!(delete(store, Deletion::Truncate { log, below: 4 }), Deleted::Done { head });
    assert_eq!((seqs(&page(store, log)), page(store, log).head), (vec![4, 5, 6], head));
    assert_eq!(heads(store, vec![log]), [head]);
    let of = |from, to, entries_max, backwards| {
        let range = Range { from, to, entries_max, backwards, ..all(log) };
        let page = ranges(store, vec![range]).remove(0);
        (seqs(&page), page.more)
    };
    assert_eq!(of(1, 3, 9, false), (vec![], false));
    assert_eq!(of(2, 5, 9, false), (vec![4, 5], false));
    assert_eq!(of(1, u64::MAX, 2, false), (vec![4, 5], true));
    assert_eq!(of(1, 4, 1, true), (vec![4], false));
    // It never goes back, and what was expired stays so.
    for below in [2, 4] {
        assert_eq!(delete(store, Deletion::Truncate { log, below }), Deleted::Done { head });
    }
    // Beyond the head it means all of them; the log goes on.
    let head = Head { expired_below: 7, expired: counts(6), ..whole };
    assert_eq!(delete(store, Deletion::Truncate { log, below: 99 }), Deleted::Done { head });
    assert_eq!(page(store, log), Page { head, ..Page::default() });
    assert!(
        matches!(write_one(store, entry(log, 1, 8)), Written::Conflict { head: found } if found == head)
    );
    assert_eq!(write_one(store, entry(log, 7, 8)), Written::Stored { version: 1 });
    assert_eq!(seqs(&page(store, log)), [7]);
    assert_eq!(read(&register(store, log, key(1))), (1, 1, Some("a")));
    // A log that never was does not begin by this.
    let head = Head::default();
    assert_eq!(delete(store, Deletion::Truncate { log: none, below: 9 }), Deleted::Done { head });
    assert_eq!(write_one(store, entry(none, 1, 0)), Written::Stored { version: 0 });
}

/// What was counted up to where a log begins, whoever has expired with it.
pub(super) fn what_has_expired_leaves_its_counts(store: &dyn Store) {
    let log = chat(1, 2);
    // Two who take turns, and every third entry counts for nobody.
    let metas: Vec<EntryMeta> = (1..=9)
        .map(|seq: u64| EntryMeta {
            time_ms: seq * 10,
            sender: 1 + seq % 2,
            counted: seq - seq / 3,
            sender_counted: seq / 2,
        })
        .collect();
    let numbered = |seq: u64| {
        let mut write = entry(log, seq, 0);
        write.entry.as_mut().expect("it writes an entry").meta = metas[seq as usize - 1];
        write
    };
    write(store, (1..=6).map(numbered).collect());
    assert_eq!(heads(store, vec![log])[0].expired, RunningCounts::default());
    let expect = |below: u64| {
        let head = heads(store, vec![log])[0];
        let expired = metas[below as usize - 2].into();
        assert_eq!((head.expired_below, head.expired), (below, expired));
        assert_eq!(page(store, log).head, head);
    };
    // An entry that was erased counts as it did; one that was just written as one from long ago.
    delete(store, Deletion::Erase { log, seq: 3 });
    for below in [2, 4, 6] {
        delete(store, Deletion::Truncate { log, below });
        expect(below);
        delete(store, Deletion::Truncate { log, below: below - 1 });
        expect(below);
    }
    write(store, vec![numbered(7)]);
    write(store, vec![Write::registers(log, [set(1, "a")])]);
    expect(6);
    delete(store, Deletion::Truncate { log, below: 99 });
    expect(8);
    write(store, vec![numbered(8), numbered(9)]);
    delete(store, Deletion::Drop { log });
    expect(10);
}

pub(super) fn an_erased_entry_keeps_all_but_its_body(store: &dyn Store) {
    let log = chat(1, 2);
    write(store, (1..=3).map(|seq| entry(log, seq, 0)).collect());
    let head = heads(store, vec![log])[0];
    let before = page(store, log);
    for _ in 0..2 {
        assert_eq!(delete(store, Deletion::Erase { log, seq: 2 }), Deleted::Done { head });
        let after = page(store, log);
        assert_eq!(seqs(&after), [1, 2, 3]);
        let erased = &after.entries[1];
        assert!(erased.erased && erased.body.is_empty(), "{erased:?}");
        assert_eq!(erased.meta, before.entries[1].meta);
        assert_eq!(
            (&after.entries[0], &after.entries[2]),
            (&before.entries[0], &before.entries[2])
        );
    }
    // No retry brings it back.
    let again = retry_of(entry(log, 4, 9), &entry(log, 2, 0));
    let digest = again.entry.as_ref().expect("it writes an entry").digest;
    assert_eq!(write_one(store, again), Written::Duplicate { seq: 2, digest });
    // The newest one can be erased like any other: the head does not need its body.
    assert_eq!(delete(store, Deletion::Erase { log, seq: 3 }), Deleted::Done { head });
    assert_eq!(heads(store, vec![log]), [head]);
    for seq in [0, 4, u64::MAX] {
        assert_eq!(delete(store, Deletion::Erase { log, seq }), Deleted::NoSuchEntry { head });
    }
    let expired = match delete(store, Deletion::Truncate { log, below: 3 }) {
        Deleted::Done { head } => head,
        other => panic!("not done: {other:?}"),
    };
    let gone = delete(store, Deletion::Erase { log, seq: 2 });
    assert_eq!(gone, Deleted::NoSuchEntry { head: expired });
    let (head, log) = (Head::default(), chat(1, 3));
    assert_eq!(delete(store, Deletion::Erase { log, seq: 1 }), Deleted::NoSuchEntry { head });
}

pub(super) fn a_dropped_log_goes_on_at_its_sequences(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    write(store, vec![entry(log, 1, 0), entry(log, 2, 0), entry(other, 1, 0)]);
    write(store, vec![Write::registers(log, [set(1, "a"), set(2, "b")])]);
    let before = heads(store, vec![log])[0];
    let expired = before.meta.into();
    let head = Head { version: 2, expired_below: 3, expired, ..before };
    // Again it does nothing: there is nothing.
    for _ in 0..2 {
        assert_eq!(delete(store, Deletion::Drop { log }), Deleted::Done { head });
    }
    assert_eq!(heads(store, vec![log, other]), [head, page(store, other).head]);
    assert_eq!(page(store, log), Page { head, ..Page::default() });
    assert_eq!(registers(store, all_registers(log)).registers, []);
    assert_eq!(read(&register(store, log, key(1))), (1, 0, None));
    // What is written now comes after it, and finds nothing of what was.
    assert!(matches!(write_one(store, entry(log, 1, 7)), Written::Conflict { .. }));
    let mut next = entry(log, 3, 7);
    next.sets.push(Set { rule: Rule::IfAbsent, ..set(1, "c") });
    assert_eq!(write_one(store, next), Written::Stored { version: 3 });
    assert_eq!(seqs(&page(store, log)), [3]);
    assert_eq!(read(&register(store, log, key(1))), (1, 3, Some("c")));
    assert_eq!(seqs(&page(store, other)), [1]);
    let (head, log) = (Head::default(), chat(1, 4));
    assert_eq!(delete(store, Deletion::Drop { log }), Deleted::Done { head });
}
