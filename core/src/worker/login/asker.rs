//! Who waits for the end of a flow, and how each is told.

use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{self, ErrorCode, frame::Body};

use crate::admin::AdminReply;
use crate::refusal::Refusal;
use crate::transport::{ConnId, Delivery};
use crate::worker::router::Router;
use crate::worker::turn::Turn;

/// Who waits. Each is answered once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Asker {
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
pub(in crate::worker) enum Answer {
    /// To a client.
    Body(Box<Body>),
    /// To the program around the engine, or `Done` to a client.
    Done,
    /// To the program around the engine.
    Admin(AdminReply),
}

impl Router {
    pub(in crate::worker) fn answer(&mut self, asker: Asker, answer: Answer, turn: &mut Turn<'_>) {
        match (asker, answer) {
            (Asker::Nobody, _) => {}
            (Asker::Admin { call }, answer) => {
                let reply = match answer {
                    Answer::Admin(reply) => reply,
                    Answer::Done | Answer::Body(_) => AdminReply::Done,
                };
                turn.effects.admin.push((call, Ok(reply)));
            }
            (
                Asker::Request { conn, request_id } | Asker::Login { conn, request_id },
                Answer::Body(body),
            ) => turn.effects.respond(conn, request_id, *body),
            (
                Asker::Request { conn, request_id } | Asker::Login { conn, request_id },
                Answer::Done | Answer::Admin(_),
            ) => turn.effects.respond(conn, request_id, Body::Done(wire::Done {})),
        }
    }

    pub(in crate::worker) fn refuse_asker(
        &mut self,
        asker: Asker,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) {
        match asker {
            Asker::Nobody => {}
            Asker::Request { conn, request_id } => turn.effects.refuse(conn, request_id, refusal),
            Asker::Login { conn, request_id } => {
                let response = EncodedFrame::response(request_id, Body::Error(refusal.into()));
                let delivery = if is_a_guess(refusal.code) {
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
