//! When the machine wants to be called, and what it does then.

use super::Machine;
use super::connection::Phase;
use super::event::Lost;
use super::liveness::Pulse;

impl Machine {
    /// When [`Machine::handle_timeout`] wants to be called; earlier does no harm.
    pub fn next_deadline(&self) -> Option<u64> {
        let liveness = &self.attachment.liveness;
        let pulse = liveness.deadline_ms(self.pending.oldest_ms());
        match &self.phase {
            Phase::Idle | Phase::Connecting | Phase::Stopped | Phase::Closed => None,
            Phase::Waiting { until_ms } => Some(*until_ms),
            Phase::LoggingIn { deadline_ms } => Some(*deadline_ms),
            Phase::Leaving { deadline_ms, .. } => Some((*deadline_ms).min(pulse)),
            Phase::Syncing | Phase::Live => Some(pulse.min(self.due_ms().unwrap_or(u64::MAX))),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        match &self.phase {
            Phase::Idle | Phase::Connecting | Phase::Stopped | Phase::Closed => {}
            Phase::Waiting { until_ms } if now_ms >= *until_ms => self.connect(),
            Phase::Waiting { .. } => {}
            Phase::LoggingIn { deadline_ms } => {
                if now_ms >= *deadline_ms {
                    self.lose(now_ms, Lost::Silent, 0);
                }
            }
            Phase::Leaving { deadline_ms, .. } if now_ms >= *deadline_ms => self.leave(now_ms),
            Phase::Syncing | Phase::Live | Phase::Leaving { .. } => self.check_pulse(now_ms),
        }
        self.transmit(now_ms);
    }

    fn check_pulse(&mut self, now_ms: u64) {
        let asked_ms = self.pending.oldest_ms();
        match self.attachment.liveness.check(now_ms, asked_ms) {
            Pulse::Fine => {}
            Pulse::Beat => self.send_heartbeat(now_ms),
            Pulse::Dead => self.lose(now_ms, Lost::Silent, 0),
        }
    }

    /// When something wants to be sent that can't be sent yet. What waits for an answer instead of
    /// a time does not count: nobody should be woken for it.
    fn due_ms(&self) -> Option<u64> {
        if !self.pending.has_room() {
            return None;
        }
        let sync = self.sync.deadline_ms();
        if !self.is_live() {
            return sync;
        }
        let others = [
            sync,
            self.jobs.deadline_ms(),
            self.outbox.deadline_ms(),
            self.attachment.login.renewal_ms(),
            self.logs.deadline_ms().filter(|_| self.may_repair()),
        ];
        others.into_iter().flatten().min()
    }
}
