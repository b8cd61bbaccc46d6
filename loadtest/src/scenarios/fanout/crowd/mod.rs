//! The connections of one generator thread: pacing, sending, and the phases. What time demands of
//! them is in `chores`.

mod chores;

use std::ops::Range;

use dunlin_protocol::limits::REQUESTS_OUTSTANDING_MAX;
use dunlin_protocol::wire::{Frame, frame::Body};
use dunlin_protocol::{LogId, UserId, frame};

use crate::audit::Fault;
use crate::audit::content::{Contents, Stamp};
use crate::chat::{Load, MessageKind};
use crate::crowd::{self, Account, Heartbeats, Later, Newcomers, OpenLoad, Senders};
use crate::fanout::FanoutScenario;
use crate::fanout::outcome::Outcome;
use crate::fanout::people::{Conversation, Member, Sending, Stage, Writer};
use crate::fanout::shape::{Seat, Shape};
use crate::net::{CloseCause, Handler, Links, Next};
use crate::phases::{Board, Phase, Schedule};
use crate::scenarios::fanout::people::Side;

pub(crate) struct Crowd<'a> {
    pub(crate) scenario: &'a FanoutScenario,
    pub(crate) board: &'a Board,
    pub(crate) contents: &'a Contents,
    pub(crate) run: u64,
    pub(crate) shape: Shape,
    /// Index within the run of the connection in slot 0, and of the first fan and conversation.
    first: u32,
    pub(crate) first_fan: u32,
    pub(crate) first_conversation: u32,
    pub(crate) members: Vec<Member>,
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) writers: Vec<Writer>,
    pub(crate) outcome: Outcome,
    pub(crate) account: Account,
    pub(crate) phase: Phase,
    schedule: Schedule,
    pub(crate) epoch: u64,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) outstanding_max: usize,
    newcomers: Newcomers,
    arriving: usize,
    /// Requests to send again: slot, request id.
    pub(crate) retries: Later<(usize, u64)>,
    /// Who has a gap between pushes that is to be repaired.
    gaps: Later<usize>,
    open_load: OpenLoad,
    /// A connection has ended, so not everything can come home.
    is_broken: bool,
    next_chores_ns: u64,
    phase_finished: bool,
}

