//! The register of an account log that says that there is such a user. Nobody owns it: it is made by
//! whoever comes first, and changed by whoever has read it last.

use dunlin_protocol::{LogId, UserId};

use crate::store::{RegisterKey, Rule, Set, Write};
use crate::stored::{self, Account};

/// The key of what says that the account exists.
pub(crate) fn account_key() -> RegisterKey {
    RegisterKey::letter(b'a')
}

/// Changes what is said of an account, if it is as it was when it was read.
pub(crate) fn change(user: UserId, account: &Account, version: u64) -> Write {
    let (key, value) = (account_key(), Some(stored::encode(account)));
    let set = Set { key, value, rule: Rule::IfVersion(version) };
    Write::registers(LogId::account(user), [set])
}

/// Makes an account; unmet if the user id is taken.
pub(crate) fn creation(user: UserId, account: &Account) -> Write {
    let (key, value) = (account_key(), Some(stored::encode(account)));
    Write::registers(LogId::account(user), [Set { key, value, rule: Rule::IfAbsent }])
}
