//! New accounts: by registration, by the program around the engine, by an issuer's first token.
//!
//! ```text
//! [hash the password] ─► [is the name free?] ─► write account and identity ─► [take an invitation] ─► claim the name
//! ```
//!
//! The hash comes first, so that it costs a password to be told that a name is taken: else names could be
//! found out by the ten thousand. (A transport counts it as one that was wrong.)
//!
//! With the account the look of the name is claimed, so that no two names look alike. Whoever is refused later
//! leaves that behind: only the very same name can be registered over it, or none that looks so.
//!
//! The claim of the name comes last, so that a claimed name always has an account. Whoever loses the race for
//! a name leaves an account behind that nobody can reach: a few dozen bytes, and no harm. If the
//! answer of the store gets lost, it is not known whether the name was claimed: who tries again
//! may find it taken, by himself, and logs in.

use std::sync::Arc;

use dunlin_protocol::UserId;
use dunlin_protocol::wire::{self, ErrorCode, frame::Body};

use super::by_issuer::{self, IssuerLogin};
use super::invitation;
use super::{CredentialRegister, CredentialWrite, PasswordFlow, hash_refusal};
use crate::account::register;
use crate::admin::AdminReply;
use crate::auth::identity::Identity;
use crate::auth::invitation::number_of_code;
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::config::Registration as Registering;
use crate::identity::asker::{Asker, Reply};
use crate::identity::look_up::{self, Claim};
use crate::identity::operation::Operation;
use crate::refusal::{INTERNAL, Refusal};
use crate::request::Register;
use crate::store::{self, Written};
use crate::stored;
use crate::worker::flow::{Answer, Answers, PasswordResult, RegisterFlow, WriteFlow, single};
use crate::worker::turn::Turn;

/// How often a random user id may turn out to be taken. Once would be a wonder.
const ATTEMPTS_MAX: u8 = 4;

pub(crate) const NAME_TAKEN: Refusal = Refusal::new(ErrorCode::NameTaken, "the user name is taken");

pub(crate) const NAME_RESERVED: Refusal =
    Refusal::new(ErrorCode::NameTaken, "the user name is kept for users of an issuer");

const LOOKS_TAKEN: Refusal =
    Refusal::new(ErrorCode::NameTaken, "the user name looks like one that is taken");

/// An account with a password that is to be made.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) asker: Asker,
    register: Register,
    needs_invitation: bool,
    /// Of the password; empty until it is computed.
    hash: String,
}

impl Registration {
    /// The number of the invitation; `None` if none is needed, or what was given is none.
    pub(super) fn invitation(&self) -> Option<u64> {
        self.needs_invitation.then(|| number_of_code(&self.register.invitation)).flatten()
    }
}

/// An account that is being made.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) username: String,
    pub(crate) display_name: String,
    pub(crate) origin: Origin,
    user: UserId,
    attempts: u8,
}

/// Where the account comes from, and so who waits for it.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A registration.
    Password {
        asker: Asker,
        hash: String,
        /// By which invitation, if one was needed.
        invitation: Option<u64>,
    },
    /// The first login of a user of this issuer.
    Issuer { issuer: Arc<str>, login: Box<IssuerLogin> },
}

impl Creation {
    /// Whether nobody shall register a name that looks so. An issuer's first logins come by the million, and where
    /// nobody registers nobody can be mistaken for its users.
    fn claims_look(&self, turn: &Turn<'_>) -> bool {
        match &self.origin {
            Origin::Password { .. } => true,
            Origin::Issuer { .. } => turn.shared.config.registration() != Registering::Closed,
        }
    }

    /// Whose it will be.
    pub(super) fn user(&self) -> UserId {
        self.user
    }

    pub(crate) fn asker(&self) -> Asker {
        match &self.origin {
            Origin::Password { asker, .. } => *asker,
            Origin::Issuer { login, .. } => login.asker(),
        }
    }
}

