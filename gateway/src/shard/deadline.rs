//! Deadlines: what the wheel says is due, looked at in the slot.

use dunlin_protocol::wire::CloseReason;

use super::Shard;
use super::connection::Stage;
use super::timer_wheel::{Entry, Tick};

impl Shard {
    /// Arms the wheel for a connection's deadline, unless it will look at the slot before that
    /// anyway.
    pub(super) fn arm(&mut self, key: usize) {
        let next_look = self.clock.now().saturating_add(self.settings.deadlines.hurried_handshake);
        let slot = &mut self.slots[key];
        let (mut tick, _) = slot.deadline(&self.settings);
        if slot.flags.handshaking {
            // It may have to hurry by then.
            tick = tick.min(next_look);
        }
        if slot.armed == 0 || tick < slot.armed {
            let entry = Entry { slot: key as u32, generation: slot.generation, tick };
            slot.armed = self.wheel.arm(entry);
        }
    }

    /// Closes what has waited too long.
    pub(super) fn expire(&mut self) {
        let now = self.clock.now();
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now, &mut due);
        for entry in due.drain(..) {
            let key = entry.slot as usize;
            let Some(slot) = self.slots.get_mut(key) else { continue };
            // Other generations are gone; another tick means that a nearer entry took its place.
            if slot.generation != entry.generation || slot.armed != entry.tick {
                continue;
            }
            slot.armed = 0;
            self.forgive(key);
            let (deadline, reason) = self.deadline(key);
            if deadline <= now { self.timed_out(key, reason) } else { self.arm(key) }
        }
        self.due = due;
    }

    /// What the kernel may have of it, and we have not read, is not missing by the fault of the peer.
    fn forgive(&mut self, key: usize) {
        let now = self.clock.now();
        let slot = &mut self.slots[key];
        if slot.flags.readable
            && let Some(unfinished) = &mut slot.unfinished
        {
            unfinished.begun = now;
        }
    }

    /// The deadline of a connection, or an earlier one of a handshake that keeps others out: all that
    /// may be under way are a second of work for one processor, so it is the peer that is slower.
    fn deadline(&self, key: usize) -> (Tick, CloseReason) {
        let slot = &self.slots[key];
        let (deadline, reason) = slot.deadline(&self.settings);
        let handshakes_max = self.settings.limits.handshakes_max;
        let admission = &self.node.admission;
        if slot.flags.handshaking && admission.handshakes_are_hurried(handshakes_max) {
            let hurried = slot.opened.saturating_add(self.settings.deadlines.hurried_handshake);
            return (deadline.min(hurried), reason);
        }
        (deadline, reason)
    }

    fn timed_out(&mut self, key: usize, reason: CloseReason) {
        match (self.slots[key].stage, reason) {
            (Stage::Open, CloseReason::WriteTimeout) => self.end(key, reason),
            (Stage::Open, _) => self.close(key, reason, 0),
            // It had its time to read the Close frame.
            (Stage::Closing(_) | Stage::Lingering(_), _) => self.end(key, reason),
        }
    }
}
