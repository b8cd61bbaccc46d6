//! What time demands: gaps that stand too long, messages that were put off, heartbeats, progress.

use super::Crowd;
use crate::chat::user::{Pair, Stage};
use crate::crowd::{CHORES_INTERVAL, GAP_PATIENCE, HEARTBEAT};
use crate::net::Links;

impl Crowd<'_> {
    pub(super) fn repair_gaps(&mut self, now_ns: u64, links: &mut Links) {
        let has_gap = |pairs: &[Pair], slot: usize| pairs[slot / 2].ledger.lacks(slot % 2).1;
        // Most are closed before their time comes, and the next one is to have all of its own.
        for slot in self.gaps.take_or(now_ns, |&slot| !has_gap(&self.pairs, slot)) {
            self.users[slot].gap_noted = false;
            if has_gap(&self.pairs, slot) && self.users[slot].stage == Stage::Active {
                self.outcome.totals.gaps_repaired += 1;
                self.repair(slot, links);
            }
        }
    }

    /// Puts a user on the list of gaps if pushes left one.
    pub(crate) fn note_gap(&mut self, slot: usize, links: &Links) {
        let (_, has_gap) = self.pairs[slot / 2].ledger.lacks(slot % 2);
        if has_gap && !self.users[slot].gap_noted {
            self.users[slot].gap_noted = true;
            self.gaps.put(links.now_ns() + GAP_PATIENCE.as_nanos() as u64, slot);
        }
    }

    pub(super) fn retry(&mut self, now_ns: u64, links: &mut Links) {
        for (slot, connection, request_id) in self.retries.take(now_ns) {
            let user = &self.users[slot];
            let sending = user.under_way(request_id);
            // A new connection has sent everything again already.
            if let Some(sending) = sending.filter(|_| user.connection == connection) {
                self.outcome.totals.resent += 1;
                self.put_sending(slot, sending, links);
            }
        }
    }

    pub(super) fn chores(&mut self, now_ns: u64, links: &mut Links) {
        self.next_chores_ns = now_ns + CHORES_INTERVAL.as_nanos() as u64;
        self.account.tell(now_ns, &self.outcome.faults, self.shared);
        self.schedule = self.shared.schedule(); // The window may have been cut short.
        self.connect_some(now_ns, links);
        if let Some(silent_since_ns) = self.heartbeats.silent_since(now_ns) {
            self.heartbeat(silent_since_ns, now_ns, links);
        }
    }

    fn heartbeat(&mut self, silent_since_ns: u64, now_ns: u64, links: &mut Links) {
        for (slot, user) in self.users.iter_mut().enumerate() {
            if matches!(user.stage, Stage::Waiting | Stage::Active)
                && user.last_written_ns < silent_since_ns
                && let Some(outbox) = links.outbox(slot)
            {
                outbox.extend_from_slice(&HEARTBEAT);
                user.last_written_ns = now_ns;
            }
        }
    }
}