/// Makes an account with a password.
pub(super) fn register(
    asker: Asker,
    register: Register,
    needs_invitation: bool,
    turn: &mut Turn<'_>,
) {
    if turn.shared.config.name_is_reserved_for(&register.username).is_some() {
        return asker.refuse(NAME_RESERVED, turn);
    }
    let registration = Registration { asker, register, needs_invitation, hash: String::new() };
    let registration = Box::new(registration);
    if needs_invitation {
        invitation::look(registration, turn);
    } else {
        hash(registration, turn);
    }
}

pub(super) fn hash(registration: Box<Registration>, turn: &mut Turn<'_>) {
    let password = registration.register.password.clone();
    let job = match registration.asker {
        Asker::Registration { .. } => {
            PasswordJob::Register { password, attempt: registration.register.attempt.clone() }
        }
        Asker::Admin { .. } | Asker::Request { .. } | Asker::Login { .. } | Asker::Nobody => {
            PasswordJob::Hash { password }
        }
    };
    turn.ask_passwords(job, PasswordFlow::Register(registration));
}

pub(super) fn hashed(
    mut registration: Box<Registration>,
    result: PasswordResult,
    turn: &mut Turn<'_>,
) {
    match result {
        Ok(PasswordDone::Hashed(hash)) => {
            registration.hash = hash;
            let name = look_up::name_register(&registration.register.username);
            let flow = CredentialRegister::RegisterName(registration);
            turn.ask_register(vec![name], RegisterFlow::Credential(flow));
        }
        Ok(PasswordDone::Right { .. } | PasswordDone::Wrong) => {
            registration.asker.refuse(INTERNAL, turn);
        }
        Err(error) => registration.asker.refuse(hash_refusal(error), turn),
    }
}

pub(super) fn name_read(
    registration: Registration,
    answer: Answers<store::Register>,
    turn: &mut Turn<'_>,
) {
    let invitation = registration.invitation();
    let Registration { asker, register, hash, .. } = registration;
    match look_up::claim(&register.username, answer) {
        Ok(Claim::Free) => {
            let Register { username, display_name, .. } = register;
            begin(username, display_name, Origin::Password { asker, hash, invitation }, turn);
        }
        Ok(Claim::Of { .. } | Claim::Blocked) => asker.refuse(NAME_TAKEN, turn),
        Err(refusal) => asker.refuse(refusal, turn),
    }
}

/// Makes an account.
pub(super) fn begin(username: String, display_name: String, origin: Origin, turn: &mut Turn<'_>) {
    let user = random_user(turn);
    let creation = Creation { username, display_name, origin, user, attempts: 0 };
    write_account(creation, turn);
}

fn random_user(turn: &Turn<'_>) -> UserId {
    UserId::from_random(turn.shared.random.next_u64())
}

fn write_account(creation: Creation, turn: &mut Turn<'_>) {
    let user = creation.user;
    let account = stored::Account {
        username: creation.username.clone(),
        display_name: creation.display_name.clone(),
        created_ms: turn.now.unix_ms,
    };
    let mut writes = vec![register::creation(user, &account)];
    if let Origin::Password { hash, .. } = &creation.origin {
        let identity = Identity::with_password(hash.clone());
        let mut sets = identity.sets_after(&Identity::default()).into();
        // At version 0 nobody has this id.
        writes.push(look_up::write_identity(user, 0, &mut sets));
    }
    if creation.claims_look(turn) {
        writes.insert(0, look_up::claim_look(user, &creation.username));
    }
    let flow = CredentialWrite::Account(Box::new(creation));
    turn.write(writes, WriteFlow::Credential(flow));
}

