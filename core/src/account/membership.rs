//! What a conversation is to one of its members: a register of the account log, which says since when the user
//! is a member, whether it is the request of a stranger, and what the user has hidden, marked or cleared.
//!
//! A conversation is a *request* as long as the register says so and no entry of the user counts in it. So
//! whoever answers has accepted, and nobody has to write that down: it follows from the counts of the newest
//! entry, which are known wherever a conversation is looked at.

use dunlin_protocol::wire::{self, RequestState};
use dunlin_protocol::{LogId, UserId};

use super::changes::{Decision, Told};
use super::cursor::ReadCursor;
use crate::entry::{others_counted, own_counted, unread};
use crate::limits::RESPONSE_BYTES_MAX;
use crate::refusal::{DATA_CORRUPT, NO_SUCH_CONVERSATION, Refusal};
use crate::store::{Head, Page, Range, Register, RegisterKey, Rule, Set, Write};
use crate::stored::{self, JoinedConversation};
use crate::worker::flow::Answer;

/// How the keys of these registers begin; the ids of the conversations follow.
pub(crate) const CONVERSATION: u8 = b'c';

/// What a register says of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Membership {
    joined_ms: u64,
    /// Until the user says something that counts; see [`Membership::request`].
    request: RequestState,
    pub(crate) hidden_up_to: u64,
    pub(crate) marked_unread: bool,
    /// The lowest sequence that there is for the user.
    pub(crate) visible_from: u64,
    /// How many entries of others count below it.
    pub(crate) others_cleared: u64,
    /// The version of the account log that has set it.
    pub(crate) version: u64,
}

impl Membership {
    /// What it is at first: a request, if somebody else was the first to write.
    pub(crate) fn new(joined_ms: u64, is_request: bool) -> Membership {
        let request = if is_request { RequestState::Pending } else { RequestState::None };
        Membership { joined_ms, request, ..Membership::default() }
    }

    /// The register of a conversation.
    pub(crate) fn key(conversation: LogId) -> RegisterKey {
        RegisterKey::of(CONVERSATION, conversation.as_bytes())
    }

    /// What a register holds; `None` if the user is no member.
    pub(crate) fn of(register: &Register) -> Result<Option<Membership>, Refusal> {
        let Some(value) = &register.value else { return Ok(None) };
        let JoinedConversation {
            joined_ms,
            request,
            hidden_up_to,
            marked_unread,
            visible_from,
            others_cleared,
        } = stored::decode(value)?;
        let request = RequestState::try_from(request).map_err(|_| DATA_CORRUPT)?;
        let version = register.version;
        Ok(Some(Membership {
            joined_ms,
            request,
            hidden_up_to,
            marked_unread,
            visible_from,
            others_cleared,
            version,
        }))
    }

    /// Makes the user a member of a conversation; unmet if that was so before.
    pub(super) fn joining(self, user: UserId, conversation: LogId) -> Write {
        self.write(user, conversation, Rule::IfAbsent)
    }

    /// Sets the register of a user to this.
    pub(crate) fn write(&self, user: UserId, conversation: LogId, rule: Rule) -> Write {
        let value = Some(stored::encode(&JoinedConversation {
            joined_ms: self.joined_ms,
            request: self.request.into(),
            hidden_up_to: self.hidden_up_to,
            marked_unread: self.marked_unread,
            visible_from: self.visible_from,
            others_cleared: self.others_cleared,
        }));
        let key = Membership::key(conversation);
        Write::registers(LogId::account(user), [Set { key, value, rule }])
    }

    /// What was decided, by the user or for the user. It is over when the user has said something.
    pub(crate) fn decided(&self) -> RequestState {
        self.request
    }

    /// Whether it is a request, now that the conversation has this head.
    pub(crate) fn request(&self, head: &Head, user: UserId) -> RequestState {
        if own_counted(head.meta, user) > 0 { RequestState::None } else { self.request }
    }

    /// How many entries are unread for the user. (Of what is ignored too: what the user is shown of it is the
    /// client's affair, which so knows the count when it is not ignored any more.)
    pub(crate) fn unread(&self, head: &Head, cursor: ReadCursor, user: UserId) -> u64 {
        unread(head, cursor.others_counted.max(self.others_cleared), user)
    }

    /// What the user is told of it.
    pub(crate) fn told(&self, conversation: LogId, head: &Head, user: UserId) -> wire::Membership {
        wire::Membership {
            conversation_id: conversation.to_wire(),
            request: self.request(head, user).into(),
            hidden_up_to: self.hidden_up_to,
            marked_unread: self.marked_unread,
            visible_from: self.visible_from,
            others_cleared: self.others_cleared,
            version: self.version,
        }
    }
}

/// The lowest sequence that there is for the user. Damage of what one has set for oneself alone holds nothing up:
/// then all of it is there.
pub(crate) fn floor(register: Answer<Register>) -> Answer<u64> {
    match register.and_then(|register| Membership::of(&register)) {
        Ok(membership) => Ok(membership.map_or(0, |membership| membership.visible_from)),
        Err(DATA_CORRUPT) => Ok(0),
        Err(refusal) => Err(refusal),
    }
}

/// One thing that a user wants to change of a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipChange {
    /// Hide it until something newer than this comes.
    HideUpTo(u64),
    /// Set the mark, or take it off.
    MarkedUnread(bool),
    /// Accept a request, ignore it, or take that back.
    Request(RequestState),
    /// Nothing up to here is there for the user any more.
    ClearUpTo(u64),
}

/// How far a conversation goes, for who changes what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    head: Head,
    /// Up to where it is cleared, if it is to be.
    cleared: ReadCursor,
}

