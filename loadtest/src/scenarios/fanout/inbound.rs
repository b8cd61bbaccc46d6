//! The busy frames: acknowledgements, pushes and signals.

use std::ops::RangeInclusive;

use crate::audit::content::Stamp;
use crate::audit::{Fault, Item, Told, Way};
use crate::fanout::crowd::Crowd;
use crate::fanout::people::Sending;
use crate::fanout::shape::Seat;
use crate::net::Links;
use crate::target::Service;
use crate::wire::{self, Inbound, MessageEntry};

impl Crowd<'_> {
    pub(crate) fn inbound(&mut self, slot: usize, body: &[u8], links: &mut Links) {
        match wire::read(body) {
            Inbound::Sent { request_id, seq } => {
                if let Some(sending) = self.complete(slot, request_id, links) {
                    let of = &mut self.conversations[sending.conversation];
                    of.ledger.acknowledged(0, sending.counter, seq, &mut self.outcome.faults);
                }
            }
            Inbound::Done { request_id } => {
                self.complete(slot, request_id, links);
            }
            Inbound::Push { conversation, entry } => {
                self.on_push(slot, conversation, &entry, links);
            }
            Inbound::Signal { conversation, sender, payload } => {
                self.on_signal(slot, conversation, sender, payload, links);
            }
            Inbound::Other if body.is_empty() => {}
            Inbound::Other => self.on_rare(slot, body, links),
        }
    }

    /// Takes a message that was answered out of the queue; lets those behind it go.
    fn complete(&mut self, slot: usize, request_id: u64, links: &mut Links) -> Option<Sending> {
        let Seat::Writer { fan } = self.shape.seat(slot) else {
            self.fault(Fault::UnexpectedResponse { user: self.user_index(slot), request_id });
            return None;
        };
        let Some(sending) = self.writers[fan].answered(request_id) else {
            self.fault(Fault::UnexpectedResponse { user: self.user_index(slot), request_id });
            return None;
        };
        let latency_ns = links.now_ns().saturating_sub(sending.intended_ns);
        self.account.acknowledged(latency_ns);
        if self.is_measured(sending.intended_ns) {
            self.outcome.acknowledge.record(latency_ns);
        }
        self.transmit(fan, links);
        Some(sending)
    }

    fn on_push(&mut self, slot: usize, id: &[u8], entry: &MessageEntry<'_>, links: &mut Links) {
        match self.shape.seat(slot) {
            Seat::Reader { conversation, device } if id == self.conversations[conversation].id => {
                self.on_entry(conversation, device, entry, Way::Push, links);
                self.note_gap(slot, conversation, device, links.now_ns());
            }
            Seat::Reader { .. } | Seat::Writer { .. } => {
                let detail = "a message that is not for this device".to_owned();
                let user = self.user_index(slot);
                self.fault(Fault::Phantom { user, seq: entry.seq, detail });
            }
        }
    }

    /// An entry of the conversation with a message in it, pushed or fetched.
    pub(crate) fn on_entry(
        &mut self,
        conversation: usize,
        device: usize,
        entry: &MessageEntry<'_>,
        way: Way,
        links: &mut Links,
    ) {
        let slot = self.shape.first_reader_of(conversation) + device;
        let (item, stamp) = self.judge(slot, conversation, entry);
        let ledger = &mut self.conversations[conversation].ledger;
        let told = ledger.told(device + 1, entry.seq, item, way, &mut self.outcome.faults);
        if let (Told::Delivered, Item::Message { counter, .. }) = (told, item) {
            let intended_ns = stamp.map(|stamp| stamp.intended_ns);
            self.delivered(conversation, counter..=counter, intended_ns, links);
        }
    }

    /// One device more has these messages, the last of them now. When it was intended is not known
    /// of one that is damaged.
    fn delivered(
        &mut self,
        conversation: usize,
        counters: RangeInclusive<u32>,
        intended_ns: Option<u64>,
        links: &mut Links,
    ) {
        match intended_ns {
            None => self.account.progress.delivered += 1,
            Some(intended_ns) => {
                let latency_ns = links.now_ns().saturating_sub(intended_ns);
                self.account.delivered(latency_ns);
                if self.is_measured(intended_ns) {
                    self.outcome.deliver.record(latency_ns);
                }
            }
        }
        let arrived = self.conversations[conversation].flights.arrive(counters);
        if arrived > 0 {
            let fan = conversation / self.shape.conversations as usize;
            self.writers[fan].open -= arrived;
            self.fill(fan, links);
        }
    }

    /// Which message of the conversation an entry is, by what it says of itself. Whoever is in
    /// `slot` reads it.
    pub(crate) fn judge(
        &mut self,
        slot: usize,
        conversation: usize,
        entry: &MessageEntry<'_>,
    ) -> (Item, Option<Stamp>) {
        let (user, seq) = (self.user_index(slot), entry.seq);
        match self.contents.read(entry.content) {
            Ok(stamp) if self.is_of(conversation, stamp, entry.sender) => {
                if entry.message_id != self.contents.message_id(stamp) {
                    let detail = "another message's client_message_id".to_owned();
                    self.fault(Fault::Altered { user, seq, detail });
                }
                (Item::Message { writer: 0, counter: stamp.counter }, Some(stamp))
            }
            Ok(stamp) => {
                let detail = format!("a message of conversation {}", stamp.sender);
                self.fault(Fault::Phantom { user, seq, detail });
                (Item::Unknown, None)
            }
            Err(fault) => {
                self.fault(Fault::Altered { user, seq, detail: fault.to_string() });
                (self.item_by_id(conversation, entry), None)
            }
        }
    }

    /// Whether the stamp names this conversation, and the server its writer.
    fn is_of(&self, conversation: usize, stamp: Stamp, sender: u64) -> bool {
        let is_relay = matches!(self.scenario.target.service, Service::Relay);
        let writer = self.shape.writer_of(conversation);
        stamp.sender == self.first_conversation + conversation as u32
            && (is_relay || self.members[writer].user_id == sender)
    }

    /// A damaged content still has its place in the order if its id is whole.
    fn item_by_id(&self, conversation: usize, entry: &MessageEntry<'_>) -> Item {
        let counter =
            entry.message_id.last_chunk::<4>().map_or(0, |last| u32::from_be_bytes(*last));
        let sender = self.first_conversation + conversation as u32;
        let stamp = Stamp { sender, counter, intended_ns: 0 };
        if entry.message_id == self.contents.message_id(stamp) {
            Item::Message { writer: 0, counter }
        } else {
            Item::Unknown
        }
    }

    fn on_signal(
        &mut self,
        slot: usize,
        id: &[u8],
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
        let (conversation, device) = match self.shape.seat(slot) {
            Seat::Reader { conversation, device }
                if id == self.conversations[conversation].id
                    && self.is_of(conversation, stamp, sender) =>
            {
                (conversation, device)
            }
            Seat::Reader { .. } | Seat::Writer { .. } => {
                let detail = format!("a signal of conversation {}", stamp.sender);
                return self.fault(Fault::Phantom { user, seq: 0, detail });
            }
        };
        let writer = self.user_index(self.shape.writer_of(conversation));
        let of = &mut self.conversations[conversation];
        let book = &mut of.signals[device];
        if book.received(writer, user, stamp.counter, &mut self.outcome.faults) {
            // Those between this one and the last were dropped for this device, and that is allowed.
            let heard = of.heard[device];
            of.heard[device] = heard.max(stamp.counter);
            let counters = heard + 1..=stamp.counter;
            self.delivered(conversation, counters, Some(stamp.intended_ns), links);
        }
    }
}
