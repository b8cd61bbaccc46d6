//! Who waits for the end of a flow, and how each is told.

use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{self, ErrorCode, frame::Body};

use crate::admin::AdminReply;
use crate::refusal::Refusal;
use crate::transport::{ConnId, Delivery};
use crate::worker::turn::Turn;

/// Who waits. Each is answered once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A request of a connection.
    Request {
        /// Which.
        conn: ConnId,
        /// Of the request.
        request_id: u64,
    },
    /// A login, whose answers tell the transport more than the client.
    Login {
        /// On which connection.
        conn: ConnId,
        /// Of the request.
        request_id: u64,
    },
    /// A registration, which is as dear as a login, and holds its connection up as that does.
    Registration {
        /// On which connection.
        conn: ConnId,
        /// Of the request.
        request_id: u64,
    },
    /// Nobody: it is done for its own sake.
    Nobody,
    /// The program around the engine.
    Admin {
        /// Returned with the answer, by whichever worker has it.
        call: u64,
    },
}

/// What an asker is told.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// To a client.
    Body(Box<Body>),
    /// To the program around the engine, or `Done` to a client.
    Done,
    /// To the program around the engine.
    Admin(AdminReply),
}

impl Asker {
    pub(crate) fn reply(self, reply: Reply, turn: &mut Turn<'_>) {
        match (self, reply) {
            (Asker::Nobody, _) => {}
            (Asker::Admin { call }, reply) => {
                let reply = match reply {
                    Reply::Admin(reply) => reply,
                    Reply::Done | Reply::Body(_) => AdminReply::Done,
                };
                turn.effects.admin.push((call, Ok(reply)));
            }
            (Asker::Registration { conn, request_id }, reply) => {
                let body = match reply {
                    Reply::Body(body) => *body,
                    Reply::Done | Reply::Admin(_) => Body::Done(wire::Done {}),
                };
                turn.effects
                    .deliver(conn, Delivery::Registered(EncodedFrame::response(request_id, body)));
            }
            (
                Asker::Request { conn, request_id } | Asker::Login { conn, request_id },
                Reply::Body(body),
            ) => turn.effects.respond(conn, request_id, *body),
            (
                Asker::Request { conn, request_id } | Asker::Login { conn, request_id },
                Reply::Done | Reply::Admin(_),
            ) => turn.effects.respond(conn, request_id, Body::Done(wire::Done {})),
        }
    }

    pub(crate) fn refuse(self, refusal: Refusal, turn: &mut Turn<'_>) {
        match self {
            Asker::Nobody => {}
            Asker::Request { conn, request_id } => turn.effects.refuse(conn, request_id, refusal),
            Asker::Login { conn, request_id } | Asker::Registration { conn, request_id } => {
                turn.effects.counters.count_error(refusal.code);
                let response = EncodedFrame::response(request_id, Body::Error(refusal.into()));
                // Names are found out by registering them, and invitations as well.
                let finds_name = matches!(self, Asker::Registration { .. })
                    && matches!(refusal.code, ErrorCode::NameTaken | ErrorCode::InvitationInvalid);
                let delivery = if is_a_guess(refusal.code) || finds_name {
                    Delivery::LoginRefused(response)
                } else {
                    Delivery::LoginPostponed(response)
                };
                turn.effects.deliver(conn, delivery);
            }
            Asker::Admin { call } => turn.effects.admin.push((call, Err(refusal.into()))),
        }
    }
}

/// Whether a refused login may have been the try of a guesser. Who has a token of ours that is
/// too old, or whose session was ended, was let in before.
fn is_a_guess(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::WrongCredentials | ErrorCode::TokenInvalid | ErrorCode::RateLimited)
}
