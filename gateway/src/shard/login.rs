//! How logins end, for the connection, for its address, and for who reads the log.

use dunlin_core::attempt::Tried;
use dunlin_core::limits::OVERLOADED_RETRY_MS;
use dunlin_core::refusal::Refusal;
use dunlin_core::request::Command;
use dunlin_core::transport::Session;
use dunlin_protocol::wire::{CloseReason, Error, ErrorCode, frame::Body};
use dunlin_protocol::{EncodedFrame, frame};

use super::Shard;
use crate::admission::PasswordRefusal;
use crate::log::names::code_name;

const ADDRESS_BLOCKED: Refusal = Refusal::new(
    ErrorCode::RateLimited,
    "too many logins failed from this address: for now it is let in by tokens alone",
);

const PASSWORDS_AT_ONCE: Refusal = Refusal::retry(
    ErrorCode::RateLimited,
    "too many passwords of this address are being looked at",
    OVERLOADED_RETRY_MS,
);

const TOO_MANY_REGISTRATIONS: Refusal = Refusal::new(
    ErrorCode::RateLimited,
    "too many names were registered from this address, or tried",
);

impl Shard {
    pub(super) fn logged_in(&mut self, key: usize, session: Session, response: EncodedFrame) {
        self.password_ended(key);
        let slot = &mut self.slots[key];
        slot.protocol.logged_in(session);
        self.node.admission.logged_in();
        slot.failed_logins = 0;
        let peer = slot.address;
        // It may be idle before the wheel would look at it for its login.
        self.arm(key);
        tracing::debug!(conn = %self.conn_id(key), %peer, user = session.user.get(), "logged in");
        self.respond(key, response);
        self.go_on_behind_a_login(key);
    }

    /// The credential was wrong, which counts against connection and address.
    pub(super) fn login_refused(&mut self, key: usize, response: EncodedFrame) {
        let limits = &self.settings.limits;
        let peer = self.slots[key].address;
        let blocked = self.node.admission.login_failed(peer, limits, self.clock.monotonic_ms());
        if let Some(retry_after_ms) = blocked {
            tracing::warn!(%peer, retry_after_ms, "an address is blocked for failed logins");
        }
        self.login_failed(key, response, blocked);
    }

    /// Whether a request may go on for which a password has to be looked at. If not, it is answered.
    pub(super) fn password_may_be_shown(&mut self, key: usize, command: &mut Command) -> bool {
        if self.is_refused_to_blocked(key, command) {
            return false;
        }
        let slot = &self.slots[key];
        let address = slot.address;
        if !slot.protocol.is_logging_in() {
            // Who is logged in changes it: of one user, once at a time.
            return true;
        }
        command.request.comes_from(self.node.admission.source(address));
        let (limits, now_ms) = (&self.settings.limits, self.clock.monotonic_ms());
        let is_registration = slot.protocol.is_registering();
        let begun = self.node.admission.password_begins(address, is_registration, limits, now_ms);
        let error = match begun {
            Ok(()) => {
                self.slots[key].flags.shows_password = true;
                return true;
            }
            Err(PasswordRefusal::AtOnce) => PASSWORDS_AT_ONCE.into(),
            Err(PasswordRefusal::Registrations(retry_after_ms)) => {
                Error { retry_after_ms, ..TOO_MANY_REGISTRATIONS.into() }
            }
        };
        let response = EncodedFrame::response(command.request_id, Body::Error(error));
        self.login_postponed(key, response);
        false
    }

    /// The password of a login or a registration was looked at, or its connection ends.
    pub(super) fn password_ended(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if std::mem::take(&mut slot.flags.shows_password) {
            self.node.admission.password_ends(slot.address);
        }
    }

    /// Answers a request for which a password would have to be looked at, if its address is blocked:
    /// `true` if there is nothing more to be done about it. Tokens are not guessed, and many people may be
    /// behind an address, so who has one is let in. (What a stranger costs beside a password, as the
    /// handshake, is bounded for all of them alike.)
    fn is_refused_to_blocked(&mut self, key: usize, command: &Command) -> bool {
        let (peer, limits) = (self.slots[key].address, &self.settings.limits);
        let Some(retry_after_ms) =
            self.node.admission.blocked_for_ms(peer, limits, self.clock.monotonic_ms())
        else {
            return false;
        };
        let error = Error { retry_after_ms, ..ADDRESS_BLOCKED.into() };
        let response = EncodedFrame::response(command.request_id, Body::Error(error));
        if self.slots[key].protocol.is_logging_in() {
            self.login_failed(key, response, None);
        } else {
            self.respond(key, response);
        }
        true
    }

