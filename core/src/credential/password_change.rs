//! A new password for an old one.
//!
//! The old one is checked before the operation begins: hashing takes long, and the user's other
//! devices should not wait for it. If the password was changed meanwhile, the operation refuses.

use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::{LogId, UserId};

use super::{CredentialRegister, Credentials, PasswordFlow, hash_refusal};
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::auth::throttle::{Ended, Guess, Guesser, Verdict};
use crate::identity::asker::Asker;
use crate::identity::look_up;
use crate::identity::operation::{Action, Operation, Speaker};
use crate::identity::{ISSUER_ACCOUNT, WRONG_CREDENTIALS};
use crate::limits::OVERLOADED_RETRY_MS;
use crate::refusal::{INTERNAL, Refusal};
use crate::store::Register;
use crate::worker::flow::{Answers, PasswordResult, RegisterFlow};
use crate::worker::turn::Turn;

/// A new password instead of an old one.
pub(crate) struct PasswordChange {
    pub(crate) asker: Asker,
    pub(crate) user: UserId,
    pub(crate) speaker: Speaker,
    pub(crate) old: String,
    pub(crate) new: String,
}

impl std::fmt::Debug for PasswordChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordChange").field("user", &self.user).finish_non_exhaustive()
    }
}

/// One at a time: a hash of it is as dear as one of a login, and nobody does it twice at once.
const CHANGES_AT_ONCE: Refusal = Refusal::retry(
    ErrorCode::RateLimited,
    "the password is being changed at this moment",
    OVERLOADED_RETRY_MS,
);

impl PasswordChange {
    /// It is guessed by a session, which is let in already: others of the user are not shut out by it.
    fn guess(&self) -> Guess {
        let by = Guesser::Known(self.speaker.session.get());
        Guess { name: LogId::identity(self.user), by }
    }
}

impl Credentials {
    /// A user wants a new password for an old one.
    pub(crate) fn change_password(&mut self, change: PasswordChange, turn: &mut Turn<'_>) {
        if self.changing.contains(&change.user) {
            return change.asker.refuse(CHANGES_AT_ONCE, turn);
        }
        match self.throttle.begin(change.guess(), turn.now.monotonic_ms) {
            Verdict::Try => {}
            Verdict::Wait => return change.asker.refuse(CHANGES_AT_ONCE, turn),
            Verdict::Closed(retry_after_ms) => {
                let message = "too many wrong passwords of this session";
                let refusal = Refusal::retry(ErrorCode::RateLimited, message, retry_after_ms);
                return change.asker.refuse(refusal, turn);
            }
        }
        self.changing.insert(change.user);
        let credentials = look_up::credentials_register(change.user);
        let flow = CredentialRegister::ChangeIdentity(Box::new(change));
        turn.ask_register(vec![credentials], RegisterFlow::Credential(flow));
    }

    pub(super) fn change_identity_read(
        &mut self,
        change: Box<PasswordChange>,
        answer: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        let hash = match look_up::credentials(answer) {
            Ok(identity) => identity.password_hash,
            Err(refusal) => return self.change_not_tried(&change, refusal, turn),
        };
        if hash.is_empty() {
            return self.change_not_tried(&change, ISSUER_ACCOUNT, turn);
        }
        let (old, new, stored) = (change.old.clone(), change.new.clone(), hash.clone());
        let job = PasswordJob::Change { old, stored, new };
        turn.ask_passwords(job, PasswordFlow::Change(change, hash));
    }

    pub(super) fn change_hashed(
        &mut self,
        change: &PasswordChange,
        checked_hash: String,
        result: PasswordResult,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        match result {
            Ok(PasswordDone::Hashed(new_hash)) => {
                let PasswordChange { asker, user, speaker, .. } = *change;
                self.change_ended(change, Ended::Right, turn);
                let action = Action::SetPassword { speaker, checked_hash, new_hash };
                return Some(Operation { user, asker, action });
            }
            Ok(PasswordDone::Wrong) => {
                self.change_ended(change, Ended::Wrong, turn);
                change.asker.refuse(WRONG_CREDENTIALS, turn);
            }
            Ok(PasswordDone::Right { .. }) => self.change_not_tried(change, INTERNAL, turn),
            Err(error) => self.change_not_tried(change, hash_refusal(error), turn),
        }
        None
    }

    fn change_not_tried(&mut self, change: &PasswordChange, refusal: Refusal, turn: &mut Turn<'_>) {
        self.change_ended(change, Ended::Untried, turn);
        change.asker.refuse(refusal, turn);
    }

    fn change_ended(&mut self, change: &PasswordChange, how: Ended, turn: &Turn<'_>) {
        self.changing.remove(&change.user);
        self.throttle.ended(change.guess(), how, turn.now.monotonic_ms);
    }
}
