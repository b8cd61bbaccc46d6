//! Entries: their order, their keys, and what becomes of those behind one that is refused.

use super::ask::{delete, heads, keyed, ranges, write, write_one};
use super::sample::{all, chat, entry, entry_of, plain_entry, retry_of, seqs, set_if, user};
use crate::store::{
    DedupeKey, Deletion, EntryMeta, Fence, Head, KeyedEntry, Page, Rule, Store, Write, Written,
};

const STORED: Written = Written::Stored { version: 0 };

/// The head of a log that ends with this entry.
fn head_after(write: &Write) -> Head {
    let entry = entry_of(write);
    Head { seq: entry.seq, meta: entry.meta, ..Head::default() }
}

fn digest(write: &Write) -> u64 {
    entry_of(write).digest
}

fn page(store: &dyn Store, log: dunlin_protocol::LogId) -> Page {
    ranges(store, vec![all(log)]).remove(0)
}

pub(super) fn sequences_are_dense(store: &dyn Store) {
    let log = chat(1, 2);
    assert_ne!(store.epoch(), 0);
    let empty = Written::Conflict { head: Head::default() };
    assert_eq!(write_one(store, plain_entry(log, 0, 0)), empty);
    assert_eq!(write_one(store, plain_entry(log, 2, 0)), empty);
    assert_eq!(write(store, vec![plain_entry(log, 1, 0)]), [STORED]);
    let conflict = Written::Conflict { head: head_after(&plain_entry(log, 1, 0)) };
    for seq in [0, 1, 3, u64::MAX] {
        assert_eq!(write_one(store, plain_entry(log, seq, 5)), conflict, "at {seq}");
    }
    assert_eq!(write(store, vec![plain_entry(log, 2, 5)]), [STORED]);
    assert_eq!(write(store, Vec::new()), []);
    let page = page(store, log);
    assert_eq!(seqs(&page), [1, 2]);
    for (read, salt) in page.entries.iter().zip([0, 5]) {
        let stored = plain_entry(log, read.seq, salt).entry.expect("it writes an entry");
        assert_eq!((&read.body, read.meta, read.erased), (&stored.body, stored.meta, false));
    }
}

pub(super) fn the_entries_of_a_batch_are_done_in_order(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    let batch = vec![
        entry(log, 1, 0),
        entry(other, 1, 0),
        entry(log, 3, 0), // A hole: refused ...
        entry(log, 4, 0), // ... and so is what builds on it,
        entry(log, 2, 7), // even what fits by chance: it was numbered without knowing the head.
        entry(other, 2, 0),
        retry_of(entry(other, 9, 0), &entry(other, 2, 0)), // A retry within the batch.
        retry_of(entry(log, 9, 0), &entry(log, 1, 0)),     // A retry in a log that was refused.
    ];
    let conflict = || Written::Conflict { head: head_after(&entry(log, 1, 0)) };
    let expected = [
        STORED,
        STORED,
        conflict(),
        conflict(),
        conflict(),
        STORED,
        Written::Duplicate { seq: 2, digest: digest(&entry(other, 2, 0)) },
        Written::Duplicate { seq: 1, digest: digest(&entry(log, 1, 0)) },
    ];
    assert_eq!(write(store, batch), expected);
    assert_eq!(write(store, vec![entry(log, 2, 7)]), [STORED]);
    assert_eq!(seqs(&page(store, log)), [1, 2]);
    assert_eq!(seqs(&page(store, other)), [1, 2]);
}

pub(super) fn what_counts_on_a_refused_entry_is_refused(store: &dyn Store) {
    let log = chat(1, 2);
    write(store, vec![entry(log, 1, 0), entry(log, 2, 7)]);
    let conflict = |last: &Write| Written::Conflict { head: head_after(last) };
    // Numbered when the head was 1: meanwhile somebody else has stored something at 2. The first is
    // a retry; the second would fit, but its counts stand on the first one being at 2.
    let batch = vec![retry_of(entry(log, 2, 0), &entry(log, 1, 0)), entry(log, 3, 0)];
    let duplicate = Written::Duplicate { seq: 1, digest: digest(&entry(log, 1, 0)) };
    assert_eq!(write(store, batch), [duplicate, conflict(&entry(log, 2, 7))]);
    assert_eq!(write(store, vec![entry(log, 3, 0)]), [STORED]);

    // Why it was refused does not matter.
    let mut unmet = entry(log, 4, 0);
    unmet.sets.push(set_if(1, "a", Rule::IfVersion(9)));
    let answers = write(store, vec![unmet, entry(log, 4, 1)]);
    assert!(matches!(answers[0], Written::Unmet { set: 0, .. }), "{answers:?}");
    assert_eq!(answers[1], conflict(&entry(log, 3, 0)));

    // Registers alone are judged for themselves, and nothing counts on them.
    let fence = Fence { version: Some(9), ..Fence::default() };
    let refused = Write { fence, ..Write::registers(log, [set_if(1, "a", Rule::Always)]) };
    let answers = write(store, vec![refused, entry(log, 4, 2)]);
    assert!(matches!(answers[..], [Written::Conflict { .. }, Written::Stored { .. }]));
}

