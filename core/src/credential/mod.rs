//! Who somebody is: logins, registrations, and what the operator wants of a name.
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
//! without a session may be submitted to any worker. Every step that fails answers the request. What
//! comes out in the end is an [`Operation`] for the worker of the user.
//!
//! - `by_token`, `by_password`, `by_issuer`, `creation`: the ways in
//! - `password_change`: a new password for an old one; `operator`, `listing`: what the operator asks

mod by_issuer;
mod by_password;
mod by_token;
mod creation;
mod display_name;
mod inspection;
pub(crate) mod invitation;
mod listing;
mod operator;
mod password_change;

use std::collections::HashSet;

use dunlin_protocol::wire::{ErrorCode, login::Credential};
use dunlin_protocol::{LogId, UserId};

use crate::auth::issuer::IssuerError;
use crate::auth::names;
use crate::auth::password::PasswordError;
use crate::auth::throttle::Throttle;
use crate::auth::token::{Claims, TokenError, TokenKind};
use crate::config::Registration as Registering;
use crate::identity::asker::Asker;
use crate::identity::enter::{ABANDONED, milliseconds};
use crate::identity::operation::{Action, Operation, Speaker};
use crate::limits::OVERLOADED_RETRY_MS;
use crate::refusal::{INTERNAL, Refusal};
use crate::request::{CredentialRequest, IdentityRequest, Login, Purpose};
use crate::store::{Register, Registers, Written};
use crate::transport::{ConnId, Session};
use crate::worker::flow::{Answer, Answers, PasswordResult};
use crate::worker::turn::Turn;
use by_issuer::IssuerLogin;
pub(crate) use by_password::PasswordLogin;
use by_password::{Trying, Waiting};
use by_token::TokenLogin;
use creation::{Creation, Registration};
use display_name::Renaming;
use inspection::Inspection;
use invitation::{Resolving, Settling, Taking};
use listing::Listings;
use operator::Named;
use password_change::PasswordChange;

/// What is known of those who try.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    throttle: Throttle,
    waiting: Waiting,
    changing: HashSet<UserId>,
    listings: Listings,
}

/// What waits for registers that were asked for by their names.
#[derive(Debug)]
pub(crate) enum CredentialRegister {
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
    /// Whose name it is, for the operator.
    Named(Box<Named>),
    /// What is said of a user who gets another display name.
    RenamedAccount(Box<Renaming>),
    /// What is said of a user whom the operator looks at.
    InspectedAccount(Box<Inspection>),
    /// Which name was the first that looks so.
    Look(Box<Creation>),
    /// Whether the invitation is good.
    Invitation(Box<Registration>),
    /// Whether a use of it is free.
    TakeInvitation(Box<Taking>),
    /// Whether those have registered who were about to when a server ended.
    InvitedNames(Box<Resolving>),
    /// An invitation of which a use was taken.
    SettleInvitation(Settling),
    /// An invitation that is to go, for the operator.
    RevokeInvitation { call: u64, number: u64 },
    /// The names of a page of all accounts, by the call that asked for it.
    ListNames(u64),
}

/// What waits for a write.
#[derive(Debug)]
pub(crate) enum CredentialWrite {
    /// A new account.
    Account(Box<Creation>),
    /// The claim of its name.
    Name(Box<Creation>),
    /// A use of an invitation.
    TakeInvitation(Box<Taking>),
    /// What came of it.
    SettleInvitation(Settling),
    /// Another display name, for the operator.
    DisplayName { call: u64 },
    /// A new invitation.
    MakeInvitation { call: u64, number: u64, code: String },
    /// The end of one.
    RevokeInvitation { call: u64 },
}

/// What waits for the password threads.
#[derive(Debug)]
pub(crate) enum PasswordFlow {
    /// The hash of a new user's password.
    Register(Box<Registration>),
    /// Whether the password fits.
    Verify(Box<Trying>),
    /// Whether the old password fits, and the hash of the new one.
    Change(Box<PasswordChange>, String),
    /// The hash of the password that the operator gives a user.
    Reset { call: u64, user: UserId },
}

