//! The register of an account log that says that there is such a user. Nobody owns it: it is written once, if it
//! is absent, by whoever comes first.

use dunlin_protocol::{LogId, UserId};

use crate::store::{RegisterKey, Rule, Set, Write};
use crate::stored::{self, Account};

/// The key of what says that the account exists.
pub(crate) fn account_key() -> RegisterKey {
    RegisterKey::letter(b'a')
}

/// Makes an account; unmet if the user id is taken.
pub(crate) fn creation(user: UserId, account: &Account) -> Write {
    let (key, value) = (account_key(), Some(stored::encode(account)));
    Write::registers(LogId::account(user), [Set { key, value, rule: Rule::IfAbsent }])
}
