//! Messages and requests from their turn to the outbox.

use crate::audit::content::Stamp;
use crate::crowd::flights::Flights;
use crate::crowd::member::Sending;
use crate::crowd::open_load::Next;
use crate::crowd::state::Crowd;
use crate::crowd::{Action, Load, MessageKind, Place, Scenario, Seating, Turmoil};
use crate::net::Links;
use crate::phases::Phase;

impl<S: Scenario> Crowd<'_, S> {
    /// Sends what is due by now; returns when the next message is.
    pub(crate) fn pace(&mut self, now_ns: u64, links: &mut Links) -> u64 {
        loop {
            match self.open_load.next(now_ns, &self.schedule) {
                Next::Wait { until_ns } => return until_ns,
                Next::Send { sender, at_ns } => {
                    let slot = self.setup.scenario.connection_of_sender(sender);
                    if self.turmoil.writes(slot) {
                        self.enqueue(slot, at_ns, links);
                    }
                }
            }
        }
    }

    /// A new message or request of this writer, to be sent as soon as it may. Its conversations take
    /// turns.
    fn enqueue(&mut self, slot: usize, intended_ns: u64, links: &mut Links) {
        let (index, seat) = (self.user_index(slot), self.seat(slot));
        let member = &mut self.members[slot];
        let key = u64::from(index) << 32 | u64::from(member.enqueued);
        let action = *self.setup.terms.message.choose(key);
        let lane = member.enqueued % seat.conversations as u32;
        member.enqueued += 1;
        let enqueued = member.enqueued;
        let place = seat.place(lane);
        let (counter, about_seq) = match action {
            Action::Message(kind) => (self.count_message(slot, place, kind), 0),
            Action::Request(kind) => match self.asks_about(place, kind) {
                Some(seq) => {
                    self.outcome.totals.requested += 1;
                    (enqueued, seq)
                }
                None => return self.outcome.totals.left_out += 1,
            },
        };
        let member = &mut self.members[slot];
        let is_next = member.queue.len() == member.in_flight;
        member.queue.push_back(Sending { action, lane, counter, intended_ns, about_seq });
        if is_next && member.is_active() && member.in_flight < self.outstanding_max {
            // Nobody but the harness can be to blame for what has passed since.
            let now_ns = links.now_ns();
            if self.is_measured(intended_ns) {
                self.outcome.lateness.record(now_ns.saturating_sub(intended_ns));
            }
        }
        self.transmit(slot, links);
    }

    /// The counter of a new message.
    fn count_message(&mut self, slot: usize, place: Place, kind: MessageKind) -> u32 {
        self.account.progress.sent += 1;
        self.outcome.totals.sent += 1;
        let (writer, conversation) = (place.reader, &mut self.conversations[place.conversation]);
        if let Some(flights) = conversation.flights(writer) {
            flights.start();
            self.members[slot].open += 1;
        }
        match kind {
            MessageKind::Durable => conversation.ledger.sent(writer),
            MessageKind::Signal | MessageKind::QuietSignal => conversation.signal_sent(writer),
        }
    }

    /// Keeps a writer of a closed load at its number of messages under way.
    pub(crate) fn fill(&mut self, slot: usize, links: &mut Links) {
        let Load::Closed { outstanding } = self.setup.terms.load else {
            return;
        };
        while self.phase == Phase::Run
            && self.members[slot].sends
            && self.under_way(slot) < outstanding as usize
        {
            self.enqueue(slot, links.now_ns(), links);
        }
    }

    fn under_way(&self, slot: usize) -> usize {
        let member = &self.members[slot];
        if self.waits_for_delivery { member.open as usize } else { member.queue.len() }
    }

    /// Hands over what waits, as far as the writer may send.
    pub(crate) fn transmit(&mut self, slot: usize, links: &mut Links) {
        loop {
            let member = &mut self.members[slot];
            let may = member.is_active() && member.in_flight < self.outstanding_max;
            let Some(&sending) = member.queue.get(member.in_flight).filter(|_| may) else {
                return;
            };
            if sending.action == Action::Message(MessageKind::QuietSignal) {
                // Nobody will answer, and nobody will send it again.
                member.queue.remove(member.in_flight);
            } else {
                member.in_flight += 1;
            }
            self.put_sending(slot, sending, links);
        }
    }

    pub(crate) fn put_sending(&mut self, slot: usize, sending: Sending, links: &mut Links) {
        match sending.action {
            Action::Message(kind) => self.put_message(slot, kind, sending, links),
            Action::Request(kind) => self.put_request(slot, kind, sending, links),
        }
    }

    fn put_message(&mut self, slot: usize, kind: MessageKind, sending: Sending, links: &mut Links) {
        self.members[slot].last_written_ns = sending.intended_ns;
        let place = self.seat(slot).place(sending.lane);
        let Some(outbox) = links.outbox(slot) else {
            return;
        };
        let Sending { counter, intended_ns, .. } = sending;
        let stamp = Stamp { sender: self.stamp_of(place), counter, intended_ns };
        let conversation = &self.conversations[place.conversation].id;
        kind.put(outbox, sending.request_id(), conversation, stamp, &self.setup.contents);
    }

    /// What a writer stamps its messages in a conversation with: no other one in the run does.
    pub(crate) fn stamp_of(&self, place: Place) -> u32 {
        let number = place.conversation * self.seating.writers() + place.reader;
        self.first_stamp + number as u32
    }

    /// Nothing more is expected of a message or a request: it was refused, or was of the moment.
    pub(crate) fn give_up_sending(&mut self, slot: usize, request_id: u64, links: &mut Links) {
        let Some(sending) = self.members[slot].answered(request_id) else {
            return;
        };
        let place = self.seat(slot).place(sending.lane);
        if let Some(flights) = self.conversations[place.conversation].flights(place.reader) {
            self.members[slot].open -= flights.abandon(sending.counter);
        }
        self.transmit(slot, links);
        self.fill(slot, links);
    }

    /// Whoever has left hears no signal that is under way to it, nor will it say one again: nobody
    /// waits for any in its conversations.
    pub(crate) fn abandon_signals(&mut self, slot: usize, links: &mut Links) {
        if !self.waits_for_delivery || self.has_durable {
            return;
        }
        for conversation in self.seat(slot).conversations() {
            for writer in 0..self.seating.writers() {
                let of = &mut self.conversations[conversation];
                let abandoned = of.flights(writer).map_or(0, Flights::abandon_all);
                let writer = self.writer_slot(conversation, writer);
                self.members[writer].open -= abandoned;
                self.fill(writer, links);
            }
        }
    }
}
