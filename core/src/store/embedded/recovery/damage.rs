//! What can be wrong in the files of a store.

use std::fmt;

use dunlin_protocol::{LogId, LogKind};

use super::super::segment::Span;

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
    Batches {
        /// How many, if that is known.
        missing: Option<u64>,
    },
    /// The body of an entry that is known.
    Entry {
        /// Its log.
        log: LogId,
        /// Its sequence.
        seq: u64,
    },
    /// The value of a register that is known.
    Register {
        /// Its log.
        log: LogId,
        /// The version that set it.
        version: u64,
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
    /// The index does not lead to the dedupe key of the entry that begins here.
    UnindexedKey,
    /// The index does not lead to the register that is set here.
    UnindexedRegister {
        /// Its log.
        log: LogId,
        /// The version that set it.
        version: u64,
    },
    /// The guide of a cleaned file. It says nothing that the chunks don't.
    Guide,
    /// An index file. It is made again.
    Index,
    /// The file is not there.
    Missing,
    /// The file is of another store.
    Foreign,
    /// The file is not what its name said, or can't be understood: it has another name now.
    Stray,
    /// The disk can't read the file, or a part of it, now. It is left as it is.
    Unread,
    /// The file is of another copy of this store, that has gone on by itself.
    OtherCopy,
    /// The file is the one of other segments of this store, under a name that is not its own.
    Misplaced {
        /// The first segment that its header names.
        first: u32,
        /// The last one: the same, but for a file that was cleaned together with others.
        last: u32,
    },
    /// Something of the file was lost before, and no index file knows any more what it was.
    Forgotten,
    /// The file ends before the end that it had.
    Shortened,
    /// The file is an earlier state of itself, or another file says so of it.
    Outdated,
    /// The file can't be read any more.
    Unreadable,
}

impl DamageKind {
    /// Whether it is a record that is known in spite of it.
    pub(in super::super) fn is_record(self) -> bool {
        match self {
            DamageKind::Entry { .. } | DamageKind::Register { .. } => true,
            DamageKind::Header
            | DamageKind::Frame
            | DamageKind::Records
            | DamageKind::Batches { .. }
            | DamageKind::Hole { .. }
            | DamageKind::Unindexed { .. }
            | DamageKind::UnindexedKey
            | DamageKind::UnindexedRegister { .. }
            | DamageKind::Guide
            | DamageKind::Index
            | DamageKind::Missing
            | DamageKind::Foreign
            | DamageKind::Stray
            | DamageKind::Unread
            | DamageKind::OtherCopy
            | DamageKind::Misplaced { .. }
            | DamageKind::Forgotten
            | DamageKind::Shortened
            | DamageKind::Outdated
            | DamageKind::Unreadable => false,
        }
    }
}

impl Damage {
    /// Something that concerns a file as a whole.
    pub(in super::super) fn of_file(file: impl Into<String>, kind: DamageKind) -> Damage {
        Damage { file: file.into(), offset: 0, bytes: 0, kind }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, bytes, kind } = self;
        let place = format_args!("{file} at {offset} ({bytes} bytes)");
        match kind {
            DamageKind::Header => write!(f, "{place}: the header is damaged"),
            DamageKind::Frame => write!(f, "{place}: the head of a batch is damaged"),
            DamageKind::Records => write!(f, "{place}: records are damaged beyond recognition"),
            DamageKind::Batches { missing: Some(1) } => {
                write!(f, "{file} at {offset}: a batch is missing")
            }
            DamageKind::Batches { missing: Some(missing) } => {
                write!(f, "{file} at {offset}: {missing} batches are missing")
            }
            DamageKind::Batches { missing: None } => {
                write!(f, "{file} at {offset}: batches are missing")
            }
            DamageKind::Entry { log, seq } => {
                write!(f, "{place}: entry {seq} of the {} is damaged", LogName(*log))
            }
            DamageKind::Register { log, version } => write!(
                f,
                "{place}: a register of the {} that was set in its version {version} is damaged",
                LogName(*log)
            ),
            DamageKind::Hole { log, seq } => {
                write!(f, "{place}: entries of the {} before {seq} are missing", LogName(*log))
            }
            DamageKind::Unindexed { log, seq } => {
                write!(f, "{place}: entry {seq} of the {} is not in the index", LogName(*log))
            }
            DamageKind::UnindexedKey => {
                write!(f, "{place}: the dedupe key of an entry is not in the index")
            }
            DamageKind::UnindexedRegister { log, version } => write!(
                f,
                "{place}: a register of the {} that was set in its version {version} is not in the \
                 index",
                LogName(*log)
            ),
            DamageKind::Guide => write!(f, "{place}: the guide of a cleaned file is damaged"),
            DamageKind::Index => {
                write!(f, "{file}: the index file is damaged; it is made again from its segments")
            }
            DamageKind::Missing => write!(f, "{file} is missing"),
            DamageKind::Foreign => write!(f, "{file} belongs to another store"),
            DamageKind::Stray => {
                write!(f, "{file} is not what its name was; it was set aside under this one")
            }
            DamageKind::Unread => {
                write!(f, "{file} can't be read by the disk; it is left as it is")
            }
            DamageKind::OtherCopy => {
                write!(f, "{file} is of another copy of this store, which has gone on by itself")
            }
            DamageKind::Misplaced { first, last } => {
                let (what, name) =
                    (said(*first, *last), Span { first: *first, last: *last }.name());
                write!(f, "{file} {what} of this store, whose name is {name}")
            }
            DamageKind::Forgotten => {
                write!(f, "{file}: no index file knows any more which entries of it were lost")
            }
            DamageKind::Shortened => write!(f, "{file} is shorter than it was"),
            DamageKind::Outdated => write!(f, "{file} is an earlier state of itself"),
            DamageKind::Unreadable => write!(f, "{file} is damaged"),
        }
    }
}

/// What a file is of which the header names these segments.
pub(in super::super) fn said(first: u32, last: u32) -> String {
    if first == last {
        format!("is segment {first}")
    } else {
        format!("holds segments {first} to {last}")
    }
}

/// The name of a log, as somebody knows it who knows users and conversations.
pub(in super::super) struct LogName(pub LogId);

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = self.0;
        let kind = match log.kind() {
            LogKind::Direct => "conversation",
            LogKind::Group => "group",
            LogKind::Account => "account",
            LogKind::Name => "claim of a name,",
            LogKind::Identity => "identity",
            LogKind::Service => "log of the store",
        };
        match (log.direct_members(), log.owner()) {
            (Some((lower, higher)), _) => {
                write!(f, "{kind} of users {} and {}", lower.get(), higher.get())
            }
            (None, Some(owner)) => write!(f, "{kind} of user {}", owner.get()),
            (None, None) => write!(f, "{kind} {log}"),
        }
    }
}
