//! What the event loop tells a crowd, and what time demands: phases, retries, gaps that stand too long,
//! heartbeats, progress.

use crate::audit::Fault;
use crate::crowd::member::Member;
use crate::crowd::state::Crowd;
use crate::crowd::{
    CHORES_INTERVAL, Departure, FORSAKEN_PATIENCE, HEARTBEAT, Scenario, Scene, Turmoil,
};
use crate::net::{CloseCause, Handler, Links, Next};
use crate::phases::Phase;

impl<S: Scenario> Handler for Crowd<'_, S> {
    fn opened(&mut self, slot: usize, links: &mut Links) {
        self.outcome.totals.connections_opened += 1;
        self.greet(slot, links);
    }

    fn frame(&mut self, slot: usize, body: &[u8], links: &mut Links) {
        self.inbound(slot, body, links);
    }

    fn closed(&mut self, slot: usize, cause: CloseCause, links: &mut Links) {
        if self.phase == Phase::End {
            return;
        }
        self.outcome.totals.connections_lost += 1;
        let farewell = self.members[slot].farewell.take();
        let garbage = matches!(cause, CloseCause::Frame(_));
        let reason = cause.named(farewell.as_deref());
        self.turmoil.closed(slot, &reason);
        self.account.second.closes.add(&reason);
        self.outcome.closes.add(&reason);
        if cause.is_of_machine() {
            self.setup.board.fall_short();
            self.outcome.shortages.add(&cause.to_string());
        } else if garbage || !self.may_be_closed(slot) {
            let detail = match farewell {
                Some(farewell) => format!("{cause}; {farewell}"),
                None => cause.to_string(),
            };
            self.fault(Fault::Closed { user: self.user_index(slot), detail });
        }
        if self.phase == Phase::Gather && self.setup.terms.gathers_at_once {
            self.setup.board.give_up();
        }
        self.went_away(slot, links);
    }

    fn tick(&mut self, now_ns: u64, links: &mut Links) -> Next {
        let phase = self.setup.board.phase();
        if phase != self.phase {
            self.enter(phase, links);
        }
        if phase == Phase::End {
            self.account.close(&self.outcome.faults, self.setup.board);
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
        }
        let next_send_ns = match phase {
            Phase::Run => self.pace(now_ns, links).min(self.disturb(now_ns, links)),
            Phase::Gather | Phase::Drain | Phase::Read | Phase::End => u64::MAX,
        };
        Next::At(next_send_ns.min(self.next_chores_ns).min(self.next_return_ns()))
    }
}

impl<S: Scenario> Crowd<'_, S> {
    fn may_be_closed(&self, slot: usize) -> bool {
        self.setup.terms.reconnect || self.turmoil.may_be_closed(slot)
    }

    fn retry(&mut self, now_ns: u64, links: &mut Links) {
        for retry in self.retries.take(now_ns) {
            let member = &self.members[retry.slot];
            let sending = member.under_way(retry.request_id);
            // A new connection has sent everything again already.
            if let Some(sending) = sending.filter(|_| member.connection == retry.connection) {
                self.outcome.totals.resent += 1;
                self.put_sending(retry.slot, sending, links);
            }
        }
    }

    fn chores(&mut self, now_ns: u64, links: &mut Links) {
        let board = self.setup.board;
        self.next_chores_ns = now_ns + CHORES_INTERVAL.as_nanos() as u64;
        self.account.tell(now_ns, &self.outcome.faults, board);
        self.schedule = board.schedule(); // The window may have been cut short.
        self.connect_some(now_ns, links);
        if let Some(silent_since_ns) = self.heartbeats.silent_since(now_ns) {
            self.heartbeat(silent_since_ns, now_ns, links);
        }
        self.note_forsaken(now_ns);
        if !self.phase_finished && self.is_phase_finished(now_ns) {
            self.phase_finished = true;
            board.finish(self.phase);
        }
    }

    fn heartbeat(&mut self, silent_since_ns: u64, now_ns: u64, links: &mut Links) {
        for (slot, member) in self.members.iter_mut().enumerate() {
            if member.is_active()
                && member.last_written_ns < silent_since_ns
                && let Some(outbox) = links.outbox(slot)
            {
                outbox.extend_from_slice(&HEARTBEAT);
                member.last_written_ns = now_ns;
            }
        }
    }

    /// What befalls the connections; returns when more may.
    fn disturb(&mut self, now_ns: u64, links: &mut Links) -> u64 {
        let mut departures = std::mem::take(&mut self.departures);
        let scene = Scene { now_ns, schedule: &self.schedule, members: &self.members };
        let next_ns = self.turmoil.act(&scene, self.setup.aside, links, &mut departures);
        for Departure { slot, is_reset, back_ns } in departures.drain(..) {
            if is_reset {
                links.reset(slot);
            } else {
                links.close(slot);
            }
            self.leave(slot, links);
            self.comings.come_back(slot, back_ns);
        }
        self.departures = departures;
        next_ns
    }

    fn enter(&mut self, phase: Phase, links: &mut Links) {
        self.phase = phase;
        self.phase_finished = false;
        self.forsaken_since_ns = None;
        self.schedule = self.setup.board.schedule();
        if phase == Phase::Drain && self.turmoil.end(links.now_ns(), links) {
            self.comings.come_back_now(links.now_ns());
        }
        for slot in 0..self.members.len() {
            let is_active = self.members[slot].is_active();
            match phase {
                Phase::Run if is_active => self.fill(slot, links),
                Phase::Read if is_active => self.read_on(slot, links),
                Phase::Gather | Phase::Run | Phase::Drain | Phase::Read | Phase::End => {}
            }
        }
    }

    fn note_forsaken(&mut self, now_ns: u64) {
        if self.account.progress.active > 0 {
            self.forsaken_since_ns = None;
        } else {
            self.forsaken_since_ns.get_or_insert(now_ns);
        }
    }

    /// The server has ended, as it seems, and is not expected to come back.
    fn is_forsaken(&self, now_ns: u64) -> bool {
        let since_ns = self.forsaken_since_ns.filter(|_| !self.setup.terms.reconnect);
        since_ns.is_some_and(|since_ns| {
            now_ns.saturating_sub(since_ns) > FORSAKEN_PATIENCE.as_nanos() as u64
        })
    }

    fn is_phase_finished(&self, now_ns: u64) -> bool {
        match self.phase {
            Phase::Gather | Phase::End => false,
            Phase::Run => self.open_load.is_over(now_ns, &self.schedule),
            Phase::Drain | Phase::Read if self.is_forsaken(now_ns) => true,
            Phase::Drain => {
                let is_home = |member: &Member| member.queue.is_empty() && member.open == 0;
                self.members.iter().all(is_home)
                    && self.conversations.iter().all(|conversation| {
                        conversation.is_settled(self.has_durable, self.waits_for_delivery)
                    })
            }
            Phase::Read => (0..self.members.len()).all(|slot| self.has_read(slot)),
        }
    }
}
