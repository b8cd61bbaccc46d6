//! The connections of one generator thread and the conversations among them. What they do is in the
//! files beside this one, by the occasion: `arriving`, `syncing`, `sending`, `inbound`, `rare`, `requests`,
//! `repairing`, `reading`, and `handler`, which is called by the event loop.

use std::ops::Range;

use dunlin_protocol::frame;
use dunlin_protocol::limits::REQUESTS_OUTSTANDING_MAX;
use dunlin_protocol::wire::{Frame, frame::Body};

use crate::audit::Fault;
use crate::audit::content::Contents;
use crate::crowd::conversation::Conversation;
use crate::crowd::member::Member;
use crate::crowd::outcome::Outcome;
use crate::crowd::{
    Account, Comings, Departure, Heartbeats, Later, Newcomers, OpenLoad, Place, Scenario, Seat,
    Seating, Terms, Turmoil,
};
use crate::net::Links;
use crate::phases::{Board, Phase, Schedule};
use crate::target::Service;

/// What all threads of a process have in common.
#[derive(Debug)]
pub(crate) struct Setup<'a, S: Scenario> {
    pub(crate) scenario: &'a S,
    pub(crate) terms: Terms,
    pub(crate) board: &'a Board,
    pub(crate) aside: &'a S::Aside,
    pub(crate) contents: Contents,
    pub(crate) run: u64,
}

/// What a thread brings home.
pub(crate) type OutcomeOf<S> = Outcome<<<S as Scenario>::Turmoil as Turmoil>::Tally>;

/// A message or a request to send again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    pub(crate) slot: usize,
    pub(crate) connection: u32,
    pub(crate) request_id: u64,
}

pub(crate) struct Crowd<'a, S: Scenario> {
    pub(crate) setup: &'a Setup<'a, S>,
    pub(crate) seating: S::Seating,
    /// Index within the run of the connection in slot 0.
    pub(crate) first: u32,
    /// What the first writer of the first conversation stamps its messages with.
    pub(crate) first_stamp: u32,
    pub(crate) members: Vec<Member>,
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) turmoil: S::Turmoil,
    /// Scratch space of the turmoil.
    pub(crate) departures: Vec<Departure>,
    pub(crate) outcome: OutcomeOf<S>,
    pub(crate) account: Account,
    pub(crate) phase: Phase,
    pub(crate) phase_finished: bool,
    pub(crate) schedule: Schedule,
    pub(crate) epoch: u64,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) outstanding_max: usize,
    pub(crate) comings: Comings,
    pub(crate) retries: Later<Retry>,
    /// Where a gap between pushes is to be repaired.
    pub(crate) gaps: Later<Place>,
    pub(crate) open_load: OpenLoad,
    pub(crate) next_chores_ns: u64,
    /// Since when in this phase nobody has been there; nothing while somebody is.
    pub(crate) forsaken_since_ns: Option<u64>,
    // What the terms say, once and for all.
    pub(crate) has_durable: bool,
    pub(crate) is_mix: bool,
    pub(crate) is_relay: bool,
    pub(crate) waits_for_delivery: bool,
}

