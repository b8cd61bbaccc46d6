//! What a worker is told.

use super::effect::Ticket;
use super::message::WorkerMessage;
use crate::request::Command;
use crate::store::{StoreError, StoreReply};
use crate::transport::{ConnId, Session};

/// One thing that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// A client asks something.
    Command(Command),
    /// A connection is gone.
    Disconnected {
        /// Which.
        conn: ConnId,
        /// Who spoke on it.
        session: Session,
    },
    /// The store has answered.
    Store {
        /// Whose request it was.
        ticket: Ticket,
        /// The answer.
        result: Result<StoreReply, StoreError>,
    },
    /// Another worker of this node says something.
    Worker(WorkerMessage),
    /// Time has passed. Needed at least every [`TICK_MS`](crate::limits::TICK_MS) while the worker
    /// has anything in memory.
    Tick,
}
