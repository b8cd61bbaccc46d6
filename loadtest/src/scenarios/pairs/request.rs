//! Requests of a mix: what is asked, and what the answers must be.
//!
//! They wait in the queue of their user with the messages, each with its intended start, and are
//! sent again as durable messages are: the server may carry out each of them twice.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_protocol::wire::{
    ConversationState, Entry, History, HistoryPage, MarkRead, ReadReceipt, Synced, entry,
    frame::Body,
};
use dunlin_protocol::{LogId, UserId};
use serde::{Deserialize, Serialize};

use crate::audit::{Fault, NewestPage, Way};
use crate::chat::crowd::Crowd;
use crate::chat::user::{Pair, Sending, Stage};
use crate::chat::{Action, RequestKind};
use crate::latency::{Latencies, LatencySummary};
use crate::net::Links;

/// From the intended start to the answer, by kind: a set for each thread, however many users it
/// has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RequestLatencies(BTreeMap<RequestKind, Latencies>);

impl RequestLatencies {
    pub(crate) fn merge(&mut self, other: &RequestLatencies) {
        for (&kind, latencies) in &other.0 {
            self.0.entry(kind).or_default().merge(latencies);
        }
    }

    /// By name.
    pub(crate) fn named(&self) -> impl Iterator<Item = (String, &Latencies)> {
        self.0.iter().map(|(kind, latencies)| (kind.to_string(), latencies))
    }

    pub(crate) fn report(&self) -> BTreeMap<RequestKind, LatencySummary> {
        self.0.iter().map(|(&kind, latencies)| (kind, latencies.summary())).collect()
    }
}

impl Pair {
    /// The sequence that a request of this side is about: what it knows now, so that the answer
    /// must not know less, or what it marks as read. Nothing if there is nothing to ask for yet.
    pub(crate) fn asks_about(&mut self, side: usize, kind: RequestKind) -> Option<u64> {
        match kind {
            RequestKind::History | RequestKind::Sync => Some(self.ledger.known(side)),
            RequestKind::MarkRead => {
                let seq = self.ledger.told_up_to(side);
                self.marks[side].asked(seq);
                (seq > 0).then_some(seq)
            }
        }
    }
}

impl Crowd<'_> {
    pub(crate) fn put_request(
        &mut self,
        slot: usize,
        kind: RequestKind,
        sending: Sending,
        links: &mut Links,
    ) {
        let conversation_id = Bytes::copy_from_slice(&self.pairs[slot / 2].conversation);
        let body = match kind {
            RequestKind::History => Body::History(History {
                conversation_id,
                limit: self.scenario.history_entries,
                backwards: true,
                ..History::default()
            }),
            RequestKind::MarkRead => {
                Body::MarkRead(MarkRead { conversation_id, seq: sending.about_seq })
            }
            RequestKind::Sync => Body::Sync(self.what_is_new(slot)),
        };
        self.put(slot, u64::from(sending.request_id()), body, links);
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
            self.outcome.requests.0.entry(kind).or_default().record(latency_ns);
        }
        if kind == RequestKind::MarkRead {
            self.pairs[slot / 2].marks[slot % 2].answered(sending.about_seq);
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
        // In the order of the log, so that nothing seems to have come early.
        let ascending = page.entries.iter().rev();
        let mut entries: Vec<_> = ascending
            .map(|entry| (entry.seq, self.on_whole_entry(slot, entry, Way::Repair, links)))
            .collect();
        entries.reverse();
        let (head, more) = (page.head, page.more);
        let limit = self.scenario.history_entries as usize;
        let page = NewestPage { entries, head, more, limit };
        let ledger = &self.pairs[slot / 2].ledger;
        ledger.page(slot % 2, sending.about_seq, &page, &mut self.outcome.faults);
        self.note_gap(slot, links);
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
            self.on_synced(slot, synced, sending.about_seq, links);
            self.fill(slot, links);
        }
    }

    /// What a sync says of both read cursors of the conversation.
    pub(crate) fn see_read_cursors(&mut self, slot: usize, state: &ConversationState) {
        let user = self.user_index(slot);
        let [own, partner] = [slot, slot ^ 1].map(|slot| self.pairs[slot / 2].marks[slot % 2]);
        let faults = &mut self.outcome.faults;
        // While others are under way, marks may have moved since the sync was asked for.
        match self.users[slot].stage {
            Stage::Syncing => own.found(user, state.read_seq, faults),
            Stage::Active => own.shown(user, state.read_seq, faults),
            Stage::Away | Stage::Connecting | Stage::LoggingIn | Stage::Waiting => {}
        }
        partner.shown(user, state.peer_read_seq, faults);
    }

    /// Something was pushed that is not of the conversation: of the account log, it says how far this
    /// user has read. A gap is left to the next sync.
    pub(crate) fn on_account_entry(&mut self, slot: usize, log: &[u8], entry: &Entry) {
        let user = &mut self.users[slot];
        let account = UserId::new(user.user_id).map(LogId::account);
        if !account.is_ok_and(|account| account.as_bytes() == log) {
            return;
        }
        if entry.seq == user.account_seq + 1 {
            user.account_seq = entry.seq;
        }
        let user = self.user_index(slot);
        let pair = &self.pairs[slot / 2];
        if let Some(entry::Body::ReadMoved(moved)) = &entry.body
            && moved.conversation_id[..] == pair.conversation
        {
            pair.marks[slot % 2].shown(user, moved.seq, &mut self.outcome.faults);
        }
    }

    /// The partner has read something.
    pub(crate) fn on_receipt(&mut self, slot: usize, receipt: &ReadReceipt) {
        let (user, seq) = (self.user_index(slot), receipt.seq);
        let pair = &self.pairs[slot / 2];
        let partner = slot ^ 1;
        let is_ours = receipt.conversation_id[..] == pair.conversation
            && receipt.user_id == self.users[partner].user_id;
        if is_ours {
            pair.marks[partner % 2].shown(user, seq, &mut self.outcome.faults);
        } else {
            let detail = format!("user id {} is said to have read it", receipt.user_id);
            self.fault(Fault::Phantom { user, seq, detail });
        }
    }
}
