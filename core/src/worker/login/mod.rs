//! Becoming somebody on a connection, and what else is about credentials and sessions.
//!
//! ```text
//!                     any worker                              worker of the user
//! token of ours   ─►  verify ────────────────────────────►┐
//! issuer's token  ─►  verify ─► read the name ───────────►┤
//!                                 └► create the account ─►┤
//!                     worker of the name                  ├─► Operation: Enter
//! password        ─►  may it be tried? ─► read the name   │
//!                     ─► read the hash ─► verify ────────►┘
//! ```
//!
//! A worker that gets a password of a name that another one owns passes the login on; so commands
//! without a session may be submitted to any worker. Every step that fails answers the request.
//!
//! - `by_password`, `by_issuer`, `creation`: the ways in
//! - `operation`, `decide`, `enter`: what is done to the identity of a user, one thing at a time
//! - `admin`, `listing`, `password_change`: other askers; `asker`, `look_up`: how all of them ask
//!   and are told

pub(super) mod admin;
pub(super) mod asker;
pub(super) mod by_issuer;
pub(super) mod by_password;
pub(super) mod creation;
pub(super) mod decide;
pub(super) mod enter;
pub(super) mod listing;
pub(super) mod look_up;
pub(super) mod operation;
pub(super) mod password_change;

use dunlin_protocol::UserId;
use dunlin_protocol::wire::{ErrorCode, login::Credential};

use crate::auth::issuer::IssuerError;
use crate::auth::names;
use crate::auth::password::PasswordError;
use crate::auth::token::{Claims, TokenError, TokenKind};
use crate::limits::OVERLOADED_RETRY_MS;
use crate::refusal::{INTERNAL, Refusal};
use crate::request::{CredentialRequest, IdentityRequest, Login};
use crate::store::{Appended, Page};
use crate::transport::{ConnId, Session};
use crate::worker::flow::{Answer, PasswordResult};
use crate::worker::login::asker::Asker;
use crate::worker::login::by_issuer::IssuerLogin;
use crate::worker::login::by_password::{Checked, PasswordLogin};
use crate::worker::login::creation::{Creation, Registration};
use crate::worker::login::enter::{ABANDONED, Enter, Proof};
use crate::worker::login::operation::{Action, Appending, Operation, Running, Speaker};
use crate::worker::login::password_change::PasswordChange;
use crate::worker::router::Router;
use crate::worker::turn::Turn;

/// A step of a login between workers.
#[derive(Debug, Clone)]
pub enum LoginMessage {
    /// A login by password, for the worker of the name.
    Password(Box<PasswordLogin>),
    /// Something to do to a user, for the worker of the user.
    Operation(Box<Operation>),
}

/// What a login, or the like, waits for of a page.
#[derive(Debug)]
pub(crate) enum LoginPage {
    /// Whether the name is free.
    RegisterName(Box<Registration>),
    /// Whose name it is.
    PasswordName(Box<PasswordLogin>),
    /// The user's hash.
    PasswordIdentity(Box<PasswordLogin>, UserId),
    /// Whose name it is.
    IssuerName(Box<IssuerLogin>),
    /// The hash of the old password.
    ChangeIdentity(Box<PasswordChange>),
    /// The newest identity of the user.
    Operation(Box<Running>),
}

/// What a login, or the like, waits for to be durable.
#[derive(Debug)]
pub(crate) enum LoginAppend {
    /// A new account.
    Account(Box<Creation>),
    /// The claim of its name.
    Name(Box<Creation>),
    /// A changed identity.
    Operation(Box<Appending>),
}

/// What a login, or the like, waits for of the password threads.
#[derive(Debug)]
pub(crate) enum LoginPassword {
    /// The hash of the new password.
    Register(Box<Registration>),
    /// Whether the password fits.
    Verify(Box<PasswordLogin>, Option<Checked>),
    /// Whether the old password fits, and the hash of the new one.
    Change(Box<PasswordChange>, String),
}

