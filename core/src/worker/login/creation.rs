//! New accounts: by registration, by the program around the engine, by an issuer's first token.
//!
//! ```text
//! [is the name free?] ─► [hash the password] ─► append account and identity ─► claim the name
//! ```
//!
//! The claim comes last, so that a claimed name always has an account. Whoever loses the race for
//! a name leaves an account behind that nobody can reach: a few dozen bytes, and no harm. If the
//! answer of the store gets lost, it is not known whether the name was claimed: who tries again
//! may find it taken, by himself, and logs in.

use std::sync::Arc;

use dunlin_protocol::wire::{self, ErrorCode, entry, frame::Body};
use dunlin_protocol::{LogId, UserId};

use crate::admin::AdminReply;
use crate::auth::identity::Identity;
use crate::auth::names;
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::refusal::{INTERNAL, Refusal};
use crate::request::Register;
use crate::store::{Appended, Head, Page};
use crate::worker::flow::{self, AppendFlow, PageFlow, PasswordFlow, PasswordResult};
use crate::worker::login::asker::{Answer, Asker};
use crate::worker::login::by_issuer::IssuerLogin;
use crate::worker::login::look_up::{self, Claim};
use crate::worker::login::{LoginAppend, LoginPage, LoginPassword, hash_refusal};
use crate::worker::router::Router;
use crate::worker::turn::Turn;

/// How often a random user id may turn out to be taken. Once would be a wonder.
const ATTEMPTS_MAX: u8 = 4;

pub(in crate::worker) const NAME_TAKEN: Refusal =
    Refusal::new(ErrorCode::NameTaken, "the user name is taken");

/// An account with a password that is to be made.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(in crate::worker) asker: Asker,
    register: Register,
}

/// An account that is being made.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(in crate::worker) username: String,
    pub(in crate::worker) display_name: String,
    pub(in crate::worker) origin: Origin,
    user: UserId,
    attempts: u8,
}

/// Where the account comes from, and so who waits for it.
#[derive(Debug)]
pub(in crate::worker) enum Origin {
    /// A registration.
    Password { asker: Asker, hash: String },
    /// The first login of a user of this issuer.
    Issuer { issuer: Arc<str>, login: Box<IssuerLogin> },
}

impl Creation {
    pub(in crate::worker) fn asker(&self) -> Asker {
        match &self.origin {
            Origin::Password { asker, .. } => *asker,
            Origin::Issuer { login, .. } => login.asker(),
        }
    }
}

impl Router {
    /// Makes an account with a password.
    pub(in crate::worker) fn begin_registration(
        &mut self,
        asker: Asker,
        register: Register,
        turn: &mut Turn<'_>,
    ) {
        // A name that is taken is not worth a hash.
        let request = look_up::read_name(&register.username);
        let registration = Box::new(Registration { asker, register });
        turn.ask_page(request, PageFlow::Login(LoginPage::RegisterName(registration)));
    }

    pub(in crate::worker) fn register_name_read(
        &mut self,
        registration: Box<Registration>,
        answer: flow::Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        match look_up::claim(&registration.register.username, answer) {
            Ok(Claim::Free) => {
                let job = PasswordJob::Hash { password: registration.register.password.clone() };
                let flow = LoginPassword::Register(registration);
                turn.ask_passwords(job, PasswordFlow::Login(flow));
            }
            Ok(Claim::Of { .. } | Claim::Blocked) => {
                self.refuse_asker(registration.asker, NAME_TAKEN, turn);
            }
            Err(refusal) => self.refuse_asker(registration.asker, refusal, turn),
        }
    }

    pub(in crate::worker) fn register_hashed(
        &mut self,
        registration: Registration,
        result: PasswordResult,
        turn: &mut Turn<'_>,
    ) {
        let Registration { asker, register } = registration;
        match result {
            Ok(PasswordDone::Hashed(hash)) => {
                let Register { username, display_name, .. } = register;
                let origin = Origin::Password { asker, hash };
                self.create_account(username, display_name, origin, turn);
            }
            Ok(PasswordDone::Right { .. } | PasswordDone::Wrong) => {
                self.refuse_asker(asker, INTERNAL, turn);
            }
            Err(error) => self.refuse_asker(asker, hash_refusal(error), turn),
        }
    }

