//! What there is to tell of each conversation in numbers, and who is in it: for as many as there is room for.

use std::vec;

use dunlin_protocol::limits::SYNC_POSITION_BYTES_MAX;
use dunlin_protocol::{LogId, UserId, wire};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use prost::Message as _;

use super::filling::{FIELD_BYTES, Told};
use super::newest::Candidate;
use super::token::Place;
use crate::account::cursor::ReadCursor;
use crate::account::membership::Membership;
use crate::account::register::account_key;
use crate::limits::SYNC_DETAILS_MAX;
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, INTERNAL, Refusal};
use crate::request::Position;
use crate::store::{Moment, Register, RegisterKey};
use crate::stored::{self, Account};
use crate::worker::flow::Answer;

/// What a client has said of conversations.
pub(super) type Positions = HashMap<LogId, Position, RandomState>;

/// See the module.
#[derive(Debug)]
pub(super) struct Detailing {
    user: UserId,
    rest: vec::IntoIter<Candidate>,
    /// Those whose registers are read.
    asked: Vec<Candidate>,
    told: Vec<Told>,
    /// Bytes that are left for numbers.
    room: usize,
    /// The last one that was told, or that the client has as it is.
    last: Option<Place>,
    /// There was no room for others.
    left_out: bool,
}

/// What is told, and how far that has come.
#[derive(Debug)]
pub(super) struct Detailed {
    pub(super) told: Vec<Told>,
    pub(super) room: usize,
    pub(super) last: Option<Place>,
    pub(super) left_out: bool,
}

/// How far a conversation is read, and who is in it.
struct Details {
    membership: Membership,
    own: ReadCursor,
    /// Nobody is at the beginning, too.
    other: ReadCursor,
    peer: Option<wire::User>,
}

impl Detailing {
    pub(super) fn new(
        user: UserId,
        candidates: Vec<Candidate>,
        left_out: bool,
        room: usize,
    ) -> Detailing {
        let (rest, asked, told) = (candidates.into_iter(), Vec::new(), Vec::new());
        Detailing { user, rest, asked, told, room, last: None, left_out }
    }

    /// The registers to read next; `None` if there are no more, or there is no room.
    pub(super) fn next(&mut self) -> Option<Vec<(LogId, RegisterKey)>> {
        // Each takes some bytes more than its id, so no more than these can fit.
        let fitting = self.room / (SYNC_POSITION_BYTES_MAX / 2) + 1;
        self.asked = self.rest.by_ref().take(fitting.min(SYNC_DETAILS_MAX)).collect();
        let mut names = Vec::with_capacity(4 * self.asked.len());
        for candidate in &self.asked {
            let log = candidate.place.log;
            names.push((LogId::account(self.user), Membership::key(log)));
            names.push((log, ReadCursor::key(self.user)));
            let Some(other) = self.other(log) else { continue };
            names.push((log, ReadCursor::key(other)));
            if candidate.is_new {
                names.push((LogId::account(other), account_key()));
            }
        }
        (!names.is_empty()).then_some(names)
    }

    /// The other member, if there is another one.
    fn other(&self, log: LogId) -> Option<UserId> {
        other_member(log, self.user).filter(|other| *other != self.user)
    }

    /// The registers that were asked for are here. Whether there may be room for more.
    pub(super) fn take(
        &mut self,
        registers: Vec<Answer<Register>>,
        positions: &Positions,
        since: Option<Moment>,
    ) -> Result<bool, Refusal> {
        let mut registers = registers.into_iter();
        for candidate in std::mem::take(&mut self.asked) {
            let details = self.details(&candidate, &mut registers)?;
            let visible_from = details.membership.visible_from.max(1);
            let place = candidate.place;
            let known = positions.get(&place.log).filter(|_| !candidate.forget);
            let state = state_of(self.user, &candidate, details);
            if !candidate.is_new && known.is_some_and(|known| is_as_known(known, &state)) {
                self.last = Some(place);
                continue;
            }
            let bytes = state.encoded_len() + FIELD_BYTES;
            // One is told in any case, or it would never go on.
            if bytes > self.room && !self.told.is_empty() {
                self.left_out = true;
                return Ok(false);
            }
            self.room = self.room.saturating_sub(bytes);
            self.last = Some(place);
            let (from, since) = match known {
                Some(known) => (known.seq + 1, None),
                None => (1, since.filter(|_| !candidate.forget)),
            };
            let newest = known.filter(|known| known.time_ms != 0 && known.seq >= visible_from);
            let newest = newest.map(|known| (known.seq, known.time_ms));
            let from = from.max(visible_from);
            self.told.push(Told { log: place.log, from, newest, since, state });
        }
        if registers.next().is_some() {
            return Err(INTERNAL);
        }
        self.left_out |= self.room == 0 && !self.rest.as_slice().is_empty();
        Ok(self.room > 0)
    }

