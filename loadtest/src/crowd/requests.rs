//! Requests of a mix: what is asked, and what the answers must be.
//!
//! They wait in the queue of their user with the messages, each with its intended start, and are
//! sent again as durable messages are: the server may carry out each of them twice.

use bytes::Bytes;
use dunlin_protocol::wire::{
    ConversationState, History, HistoryPage, MarkRead, ReadReceipt, Synced, frame::Body,
};

use crate::audit::{Fault, NewestPage, Way};
use crate::crowd::member::{Sending, Stage};
use crate::crowd::state::Crowd;
use crate::crowd::syncing::Asked;
use crate::crowd::{Action, Place, RequestKind, Scenario, Seating};
use crate::net::Links;

impl<S: Scenario> Crowd<'_, S> {
    /// The sequence that a request is about: what its reader knows now, so that the answer must not
    /// know less, or what it marks as read. Nothing if there is nothing to ask for yet.
    pub(crate) fn asks_about(&mut self, place: Place, kind: RequestKind) -> Option<u64> {
        let conversation = &mut self.conversations[place.conversation];
        match kind {
            RequestKind::History | RequestKind::Sync => {
                Some(conversation.ledger.known(place.reader))
            }
            RequestKind::MarkRead => {
                let seq = conversation.ledger.told_up_to(place.reader);
                conversation.marks[place.reader].asked(seq);
                (seq > 0).then_some(seq)
            }
        }
    }

    pub(crate) fn put_request(
        &mut self,
        slot: usize,
        kind: RequestKind,
        sending: Sending,
        links: &mut Links,
    ) {
        let place = self.seat(slot).place(sending.lane);
        let id = self.conversations[place.conversation].id;
        let conversation_id = Bytes::copy_from_slice(&id);
        let body = match kind {
            RequestKind::History => Body::History(History {
                conversation_id,
                limit: self.setup.terms.history_entries,
                backwards: true,
                ..History::default()
            }),
            RequestKind::MarkRead => {
                Body::MarkRead(MarkRead { conversation_id, seq: sending.about_seq, private: false })
            }
            RequestKind::Sync => Body::Sync(self.what_is_new(slot)),
        };
        self.put(slot, sending.request_id(), body, links);
    }

    /// Takes a request that was answered out of the queue; lets those behind it go.
    fn take_request(
        &mut self,
        slot: usize,
        request_id: u64,
        kind: RequestKind,
        links: &mut Links,
    ) -> Option<Sending> {
        let is_of_kind = |action| action == Action::Request(kind);
        let sending = self.take_answered(slot, request_id, is_of_kind)?;
        self.request_answered(slot, kind, sending, links);
        Some(sending)
    }

    pub(crate) fn request_answered(
        &mut self,
        slot: usize,
        kind: RequestKind,
        sending: Sending,
        links: &mut Links,
    ) {
        let latency_ns = links.now_ns().saturating_sub(sending.intended_ns);
        self.account.answered(latency_ns);
        if self.is_measured(sending.intended_ns) {
            self.outcome.requests.record(kind, latency_ns);
        }
        self.transmit(slot, links);
    }

    /// The newest entries, as one who opens the conversation sees them.
    pub(crate) fn on_newest(
        &mut self,
        slot: usize,
        request_id: u64,
        page: &HistoryPage,
        links: &mut Links,
    ) {
        let Some(sending) = self.take_request(slot, request_id, RequestKind::History, links) else {
            return;
        };
        let place = self.seat(slot).place(sending.lane);
        // In the order of the log, so that nothing seems to have come early.
        let ascending = page.entries.iter().rev();
        let mut entries: Vec<_> = ascending
            .map(|entry| (entry.seq, self.on_whole_entry(place, entry, Way::Repair, links)))
            .collect();
        entries.reverse();
        let (head, more) = (page.head, page.more);
        let limit = self.setup.terms.history_entries as usize;
        let page = NewestPage { entries, head, more, limit };
        let ledger = &self.conversations[place.conversation].ledger;
        ledger.page(place.reader, sending.about_seq, &page, &mut self.outcome.faults);
        self.note_gap(place, links);
        self.fill(slot, links);
    }

    pub(crate) fn on_what_is_new(
        &mut self,
        slot: usize,
        request_id: u64,
        synced: &Synced,
        links: &mut Links,
    ) {
        if let Some(sending) = self.take_request(slot, request_id, RequestKind::Sync, links) {
            let Place { conversation, .. } = self.seat(slot).place(sending.lane);
            let asked = Asked::Beside { conversation, known: sending.about_seq };
            self.on_synced(slot, synced, asked, links);
            self.fill(slot, links);
        }
    }

    // ---------------------------------------------------------------- read cursors

    /// What a sync says of the read cursors of a conversation: the user's own, and the other one's.
    pub(crate) fn see_read_cursors(&mut self, place: Place, state: &ConversationState) {
        let slot = self.seating.connection(place);
        let user = self.user_index(slot);
        let other = self.reader_who(place.conversation, |id| id != self.members[slot].user_id);
        let marks = &self.conversations[place.conversation].marks;
        let (own, faults) = (&marks[place.reader], &mut self.outcome.faults);
        // While others are under way, marks may have moved since the sync was asked for.
        match self.members[slot].stage {
            Stage::Syncing => own.found(user, state.read_seq, faults),
            Stage::Active => own.shown(user, state.read_seq, faults),
            Stage::Away | Stage::Connecting | Stage::LoggingIn => {}
        }
        if let Some(other) = other {
            marks[other].shown(user, state.peer_read_seq, faults);
        }
    }

    /// The first reader of a conversation with such a user id.
    fn reader_who(&self, conversation: usize, is_wanted: impl Fn(u64) -> bool) -> Option<usize> {
        let connection = |reader| self.seating.connection(Place { conversation, reader });
        let mut readers = 0..self.seating.readers();
        readers.find(|&reader| is_wanted(self.members[connection(reader)].user_id))
    }

    /// The answer to a mark: where the cursor is.
    pub(crate) fn on_marked(
        &mut self,
        slot: usize,
        request_id: u64,
        cursor: &ReadReceipt,
        links: &mut Links,
    ) {
        let marks = RequestKind::MarkRead;
        let Some(sending) = self.take_request(slot, request_id, marks, links) else { return };
        let (user, own_id) = (self.user_index(slot), self.members[slot].user_id);
        let Place { conversation, reader } = self.seat(slot).place(sending.lane);
        let of = &mut self.conversations[conversation];
        if cursor.user_id != own_id || cursor.conversation_id[..] != of.id[..] {
            let detail = format!("a mark is answered with {cursor:?}");
            return self.fault(Fault::Protocol { user, detail });
        }
        let faults = &mut self.outcome.faults;
        of.marks[reader].moved(user, sending.about_seq, cursor.seq, faults);
        self.fill(slot, links);
    }

    /// Somebody has read something: another one, or this user on another connection.
    pub(crate) fn on_receipt(&mut self, slot: usize, receipt: &ReadReceipt) {
        let (user, seq) = (self.user_index(slot), receipt.seq);
        let whose = self.place_of(slot, &receipt.conversation_id).and_then(|place| {
            let is_reader = |id| id == receipt.user_id;
            Some((place.conversation, self.reader_who(place.conversation, is_reader)?))
        });
        match whose {
            Some((conversation, reader)) => {
                let marks = &self.conversations[conversation].marks;
                marks[reader].shown(user, seq, &mut self.outcome.faults);
            }
            None => {
                let detail = format!("user id {} is said to have read it", receipt.user_id);
                self.fault(Fault::Phantom { user, seq, detail });
            }
        }
    }
}
