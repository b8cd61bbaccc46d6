//! A new password for an old one.
//!
//! The old one is checked before the operation begins: hashing takes long, and the user's other
//! devices should not wait for it. If the password was changed meanwhile, the operation refuses.

use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::{LogId, UserId};

use crate::auth::password::{PasswordDone, PasswordJob};
use crate::refusal::{INTERNAL, Refusal};
use crate::store::Page;
use crate::worker::flow::{Answer, PageFlow, PasswordFlow, PasswordResult};
use crate::worker::login::asker::Asker;
use crate::worker::login::decide::{ISSUER_ACCOUNT, WRONG_CREDENTIALS};
use crate::worker::login::look_up;
use crate::worker::login::operation::{Action, Operation, Speaker};
use crate::worker::login::{LoginPage, LoginPassword, hash_refusal};
use crate::worker::router::Router;
use crate::worker::turn::Turn;

/// A new password instead of an old one.
pub(crate) struct PasswordChange {
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

impl Router {
    pub(in crate::worker) fn begin_password_change(
        &mut self,
        change: PasswordChange,
        turn: &mut Turn<'_>,
    ) {
        let name = LogId::identity(change.user);
        if let Err(retry_after_ms) = self.throttle.check(name, turn.now_ms) {
            let message = "too many wrong passwords for this user";
            let refusal = Refusal::retry(ErrorCode::RateLimited, message, retry_after_ms);
            return self.refuse_asker(change.asker, refusal, turn);
        }
        self.throttle.failed(name, turn.now_ms);
        let request = look_up::read_identity(change.user);
        let flow = LoginPage::ChangeIdentity(Box::new(change));
        turn.ask_page(request, PageFlow::Login(flow));
    }

    pub(in crate::worker) fn change_identity_read(
        &mut self,
        change: Box<PasswordChange>,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        let hash = match look_up::identity(answer) {
            Ok((identity, _)) => identity.password_hash,
            Err(refusal) => return self.change_not_tried(&change, refusal, turn),
        };
        if hash.is_empty() {
            return self.change_not_tried(&change, ISSUER_ACCOUNT, turn);
        }
        let (old, new, stored) = (change.old.clone(), change.new.clone(), hash.clone());
        let flow = LoginPassword::Change(change, hash);
        turn.ask_passwords(PasswordJob::Change { old, stored, new }, PasswordFlow::Login(flow));
    }

    pub(in crate::worker) fn change_hashed(
        &mut self,
        change: &PasswordChange,
        checked_hash: String,
        result: PasswordResult,
        turn: &mut Turn<'_>,
    ) {
        match result {
            Ok(PasswordDone::Hashed(new_hash)) => {
                let PasswordChange { asker, user, speaker, .. } = *change;
                self.throttle.succeeded(LogId::identity(user));
                let action = Action::SetPassword { speaker, checked_hash, new_hash };
                self.operate(Operation { user, asker, action }, turn);
            }
            Ok(PasswordDone::Wrong) => self.refuse_asker(change.asker, WRONG_CREDENTIALS, turn),
            Ok(PasswordDone::Right { .. }) => self.change_not_tried(change, INTERNAL, turn),
            Err(error) => self.change_not_tried(change, hash_refusal(error), turn),
        }
    }

    fn change_not_tried(&mut self, change: &PasswordChange, refusal: Refusal, turn: &mut Turn<'_>) {
        self.throttle.undecided(LogId::identity(change.user));
        self.refuse_asker(change.asker, refusal, turn);
    }
}
