//! The users of one generator thread: sending, and the phases. How they come and come back is in
//! `connecting`, what time demands of them in `chores`.

mod chores;
mod connecting;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dunlin_protocol::limits::REQUESTS_OUTSTANDING_MAX;
use dunlin_protocol::wire::{Frame, frame::Body};
use dunlin_protocol::{LogId, UserId, frame};

use crate::audit::content::{Contents, Stamp};
use crate::audit::{Fault, Ledger, ReadMark, SignalBook};
use crate::chat::disturbance::Turmoil;
use crate::chat::outcome::Outcome;
use crate::chat::shared::Shared;
use crate::chat::user::{Pair, Sending, Stage, User};
use crate::chat::{Action, ChatScenario, Load, MessageKind};
use crate::crowd::{self, Account, Heartbeats, Later, Newcomers, OpenLoad};
use crate::net::{CloseCause, Handler, Links, Next};
use crate::phases::{Phase, Schedule};
use crate::target::Service;

pub(crate) struct Crowd<'a> {
    pub(crate) scenario: &'a ChatScenario,
    pub(crate) shared: &'a Shared,
    pub(crate) contents: &'a Contents,
    pub(crate) run: u64,
    /// Index within the run of the user in slot 0.
    pub(crate) first: u32,
    pub(crate) users: Vec<User>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) outcome: Outcome,
    pub(crate) account: Account,
    pub(crate) phase: Phase,
    pub(crate) schedule: Schedule,
    pub(crate) epoch: u64,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) outstanding_max: usize,
    /// Connections between `connect` and `Active`.
    pub(crate) arriving: usize,
    /// Users who are to be connected again, by the time when they are.
    away: BinaryHeap<Reverse<(u64, usize)>>,
    newcomers: Newcomers,
    /// Messages to send again: slot, connection, request id.
    pub(crate) retries: Later<(usize, u32, u32)>,
    /// Who has a gap between pushes that is to be repaired.
    gaps: Later<usize>,
    open_load: OpenLoad,
    /// What befalls the users, as far as these know of it.
    pub(crate) turmoil: Turmoil,
    next_chores_ns: u64,
    phase_finished: bool,
}