impl<'a> Crowd<'a> {
    /// `share` is that of the connections of the run which this thread has: whole fans.
    pub(crate) fn new(
        scenario: &'a FanoutScenario,
        board: &'a Board,
        contents: &'a Contents,
        run: u64,
        share: Range<u32>,
    ) -> Crowd<'a> {
        let shape = scenario.shape();
        let fans = share.len() / shape.connections() as usize;
        let conversation = |index: usize| {
            let first_reader = share.start + shape.first_reader_of(index) as u32;
            let writer = share.start + shape.writer_of(index) as u32;
            Conversation::new(writer, first_reader..first_reader + shape.devices)
        };
        let first_fan = share.start / shape.connections();
        let senders = Senders {
            all: scenario.senders,
            first: first_fan,
            own: (0..fans as u32).collect(),
            sides: 1,
        };
        let all = scenario.senders * shape.connections();
        Crowd {
            scenario,
            board,
            contents,
            run,
            shape,
            first: share.start,
            first_fan,
            first_conversation: first_fan * shape.conversations,
            members: share.clone().map(|_| Member::new()).collect(),
            conversations: (0..fans * shape.conversations as usize).map(conversation).collect(),
            writers: (0..fans).map(|_| Writer::default()).collect(),
            outcome: Outcome::default(),
            account: Account::default(),
            phase: Phase::Gather,
            schedule: board.schedule(),
            epoch: 0,
            heartbeats: Heartbeats::new(&scenario.target.service),
            outstanding_max: REQUESTS_OUTSTANDING_MAX as usize,
            newcomers: Newcomers::new(share.len(), all, scenario.connects_per_second),
            arriving: 0,
            retries: Later::default(),
            gaps: Later::default(),
            open_load: OpenLoad::new(&scenario.load, scenario.warm_up, &senders),
            is_broken: false,
            next_chores_ns: 0,
            phase_finished: false,
        }
    }

    /// Index within the run of the connection in a slot: what reports call a user.
    pub(crate) fn user_index(&self, slot: usize) -> u32 {
        self.first + slot as u32
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.outcome.faults.add(fault);
    }

    /// Writes a frame that is not one of the busy ones.
    pub(crate) fn put(&mut self, slot: usize, request_id: u64, body: Body, links: &mut Links) {
        self.members[slot].last_written_ns = links.now_ns();
        if let Some(outbox) = links.outbox(slot) {
            frame::encode_into(&Frame { request_id, body: Some(body) }, outbox);
        }
    }

    /// Somebody is logged in: conversations get their names as soon as both users are known.
    pub(crate) fn name_conversations(&mut self, slot: usize) {
        let conversations = match self.shape.seat(slot) {
            Seat::Writer { fan } => self.shape.conversations_of(fan),
            Seat::Reader { conversation, .. } => conversation..conversation + 1,
        };
        let slots = |conversation| {
            let first = self.shape.first_reader_of(conversation);
            (self.shape.writer_of(conversation), first..first + self.shape.devices as usize)
        };
        for conversation in conversations {
            let (writer, readers) = slots(conversation);
            let id = |slot: usize| UserId::new(self.members[slot].user_id).ok();
            if let (Some(writer), Some(reader)) = (id(writer), readers.into_iter().find_map(id)) {
                self.conversations[conversation].id = *LogId::direct(writer, reader).as_bytes();
            }
        }
    }

    pub(crate) fn become_active(&mut self, slot: usize) {
        self.members[slot].stage = Stage::Active;
        self.arriving -= 1;
        self.account.progress.active += 1;
    }

    // ---------------------------------------------------------------- sending

    /// The next message of a writer, to be sent as soon as the writer may.
    fn enqueue(&mut self, fan: usize, intended_ns: u64, links: &mut Links) {
        let writer = &mut self.writers[fan];
        let turn = writer.turns % self.shape.conversations as usize;
        let conversation = self.shape.conversations_of(fan).start + turn;
        let of = &mut self.conversations[conversation];
        let counter = match self.scenario.message {
            MessageKind::Durable => of.ledger.sent(0),
            MessageKind::Signal | MessageKind::QuietSignal => of.signal_sent(),
        };
        of.flights.start();
        writer.turns += 1;
        writer.open += 1;
        let is_next = writer.queue.len() == writer.in_flight;
        writer.queue.push_back(Sending { conversation, counter, intended_ns });
        if is_next && writer.in_flight < self.outstanding_max && self.is_measured(intended_ns) {
            // Nobody but the harness can be to blame for what has passed since.
            self.outcome.lateness.record(links.now_ns().saturating_sub(intended_ns));
        }
        self.account.progress.sent += 1;
        self.transmit(fan, links);
    }

    /// Keeps a writer of a closed load at its number of messages on the way.
    pub(crate) fn fill(&mut self, fan: usize, links: &mut Links) {
        let Load::Closed { outstanding } = self.scenario.load else {
            return;
        };
        while self.phase == Phase::Run && self.writers[fan].open < outstanding && !self.is_broken {
            self.enqueue(fan, links.now_ns(), links);
        }
    }

    /// Hands over what waits, as far as the writer may send.
    pub(crate) fn transmit(&mut self, fan: usize, links: &mut Links) {
        let slot = fan * self.shape.connections() as usize;
        loop {
            let writer = &mut self.writers[fan];
            let may = self.members[slot].stage == Stage::Active
                && writer.in_flight < self.outstanding_max;
            let Some(&sending) = writer.queue.get(writer.in_flight).filter(|_| may) else {
                return;
            };
            if self.scenario.message == MessageKind::QuietSignal {
                // Nobody will answer, and nobody will send it again.
                writer.queue.pop_front();
            } else {
                writer.in_flight += 1;
            }
            self.put_message(slot, sending, links);
        }
    }

    pub(crate) fn put_message(&mut self, slot: usize, sending: Sending, links: &mut Links) {
        self.members[slot].last_written_ns = sending.intended_ns;
        let Some(outbox) = links.outbox(slot) else {
            return;
        };
        let stamp = Stamp {
            sender: self.first_conversation + sending.conversation as u32,
            counter: sending.counter,
            intended_ns: sending.intended_ns,
        };
        let conversation = &self.conversations[sending.conversation].id;
        let kind = self.scenario.message;
        kind.put(outbox, sending.request_id(), conversation, stamp, self.contents);
    }

    pub(crate) fn is_measured(&self, intended_ns: u64) -> bool {
        self.schedule.measures(intended_ns)
    }

    /// Sends what is due by now; returns when the next message is.
    fn pace(&mut self, now_ns: u64, links: &mut Links) -> u64 {
        loop {
            match self.open_load.next(now_ns, &self.schedule) {
                crowd::Next::Wait { until_ns } => return until_ns,
                crowd::Next::Send { sender: fan, at_ns } => self.enqueue(fan, at_ns, links),
            }
        }
    }

    // ---------------------------------------------------------------- phases

    fn enter(&mut self, phase: Phase, links: &mut Links) {
        self.phase = phase;
        self.phase_finished = false;
        self.schedule = self.board.schedule();
        match phase {
            Phase::Run => (0..self.writers.len()).for_each(|fan| self.fill(fan, links)),
            Phase::Read => self.begin_reading(links),
            Phase::Gather | Phase::Drain | Phase::End => {}
        }
    }

    fn is_phase_finished(&self, now_ns: u64) -> bool {
        match self.phase {
            Phase::Gather | Phase::End => false,
            Phase::Run => self.open_load.is_over(now_ns, &self.schedule),
            Phase::Drain => {
                self.is_broken
                    || self.writers.iter().all(|writer| writer.queue.is_empty() && writer.open == 0)
            }
            Phase::Read => {
                self.is_broken || self.conversations.iter().all(|one| one.has_read == [true; 2])
            }
        }
    }

    /// Brings the books to their end; `self` has no other use afterwards.
    pub(crate) fn finish(mut self) -> Outcome {
        let is_durable = self.scenario.message == MessageKind::Durable;
        for (index, conversation) in self.conversations.iter().enumerate() {
            let missing = conversation.signals.iter().map(|book| u64::from(book.missing()));
            self.outcome.totals.signals_missing += missing.sum::<u64>();
            if is_durable && conversation.has_read == [true; 2] {
                conversation.ledger.finish(&mut self.outcome.faults);
            } else if is_durable && self.board.has_run() && !self.board.is_short() {
                let user = self.first + self.shape.writer_of(index) as u32;
                let detail = "the log of its conversation could not be read".to_owned();
                self.outcome.faults.add(Fault::Protocol { user, detail });
            }
        }
        let unsent = self.writers.iter().map(|writer| writer.queue.len() - writer.in_flight);
        let totals = &mut self.outcome.totals;
        totals.unsent_at_end = unsent.sum::<usize>() as u64;
        totals.sent = self.account.progress.sent;
        totals.acknowledged = self.account.progress.acknowledged;
        totals.delivered = self.account.progress.delivered;
        self.outcome
    }

    /// Both users of each conversation read its log.
    fn begin_reading(&mut self, links: &mut Links) {
        for conversation in 0..self.conversations.len() {
            // A conversation in which nothing was said has no log to read.
            if self.conversations[conversation].ledger.is_untouched() {
                self.conversations[conversation].has_read = [true; 2];
            } else {
                self.read_on(conversation, Side::Reader, links);
            }
        }
        for fan in 0..self.writers.len() {
            self.read_next_as_writer(fan, links);
        }
    }
}

