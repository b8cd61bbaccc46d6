//! What the program around the engine asks: accounts, made, listed, disabled and enabled.
//!
//! What is done to one user is an [`Operation`] like any other, after the name was looked up.

use dunlin_protocol::wire::{self, ErrorCode};
use dunlin_protocol::{LogId, LogKind, UserId};

use crate::admin::{AdminError, AdminReply, AdminRequest};
use crate::admin::{LIST_USERS_MAX, UserRecord};
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::refusal::{INTERNAL, Refusal, store_refusal};
use crate::request::{InvalidRequest, Register, checked_new_password};
use crate::store::{StoreReply, StoreRequest};
use crate::worker::Worker;
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, PasswordResult, StoreResult};
use crate::worker::login::asker::{Answer, Asker};
use crate::worker::login::decide::ISSUER_ACCOUNT;
use crate::worker::login::hash_refusal;
use crate::worker::login::look_up::{self, Claim};
use crate::worker::login::operation::{Action, Operation};

/// What a request waits for.
#[derive(Debug)]
pub(in crate::worker) enum AdminFlow {
    /// Whose name it is.
    Name(Box<Named>),
    /// The hash of a new password.
    Hash { call: u64, user: UserId },
    /// The logs of some names.
    List { call: u64, limit: usize },
    /// The name in the first of the logs that are left.
    ListName(Box<Listing>),
    /// The identity of the last of the users.
    ListIdentity(Box<Listing>),
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

/// A list that is being read.
#[derive(Debug)]
pub(in crate::worker) struct Listing {
    call: u64,
    /// What is left, in reverse.
    logs: Vec<LogId>,
    users: Vec<UserRecord>,
    next: Option<LogId>,
}

impl AdminFlow {
    fn call(&self) -> u64 {
        match self {
            AdminFlow::Name(named) => named.call,
            AdminFlow::Hash { call, .. } | AdminFlow::List { call, .. } => *call,
            AdminFlow::ListName(listing) | AdminFlow::ListIdentity(listing) => listing.call,
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
                        self.begin_registration(self.admin_asker(call), register, effects);
                    }
                    Err(invalid) => refuse_invalid(call, invalid, effects),
                }
                return;
            }
            AdminRequest::ListUsers { after, limit } => {
                let (kind, limit) = (LogKind::Name, limit.clamp(1, LIST_USERS_MAX));
                let request = StoreRequest::Logs { kind, after, limit };
                let flow = Flow::Admin(AdminFlow::List { call, limit });
                return self.ask_store(request, flow, effects);
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
            AdminFlow::List { call, limit } => self.names_listed(call, limit, result, effects),
            AdminFlow::ListName(listing) => self.listed_name_read(listing, result, effects),
            AdminFlow::ListIdentity(listing) => self.listed_identity_read(listing, result, effects),
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
                let (asker, action) = (self.admin_asker(call), Action::ResetPassword { hash });
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
        self.operate(Operation { user, asker: self.admin_asker(call), action }, effects);
    }

    fn names_listed(
        &mut self,
        call: u64,
        limit: usize,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let mut logs = match result {
            Ok(StoreReply::Logs(logs)) => logs,
            Ok(_) => return self.refuse_admin(call, INTERNAL, effects),
            Err(error) => return self.refuse_admin(call, store_refusal(&error), effects),
        };
        let next = logs.last().copied().filter(|_| logs.len() >= limit);
        logs.reverse();
        self.list_next(Box::new(Listing { call, logs, users: Vec::new(), next }), effects);
    }

    /// One after another: a list is rare and may take its time.
    fn list_next(&mut self, mut listing: Box<Listing>, effects: &mut Effects) {
        if let Some(log) = listing.logs.pop() {
            let flow = Flow::Admin(AdminFlow::ListName(listing));
            return self.ask_store(look_up::read_name_log(log), flow, effects);
        }
        let Listing { call, users, next, .. } = *listing;
        let reply = AdminReply::Users { users, next };
        self.answer(self.admin_asker(call), Answer::Admin(reply), effects);
    }

    fn listed_name_read(
        &mut self,
        mut listing: Box<Listing>,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let claimed = match look_up::name_claimed(result) {
            Ok(Some(claimed)) => claimed,
            Ok(None) => return self.list_next(listing, effects),
            Err(refusal) => return self.refuse_admin(listing.call, refusal, effects),
        };
        let Ok(user) = UserId::new(claimed.user_id) else {
            return self.refuse_admin(listing.call, INTERNAL, effects);
        };
        let wire::NameClaimed { username, issuer, .. } = claimed;
        listing.users.push(UserRecord { user, username, issuer, disabled: false, sessions: 0 });
        let flow = Flow::Admin(AdminFlow::ListIdentity(listing));
        self.ask_store(look_up::read_identity(user), flow, effects);
    }

    fn listed_identity_read(
        &mut self,
        mut listing: Box<Listing>,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let (identity, _) = match look_up::identity(result) {
            Ok(identity) => identity,
            Err(refusal) => return self.refuse_admin(listing.call, refusal, effects),
        };
        if let Some(record) = listing.users.last_mut() {
            record.disabled = identity.disabled;
            record.sessions = identity.sessions().len();
        }
        self.list_next(listing, effects);
    }
}

/// Answers of the worker that was asked.
impl Worker {
    fn admin_asker(&self, call: u64) -> Asker {
        Asker::Admin { call, worker: self.index }
    }

    fn refuse_admin(&mut self, call: u64, refusal: Refusal, effects: &mut Effects) {
        self.refuse_asker(self.admin_asker(call), refusal, effects);
    }
}

fn refuse_invalid(call: u64, invalid: InvalidRequest, effects: &mut Effects) {
    effects.admin.push((call, Err(AdminError::Invalid(invalid))));
}