impl<'a, S: Scenario> Crowd<'a, S> {
    /// `share` is that of the connections of the run which this thread has: whole groups.
    pub(crate) fn new(setup: &'a Setup<'a, S>, share: Range<u32>) -> Crowd<'a, S> {
        let Setup { scenario, terms, board, .. } = setup;
        let seating = scenario.seating();
        let groups = share.len() / seating.group_connections() as usize;
        let waits_for_delivery = scenario.waits_for_delivery();
        let conversation = |conversation: usize| {
            let reader =
                |reader| share.start + seating.connection(Place { conversation, reader }) as u32;
            let readers = (0..seating.readers()).map(reader).collect();
            Conversation::new(readers, seating.writers(), waits_for_delivery)
        };
        let senders = scenario.senders(&share);
        let mut members: Vec<_> = share.clone().map(|_| Member::new()).collect();
        for sender in senders.all_own() {
            members[scenario.connection_of_sender(sender)].sends = true;
        }
        let newcomers = Newcomers::new(share.len(), terms.connections, terms.connects_per_second);
        let first_conversation = seating.seat(share.start as usize).first_conversation;
        Crowd {
            setup,
            seating,
            first: share.start,
            first_stamp: (first_conversation * seating.writers()) as u32,
            members,
            conversations: (0..groups * seating.group_conversations() as usize)
                .map(conversation)
                .collect(),
            turmoil: scenario.turmoil(&share),
            departures: Vec::new(),
            outcome: OutcomeOf::<S>::default(),
            account: Account::default(),
            phase: Phase::Gather,
            phase_finished: false,
            schedule: board.schedule(),
            epoch: 0,
            heartbeats: Heartbeats::new(&terms.target.service),
            outstanding_max: REQUESTS_OUTSTANDING_MAX as usize,
            comings: Comings::new(newcomers),
            retries: Later::default(),
            gaps: Later::default(),
            open_load: OpenLoad::new(&terms.load, terms.warm_up, &senders),
            next_chores_ns: 0,
            forsaken_since_ns: None,
            has_durable: terms.has_durable(),
            is_mix: terms.is_mix(),
            is_relay: matches!(terms.target.service, Service::Relay),
            waits_for_delivery,
        }
    }

    /// Index within the run of the connection in a slot: what reports call a user.
    pub(crate) fn user_index(&self, slot: usize) -> u32 {
        self.first + slot as u32
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.outcome.faults.add(fault);
    }

    pub(crate) fn seat(&self, slot: usize) -> Seat {
        self.seating.seat(slot)
    }

    /// The slot of a conversation's writer.
    pub(crate) fn writer_slot(&self, conversation: usize, writer: usize) -> usize {
        self.seating.connection(Place { conversation, reader: writer })
    }

    /// The place of a connection in the conversation with this id, if it is there.
    pub(crate) fn place_of(&self, slot: usize, id: &[u8]) -> Option<Place> {
        // Nearly always there is one; whoever has many only writes there, and is not told of any.
        self.seat(slot).places().find(|place| self.conversations[place.conversation].id == id)
    }

    /// Writes a frame that is not one of the busy ones.
    pub(crate) fn put(&mut self, slot: usize, request_id: u64, body: Body, links: &mut Links) {
        self.members[slot].last_written_ns = links.now_ns();
        if let Some(outbox) = links.outbox(slot) {
            frame::encode_into(&Frame { request_id, body: Some(body) }, outbox);
        }
    }

    pub(crate) fn is_measured(&self, intended_ns: u64) -> bool {
        self.schedule.measures(intended_ns)
    }

    /// Whether a connection has read all logs that it is to read.
    pub(crate) fn has_read(&self, slot: usize) -> bool {
        let seat = self.seat(slot);
        !self.setup.scenario.reads_log(seat.reader)
            || self.members[slot].logs_read >= seat.conversations
    }

    /// Brings the books to their end; `self` has no other use afterwards.
    pub(crate) fn finish(mut self) -> OutcomeOf<S> {
        for (slot, member) in self.members.iter().enumerate() {
            let unsent = member.queue.len() - member.in_flight;
            self.outcome.totals.unsent_at_end += unsent as u64;
            let requests = member.unanswered_requests();
            if requests > 0 {
                let user = self.first + slot as u32;
                self.outcome.faults.add(Fault::Unanswered { user, requests });
            }
        }
        for index in 0..self.conversations.len() {
            self.finish_conversation(index);
        }
        self.outcome.totals.acknowledged = self.account.progress.acknowledged;
        self.outcome.totals.answered = self.account.progress.answered;
        self.outcome.totals.delivered = self.account.progress.delivered;
        self.outcome.tally = self.turmoil.into_tally();
        self.outcome
    }

    fn finish_conversation(&mut self, conversation: usize) {
        let of = &self.conversations[conversation];
        self.outcome.totals.signals_missing += of.signals_missing();
        if !self.has_durable {
            return;
        }
        let has_read = |reader: usize| {
            let slot = self.seating.connection(Place { conversation, reader });
            let lane = conversation - self.seating.seat(slot).first_conversation;
            !self.setup.scenario.reads_log(reader) || self.members[slot].logs_read > lane
        };
        if (0..self.seating.readers()).all(has_read) {
            of.ledger.finish(&mut self.outcome.faults);
        } else if self.setup.board.has_run() && !self.setup.board.is_short() {
            let user = self.first + self.writer_slot(conversation, 0) as u32;
            let detail = "the log of its conversation could not be read".to_owned();
            self.outcome.faults.add(Fault::Protocol { user, detail });
        }
    }
}