impl Router {
    /// Somebody wants to become somebody.
    pub(super) fn take_credential_request(
        &mut self,
        conn: ConnId,
        request_id: u64,
        request: CredentialRequest,
        turn: &mut Turn<'_>,
    ) {
        match request {
            CredentialRequest::Login(login) => self.take_login(conn, request_id, login, turn),
            CredentialRequest::Register(register) => {
                let asker = Asker::Request { conn, request_id };
                if turn.shared.config.registration {
                    self.begin_registration(asker, register, turn);
                } else {
                    self.refuse_asker(asker, REGISTRATION_OFF, turn);
                }
            }
        }
    }

    /// A user asks something about credentials or sessions.
    pub(super) fn take_identity_request(
        &mut self,
        conn: ConnId,
        session: Session,
        request_id: u64,
        request: IdentityRequest,
        turn: &mut Turn<'_>,
    ) {
        let asker = Asker::Request { conn, request_id };
        let Session { user, session } = session;
        let speaker = Speaker { conn, session };
        let action = match request {
            IdentityRequest::Logout(which) => Action::Logout { speaker, which },
            IdentityRequest::ListSessions => Action::ListSessions { speaker },
            IdentityRequest::Refresh { refresh_token } => {
                match own_text(TokenKind::Refresh, &refresh_token, turn) {
                    Ok(claims) if claims.user == user && claims.session == session => {
                        Action::Refresh { speaker, claims }
                    }
                    Ok(_) => return self.refuse_asker(asker, TOKEN_INVALID, turn),
                    Err(refusal) => return self.refuse_asker(asker, refusal, turn),
                }
            }
            IdentityRequest::ChangePassword { old, new } => {
                let change = PasswordChange { asker, user, speaker, old, new };
                return self.begin_password_change(change, turn);
            }
        };
        self.operate(Operation { user, asker, action }, turn);
    }

    fn take_login(&mut self, conn: ConnId, request_id: u64, login: Login, turn: &mut Turn<'_>) {
        let asker = Asker::Login { conn, request_id };
        let Login { credential, device, attempt } = login;
        if attempt.is_abandoned() {
            return self.refuse_asker(asker, ABANDONED, turn);
        }
        let (kind, verified) = match credential {
            Credential::Password(typed) => {
                let username = names::normalised(&typed.username);
                let password = typed.password;
                let login = PasswordLogin { conn, request_id, attempt, device, username, password };
                return self.route_password_login(Box::new(login), turn);
            }
            Credential::IssuerToken(token) => {
                return match turn.shared.issuers.verify(&token, turn.now_ms) {
                    Ok(issued) => {
                        let login = IssuerLogin { conn, request_id, attempt, device, issued };
                        self.read_issued_name(Box::new(login), turn);
                    }
                    Err(error) => self.refuse_asker(asker, issuer_refusal(&error), turn),
                };
            }
            Credential::AccessToken(text) => {
                (TokenKind::Access, own_text(TokenKind::Access, &text, turn))
            }
            Credential::RefreshToken(text) => {
                (TokenKind::Refresh, own_text(TokenKind::Refresh, &text, turn))
            }
            Credential::ResumeToken(token) => {
                let keys = &turn.shared.tokens;
                let verified = keys.verify(TokenKind::Resume, turn.now_ms, &token);
                (TokenKind::Resume, verified.map_err(token_refusal))
            }
        };
        match verified {
            Ok(claims) if claims.device == device.id => {
                let (user, username) = (claims.user, claims.username.clone());
                let proof = match kind {
                    TokenKind::Refresh => Proof::Refresh(claims),
                    TokenKind::Access | TokenKind::Resume => Proof::Token(claims),
                };
                let enter = Enter { conn, request_id, attempt, username, device, proof };
                self.operate(Operation { user, asker, action: Action::Enter(enter) }, turn);
            }
            // A token belongs to the device that it was given to.
            Ok(_) => self.refuse_asker(asker, TOKEN_INVALID, turn),
            Err(refusal) => self.refuse_asker(asker, refusal, turn),
        }
    }

