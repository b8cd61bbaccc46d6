//! Logging in by name and password.

use dunlin_protocol::UserId;
use dunlin_protocol::wire::ErrorCode;

use super::{CredentialRegister, Credentials, PasswordFlow, hash_refusal};
use crate::attempt::Attempt;
use crate::auth::names;
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::identity::WRONG_CREDENTIALS;
use crate::identity::asker::Asker;
use crate::identity::enter::{ABANDONED, Enter, Proof};
use crate::identity::look_up::{self, Claim};
use crate::identity::operation::{Action, Operation};
use crate::refusal::{INTERNAL, Refusal};
use crate::request::Device;
use crate::store::Register;
use crate::transport::ConnId;
use crate::worker::flow::{Answers, PasswordResult, RegisterFlow};
use crate::worker::message::WorkerMessage;
use crate::worker::turn::Turn;

/// A login by password.
#[derive(Clone)]
pub struct PasswordLogin {
    pub(crate) conn: ConnId,
    pub(crate) request_id: u64,
    pub(crate) attempt: Attempt,
    pub(crate) device: Device,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// The hash that a password is checked against, and whose it is.
#[derive(Debug)]
pub(crate) struct Checked {
    user: UserId,
    hash: String,
}

impl std::fmt::Debug for PasswordLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordLogin").field("conn", &self.conn).finish_non_exhaustive()
    }
}

impl PasswordLogin {
    pub(crate) fn asker(&self) -> Asker {
        Asker::Login { conn: self.conn, request_id: self.request_id }
    }
}

impl Credentials {
    /// Takes a login by password, or passes it on to the worker of the name, which counts the
    /// failures of it.
    pub(super) fn route_password_login(&mut self, login: Box<PasswordLogin>, turn: &mut Turn<'_>) {
        let worker = turn.worker_of_log(names::log_of(&login.username));
        if worker == turn.index {
            self.take_password_login(login, turn);
        } else {
            turn.effects.tell_worker(worker, WorkerMessage::PasswordLogin(login));
        }
    }

    /// Takes a login by password of a name of this worker.
    pub(crate) fn take_password_login(&mut self, login: Box<PasswordLogin>, turn: &mut Turn<'_>) {
        let name = names::log_of(&login.username);
        if let Err(retry_after_ms) = self.throttle.check(name, turn.now.monotonic_ms) {
            let message = "too many wrong passwords for this name";
            let refusal = Refusal::retry(ErrorCode::RateLimited, message, retry_after_ms);
            return login.asker().refuse(refusal, turn);
        }
        self.throttle.failed(name, turn.now.monotonic_ms);
        let name = look_up::name_register(&login.username);
        turn.ask_register(
            vec![name],
            RegisterFlow::Credential(CredentialRegister::PasswordName(login)),
        );
    }

    pub(super) fn password_name_read(
        &mut self,
        login: Box<PasswordLogin>,
        answer: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        match look_up::claim(&login.username, answer) {
            Ok(Claim::Of { user, .. }) => {
                let flow = CredentialRegister::PasswordIdentity(login, user);
                let credentials = look_up::credentials_register(user);
                turn.ask_register(vec![credentials], RegisterFlow::Credential(flow));
            }
            Ok(Claim::Free | Claim::Blocked) => self.verify_password(login, None, turn),
            Err(refusal) => self.password_not_tried(&login, refusal, turn),
        }
    }

    pub(super) fn password_identity_read(
        &mut self,
        login: Box<PasswordLogin>,
        user: UserId,
        answer: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        match look_up::password_hash(answer) {
            Ok(hash) => {
                let checked = (!hash.is_empty()).then_some(Checked { user, hash });
                self.verify_password(login, checked, turn);
            }
            Err(refusal) => self.password_not_tried(&login, refusal, turn),
        }
    }

    /// Also for a name that nobody has: it must take as long.
    fn verify_password(
        &mut self,
        mut login: Box<PasswordLogin>,
        checked: Option<Checked>,
        turn: &mut Turn<'_>,
    ) {
        if login.attempt.is_abandoned() {
            // When everybody gives up and tries again, hashes are what there is too little of.
            return self.password_not_tried(&login, ABANDONED, turn);
        }
        let password = std::mem::take(&mut login.password);
        let stored = checked.as_ref().map(|checked| checked.hash.clone());
        let job = PasswordJob::Verify { password, stored };
        turn.ask_passwords(job, PasswordFlow::Verify(login, checked));
    }

    pub(super) fn password_verified(
        &mut self,
        login: PasswordLogin,
        checked: Option<Checked>,
        result: PasswordResult,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        match (result, checked) {
            (Ok(PasswordDone::Right { rehashed }), Some(Checked { user, hash })) => {
                self.throttle.succeeded(names::log_of(&login.username));
                let asker = login.asker();
                let PasswordLogin { conn, request_id, attempt, device, username, .. } = login;
                let proof = Proof::Password { checked_hash: hash, rehashed };
                let enter = Enter { conn, request_id, attempt, username, device, proof };
                return Some(Operation { user, asker, action: Action::Enter(enter) });
            }
            (Ok(PasswordDone::Wrong), _) => login.asker().refuse(WRONG_CREDENTIALS, turn),
            (Ok(PasswordDone::Right { .. } | PasswordDone::Hashed(_)), _) => {
                self.password_not_tried(&login, INTERNAL, turn);
            }
            (Err(error), _) => self.password_not_tried(&login, hash_refusal(error), turn),
        }
        None
    }

    fn password_not_tried(&mut self, login: &PasswordLogin, refusal: Refusal, turn: &mut Turn<'_>) {
        self.throttle.undecided(names::log_of(&login.username));
        login.asker().refuse(refusal, turn);
    }
}
