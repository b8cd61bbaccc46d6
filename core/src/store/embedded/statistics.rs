//! What the store counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::statistics::{Histogram, SharedHistogram};

use super::index::Index;

/// What an embedded store has done since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedStatistics {
    /// Batches that became durable.
    pub batches: u64,
    /// Entries in them.
    pub appends: u64,
    /// Registers that they set or removed.
    pub registers: u64,
    /// Appends that were answered `Duplicate` or `Conflict`.
    pub refused: u64,
    /// Batches that failed.
    pub failures: u64,
    /// Calls of fsync by the commit lane.
    pub fsyncs: u64,
    /// How long each of them took, in microseconds.
    pub fsync_us: Histogram,
    /// Bytes of batches that became durable.
    pub bytes: u64,
    /// Entries and registers of each batch that became durable.
    pub batch_records: Histogram,
    /// Bytes of each of them.
    pub batch_bytes: Histogram,
    /// How long ago a batch failed; `None` if one became durable since, or none has failed.
    pub failing_since: Option<Duration>,
    /// Bytes of index files that were written.
    pub index_bytes: u64,
    /// Bytes of the filters of the index that are in memory now.
    pub filter_bytes: u64,
    /// Bytes that all of them have: what is more than those in memory is read from files.
    pub filter_bytes_total: u64,
    /// Bytes of memory, about, for the index of segments that have no index file yet.
    pub unfiled_index_bytes: u64,
    /// Requests of appends that wait for the commit lane now.
    pub queued: u64,
    /// Reads that met a damaged entry.
    pub damaged_reads: u64,
    /// Files of segments that were cleaned into others.
    pub cleaned_files: u64,
    /// Bytes that cleaning wrote.
    pub cleaning_written_bytes: u64,
    /// Bytes that the files had less after it.
    pub cleaning_freed_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub batches: Counter,
    pub appends: Counter,
    pub registers: Counter,
    pub refused: Counter,
    pub failures: Counter,
    pub fsyncs: Counter,
    /// Recorded by the commit lane alone.
    pub fsync_us: SharedHistogram,
    pub bytes: Counter,
    /// Recorded by the commit lane alone, as the next one.
    batch_records: SharedHistogram,
    batch_bytes: SharedHistogram,
    /// When a batch failed, if none became durable since. Touched once for each batch.
    failed: Mutex<Option<Instant>>,
    pub index_bytes: Counter,
    pub damaged_reads: Counter,
    pub cleaned_files: Counter,
    pub cleaning_written_bytes: Counter,
    pub cleaning_freed_bytes: Counter,
}

impl Counters {
    /// The commit lane has waited so long for an fsync.
    pub(super) fn synced(&self, took: Duration) {
        self.fsyncs.add(1);
        self.fsync_us.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// A batch of so many entries, registers and bytes became durable.
    pub(super) fn committed(&self, entries: usize, registers: usize, bytes: usize) {
        self.batches.add(1);
        self.appends.add(entries as u64);
        self.registers.add(registers as u64);
        self.bytes.add(bytes as u64);
        self.batch_records.record((entries + registers) as u64);
        self.batch_bytes.record(bytes as u64);
        *self.failed.lock() = None;
    }

    /// A batch failed, or there is nowhere to write it to.
    pub(super) fn failed(&self) {
        self.failures.add(1);
        *self.failed.lock() = Some(Instant::now());
    }

    /// How long ago that was, if no batch became durable since.
    pub(super) fn failing_since(&self) -> Option<Duration> {
        self.failed.lock().map(|failed| failed.elapsed())
    }

    /// Files of so many bytes were cleaned into one.
    pub(super) fn cleaned(&self, before: u64, after: u64) {
        self.cleaned_files.add(1);
        self.cleaning_written_bytes.add(after);
        self.cleaning_freed_bytes.add(before.saturating_sub(after));
    }

    /// How much more cleaning has freed than it has written.
    pub(super) fn cleaning_credit(&self) -> u64 {
        self.cleaning_freed_bytes.get().saturating_sub(self.cleaning_written_bytes.get())
    }

    pub(super) fn snapshot(&self, queued: usize, index: &Index) -> EmbeddedStatistics {
        let (filter_bytes, filter_bytes_total) = index.filters_bytes();
        EmbeddedStatistics {
            batches: self.batches.get(),
            appends: self.appends.get(),
            registers: self.registers.get(),
            refused: self.refused.get(),
            failures: self.failures.get(),
            fsyncs: self.fsyncs.get(),
            fsync_us: self.fsync_us.snapshot(),
            bytes: self.bytes.get(),
            batch_records: self.batch_records.snapshot(),
            batch_bytes: self.batch_bytes.snapshot(),
            failing_since: self.failing_since(),
            index_bytes: self.index_bytes.get(),
            filter_bytes,
            filter_bytes_total,
            unfiled_index_bytes: index.bytes_in_memory(),
            queued: queued as u64,
            damaged_reads: self.damaged_reads.get(),
            cleaned_files: self.cleaned_files.get(),
            cleaning_written_bytes: self.cleaning_written_bytes.get(),
            cleaning_freed_bytes: self.cleaning_freed_bytes.get(),
        }
    }
}

/// A number that only grows. Nothing else depends on it, so the order of memory does not matter.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
