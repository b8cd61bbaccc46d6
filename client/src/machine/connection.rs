//! The life of a connection.
//!
//! ```text
//!  Idle ──log_in──► Connecting ──► LoggingIn ──► Syncing ──► Live ──GoAway──► Leaving
//!                     ▲                │            │          │                │
//!                     │                └──────┬─────┴────┬─────┘                │
//!                  Waiting ◄── broken, Close ─┘          └─ REPLACED ... ► Stopped
//!                     ▲                                                         │
//!                     └─────────────────────────────────────────────────────────┘
//! ```

use dunlin_protocol::wire::{self, CloseReason};

use super::event::{Event, Lost, Status, Stop};
use super::liveness::Liveness;
use super::login::{Login, Refusal};
use super::pending::{Job, Pending};
use super::request::{Failure, Request, Response};
use super::terms::Terms;
use super::tokens::Credentials;
use super::{Action, Machine};

/// From connected to logged in: a server may have to hash many passwords before ours.
const LOGIN_TIMEOUT_MS: u64 = 40_000;
/// From the server's GoAway to the end, for what is under way.
const LEAVE_TIMEOUT_MS: u64 = 10_000;
/// Until Welcome tells the interval.
const FIRST_INTERVAL_MS: u32 = 60_000;

/// Where the connection stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nobody has logged in yet.
    Idle,
    /// The next attempt is due at this time.
    Waiting { until_ms: u64 },
    /// The driver is at it.
    Connecting,
    /// Hello and Login are on their way.
    LoggingIn { deadline_ms: u64 },
    /// What was missed is being read.
    Syncing,
    /// Everything may be sent.
    Live,
    /// The server wants us to go: nothing new is sent, what is under way is finished.
    Leaving { deadline_ms: u64, go_away: wire::GoAway },
    /// Only the user can go on.
    Stopped,
    /// The application has no more use for this machine.
    Closed,
}

/// What belongs to connections, over their phases.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) login: Login,
    pub(super) liveness: Liveness,
    pub(super) terms: Terms,
    /// Which of the addresses is tried next.
    next_address: usize,
    /// Where the last GoAway sent us; for one attempt.
    sent_to: Option<String>,
    /// This attempt goes there.
    is_detour: bool,
}

impl Attachment {
    pub(super) fn new() -> Attachment {
        Attachment {
            login: Login::new(Credentials::default()),
            liveness: Liveness::new(0, FIRST_INTERVAL_MS),
            terms: Terms::default(),
            next_address: 0,
            sent_to: None,
            is_detour: false,
        }
    }
}

/// Why a connection ended, as its driver sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnect {
    /// It could not be made, or broke, or the server closed it.
    Network(String),
    /// The server could not prove who it is. Trying again would not help.
    Untrusted(String),
}

impl Machine {
    /// Logs in, now and after each lost connection, until the server or the application ends it.
    /// Also the way on after [`Status::Stopped`].
    pub fn log_in(&mut self, credentials: Credentials) {
        match self.phase {
            Phase::Closed => return,
            Phase::Idle | Phase::Waiting { .. } | Phase::Stopped => {}
            Phase::Connecting
            | Phase::LoggingIn { .. }
            | Phase::Syncing
            | Phase::Live
            | Phase::Leaving { .. } => self.detach(),
        }
        self.attachment.login = Login::new(credentials);
        self.backoff.reset();
        self.connect();
    }

    /// Connects at once, if the next attempt is due later: the network is back, or the user asks.
    pub fn hurry(&mut self) {
        if matches!(self.phase, Phase::Waiting { .. }) {
            self.connect();
        }
    }

    /// Ends everything: what still waits is answered with [`Failure::Closed`].
    pub fn close(&mut self) {
        self.detach();
        self.fail_jobs(&Failure::Closed);
        self.fail_messages(&Failure::Closed);
        self.phase = Phase::Closed;
    }

    /// The driver made the connection (with TLS, if it is wanted).
    pub fn connected(&mut self, now_ms: u64) {
        if !matches!(self.phase, Phase::Connecting) {
            return;
        }
        self.phase = Phase::LoggingIn { deadline_ms: now_ms + LOGIN_TIMEOUT_MS };
        self.attachment.liveness = Liveness::new(now_ms, FIRST_INTERVAL_MS);
        self.events.push_back(Event::Status(Status::LoggingIn));
        self.say_hello(now_ms);
        self.attempt_login(now_ms);
    }

