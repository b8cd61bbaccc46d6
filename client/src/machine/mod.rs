//! The client as a machine: bytes, times and requests go in; bytes, events and deadlines come out.
//! It knows no socket, no clock and no thread, so it runs under any of them, and under tests that
//! cut connections at every byte.
//!
//! ```text
//!   request, log_in ─►┌──────────┐─► poll_event     what the application learns
//!   connected,        │          │─► poll_action    Connect, Disconnect
//!   disconnected,     │ Machine  │─► poll_output    bytes for the connection
//!   handle_input ────►│          │─► next_deadline  when to call handle_timeout
//!   handle_timeout    └──────────┘
//! ```
//!
//! After each call of the left side, ask the right side until it has nothing more.
//!
//! - `connection`: the phases from nothing to live and back, and what ends them
//! - `login`, `renewal`, `tokens`: which credential comes next
//! - `receive`: what the server says
//! - `transmit`: what is sent, and when
//! - `outbox`, `pending`: messages and requests that wait; `kept`: messages that may have to be sent again
//! - `logs`, `log`, `reading`: what is known of each conversation, gaps, unread counts
//! - `sync`: catching up after a login; `saved`: what is known, for a later run of the program
//! - `timing`, `backoff`, `liveness`, `random`: time

mod backoff;
mod config;
mod connection;
mod event;
mod kept;
mod liveness;
mod log;
mod login;
mod logs;
mod membership;
mod outbox;
mod pending;
mod random;
mod reading;
mod receive;
mod renewal;
mod request;
mod saved;
mod settings;
mod sync;
mod terms;
mod timing;
mod tokens;
mod transmit;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use dunlin_protocol::{LogId, UserId};

use backoff::Backoff;
use connection::{Attachment, Phase};
use kept::Kept;
use logs::Logs;
use outbox::{Outbox, Said};
use pending::{Job, JobQueue, PendingRequests};
use random::Random;

pub use config::{Backlog, Config, Device};
pub use connection::Disconnect;
pub use event::{ConversationView, Event, Lost, SkipReason, Status, Stop};
pub use request::{Failure, LogoutScope, Request, Response, Ticket};
pub use terms::Terms;
pub use tokens::{Credentials, Password, SavedTokens};

/// What the driver shall do with the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to this `host:port`, then call [`Machine::connected`] or
    /// [`Machine::disconnected`].
    Connect {
        /// Where.
        address: String,
    },
    /// Close the connection, or give up the attempt. Needs no answer.
    Disconnect,
}

/// The client without its surroundings. Times are milliseconds of any clock that does not go
/// backwards.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    random: Random,
    phase: Phase,
    attachment: Attachment,
    backoff: Backoff,
    pending: PendingRequests,
    jobs: JobQueue,
    outbox: Outbox,
    kept: Kept,
    logs: Logs,
    settings: settings::Settings,
    sync: sync::Sync,
    user: Option<UserId>,
    input: BytesMut,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

/// Signals are dropped when this many bytes wait for the connection: what is momentary must not
/// wait behind it.
const SIGNAL_BACKLOG_BYTES: usize = 64 * 1024;

impl Machine {
    /// A machine that does nothing until somebody logs in. `seed` should differ between clients:
    /// it spreads their reconnects.
    pub fn new(config: Config, seed: u64) -> Machine {
        let outbox = Outbox::new(
            config.sends_per_conversation,
            config.outbox_messages_max,
            config.outbox_bytes_max,
        );
        let mut machine = Machine {
            random: Random::new(seed),
            phase: Phase::Idle,
            attachment: Attachment::new(),
            backoff: Backoff::default(),
            pending: PendingRequests::new(),
            jobs: JobQueue::new(config.requests_max),
            outbox,
            kept: Kept::new(config.resend_after_restore_bytes_max),
            logs: Logs::new(config.aside_bytes_max),
            settings: settings::Settings::default(),
            sync: sync::Sync::new(),
            user: None,
            input: BytesMut::new(),
            output: VecDeque::new(),
            output_bytes: 0,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            config,
        };
        machine.restore();
        machine
    }

    /// Asks for something. Its one answer comes as [`Event::Completed`] with this ticket.
    pub fn request(&mut self, now_ms: u64, ticket: Ticket, request: Request) {
        if let Err(failure) = self.take_request(ticket, request) {
            self.events.push_back(Event::Completed { ticket, result: Err(failure) });
        }
        self.transmit(now_ms);
    }

    fn take_request(&mut self, ticket: Ticket, request: Request) -> Result<(), Failure> {
        if request.is_too_large(&self.attachment.terms.limits) {
            return Err(Failure::TooLarge);
        }
        match (&self.phase, request) {
            (Phase::Closed, _) => Err(Failure::Closed),
            (_, Request::Send { conversation, message_id, content_type, content, notice }) => {
                let said = Said { message_id, content_type, content, notice };
                if self.outbox.push(ticket, conversation, said) {
                    Ok(())
                } else {
                    Err(Failure::QueueFull)
                }
            }
            (Phase::Idle | Phase::Stopped, _) => Err(Failure::NotLoggedIn),
            (_, request) => {
                let job = Job { ticket, request, failures: 0 };
                self.jobs.push(job).map_err(|_| Failure::QueueFull)
            }
        }
    }

    /// Tells the other member something momentary, if that is possible now. Nobody learns whether
    /// it arrived.
    pub fn signal(&mut self, now_ms: u64, conversation: LogId, kind: &str, payload: Bytes) {
        let limits = &self.attachment.terms.limits;
        let fits = kind.len() <= limits.type_bytes_max as usize
            && payload.len() <= limits.signal_bytes_max as usize;
        if fits && self.is_live() && self.output_bytes < SIGNAL_BACKLOG_BYTES {
            self.send_signal(now_ms, conversation, kind, payload);
        }
    }

    /// The next thing to do with the connection.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next bytes for the connection.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        let bytes = self.output.pop_front()?;
        self.output_bytes -= bytes.len();
        Some(bytes)
    }

    /// The next news for the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// News that wait for [`Machine::poll_event`]. A driver whose application does not take them
    /// stops reading from the connection meanwhile.
    pub fn events_waiting(&self) -> usize {
        self.events.len()
    }

    /// Who is logged in, or was at last.
    pub fn user(&self) -> Option<UserId> {
        self.user
    }

    /// What the server has said of itself, on this connection or the last one.
    pub fn terms(&self) -> &Terms {
        &self.attachment.terms
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }
}
