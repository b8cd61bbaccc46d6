//! The registers of an account log: that there is such a user, and the conversations that the user is
//! a member of. Nobody owns them: each is written once, if it is absent, by whoever comes first.

use dunlin_protocol::{LogId, UserId};

use crate::store::{Register, RegisterKey, Rule, Set, Write};
use crate::stored::{self, Account, JoinedConversation};

/// How the keys of conversations begin; their ids follow.
pub(crate) const CONVERSATION: u8 = b'c';

/// The key of what says that the account exists.
pub(crate) fn account_key() -> RegisterKey {
    RegisterKey::letter(b'a')
}

/// Makes an account; unmet if the user id is taken.
pub(crate) fn creation(user: UserId, account: &Account) -> Write {
    if_absent(user, account_key(), account)
}

/// Makes the user a member of a conversation; unmet if that was so before.
pub(super) fn joining(user: UserId, conversation: LogId, now_ms: u64) -> Write {
    let key = RegisterKey::of(CONVERSATION, conversation.as_bytes());
    if_absent(user, key, &JoinedConversation { joined_ms: now_ms })
}

fn if_absent(user: UserId, key: RegisterKey, message: &impl prost::Message) -> Write {
    let value = Some(stored::encode(message));
    Write::registers(LogId::account(user), [Set { key, value, rule: Rule::IfAbsent }])
}

/// The conversation that a register says the user is a member of. `None` if it is about something
/// else, perhaps of a later version.
pub(crate) fn conversation_of(register: &Register) -> Option<LogId> {
    match register.key.as_bytes() {
        [CONVERSATION, id @ ..] => LogId::from_wire(id).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn a_conversation_is_named_by_the_key_of_its_register() {
        let log = LogId::direct(user(1), user(2));
        let Write { log: account, sets, .. } = joining(user(1), log, 7);
        assert_eq!(account, LogId::account(user(1)));
        let register =
            Register { key: sets[0].key.clone(), version: 1, value: sets[0].value.clone() };
        assert_eq!(conversation_of(&register), Some(log));
        for key in [account_key(), RegisterKey::numbered(CONVERSATION, 1)] {
            assert_eq!(conversation_of(&Register { key, ..register.clone() }), None);
        }
    }
}
