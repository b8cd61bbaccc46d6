//! Deadlines: what the wheel says is due, looked at in the slot.
//!
//! The one for writing asks whether the peer takes anything. That the socket takes something says it too
//! late: the kernel calls it writable when a third of what it holds is free, and it may hold 4 MiB, for
//! which a reader of 16 KB/s needs more than a minute. So while a socket is full, the wheel looks at
//! what its peer has not acknowledged, a few times in each timeout; nothing is asked when bytes are written.

use dunlin_protocol::wire::CloseReason;

use super::Shard;
use super::connection::Stage;
use super::timer_wheel::{Entry, Tick};
use crate::sys::unacknowledged_bytes;

/// How often a socket that is full is looked at in the time that a peer has to take something: who has
/// stopped is closed by so much of that time later.
const LOOKS_PER_WRITE_TIMEOUT: Tick = 4;

impl Shard {
    /// Arms the wheel for a connection's deadline, unless it will look at the slot before that
    /// anyway.
    pub(super) fn arm(&mut self, key: usize) {
        let (now, deadlines) = (self.clock.now(), &self.settings.deadlines);
        let slot = &mut self.slots[key];
        let (mut tick, _) = slot.deadline(&self.settings);
        if slot.flags.handshaking {
            // It may have to hurry by then.
            tick = tick.min(now.saturating_add(deadlines.hurried_handshake));
        }
        if slot.flags.write_blocked {
            tick = tick.min(now.saturating_add(deadlines.write.div_ceil(LOOKS_PER_WRITE_TIMEOUT)));
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
            self.see_what_is_taken(key);
            let (deadline, reason) = self.deadline(key);
            if deadline <= now { self.timed_out(key, reason) } else { self.arm(key) }
        }
        self.due = due;
    }

    /// What the kernel may have of it, and we have not read, is not missing by the fault of the peer.
    fn forgive(&mut self, key: usize) {
        let now = self.clock.now();
        let slot = &mut self.slots[key];
        if !slot.flags.readable {
            return;
        }
        // It is a sign of life, too: of a peer that asks for much and takes it slowly nothing is read for
        // long, and when it stops to take it the deadline for writing ends it.
        slot.active = now;
        if let Some(unfinished) = &mut slot.unfinished {
            unfinished.begun = now;
        }
    }

    /// What the peer of a full socket takes is progress, though the socket has no room yet.
    fn see_what_is_taken(&mut self, key: usize) {
        let now = self.clock.now();
        let slot = &mut self.slots[key];
        // Without an outbox nothing waits but the last word of the stream. A socket that does not say
        // what is under way is broken, and left to its deadline.
        if slot.flags.write_blocked
            && let Some(outbox) = &mut slot.outbox
            && let Ok(bytes) = unacknowledged_bytes(&slot.socket)
            && outbox.has_moved(bytes)
        {
            slot.progress = now;
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
