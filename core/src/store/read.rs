//! Entries and heads as they are read.

use bytes::Bytes;
use dunlin_protocol::LogId;

use super::moment::Moment;

/// Numbers of an entry that the store returns without reading the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryMeta {
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// The user who made it; 0 for the server itself.
    pub sender: u64,
    /// How many entries of the log count as unread, up to and including this one.
    pub counted: u64,
    /// The same, of this sender alone.
    pub sender_counted: u64,
}

/// Numbers that count on from entry to entry, as one entry has them: what is left of the newest entry that
/// has expired, so that whatever is counted above it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunningCounts {
    /// The user who made it; 0 for the server itself.
    pub sender: u64,
    /// How many entries of the log count as unread, up to and including this one.
    pub counted: u64,
    /// The same, of this sender alone.
    pub sender_counted: u64,
}

impl From<EntryMeta> for RunningCounts {
    fn from(meta: EntryMeta) -> RunningCounts {
        let EntryMeta { sender, counted, sender_counted, .. } = meta;
        RunningCounts { sender, counted, sender_counted }
    }
}

/// The end of a log, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The newest sequence; 0 if the log never had an entry.
    pub seq: u64,
    /// The numbers of that entry, also if it has expired.
    pub meta: EntryMeta,
    /// The version of its registers: of the last write that set one; 0 if none ever did.
    pub version: u64,
    /// Entries below this sequence have expired; 0 or 1 if none have.
    pub expired_below: u64,
    /// The counts of the newest entry that has expired, the one just below `expired_below`; zeros if none
    /// has. If that one was damaged when it expired, they are those of the newest one below it that was
    /// not.
    pub expired: RunningCounts,
}

/// Where the entry with a dedupe key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedEntry {
    /// Its sequence.
    pub seq: u64,
    /// The digest of its content.
    pub digest: u64,
}

/// An entry as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its sequence.
    pub seq: u64,
    /// The numbers beside it.
    pub meta: EntryMeta,
    /// Its body was erased.
    pub erased: bool,
    /// The entry; empty if it was erased.
    pub body: Bytes,
}

/// Which part of a log to read. Both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The log.
    pub log: LogId,
    /// The lowest sequence, at least 1. What has expired is passed over: see
    /// [`Head::expired_below`].
    pub from: u64,
    /// The highest; beyond the head it means the head.
    pub to: u64,
    /// At most so many entries.
    pub entries_max: usize,
    /// At most so many bytes of bodies, but always one entry if there is one.
    pub bytes_max: usize,
    /// Begin at `to` and go down.
    pub backwards: bool,
    /// Leave out what was appended before this moment: never one too few, as
    /// [`StoreRequest::Changed`](super::StoreRequest::Changed) tells logs. The page has the head all the same.
    pub since: Option<Moment>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Consecutive entries in the order asked for.
    pub entries: Vec<StoredEntry>,
    /// The head of the log at that time.
    pub head: Head,
    /// Entries of the range were left out because of a limit.
    pub more: bool,
}
