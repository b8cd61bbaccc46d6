//! What can be wrong in the files of a store.

use std::fmt;

use dunlin_protocol::LogId;

/// Something damaged in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The name of the file.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// How far it reaches, as far as is known.
    pub bytes: u64,
    /// What it is.
    pub kind: DamageKind,
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// The header of a file. Nothing is lost by it alone.
    Header,
    /// The heads of one or more batches.
    Frame,
    /// Records of a batch, so that it is not known which entries they were.
    Records,
    /// Batches are missing.
    Batches,
    /// The body of an entry that is known.
    Entry {
        /// Its log.
        log: LogId,
        /// Its sequence.
        seq: u64,
    },
    /// Entries of a log are missing before this one.
    Hole {
        /// The log.
        log: LogId,
        /// The entry after the hole.
        seq: u64,
    },
    /// The index does not lead to this entry.
    Unindexed {
        /// Its log.
        log: LogId,
        /// Its sequence.
        seq: u64,
    },
    /// The guide of a cleaned file. It says nothing that the chunks don't.
    Guide,
    /// An index file. It is made again.
    Index,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, bytes, kind } = self;
        write!(f, "{file} at {offset} ({bytes} bytes): ")?;
        match kind {
            DamageKind::Header => f.write_str("the header is damaged"),
            DamageKind::Frame => f.write_str("the head of a batch is damaged"),
            DamageKind::Records => f.write_str("records are damaged beyond recognition"),
            DamageKind::Batches => f.write_str("batches are missing"),
            DamageKind::Entry { log, seq } => write!(f, "entry {seq} of log {log} is damaged"),
            DamageKind::Hole { log, seq } => {
                write!(f, "entries of log {log} before {seq} are missing")
            }
            DamageKind::Unindexed { log, seq } => {
                write!(f, "entry {seq} of log {log} is not in the index")
            }
            DamageKind::Guide => f.write_str("the guide of a cleaned file is damaged"),
            DamageKind::Index => f.write_str("the index file is damaged"),
        }
    }
}
