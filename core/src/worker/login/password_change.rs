//! A new password for an old one.
//!
//! The old one is checked before the operation begins: hashing takes long, and the user's other
//! devices should not wait for it. If the password was changed meanwhile, the operation refuses.

use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::{LogId, UserId};

use crate::auth::password::{PasswordDone, PasswordJob};
use crate::refusal::{INTERNAL, Refusal};
use crate::worker::Worker;
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, PasswordResult, StoreResult};
use crate::worker::login::asker::Asker;
use crate::worker::login::decide::{ISSUER_ACCOUNT, WRONG_CREDENTIALS};
use crate::worker::login::look_up;
use crate::worker::login::operation::{Action, Operation, Speaker};
use crate::worker::login::{LoginFlow, hash_refusal};

/// A new password instead of an old one.
pub(in crate::worker) struct PasswordChange {
    pub(in crate::worker) asker: Asker,
    pub(in crate::worker) user: UserId,
    pub(in crate::worker) speaker: Speaker,
    pub(in crate::worker) old: String,
    pub(in crate::worker) new: String,
}

impl std::fmt::Debug for PasswordChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordChange").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Worker {
    pub(in crate::worker) fn begin_password_change(
        &mut self,
        change: PasswordChange,
        effects: &mut Effects,
    ) {
        let name = LogId::identity(change.user);
        if let Err(retry_after_ms) = self.throttle.check(name, self.now_ms) {
            let message = "too many wrong passwords for this user";
            let refusal = Refusal::retry(ErrorCode::RateLimited, message, retry_after_ms);
            return self.refuse_asker(change.asker, refusal, effects);
        }
        self.throttle.failed(name, self.now_ms);
        let request = look_up::read_identity(change.user);
        let flow = LoginFlow::ChangeIdentity(Box::new(change));
        self.ask_store(request, Flow::Login(flow), effects);
    }

    pub(in crate::worker) fn change_identity_read(
        &mut self,
        change: Box<PasswordChange>,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let hash = match look_up::identity(result) {
            Ok((identity, _)) => identity.password_hash,
            Err(refusal) => return self.change_not_tried(&change, refusal, effects),
        };
        if hash.is_empty() {
            return self.change_not_tried(&change, ISSUER_ACCOUNT, effects);
        }
        let (old, new, stored) = (change.old.clone(), change.new.clone(), hash.clone());
        let flow = Flow::Login(LoginFlow::ChangeHash(change, hash));
        self.ask_passwords(PasswordJob::Change { old, stored, new }, flow, effects);
    }

    pub(in crate::worker) fn change_hashed(
        &mut self,
        change: &PasswordChange,
        checked_hash: String,
        result: PasswordResult,
        effects: &mut Effects,
    ) {
        match result {
            Ok(PasswordDone::Hashed(new_hash)) => {
                let PasswordChange { asker, user, speaker, .. } = *change;
                self.throttle.succeeded(LogId::identity(user));
                let action = Action::SetPassword { speaker, checked_hash, new_hash };
                self.operate(Operation { user, asker, action }, effects);
            }
            Ok(PasswordDone::Wrong) => self.refuse_asker(change.asker, WRONG_CREDENTIALS, effects),
            Ok(PasswordDone::Right { .. }) => self.change_not_tried(change, INTERNAL, effects),
            Err(error) => self.change_not_tried(change, hash_refusal(error), effects),
        }
    }

    fn change_not_tried(
        &mut self,
        change: &PasswordChange,
        refusal: Refusal,
        effects: &mut Effects,
    ) {
        self.throttle.undecided(LogId::identity(change.user));
        self.refuse_asker(change.asker, refusal, effects);
    }
}
