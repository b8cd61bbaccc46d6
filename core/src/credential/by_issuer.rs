//! Logging in by the token of an issuer. A million users may do it at once: only the first login
//! of a user writes.

use dunlin_protocol::UserId;

use super::CredentialRegister;
use super::creation::{self, NAME_RESERVED, NAME_TAKEN, Origin};
use crate::attempt::Attempt;
use crate::auth::issuer::Issued;
use crate::identity::asker::Asker;
use crate::identity::enter::{Enter, Proof};
use crate::identity::look_up::{self, Claim};
use crate::identity::operation::{Action, Operation};
use crate::request::Device;
use crate::store::Register;
use crate::transport::ConnId;
use crate::worker::flow::{Answers, RegisterFlow};
use crate::worker::turn::Turn;

/// A login by an issuer's token, which was verified.
#[derive(Debug)]
pub(crate) struct IssuerLogin {
    pub(crate) conn: ConnId,
    pub(crate) request_id: u64,
    pub(crate) attempt: Attempt,
    pub(crate) device: Device,
    pub(crate) issued: Issued,
}

impl IssuerLogin {
    pub(crate) fn asker(&self) -> Asker {
        Asker::Login { conn: self.conn, request_id: self.request_id }
    }
}

/// Asks whose name it is.
pub(super) fn read_name(login: Box<IssuerLogin>, turn: &mut Turn<'_>) {
    let name = look_up::name_register(&login.issued.username);
    turn.ask_register(vec![name], RegisterFlow::Credential(CredentialRegister::IssuerName(login)));
}

pub(super) fn name_read(
    login: IssuerLogin,
    answer: Answers<Register>,
    turn: &mut Turn<'_>,
) -> Option<Operation> {
    match look_up::claim(&login.issued.username, answer) {
        Ok(Claim::Of { user, issuer }) if *issuer == *login.issued.issuer => {
            return Some(user_found(login, user));
        }
        // The name of a registered user, or of another issuer's: never merged.
        Ok(Claim::Of { .. } | Claim::Blocked) => login.asker().refuse(NAME_TAKEN, turn),
        Ok(Claim::Free) if is_kept_for_another(&login.issued, turn) => {
            login.asker().refuse(NAME_RESERVED, turn);
        }
        Ok(Claim::Free) => {
            let Issued { issuer, username, display_name, .. } = login.issued.clone();
            let display_name = display_name.unwrap_or_else(|| username.clone());
            let origin = Origin::Issuer { issuer, login: Box::new(login) };
            creation::begin(username, display_name, origin, turn);
        }
        Err(refusal) => login.asker().refuse(refusal, turn),
    }
    None
}

/// Whether the name is one of those that are kept for users of another issuer.
fn is_kept_for_another(issued: &Issued, turn: &Turn<'_>) -> bool {
    let keeper = turn.shared.config.name_is_reserved_for(&issued.username);
    keeper.is_some_and(|keeper| *keeper != *issued.issuer)
}

/// The user of the name is let in.
pub(super) fn user_found(login: IssuerLogin, user: UserId) -> Operation {
    let asker = login.asker();
    let IssuerLogin { conn, request_id, attempt, device, issued } = login;
    let proof = Proof::Issued { issued_ms: issued.issued_ms };
    let username = issued.username;
    let enter = Enter { conn, request_id, attempt, username, device, proof };
    Operation { user, asker, action: Action::Enter(enter) }
}