impl Handler for Crowd<'_> {
    fn opened(&mut self, slot: usize, links: &mut Links) {
        self.outcome.totals.connections_opened += 1;
        self.greet(slot, links);
    }

    fn frame(&mut self, slot: usize, body: &[u8], links: &mut Links) {
        self.inbound(slot, body, links);
    }

    fn closed(&mut self, slot: usize, cause: CloseCause, _links: &mut Links) {
        let member = &mut self.members[slot];
        match std::mem::replace(&mut member.stage, Stage::Gone) {
            Stage::Active => self.account.progress.active -= 1,
            Stage::Arriving => self.arriving -= 1,
            Stage::Away | Stage::Gone => {}
        }
        if self.phase == Phase::End {
            return;
        }
        let farewell = member.farewell.take();
        let reason = cause.named(farewell.as_deref());
        self.account.second.closes.add(&reason);
        self.outcome.closes.add(&reason);
        if cause.is_of_machine() {
            self.board.fall_short();
            self.outcome.shortages.add(&cause.to_string());
        } else {
            let detail = match farewell {
                Some(farewell) => format!("{cause}; {farewell}"),
                None => cause.to_string(),
            };
            self.fault(Fault::Closed { user: self.user_index(slot), detail });
        }
        self.is_broken = true;
        if self.phase == Phase::Gather {
            self.board.give_up();
        }
    }

    fn tick(&mut self, now_ns: u64, links: &mut Links) -> Next {
        let phase = self.board.phase();
        if phase != self.phase {
            self.enter(phase, links);
        }
        if phase == Phase::End {
            self.account.close(&self.outcome.faults, self.board);
            return Next::Stop;
        }
        if !self.gaps.is_empty() {
            self.repair_gaps(now_ns, links);
        }
        if !self.retries.is_empty() {
            self.retry(now_ns, links);
        }
        if now_ns >= self.next_chores_ns {
            self.chores(now_ns, links);
        }
        let next_send_ns = match phase {
            Phase::Run => self.pace(now_ns, links),
            Phase::Gather | Phase::Drain | Phase::Read | Phase::End => u64::MAX,
        };
        Next::At(next_send_ns.min(self.next_chores_ns))
    }
}
