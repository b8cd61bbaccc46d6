//! Moments: which logs have changed since one, and which entries came after it.

use dunlin_protocol::LogId;

use super::ask::{ask, changed, delete, heads, now, range, ranges, write, write_one};
use super::sample::{all, chat, entry, key, seqs, set};
use crate::store::{
    Deletion, Head, Moment, Range, Set, Store, StoreError, StoreReply, StoreRequest, Write,
};

/// The numbers of those of these logs that are told to have changed, each of which has its head.
fn told(store: &dyn Store, logs: &[LogId], since: Option<Moment>) -> Vec<u32> {
    let answer = changed(store, logs.to_vec(), since);
    let told: Vec<u32> = answer.iter().map(|(place, _)| *place).collect();
    assert!(told.is_sorted_by(|one, other| one < other), "each once, ascending: {told:?}");
    let logs = told.iter().map(|place| logs[*place as usize]).collect();
    let known: Vec<Head> = answer.into_iter().map(|(_, head)| head).collect();
    assert_eq!(known, heads(store, logs));
    told
}

pub(super) fn what_has_changed_since_a_moment_is_told(store: &dyn Store) {
    let logs: Vec<LogId> = (2..=9).map(|other| chat(1, other)).collect();
    let nothing: [u32; 0] = [];
    let empty = now(store);
    assert_eq!(told(store, &logs, None), nothing);
    assert_eq!(told(store, &logs, Some(empty)), nothing);
    write(store, vec![entry(logs[0], 1, 0), entry(logs[3], 1, 0)]);
    write(store, vec![Write::registers(logs[5], [set(1, "a")])]);
    let before = now(store);
    assert_eq!(told(store, &logs, None), [0, 3, 5]);
    assert_eq!(told(store, &logs, Some(empty)), [0, 3, 5]);
    assert_eq!(told(store, &logs, Some(before)), nothing);
    // An entry, a register that is set or removed, a log that begins; what is refused changes nothing.
    write(store, vec![entry(logs[0], 2, 0), entry(logs[3], 7, 0)]);
    write(store, vec![Write::registers(logs[5], [Set::removal(key(1))])]);
    write(store, vec![Write::registers(logs[7], [set(1, "a")])]);
    assert_eq!(told(store, &logs, Some(before)), [0, 5, 7]);
    assert_eq!(told(store, &logs, Some(empty)), [0, 3, 5, 7]);
    let (all, after) = (now(store), now(store));
    for moment in [all, after] {
        assert_eq!(told(store, &logs, Some(moment)), nothing);
    }
    // In any order, twice, and none.
    assert_eq!(told(store, &[logs[7], logs[1], logs[0], logs[7]], Some(before)), [0, 2, 3]);
    assert_eq!(told(store, &[], Some(before)), nothing);
}

/// Each moment is good for as long as whoever has it is away.
pub(super) fn a_moment_is_passed_on_from_answer_to_answer(store: &dyn Store) {
    let logs: Vec<LogId> = (2..=41).map(|other| chat(1, other)).collect();
    let mut moments = vec![now(store)];
    for log in &logs {
        write(store, vec![entry(*log, 1, 0)]);
        moments.push(now(store));
    }
    for (step, moment) in moments.iter().enumerate() {
        let expected: Vec<u32> = (step as u32..logs.len() as u32).collect();
        assert_eq!(told(store, &logs, Some(*moment)), expected, "since step {step}");
    }
}

pub(super) fn deletions_are_changes(store: &dyn Store) {
    let logs: Vec<LogId> = (2..=5).map(|other| chat(1, other)).collect();
    for log in &logs {
        write(store, vec![entry(*log, 1, 0), entry(*log, 2, 0), entry(*log, 3, 0)]);
    }
    let before = now(store);
    delete(store, Deletion::Truncate { log: logs[0], below: 2 });
    delete(store, Deletion::Erase { log: logs[1], seq: 2 });
    delete(store, Deletion::Drop { log: logs[2] });
    // The last one may be told as well: a store may not be able to tell apart what it has deleted.
    assert!(told(store, &logs, Some(before)).starts_with(&[0, 1, 2]));
    assert!(told(store, &logs, Some(now(store))).is_empty());
}

pub(super) fn a_range_begins_after_a_moment(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    let empty = now(store);
    write(store, vec![entry(log, 1, 0), entry(log, 2, 0), entry(other, 1, 0)]);
    let before = now(store);
    write(store, vec![entry(log, 3, 0), entry(log, 4, 0)]);
    write(store, vec![Write::registers(log, [set(1, "a")])]);
    let after = now(store);
    let head = heads(store, vec![log])[0];
    let of = |since, changed: Range| {
        let page = range(store, Range { since: Some(since), ..changed });
        assert_eq!(page.head, head);
        (seqs(&page), page.more)
    };
    let log = all(log);
    assert_eq!(of(empty, log), (vec![1, 2, 3, 4], false));
    assert_eq!(of(before, log), (vec![3, 4], false));
    assert_eq!(of(after, log), (vec![], false));
    assert_eq!(of(before, Range { from: 4, ..log }), (vec![4], false));
    assert_eq!(of(before, Range { to: 2, ..log }), (vec![], false));
    assert_eq!(of(before, Range { entries_max: 1, ..log }), (vec![3], true));
    let backwards = Range { backwards: true, ..log };
    assert_eq!(of(before, backwards), (vec![4, 3], false));
    assert_eq!(of(before, Range { entries_max: 1, ..backwards }), (vec![4], true));
    let pages = ranges(store, vec![Range { since: Some(before), ..all(other) }, log]);
    assert_eq!((seqs(&pages[0]), seqs(&pages[1])), (vec![], vec![1, 2, 3, 4]));
}

pub(super) fn a_moment_of_nowhere_is_unknown(store: &dyn Store) {
    let log = chat(1, 2);
    write_one(store, entry(log, 1, 0));
    let good = now(store);
    let mut bad: Vec<Vec<u8>> = vec![vec![], vec![0], vec![255; 32]];
    // Cut short or lengthened it is none.
    bad.push(good.as_bytes()[..good.as_bytes().len() - 1].to_vec());
    bad.push([good.as_bytes(), &[0]].concat());
    bad.retain(|bytes| bytes != good.as_bytes());
    for bytes in bad {
        let Some(since) = Moment::from_bytes(&bytes) else { continue };
        let logs = vec![log];
        let answer = ask(store, StoreRequest::Changed { logs, since: Some(since) });
        assert_eq!(answer, Err(StoreError::MomentUnknown), "{since:?}");
        let page = ask(store, StoreRequest::Ranges(vec![Range { since: Some(since), ..all(log) }]));
        assert_eq!(page, Ok(StoreReply::Pages(vec![Err(StoreError::MomentUnknown)])), "{since:?}");
    }
}
