//! Logging in by name and password.

use dunlin_protocol::UserId;
use dunlin_protocol::wire::ErrorCode;

use crate::attempt::Attempt;
use crate::auth::names;
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::refusal::{INTERNAL, Refusal};
use crate::request::Device;
use crate::transport::ConnId;
use crate::worker::Worker;
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, PasswordResult, StoreResult};
use crate::worker::login::asker::Asker;
use crate::worker::login::decide::WRONG_CREDENTIALS;
use crate::worker::login::enter::{ABANDONED, Enter, Proof};
use crate::worker::login::look_up::{self, Claim};
use crate::worker::login::operation::{Action, Operation};
use crate::worker::login::{LoginFlow, LoginMessage, hash_refusal};
use crate::worker::message::WorkerMessage;

/// A login by password.
#[derive(Clone)]
pub struct PasswordLogin {
    pub(in crate::worker) conn: ConnId,
    pub(in crate::worker) request_id: u64,
    pub(in crate::worker) attempt: Attempt,
    pub(in crate::worker) device: Device,
    pub(in crate::worker) username: String,
    pub(in crate::worker) password: String,
}

/// The hash that a password is checked against, and whose it is.
#[derive(Debug)]
pub(in crate::worker) struct Checked {
    user: UserId,
    hash: String,
}

impl std::fmt::Debug for PasswordLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordLogin").field("conn", &self.conn).finish_non_exhaustive()
    }
}

impl PasswordLogin {
    pub(in crate::worker) fn asker(&self) -> Asker {
        Asker::Login { conn: self.conn, request_id: self.request_id }
    }
}

impl Worker {
    pub(in crate::worker) fn route_password_login(
        &mut self,
        login: Box<PasswordLogin>,
        effects: &mut Effects,
    ) {
        // Its worker counts the failures of a name.
        let worker = self.worker_of_log(names::log_of(&login.username));
        let message = WorkerMessage::Login(LoginMessage::Password(login));
        self.tell_worker(worker, message, effects);
    }

    pub(in crate::worker) fn begin_password_login(
        &mut self,
        login: Box<PasswordLogin>,
        effects: &mut Effects,
    ) {
        let name = names::log_of(&login.username);
        if let Err(retry_after_ms) = self.throttle.check(name, self.now_ms) {
            let message = "too many wrong passwords for this name";
            let refusal = Refusal::retry(ErrorCode::RateLimited, message, retry_after_ms);
            return self.refuse_asker(login.asker(), refusal, effects);
        }
        self.throttle.failed(name, self.now_ms);
        let request = look_up::read_name(&login.username);
        self.ask_store(request, Flow::Login(LoginFlow::PasswordName(login)), effects);
    }

    pub(in crate::worker) fn password_name_read(
        &mut self,
        login: Box<PasswordLogin>,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        match look_up::claim(&login.username, result) {
            Ok(Claim::Of { user, .. }) => {
                let flow = LoginFlow::PasswordIdentity(login, user);
                self.ask_store(look_up::read_identity(user), Flow::Login(flow), effects);
            }
            Ok(Claim::Free | Claim::Blocked) => self.verify_password(login, None, effects),
            Err(refusal) => self.password_not_tried(&login, refusal, effects),
        }
    }

    pub(in crate::worker) fn password_identity_read(
        &mut self,
        login: Box<PasswordLogin>,
        user: UserId,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        match look_up::identity(result) {
            Ok((identity, _)) => {
                let hash = identity.password_hash;
                let checked = (!hash.is_empty()).then_some(Checked { user, hash });
                self.verify_password(login, checked, effects);
            }
            Err(refusal) => self.password_not_tried(&login, refusal, effects),
        }
    }

    /// Also for a name that nobody has: it must take as long.
    fn verify_password(
        &mut self,
        mut login: Box<PasswordLogin>,
        checked: Option<Checked>,
        effects: &mut Effects,
    ) {
        if login.attempt.is_abandoned() {
            // When everybody gives up and tries again, hashes are what there is too little of.
            return self.password_not_tried(&login, ABANDONED, effects);
        }
        let password = std::mem::take(&mut login.password);
        let stored = checked.as_ref().map(|checked| checked.hash.clone());
        let job = PasswordJob::Verify { password, stored };
        let flow = LoginFlow::PasswordVerify(login, checked);
        self.ask_passwords(job, Flow::Login(flow), effects);
    }

    pub(in crate::worker) fn password_verified(
        &mut self,
        login: PasswordLogin,
        checked: Option<Checked>,
        result: PasswordResult,
        effects: &mut Effects,
    ) {
        match (result, checked) {
            (Ok(PasswordDone::Right { rehashed }), Some(Checked { user, hash })) => {
                self.throttle.succeeded(names::log_of(&login.username));
                let asker = login.asker();
                let PasswordLogin { conn, request_id, attempt, device, username, .. } = login;
                let proof = Proof::Password { checked_hash: hash, rehashed };
                let enter = Enter { conn, request_id, attempt, username, device, proof };
                self.operate(Operation { user, asker, action: Action::Enter(enter) }, effects);
            }
            (Ok(PasswordDone::Wrong), _) => {
                self.refuse_asker(login.asker(), WRONG_CREDENTIALS, effects);
            }
            (Ok(PasswordDone::Right { .. } | PasswordDone::Hashed(_)), _) => {
                self.password_not_tried(&login, INTERNAL, effects);
            }
            (Err(error), _) => self.password_not_tried(&login, hash_refusal(error), effects),
        }
    }

    fn password_not_tried(
        &mut self,
        login: &PasswordLogin,
        refusal: Refusal,
        effects: &mut Effects,
    ) {
        self.throttle.undecided(names::log_of(&login.username));
        self.refuse_asker(login.asker(), refusal, effects);
    }
}