    fn details(
        &self,
        candidate: &Candidate,
        registers: &mut impl Iterator<Item = Answer<Register>>,
    ) -> Result<Details, Refusal> {
        let mut next = || registers.next().ok_or(INTERNAL);
        let membership = membership_of(next()?)?;
        let own = cursor_of(next()?)?;
        let Some(user) = self.other(candidate.place.log) else {
            return Ok(Details { membership, own, other: ReadCursor::default(), peer: None });
        };
        let other = cursor_of(next()?)?;
        let peer = if candidate.is_new { peer_of(user, next()?)? } else { None };
        Ok(Details { membership, own, other, peer })
    }

    pub(super) fn into_detailed(self) -> Detailed {
        let Detailing { told, room, last, left_out, .. } = self;
        Detailed { told, room, last, left_out }
    }
}

fn state_of(user: UserId, candidate: &Candidate, details: Details) -> wire::ConversationState {
    let Candidate { place, head, forget, .. } = candidate;
    let Details { membership, own, other, peer } = details;
    wire::ConversationState {
        conversation_id: place.log.to_wire(),
        head: head.seq,
        read_seq: own.seq,
        unread: membership.unread(head, own, user),
        peer_read_seq: other.receipt_seq,
        entries: Vec::new(),
        forget: *forget,
        // What is cleared looks like what has expired: clients need to know of one floor.
        expired_below: head.expired_below.max(membership.visible_from),
        peer,
        membership: told_membership(&membership.told(place.log, head, user)),
    }
}

/// Of an ordinary conversation there is nothing to be said.
fn told_membership(membership: &wire::Membership) -> Option<wire::Membership> {
    let wire::Membership { version, .. } = *membership;
    let membership =
        wire::Membership { conversation_id: bytes::Bytes::new(), ..membership.clone() };
    let is_ordinary = membership == wire::Membership { version, ..wire::Membership::default() };
    (!is_ordinary).then_some(membership)
}

fn is_as_known(known: &Position, state: &wire::ConversationState) -> bool {
    (known.seq, known.read_seq, known.peer_read_seq)
        == (state.head, state.read_seq, state.peer_read_seq)
}

/// A damaged cursor is at the beginning: the user can move it again, and the rest is not held up by it.
/// Damage holds up what it is in, and nothing else.
fn cursor_of(answer: Answer<Register>) -> Result<ReadCursor, Refusal> {
    match answer.and_then(|register| ReadCursor::of(&register)) {
        Err(refusal) if refusal == DATA_CORRUPT => Ok(ReadCursor::default()),
        cursor => cursor,
    }
}

/// A damaged one is as it was at first, for the same reason.
fn membership_of(answer: Answer<Register>) -> Result<Membership, Refusal> {
    match answer.and_then(|register| Membership::of(&register)) {
        Err(refusal) if refusal == DATA_CORRUPT => Ok(Membership::default()),
        membership => membership.map(Option::unwrap_or_default),
    }
}

/// Who the other member is. Of a damaged account nothing is said but the id.
fn peer_of(user: UserId, answer: Answer<Register>) -> Result<Option<wire::User>, Refusal> {
    let account = answer.and_then(|register| match &register.value {
        Some(value) => stored::decode::<Account>(value),
        None => Err(DATA_CORRUPT),
    });
    let (username, display_name) = match account {
        Ok(account) => (account.username, account.display_name),
        Err(refusal) if refusal == DATA_CORRUPT => (String::new(), String::new()),
        Err(refusal) => return Err(refusal),
    };
    let user_id = user.get();
    let conversation_id = bytes::Bytes::new();
    Ok(Some(wire::User { user_id, username, display_name, conversation_id }))
}
