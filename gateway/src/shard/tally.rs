//! What a shard has counted and the node does not know of yet: counters of the node are shared by
//! its shards, and are touched once in a tick.

use std::sync::atomic::Ordering;

use super::counters::Counters;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tally {
    frames_in: u64,
    /// Change of the bytes in outboxes.
    outbox_difference: isize,
}

impl Tally {
    pub(super) fn frame(&mut self) {
        self.frames_in += 1;
    }

    /// An outbox holds so many bytes, and held so many.
    pub(super) fn outbox_changed(&mut self, before: usize, after: usize) {
        self.outbox_difference += after.cast_signed() - before.cast_signed();
    }

    /// Adds it to what the node counts.
    pub(super) fn report(&mut self, counters: &Counters) {
        let Tally { frames_in, outbox_difference } = std::mem::take(self);
        if frames_in != 0 {
            counters.frames_in.fetch_add(frames_in, Ordering::Relaxed);
        }
        if outbox_difference != 0 {
            counters.change_outbox_bytes(outbox_difference);
        }
    }

    /// Whether the node knows everything.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_reported(&self) -> bool {
        self.frames_in == 0 && self.outbox_difference == 0
    }
}