    pub(in crate::worker) fn create_account(
        &mut self,
        username: String,
        display_name: String,
        origin: Origin,
        turn: &mut Turn<'_>,
    ) {
        let user = random_user(turn);
        let creation = Creation { username, display_name, origin, user, attempts: 0 };
        self.append_account(creation, turn);
    }

    fn append_account(&mut self, creation: Creation, turn: &mut Turn<'_>) {
        let (user, time_ms) = (creation.user, turn.now_ms);
        let created = entry::Body::AccountCreated(wire::AccountCreated {
            username: creation.username.clone(),
            display_name: creation.display_name.clone(),
        });
        let mut appends = vec![look_up::append(LogId::account(user), 1, time_ms, user, created)];
        if let Origin::Password { hash, .. } = &creation.origin {
            let identity = Identity::with_password(hash.clone());
            appends.push(look_up::append_identity(user, &identity, Head::default(), time_ms));
        }
        let flow = LoginAppend::Account(Box::new(creation));
        turn.append(appends, AppendFlow::Login(flow));
    }

    pub(in crate::worker) fn account_created(
        &mut self,
        mut creation: Box<Creation>,
        answer: flow::Answer<Vec<Appended>>,
        turn: &mut Turn<'_>,
    ) {
        match look_up::all_stored(answer) {
            Ok(true) => self.claim_name(creation, turn),
            Ok(false) if creation.attempts < ATTEMPTS_MAX => {
                creation.attempts += 1;
                creation.user = random_user(turn);
                self.append_account(*creation, turn);
            }
            Ok(false) => self.refuse_asker(creation.asker(), INTERNAL, turn),
            Err(refusal) => self.refuse_asker(creation.asker(), refusal, turn),
        }
    }

    fn claim_name(&mut self, creation: Box<Creation>, turn: &mut Turn<'_>) {
        let user = creation.user;
        let issuer = match &creation.origin {
            Origin::Password { .. } => String::new(),
            Origin::Issuer { issuer, .. } => issuer.as_ref().to_owned(),
        };
        let username = creation.username.clone();
        let log = names::log_of(&username);
        let claimed = wire::NameClaimed { user_id: user.get(), username, issuer };
        let body = entry::Body::NameClaimed(claimed);
        let append = look_up::append(log, 1, turn.now_ms, user, body);
        turn.append(vec![append], AppendFlow::Login(LoginAppend::Name(creation)));
    }

    pub(in crate::worker) fn name_claimed(
        &mut self,
        creation: Creation,
        answer: flow::Answer<Vec<Appended>>,
        turn: &mut Turn<'_>,
    ) {
        let stored = match look_up::all_stored(answer) {
            Ok(stored) => stored,
            Err(refusal) => return self.refuse_asker(creation.asker(), refusal, turn),
        };
        let Creation { user, origin, .. } = creation;
        match (origin, stored) {
            (Origin::Password { asker, .. }, true) => {
                let answer = match asker {
                    Asker::Admin { .. } => Answer::Admin(AdminReply::UserAdded { user }),
                    Asker::Request { .. } | Asker::Login { .. } | Asker::Nobody => {
                        let registered = wire::Registered { user_id: user.get() };
                        Answer::Body(Box::new(Body::Registered(registered)))
                    }
                };
                self.answer(asker, answer, turn);
            }
            (Origin::Password { asker, .. }, false) => {
                self.refuse_asker(asker, NAME_TAKEN, turn);
            }
            (Origin::Issuer { login, .. }, true) => self.issued_user_found(*login, user, turn),
            // Another login of the same user was faster: it has made the account.
            (Origin::Issuer { login, .. }, false) => self.read_issued_name(login, turn),
        }
    }
}

fn random_user(turn: &Turn<'_>) -> UserId {
    UserId::from_random(turn.shared.random.next_u64())
}
