//! Logs and entries to test with: every part of an entry follows from where it is and a salt, so
//! that a test can say what it must read.

use bytes::Bytes;
use dunlin_protocol::{ClientMessageId, LogId, UserId};

use crate::store::{Append, DedupeKey, EntryMeta, Page, Range};

/// The user of this number.
///
/// # Panics
/// If it is no id of a user: 0, or too large.
pub fn user(number: u64) -> UserId {
    UserId::new(number).expect("a small number from 1 is an id")
}

/// The direct conversation of two users.
pub fn chat(one: u64, other: u64) -> LogId {
    LogId::direct(user(one), user(other))
}

/// An entry with a key.
pub fn item(log: LogId, seq: u64, salt: u64) -> Append {
    Append { key: Some(key(log, seq, salt)), digest: salt ^ seq, ..plain(log, seq, salt) }
}

/// The same without a key.
pub fn plain(log: LogId, seq: u64, salt: u64) -> Append {
    let body = format!("{log}/{seq}/{salt}").repeat(1 + (seq % 3) as usize);
    let meta = EntryMeta { time_ms: seq * 10, sender: salt, counted: seq, sender_counted: 1 };
    Append { log, seq, meta, key: None, digest: 0, cursor: None, body: Bytes::from(body) }
}

/// The entry, with the key and the digest of another one: a retry of that one.
pub fn retry(entry: Append, of: &Append) -> Append {
    Append { key: of.key, digest: of.digest, ..entry }
}

fn key(log: LogId, seq: u64, salt: u64) -> DedupeKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seq.to_be_bytes());
    id[8..].copy_from_slice(&salt.to_be_bytes());
    id[0] ^= log.as_bytes()[15];
    DedupeKey { sender: user(1 + salt), client_message_id: ClientMessageId(id) }
}

/// All of a log, upwards.
pub fn all(log: LogId) -> Range {
    let (entries_max, bytes_max) = (usize::MAX, usize::MAX);
    Range { log, from: 1, to: u64::MAX, entries_max, bytes_max, backwards: false }
}

/// The sequences of a page.
pub fn seqs(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq).collect()
}
