//! How users come, go, and come back.

use std::cmp::Reverse;
use std::time::Duration;

use super::Crowd;
use crate::chat::disturbance::Turmoil;
use crate::chat::user::Stage;
use crate::crowd::ARRIVING_MAX;
use crate::net::Links;
use crate::phases::Phase;

/// The wait after a failed connection, doubled with each failure up to the maximum.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

impl Crowd<'_> {
    pub(super) fn connect_some(&mut self, now_ns: u64, links: &mut Links) {
        while self.arriving < self.arriving_max()
            && let Some(slot) = self.newcomers.due(now_ns)
        {
            self.connect(slot, links);
        }
        while self.arriving < self.arriving_max()
            && let Some(&Reverse((at_ns, slot))) = self.away.peek()
            && at_ns <= now_ns
        {
            self.away.pop();
            self.connect(slot, links);
        }
    }

    /// When the next user may be connected again.
    pub(super) fn next_return_ns(&self) -> u64 {
        let next = self.away.peek().filter(|_| self.arriving < self.arriving_max());
        next.map_or(u64::MAX, |Reverse((at_ns, _))| *at_ns)
    }

    fn connect(&mut self, slot: usize, links: &mut Links) {
        self.arriving += 1;
        self.users[slot].stage = Stage::Connecting;
        self.note_attempt(slot, links);
        links.connect(slot);
    }

    /// After the connection of a user ended, in whatever way.
    pub(crate) fn went_away(&mut self, slot: usize, links: &Links) {
        if self.users[slot].stage == Stage::Away {
            return;
        }
        self.leave(slot);
        let heeds_delay = self.heeds_delay();
        let user = &mut self.users[slot];
        user.failures += 1;
        let backoff = RECONNECT_MIN * 2u32.saturating_pow(user.failures.min(10) - 1);
        let told_ms = std::mem::take(&mut user.reconnect_delay_ms);
        let told = Duration::from_millis(if heeds_delay { u64::from(told_ms) } else { 0 });
        // Spread by up to a half, so that not everybody comes back at one moment.
        let spread = 256 + (slot as u32).wrapping_mul(0x9e37_79b9) % 256;
        let wait = backoff.min(RECONNECT_MAX).max(told) * spread / 512;
        self.come_back(slot, links.now_ns() + wait.as_nanos() as u64);
    }

    /// This user will be connected at that time, or as soon after it as may be.
    pub(crate) fn come_back(&mut self, slot: usize, at_ns: u64) {
        self.away.push(Reverse((at_ns, slot)));
    }

    /// Nobody waits any longer before being connected again.
    pub(crate) fn come_back_now(&mut self, now_ns: u64) {
        let away = std::mem::take(&mut self.away).into_iter();
        self.away = away.map(|Reverse((at_ns, slot))| Reverse((at_ns.min(now_ns), slot))).collect();
    }

    /// Takes the end of a connection to the books.
    pub(crate) fn leave(&mut self, slot: usize) {
        let user = &mut self.users[slot];
        match user.stage {
            Stage::Away => {}
            Stage::Active => self.account.progress.active -= 1,
            Stage::Connecting | Stage::LoggingIn | Stage::Waiting | Stage::Syncing => {
                self.arriving -= 1;
            }
        }
        self.outcome.totals.resent += user.disconnected() as u64;
        self.pairs[slot / 2].signals[slot % 2].connected();
    }

    /// Connections that may be on their way at a time.
    fn arriving_max(&self) -> usize {
        match &self.turmoil {
            // Those who were never here wait for each other, so a few places could all be taken.
            _ if self.phase == Phase::Gather => ARRIVING_MAX,
            Turmoil::Nothing | Turmoil::Slow(_) | Turmoil::Churn(_) => ARRIVING_MAX,
            Turmoil::Storm(troop) => troop.arriving_max(),
        }
    }
}
