//! What stands in for the engine: it answers what the script wants, when the script wants it, and
//! keeps to what the engine promises.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use dunlin_core::arrival::Arrival;
use dunlin_core::engine::submitter::{Intercepted, Submitted};
use dunlin_core::request::{Command, CredentialRequest, Request};
use dunlin_core::transport::{ConnId, Delivery, Outbound, Session, Transport};
use dunlin_protocol::wire::{CloseReason, Error, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, SessionId, UserId};

/// See the module.
pub(super) struct StandIn {
    transport: Arc<dyn Transport>,
    intercepted: Intercepted,
    /// It takes nothing, so its queue fills up.
    pub(super) stalled: bool,
    /// The shard has ended, and nobody takes an answer.
    pub(super) is_over: bool,
    /// Commands without an answer.
    waiting: VecDeque<Command>,
    /// Sessions that were opened and whose end was not told.
    sessions: HashMap<ConnId, Session>,
    last_session: u64,
    /// Somebody with whom deliveries may come: connections that are there, or were.
    known: Vec<ConnId>,
}

/// Opaque to a shard, and of any size.
fn body(bytes: usize) -> Body {
    Body::Error(Error { message: "x".repeat(bytes), ..Error::default() })
}

fn user(number: u64) -> UserId {
    UserId::new(number).expect("the numbers begin with 1")
}

impl StandIn {
    pub(super) fn new(transport: Arc<dyn Transport>, intercepted: Intercepted) -> StandIn {
        StandIn {
            transport,
            intercepted,
            stalled: false,
            is_over: false,
            waiting: VecDeque::new(),
            sessions: HashMap::new(),
            last_session: 0,
            known: Vec::new(),
        }
    }

    /// Takes what was submitted, unless it is stalled.
    pub(super) fn take(&mut self) {
        while !self.stalled
            && let Some(batch) = self.intercepted.take()
        {
            for submitted in batch {
                match submitted {
                    Submitted::Command(command) => self.take_command(command),
                    Submitted::Disconnected { conn, session } => {
                        let told = self.sessions.remove(&conn);
                        assert_eq!(told, Some(session), "the end of a session is told once");
                    }
                    Submitted::Call { .. } => panic!("a shard calls for nobody"),
                }
            }
        }
    }

    fn take_command(&mut self, command: Command) {
        let is_login = is_login(&command.request);
        assert!(!(is_login && command.session.is_some()), "a login within a session");
        if !self.known.contains(&command.conn) {
            self.known.push(command.conn);
        }
        if command.request_id != 0 {
            self.waiting.push_back(command);
        }
    }

    /// Answers one of the commands that wait, in one of three ways.
    pub(super) fn answer(&mut self, place: usize, way: usize, bytes: usize) {
        if self.is_over {
            return self.waiting.clear();
        }
        let place = place % self.waiting.len().max(1);
        let Some(Command { conn, request_id, request, .. }) = self.waiting.remove(place) else {
            return;
        };
        let response = EncodedFrame::response(request_id, body(bytes));
        let delivery = match (is_login(&request), way % 3) {
            (true, 0) => {
                self.last_session += 1;
                let session = SessionId::new(self.last_session).expect("they begin with 1");
                let session = Session { user: user(self.last_session), session };
                let before = self.sessions.insert(conn, session);
                assert_eq!(before, None, "one login at a time, and one session on a connection");
                Delivery::LoggedIn { session, response }
            }
            (true, 1) => Delivery::LoginRefused(response),
            (true, _) => Delivery::LoginPostponed(response),
            (false, 0) if is_registration(&request) => Delivery::Registered(response),
            (false, 1) if is_registration(&request) => Delivery::LoginRefused(response),
            (false, _) if is_registration(&request) => Delivery::LoginPostponed(response),
            (false, _) => Delivery::Response(response),
        };
        self.deliver(conn, delivery);
    }

    /// Answers everything that waits.
    pub(super) fn answer_all(&mut self) {
        while !self.waiting.is_empty() {
            self.answer(0, 0, 10);
        }
    }

    /// Delivers what nobody asked for, to somebody who may be gone.
    pub(super) fn tell(&mut self, whom: usize, what: usize, bytes: usize) {
        let Some(&conn) = self.known.get(whom % self.known.len().max(1)) else { return };
        let frame = EncodedFrame::push(body(bytes));
        let log = LogId::direct(user(1), user(1 + bytes as u64 % 100));
        let delivery = match what % 6 {
            0 | 1 => Delivery::Push { log, head: bytes as u64, frame },
            2 | 3 => Delivery::Signal(frame),
            4 => Delivery::Notice(frame),
            _ => Delivery::Close { reason: CloseReason::Replaced, reconnect_delay_ms: 5 },
        };
        self.deliver(conn, delivery);
    }

    fn deliver(&self, conn: ConnId, delivery: Delivery) {
        self.transport
            .deliver(conn.shard, vec![Outbound { conn, arrived: Arrival::UNKNOWN, delivery }]);
    }

    /// Panics if a login is waited for that nobody waits for, or the other way round.
    pub(super) fn check_logins(&self, is_open: impl Fn(ConnId) -> bool) {
        for Command { conn, request, .. } in &self.waiting {
            if let Request::Credential(CredentialRequest::Login(login)) = request {
                assert_eq!(login.attempt.is_abandoned(), !is_open(*conn), "of {conn:?}");
            }
        }
    }

    /// Panics if the shard has left something with it.
    pub(super) fn assert_idle(&self) {
        assert!(self.waiting.is_empty(), "{:?}", self.waiting);
        assert!(self.sessions.is_empty(), "nobody told the end of {:?}", self.sessions);
    }
}

fn is_registration(request: &Request) -> bool {
    matches!(request, Request::Credential(CredentialRequest::Register(_)))
}

fn is_login(request: &Request) -> bool {
    matches!(request, Request::Credential(CredentialRequest::Login(_)))
}
