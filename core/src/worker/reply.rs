//! Where the answer of a send goes, that may have come from another node.

use crate::audience::push::Knower;
use crate::placement::Origin;
use crate::transport::ConnId;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyTo {
    /// A connection of this node.
    Client { conn: ConnId, request_id: u64 },
    /// A worker of another node, that has forwarded the send.
    Node {
        from: Origin,
        /// Of its sends.
        batch: u64,
        /// Within the batch.
        index: u16,
    },
}

impl ReplyTo {
    /// Who knows by the answer what was done; `conn` is where the request came from.
    pub(super) fn knower(self, conn: ConnId) -> Knower {
        match self {
            ReplyTo::Client { .. } => Knower::Here(conn),
            ReplyTo::Node { from, .. } => Knower::There(from.node, conn),
        }
    }
}