pub(super) fn account_written(
    mut creation: Box<Creation>,
    answer: Answer<Vec<Written>>,
    turn: &mut Turn<'_>,
) {
    let (answer, look) = match answer {
        Ok(mut written) if creation.claims_look(turn) => {
            let look = (!written.is_empty()).then(|| written.remove(0));
            (Ok(written), look)
        }
        answer => (answer, None),
    };
    match look_up::all_stored(answer) {
        Ok(true) => look_claimed(creation, look.as_ref(), turn),
        Ok(false) if creation.attempts < ATTEMPTS_MAX => {
            creation.attempts += 1;
            creation.user = random_user(turn);
            write_account(*creation, turn);
        }
        Ok(false) => creation.asker().refuse(INTERNAL, turn),
        Err(refusal) => creation.asker().refuse(refusal, turn),
    }
}

/// An issuer knows its users apart, whatever their names look like.
fn look_claimed(creation: Box<Creation>, look: Option<&Written>, turn: &mut Turn<'_>) {
    let look = match &creation.origin {
        Origin::Password { .. } => look,
        Origin::Issuer { .. } => None,
    };
    match look.map_or(Ok(Some(0)), look_up::stored_at) {
        Ok(Some(_)) => look_is_free(creation, turn),
        Ok(None) => {
            let look = look_up::look_register(&creation.username);
            let flow = CredentialRegister::Look(creation);
            turn.ask_register(vec![look], RegisterFlow::Credential(flow));
        }
        Err(refusal) => creation.asker().refuse(refusal, turn),
    }
}

/// It was read which name was the first that looks so. If it is this one, it was tried before.
pub(super) fn look_read(
    creation: Box<Creation>,
    answer: Answers<store::Register>,
    turn: &mut Turn<'_>,
) {
    match single(answer).and_then(|register| look_up::name_claim(&register)) {
        Ok(Some(first)) if first.username != creation.username => {
            creation.asker().refuse(LOOKS_TAKEN, turn);
        }
        Ok(_) => look_is_free(creation, turn),
        Err(refusal) => creation.asker().refuse(refusal, turn),
    }
}

fn look_is_free(creation: Box<Creation>, turn: &mut Turn<'_>) {
    match creation.origin {
        Origin::Password { invitation: Some(number), .. } => {
            invitation::take(number, creation, turn);
        }
        Origin::Password { invitation: None, .. } | Origin::Issuer { .. } => {
            claim_name(creation, turn);
        }
    }
}

pub(super) fn claim_name(creation: Box<Creation>, turn: &mut Turn<'_>) {
    let issuer = match &creation.origin {
        Origin::Password { .. } => "",
        Origin::Issuer { issuer, .. } => issuer,
    };
    let write = look_up::claim_name(creation.user, &creation.username, issuer);
    turn.write(vec![write], WriteFlow::Credential(CredentialWrite::Name(creation)));
}

pub(super) fn name_claimed(
    creation: Creation,
    answer: Answer<Vec<Written>>,
    turn: &mut Turn<'_>,
) -> Option<Operation> {
    let stored = match look_up::stored_alone(answer) {
        Ok(version) => version.is_some(),
        Err(refusal) => {
            creation.asker().refuse(refusal, turn);
            return None;
        }
    };
    let Creation { user, origin, .. } = creation;
    match (origin, stored) {
        (Origin::Password { asker, invitation, .. }, has_registered) => {
            if let Some(number) = invitation {
                invitation::settle(number, user, has_registered, turn);
            }
            if has_registered {
                asker.reply(registered(asker, user), turn);
            } else {
                asker.refuse(NAME_TAKEN, turn);
            }
            None
        }
        (Origin::Issuer { login, .. }, true) => Some(by_issuer::user_found(*login, user)),
        // Another login of the same user was faster: it has made the account.
        (Origin::Issuer { login, .. }, false) => {
            by_issuer::read_name(login, turn);
            None
        }
    }
}

fn registered(asker: Asker, user: UserId) -> Reply {
    match asker {
        Asker::Admin { .. } => Reply::Admin(AdminReply::UserAdded { user }),
        Asker::Registration { .. }
        | Asker::Request { .. }
        | Asker::Login { .. }
        | Asker::Nobody => {
            Reply::Body(Box::new(Body::Registered(wire::Registered { user_id: user.get() })))
        }
    }
}
