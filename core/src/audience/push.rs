//! What is pushed to users, and whom it need not be told.

use dunlin_protocol::{EncodedFrame, LogId, UserId};

use crate::arrival::Arrival;
use crate::bus::NodeId;
use crate::transport::ConnId;

/// An entry that was appended, for a user who should know.
#[derive(Debug, Clone)]
pub struct Push {
    /// For whose sessions.
    pub user: UserId,
    /// Of which log.
    pub log: LogId,
    /// The sequence of the entry.
    pub head: u64,
    /// The push.
    pub frame: EncodedFrame,
    /// The connection that knows it already by its response.
    pub except: Option<ConnId>,
    /// When the message was read that it is.
    pub arrived: Arrival,
}

/// Something momentary for a user.
#[derive(Debug, Clone)]
pub struct SignalPush {
    /// For whose sessions.
    pub user: UserId,
    /// The frame.
    pub frame: EncodedFrame,
    /// The connection that it comes from.
    pub except: Option<ConnId>,
    /// It says how far somebody has read: a session that syncs just now hears it behind its `Synced`,
    /// which may know less.
    pub is_receipt: bool,
}

/// What is pushed of a log: an entry, or a word that it has grown.
#[derive(Debug, Clone)]
pub(crate) struct LogPush {
    pub(crate) log: LogId,
    pub(crate) head: u64,
    pub(crate) frame: EncodedFrame,
    /// See [`Push::arrived`].
    pub(crate) arrived: Arrival,
}

/// A connection that knows an entry by the response to its request, and needs no push of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knower {
    /// Of this node.
    Here(ConnId),
    /// Of another node.
    There(NodeId, ConnId),
}

impl Knower {
    pub(crate) fn conn_here(self) -> Option<ConnId> {
        match self {
            Knower::Here(conn) => Some(conn),
            Knower::There(..) => None,
        }
    }

    pub(crate) fn conn_on(self, node: NodeId) -> Option<ConnId> {
        match self {
            Knower::There(of, conn) if of == node => Some(conn),
            Knower::There(..) | Knower::Here(_) => None,
        }
    }
}