    /// The connection is gone, or could not be made.
    pub fn disconnected(&mut self, now_ms: u64, why: Disconnect) {
        match self.phase {
            Phase::Idle | Phase::Waiting { .. } | Phase::Stopped | Phase::Closed => {}
            Phase::Connecting
            | Phase::LoggingIn { .. }
            | Phase::Syncing
            | Phase::Live
            | Phase::Leaving { .. } => {
                match why {
                    Disconnect::Network(error) => self.lose(now_ms, Lost::Network(error), 0),
                    // Where a GoAway sent us says nothing about the server that we know.
                    Disconnect::Untrusted(error) if self.attachment.is_detour => {
                        self.lose(now_ms, Lost::Network(error), 0);
                    }
                    Disconnect::Untrusted(error) => self.stop(Stop::Untrusted(error)),
                }
                // The driver knows already.
                self.actions.retain(|action| *action != Action::Disconnect);
            }
        }
    }

    pub(super) fn connect(&mut self) {
        let attachment = &mut self.attachment;
        attachment.is_detour = attachment.sent_to.is_some();
        let address = attachment.sent_to.take().or_else(|| {
            let addresses = &self.config.addresses;
            let address = addresses.get(attachment.next_address % addresses.len().max(1))?;
            attachment.next_address = attachment.next_address.wrapping_add(1);
            Some(address.clone())
        });
        let address = address.unwrap_or_default();
        self.phase = Phase::Connecting;
        self.events.push_back(Event::Status(Status::Connecting { address: address.clone() }));
        self.actions.push_back(Action::Connect { address });
    }

    /// The server says how the login must go on.
    pub(super) fn login_refused(&mut self, now_ms: u64, refusal: Refusal) {
        match refusal {
            Refusal::TryNext => {
                self.announce_tokens();
                self.attempt_login(now_ms);
            }
            Refusal::NotNow { code, retry_after_ms } => {
                self.lose(now_ms, Lost::NotNow(code), retry_after_ms);
            }
            Refusal::Stop(stop) => self.stop(stop),
        }
    }

    /// The server's last word.
    pub(super) fn closed_by_server(&mut self, now_ms: u64, close: &wire::Close) {
        let reason = close.reason();
        let stop = match reason {
            // Of the same session, too: we have no other connection, so somebody else has its tokens,
            // and two that throw each other out never stop.
            CloseReason::Replaced | CloseReason::Reconnected => Stop::Replaced,
            CloseReason::LoggedOut => Stop::LoggedOut,
            CloseReason::AccountDisabled => Stop::AccountDisabled,
            CloseReason::LoginFailed => {
                Stop::TooManyFailures { retry_after_ms: close.reconnect_delay_ms }
            }
            CloseReason::UnsupportedVersion => Stop::UnsupportedVersion,
            CloseReason::MalformedFrame | CloseReason::ProtocolViolation => {
                Stop::ClientFault(reason)
            }
            // After the login it may be a frame of a version that allowed more; before it, only
            // the login itself, which would be as large the next time.
            CloseReason::FrameTooLarge if matches!(self.phase, Phase::LoggingIn { .. }) => {
                Stop::ClientFault(reason)
            }
            CloseReason::Unspecified
            | CloseReason::PeerClosed
            | CloseReason::PeerReset
            | CloseReason::IdleTimeout
            | CloseReason::HandshakeTimeout
            | CloseReason::LoginTimeout
            | CloseReason::WriteTimeout
            | CloseReason::SlowConsumer
            | CloseReason::FrameTooLarge
            | CloseReason::TlsError
            | CloseReason::UpgradeRefused
            | CloseReason::Overloaded
            | CloseReason::ServerDraining
            | CloseReason::ServerError
            | CloseReason::RateLimited
            | CloseReason::FrameTimeout => {
                // What GoAway said goes before what the end of the same connection says.
                if let Phase::Leaving { .. } = self.phase {
                    return self.leave(now_ms);
                }
                return self.lose(now_ms, Lost::Closed(reason), close.reconnect_delay_ms);
            }
        };
        self.stop(stop);
    }

    /// The server wants us to go.
    pub(super) fn asked_to_leave(&mut self, now_ms: u64, go_away: wire::GoAway) {
        let deadline_ms = now_ms + LEAVE_TIMEOUT_MS;
        match self.phase {
            Phase::Live | Phase::Syncing => {
                self.phase = Phase::Leaving { deadline_ms, go_away };
                self.leave_if_idle(now_ms);
            }
            // Nothing is under way that would be worth waiting for.
            Phase::LoggingIn { .. } => {
                self.phase = Phase::Leaving { deadline_ms, go_away };
                self.leave(now_ms);
            }
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Connecting
            | Phase::Leaving { .. }
            | Phase::Stopped
            | Phase::Closed => {}
        }
    }