    /// A login has failed, which counts against the connection. If the address is blocked by it, the
    /// connection is closed: whoever guesses begins anew.
    fn login_failed(&mut self, key: usize, response: EncodedFrame, blocked: Option<u32>) {
        self.log_failed_login(key, &response);
        self.password_ended(key);
        let slot = &mut self.slots[key];
        // Who looks for a name that is free may need some tries; the address has a limit for them.
        let is_guess = u8::from(!slot.protocol.is_registering() || blocked.is_some());
        slot.protocol.login_refused();
        slot.failed_logins = slot.failed_logins.saturating_add(is_guess);
        let too_many = slot.failed_logins >= self.settings.limits.failed_logins_per_connection_max;
        self.respond(key, response);
        if let Some(delay_ms) = blocked.or(too_many.then_some(0))
            && self.slots.contains(key)
        {
            self.close(key, CloseReason::LoginFailed, delay_ms);
        }
        self.go_on_behind_a_login(key);
    }

    /// An account was made.
    pub(super) fn registered(&mut self, key: usize, response: EncodedFrame) {
        self.password_ended(key);
        self.slots[key].protocol.login_refused();
        self.respond(key, response);
        self.go_on_behind_a_login(key);
    }

    /// It could not be decided, or the credential was good once.
    pub(super) fn login_postponed(&mut self, key: usize, response: EncodedFrame) {
        self.log_failed_login(key, &response);
        self.password_ended(key);
        self.slots[key].protocol.login_refused();
        self.respond(key, response);
        self.go_on_behind_a_login(key);
    }

    /// A line for audits, and for programs that shut out addresses. It says what the client is told, and
    /// so is read back from there.
    fn log_failed_login(&self, key: usize, response: &EncodedFrame) {
        let Ok(Some(Body::Error(error))) = frame::decode(response.body()).map(|frame| frame.body)
        else {
            return;
        };
        let (conn, slot) = (self.conn_id(key), &self.slots[key]);
        let (peer, tried) = (slot.address, slot.protocol.login_tried());
        let name = tried.and_then(Tried::name);
        let credential = tried.map(Tried::credential);
        let (code, message) = (code_name(error.code()), &error.message[..]);
        if slot.protocol.is_registering() {
            tracing::info!(%conn, %peer, name, code, why = message, "registration failed");
        } else if is_everyday(&error) {
            tracing::debug!(%conn, %peer, name, credential, code, why = message, "login failed");
        } else {
            tracing::info!(%conn, %peer, name, credential, code, why = message, "login failed");
        }
    }
}

/// Whether it happens to good clients every day: a token gets old, a server has much to do.
fn is_everyday(error: &Error) -> bool {
    match error.code() {
        ErrorCode::TokenExpired
        | ErrorCode::NewTokenNeeded
        | ErrorCode::Overloaded
        | ErrorCode::StoreUnavailable
        | ErrorCode::Timeout
        | ErrorCode::ShuttingDown => true,
        ErrorCode::Unspecified
        | ErrorCode::InvalidArgument
        | ErrorCode::UnknownCommand
        | ErrorCode::NotLoggedIn
        | ErrorCode::AlreadyLoggedIn
        | ErrorCode::NoSuchConversation
        | ErrorCode::NoSuchUser
        | ErrorCode::MessageIdConflict
        | ErrorCode::NameTaken
        | ErrorCode::ContentInvalid
        | ErrorCode::Overtaken
        | ErrorCode::NoSuchEntry
        | ErrorCode::VersionConflict
        | ErrorCode::LimitReached
        | ErrorCode::WrongCredentials
        | ErrorCode::TokenInvalid
        | ErrorCode::SessionRevoked
        | ErrorCode::RateLimited
        | ErrorCode::PermissionDenied
        | ErrorCode::AccountDisabled
        | ErrorCode::RegistrationClosed
        | ErrorCode::InvitationInvalid
        | ErrorCode::IssuerAccount
        | ErrorCode::FetchOnly
        | ErrorCode::Internal
        | ErrorCode::DataCorrupt => false,
    }
}