impl<'a> Crowd<'a> {
    pub(crate) fn new(
        scenario: &'a ChatScenario,
        shared: &'a Shared,
        contents: &'a Contents,
        run: u64,
        users: std::ops::Range<u32>,
    ) -> Crowd<'a> {
        let pair = |index: u32| Pair {
            // The relay needs no conversation; with Dunlin it follows from the user ids.
            conversation: [0; 16],
            ledger: Ledger::new([0, 1].map(|side| users.start + 2 * index + side), 2),
            signals: [SignalBook::default(); 2],
            marks: [ReadMark::default(); 2],
        };
        let senders = scenario.senders_of(users.start / 2..users.end / 2);
        let newcomers = Newcomers::new(users.len(), scenario.users, scenario.connects_per_second);
        Crowd {
            scenario,
            shared,
            contents,
            run,
            first: users.start,
            users: users.clone().map(|_| User::new()).collect(),
            pairs: (0..(users.end - users.start) / 2).map(pair).collect(),
            turmoil: Turmoil::new(scenario, users),
            outcome: Outcome::default(),
            account: Account::default(),
            phase: Phase::Gather,
            schedule: shared.schedule(),
            epoch: 0,
            heartbeats: Heartbeats::new(&scenario.target.service),
            outstanding_max: REQUESTS_OUTSTANDING_MAX as usize,
            arriving: 0,
            away: BinaryHeap::new(),
            newcomers,
            retries: Later::default(),
            gaps: Later::default(),
            open_load: OpenLoad::new(&scenario.load, scenario.warm_up, &senders),
            next_chores_ns: 0,
            phase_finished: false,
        }
    }

    /// Index within the run of the user in a slot.
    pub(crate) fn user_index(&self, slot: usize) -> u32 {
        self.first + slot as u32
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.outcome.faults.add(fault);
    }

    /// Writes a frame that is not one of the busy ones.
    pub(crate) fn put(&mut self, slot: usize, request_id: u64, body: Body, links: &mut Links) {
        self.users[slot].last_written_ns = links.now_ns();
        if let Some(outbox) = links.outbox(slot) {
            frame::encode_into(&Frame { request_id, body: Some(body) }, outbox);
        }
    }

    /// Both of a pair are logged in: their conversation has a name.
    pub(crate) fn name_conversation(&mut self, pair: usize) {
        let id = |slot: usize| UserId::new(self.users[slot].user_id);
        if let (Ok(one), Ok(other)) = (id(2 * pair), id(2 * pair + 1)) {
            self.pairs[pair].conversation = *LogId::direct(one, other).as_bytes();
        }
    }

    pub(crate) fn become_active(&mut self, slot: usize, links: &mut Links) {
        let user = &mut self.users[slot];
        user.stage = Stage::Active;
        user.failures = 0;
        self.arriving -= 1;
        self.account.progress.active += 1;
        self.note_arrival(slot, links);
        self.transmit(slot, links);
        match self.phase {
            Phase::Run => self.fill(slot, links),
            Phase::Read => self.read_on(slot, links),
            Phase::Gather | Phase::Drain | Phase::End => {}
        }
    }

    // ---------------------------------------------------------------- sending

    /// A new message or request of this user, to be sent as soon as the user may.
    pub(crate) fn enqueue(&mut self, slot: usize, intended_ns: u64, links: &mut Links) {
        let index = self.user_index(slot);
        let (pair, user) = (&mut self.pairs[slot / 2], &mut self.users[slot]);
        let key = u64::from(index) << 32 | u64::from(user.enqueued);
        let action = *self.scenario.message.choose(key);
        user.enqueued += 1;
        let (counter, about_seq) = match action {
            Action::Message(MessageKind::Durable) => (pair.ledger.sent(slot % 2), 0),
            Action::Message(MessageKind::Signal | MessageKind::QuietSignal) => {
                (pair.signals[slot % 2].sent(), 0)
            }
            Action::Request(kind) => match pair.asks_about(slot % 2, kind) {
                Some(seq) => (user.enqueued, seq),
                None => return self.outcome.totals.left_out += 1,
            },
        };
        let is_next = user.queue.len() == user.in_flight;
        user.queue.push_back(Sending { action, counter, intended_ns, about_seq });
        if is_next && user.stage == Stage::Active && user.in_flight < self.outstanding_max {
            // Nobody but the harness can be to blame for what has passed since.
            let now_ns = links.now_ns();
            if self.is_measured(intended_ns) {
                self.outcome.lateness.record(now_ns.saturating_sub(intended_ns));
            }
        }
        match action {
            Action::Message(_) => {
                self.account.progress.sent += 1;
                self.outcome.totals.sent += 1;
            }
            Action::Request(_) => self.outcome.totals.requested += 1,
        }
        self.transmit(slot, links);
    }

    /// Keeps a user of a closed load at its number of outstanding messages.
    pub(crate) fn fill(&mut self, slot: usize, links: &mut Links) {
        let Load::Closed { outstanding } = self.scenario.load else {
            return;
        };
        if self.scenario.senders(self.user_index(slot) / 2..self.user_index(slot) / 2 + 1) == 0 {
            return;
        }
        while self.phase == Phase::Run && self.users[slot].queue.len() < outstanding as usize {
            self.enqueue(slot, links.now_ns(), links);
        }
    }

    /// Hands over what waits, as far as the user may send.
    pub(crate) fn transmit(&mut self, slot: usize, links: &mut Links) {
        loop {
            let user = &self.users[slot];
            let may = user.stage == Stage::Active && user.in_flight < self.outstanding_max;
            let Some(&sending) = user.queue.get(user.in_flight).filter(|_| may) else {
                return;
            };
            self.put_sending(slot, sending, links);
            self.users[slot].in_flight += 1;
        }
    }

    pub(crate) fn put_sending(&mut self, slot: usize, sending: Sending, links: &mut Links) {
        match sending.action {
            Action::Message(kind) => self.put_message(slot, kind, sending, links),
            Action::Request(kind) => self.put_request(slot, kind, sending, links),
        }
    }

    fn put_message(&mut self, slot: usize, kind: MessageKind, sending: Sending, links: &mut Links) {
        let user = &mut self.users[slot];
        user.last_written_ns = sending.intended_ns;
        let Some(outbox) = links.outbox(slot) else {
            return;
        };
        let stamp = Stamp {
            sender: self.first + slot as u32,
            counter: sending.counter,
            intended_ns: sending.intended_ns,
        };
        let conversation = &self.pairs[slot / 2].conversation;
        let request_id = u64::from(sending.request_id());
        kind.put(outbox, request_id, conversation, stamp, self.contents);
    }

    pub(crate) fn is_measured(&self, intended_ns: u64) -> bool {
        self.schedule.measures(intended_ns)
    }

    /// Sends what is due by now; returns when the next message is.
    fn pace(&mut self, now_ns: u64, links: &mut Links) -> u64 {
        loop {
            match self.open_load.next(now_ns, &self.schedule) {
                crowd::Next::Wait { until_ns } => return until_ns,
                crowd::Next::Send { sender, at_ns } if self.writes(sender) => {
                    self.enqueue(sender, at_ns, links);
                }
                crowd::Next::Send { .. } => {}
            }
        }
    }

    // ---------------------------------------------------------------- phases

    fn enter(&mut self, phase: Phase, links: &mut Links) {
        self.phase = phase;
        self.phase_finished = false;
        self.schedule = self.shared.schedule();
        if phase == Phase::Drain {
            self.end_disturbance(links);
        }
        for slot in 0..self.users.len() {
            match (phase, self.users[slot].stage) {
                (Phase::Run, Stage::Active) => self.fill(slot, links),
                (Phase::Read, Stage::Active) => self.read_on(slot, links),
                _ => {}
            }
        }
    }

    fn is_phase_finished(&self, now_ns: u64) -> bool {
        match self.phase {
            Phase::Gather | Phase::End => false,
            Phase::Run => self.open_load.is_over(now_ns, &self.schedule),
            Phase::Drain => {
                self.users.iter().all(|user| user.queue.is_empty() && !user.repairing)
                    && self.pairs.iter().all(|pair| self.is_settled(pair))
            }
            Phase::Read => self.users.iter().all(|user| user.has_read),
        }
    }

    fn is_settled(&self, pair: &Pair) -> bool {
        if self.scenario.has_durable() {
            // Signals of a mix may be dropped, and are not waited for.
            return pair.ledger.told_up_to(0) == pair.ledger.told_up_to(1);
        }
        pair.signals.iter().all(|book| book.missing() == 0)
    }

    /// Brings the books to their end; `self` has no other use afterwards.
    pub(crate) fn finish(mut self) -> Outcome {
        for (index, pair) in self.pairs.iter().enumerate() {
            let slots = [2 * index, 2 * index + 1];
            let missing = pair.signals.iter().map(|book| u64::from(book.missing()));
            self.outcome.totals.signals_missing += missing.sum::<u64>();
            for slot in slots {
                let user = &self.users[slot];
                let unsent = user.queue.len() - user.in_flight;
                self.outcome.totals.unsent_at_end += unsent as u64;
                let requests = user.unanswered_requests();
                if requests > 0 {
                    let user = self.first + slot as u32;
                    self.outcome.faults.add(Fault::Unanswered { user, requests });
                }
            }
            if !self.scenario.has_durable() {
                continue;
            }
            if slots.iter().all(|&slot| self.users[slot].has_read) {
                pair.ledger.finish(&mut self.outcome.faults);
            } else if self.shared.has_run() && !self.shared.is_short() {
                let user = self.first + slots[0] as u32;
                let detail = "the log of its conversation could not be read".to_owned();
                self.outcome.faults.add(Fault::Protocol { user, detail });
            }
        }
        self.outcome.totals.acknowledged = self.account.progress.acknowledged;
        self.outcome.totals.answered = self.account.progress.answered;
        self.outcome.totals.delivered = self.account.progress.delivered;
        self.outcome.disturbance = self.turmoil.into_tally();
        self.outcome
    }
}

