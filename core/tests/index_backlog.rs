//! What waits for its index file is in memory; so whoever writes faster than index files are written has to
//! wait for them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dunlin_core::random::SystemSource;
use dunlin_core::store::contract::ask::{heads, write};
use dunlin_core::store::contract::sample::{chat, entry};
use dunlin_core::store::embedded::disk::{Disk, DiskFile, Folder};
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::{Write, Written};
use dunlin_protocol::LogId;

/// A folder in which index files are slow to begin, or can't be.
#[derive(Debug)]
struct SlowIndex {
    folder: Folder,
    fails: AtomicBool,
    begun: AtomicU64,
}

impl Disk for SlowIndex {
    fn path(&self) -> PathBuf {
        self.folder.path()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if name.contains(".idx") {
            self.begun.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(30));
            if self.fails.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.folder.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.folder.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        self.folder.folders()
    }

    fn sync_names(&self) -> io::Result<()> {
        self.folder.sync_names()
    }
}

const SEGMENT_BYTES: u32 = 64 * 1024;

/// So small that one segment reaches it.
const INDEX_BYTES_MAX: usize = 16 * 1024;

fn open(folder: &std::path::Path, fails: bool) -> (Arc<SlowIndex>, EmbeddedStore) {
    let config = EmbeddedConfig {
        segment_bytes: SEGMENT_BYTES,
        index_bytes_max: INDEX_BYTES_MAX,
        ..EmbeddedConfig::default()
    };
    let folder = Folder::open(folder).unwrap();
    let disk = Arc::new(SlowIndex { folder, fails: fails.into(), begun: AtomicU64::new(0) });
    let store = EmbeddedStore::open_on(Arc::clone(&disk) as _, config, &SystemSource::new());
    (disk, store.unwrap())
}

fn log() -> LogId {
    chat(1, 2)
}

/// The next hundred messages.
fn batch(first: u64) -> Vec<Write> {
    (first..first + 100).map(|seq| entry(log(), seq, seq)).collect()
}

fn is_stored(written: &Written) -> bool {
    matches!(written, Written::Stored { .. })
}

#[test]
fn whoever_writes_faster_than_index_files_are_written_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, store) = open(folder.path(), false);
    let mut most = 0;
    for first in (1..20_000).step_by(100) {
        assert!(write(&store, batch(first)).iter().all(is_stored));
        most = most.max(store.statistics().unfiled_index_bytes);
    }
    // Dozens of segments were written. One is being written, and one was sealed before it was looked at.
    let most_allowed = 2 * INDEX_BYTES_MAX + 2 * (INDEX_BYTES_MAX + SEGMENT_BYTES as usize);
    assert!(most <= most_allowed as u64, "{most} of {most_allowed}");
    assert!(disk.begun.load(Ordering::Relaxed) > 10);
    assert_eq!(heads(&store, vec![log()])[0].seq, 20_000);
}

#[test]
fn where_no_index_files_can_be_written_nobody_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, store) = open(folder.path(), true);
    for first in (1..5_000).step_by(100) {
        assert!(write(&store, batch(first)).iter().all(is_stored));
    }
    assert!(disk.begun.load(Ordering::Relaxed) > 0);
    disk.fails.store(false, Ordering::Relaxed);
    for first in (5_001..10_000).step_by(100) {
        assert!(write(&store, batch(first)).iter().all(is_stored));
    }
    // The folder is locked for as long as either is there.
    drop((store, disk));
    let (_, store) = open(folder.path(), false);
    assert_eq!(heads(&store, vec![log()])[0].seq, 10_000);
}

/// A storm of logins is in memory until its segment has an index file: that must not wait for a segment
/// to be full.
#[test]
fn what_nobody_writes_to_any_more_leaves_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        cleaning_interval: Duration::from_millis(1),
        index_quiet: Duration::from_millis(1),
        ..EmbeddedConfig::default()
    };
    let store = EmbeddedStore::open(folder.path(), config).unwrap();
    let first_of = |number: u64| entry(chat(1, 1 + number), 1, 0);
    // Little may stay: for each pause of each day a segment would be too many.
    assert!(write(&store, (1..=100).map(first_of).collect()).iter().all(is_stored));
    let of_hundred = store.statistics().unfiled_index_bytes;
    for first in (101..=20_100).step_by(1_000) {
        let batch = (first..first + 1_000).map(first_of).collect();
        assert!(write(&store, batch).iter().all(is_stored));
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while store.statistics().unfiled_index_bytes > 1024 * 1024 {
        assert!(Instant::now() < deadline, "{:?}", store.statistics());
        std::thread::yield_now();
    }
    assert!((1..1024 * 1024).contains(&of_hundred), "{of_hundred}");
    let logs: Vec<LogId> = (1..=20_100).map(|number| chat(1, 1 + number)).collect();
    assert!(heads(&store, logs).iter().all(|head| head.seq == 1));
}
