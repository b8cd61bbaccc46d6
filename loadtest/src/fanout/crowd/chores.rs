//! What time demands: connections to make, gaps that stand too long, requests that were put off,
//! heartbeats, progress.

use std::time::Duration;

use super::Crowd;
use crate::fanout::people::Stage;
use crate::fanout::shape::Seat;
use crate::net::Links;
use crate::target::Service;

/// Connections of one thread that may be on their way to being logged in: more would only wait in
/// the server's backlog, and their time-outs would run.
const ARRIVING_MAX: usize = 512;

/// How long a gap between pushes may stand before the missing entries are fetched: pushes may
/// overtake each other by a little.
const GAP_PATIENCE: Duration = Duration::from_millis(100);

/// How often connections, heartbeats and progress are looked after.
const CHORES_INTERVAL: Duration = Duration::from_millis(10);
const HEARTBEAT_LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl Crowd<'_> {
    fn connect_some(&mut self, now_ns: u64, links: &mut Links) {
        let share =
            self.members.len() as f64 / f64::from(self.scenario.senders * self.shape.connections());
        let per_second = f64::from(self.scenario.connects_per_second) * share;
        let allowed = 2 + (now_ns as f64 * per_second / 1e9) as usize;
        while self.connects < self.members.len().min(allowed) && self.arriving < ARRIVING_MAX {
            self.members[self.connects].stage = Stage::Arriving;
            self.arriving += 1;
            links.connect(self.connects);
            self.connects += 1;
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
        let (_, has_gap) = self.conversations[conversation].ledger.lacks(device);
        if has_gap && !self.members[slot].gap_noted {
            self.members[slot].gap_noted = true;
            self.gaps.push((now_ns + GAP_PATIENCE.as_nanos() as u64, slot));
        }
    }

    pub(super) fn repair_gaps(&mut self, now_ns: u64, links: &mut Links) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.gaps).into_iter().partition(|&(due_ns, _)| due_ns <= now_ns);
        self.gaps = later;
        for (_, slot) in due {
            self.members[slot].gap_noted = false;
            if let Seat::Reader { conversation, device } = self.shape.seat(slot)
                && self.conversations[conversation].ledger.lacks(device).1
            {
                self.outcome.totals.gaps_repaired += 1;
                self.repair(slot, conversation, device, links);
            }
        }
    }

    pub(super) fn retry(&mut self, now_ns: u64, links: &mut Links) {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.retries)
            .into_iter()
            .partition(|&(due_ns, ..)| due_ns <= now_ns);
        self.retries = later;
        for (_, slot, request_id) in due {
            self.ask_again(slot, request_id, links);
        }
    }

    pub(super) fn chores(&mut self, now_ns: u64, links: &mut Links) {
        self.next_chores_ns = now_ns + CHORES_INTERVAL.as_nanos() as u64;
        self.progress.errors = self.outcome.faults.counts().values().sum();
        self.board.publish(self.published, self.progress);
        self.published = self.progress;
        self.connect_some(now_ns, links);
        if now_ns >= self.next_heartbeats_ns {
            self.next_heartbeats_ns = now_ns + HEARTBEAT_LOOK_INTERVAL.as_nanos() as u64;
            self.heartbeat(now_ns, links);
        }
        if !self.phase_finished && self.is_phase_finished(now_ns) {
            self.phase_finished = true;
            self.board.finish(self.phase);
        }
    }

    fn heartbeat(&mut self, now_ns: u64, links: &mut Links) {
        if matches!(self.scenario.target.service, Service::Relay) {
            return;
        }
        // Half of what the server asks for, since this looks only once a second.
        let silence_ns = u64::from(self.heartbeat_interval_ms) * 1_000_000 / 2;
        for (slot, member) in self.members.iter_mut().enumerate() {
            if member.stage == Stage::Active
                && now_ns.saturating_sub(member.last_written_ns) > silence_ns
                && let Some(outbox) = links.outbox(slot)
            {
                outbox.extend_from_slice(&[0; 4]);
                member.last_written_ns = now_ns;
            }
        }
    }
}
