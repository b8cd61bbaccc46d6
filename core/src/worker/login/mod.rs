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
//! - `admin`, `listing`, `password_change`: other askers; `asker`, `look_up`: how all of them ask and are told

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
use crate::transport::{ConnId, Session};
use crate::worker::Worker;
use crate::worker::effect::Effects;
use crate::worker::flow::{PasswordResult, StoreResult};
use crate::worker::login::asker::Asker;
use crate::worker::login::by_issuer::IssuerLogin;
use crate::worker::login::by_password::{Checked, PasswordLogin};
use crate::worker::login::creation::{Creation, Registration};
use crate::worker::login::enter::{ABANDONED, Enter, Proof};
use crate::worker::login::operation::{Action, Appending, Operation, Running, Speaker};
use crate::worker::login::password_change::PasswordChange;

/// A step of a login between workers.
#[derive(Debug, Clone)]
pub enum LoginMessage {
    /// A login by password, for the worker of the name.
    Password(Box<PasswordLogin>),
    /// Something to do to a user, for the worker of the user.
    Operation(Box<Operation>),
}

/// What a login, or the like, waits for.
#[derive(Debug)]
pub(super) enum LoginFlow {
    /// Whether the name is free.
    RegisterName(Box<Registration>),
    /// The hash of the new password.
    RegisterHash(Box<Registration>),
    /// The account to be durable.
    CreateAccount(Box<Creation>),
    /// The name to be claimed.
    ClaimName(Box<Creation>),
    /// Whose name it is.
    PasswordName(Box<PasswordLogin>),
    /// The user's hash.
    PasswordIdentity(Box<PasswordLogin>, UserId),
    /// Whether the password fits it.
    PasswordVerify(Box<PasswordLogin>, Option<Checked>),
    /// Whose name it is.
    IssuerName(Box<IssuerLogin>),
    /// The hash of the old password.
    ChangeIdentity(Box<PasswordChange>),
    /// Whether it fits, and the hash of the new one.
    ChangeHash(Box<PasswordChange>, String),
    /// The newest identity of the user.
    Operation(Box<Running>),
    /// Its successor to be durable.
    OperationAppend(Box<Appending>),
}

impl LoginFlow {
    fn asker(&self) -> Asker {
        match self {
            LoginFlow::RegisterName(registration) | LoginFlow::RegisterHash(registration) => {
                registration.asker
            }
            LoginFlow::CreateAccount(creation) | LoginFlow::ClaimName(creation) => creation.asker(),
            LoginFlow::PasswordName(login)
            | LoginFlow::PasswordIdentity(login, _)
            | LoginFlow::PasswordVerify(login, _) => login.asker(),
            LoginFlow::IssuerName(login) => login.asker(),
            LoginFlow::ChangeIdentity(change) | LoginFlow::ChangeHash(change, _) => change.asker,
            LoginFlow::Operation(running) => running.asker(),
            LoginFlow::OperationAppend(appending) => appending.asker(),
        }
    }
}

