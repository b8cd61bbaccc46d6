//! What the node counts. Shards add to it once per event, or per tick where events are many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dunlin_core::statistics::{Histogram, SharedHistogram};
use dunlin_protocol::wire::CloseReason;
use parking_lot::Mutex;

use super::held::HeldAtNode;
use crate::admission::Refusal;
use crate::stream::entrance::Entrance;

/// One more than the highest close reason of this version.
const REASONS: usize = 24;

/// Counters of a node, from its start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections that were accepted.
    pub(crate) accepted: AtomicU64,
    /// Connections that were turned away when they arrived, by [`Refusal`].
    refused: [AtomicU64; Refusal::ALL.len()],
    /// Connections that are open now, by [`Entrance`]. Not those of which all was said.
    by_entrance: [AtomicU64; Entrance::ALL.len()],
    /// Handshakes that ended well, and others.
    handshakes_done: AtomicU64,
    handshakes_failed: AtomicU64,
    /// Times that accepting paused for want of descriptors or memory.
    pub(crate) accept_pauses: AtomicU64,
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    /// What waits in outboxes now.
    pub(crate) outboxes: HeldAtNode,
    /// What has not arrived whole now.
    pub(crate) unfinished: HeldAtNode,
    closed: [AtomicU64; REASONS],
    histograms: Mutex<Vec<Arc<ShardHistograms>>>,
}

/// What one shard has counted in a tick.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Frames that were read.
    pub(crate) frames_in: u64,
    /// Bytes that were read.
    pub(crate) bytes_in: u64,
    /// Frames that were queued to be written.
    pub(crate) frames_out: u64,
    /// Bytes that were written.
    pub(crate) bytes_out: u64,
}

/// What one shard records of its own.
#[derive(Debug, Default)]
pub(crate) struct ShardHistograms {
    /// Bytes of an outbox when it begins to be written.
    pub(crate) outbox_bytes: SharedHistogram,
    /// How long ticks took, in microseconds.
    pub(crate) tick_us: SharedHistogram,
    /// From the tick that read a message to the end of the one that wrote its acknowledgement.
    pub(crate) acknowledged_us: SharedHistogram,
    /// The same to each of its pushes on this node.
    pub(crate) pushed_us: SharedHistogram,
}

/// All that was counted, at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) accepted: u64,
    /// Connections that were turned away, by the setting that it comes from.
    pub(crate) refused: Vec<(&'static str, u64)>,
    /// Connections that are open now, by the name of the entrance.
    pub(crate) by_entrance: Vec<(&'static str, u64)>,
    pub(crate) handshakes_done: u64,
    pub(crate) handshakes_failed: u64,
    pub(crate) accept_pauses: u64,
    pub(crate) frames_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) frames_out: u64,
    pub(crate) bytes_out: u64,
    /// Bytes that wait in outboxes.
    pub(crate) outbox_bytes: u64,
    /// Memory of what has not arrived whole.
    pub(crate) unfinished_bytes: u64,
    /// Connections by the reason why they were closed; only reasons that there were.
    pub(crate) closed: Vec<(CloseReason, u64)>,
    /// Of all shards together.
    pub(crate) outbox_flush_bytes: Histogram,
    /// Of all shards together.
    pub(crate) tick_us: Histogram,
    /// Of all shards together.
    pub(crate) acknowledged_us: Histogram,
    /// Of all shards together.
    pub(crate) pushed_us: Histogram,
}

impl Counters {
    /// Where a shard that begins records what is its own.
    pub(crate) fn add_shard(&self) -> Arc<ShardHistograms> {
        let histograms = Arc::<ShardHistograms>::default();
        self.histograms.lock().push(Arc::clone(&histograms));
        histograms
    }

