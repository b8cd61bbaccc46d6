//! What the program around the engine asks: accounts, made, listed, disabled and enabled.
//!
//! What is done to one user is an [`Operation`] like any other, after the name was looked up.

use dunlin_protocol::wire::{self, ErrorCode};
use dunlin_protocol::{SessionId, UserId};

use super::display_name::{self, Renaming};
use super::inspection::{self, Inspection};
use super::{CredentialRegister, Credentials, PasswordFlow, creation, hash_refusal};
use crate::admin::{AdminError, AdminRequest};
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::identity::ISSUER_ACCOUNT;
use crate::identity::asker::Asker;
use crate::identity::look_up::{self, Claim};
use crate::identity::operation::{Action, Operation};
use crate::refusal::{INTERNAL, Refusal};
use crate::request::{InvalidRequest, Register, checked_display_name, checked_new_password};
use crate::store;
use crate::worker::flow::{Answers, PasswordResult, RegisterFlow};
use crate::worker::turn::Turn;

/// Something to do to the user of a name.
#[derive(Debug)]
pub(crate) struct Named {
    call: u64,
    username: String,
    change: Change,
}

enum Change {
    Disable,
    Enable,
    Password(String),
    DisplayName(String),
    Kick(Option<SessionId>),
    /// None: it is looked at.
    Inspect,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Change::Disable => "Disable",
            Change::Enable => "Enable",
            Change::Password(_) => "Password(..)",
            Change::DisplayName(_) => "DisplayName(..)",
            Change::Kick(_) => "Kick",
            Change::Inspect => "Inspect",
        })
    }
}

const NO_SUCH_USER: Refusal = Refusal::new(ErrorCode::NoSuchUser, "no user has this name");

impl Credentials {
    /// The operator asks something.
    pub(crate) fn take_admin(&mut self, call: u64, request: AdminRequest, turn: &mut Turn<'_>) {
        let named = match request {
            AdminRequest::AddUser { username, password, display_name } => {
                let register = wire::Register {
                    username,
                    password,
                    display_name,
                    ..wire::Register::default()
                };
                return match Register::try_from(register) {
                    Ok(register) => {
                        creation::register(Asker::Admin { call }, register, false, turn);
                    }
                    Err(invalid) => refuse_invalid(call, invalid, turn),
                };
            }
            AdminRequest::ListUsers { after, limit } => {
                return self.listings.begin(call, after, limit, turn);
            }
            AdminRequest::ResetPassword { username, password } => {
                match checked_new_password("password", password) {
                    Ok(password) => Named { call, username, change: Change::Password(password) },
                    Err(invalid) => return refuse_invalid(call, invalid, turn),
                }
            }
            AdminRequest::SetDisplayName { username, display_name } => {
                let checked = match display_name.trim() {
                    "" => Ok(username.clone()),
                    typed => checked_display_name(typed),
                };
                match checked {
                    Ok(name) => Named { call, username, change: Change::DisplayName(name) },
                    Err(invalid) => return refuse_invalid(call, invalid, turn),
                }
            }
            AdminRequest::DisableUser { username } => {
                Named { call, username, change: Change::Disable }
            }
            AdminRequest::EnableUser { username } => {
                Named { call, username, change: Change::Enable }
            }
            AdminRequest::ShowUser { username } => {
                Named { call, username, change: Change::Inspect }
            }
            AdminRequest::KickUser { username, session } => {
                Named { call, username, change: Change::Kick(session) }
            }
            AdminRequest::Invitations(request) => {
                return self.take_invitation_request(call, request, turn);
            }
            // Is about no user: the router has it.
            AdminRequest::Retention(_) => return Asker::Admin { call }.refuse(INTERNAL, turn),
        };
        let name = look_up::name_register(&named.username);
        let flow = CredentialRegister::Named(Box::new(named));
        turn.ask_register(vec![name], RegisterFlow::Credential(flow));
    }
}

/// Whose name it is was read.
pub(super) fn name_read(
    named: Named,
    answer: Answers<store::Register>,
    turn: &mut Turn<'_>,
) -> Option<Operation> {
    let Named { call, username, change } = named;
    let asker = Asker::Admin { call };
    let action = match (change, look_up::claim(&username, answer)) {
        (_, Err(refusal)) => Err(refusal),
        (_, Ok(Claim::Free | Claim::Blocked)) => Err(NO_SUCH_USER),
        (Change::Disable, Ok(Claim::Of { user, .. })) => Ok((user, Action::Disable)),
        (Change::Enable, Ok(Claim::Of { user, .. })) => Ok((user, Action::Enable)),
        (Change::Kick(session), Ok(Claim::Of { user, .. })) => Ok((user, Action::Kick { session })),
        (Change::Inspect, Ok(Claim::Of { user, issuer })) => {
            inspection::begin(Inspection { call, user, issuer }, turn);
            return None;
        }
        (Change::DisplayName(display_name), Ok(Claim::Of { user, .. })) => {
            display_name::begin(Renaming { call, user, display_name }, turn);
            return None;
        }
        (Change::Password(_), Ok(Claim::Of { issuer, .. })) if !issuer.is_empty() => {
            Err(ISSUER_ACCOUNT)
        }
        (Change::Password(password), Ok(Claim::Of { user, .. })) => {
            let job = PasswordJob::Hash { password };
            turn.ask_passwords(job, PasswordFlow::Reset { call, user });
            return None;
        }
    };
    match action {
        Ok((user, action)) => Some(Operation { user, asker, action }),
        Err(refusal) => {
            asker.refuse(refusal, turn);
            None
        }
    }
}

/// The new password of a user was hashed.
pub(super) fn hashed(
    call: u64,
    user: UserId,
    result: PasswordResult,
    turn: &mut Turn<'_>,
) -> Option<Operation> {
    let asker = Asker::Admin { call };
    match result {
        Ok(PasswordDone::Hashed(hash)) => {
            return Some(Operation { user, asker, action: Action::ResetPassword { hash } });
        }
        Ok(PasswordDone::Right { .. } | PasswordDone::Wrong) => asker.refuse(INTERNAL, turn),
        Err(error) => asker.refuse(hash_refusal(error), turn),
    }
    None
}

pub(super) fn refuse_invalid(call: u64, invalid: InvalidRequest, turn: &mut Turn<'_>) {
    turn.effects.admin.push((call, Err(AdminError::Invalid(invalid))));
}