pub(super) fn a_key_is_used_once_in_a_log(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    let first = entry(log, 1, 3);
    assert_eq!(write(store, vec![first.clone()]), [STORED]);
    let duplicate = Written::Duplicate { seq: 1, digest: digest(&first) };
    for seq in [0, 1, 2, 3] {
        // The key is looked at before the sequence, the fence and the rules, and the digest is that
        // of the first one.
        let mut again = retry_of(entry(log, seq, 3), &first);
        again.entry.as_mut().expect("it writes an entry").digest = 99;
        assert_eq!(write_one(store, again.clone()), duplicate);
        again.fence = Fence { head: Some(7), version: Some(7) };
        again.sets.push(set_if(1, "a", Rule::IfVersion(9)));
        assert_eq!(write_one(store, again), duplicate);
    }
    // A refused entry uses no key up, and a key belongs to one log and one sender.
    let refused = entry(log, 5, 4);
    assert!(matches!(write_one(store, refused.clone()), Written::Conflict { .. }));
    let again = retry_of(entry(log, 2, 4), &refused);
    let mut of_another_sender = retry_of(entry(log, 3, 3), &first);
    let of_another = of_another_sender.entry.as_mut().and_then(|entry| entry.key.as_mut());
    of_another.expect("it has a key").sender = user(77);
    let in_another_log = retry_of(entry(other, 1, 3), &first);
    let batch = vec![again, of_another_sender, in_another_log];
    assert_eq!(write(store, batch), [STORED; 3]);
    // Two entries without a key are never duplicates.
    assert_eq!(write(store, vec![plain_entry(log, 4, 3), plain_entry(log, 5, 3)]), [STORED; 2]);
}

pub(super) fn an_entry_is_found_by_its_key(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    write(
        store,
        vec![entry(log, 1, 3), plain_entry(log, 2, 3), entry(log, 3, 3), entry(other, 1, 3)],
    );
    let key_of = |write: &Write| entry_of(write).key.expect("it has a key");
    let at = |write: &Write| {
        let seq = entry_of(write).seq;
        Some(KeyedEntry { seq, digest: digest(write) })
    };
    let (first, third, of_other) = (entry(log, 1, 3), entry(log, 3, 3), entry(other, 1, 3));
    let of_another_sender = DedupeKey { sender: user(77), ..key_of(&first) };
    let asked = vec![
        (log, key_of(&third)),
        (log, key_of(&entry(log, 2, 3))),
        (log, key_of(&first)),
        (other, key_of(&of_other)),
        // A key belongs to one log and one sender.
        (other, key_of(&first)),
        (log, of_another_sender),
        (chat(1, 4), key_of(&first)),
    ];
    let expected = [at(&third), None, at(&first), at(&of_other), None, None, None];
    assert_eq!(keyed(store, asked), expected);
    assert_eq!(keyed(store, Vec::new()), []);
    // An erased entry is there; one that has expired is not.
    delete(store, Deletion::Erase { log, seq: 1 });
    assert_eq!(keyed(store, vec![(log, key_of(&first))]), [at(&first)]);
    delete(store, Deletion::Truncate { log, below: 2 });
    let both = vec![(log, key_of(&first)), (log, key_of(&third))];
    assert_eq!(keyed(store, both), [None, at(&third)]);
}

pub(super) fn ranges_of_several_logs_are_one_question(store: &dyn Store) {
    let (log, other, none) = (chat(1, 2), chat(1, 3), chat(1, 4));
    write(store, vec![entry(log, 1, 0), entry(log, 2, 0), entry(log, 3, 0), entry(other, 1, 5)]);
    let asked = vec![
        crate::store::Range { from: 2, ..all(log) },
        all(none),
        all(other),
        crate::store::Range { entries_max: 1, backwards: true, ..all(log) },
    ];
    let pages = ranges(store, asked);
    let read = |page: &Page| (seqs(page), page.head.seq, page.more);
    let expected =
        [(vec![2, 3], 3, false), (vec![], 0, false), (vec![1], 1, false), (vec![3], 3, true)];
    assert_eq!(pages.iter().map(read).collect::<Vec<_>>(), expected);
    assert_eq!(ranges(store, Vec::new()), []);
    assert_eq!(heads(store, vec![none])[0].meta, EntryMeta::default());
}
