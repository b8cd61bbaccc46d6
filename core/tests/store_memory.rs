//! The store in memory keeps the contract, and fails when it is told to.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_core::store::contract::ask::{ask, changes, heads, write};
use dunlin_core::store::contract::sample::{chat, entry};
use dunlin_core::store::contract::{self, Answers};
use dunlin_core::store::memory::{AppendFailure, MemoryStore};
use dunlin_core::store::{ChangeRange, RegisterKey, Set, StoreError, StoreRequest, Write, Written};

#[test]
fn it_keeps_the_contract() {
    contract::check(Answers::Within, &|| Arc::new(MemoryStore::default()));
}

#[test]
fn ordered_failures_happen_once_and_in_order() {
    let store = MemoryStore::new(7);
    let log = chat(1, 2);
    store.fail_appends(1, AppendFailure::NotStored);
    store.fail_appends(1, AppendFailure::AnswerLost);
    let request = || StoreRequest::Write(vec![entry(log, 1, 0)]);

    assert!(matches!(ask(&store, request()), Err(StoreError::Unavailable { .. })));
    assert_eq!(heads(&store, vec![log])[0].seq, 0);
    assert!(matches!(ask(&store, request()), Err(StoreError::Unavailable { .. })));
    assert_eq!(heads(&store, vec![log])[0].seq, 1);
    let digest = entry(log, 1, 0).entry.unwrap().digest;
    assert_eq!(write(&store, vec![entry(log, 1, 0)]), [Written::Duplicate { seq: 1, digest }]);

    store.fail_appends(3, AppendFailure::NotStored);
    store.heal();
    assert_eq!(write(&store, vec![entry(log, 2, 0)]), [Written::Stored { version: 0 }]);
    assert_eq!(store.entries(), 2);
}

#[test]
fn a_completion_may_submit_again() {
    let store = Arc::new(MemoryStore::default());
    let (sender, receiver) = std::sync::mpsc::channel();
    let again = Arc::clone(&store);
    dunlin_core::store::Store::submit(
        &*store,
        StoreRequest::Write(vec![entry(chat(1, 2), 1, 0)]),
        Box::new(move |_| sender.send(write(&*again, vec![entry(chat(1, 2), 2, 0)])).unwrap()),
    );
    assert_eq!(receiver.recv().unwrap(), [Written::Stored { version: 0 }]);
}

#[test]
fn an_ordered_failure_may_concern_one_item() {
    let store = MemoryStore::default();
    let log = chat(1, 2);
    let entry = |seq| entry(log, seq, 0);
    let stored = Written::Stored { version: 0 };
    store.fail_appends(1, AppendFailure::Unknown { item: 1, stored: true });
    let answers = write(&store, vec![entry(1), entry(2), entry(3)]);
    assert_eq!(answers, [stored.clone(), Written::Unknown, stored.clone()]);

    store.fail_appends(1, AppendFailure::Unknown { item: 0, stored: false });
    let answers = write(&store, vec![entry(4), entry(4)]);
    // What comes after something that was not stored is refused, even if it fits.
    assert!(matches!(answers[..], [Written::Unknown, Written::Conflict { .. }]), "{answers:?}");
    assert_eq!(write(&store, vec![entry(4)]), [stored]);
}

#[test]
fn forgotten_marks_make_changes_unknown() {
    let store = MemoryStore::default();
    let log = chat(1, 2);
    let key = |number| RegisterKey::numbered(b'k', number);
    write(&store, vec![Write::registers(log, [Set::always(key(1), Bytes::from("one"))])]);
    write(&store, vec![Write::registers(log, [Set::always(key(2), Bytes::from("two"))])]);
    write(&store, vec![Write::registers(log, [Set::removal(key(1))])]);
    let since = |since| {
        let range = ChangeRange { log, since, registers_max: 9, bytes_max: usize::MAX };
        let answer = changes(&store, range);
        (answer.registers.iter().map(|register| register.version).collect(), answer.afresh)
    };
    assert_eq!(since(1), (vec![2, 3], false));
    store.forget_marks();
    assert_eq!(since(1), (vec![], true));
    assert_eq!(since(2), (vec![], true));
    assert_eq!(since(3), (vec![], false));
    assert_eq!(since(0), (vec![2], false));
    // The log never had this version.
    assert_eq!(since(4), (vec![], true));
}
