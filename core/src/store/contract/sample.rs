//! Logs and entries to test with: every part of an entry follows from where it is and a salt, so
//! that a test can say what it must read.

use bytes::Bytes;
use dunlin_protocol::{ClientMessageId, LogId, UserId};
use smallvec::SmallVec;

use crate::store::feed::FeedFrom;
use crate::store::{
    ChangeRange, DedupeKey, EntryMeta, FeedRange, NewEntry, Page, Range, Register, RegisterKey,
    RegisterRange, Rule, Set, Write,
};

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

/// The write of an entry with a key.
pub fn entry(log: LogId, seq: u64, salt: u64) -> Write {
    let mut write = plain_entry(log, seq, salt);
    if let Some(entry) = &mut write.entry {
        (entry.key, entry.digest) = (Some(dedupe_key(log, seq, salt)), salt ^ seq);
    }
    write
}

/// The same without a key.
pub fn plain_entry(log: LogId, seq: u64, salt: u64) -> Write {
    let body = format!("{log}/{seq}/{salt}").repeat(1 + (seq % 3) as usize);
    let time_ms = seq.wrapping_mul(10);
    let meta = EntryMeta { time_ms, sender: salt, counted: seq, sender_counted: 1 };
    Write::entry(log, NewEntry { seq, meta, key: None, digest: 0, body: Bytes::from(body) })
}

/// The write of an entry, with another body.
pub fn with_body(mut write: Write, body: impl Into<Bytes>) -> Write {
    if let Some(entry) = &mut write.entry {
        entry.body = body.into();
    }
    write
}

/// The entry that a write appends.
///
/// # Panics
/// If it appends none.
pub fn entry_of(write: &Write) -> &NewEntry {
    write.entry.as_ref().expect("it writes an entry")
}

/// The write of an entry, with the key and the digest of another one: a retry of that one.
///
/// # Panics
/// If one of them writes no entry.
pub fn retry_of(mut write: Write, of: &Write) -> Write {
    let of = of.entry.as_ref().expect("it writes an entry");
    let entry = write.entry.as_mut().expect("it writes an entry");
    (entry.key, entry.digest) = (of.key, of.digest);
    write
}

fn dedupe_key(log: LogId, seq: u64, salt: u64) -> DedupeKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seq.to_be_bytes());
    id[8..].copy_from_slice(&salt.to_be_bytes());
    id[0] ^= log.as_bytes()[15];
    DedupeKey { sender: user(1 + salt), client_message_id: ClientMessageId(id) }
}

/// The key of a register: all of one letter are ordered by number.
pub fn key(number: u64) -> RegisterKey {
    RegisterKey::numbered(b'k', number)
}

/// Sets a register to a text.
pub fn set(number: u64, text: &str) -> Set {
    Set::always(key(number), Bytes::copy_from_slice(text.as_bytes()))
}

/// The same on a condition.
pub fn set_if(number: u64, text: &str, rule: Rule) -> Set {
    Set { rule, ..set(number, text) }
}

/// A register as it is read: its number, its version, what it holds.
pub fn read(register: &Register) -> (u64, u64, Option<&str>) {
    let bytes = register.key.as_bytes();
    let number = bytes[1..].try_into().map(u64::from_be_bytes).expect("a key of a sample");
    let text = register.value.as_deref().map(|value| std::str::from_utf8(value).expect("a text"));
    (number, register.version, text)
}

/// All registers of a log.
pub fn all_registers(log: LogId) -> RegisterRange {
    let (registers_max, bytes_max) = (usize::MAX, usize::MAX);
    RegisterRange { log, prefix: SmallVec::new(), after: None, registers_max, bytes_max }
}

/// All changes of a log since a version.
pub fn since(log: LogId, since: u64) -> ChangeRange {
    ChangeRange { log, since, registers_max: usize::MAX, bytes_max: usize::MAX }
}

/// All of the feed from somewhere.
pub fn from(from: FeedFrom) -> FeedRange {
    FeedRange { from, items_max: usize::MAX, bytes_max: usize::MAX }
}

/// All of a log, upwards.
pub fn all(log: LogId) -> Range {
    let (entries_max, bytes_max) = (usize::MAX, usize::MAX);
    Range { log, from: 1, to: u64::MAX, entries_max, bytes_max, backwards: false, since: None }
}

/// The sequences of a page.
pub fn seqs(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq).collect()
}
