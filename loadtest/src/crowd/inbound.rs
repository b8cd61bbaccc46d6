//! The busy frames: acknowledgements, pushes and signals.

use std::ops::RangeInclusive;

use crate::audit::content::Stamp;
use crate::audit::{Fault, Item, Told, Way};
use crate::crowd::member::Sending;
use crate::crowd::state::Crowd;
use crate::crowd::{Action, MessageKind, Place, Scenario, Seating, Turmoil};
use crate::net::Links;
use crate::wire::{self, Inbound, MessageEntry};

impl<S: Scenario> Crowd<'_, S> {
    pub(crate) fn inbound(&mut self, slot: usize, body: &[u8], links: &mut Links) {
        match wire::read(body) {
            Inbound::Sent { request_id, seq } => self.on_sent(slot, request_id, seq, links),
            Inbound::Done { request_id } => self.on_done(slot, request_id, links),
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

    fn on_sent(&mut self, slot: usize, request_id: u64, seq: u64, links: &mut Links) {
        const DURABLE: Action = Action::Message(MessageKind::Durable);
        if let Some(sending) = self.take_answered(slot, request_id, |action| action == DURABLE) {
            self.acknowledged(slot, MessageKind::Durable, sending, links);
            let place = self.seat(slot).place(sending.lane);
            let ledger = &mut self.conversations[place.conversation].ledger;
            let faults = &mut self.outcome.faults;
            ledger.acknowledged(place.reader, sending.counter, seq, faults);
            self.note_gap(place, links);
            self.fill(slot, links);
        }
    }

    fn on_done(&mut self, slot: usize, request_id: u64, links: &mut Links) {
        const SIGNAL: Action = Action::Message(MessageKind::Signal);
        if let Some(sending) = self.take_answered(slot, request_id, |action| action == SIGNAL) {
            self.acknowledged(slot, MessageKind::Signal, sending, links);
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
        let sending = self.members[slot].answered(request_id);
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
        let intended_ns = sending.intended_ns;
        let latency_ns = links.now_ns().saturating_sub(intended_ns);
        self.account.acknowledged(latency_ns);
        if self.is_measured(intended_ns) {
            self.outcome.acknowledge.record(latency_ns);
            if self.is_mix {
                self.outcome.by_kind.of(kind).acknowledge.record(latency_ns);
            }
            self.turmoil.acknowledged(slot, intended_ns, intended_ns + latency_ns);
        }
        self.transmit(slot, links);
    }

    fn on_push(&mut self, slot: usize, id: &[u8], entry: &MessageEntry<'_>, links: &mut Links) {
        match self.place_of(slot, id) {
            Some(place) => {
                self.on_entry(place, entry, Way::Push, links);
                self.note_gap(place, links);
            }
            None => {
                let detail = "a message of a conversation that is none of this user's".to_owned();
                let user = self.user_index(slot);
                self.fault(Fault::Phantom { user, seq: entry.seq, detail });
            }
        }
    }

    /// An entry of the conversation with a message in it, pushed or fetched.
    pub(crate) fn on_entry(
        &mut self,
        place: Place,
        entry: &MessageEntry<'_>,
        way: Way,
        links: &mut Links,
    ) -> Item {
        let (item, stamp) = self.judge(place, entry);
        let ledger = &mut self.conversations[place.conversation].ledger;
        let told = ledger.told(place.reader, entry.seq, item, way, &mut self.outcome.faults);
        if let (Told::Delivered, Item::Message { writer, counter }) = (told, item) {
            let intended_ns = stamp.map(|stamp| stamp.intended_ns);
            self.delivered(place, MessageKind::Durable, intended_ns, links);
            self.arrived(place.conversation, writer, counter..=counter, links);
        }
        item
    }

    /// When it was intended is not known of a message that is damaged.
    fn delivered(
        &mut self,
        place: Place,
        kind: MessageKind,
        intended_ns: Option<u64>,
        links: &Links,
    ) {
        let Some(intended_ns) = intended_ns else {
            self.account.progress.delivered += 1;
            return;
        };
        let latency_ns = links.now_ns().saturating_sub(intended_ns);
        self.account.delivered(latency_ns);
        if self.is_measured(intended_ns) {
            self.outcome.deliver.record(latency_ns);
            if self.is_mix {
                self.outcome.by_kind.of(kind).deliver.record(latency_ns);
            }
            let slot = self.seating.connection(place);
            self.turmoil.delivered(slot, intended_ns, intended_ns + latency_ns);
        }
    }

    /// One reader more has these messages of a writer.
    fn arrived(
        &mut self,
        conversation: usize,
        writer: usize,
        counters: RangeInclusive<u32>,
        links: &mut Links,
    ) {
        let of = &mut self.conversations[conversation];
        let arrived = of.flights(writer).map_or(0, |flights| flights.arrive(counters));
        if arrived > 0 {
            let slot = self.writer_slot(conversation, writer);
            self.members[slot].open -= arrived;
            self.fill(slot, links);
        }
    }

    // ---------------------------------------------------------------- whose it is

    /// Which message of which writer an entry is, by what it says of itself.
    pub(crate) fn judge(
        &mut self,
        place: Place,
        entry: &MessageEntry<'_>,
    ) -> (Item, Option<Stamp>) {
        let (user, seq) = (self.user_index(self.seating.connection(place)), entry.seq);
        match self.setup.contents.read(entry.content) {
            Ok(stamp) => {
                let Some(writer) = self.writer_of(place.conversation, stamp, entry.sender) else {
                    let detail = format!("{} does not write here", stamp.sender);
                    self.fault(Fault::Phantom { user, seq, detail });
                    return (Item::Unknown, None);
                };
                if entry.message_id != self.setup.contents.message_id(stamp) {
                    let detail = "another message's client_message_id".to_owned();
                    self.fault(Fault::Altered { user, seq, detail });
                }
                (Item::Message { writer, counter: stamp.counter }, Some(stamp))
            }
            Err(fault) => {
                self.fault(Fault::Altered { user, seq, detail: fault.to_string() });
                (self.item_by_id(place.conversation, entry), None)
            }
        }
    }

    /// The writer in a conversation whom the stamp names, if the server names the same one.
    fn writer_of(&self, conversation: usize, stamp: Stamp, sender: u64) -> Option<usize> {
        let first = self.stamp_of(Place { conversation, reader: 0 });
        let writer = stamp.sender.checked_sub(first)? as usize;
        if writer >= self.seating.writers() {
            return None;
        }
        let user_id = self.members[self.writer_slot(conversation, writer)].user_id;
        (self.is_relay || user_id == sender).then_some(writer)
    }

    /// A damaged content still has its place in the order if its id is whole.
    fn item_by_id(&self, conversation: usize, entry: &MessageEntry<'_>) -> Item {
        let user_id = |writer| self.members[self.writer_slot(conversation, writer)].user_id;
        let mut writers = 0..self.seating.writers();
        let writer = writers.find(|&writer| user_id(writer) == entry.sender).unwrap_or(0);
        let counter =
            entry.message_id.last_chunk::<4>().map_or(0, |last| u32::from_be_bytes(*last));
        let sender = self.stamp_of(Place { conversation, reader: writer });
        let stamp = Stamp { sender, counter, intended_ns: 0 };
        if entry.message_id == self.setup.contents.message_id(stamp) {
            Item::Message { writer, counter }
        } else {
            Item::Unknown
        }
    }

    // ---------------------------------------------------------------- signals

    fn on_signal(
        &mut self,
        slot: usize,
        id: &[u8],
        sender: u64,
        payload: &[u8],
        links: &mut Links,
    ) {
        let user = self.user_index(slot);
        let stamp = match self.setup.contents.read(payload) {
            Ok(stamp) => stamp,
            Err(fault) => {
                return self.fault(Fault::Altered { user, seq: 0, detail: fault.to_string() });
            }
        };
        let heard = self.place_of(slot, id).and_then(|place| {
            let writer = self.writer_of(place.conversation, stamp, sender)?;
            (writer != place.reader).then_some((place, writer))
        });
        match heard {
            Some((place, writer)) => self.hear(place, writer, stamp, links),
            None => {
                let detail = format!("a signal of {}", stamp.sender);
                self.fault(Fault::Phantom { user, seq: 0, detail });
            }
        }
    }

    /// A signal of a writer reached another one of its conversation.
    fn hear(&mut self, place: Place, writer: usize, stamp: Stamp, links: &mut Links) {
        let user = self.user_index(self.seating.connection(place));
        let of_writer = self.user_index(self.writer_slot(place.conversation, writer));
        let conversation = &mut self.conversations[place.conversation];
        let Some(book) = conversation.signals(writer, place.reader) else {
            let detail = format!("user {of_writer} has not sent any signal");
            return self.fault(Fault::Phantom { user, seq: 0, detail });
        };
        let heard = book.highest();
        if book.received(of_writer, user, stamp.counter, &mut self.outcome.faults) {
            self.delivered(place, MessageKind::Signal, Some(stamp.intended_ns), links);
            // Those between this one and the last were dropped for this reader, and that is allowed.
            self.arrived(place.conversation, writer, heard + 1..=stamp.counter, links);
        }
    }
}