/// Requests.
impl Credentials {
    /// Somebody wants to become somebody.
    pub(crate) fn take_request(
        &mut self,
        conn: ConnId,
        request_id: u64,
        request: CredentialRequest,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        match request {
            CredentialRequest::Login(login) => self.take_login(conn, request_id, login, turn),
            CredentialRequest::Register(register) => {
                let asker = Asker::Registration { conn, request_id };
                match turn.shared.config.registration() {
                    Registering::Closed => asker.refuse(REGISTRATION_OFF, turn),
                    Registering::Open => creation::register(asker, register, false, turn),
                    Registering::Invitation => creation::register(asker, register, true, turn),
                }
                None
            }
        }
    }

    /// A user asks something about credentials or sessions.
    pub(crate) fn take_identity_request(
        &mut self,
        conn: ConnId,
        session: Session,
        request_id: u64,
        request: IdentityRequest,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        let asker = Asker::Request { conn, request_id };
        let Session { user, session } = session;
        let speaker = Speaker { conn, session };
        let action = match request {
            IdentityRequest::Logout(which) => Ok(Action::Logout { speaker, which }),
            IdentityRequest::ListSessions => Ok(Action::ListSessions { speaker }),
            IdentityRequest::Refresh { refresh_token } => {
                match own_text(TokenKind::Refresh, &refresh_token, turn) {
                    Ok(claims) if claims.user == user && claims.session == session => {
                        Ok(Action::Refresh { speaker, claims })
                    }
                    Ok(_) => Err(TOKEN_INVALID),
                    Err(refusal) => Err(refusal),
                }
            }
            IdentityRequest::ChangePassword { old, new } => {
                let change = PasswordChange { asker, user, speaker, old, new };
                self.change_password(change, turn);
                return None;
            }
        };
        let action = action.map_err(|refusal| asker.refuse(refusal, turn)).ok()?;
        Some(Operation { user, asker, action })
    }

    fn take_login(
        &mut self,
        conn: ConnId,
        request_id: u64,
        login: Login,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        let asker = Asker::Login { conn, request_id };
        let Login { credential, device, purpose, attempt, source } = login;
        if attempt.is_abandoned() {
            asker.refuse(ABANDONED, turn);
            return None;
        }
        let (kind, verified, is_old) = match credential {
            Credential::Password(typed) => {
                let username = names::normalised(&typed.username);
                let password = typed.password;
                let login =
                    PasswordLogin { conn, request_id, attempt, device, source, username, password };
                self.route_password_login(Box::new(login), turn);
                return None;
            }
            Credential::IssuerToken(token) => {
                match turn.shared.issuers.verify(&token, turn.now.unix_ms) {
                    Ok(issued) => {
                        attempt.names(&issued.username);
                        let login = IssuerLogin { conn, request_id, attempt, device, issued };
                        by_issuer::read_name(Box::new(login), turn);
                    }
                    Err(error) => asker.refuse(issuer_refusal(&error), turn),
                }
                return None;
            }
            Credential::AccessToken(text) => {
                let verified = own_text(TokenKind::Access, &text, turn);
                (TokenKind::Access, verified, turn.shared.tokens.is_old_text(&text))
            }
            Credential::RefreshToken(text) => {
                (TokenKind::Refresh, own_text(TokenKind::Refresh, &text, turn), false)
            }
            Credential::ResumeToken(token) => {
                let kind = TokenKind::Resume;
                let verified = turn.shared.tokens.verify(kind, turn.dates.ending_ms, &token);
                let is_old = turn.shared.tokens.is_old(&token);
                (kind, verified.map_err(token_refusal).and_then(in_reach(kind, turn)), is_old)
            }
        };
        let purpose = match purpose {
            // The others that it has were signed by that key, too.
            Purpose::Live if is_old => Purpose::NewTokens,
            Purpose::Live | Purpose::NewTokens | Purpose::Fetch => purpose,
        };
        TokenLogin { conn, request_id, attempt, device, purpose, kind }.enter(verified, turn)
    }
}