impl Worker {
    /// Somebody wants to become somebody.
    pub(super) fn take_credential_request(
        &mut self,
        conn: ConnId,
        request_id: u64,
        request: CredentialRequest,
        effects: &mut Effects,
    ) {
        match request {
            CredentialRequest::Login(login) => self.take_login(conn, request_id, login, effects),
            CredentialRequest::Register(register) => {
                let asker = Asker::Request { conn, request_id };
                if self.shared.config.registration {
                    self.begin_registration(asker, register, effects);
                } else {
                    self.refuse_asker(asker, REGISTRATION_OFF, effects);
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
        effects: &mut Effects,
    ) {
        let asker = Asker::Request { conn, request_id };
        let Session { user, session } = session;
        let speaker = Speaker { conn, session };
        let action = match request {
            IdentityRequest::Logout(which) => Action::Logout { speaker, which },
            IdentityRequest::ListSessions => Action::ListSessions { speaker },
            IdentityRequest::Refresh { refresh_token } => {
                match self.own_text(TokenKind::Refresh, &refresh_token) {
                    Ok(claims) if claims.user == user && claims.session == session => {
                        Action::Refresh { speaker, claims }
                    }
                    Ok(_) => return self.refuse_asker(asker, TOKEN_INVALID, effects),
                    Err(refusal) => return self.refuse_asker(asker, refusal, effects),
                }
            }
            IdentityRequest::ChangePassword { old, new } => {
                let change = PasswordChange { asker, user, speaker, old, new };
                return self.begin_password_change(change, effects);
            }
        };
        self.operate(Operation { user, asker, action }, effects);
    }

    fn take_login(&mut self, conn: ConnId, request_id: u64, login: Login, effects: &mut Effects) {
        let asker = Asker::Login { conn, request_id };
        let Login { credential, device, attempt } = login;
        if attempt.is_abandoned() {
            return self.refuse_asker(asker, ABANDONED, effects);
        }
        let (kind, verified) = match credential {
            Credential::Password(typed) => {
                let username = names::normalised(&typed.username);
                let password = typed.password;
                let login = PasswordLogin { conn, request_id, attempt, device, username, password };
                return self.route_password_login(Box::new(login), effects);
            }
            Credential::IssuerToken(token) => {
                return match self.shared.issuers.verify(&token, self.now_ms) {
                    Ok(issued) => {
                        let login = IssuerLogin { conn, request_id, attempt, device, issued };
                        self.read_issued_name(Box::new(login), effects);
                    }
                    Err(error) => self.refuse_asker(asker, issuer_refusal(&error), effects),
                };
            }
            Credential::AccessToken(text) => {
                (TokenKind::Access, self.own_text(TokenKind::Access, &text))
            }
            Credential::RefreshToken(text) => {
                (TokenKind::Refresh, self.own_text(TokenKind::Refresh, &text))
            }
            Credential::ResumeToken(token) => {
                let keys = &self.shared.tokens;
                let verified = keys.verify(TokenKind::Resume, self.now_ms, &token);
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
                self.operate(Operation { user, asker, action: Action::Enter(enter) }, effects);
            }
            // A token belongs to the device that it was given to.
            Ok(_) => self.refuse_asker(asker, TOKEN_INVALID, effects),
            Err(refusal) => self.refuse_asker(asker, refusal, effects),
        }
    }

    fn own_text(&self, kind: TokenKind, text: &str) -> Result<Claims, Refusal> {
        let keys = &self.shared.tokens;
        keys.verify_text(kind, self.now_ms, text).map_err(token_refusal)
    }

    pub(super) fn take_login_message(&mut self, message: LoginMessage, effects: &mut Effects) {
        match message {
            LoginMessage::Password(login) => self.begin_password_login(login, effects),
            LoginMessage::Operation(operation) => self.take_operation(*operation, effects),
        }
    }

    pub(super) fn login_store_answered(
        &mut self,
        flow: LoginFlow,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        match flow {
            LoginFlow::RegisterName(flow) => self.register_name_read(flow, result, effects),
            LoginFlow::CreateAccount(flow) => self.account_created(flow, result, effects),
            LoginFlow::ClaimName(flow) => self.name_claimed(*flow, result, effects),
            LoginFlow::PasswordName(flow) => self.password_name_read(flow, result, effects),
            LoginFlow::PasswordIdentity(flow, user) => {
                self.password_identity_read(flow, user, result, effects);
            }
            LoginFlow::IssuerName(flow) => self.issued_name_read(*flow, result, effects),
            LoginFlow::ChangeIdentity(flow) => self.change_identity_read(flow, result, effects),
            LoginFlow::Operation(flow) => self.operation_identity_read(flow, result, effects),
            LoginFlow::OperationAppend(flow) => self.operation_appended(flow, result, effects),
            // The store answers with a ticket of the password threads: a defect of the driver.
            LoginFlow::RegisterHash(_)
            | LoginFlow::PasswordVerify(..)
            | LoginFlow::ChangeHash(..) => self.refuse_asker(flow.asker(), INTERNAL, effects),
        }
    }

    pub(super) fn login_password_answered(
        &mut self,
        flow: LoginFlow,
        result: PasswordResult,
        effects: &mut Effects,
    ) {
        match flow {
            LoginFlow::RegisterHash(flow) => self.register_hashed(*flow, result, effects),
            LoginFlow::PasswordVerify(flow, checked) => {
                self.password_verified(*flow, checked, result, effects);
            }
            LoginFlow::ChangeHash(flow, hash) => self.change_hashed(&flow, hash, result, effects),
            // As above.
            LoginFlow::RegisterName(_)
            | LoginFlow::CreateAccount(_)
            | LoginFlow::ClaimName(_)
            | LoginFlow::PasswordName(_)
            | LoginFlow::PasswordIdentity(..)
            | LoginFlow::IssuerName(_)
            | LoginFlow::ChangeIdentity(_)
            | LoginFlow::Operation(_)
            | LoginFlow::OperationAppend(_) => self.refuse_asker(flow.asker(), INTERNAL, effects),
        }
    }
}

const REGISTRATION_OFF: Refusal =
    Refusal::new(ErrorCode::DisabledHere, "registration is switched off");

const TOKEN_INVALID: Refusal =
    Refusal::new(ErrorCode::TokenInvalid, "the token is not one of ours for this device");

const TOKEN_EXPIRED: Refusal = Refusal::new(ErrorCode::TokenExpired, "the token has expired");

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
