//! How requests are handed over: in order, from many threads, without waiting.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use dunlin_protocol::LogId;

use super::ask::{DEADLINE, range, write_one};
use super::sample::{all, chat, entry, seqs};
use crate::store::{Store, StoreReply, StoreRequest, Written};

const STORED: Written = Written::Stored { version: 0 };

/// Requests that are under way at a time: more than a store has threads or connections.
const UNDER_WAY: u64 = 1000;

/// How long an answer waits for the other requests to be submitted, which takes a moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// Each entry needs the one before it, of which the answer is not waited for.
pub(super) fn writes_of_one_caller_to_one_log_keep_their_order(store: &dyn Store) {
    let log = chat(1, 2);
    let (sender, receiver) = mpsc::channel();
    for seq in 1..=UNDER_WAY {
        let sender = sender.clone();
        let done = move |answer| drop(sender.send((seq, answer)));
        store.submit(StoreRequest::Write(vec![entry(log, seq, 0)]), Box::new(done));
    }
    for _ in 1..=UNDER_WAY {
        let (seq, answer) = receiver.recv_timeout(DEADLINE).expect("each is answered");
        assert_eq!(answer, Ok(StoreReply::Written(vec![STORED])), "entry {seq}");
    }
    assert_eq!(seqs(&range(store, all(log))), (1..=UNDER_WAY).collect::<Vec<_>>());
}

/// Four threads append to one log, each retrying at the head that a conflict told: the log ends
/// up dense, and each thread's entries are in the order in which it sent them.
pub(super) fn many_threads_share_one_log(store: &dyn Store) {
    const EACH: u64 = 50;
    let log = chat(1, 2);
    thread::scope(|scope| {
        for salt in 0..4 {
            scope.spawn(move || append_at_whatever_head(store, log, salt, EACH));
        }
    });
    let page = range(store, all(log));
    assert_eq!(seqs(&page), (1..=4 * EACH).collect::<Vec<_>>());
    for salt in 0..4 {
        let own = page.entries.iter().filter(|entry| entry.meta.sender == salt);
        let numbers: Vec<u64> = own.map(|entry| entry.meta.time_ms).collect();
        assert_eq!(numbers, (1..=EACH).map(|number| number * 10).collect::<Vec<_>>());
    }
}

fn append_at_whatever_head(store: &dyn Store, log: LogId, salt: u64, entries: u64) {
    let mut seq = 1;
    for number in 1..=entries {
        loop {
            let mut write = entry(log, number, salt);
            write.entry.as_mut().expect("it writes an entry").seq = seq;
            match write_one(store, write) {
                Written::Stored { .. } => break seq += 1,
                Written::Conflict { head } => seq = head.seq + 1,
                other => panic!("neither stored nor a conflict: {other:?}"),
            }
        }
    }
}

/// No answer is heard before everything is submitted: a store that waits for one within `submit`,
/// or for room in a queue that only answers make, would wait for ever.
pub(super) fn submitting_waits_for_no_answer(store: &dyn Store) {
    let log = chat(1, 2);
    let (open, opened) = mpsc::channel::<()>();
    let (sender, receiver) = mpsc::channel();
    let first = {
        let (sender, submitter) = (sender.clone(), thread::current().id());
        // Opened by being dropped, once all the others were taken.
        move |answer| {
            let elsewhere = thread::current().id() != submitter
                && opened.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout);
            drop(sender.send((elsewhere, answer)));
        }
    };
    store.submit(StoreRequest::Write(vec![entry(log, 1, 0)]), Box::new(first));
    for seq in 2..=UNDER_WAY {
        let sender = sender.clone();
        let done = move |answer| drop(sender.send((true, answer)));
        store.submit(StoreRequest::Write(vec![entry(log, seq, 0)]), Box::new(done));
    }
    drop(open);
    for _ in 1..=UNDER_WAY {
        let (elsewhere, answer) = receiver.recv_timeout(DEADLINE).expect("each is answered");
        assert!(elsewhere, "submitting waits for an answer");
        assert_eq!(answer, Ok(StoreReply::Written(vec![STORED])));
    }
}
