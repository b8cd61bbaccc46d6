//! What the log counts of itself, from its start.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot. Lines that wait in the queue are in none of the counts of lines yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    /// Lines that were written.
    pub(crate) lines_written: u64,
    /// Lines that found no room in the queue, since nobody read those before them.
    pub(crate) lines_dropped: u64,
    /// Lines beyond the limit of their kind.
    pub(crate) lines_left_out: u64,
    /// Lines that standard error refused.
    pub(crate) lines_failed: u64,
    /// How often it did.
    pub(crate) writes_failed: u64,
    /// Bytes that wait to be written now.
    pub(crate) bytes_queued: u64,
}

/// The counters, as they are counted.
#[derive(Debug, Default)]
pub(super) struct Counting {
    written: AtomicU64,
    dropped: AtomicU64,
    left_out: AtomicU64,
    failed: AtomicU64,
    writes_failed: AtomicU64,
}

impl Counting {
    pub(super) fn written(&self, lines: u64) {
        self.written.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, lines: u64) {
        self.failed.fetch_add(lines, Ordering::Relaxed);
        self.writes_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, bytes_queued: usize) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            lines_written: read(&self.written),
            lines_dropped: read(&self.dropped),
            lines_left_out: read(&self.left_out),
            lines_failed: read(&self.failed),
            writes_failed: read(&self.writes_failed),
            bytes_queued: bytes_queued as u64,
        }
    }
}
