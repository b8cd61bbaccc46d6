//! Who belongs to a log. Of a direct conversation and of an account it follows from the id.

use dunlin_protocol::{LogId, UserId};
use smallvec::SmallVec;

/// The other member of a direct conversation of `user` (who is that alone, in a conversation with
/// oneself); `None` if `user` is no member, or it is no direct conversation.
pub(crate) fn other_member(log: LogId, user: UserId) -> Option<UserId> {
    match log.direct_members()? {
        (lower, higher) if lower == user => Some(higher),
        (lower, higher) if higher == user => Some(lower),
        (_, _) => None,
    }
}

/// The members of a direct conversation, or the owner of an account: each once.
pub(crate) fn users_of(log: LogId) -> SmallVec<[UserId; 2]> {
    match (log.direct_members(), log.owner()) {
        (Some((lower, higher)), _) if lower != higher => SmallVec::from([lower, higher]),
        (Some((user, _)), _) | (None, Some(user)) => SmallVec::from_slice(&[user]),
        (None, None) => SmallVec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn a_direct_conversation_is_of_its_two_members() {
        let log = LogId::direct(user(2), user(1));
        assert_eq!(other_member(log, user(1)), Some(user(2)));
        assert_eq!(other_member(log, user(2)), Some(user(1)));
        assert_eq!(other_member(log, user(3)), None);
        assert_eq!(users_of(log)[..], [user(1), user(2)]);
    }

    #[test]
    fn in_a_conversation_with_oneself_there_is_nobody_else() {
        let log = LogId::direct(user(1), user(1));
        assert_eq!(other_member(log, user(1)), Some(user(1)));
        assert_eq!(users_of(log)[..], [user(1)]);
        assert_eq!(users_of(LogId::account(user(1)))[..], [user(1)]);
        assert_eq!(other_member(LogId::account(user(1)), user(1)), None);
    }
}
