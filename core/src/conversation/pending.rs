//! A send that is not answered yet, and where its answer goes, that may have come from another node.

use dunlin_protocol::{LogId, UserId};

use crate::arrival::Arrival;
use crate::audience::push::Knower;
use crate::entry::EncodedEntry;
use crate::limits::{ENTRY_OVERHEAD_BYTES, STORE_DEADLINE_MS};
use crate::placement::Origin;
use crate::request::Message;
use crate::transport::ConnId;

/// A send that is not answered yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) reply_to: ReplyTo,
    pub(crate) sender: UserId,
    /// The connection that it came from, on the node that `reply_to` names.
    pub(crate) conn: ConnId,
    pub(crate) log: LogId,
    pub(crate) message: Message,
    /// When it began to wait, by the clock that is never set.
    pub(super) since_ms: u64,
    /// Set when it was numbered.
    pub(super) encoded: Option<(EncodedEntry, u64)>,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// A connection of this node.
    Client { conn: ConnId, request_id: u64, arrived: Arrival },
    /// A worker of another node, that has forwarded the send.
    Node {
        from: Origin,
        /// Of its sends.
        batch: u64,
        /// Within the batch.
        index: u16,
    },
}

/// Where and when a send was stored: the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
}

impl Pending {
    #[inline]
    pub(crate) fn new(
        reply_to: ReplyTo,
        sender: UserId,
        conn: ConnId,
        log: LogId,
        message: Message,
    ) -> Pending {
        Pending { reply_to, sender, conn, log, message, since_ms: 0, encoded: None }
    }

    /// The memory that it takes until it is answered: the content as it came, and in the entry that is
    /// made of it.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Pending>() + ENTRY_OVERHEAD_BYTES + 2 * self.message.content.len()
    }

    /// Whether it has waited as long as anybody waits for the store.
    pub(super) fn is_overdue(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= STORE_DEADLINE_MS
    }

    /// Who knows by the answer what was done.
    pub(crate) fn knower(&self) -> Knower {
        match self.reply_to {
            ReplyTo::Client { .. } => Knower::Here(self.conn),
            ReplyTo::Node { from, .. } => Knower::There(from.node, self.conn),
        }
    }

    /// When it was read on this node; not known of what another one has forwarded.
    pub(crate) fn arrived(&self) -> Arrival {
        match self.reply_to {
            ReplyTo::Client { arrived, .. } => arrived,
            ReplyTo::Node { .. } => Arrival::UNKNOWN,
        }
    }

    /// The node and the batch that it came in; `None` if it is of a client of this node.
    pub(super) fn forwarded_in(&self) -> Option<(Origin, u64)> {
        match self.reply_to {
            ReplyTo::Client { .. } => None,
            ReplyTo::Node { from, batch, .. } => Some((from, batch)),
        }
    }
}
