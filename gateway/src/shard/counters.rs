//! What the node counts. Shards add to it once per event, or per tick where events are many.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dunlin_protocol::wire::CloseReason;

/// One more than the highest close reason of this version.
const REASONS: usize = 21;

/// Counters of a node, from its start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections that were accepted.
    pub(crate) accepted: AtomicU64,
    /// Connections that were turned away when they arrived.
    pub(crate) refused: AtomicU64,
    /// Times that accepting paused for want of descriptors or memory.
    pub(crate) accept_pauses: AtomicU64,
    /// Frames that were read.
    pub(crate) frames_in: AtomicU64,
    /// Bytes that wait in outboxes now.
    pub(crate) outbox_bytes: AtomicUsize,
    closed: [AtomicU64; REASONS],
}

impl Counters {
    pub(crate) fn close(&self, reason: CloseReason) {
        if let Some(counter) = self.closed.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Connections that were closed for a reason.
    pub(crate) fn closed(&self, reason: CloseReason) -> u64 {
        self.closed.get(reason as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Adds a difference to the bytes in outboxes. Wraps around within a pair of calls at most.
    pub(crate) fn change_outbox_bytes(&self, difference: isize) {
        self.outbox_bytes.fetch_add(difference.cast_unsigned(), Ordering::Relaxed);
    }

    pub(crate) fn outbox_bytes(&self) -> usize {
        self.outbox_bytes.load(Ordering::Relaxed)
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
}