impl Handler for Crowd<'_> {
    fn opened(&mut self, slot: usize, links: &mut Links) {
        self.outcome.totals.connections_opened += 1;
        match &self.scenario.target.service {
            Service::Dunlin(_) | Service::Holder => self.greet(slot, links),
            Service::Relay => {
                let pair = u64::from(self.user_index(slot) / 2);
                if let Some(outbox) = links.outbox(slot) {
                    outbox.extend_from_slice(&8u32.to_be_bytes());
                    outbox.extend_from_slice(&pair.to_be_bytes());
                }
                self.become_active(slot, links);
            }
        }
    }

    fn frame(&mut self, slot: usize, body: &[u8], links: &mut Links) {
        self.inbound(slot, body, links);
    }

    fn closed(&mut self, slot: usize, cause: CloseCause, links: &mut Links) {
        if self.phase == Phase::End {
            return;
        }
        self.outcome.totals.connections_lost += 1;
        let farewell = self.users[slot].farewell.take();
        let garbage = matches!(cause, CloseCause::Frame(_));
        let reason = cause.named(farewell.as_deref());
        self.note_close(slot, &reason);
        self.account.second.closes.add(&reason);
        self.outcome.closes.add(&reason);
        if cause.is_of_machine() {
            self.shared.fall_short();
            self.outcome.shortages.add(&cause.to_string());
        } else if garbage || !self.may_be_closed(slot) {
            let mut detail = cause.to_string();
            if let Some(farewell) = farewell {
                detail = format!("{detail}; {farewell}");
            }
            self.fault(Fault::Closed { user: self.user_index(slot), detail });
        }
        self.went_away(slot, links);
    }

    fn tick(&mut self, now_ns: u64, links: &mut Links) -> Next {
        let phase = self.shared.phase();
        if phase != self.phase {
            self.enter(phase, links);
        }
        if phase == Phase::End {
            self.account.close(&self.outcome.faults, self.shared);
            return Next::Stop;
        }
        if !self.gaps.is_empty() {
            self.repair_gaps(now_ns, links);
        }
        if !self.retries.is_empty() {
            self.retry(now_ns, links);
        }
        if now_ns >= self.next_return_ns() {
            self.connect_some(now_ns, links);
        }
        if now_ns >= self.next_chores_ns {
            self.chores(now_ns, links);
            if !self.phase_finished && self.is_phase_finished(now_ns) {
                self.phase_finished = true;
                self.shared.finish(phase);
            }
        }
        let next_send_ns = match phase {
            Phase::Run => self.pace(now_ns, links).min(self.disturb(now_ns, links)),
            Phase::Gather | Phase::Drain | Phase::Read | Phase::End => u64::MAX,
        };
        Next::At(next_send_ns.min(self.next_chores_ns).min(self.next_return_ns()))
    }
}