    pub(super) fn take_login_message(&mut self, message: LoginMessage, turn: &mut Turn<'_>) {
        match message {
            LoginMessage::Password(login) => self.begin_password_login(login, turn),
            LoginMessage::Operation(operation) => self.take_operation(*operation, turn),
        }
    }

    pub(super) fn login_page_read(
        &mut self,
        flow: LoginPage,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        match flow {
            LoginPage::RegisterName(flow) => self.register_name_read(flow, answer, turn),
            LoginPage::PasswordName(flow) => self.password_name_read(flow, answer, turn),
            LoginPage::PasswordIdentity(flow, user) => {
                self.password_identity_read(flow, user, answer, turn);
            }
            LoginPage::IssuerName(flow) => self.issued_name_read(*flow, answer, turn),
            LoginPage::ChangeIdentity(flow) => self.change_identity_read(flow, answer, turn),
            LoginPage::Operation(flow) => self.operation_identity_read(flow, answer, turn),
        }
    }

    pub(super) fn login_appended(
        &mut self,
        flow: LoginAppend,
        answer: Answer<Vec<Appended>>,
        turn: &mut Turn<'_>,
    ) {
        match flow {
            LoginAppend::Account(flow) => self.account_created(flow, answer, turn),
            LoginAppend::Name(flow) => self.name_claimed(*flow, answer, turn),
            LoginAppend::Operation(flow) => self.operation_appended(flow, answer, turn),
        }
    }

    pub(super) fn login_password_answered(
        &mut self,
        flow: LoginPassword,
        result: PasswordResult,
        turn: &mut Turn<'_>,
    ) {
        match flow {
            LoginPassword::Register(flow) => self.register_hashed(*flow, result, turn),
            LoginPassword::Verify(flow, checked) => {
                self.password_verified(*flow, checked, result, turn);
            }
            LoginPassword::Change(flow, hash) => self.change_hashed(&flow, hash, result, turn),
        }
    }
}

const REGISTRATION_OFF: Refusal =
    Refusal::new(ErrorCode::DisabledHere, "registration is switched off");

const TOKEN_INVALID: Refusal =
    Refusal::new(ErrorCode::TokenInvalid, "the token is not one of ours for this device");

const TOKEN_EXPIRED: Refusal = Refusal::new(ErrorCode::TokenExpired, "the token has expired");

fn own_text(kind: TokenKind, text: &str, turn: &Turn<'_>) -> Result<Claims, Refusal> {
    turn.shared.tokens.verify_text(kind, turn.now_ms, text).map_err(token_refusal)
}

fn token_refusal(error: TokenError) -> Refusal {
    match error {
        TokenError::Expired { .. } => TOKEN_EXPIRED,
        TokenError::Invalid => TOKEN_INVALID,
    }
}

fn issuer_refusal(error: &IssuerError) -> Refusal {
    match error {
        IssuerError::Expired => TOKEN_EXPIRED,
        IssuerError::TooLong { .. }
        | IssuerError::Malformed { .. }
        | IssuerError::UnknownIssuer
        | IssuerError::WrongAlgorithm
        | IssuerError::Critical
        | IssuerError::WrongSignature
        | IssuerError::NotYetValid
        | IssuerError::WrongAudience
        | IssuerError::Claim { .. } => {
            Refusal::new(ErrorCode::TokenInvalid, "the issuer's token is not accepted")
        }
    }
}

/// What to tell a client when a password can't be looked at.
pub(super) fn hash_refusal(error: PasswordError) -> Refusal {
    match error {
        PasswordError::Overloaded { .. } => Refusal::retry(
            ErrorCode::Overloaded,
            "too many passwords wait to be checked",
            OVERLOADED_RETRY_MS,
        ),
        PasswordError::Malformed => {
            Refusal::new(ErrorCode::DataCorrupt, "the stored password hash is damaged")
        }
        PasswordError::Parameters { .. } => INTERNAL,
        PasswordError::NoMemory { .. } => Refusal::retry(
            ErrorCode::Overloaded,
            "no memory to check a password",
            OVERLOADED_RETRY_MS,
        ),
    }
}
