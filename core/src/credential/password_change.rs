//! A new password for an old one.
//!
//! The old one is checked before the operation begins: hashing takes long, and the user's other
//! devices should not wait for it. If the password was changed meanwhile, the operation refuses.

use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::{LogId, UserId};

use super::{CredentialRegister, Credentials, PasswordFlow, hash_refusal};
use crate::auth::password::{PasswordDone, PasswordJob};
use crate::identity::asker::Asker;
use crate::identity::look_up;
use crate::identity::operation::{Action, Operation, Speaker};
use crate::identity::{ISSUER_ACCOUNT, WRONG_CREDENTIALS};
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

impl Credentials {
    /// A user wants a new password for an old one.
    pub(crate) fn change_password(&mut self, change: PasswordChange, turn: &mut Turn<'_>) {
        let name = LogId::identity(change.user);
        if let Err(retry_after_ms) = self.throttle.check(name, turn.now.monotonic_ms) {
            let message = "too many wrong passwords for this user";
            let refusal = Refusal::retry(ErrorCode::RateLimited, message, retry_after_ms);
            return change.asker.refuse(refusal, turn);
        }
        self.throttle.failed(name, turn.now.monotonic_ms);
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
        let hash = match look_up::password_hash(answer) {
            Ok(hash) => hash,
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
                self.throttle.succeeded(LogId::identity(user));
                let action = Action::SetPassword { speaker, checked_hash, new_hash };
                return Some(Operation { user, asker, action });
            }
            Ok(PasswordDone::Wrong) => change.asker.refuse(WRONG_CREDENTIALS, turn),
            Ok(PasswordDone::Right { .. }) => self.change_not_tried(change, INTERNAL, turn),
            Err(error) => self.change_not_tried(change, hash_refusal(error), turn),
        }
        None
    }

    fn change_not_tried(&mut self, change: &PasswordChange, refusal: Refusal, turn: &mut Turn<'_>) {
        self.throttle.undecided(LogId::identity(change.user));
        change.asker.refuse(refusal, turn);
    }
}
