//! Where the answer of a send goes, that may have come from another node.

use super::cluster::Origin;
use crate::bus::NodeId;
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

/// A connection that knows an entry by the response to its request, and needs no push of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knower {
    /// Of this node.
    Here(ConnId),
    /// Of another node.
    There(NodeId, ConnId),
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

impl Knower {
    pub(super) fn conn_here(self) -> Option<ConnId> {
        match self {
            Knower::Here(conn) => Some(conn),
            Knower::There(..) => None,
        }
    }

    pub(super) fn conn_on(self, node: NodeId) -> Option<ConnId> {
        match self {
            Knower::There(of, conn) if of == node => Some(conn),
            Knower::There(..) | Knower::Here(_) => None,
        }
    }
}
