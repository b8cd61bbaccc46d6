//! Where the answer of a request goes, that may have come from another node.

use crate::transport::ConnId;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyTo {
    /// A connection of this node.
    Client { conn: ConnId, request_id: u64 },
}
