//! `[store]`: where messages are durable.

use std::time::Duration;

use dunlin_core::limits::RESPONSE_BYTES_MAX;
use dunlin_core::store::embedded::EmbeddedConfig;
use dunlin_core::store::embedded::config::{
    CLEANING_BYTES_PER_SECOND_MIN, COMMIT_PAUSE_MAX, SEGMENT_BYTES_MAX,
};

use super::error::SectionFaults;
use super::section::{Section, section};

/// The smallest segment: the largest entry is the snapshot of an account, which fits into a
/// response, and a segment that holds few of them would be mostly waste.
const SEGMENT_BYTES_MIN: u64 = 4 * 1024 * 1024;
const _: () = assert!(RESPONSE_BYTES_MAX as u64 * 2 < SEGMENT_BYTES_MIN);

/// A segment that a command makes.
const COMMAND_SEGMENT_BYTES: u32 = 4 * 1024 * 1024;

section! {
    /// Where messages are durable, as it is written: the keys of the embedded store.
    StoreSection {
        /// A segment file, allocated in advance.
        segment_bytes: u32 = 64 * 1024 * 1024,
        /// A batch is committed when it has so many bytes, even if more waits.
        batch_bytes_max: u32 = 4 * 1024 * 1024,
        /// From a commit that several messages share to the next one, in microseconds.
        commit_pause_us: u64 = 250,
        /// Threads that read.
        readers: usize = 2,
        /// Index files that are merged into one.
        merge_runs: usize = 4,
        /// Memory for the filters of the index.
        filter_bytes_max: usize = 256 * 1024 * 1024,
        /// From a failed write to the next attempt.
        retry_interval_ms: u64 = 250,
        /// How fast files are read and written in the background to clean them of what is dead.
        cleaning_bytes_per_second: u64 = 16 * 1024 * 1024,
        /// Old values and expired messages are gone from the disk within so many hours.
        gone_within_hours: u64 = 7 * 24,
        /// That something was removed is known for so many hours at least.
        marks_kept_hours: u64 = 30 * 24,
    }
}

/// Which store there is. An engine that keeps messages elsewhere is another one of these, and
/// `node::assembly` makes a store of each.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Store {
    /// In the data folder.
    Embedded(EmbeddedConfig),
}

impl Section for StoreSection {
    const NAME: &'static str = "store";
    type Checked = Store;

    fn check(&self, faults: &mut SectionFaults<'_>) -> Store {
        let segments = SEGMENT_BYTES_MIN..=u64::from(SEGMENT_BYTES_MAX);
        faults.within("segment_bytes", self.segment_bytes, segments);
        let batches = 64 * 1024..=u64::from(self.segment_bytes);
        faults.within("batch_bytes_max", self.batch_bytes_max, batches);
        let pauses = 0..=COMMIT_PAUSE_MAX.as_micros() as u64;
        faults.within("commit_pause_us", self.commit_pause_us, pauses);
        // A backup keeps one of them busy; somebody must read for the clients meanwhile.
        faults.count_within("readers", self.readers, 2..=256);
        faults.count_within("merge_runs", self.merge_runs, 2..=64);
        faults.count_within("filter_bytes_max", self.filter_bytes_max, 0..=1 << 40);
        faults.within("retry_interval_ms", self.retry_interval_ms, 1..=60_000);
        let rates = CLEANING_BYTES_PER_SECOND_MIN..=1 << 40;
        faults.within("cleaning_bytes_per_second", self.cleaning_bytes_per_second, rates);
        faults.within("gone_within_hours", self.gone_within_hours, 1..=100 * 366 * 24);
        faults.within("marks_kept_hours", self.marks_kept_hours, 1..=100 * 366 * 24);
        Store::Embedded(EmbeddedConfig {
            segment_bytes: self.segment_bytes,
            batch_bytes_max: self.batch_bytes_max,
            commit_pause: Duration::from_micros(self.commit_pause_us),
            readers: self.readers,
            merge_runs: self.merge_runs,
            filter_bytes_max: self.filter_bytes_max,
            retry_interval: Duration::from_millis(self.retry_interval_ms),
            cleaning_bytes_per_second: self.cleaning_bytes_per_second,
            gone_within: Duration::from_hours(self.gone_within_hours),
            marks_kept: Duration::from_hours(self.marks_kept_hours),
            ..EmbeddedConfig::default()
        })
    }
}

impl Store {
    /// The same for a command, which writes a few small entries: a segment for them should be soon
    /// made.
    pub(crate) fn for_command(&self) -> Store {
        match self {
            Store::Embedded(config) => Store::Embedded(EmbeddedConfig {
                segment_bytes: config.segment_bytes.min(COMMAND_SEGMENT_BYTES),
                ..config.clone()
            }),
        }
    }
}