/// Answers of the store and of the password threads.
impl Credentials {
    pub(crate) fn register_read(
        &mut self,
        flow: CredentialRegister,
        answer: Answers<Register>,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        match flow {
            CredentialRegister::IssuerName(login) => {
                return by_issuer::name_read(*login, answer, turn);
            }
            CredentialRegister::Named(named) => return operator::name_read(*named, answer, turn),
            CredentialRegister::RegisterName(flow) => creation::name_read(*flow, answer, turn),
            CredentialRegister::PasswordName(login) => self.password_name_read(login, answer, turn),
            CredentialRegister::PasswordIdentity(login, user) => {
                self.password_identity_read(login, user, answer, turn);
            }
            CredentialRegister::ChangeIdentity(flow) => {
                self.change_identity_read(flow, answer, turn);
            }
            CredentialRegister::RenamedAccount(renaming) => {
                display_name::account_read(*renaming, answer, turn);
            }
            CredentialRegister::InspectedAccount(inspection) => {
                return inspection::account_read(*inspection, answer, turn);
            }
            CredentialRegister::Look(creation) => creation::look_read(creation, answer, turn),
            CredentialRegister::Invitation(registration) => {
                invitation::looked(registration, answer, turn);
            }
            CredentialRegister::TakeInvitation(taking) => {
                invitation::take_read(*taking, answer, turn);
            }
            CredentialRegister::InvitedNames(resolving) => {
                invitation::invited_read(*resolving, answer, turn);
            }
            CredentialRegister::SettleInvitation(settling) => {
                invitation::settle_read(settling, answer, turn);
            }
            CredentialRegister::RevokeInvitation { call, number } => {
                invitation::revoke(call, number, answer, turn);
            }
            CredentialRegister::ListNames(call) => self.listings.names_read(call, answer, turn),
        }
        None
    }

    /// The identities of a page of all accounts were read.
    pub(crate) fn identities_read(
        &mut self,
        call: u64,
        answers: Answers<Registers>,
        turn: &mut Turn<'_>,
    ) {
        self.listings.identities_read(call, answers, turn);
    }

    pub(crate) fn logs_listed(
        &mut self,
        call: u64,
        limit: usize,
        answer: Answer<Vec<LogId>>,
        turn: &mut Turn<'_>,
    ) {
        self.listings.logs_listed(call, limit, answer, turn);
    }

    pub(crate) fn password_answered(
        &mut self,
        flow: PasswordFlow,
        result: PasswordResult,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        match flow {
            PasswordFlow::Register(registration) => {
                creation::hashed(registration, result, turn);
                None
            }
            PasswordFlow::Verify(tried) => self.password_verified(*tried, result, turn),
            PasswordFlow::Change(change, hash) => self.change_hashed(&change, hash, result, turn),
            PasswordFlow::Reset { call, user } => operator::hashed(call, user, result, turn),
        }
    }
}

/// Something that an account needs is durable, or not.
pub(crate) fn written(
    flow: CredentialWrite,
    answer: Answer<Vec<Written>>,
    turn: &mut Turn<'_>,
) -> Option<Operation> {
    match flow {
        CredentialWrite::Name(creation) => {
            return creation::name_claimed(*creation, answer, turn);
        }
        CredentialWrite::Account(creation) => creation::account_written(creation, answer, turn),
        CredentialWrite::TakeInvitation(taking) => invitation::taken(*taking, answer, turn),
        CredentialWrite::SettleInvitation(settling) => invitation::settled(settling, answer, turn),
        CredentialWrite::DisplayName { call } => display_name::written(call, answer, turn),
        CredentialWrite::MakeInvitation { call, number, code } => {
            invitation::made(call, number, code, answer, turn);
        }
        CredentialWrite::RevokeInvitation { call } => invitation::revoked(call, answer, turn),
    }
    None
}

const REGISTRATION_OFF: Refusal =
    Refusal::new(ErrorCode::RegistrationClosed, "registration is switched off");

const TOKEN_INVALID: Refusal =
    Refusal::new(ErrorCode::TokenInvalid, "the token is not one of ours for this device");

const TOKEN_NOT_YET_VALID: Refusal = Refusal::new(
    ErrorCode::NewTokenNeeded,
    "the issuer's token is not valid yet: is its clock right?",
);

const TOKEN_EXPIRED: Refusal = Refusal::new(ErrorCode::TokenExpired, "the token has expired");

fn own_text(kind: TokenKind, text: &str, turn: &Turn<'_>) -> Result<Claims, Refusal> {
    let verified = turn.shared.tokens.verify_text(kind, turn.dates.ending_ms, text);
    verified.map_err(token_refusal).and_then(in_reach(kind, turn))
}

