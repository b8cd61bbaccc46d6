//! What a shard has counted and the node does not know of yet: counters of the node are shared by
//! its shards, and are touched once in a tick. How large things were is recorded for this shard
//! alone, and seen by others at once.

use std::sync::Arc;

use dunlin_core::arrival::Arrival;
use dunlin_core::statistics::SharedHistogram;

use super::counters::{Counters, Counts, ShardHistograms};
use super::held::Held;

/// See the module.
#[derive(Debug)]
pub(super) struct Tally {
    counts: Counts,
    /// Change of what is in outboxes.
    outboxes: Held<isize>,
    /// Change of what has not arrived whole.
    unfinished: Held<isize>,
    /// When the messages were read that are acknowledged, and pushed, in this tick: four bytes each, and
    /// no more of them than mail.
    acknowledged: Vec<Arrival>,
    pushed: Vec<Arrival>,
    histograms: Arc<ShardHistograms>,
}

/// What those two keep for the next tick. A large one is rare, and its memory is given back.
const ARRIVALS_KEPT: usize = 4096;

impl Tally {
    pub(super) fn new(counters: &Counters) -> Tally {
        let histograms = counters.add_shard();
        let (outboxes, unfinished) = (Held::default(), Held::default());
        let (acknowledged, pushed) = Default::default();
        Tally { counts: Counts::default(), outboxes, unfinished, acknowledged, pushed, histograms }
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

    /// The acknowledgement of a message that was read then is written in this tick, if its connection
    /// takes it.
    pub(super) fn acknowledging(&mut self, arrived: Arrival) {
        if arrived != Arrival::UNKNOWN {
            self.acknowledged.push(arrived);
        }
    }

    /// The same of a push.
    pub(super) fn pushing(&mut self, arrived: Arrival) {
        if arrived != Arrival::UNKNOWN {
            self.pushed.push(arrived);
        }
    }

    /// So many bytes were written.
    pub(super) fn written(&mut self, bytes: usize) {
        self.counts.bytes_out += bytes as u64;
    }

    /// An outbox holds so many bytes, and held so many.
    pub(super) fn outbox_changed(&mut self, before: usize, after: usize) {
        self.outboxes.change(before, after);
    }

    /// The same of what a stream has of its own to write.
    pub(super) fn output_changed(&mut self, before: usize, after: usize) {
        self.outboxes.bytes += after.cast_signed() - before.cast_signed();
    }

    /// What has not arrived whole on a connection takes so many bytes, and took so many.
    pub(super) fn unfinished_changed(&mut self, before: usize, after: usize) {
        self.unfinished.change(before, after);
    }

    /// What has not arrived whole at this node, with what only this shard knows.
    pub(super) fn unfinished(&self, counters: &Counters) -> Held<usize> {
        counters.unfinished.now().with(self.unfinished)
    }

    /// Adds it to what the node counts, at the end of a tick that took so long. It is `now_us` by the clock
    /// of arrivals.
    pub(super) fn report(&mut self, counters: &Counters, tick_us: u64, now_us: u64) {
        counters.add(std::mem::take(&mut self.counts));
        counters.outboxes.change(std::mem::take(&mut self.outboxes));
        counters.unfinished.change(std::mem::take(&mut self.unfinished));
        let ShardHistograms { acknowledged_us, pushed_us, tick_us: ticks, .. } = &*self.histograms;
        ticks.record(tick_us);
        record(&mut self.acknowledged, now_us, acknowledged_us);
        record(&mut self.pushed, now_us, pushed_us);
    }

    /// Whether the node knows everything.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_reported(&self) -> bool {
        self.counts == Counts::default()
            && self.outboxes == Held::default()
            && self.unfinished == Held::default()
    }
}

/// Records how long ago they were.
fn record(arrivals: &mut Vec<Arrival>, now_us: u64, histogram: &SharedHistogram) {
    let elapsed = arrivals.drain(..).filter_map(|arrived| arrived.elapsed_us(now_us));
    elapsed.for_each(|us| histogram.record(us));
    arrivals.shrink_to(ARRIVALS_KEPT);
}
