//! The busy frames: acknowledgements, pushes and signals.

use crate::audit::content::Stamp;
use crate::audit::{Fault, Item, Told, Way};
use crate::chat::crowd::Crowd;
use crate::chat::user::Sending;
use crate::chat::{Action, MessageKind, RequestKind};
use crate::net::Links;
use crate::target::Service;
use crate::wire::{self, Inbound, MessageEntry};

impl Crowd<'_> {
    pub(crate) fn inbound(&mut self, slot: usize, body: &[u8], links: &mut Links) {
        match wire::read(body) {
            Inbound::Sent { request_id, seq } => self.on_sent(slot, request_id, seq, links),
            Inbound::Done { request_id } => self.on_done(slot, request_id, links),
            Inbound::Push { conversation, entry } => {
                if conversation == self.pairs[slot / 2].conversation {
                    self.on_entry(slot, &entry, Way::Push, links);
                    self.note_gap(slot, links);
                } else {
                    let detail =
                        "a message of a conversation that is none of this user's".to_owned();
                    let user = self.user_index(slot);
                    self.fault(Fault::Phantom { user, seq: entry.seq, detail });
                }
            }
            Inbound::Signal { conversation, sender, payload } => {
                self.on_signal(slot, conversation, sender, payload, links);
            }
            Inbound::Other if body.is_empty() => {}
            Inbound::Other => self.on_rare(slot, body, links),
        }
    }

    fn on_sent(&mut self, slot: usize, request_id: u64, seq: u64, links: &mut Links) {
        const DURABLE: Action = Action::Message(MessageKind::Durable);
        if let Some(sending) = self.take_answered(slot, request_id, |action| action == DURABLE) {
            self.acknowledged(slot, MessageKind::Durable, sending, links);
            let ledger = &mut self.pairs[slot / 2].ledger;
            ledger.acknowledged(slot % 2, sending.counter, seq, &mut self.outcome.faults);
            self.note_gap(slot, links);
            self.fill(slot, links);
        }
    }

    fn on_done(&mut self, slot: usize, request_id: u64, links: &mut Links) {
        let is_done = |action| match action {
            Action::Message(kind) => kind == MessageKind::Signal,
            Action::Request(kind) => kind == RequestKind::MarkRead,
        };
        if let Some(sending) = self.take_answered(slot, request_id, is_done) {
            match sending.action {
                Action::Message(kind) => self.acknowledged(slot, kind, sending, links),
                Action::Request(kind) => self.request_answered(slot, kind, sending, links),
            }
            self.fill(slot, links);
        }
    }

    /// Takes what was answered out of the queue, if the answer fits it.
    pub(crate) fn take_answered(
        &mut self,
        slot: usize,
        request_id: u64,
        fits: impl Fn(Action) -> bool,
    ) -> Option<Sending> {
        let user = &mut self.users[slot];
        let sending = u32::try_from(request_id).ok().and_then(|id| user.answered(id));
        let sending = sending.filter(|sending| fits(sending.action));
        if sending.is_none() {
            self.fault(Fault::UnexpectedResponse { user: self.user_index(slot), request_id });
        }
        sending
    }

    /// A message was answered; lets those behind it go.
    fn acknowledged(
        &mut self,
        slot: usize,
        kind: MessageKind,
        sending: Sending,
        links: &mut Links,
    ) {
        let latency_ns = links.now_ns().saturating_sub(sending.intended_ns);
        self.account.acknowledged(latency_ns);
        if self.is_measured(sending.intended_ns) {
            self.outcome.acknowledge.record(latency_ns);
            if self.scenario.is_mix() {
                self.outcome.by_kind.of(kind).acknowledge.record(latency_ns);
            }
            self.note_acknowledged(slot, sending.intended_ns, sending.intended_ns + latency_ns);
        }
        self.transmit(slot, links);
    }

    /// An entry of the conversation with a message in it, pushed or fetched.
    pub(crate) fn on_entry(
        &mut self,
        slot: usize,
        entry: &MessageEntry<'_>,
        way: Way,
        links: &Links,
    ) -> Item {
        let (item, stamp) = self.judge(slot, entry);
        let ledger = &mut self.pairs[slot / 2].ledger;
        let told = ledger.told(slot % 2, entry.seq, item, way, &mut self.outcome.faults);
        if let (Told::Delivered, Some(stamp)) = (told, stamp) {
            self.delivered(slot, MessageKind::Durable, stamp.intended_ns, links);
        }
        item
    }

    fn delivered(&mut self, slot: usize, kind: MessageKind, intended_ns: u64, links: &Links) {
        let latency_ns = links.now_ns().saturating_sub(intended_ns);
        self.account.delivered(latency_ns);
        if self.is_measured(intended_ns) {
            self.outcome.deliver.record(latency_ns);
            if self.scenario.is_mix() {
                self.outcome.by_kind.of(kind).deliver.record(latency_ns);
            }
            self.note_delivered(slot, intended_ns, intended_ns + latency_ns);
        }
    }

    /// Which message of which side an entry is, by what it says of itself.
    pub(crate) fn judge(&mut self, slot: usize, entry: &MessageEntry<'_>) -> (Item, Option<Stamp>) {
        let user = self.user_index(slot);
        let seq = entry.seq;
        match self.contents.read(entry.content) {
            Ok(stamp) if self.is_of_pair(slot, stamp, entry.sender) => {
                if entry.message_id != self.contents.message_id(stamp) {
                    let detail = "another message's client_message_id".to_owned();
                    self.fault(Fault::Altered { user, seq, detail });
                }
                let side = (stamp.sender - self.first) as usize % 2;
                (Item::Message { writer: side, counter: stamp.counter }, Some(stamp))
            }
            Ok(stamp) => {
                let detail = format!("user {} does not write here", stamp.sender);
                self.fault(Fault::Phantom { user, seq, detail });
                (Item::Unknown, None)
            }
            Err(fault) => {
                self.fault(Fault::Altered { user, seq, detail: fault.to_string() });
                (self.item_by_id(slot, entry), None)
            }
        }
    }

    /// Whether the stamp and the sender that the server names are the same user of this pair.
    fn is_of_pair(&self, slot: usize, stamp: Stamp, sender: u64) -> bool {
        let Some(of) = stamp.sender.checked_sub(self.first).map(|of| of as usize) else {
            return false;
        };
        let is_relay = matches!(self.scenario.target.service, Service::Relay);
        of / 2 == slot / 2 && (is_relay || self.users[of].user_id == sender)
    }

    /// A damaged content still has its place in the order if its id is whole.
    fn item_by_id(&self, slot: usize, entry: &MessageEntry<'_>) -> Item {
        let base = slot & !1;
        let side = usize::from(entry.sender == self.users[base + 1].user_id);
        let sender = self.user_index(base + side);
        let counter =
            entry.message_id.last_chunk::<4>().map_or(0, |last| u32::from_be_bytes(*last));
        let stamp = Stamp { sender, counter, intended_ns: 0 };
        if entry.message_id == self.contents.message_id(stamp) {
            Item::Message { writer: side, counter }
        } else {
            Item::Unknown
        }
    }

    fn on_signal(
        &mut self,
        slot: usize,
        conversation: &[u8],
        sender: u64,
        payload: &[u8],
        links: &mut Links,
    ) {
        let user = self.user_index(slot);
        let stamp = match self.contents.read(payload) {
            Ok(stamp) => stamp,
            Err(fault) => {
                return self.fault(Fault::Altered { user, seq: 0, detail: fault.to_string() });
            }
        };
        let from = (slot ^ 1) % 2;
        let is_ours = conversation == self.pairs[slot / 2].conversation
            && self.is_of_pair(slot, stamp, sender)
            && (stamp.sender - self.first) as usize == slot ^ 1;
        if !is_ours {
            let detail = format!("a signal of user {}", stamp.sender);
            return self.fault(Fault::Phantom { user, seq: 0, detail });
        }
        let book = &mut self.pairs[slot / 2].signals[from];
        if book.received(stamp.sender, user, stamp.counter, &mut self.outcome.faults) {
            self.delivered(slot, MessageKind::Signal, stamp.intended_ns, links);
            if self.scenario.is_quiet() {
                self.arrived(slot ^ 1, stamp.counter, links);
            }
        }
    }

    /// A quiet signal has arrived: that is all the answer its sender gets, for it and for those
    /// before it that were dropped.
    fn arrived(&mut self, sender: usize, counter: u32, links: &mut Links) {
        let user = &mut self.users[sender];
        while user.in_flight > 0 && user.queue.front().is_some_and(|first| first.counter <= counter)
        {
            user.queue.pop_front();
            user.in_flight -= 1;
        }
        self.transmit(sender, links);
        self.fill(sender, links);
    }
}
