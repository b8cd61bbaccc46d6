//! What a worker is told.

use bytes::Bytes;
use dunlin_protocol::UserId;
use dunlin_protocol::wire::DeviceKind;

use super::effect::Ticket;
use super::message::WorkerMessage;
use crate::admin::AdminRequest;
use crate::auth::password::{PasswordDone, PasswordError};
use crate::bus::Member;
use crate::request::{Command, Request};
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
    /// The password threads have answered.
    Password {
        /// Whose job it was.
        ticket: Ticket,
        /// What came of it.
        result: Result<PasswordDone, PasswordError>,
    },
    /// A program asks at the door as a user; the response is among [`Effects::calls`].
    ///
    /// [`Effects::calls`]: super::effect::Effects::calls
    Call {
        /// Names the call.
        call: u64,
        /// As whom.
        user: UserId,
        /// What is asked.
        request: Request,
    },
    /// The operator asks something; the answer is an effect of this or of another worker.
    Admin {
        /// Returned with the answer.
        call: u64,
        /// What is asked.
        request: AdminRequest,
    },
    /// A user of this worker is known to speak on a connection: opens the session, for embedders
    /// that know their users themselves, and for tests. (Login does the same.)
    OpenSession {
        /// The connection.
        conn: ConnId,
        /// Who.
        session: Session,
        /// On what.
        kind: DeviceKind,
    },
    /// The nodes that are believed to live have changed. The first is to come before any command.
    Members(Vec<Member>),
    /// An envelope of another node came from the bus.
    Envelope(Bytes),
    /// Another worker of this node says something.
    Worker(WorkerMessage),
    /// There may be room for answers that wait.
    Room,
    /// Another [`TICK_MS`](crate::limits::TICK_MS) has passed, by a clock that never jumps.
    Tick,
}
