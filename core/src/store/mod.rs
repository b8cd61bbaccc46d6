//! The trait of durable logs, with their registers.
//!
//! A log has entries, which say what happened, and registers, which say what holds now. The store
//! knows nothing of messages: an entry is a body of bytes, and the few numbers beside it that the store
//! must be able to return without it; a register is a key and a value.
//!
//! The store is the fence of the promise. An entry names the sequence that it wants, which must be the
//! one after the head, and may carry a key that must be new in its log; a register has a rule. Whoever
//! writes with a stale view is refused with what is true, whatever nodes, leases or clocks believed.
//!
//! What the trait promises is a suite that any crate can run against a store of its own: the
//! module `contract`, behind the feature of that name. engines/README.md says how.

#[cfg(feature = "contract")]
pub mod contract;
pub mod delete;
pub mod embedded;
pub mod feed;
pub mod memory;
pub mod moment;
pub mod question;
pub mod read;
pub mod register;
pub mod write;

use dunlin_protocol::{LogId, LogKind};

pub use delete::{Deleted, Deletion};
pub use feed::{Consumer, ConsumerChange, FeedPage, FeedRange};
pub use moment::{ChangedLogs, Moment};
pub use read::{EntryMeta, Head, KeyedEntry, Page, Range, RunningCounts, StoredEntry};
pub use register::{ChangeRange, Register, RegisterKey, RegisterRange, Registers};
pub use write::{DedupeKey, Fence, Malformed, NewEntry, Rule, Set, Write, Written};

/// What can be asked of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreRequest {
    /// Write, durably, all items that are not refused. Replied by [`StoreReply::Written`], one per
    /// item, in order.
    Write(Vec<Write>),
    /// Read entries of several logs. Replied by [`StoreReply::Pages`], one per range, in order.
    Ranges(Vec<Range>),
    /// Read registers by their names. Replied by [`StoreReply::Register`], one per question, in order;
    /// version 0 and no value for one that was never set.
    Register(Vec<(LogId, RegisterKey)>),
    /// Read registers of logs by prefix. Replied by [`StoreReply::Registers`], one per range, in order.
    Registers(Vec<RegisterRange>),
    /// Read what has changed of registers. Replied by [`StoreReply::Registers`], one per range, in
    /// order.
    Changes(Vec<ChangeRange>),
    /// Delete. Replied by [`StoreReply::Deleted`], one per item, in order.
    Delete(Vec<Deletion>),
    /// Read the feed. Replied by [`StoreReply::Feed`].
    Feed(FeedRange),
    /// Change the list of consumers of the feed, durably. Replied by [`StoreReply::Done`].
    Consumer(ConsumerChange),
    /// List the consumers of the feed by name. Replied by [`StoreReply::Consumers`].
    Consumers,
    /// Read the heads of logs. Replied by [`StoreReply::Heads`], one per log, in order; one that can't be
    /// read keeps no other from being read.
    Heads(Vec<LogId>),
    /// Tell which of these logs may have changed since a moment: by an entry, a register, or a deletion.
    /// Replied by [`StoreReply::Changed`]. Whatever was answered as done after `since` was answered and
    /// before this is submitted is in it: never one too few. One too many is allowed where a store can't
    /// tell, because of a deletion, or since deleted things were cleaned away. A moment that is none of
    /// this store's is [`StoreError::MomentUnknown`].
    Changed {
        /// Which logs.
        logs: Vec<LogId>,
        /// Since when; `None` for all of these logs that were ever written to.
        since: Option<Moment>,
    },
    /// Find the entries with these dedupe keys. Replied by [`StoreReply::Keys`], one per key, in order.
    Keys(Vec<(LogId, DedupeKey)>),
    /// List the logs of a kind, by ascending id, after `after`. Replied by [`StoreReply::Logs`].
    Logs {
        /// Which kind.
        kind: LogKind,
        /// Where to go on.
        after: Option<LogId>,
        /// At most so many.
        limit: usize,
    },
}

/// The answer of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreReply {
    /// To `Write`: one per item, in order.
    Written(Vec<Written>),
    /// To `Ranges`.
    Pages(Vec<Result<Page, StoreError>>),
    /// To `Register`.
    Register(Vec<Result<Register, StoreError>>),
    /// To `Registers` and `Changes`.
    Registers(Vec<Result<Registers, StoreError>>),
    /// To `Delete`: one per item, in order.
    Deleted(Vec<Deleted>),
    /// To `Feed`.
    Feed(FeedPage),
    /// To `Consumers`.
    Consumers(Vec<Consumer>),
    /// To what is only done.
    Done,
    /// To `Heads`.
    Heads(Vec<Result<Head, StoreError>>),
    /// To `Changed`.
    Changed(ChangedLogs),
    /// To `Keys`; `None` where no entry of the log has the key, or it has expired.
    Keys(Vec<Result<Option<KeyedEntry>, StoreError>>),
    /// To `Logs`.
    Logs(Vec<LogId>),
}

/// Why a store could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Not now: a full disk, a failed fsync, a lost connection. Of writes it is not known whether they
    /// are done: see [`Written::Unknown`], which holds for all of them.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What the system said.
        reason: String,
    },
    /// The store has answered something else than it was asked, which is a defect of the store.
    #[error("the store has answered another question")]
    Mismatched,
    /// No store takes this. Nothing of it was done.
    #[error("{0}")]
    Malformed(Malformed),
    /// A register is damaged. Others can still be read.
    #[error("a register of log {log} is damaged")]
    CorruptRegister {
        /// Which log.
        log: LogId,
        /// Which register.
        key: RegisterKey,
    },
    /// The moment is none of this store: of another store, of another epoch, or of a time that this copy
    /// of it has not seen. Whoever asks knows nothing, as after a change of the epoch.
    #[error("the moment is unknown to the store")]
    MomentUnknown,
    /// The entry that may have a dedupe key is damaged.
    #[error("the entry of log {log} that may have a key is damaged")]
    CorruptKey {
        /// Which log.
        log: LogId,
    },
    /// The entry is damaged. Others can still be read.
    #[error("entry {seq} of log {log} is damaged")]
    Corrupt {
        /// Which log.
        log: LogId,
        /// Which entry.
        seq: u64,
    },
}

/// Called once with the answer, on a thread of the store. It must be quick: usually it puts the
/// answer into a worker's queue.
pub type StoreDone = Box<dyn FnOnce(Result<StoreReply, StoreError>) + Send>;

/// Durable logs.
pub trait Store: Send + Sync + 'static {
    /// Changes whenever history was restored or lost, so that clients know that a sequence may
    /// name another entry now. Never 0.
    fn epoch(&self) -> u64;

    /// Takes a request and returns at once; `done` gets the answer. What one caller writes to *one log*
    /// (writes and deletions) is carried out in the order in which it was submitted; nothing is
    /// promised of what it writes to different logs, not even within one request. A read sees at least
    /// what was answered as stored before it was submitted, and of one log it sees whole writes.
    ///
    /// It waits for nothing: not for an answer, a connection, or room in a queue. The engine bounds
    /// what is under way
    /// ([`STORE_OUTSTANDING_MAX`](crate::limits::STORE_OUTSTANDING_MAX) requests of each worker).
    /// It opens and uses no file and no socket either: the thread that calls it may have a
    /// descriptor table of its own (a worker that a shard hosts has), in which the store's are
    /// others. Threads of the store do that, which it starts when it is made.
    fn submit(&self, request: StoreRequest, done: StoreDone);
}
