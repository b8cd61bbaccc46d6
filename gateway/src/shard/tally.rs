//! What a shard has counted and the node does not know of yet: counters of the node are shared by
//! its shards, and are touched once in a tick. How large things were is recorded for this shard
//! alone, and seen by others at once.

use std::sync::Arc;

use super::counters::{Counters, Counts, ShardHistograms};

/// See the module.
#[derive(Debug)]
pub(super) struct Tally {
    counts: Counts,
    /// Change of the bytes in outboxes.
    outbox_difference: isize,
    histograms: Arc<ShardHistograms>,
}

impl Tally {
    pub(super) fn new(counters: &Counters) -> Tally {
        let histograms = counters.add_shard();
        Tally { counts: Counts::default(), outbox_difference: 0, histograms }
    }

    /// A frame was read.
    pub(super) fn frame(&mut self) {
        self.counts.frames_in += 1;
    }

    /// So many bytes were read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.counts.bytes_in += bytes as u64;
    }

    /// So many frames were queued: none, where a signal was dropped or a push collapsed.
    pub(super) fn queued(&mut self, frames: usize) {
        self.counts.frames_out += frames as u64;
    }

    /// An outbox begins to be written.
    pub(super) fn writing(&mut self, outbox_bytes: usize) {
        if outbox_bytes > 0 {
            self.histograms.outbox_bytes.record(outbox_bytes as u64);
        }
    }

    /// So many bytes were written.
    pub(super) fn written(&mut self, bytes: usize) {
        self.counts.bytes_out += bytes as u64;
    }

    /// An outbox holds so many bytes, and held so many.
    pub(super) fn outbox_changed(&mut self, before: usize, after: usize) {
        self.outbox_difference += after.cast_signed() - before.cast_signed();
    }

    /// Adds it to what the node counts, at the end of a tick that took so long.
    pub(super) fn report(&mut self, counters: &Counters, tick_us: u64) {
        counters.add(std::mem::take(&mut self.counts));
        let outbox_difference = std::mem::take(&mut self.outbox_difference);
        if outbox_difference != 0 {
            counters.change_outbox_bytes(outbox_difference);
        }
        self.histograms.tick_us.record(tick_us);
    }

    /// Whether the node knows everything.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_reported(&self) -> bool {
        self.counts == Counts::default() && self.outbox_difference == 0
    }
}
