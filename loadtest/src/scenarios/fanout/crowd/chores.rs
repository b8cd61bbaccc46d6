//! What time demands: connections to make, gaps that stand too long, requests that were put off,
//! heartbeats, progress.

use super::Crowd;
use crate::crowd::{ARRIVING_MAX, CHORES_INTERVAL, GAP_PATIENCE, HEARTBEAT};
use crate::fanout::people::Stage;
use crate::fanout::shape::Seat;
use crate::net::Links;

impl Crowd<'_> {
    fn connect_some(&mut self, now_ns: u64, links: &mut Links) {
        while self.arriving < ARRIVING_MAX
            && let Some(slot) = self.newcomers.due(now_ns)
        {
            self.members[slot].stage = Stage::Arriving;
            self.arriving += 1;
            links.connect(slot);
        }
    }

    /// Puts a device on the list of gaps if pushes left one.
    pub(crate) fn note_gap(
        &mut self,
        slot: usize,
        conversation: usize,
        device: usize,
        now_ns: u64,
    ) {
        let (_, has_gap) = self.conversations[conversation].ledger.lacks(device + 1);
        if has_gap && !self.members[slot].gap_noted {
            self.members[slot].gap_noted = true;
            self.gaps.put(now_ns + GAP_PATIENCE.as_nanos() as u64, slot);
        }
    }

    pub(super) fn repair_gaps(&mut self, now_ns: u64, links: &mut Links) {
        let mut gaps = std::mem::take(&mut self.gaps);
        // Most are closed before their time comes, and the next one is to have all of its own.
        let taken = gaps.take_or(now_ns, |&slot| self.gap(slot).is_none());
        self.gaps = gaps;
        for slot in taken {
            self.members[slot].gap_noted = false;
            if let Some((conversation, device)) = self.gap(slot) {
                self.outcome.totals.gaps_repaired += 1;
                self.repair(slot, conversation, device, links);
            }
        }
    }

    /// Who a device is, if pushes left a gap.
    fn gap(&self, slot: usize) -> Option<(usize, usize)> {
        match self.shape.seat(slot) {
            Seat::Reader { conversation, device } => {
                let (_, has_gap) = self.conversations[conversation].ledger.lacks(device + 1);
                has_gap.then_some((conversation, device))
            }
            Seat::Writer { .. } => None,
        }
    }

    pub(super) fn retry(&mut self, now_ns: u64, links: &mut Links) {
        for (slot, request_id) in self.retries.take(now_ns) {
            self.ask_again(slot, request_id, links);
        }
    }

    pub(super) fn chores(&mut self, now_ns: u64, links: &mut Links) {
        self.next_chores_ns = now_ns + CHORES_INTERVAL.as_nanos() as u64;
        self.account.tell(now_ns, &self.outcome.faults, self.board);
        self.schedule = self.board.schedule(); // The window may have been cut short.
        self.connect_some(now_ns, links);
        if let Some(silent_since_ns) = self.heartbeats.silent_since(now_ns) {
            self.heartbeat(silent_since_ns, now_ns, links);
        }
        if !self.phase_finished && self.is_phase_finished(now_ns) {
            self.phase_finished = true;
            self.board.finish(self.phase);
        }
    }

    fn heartbeat(&mut self, silent_since_ns: u64, now_ns: u64, links: &mut Links) {
        for (slot, member) in self.members.iter_mut().enumerate() {
            if member.stage == Stage::Active
                && member.last_written_ns < silent_since_ns
                && let Some(outbox) = links.outbox(slot)
            {
                outbox.extend_from_slice(&HEARTBEAT);
                member.last_written_ns = now_ns;
            }
        }
    }
}
