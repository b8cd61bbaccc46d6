//! What the program around the engine asks: accounts, made, listed, disabled and enabled.
//!
//! What is done to one user is an [`Operation`] like any other, after the name was looked up.

use dunlin_protocol::UserId;
use dunlin_protocol::wire::{self, ErrorCode};

use crate::admin::{AdminError, AdminRequest};
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::refusal::{INTERNAL, Refusal};
use crate::request::{InvalidRequest, Register, checked_new_password};
use crate::store::Page;
use crate::worker::flow::{self, PageFlow, PasswordFlow, PasswordResult};
use crate::worker::login::asker::Asker;
use crate::worker::login::decide::ISSUER_ACCOUNT;
use crate::worker::login::hash_refusal;
use crate::worker::login::look_up::{self, Claim};
use crate::worker::login::operation::{Action, Operation};
use crate::worker::router::Router;
use crate::worker::turn::Turn;

/// A request that waits for the hash of a new password of a user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdminPassword {
    call: u64,
    user: UserId,
}

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
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Change::Disable => "Disable",
            Change::Enable => "Enable",
            Change::Password(_) => "Password(..)",
        })
    }
}

const NO_SUCH_USER: Refusal = Refusal::new(ErrorCode::NoSuchUser, "no user has this name");

impl Router {
    pub(in crate::worker) fn take_admin(
        &mut self,
        call: u64,
        request: AdminRequest,
        turn: &mut Turn<'_>,
    ) {
        let (username, change) = match request {
            AdminRequest::AddUser { username, password, display_name } => {
                let register = wire::Register { username, password, display_name };
                match Register::try_from(register) {
                    Ok(register) => {
                        self.begin_registration(Asker::Admin { call }, register, turn);
                    }
                    Err(invalid) => refuse_invalid(call, invalid, turn),
                }
                return;
            }
            AdminRequest::ListUsers { after, limit } => {
                return self.listings.begin(call, after, limit, turn);
            }
            AdminRequest::ResetPassword { username, password } => {
                match checked_new_password("password", password) {
                    Ok(password) => (username, Change::Password(password)),
                    Err(invalid) => return refuse_invalid(call, invalid, turn),
                }
            }
            AdminRequest::DisableUser { username } => (username, Change::Disable),
            AdminRequest::EnableUser { username } => (username, Change::Enable),
        };
        let request = look_up::read_name(&username);
        let named = Box::new(Named { call, username, change });
        turn.ask_page(request, PageFlow::Named(named));
    }

    pub(in crate::worker) fn admin_password_answered(
        &mut self,
        flow: AdminPassword,
        result: PasswordResult,
        turn: &mut Turn<'_>,
    ) {
        let AdminPassword { call, user } = flow;
        match result {
            Ok(PasswordDone::Hashed(hash)) => {
                let (asker, action) = (Asker::Admin { call }, Action::ResetPassword { hash });
                self.operate(Operation { user, asker, action }, turn);
            }
            Err(error) => self.refuse_admin(call, hash_refusal(error), turn),
            Ok(PasswordDone::Right { .. } | PasswordDone::Wrong) => {
                self.refuse_admin(call, INTERNAL, turn);
            }
        }
    }

    pub(in crate::worker) fn admin_name_read(
        &mut self,
        named: Named,
        answer: flow::Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        let Named { call, username, change } = named;
        let (user, issuer) = match look_up::claim(&username, answer) {
            Ok(Claim::Of { user, issuer }) => (user, issuer),
            Ok(Claim::Free | Claim::Blocked) => {
                return self.refuse_admin(call, NO_SUCH_USER, turn);
            }
            Err(refusal) => return self.refuse_admin(call, refusal, turn),
        };
        let action = match change {
            Change::Disable => Action::Disable,
            Change::Enable => Action::Enable,
            Change::Password(_) if !issuer.is_empty() => {
                return self.refuse_admin(call, ISSUER_ACCOUNT, turn);
            }
            Change::Password(password) => {
                let flow = PasswordFlow::Admin(AdminPassword { call, user });
                return turn.ask_passwords(PasswordJob::Hash { password }, flow);
            }
        };
        self.operate(Operation { user, asker: Asker::Admin { call }, action }, turn);
    }

    fn refuse_admin(&mut self, call: u64, refusal: Refusal, turn: &mut Turn<'_>) {
        self.refuse_asker(Asker::Admin { call }, refusal, turn);
    }
}

fn refuse_invalid(call: u64, invalid: InvalidRequest, turn: &mut Turn<'_>) {
    turn.effects.admin.push((call, Err(AdminError::Invalid(invalid))));
}
