//! Asking a store and waiting for the answer, of the kind that belongs to the question.

use std::sync::mpsc;
use std::time::Duration;

use dunlin_protocol::{LogId, LogKind, UserId};

use crate::store::{
    Append, Appended, Head, Page, Range, Store, StoreError, StoreReply, StoreRequest,
};

/// Only there so that an answer that never comes fails the test. Machines that test are busy.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// Submits and waits.
///
/// # Panics
/// If no answer comes within a minute.
pub fn ask(store: &dyn Store, request: StoreRequest) -> Result<StoreReply, StoreError> {
    let (sender, receiver) = mpsc::channel();
    // Nobody hears an answer that comes after the deadline.
    store.submit(request, Box::new(move |reply| drop(sender.send(reply))));
    receiver.recv_timeout(DEADLINE).expect("the store answers every request")
}

/// Appends.
///
/// # Panics
/// If the answer is another one than one per item.
pub fn append(store: &dyn Store, items: Vec<Append>) -> Vec<Appended> {
    let count = items.len();
    match ask(store, StoreRequest::Append(items)) {
        Ok(StoreReply::Appended(answers)) if answers.len() == count => answers,
        other => panic!("not an answer to {count} appends: {other:?}"),
    }
}

/// Reads a range.
///
/// # Panics
/// If the answer is no page.
pub fn range(store: &dyn Store, range: Range) -> Page {
    match ask(store, StoreRequest::Range(range)) {
        Ok(StoreReply::Page(page)) => page,
        other => panic!("not an answer to a range: {other:?}"),
    }
}

/// Reads heads.
///
/// # Panics
/// If the answer is no list of heads.
pub fn heads(store: &dyn Store, logs: Vec<LogId>) -> Vec<Head> {
    match ask(store, StoreRequest::Heads(logs)) {
        Ok(StoreReply::Heads(heads)) => heads,
        other => panic!("not an answer to heads: {other:?}"),
    }
}

/// Reads cursors.
///
/// # Panics
/// If the answer is no list of cursors.
pub fn cursors(store: &dyn Store, questions: Vec<(LogId, UserId)>) -> Vec<u64> {
    match ask(store, StoreRequest::Cursors(questions)) {
        Ok(StoreReply::Cursors(cursors)) => cursors,
        other => panic!("not an answer to cursors: {other:?}"),
    }
}

/// Lists logs.
///
/// # Panics
/// If the answer is no list of logs.
pub fn logs(store: &dyn Store, kind: LogKind, after: Option<LogId>, limit: usize) -> Vec<LogId> {
    match ask(store, StoreRequest::Logs { kind, after, limit }) {
        Ok(StoreReply::Logs(logs)) => logs,
        other => panic!("not an answer to logs: {other:?}"),
    }
}