impl Ending {
    pub(super) fn at(head: Head) -> Result<Ending, Refusal> {
        let cleared = ReadCursor::default();
        if head.seq == 0 { Err(NO_SUCH_CONVERSATION) } else { Ok(Ending { head, cleared }) }
    }

    /// The page has the newest entry of what is to be cleared. If that has expired, so has all before it.
    pub(super) fn up_to(page: &Page, user: UserId) -> Result<Ending, Refusal> {
        let Head { expired, expired_below, .. } = page.head;
        let (seq, counts) = match page.entries.first() {
            Some(entry) => (entry.seq, entry.meta.into()),
            None => (expired_below.saturating_sub(1), expired),
        };
        let others_counted = others_counted(counts, user);
        let cleared = ReadCursor::public(seq, others_counted);
        Ok(Ending { cleared, ..Ending::at(page.head)? })
    }

    pub(super) fn head_seq(&self) -> u64 {
        self.head.seq
    }
}

impl MembershipChange {
    /// The entry whose counts it needs.
    pub(super) fn range(&self, log: LogId) -> Option<Range> {
        let MembershipChange::ClearUpTo(seq) = *self else { return None };
        Some(Range {
            log,
            from: 1,
            to: seq,
            entries_max: 1,
            bytes_max: RESPONSE_BYTES_MAX,
            backwards: true,
            since: None,
        })
    }

    /// Whether the user wants to hear of the conversation after it; `None` if that stays as it is.
    pub(super) fn is_heard(&self) -> Option<bool> {
        match self {
            MembershipChange::Request(request) => Some(*request != RequestState::Ignored),
            MembershipChange::HideUpTo(_)
            | MembershipChange::MarkedUnread(_)
            | MembershipChange::ClearUpTo(_) => None,
        }
    }

    pub(super) fn decide(
        &self,
        user: UserId,
        log: LogId,
        ending: &Ending,
        register: &Register,
    ) -> Result<Decision, Refusal> {
        let before = Membership::of(register)?.ok_or(NO_SUCH_CONVERSATION)?;
        let after = self.applied(before, ending, user);
        let told = Told::Membership(after.told(log, &ending.head, user));
        if after == before {
            return Ok(Decision::Told(Ok(told)));
        }
        let write = after.write(user, log, Rule::IfVersion(before.version));
        Ok(Decision::Write(Box::new(write), told))
    }

    fn applied(self, before: Membership, ending: &Ending, user: UserId) -> Membership {
        let Ending { head, cleared } = ending;
        match self {
            MembershipChange::HideUpTo(seq) => {
                Membership { hidden_up_to: seq.min(head.seq), ..before }
            }
            MembershipChange::MarkedUnread(marked_unread) => Membership { marked_unread, ..before },
            MembershipChange::Request(request) => match before.request(head, user) {
                // What is over stays over, and so does what never was a request.
                RequestState::None => before,
                RequestState::Pending | RequestState::Ignored => Membership { request, ..before },
            },
            MembershipChange::ClearUpTo(_) if cleared.seq < before.visible_from => before,
            MembershipChange::ClearUpTo(_) => Membership {
                visible_from: cleared.seq + 1,
                others_cleared: cleared.others_counted,
                ..before
            },
        }
    }
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
    use crate::account::register::account_key;
    use crate::store::EntryMeta;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn chat() -> LogId {
        LogId::direct(user(1), user(2))
    }

    fn held(membership: &Membership) -> Register {
        let mut write = membership.write(user(1), chat(), Rule::Always);
        assert_eq!(write.log, LogId::account(user(1)));
        let Set { key, value, .. } = write.sets.remove(0);
        Register { key, version: 9, value }
    }

    fn head(own: u64, others: u64) -> Head {
        let (counted, sender_counted) = (own + others, others);
        let meta = EntryMeta { time_ms: 1, sender: 2, counted, sender_counted };
        Head { seq: counted, meta, ..Head::default() }
    }

    #[test]
    fn what_is_held_is_what_was_set() {
        let membership = Membership {
            joined_ms: 7,
            request: RequestState::Ignored,
            hidden_up_to: 300,
            marked_unread: true,
            visible_from: 200,
            others_cleared: 100,
            version: 9,
        };
        assert_eq!(Membership::of(&held(&membership)), Ok(Some(membership)));
        let register = held(&Membership::default());
        let nobody = Register { value: None, ..register.clone() };
        assert_eq!(Membership::of(&nobody), Ok(None));
        let strange = stored::encode(&JoinedConversation { request: 99, ..Default::default() });
        let strange = Register { value: Some(strange), ..register };
        assert_eq!(Membership::of(&strange), Err(DATA_CORRUPT));
    }

    #[test]
    fn a_conversation_is_named_by_the_key_of_its_register() {
        let register = held(&Membership::default());
        assert_eq!(conversation_of(&register), Some(chat()));
        for key in [account_key(), RegisterKey::numbered(CONVERSATION, 1)] {
            assert_eq!(conversation_of(&Register { key, ..register.clone() }), None);
        }
    }

    #[test]
    fn who_has_answered_has_no_request_whatever_was_decided_before() {
        for request in [RequestState::None, RequestState::Pending, RequestState::Ignored] {
            let membership = Membership { request, ..Membership::default() };
            assert_eq!(membership.request(&head(0, 3), user(1)), request);
            assert_eq!(membership.request(&head(1, 3), user(1)), RequestState::None);
        }
    }

    #[test]
    fn unread_is_what_is_above_cursor_and_floor() {
        let unread = |others_cleared, others_counted| {
            let membership = Membership { others_cleared, ..Membership::default() };
            let cursor = ReadCursor::public(1, others_counted);
            membership.unread(&head(4, 9), cursor, user(1))
        };
        assert_eq!([unread(0, 2), unread(5, 2), unread(2, 5)], [7, 4, 4]);
    }
}
