//! What the program around the engine asks: accounts, made, listed, disabled and enabled.
//!
//! What is done to one user is an [`Operation`] like any other, after the name was looked up.

use dunlin_protocol::UserId;
use dunlin_protocol::wire::{self, ErrorCode};

use crate::admin::{AdminError, AdminRequest};
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::refusal::{INTERNAL, Refusal};
use crate::request::{InvalidRequest, Register, checked_new_password};
use crate::worker::Worker;
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, PasswordResult, StoreResult};
use crate::worker::login::asker::Asker;
use crate::worker::login::decide::ISSUER_ACCOUNT;
use crate::worker::login::hash_refusal;
use crate::worker::login::listing::ListRead;
use crate::worker::login::look_up::{self, Claim};
use crate::worker::login::operation::{Action, Operation};

/// What a request waits for.
#[derive(Debug)]
pub(in crate::worker) enum AdminFlow {
    /// Whose name it is.
    Name(Box<Named>),
    /// The hash of a new password.
    Hash { call: u64, user: UserId },
    /// Something for a page of a list.
    List { call: u64, read: ListRead },
}

/// Something to do to the user of a name.
#[derive(Debug)]
pub(in crate::worker) struct Named {
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

impl AdminFlow {
    fn call(&self) -> u64 {
        match self {
            AdminFlow::Name(named) => named.call,
            AdminFlow::Hash { call, .. } | AdminFlow::List { call, .. } => *call,
        }
    }
}

const NO_SUCH_USER: Refusal = Refusal::new(ErrorCode::NoSuchUser, "no user has this name");

impl Worker {
    pub(in crate::worker) fn take_admin(
        &mut self,
        call: u64,
        request: AdminRequest,
        effects: &mut Effects,
    ) {
        let (username, change) = match request {
            AdminRequest::AddUser { username, password, display_name } => {
                let register = wire::Register { username, password, display_name };
                match Register::try_from(register) {
                    Ok(register) => {
                        self.begin_registration(Asker::Admin { call }, register, effects);
                    }
                    Err(invalid) => refuse_invalid(call, invalid, effects),
                }
                return;
            }
            AdminRequest::ListUsers { after, limit } => {
                return self.begin_listing(call, after, limit, effects);
            }
            AdminRequest::ResetPassword { username, password } => {
                match checked_new_password("password", password) {
                    Ok(password) => (username, Change::Password(password)),
                    Err(invalid) => return refuse_invalid(call, invalid, effects),
                }
            }
            AdminRequest::DisableUser { username } => (username, Change::Disable),
            AdminRequest::EnableUser { username } => (username, Change::Enable),
        };
        let request = look_up::read_name(&username);
        let named = Box::new(Named { call, username, change });
        self.ask_store(request, Flow::Admin(AdminFlow::Name(named)), effects);
    }

    pub(in crate::worker) fn admin_store_answered(
        &mut self,
        flow: AdminFlow,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        match flow {
            AdminFlow::Name(named) => self.admin_name_read(*named, result, effects),
            AdminFlow::List { call, read } => self.list_read(call, read, result, effects),
            // A ticket of the password threads: a defect of the driver.
            AdminFlow::Hash { .. } => self.refuse_admin(flow.call(), INTERNAL, effects),
        }
    }

    pub(in crate::worker) fn admin_password_answered(
        &mut self,
        flow: AdminFlow,
        result: PasswordResult,
        effects: &mut Effects,
    ) {
        let call = flow.call();
        match (flow, result) {
            (AdminFlow::Hash { user, .. }, Ok(PasswordDone::Hashed(hash))) => {
                let (asker, action) = (Asker::Admin { call }, Action::ResetPassword { hash });
                self.operate(Operation { user, asker, action }, effects);
            }
            (_, Err(error)) => self.refuse_admin(call, hash_refusal(error), effects),
            (_, Ok(_)) => self.refuse_admin(call, INTERNAL, effects),
        }
    }

    fn admin_name_read(&mut self, named: Named, result: StoreResult, effects: &mut Effects) {
        let Named { call, username, change } = named;
        let (user, issuer) = match look_up::claim(&username, result) {
            Ok(Claim::Of { user, issuer }) => (user, issuer),
            Ok(Claim::Free | Claim::Blocked) => {
                return self.refuse_admin(call, NO_SUCH_USER, effects);
            }
            Err(refusal) => return self.refuse_admin(call, refusal, effects),
        };
        let action = match change {
            Change::Disable => Action::Disable,
            Change::Enable => Action::Enable,
            Change::Password(_) if !issuer.is_empty() => {
                return self.refuse_admin(call, ISSUER_ACCOUNT, effects);
            }
            Change::Password(password) => {
                let flow = Flow::Admin(AdminFlow::Hash { call, user });
                return self.ask_passwords(PasswordJob::Hash { password }, flow, effects);
            }
        };
        self.operate(Operation { user, asker: Asker::Admin { call }, action }, effects);
    }
}

impl Worker {
    pub(in crate::worker) fn refuse_admin(
        &mut self,
        call: u64,
        refusal: Refusal,
        effects: &mut Effects,
    ) {
        self.refuse_asker(Asker::Admin { call }, refusal, effects);
    }
}

fn refuse_invalid(call: u64, invalid: InvalidRequest, effects: &mut Effects) {
    effects.admin.push((call, Err(AdminError::Invalid(invalid))));
}
