//! Deletion: what is gone from every answer at once, and from the disk within a stated time.

use dunlin_protocol::LogId;

use super::read::Head;

/// What to delete. A sequence is never given again, whatever is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The entries of a log below a sequence; beyond the head it means all of them. They have
    /// *expired*: ranges begin at `below`, and the head says so. Their dedupe keys may be forgotten
    /// with them.
    Truncate {
        /// The log.
        log: LogId,
        /// The lowest sequence that stays.
        below: u64,
    },
    /// The body of one entry. Its sequence, its numbers and its dedupe key with the digest stay, so
    /// that no retry brings it back.
    Erase {
        /// The log.
        log: LogId,
        /// The entry.
        seq: u64,
    },
    /// All entries and all registers of a log. What stays is its head, with the sequence and the
    /// version, and that everything before has expired.
    Drop {
        /// The log.
        log: LogId,
    },
}

/// What became of one deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// Durable: it is in no answer from now on. So was what had been deleted before.
    Done {
        /// The head of the log now.
        head: Head,
    },
    /// There is no such entry, or it has expired.
    NoSuchEntry {
        /// The head of the log.
        head: Head,
    },
    /// Nobody knows whether it was done. To ask again does no harm.
    Unknown,
}

impl Deletion {
    /// The log that it is about.
    pub fn log(&self) -> LogId {
        match *self {
            Deletion::Truncate { log, .. }
            | Deletion::Erase { log, .. }
            | Deletion::Drop { log } => log,
        }
    }
}
