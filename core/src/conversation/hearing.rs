//! Whether the members of a conversation want to hear what is said in it.
//!
//! Who has ever said something in it wants to: that follows from the counts of the newest entry, and costs a pair
//! that talks to each other two comparisons. A member who has never said anything may have been written to by a
//! stranger, and ignore it: that is asked of the member's account once, when the conversation comes into use,
//! and told by the worker of the member when it changes. In a cluster that may be a worker of another node, so
//! there it is asked again every few seconds as long as something is said.

use dunlin_protocol::wire::RequestState;
use dunlin_protocol::{LogId, UserId};

use crate::account::membership::Membership;
use crate::limits::HEARING_KNOWN_MS;
use crate::store::Register;
use crate::worker::flow::{Answer, Answers, RegisterFlow, each};
use crate::worker::turn::Turn;

/// Which of the members of a conversation, the lower and the higher one, ignore it as long as they say nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hearing {
    ignored: [bool; 2],
    /// When it was asked last, by the clock that is never set.
    asked_ms: u64,
}

/// A member who has never said anything in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silent {
    pub(crate) log: LogId,
    pub(crate) user: UserId,
}

/// Whether a member wants to hear of a conversation in which that member has said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub(crate) log: LogId,
    pub(crate) user: UserId,
    pub(crate) ignored: bool,
}

impl Hearing {
    /// The member who does not want to hear what comes next, of those who have said so little.
    #[inline]
    pub(super) fn unheard_by(&self, log: LogId, counted: [u64; 2]) -> Option<UserId> {
        match (self.ignored, counted) {
            ([false, false], _) => None,
            ([true, _], [0, _]) => log.direct_members().map(|(lower, _)| lower),
            ([_, true], [_, 0]) => log.direct_members().map(|(_, higher)| higher),
            ([_, _], [_, _]) => None,
        }
    }

    /// Notes what a member wants. True if it is to hear again what it did not.
    pub(super) fn set(&mut self, member: usize, ignored: bool) -> bool {
        let before = std::mem::replace(&mut self.ignored[member], ignored);
        before && !ignored
    }

    /// What was asked is on its way.
    pub(super) fn asked(&mut self, now_ms: u64) {
        self.asked_ms = now_ms;
    }

    /// Whether another node may have changed it since it was asked.
    pub(super) fn is_old(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.asked_ms) >= HEARING_KNOWN_MS
    }
}

/// The members who have said nothing that counts, whom others can tell something.
pub(super) fn silent(log: LogId, counted: [u64; 2]) -> impl Iterator<Item = Silent> {
    let members = log.direct_members().filter(|(lower, higher)| lower != higher);
    let members = members.map(|(lower, higher)| [(lower, counted[0]), (higher, counted[1])]);
    let silent = move |(user, said)| (said == 0).then_some(Silent { log, user });
    members.into_iter().flatten().filter_map(silent)
}

/// Asks whether they want to hear; see [`heard`].
pub(crate) fn ask(silent: Vec<Silent>, turn: &mut Turn<'_>) {
    let register = |Silent { log, user }: &Silent| (LogId::account(*user), Membership::key(*log));
    let registers = silent.iter().map(register).collect();
    turn.ask_register(registers, RegisterFlow::Silent(silent));
}

/// What they want. Of whom it can't be read now hears: a push too many does less harm than one too few.
pub(crate) fn heard(silent: Vec<Silent>, answers: Answers<Register>) -> Vec<Heard> {
    let ignored = |answer: Answer<Register>| {
        let membership = answer.and_then(|register| Membership::of(&register));
        membership.ok().flatten().is_some_and(|it| it.decided() == RequestState::Ignored)
    };
    let heard = |(Silent { log, user }, answer)| Heard { log, user, ignored: ignored(answer) };
    each(silent, answers).map(heard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn who_has_said_something_hears_and_needs_not_be_asked() {
        let log = LogId::direct(user(1), user(2));
        let asked = |counted| silent(log, counted).map(|it| it.user).collect::<Vec<_>>();
        assert_eq!(asked([3, 1]), []);
        assert_eq!(asked([3, 0]), [user(2)]);
        assert_eq!(asked([0, 0]), [user(1), user(2)]);
        assert_eq!(silent(LogId::direct(user(1), user(1)), [0, 0]).count(), 0, "nobody else");
        let mut hearing = Hearing::default();
        assert_eq!(hearing.unheard_by(log, [3, 0]), None);
        assert!(!hearing.set(1, true));
        assert_eq!(hearing.unheard_by(log, [3, 0]), Some(user(2)));
        assert_eq!(hearing.unheard_by(log, [3, 1]), None, "it has answered");
        assert!(hearing.set(1, false));
        assert!(!hearing.set(0, true));
        assert_eq!(hearing.unheard_by(log, [0, 3]), Some(user(1)));
    }

    #[test]
    fn whose_register_cannot_be_read_hears() {
        let log = LogId::direct(user(1), user(2));
        let silent = vec![Silent { log, user: user(2) }];
        let heard = heard(silent, Err(crate::refusal::STORE_UNAVAILABLE));
        assert_eq!(heard, [Heard { log, user: user(2), ignored: false }]);
    }
}
