//! The store in memory keeps the contract, and fails when it is told to.

use std::sync::Arc;

use dunlin_core::store::contract::ask::{append, ask, heads};
use dunlin_core::store::contract::sample::{chat, item};
use dunlin_core::store::contract::{self, Answers};
use dunlin_core::store::memory::{AppendFailure, MemoryStore};
use dunlin_core::store::{Appended, StoreError, StoreRequest};

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
    let request = || StoreRequest::Append(vec![item(log, 1, 0)]);

    assert!(matches!(ask(&store, request()), Err(StoreError::Unavailable { .. })));
    assert_eq!(heads(&store, vec![log])[0].seq, 0);
    assert!(matches!(ask(&store, request()), Err(StoreError::Unavailable { .. })));
    assert_eq!(heads(&store, vec![log])[0].seq, 1);
    let digest = item(log, 1, 0).digest;
    assert_eq!(append(&store, vec![item(log, 1, 0)]), [Appended::Duplicate { seq: 1, digest }]);

    store.fail_appends(3, AppendFailure::NotStored);
    store.heal();
    assert_eq!(append(&store, vec![item(log, 2, 0)]), [Appended::Stored]);
    assert_eq!(store.entries(), 2);
}

#[test]
fn a_completion_may_submit_again() {
    let store = Arc::new(MemoryStore::default());
    let (sender, receiver) = std::sync::mpsc::channel();
    let again = Arc::clone(&store);
    dunlin_core::store::Store::submit(
        &*store,
        StoreRequest::Append(vec![item(chat(1, 2), 1, 0)]),
        Box::new(move |_| sender.send(append(&*again, vec![item(chat(1, 2), 2, 0)])).unwrap()),
    );
    assert_eq!(receiver.recv().unwrap(), [Appended::Stored]);
}
