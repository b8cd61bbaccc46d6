//! What time demands: gaps that stand too long, messages that were put off, heartbeats, progress.

use std::time::Duration;

use super::Crowd;
use crate::chat::user::Stage;
use crate::net::Links;
use crate::target::Service;

/// How long a gap between pushes may stand before the missing entries are fetched: an
/// acknowledgement of one's own message that closes it may be on its way.
const GAP_PATIENCE: Duration = Duration::from_millis(100);

/// How often heartbeats and progress are looked after.
const CHORES_INTERVAL: Duration = Duration::from_millis(10);
const HEARTBEAT_LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl Crowd<'_> {
    pub(super) fn repair_gaps(&mut self, now_ns: u64, links: &mut Links) {
        let mut at = 0;
        while at < self.gaps.len() {
            let (due_ns, slot) = self.gaps[at];
            let (_, has_gap) = self.pairs[slot / 2].ledger.lacks(slot % 2);
            if has_gap && due_ns > now_ns {
                at += 1;
                continue;
            }
            self.gaps.swap_remove(at);
            self.users[slot].gap_noted = false;
            if has_gap && self.users[slot].stage == Stage::Active {
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
            self.gaps.push((links.now_ns() + GAP_PATIENCE.as_nanos() as u64, slot));
        }
    }

    pub(super) fn retry(&mut self, now_ns: u64, links: &mut Links) {
        let mut at = 0;
        while at < self.retries.len() {
            let (due_ns, slot, connection, request_id) = self.retries[at];
            if due_ns > now_ns {
                at += 1;
                continue;
            }
            self.retries.swap_remove(at);
            let user = &self.users[slot];
            let sending = user.under_way(request_id);
            // A new connection has sent everything again already.
            if let Some(sending) = sending.filter(|_| user.connection == connection) {
                self.outcome.totals.resent += 1;
                self.put_message(slot, sending, links);
            }
        }
    }

    pub(super) fn chores(&mut self, now_ns: u64, links: &mut Links) {
        self.next_chores_ns = now_ns + CHORES_INTERVAL.as_nanos() as u64;
        self.second.see_errors(self.outcome.faults.counts());
        self.progress.errors = self.outcome.faults.counts().values().sum();
        self.shared.publish(self.published, self.progress);
        self.second.hand_over_if_past(now_ns, &self.shared.seconds);
        self.published = self.progress;
        self.schedule = self.shared.schedule(); // The window may have been cut short.
        self.connect_some(now_ns, links);
        if now_ns >= self.next_heartbeats_ns {
            self.next_heartbeats_ns = now_ns + HEARTBEAT_LOOK_INTERVAL.as_nanos() as u64;
            self.heartbeat(now_ns, links);
        }
    }

    fn heartbeat(&mut self, now_ns: u64, links: &mut Links) {
        if matches!(self.scenario.target.service, Service::Relay) {
            return;
        }
        // Half of what the server asks for, since this looks only once a second.
        let silence_ns = u64::from(self.heartbeat_interval_ms) * 1_000_000 / 2;
        for (slot, user) in self.users.iter_mut().enumerate() {
            let is_silent = now_ns.saturating_sub(user.last_written_ns) > silence_ns;
            if matches!(user.stage, Stage::Waiting | Stage::Active)
                && is_silent
                && let Some(outbox) = links.outbox(slot)
            {
                outbox.extend_from_slice(&[0; 4]);
                user.last_written_ns = now_ns;
            }
        }
    }
}