    pub(super) fn leave_if_idle(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Leaving { .. }) && self.pending.is_empty() {
            self.leave(now_ms);
        }
    }

    pub(super) fn leave(&mut self, now_ms: u64) {
        let Phase::Leaving { go_away, .. } = &self.phase else { return };
        let delay_ms = go_away.reconnect_delay_ms;
        self.attachment.sent_to = Some(go_away.address.clone()).filter(|to| !to.is_empty());
        self.lose(now_ms, Lost::GoAway, delay_ms);
    }

    /// Ends the connection, and makes the next one after a while. `told_ms`: how long the server
    /// says, 0 if it does not.
    pub(super) fn lose(&mut self, now_ms: u64, lost: Lost, told_ms: u32) {
        if let Phase::Leaving { go_away, .. } = &self.phase
            && !go_away.address.is_empty()
        {
            self.attachment.sent_to = Some(go_away.address.clone());
        }
        self.detach();
        let until_ms = now_ms + self.backoff.delay_ms(told_ms, &mut self.random);
        self.phase = Phase::Waiting { until_ms };
        self.events.push_back(Event::Status(Status::Waiting { until_ms, lost }));
    }

    /// Ends the connection until the user logs in again. Messages are kept for that; everything
    /// else is answered now, since nobody knows when that will be.
    pub(super) fn stop(&mut self, stop: Stop) {
        self.detach();
        let session_is_over = match stop {
            Stop::LoggedOut | Stop::NoCredentials => true,
            // By a login of the same device, perhaps, in which case it lives on there.
            Stop::Replaced
            | Stop::NewTokenNeeded
            | Stop::WrongCredentials
            | Stop::NameTaken
            | Stop::AccountDisabled
            | Stop::TooManyFailures { .. }
            | Stop::Refused(_)
            | Stop::UnsupportedVersion
            | Stop::ClientFault(_)
            | Stop::Untrusted(_) => false,
        };
        // Who only fetches leaves them to the client whose session it is.
        if session_is_over && !self.config.fetch_only {
            self.attachment.login.forget_tokens();
            self.announce_tokens();
        }
        self.complete_logouts(stop == Stop::LoggedOut);
        self.fail_jobs(&Failure::NotLoggedIn);
        self.phase = Phase::Stopped;
        self.events.push_back(Event::Status(Status::Stopped(stop)));
    }

    /// A logout whose answer was overtaken by its effect has succeeded.
    fn complete_logouts(&mut self, is_logged_out: bool) {
        if !is_logged_out {
            return;
        }
        let (done, others): (Vec<Job>, Vec<Job>) =
            self.jobs.drain().into_iter().partition(
                |job| matches!(job.request, Request::Logout(scope) if scope.ends_this()),
            );
        self.jobs.put_back(others);
        for job in done {
            self.complete(job.ticket, Ok(Response::Done));
        }
    }

    /// Lets go of the connection: what was under way must be said again on the next one.
    fn detach(&mut self) {
        match self.phase {
            Phase::Idle | Phase::Waiting { .. } | Phase::Stopped | Phase::Closed => {}
            Phase::Connecting => {
                self.actions.retain(|action| !matches!(action, Action::Connect { .. }));
                self.actions.push_back(Action::Disconnect);
            }
            Phase::LoggingIn { .. } | Phase::Syncing | Phase::Live | Phase::Leaving { .. } => {
                self.actions.push_back(Action::Disconnect);
            }
        }
        self.input.clear();
        self.output.clear();
        self.output_bytes = 0;
        self.attachment.login.disconnected();
        self.sync.disconnected();
        self.logs.disconnected();
        self.outbox.disconnected();
        let mut again = Vec::new();
        for pending in self.pending.drain() {
            match pending {
                Pending::Job(job) if job.request.may_repeat() => again.push(job),
                Pending::Job(job) => self.events.push_back(Event::Completed {
                    ticket: job.ticket,
                    result: Err(Failure::Interrupted),
                }),
                Pending::Hello
                | Pending::Register
                | Pending::LogIn
                | Pending::Refresh
                | Pending::Sync
                | Pending::Repair(_)
                | Pending::Send(_) => {}
            }
        }
        self.jobs.put_back(again);
    }

    pub(super) fn fail_jobs(&mut self, failure: &Failure) {
        for job in self.jobs.drain() {
            self.complete(job.ticket, Err(failure.clone()));
        }
    }

    pub(super) fn fail_messages(&mut self, failure: &Failure) {
        for ticket in self.outbox.drain().into_iter().filter_map(|outgoing| outgoing.ticket) {
            self.complete(ticket, Err(failure.clone()));
        }
    }

    pub(super) fn announce_tokens(&mut self) {
        let tokens = self.attachment.login.tokens().clone();
        self.events.push_back(Event::Tokens(tokens));
    }
}