    /// Adds what a shard has counted in a tick.
    pub(crate) fn add(&self, counts: Counts) {
        let Counts { frames_in, bytes_in, frames_out, bytes_out } = counts;
        let counted = [
            (&self.frames_in, frames_in),
            (&self.bytes_in, bytes_in),
            (&self.frames_out, frames_out),
            (&self.bytes_out, bytes_out),
        ];
        for (counter, more) in counted.into_iter().filter(|(_, more)| *more > 0) {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// All of it. Each number is true, though not all at the very same moment.
    pub(crate) fn snapshot(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let reasons = (0..REASONS as i32).filter_map(|reason| CloseReason::try_from(reason).ok());
        let closed = reasons.map(|reason| (reason, self.closed(reason)));
        let mut counted = Counted {
            accepted: read(&self.accepted),
            refused: Refusal::ALL
                .map(|refusal| (refusal.name(), read(&self.refused[refusal as usize])))
                .to_vec(),
            by_entrance: Entrance::ALL
                .map(|entrance| (entrance.name(), read(&self.by_entrance[entrance as usize])))
                .to_vec(),
            handshakes_done: read(&self.handshakes_done),
            handshakes_failed: read(&self.handshakes_failed),
            accept_pauses: read(&self.accept_pauses),
            frames_in: read(&self.frames_in),
            bytes_in: read(&self.bytes_in),
            frames_out: read(&self.frames_out),
            bytes_out: read(&self.bytes_out),
            outbox_bytes: self.outbox_bytes() as u64,
            unfinished_bytes: self.unfinished.now().bytes as u64,
            closed: closed.filter(|(_, count)| *count > 0).collect(),
            outbox_flush_bytes: Histogram::default(),
            tick_us: Histogram::default(),
            acknowledged_us: Histogram::default(),
            pushed_us: Histogram::default(),
        };
        for of_shard in self.histograms.lock().iter() {
            counted.outbox_flush_bytes.add(&of_shard.outbox_bytes.snapshot());
            counted.tick_us.add(&of_shard.tick_us.snapshot());
            counted.acknowledged_us.add(&of_shard.acknowledged_us.snapshot());
            counted.pushed_us.add(&of_shard.pushed_us.snapshot());
        }
        counted
    }

    /// A connection was turned away when it arrived.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A stream began at an entrance.
    pub(crate) fn stream_begins(&self, entrance: Entrance) {
        self.by_entrance[entrance as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All was said on it.
    pub(crate) fn stream_ends(&self, entrance: Entrance) {
        self.by_entrance[entrance as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// A handshake has ended.
    pub(crate) fn handshake(&self, well: bool) {
        let counter = if well { &self.handshakes_done } else { &self.handshakes_failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn close(&self, reason: CloseReason) {
        if let Some(counter) = self.closed.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Connections that were closed for a reason.
    pub(crate) fn closed(&self, reason: CloseReason) -> u64 {
        self.closed.get(reason as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub(crate) fn outbox_bytes(&self) -> usize {
        self.outboxes.now().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_reason_has_a_counter() {
        let highest = (0..1000).filter_map(|value| CloseReason::try_from(value).ok()).next_back();
        assert_eq!(highest.map(|reason| reason as usize), Some(REASONS - 1));
        let counters = Counters::default();
        counters.close(CloseReason::RateLimited);
        assert_eq!(counters.closed(CloseReason::RateLimited), 1);
    }

    #[test]
    fn a_snapshot_has_all_shards() {
        let counters = Counters::default();
        for bytes in [10, 20] {
            let shard = counters.add_shard();
            shard.outbox_bytes.record(bytes);
            counters.add(Counts { frames_in: 1, bytes_in: bytes, frames_out: 2, bytes_out: 3 });
        }
        counters.close(CloseReason::PeerClosed);
        let counted = counters.snapshot();
        assert_eq!(counted.outbox_flush_bytes.sum(), 30);
        assert_eq!(counted.closed, [(CloseReason::PeerClosed, 1)]);
        let Counted { frames_in, bytes_in, frames_out, bytes_out, .. } = counted;
        assert_eq!([frames_in, bytes_in, frames_out, bytes_out], [2, 30, 4, 6]);
    }
}
