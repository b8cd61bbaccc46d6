//! Asking a store and waiting for the answer, of the kind that belongs to the question.

use std::sync::mpsc;
use std::time::Duration;

use dunlin_protocol::{LogId, LogKind};

use crate::store::question::{self, Changed, Consumers, Heads, Logs, Question};
use crate::store::{
    ChangeRange, Consumer, ConsumerChange, DedupeKey, Deleted, Deletion, FeedPage, FeedRange, Head,
    KeyedEntry, Moment, Page, Range, Register, RegisterKey, RegisterRange, Registers, Store,
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

/// Asks a question and waits for the answer.
///
/// # Panics
/// If the store answers with an error.
pub fn answer<Q: Question>(store: &dyn Store, question: Q) -> Q::Answer
where
    Q::Answer: Send,
{
    let (sender, receiver) = mpsc::channel();
    question::ask(store, question, move |answer| drop(sender.send(answer)));
    let answer = receiver.recv_timeout(DEADLINE).expect("the store answers every request");
    answer.expect("the store can do it")
}

/// Writes.
///
/// # Panics
/// If the store answers with an error, as all of these do.
pub fn write(store: &dyn Store, writes: Vec<Write>) -> Vec<Written> {
    answer(store, writes)
}

/// Writes one thing.
pub fn write_one(store: &dyn Store, one: Write) -> Written {
    answer(store, vec![one]).remove(0)
}

/// Reads ranges.
pub fn ranges(store: &dyn Store, ranges: Vec<Range>) -> Vec<Page> {
    all_of(answer(store, ranges))
}

/// Reads a register.
pub fn register(store: &dyn Store, log: LogId, key: RegisterKey) -> Register {
    all_of(answer(store, vec![(log, key)])).remove(0)
}

/// Reads registers by prefix.
pub fn registers(store: &dyn Store, range: RegisterRange) -> Registers {
    all_of(answer(store, vec![range])).remove(0)
}

/// Reads what has changed of registers.
pub fn changes(store: &dyn Store, range: ChangeRange) -> Registers {
    all_of(answer(store, vec![range])).remove(0)
}

/// Deletes.
pub fn delete(store: &dyn Store, deletion: Deletion) -> Deleted {
    answer(store, vec![deletion]).remove(0)
}

/// Reads the feed.
pub fn feed(store: &dyn Store, range: FeedRange) -> FeedPage {
    answer(store, range)
}

/// Changes the list of consumers.
pub fn consumer(store: &dyn Store, change: ConsumerChange) {
    answer(store, change);
}

/// Lists consumers.
pub fn consumers(store: &dyn Store) -> Vec<Consumer> {
    answer(store, Consumers)
}

fn all_of<T>(items: Vec<Result<T, StoreError>>) -> Vec<T> {
    items.into_iter().map(|item| item.expect("nothing is damaged")).collect()
}

/// Reads one range.
pub fn range(store: &dyn Store, range: Range) -> Page {
    ranges(store, vec![range]).remove(0)
}

/// Reads heads.
pub fn heads(store: &dyn Store, logs: Vec<LogId>) -> Vec<Head> {
    all_of(answer(store, Heads(logs)))
}

/// Reads which of these logs have changed, by their numbers, with their heads.
pub fn changed(store: &dyn Store, logs: Vec<LogId>, since: Option<Moment>) -> Vec<(u32, Head)> {
    let answer = answer(store, Changed { logs, since });
    let head =
        |(place, head): (u32, Result<Head, StoreError>)| (place, head.expect("nothing is damaged"));
    answer.heads.into_iter().map(head).collect()
}

/// The moment at which this is asked.
pub fn now(store: &dyn Store) -> Moment {
    answer(store, Changed { logs: Vec::new(), since: None }).now
}

/// Finds entries by their keys.
pub fn keyed(store: &dyn Store, keys: Vec<(LogId, DedupeKey)>) -> Vec<Option<KeyedEntry>> {
    all_of(answer(store, keys))
}

/// Lists logs.
pub fn logs(store: &dyn Store, kind: LogKind, after: Option<LogId>, limit: usize) -> Vec<LogId> {
    answer(store, Logs { kind, after, limit })
}
