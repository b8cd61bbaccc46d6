//! Logging in by name and password.

use std::collections::VecDeque;

use dunlin_protocol::UserId;
use dunlin_protocol::wire::ErrorCode;

use super::{CredentialRegister, Credentials, PasswordFlow, hash_refusal};
use crate::attempt::Attempt;
use crate::auth::identity::device_mark;
use crate::auth::names;
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::auth::throttle::{Ended, Guess, Guesser, Verdict};
use crate::identity::WRONG_CREDENTIALS;
use crate::identity::asker::Asker;
use crate::identity::enter::{ABANDONED, Enter, Proof};
use crate::identity::look_up::{self, Claim};
use crate::identity::operation::{Action, Operation};
use crate::limits::OVERLOADED_RETRY_MS;
use crate::refusal::{INTERNAL, Refusal};
use crate::request::{Device, Source};
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
    pub(crate) source: Source,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// The hash that a password is checked against, and whose it is.
#[derive(Debug)]
struct Checked {
    user: UserId,
    hash: String,
}

/// A password that is tried, or waits for that.
#[derive(Debug)]
pub(crate) struct Trying {
    login: Box<PasswordLogin>,
    /// `None` if nobody has the name, or it has no password: that must take as long.
    checked: Option<Checked>,
    guess: Guess,
}

/// Logins that wait until what is being tried for their names has ended.
pub(super) type Waiting = VecDeque<Box<Trying>>;

/// Logins of a worker that may wait so. Each waits for at least one other that is at the password threads, where
/// `passwords.queue` bounds what there is to wait for.
const WAITING_MAX: usize = 256;

const TOO_MANY_AT_ONCE: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too many logins of this name are under way",
    OVERLOADED_RETRY_MS,
);

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
            Ok(Claim::Free | Claim::Blocked) => self.try_password(login, None, false, turn),
            Err(refusal) => login.asker().refuse(refusal, turn),
        }
    }

    pub(super) fn password_identity_read(
        &mut self,
        login: Box<PasswordLogin>,
        user: UserId,
        answer: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        match look_up::credentials(answer) {
            Ok(identity) => {
                let is_known = identity.knows(login.device.id);
                let hash = identity.password_hash;
                let checked = (!hash.is_empty()).then_some(Checked { user, hash });
                self.try_password(login, checked, is_known, turn);
            }
            Err(refusal) => login.asker().refuse(refusal, turn),
        }
    }

    /// Also for a name that nobody has: it must take as long.
    fn try_password(
        &mut self,
        login: Box<PasswordLogin>,
        checked: Option<Checked>,
        is_known: bool,
        turn: &mut Turn<'_>,
    ) {
        let by = if is_known {
            Guesser::Known(device_mark(login.device.id))
        } else {
            Guesser::Stranger(login.source)
        };
        let guess = Guess { name: names::log_of(&login.username), by };
        let trying = Box::new(Trying { login, checked, guess });
        if let Some(waits) = self.try_or_wait(trying, turn) {
            if self.waiting.len() >= WAITING_MAX {
                return waits.login.asker().refuse(TOO_MANY_AT_ONCE, turn);
            }
            self.waiting.push_back(waits);
        }
    }

    /// Returns it if it has to wait.
    fn try_or_wait(&mut self, mut trying: Box<Trying>, turn: &mut Turn<'_>) -> Option<Box<Trying>> {
        let asker = trying.login.asker();
        if trying.login.attempt.is_abandoned() {
            // When everybody gives up and tries again, hashes are what there is too little of.
            asker.refuse(ABANDONED, turn);
            return None;
        }
        match self.throttle.begin(trying.guess, turn.now.monotonic_ms) {
            Verdict::Wait => return Some(trying),
            Verdict::Closed(retry_after_ms) => {
                let message = "too many wrong passwords for this name";
                asker.refuse(Refusal::retry(ErrorCode::RateLimited, message, retry_after_ms), turn);
            }
            Verdict::Try => {
                let password = std::mem::take(&mut trying.login.password);
                let stored = trying.checked.as_ref().map(|checked| checked.hash.clone());
                let attempt = trying.login.attempt.clone();
                let job = PasswordJob::Verify { password, stored, attempt };
                turn.ask_passwords(job, PasswordFlow::Verify(trying));
            }
        }
        None
    }

    pub(super) fn password_verified(
        &mut self,
        tried: Trying,
        result: PasswordResult,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        let Trying { login, checked, guess } = tried;
        let asker = login.asker();
        let (ended, entering) = match (result, checked) {
            (Ok(PasswordDone::Right { rehashed }), Some(Checked { user, hash })) => {
                let PasswordLogin { conn, request_id, attempt, device, username, .. } = *login;
                let proof = Proof::Password { checked_hash: hash, rehashed };
                let enter = Enter { conn, request_id, attempt, username, device, proof };
                (Ended::Right, Ok(Operation { user, asker, action: Action::Enter(enter) }))
            }
            (Ok(PasswordDone::Wrong), _) => (Ended::Wrong, Err(WRONG_CREDENTIALS)),
            (Ok(PasswordDone::Right { .. } | PasswordDone::Hashed(_)), _) => {
                (Ended::Untried, Err(INTERNAL))
            }
            (Err(error), _) => (Ended::Untried, Err(hash_refusal(error))),
        };
        self.throttle.ended(guess, ended, turn.now.monotonic_ms);
        self.try_those_that_wait(guess, turn);
        entering.map_err(|refusal| asker.refuse(refusal, turn)).ok()
    }

    /// A try has ended: whoever waits for that has a place now, or is told that there is none.
    fn try_those_that_wait(&mut self, ended: Guess, turn: &mut Turn<'_>) {
        for waits in std::mem::take(&mut self.waiting) {
            let still_waits = if waits.guess.name == ended.name {
                self.try_or_wait(waits, turn)
            } else {
                Some(waits)
            };
            self.waiting.extend(still_waits);
        }
    }
}
