//! Another display name for a user, by the operator. It is told by look-ups from then on, and by Sync where a device learns
//! of a conversation.

use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::{LogId, UserId};

use super::{CredentialRegister, CredentialWrite};
use crate::account::register::{self, account_key};
use crate::identity::asker::{Asker, Reply};
use crate::identity::look_up;
use crate::limits::OVERLOADED_RETRY_MS;
use crate::refusal::{DATA_CORRUPT, Refusal};
use crate::store::{Register, Written};
use crate::stored::{self, Account};
use crate::worker::flow::{Answer, Answers, RegisterFlow, WriteFlow, single};
use crate::worker::turn::Turn;

/// A new display name, and whose.
#[derive(Debug)]
pub(crate) struct Renaming {
    pub(super) call: u64,
    pub(super) user: UserId,
    pub(super) display_name: String,
}

const CHANGED_MEANWHILE: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "somebody else has changed the account at this moment",
    OVERLOADED_RETRY_MS,
);

/// Reads what is said of the user.
pub(super) fn begin(renaming: Renaming, turn: &mut Turn<'_>) {
    let account = (LogId::account(renaming.user), account_key());
    let flow = CredentialRegister::RenamedAccount(Box::new(renaming));
    turn.ask_register(vec![account], RegisterFlow::Credential(flow));
}

pub(super) fn account_read(renaming: Renaming, answer: Answers<Register>, turn: &mut Turn<'_>) {
    let Renaming { call, user, display_name } = renaming;
    match single(answer).and_then(|register| Ok((account_of(&register)?, register.version))) {
        Ok((account, version)) => {
            let account = Account { display_name, ..account };
            let write = register::change(user, &account, version);
            let flow = CredentialWrite::DisplayName { call };
            turn.write(vec![write], WriteFlow::Credential(flow));
        }
        Err(refusal) => Asker::Admin { call }.refuse(refusal, turn),
    }
}

/// There is one: the name of the user was found.
pub(super) fn account_of(register: &Register) -> Answer<Account> {
    register.value.as_ref().map_or(Err(DATA_CORRUPT), stored::decode)
}

pub(super) fn written(call: u64, answer: Answer<Vec<Written>>, turn: &mut Turn<'_>) {
    let asker = Asker::Admin { call };
    match look_up::stored_alone(answer) {
        Ok(Some(_)) => asker.reply(Reply::Done, turn),
        Ok(None) => asker.refuse(CHANGED_MEANWHILE, turn),
        Err(refusal) => asker.refuse(refusal, turn),
    }
}
