//! A look at a user, by the operator: what is said of the user, and then, as an [`Operation`] that changes nothing, the
//! sessions. So it is not seen half way through what is done to the user at that moment.

use dunlin_protocol::{LogId, UserId};

use super::CredentialRegister;
use crate::account::register::account_key;
use crate::admin::UserDetails;
use crate::identity::asker::Asker;
use crate::identity::operation::{Action, Operation};
use crate::store::Register;
use crate::stored::Account;
use crate::worker::flow::{Answers, RegisterFlow, single};
use crate::worker::turn::Turn;

/// Who is looked at.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub(super) call: u64,
    pub(super) user: UserId,
    pub(super) issuer: String,
}

/// Reads what is said of the user.
pub(super) fn begin(inspection: Inspection, turn: &mut Turn<'_>) {
    let account = (LogId::account(inspection.user), account_key());
    let flow = CredentialRegister::InspectedAccount(Box::new(inspection));
    turn.ask_register(vec![account], RegisterFlow::Credential(flow));
}

pub(super) fn account_read(
    inspection: Inspection,
    answer: Answers<Register>,
    turn: &mut Turn<'_>,
) -> Option<Operation> {
    let Inspection { call, user, issuer } = inspection;
    let asker = Asker::Admin { call };
    match single(answer).and_then(|register| super::display_name::account_of(&register)) {
        Ok(account) => {
            let Account { username, display_name, created_ms } = account;
            let (disabled, sessions) = (false, Vec::new());
            let details = UserDetails {
                user,
                username,
                display_name,
                issuer,
                created_ms,
                disabled,
                sessions,
            };
            Some(Operation { user, asker, action: Action::Inspect(Box::new(details)) })
        }
        Err(refusal) => {
            asker.refuse(refusal, turn);
            None
        }
    }
}
