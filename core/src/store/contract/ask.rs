//! Asking a store and waiting for the answer, of the kind that belongs to the question.

use std::sync::mpsc;
use std::time::Duration;

use dunlin_protocol::{LogId, LogKind, UserId};

use crate::store::{
    Append, Appended, ChangeRange, Consumer, ConsumerChange, Deleted, Deletion, FeedPage,
    FeedRange, Head, Page, Range, Register, RegisterKey, RegisterRange, Registers, Store,
    StoreError, StoreReply, StoreRequest, Write, Written,
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

/// Writes.
///
/// # Panics
/// If the answer is another one than one per item.
pub fn write(store: &dyn Store, writes: Vec<Write>) -> Vec<Written> {
    let count = writes.len();
    match ask(store, StoreRequest::Write(writes)) {
        Ok(StoreReply::Written(verdicts)) if verdicts.len() == count => verdicts,
        other => panic!("not an answer to {count} writes: {other:?}"),
    }
}

/// Reads ranges.
///
/// # Panics
/// If the answer is another one than a page for each.
pub fn ranges(store: &dyn Store, ranges: Vec<Range>) -> Vec<Page> {
    let count = ranges.len();
    match ask(store, StoreRequest::Ranges(ranges)) {
        Ok(StoreReply::Pages(pages)) if pages.len() == count => all_of(pages),
        other => panic!("not an answer to {count} ranges: {other:?}"),
    }
}

/// Reads a register.
///
/// # Panics
/// If the answer is no register.
pub fn register(store: &dyn Store, log: LogId, key: RegisterKey) -> Register {
    match ask(store, StoreRequest::Register(vec![(log, key)])) {
        Ok(StoreReply::Register(registers)) if registers.len() == 1 => all_of(registers).remove(0),
        other => panic!("not an answer to a register: {other:?}"),
    }
}

/// Reads registers by prefix.
///
/// # Panics
/// If the answer is no list of registers.
pub fn registers(store: &dyn Store, range: RegisterRange) -> Registers {
    match ask(store, StoreRequest::Registers(vec![range])) {
        Ok(StoreReply::Registers(lists)) if lists.len() == 1 => all_of(lists).remove(0),
        other => panic!("not an answer to a range of registers: {other:?}"),
    }
}

/// Reads what has changed of registers.
///
/// # Panics
/// If the answer is no list of registers.
pub fn changes(store: &dyn Store, range: ChangeRange) -> Registers {
    match ask(store, StoreRequest::Changes(vec![range])) {
        Ok(StoreReply::Registers(lists)) if lists.len() == 1 => all_of(lists).remove(0),
        other => panic!("not an answer to what has changed: {other:?}"),
    }
}

/// Deletes.
///
/// # Panics
/// If the answer is no verdict.
pub fn delete(store: &dyn Store, deletion: Deletion) -> Deleted {
    match ask(store, StoreRequest::Delete(vec![deletion])) {
        Ok(StoreReply::Deleted(mut verdicts)) if verdicts.len() == 1 => verdicts.remove(0),
        other => panic!("not an answer to a deletion: {other:?}"),
    }
}

/// Reads the feed.
///
/// # Panics
/// If the answer is no page.
pub fn feed(store: &dyn Store, range: FeedRange) -> FeedPage {
    match ask(store, StoreRequest::Feed(range)) {
        Ok(StoreReply::Feed(page)) => page,
        other => panic!("not an answer to a part of the feed: {other:?}"),
    }
}

/// Changes the list of consumers.
///
/// # Panics
/// If it is not done.
pub fn consumer(store: &dyn Store, change: ConsumerChange) {
    assert_eq!(ask(store, StoreRequest::Consumer(change)), Ok(StoreReply::Done));
}

/// Lists consumers.
///
/// # Panics
/// If the answer is no list.
pub fn consumers(store: &dyn Store) -> Vec<Consumer> {
    match ask(store, StoreRequest::Consumers) {
        Ok(StoreReply::Consumers(consumers)) => consumers,
        other => panic!("not an answer to a question for consumers: {other:?}"),
    }
}

fn all_of<T>(items: Vec<Result<T, StoreError>>) -> Vec<T> {
    items.into_iter().map(|item| item.expect("nothing is damaged")).collect()
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