/// Takes no token that ends too far off: it was signed by a date that was ahead, and would be good for as long
/// as that was. Whoever has one goes on with the next credential, as when it has expired.
///
/// What was signed within its own life from now is taken, so that a date which is behind sends nobody away who
/// was here shortly before. So no token is taken for longer than twice its life.
fn in_reach(
    kind: TokenKind,
    turn: &Turn<'_>,
) -> impl FnOnce(Claims) -> Result<Claims, Refusal> + use<> {
    let lifetime = match kind {
        TokenKind::Access => Some(turn.shared.config.tokens.access),
        TokenKind::Resume => Some(turn.shared.config.tokens.resume),
        // It ends with its session, and says nothing itself.
        TokenKind::Refresh => None,
    };
    let latest_ms = lifetime
        .map_or(u64::MAX, |lifetime| turn.now.unix_ms.saturating_add(2 * milliseconds(lifetime)));
    move |claims| if claims.expires_ms > latest_ms { Err(TOKEN_EXPIRED) } else { Ok(claims) }
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
        IssuerError::NotYetValid => TOKEN_NOT_YET_VALID,
        IssuerError::TooLong { .. }
        | IssuerError::Malformed { .. }
        | IssuerError::UnknownIssuer
        | IssuerError::WrongAlgorithm
        | IssuerError::Critical
        | IssuerError::WrongSignature
        | IssuerError::TooLongLived { .. }
        | IssuerError::WrongAudience
        | IssuerError::Claim { .. } => {
            Refusal::new(ErrorCode::TokenInvalid, why_not_accepted(error))
        }
    }
}

/// What the operator of the issuer has to change. (None of it is a secret: whoever has made the token knows
/// what is in it.)
fn why_not_accepted(error: &IssuerError) -> &'static str {
    match error {
        IssuerError::Expired => TOKEN_EXPIRED.message,
        IssuerError::NotYetValid => TOKEN_NOT_YET_VALID.message,
        IssuerError::TooLong { .. } => "the issuer's token is too long",
        IssuerError::Malformed { .. } => "the issuer's token is no JSON Web Token",
        IssuerError::UnknownIssuer => "the issuer of the token (iss) is not trusted",
        IssuerError::WrongAlgorithm => {
            "the issuer's token has another algorithm (alg) than its key"
        }
        IssuerError::Critical => "the issuer's token has critical extensions (crit)",
        IssuerError::WrongSignature => "the signature of the issuer's token is wrong",
        IssuerError::TooLongLived { .. } => {
            "the issuer's token is good for longer than is allowed (iat, exp)"
        }
        IssuerError::WrongAudience => "the issuer's token is meant for others (aud)",
        IssuerError::Claim { claim: "iat" } => "the issuer's token has no good iat",
        IssuerError::Claim { claim: "exp" } => "the issuer's token has no good exp",
        IssuerError::Claim { claim: "sub" } => "the issuer's token has no good sub",
        IssuerError::Claim { .. } => "a claim of the issuer's token is malformed (nbf, aud)",
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
        PasswordError::Abandoned => ABANDONED,
        PasswordError::Parameters { .. } => INTERNAL,
        PasswordError::NoMemory { .. } => Refusal::retry(
            ErrorCode::Overloaded,
            "no memory to check a password",
            OVERLOADED_RETRY_MS,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever runs the issuer finds out from the log what to change.
    #[test]
    fn no_two_faults_of_a_token_are_told_in_the_same_words() {
        let claims = ["iat", "exp", "sub", "nbf"].map(|claim| IssuerError::Claim { claim });
        let faults = [
            IssuerError::TooLong { bytes: 9999 },
            IssuerError::Malformed { part: "claims" },
            IssuerError::UnknownIssuer,
            IssuerError::WrongAlgorithm,
            IssuerError::Critical,
            IssuerError::WrongSignature,
            IssuerError::Expired,
            IssuerError::TooLongLived { lifetime_s_max: 60 },
            IssuerError::NotYetValid,
            IssuerError::WrongAudience,
        ];
        let refusals: Vec<_> = faults.iter().chain(&claims).map(issuer_refusal).collect();
        let words: std::collections::BTreeSet<_> = refusals.iter().map(|it| it.message).collect();
        assert_eq!(words.len(), refusals.len(), "{words:?}");
    }
}
