//! The embedded store: a folder of checksummed, preallocated segments, with an index that can
//! always be made again from them.
//!
//! ```text
//!  any thread      submit(Write, Delete)        submit(Ranges, Changes, ..)
//!                        │                              │
//!                  ┌─────▼──────┐                 ┌─────▼──────┐
//!                  │   queue    │                 │  channel   │
//!                  └─────┬──────┘                 └─────┬──────┘
//!  threads      ┌────────▼────────┐            ┌────────▼────────┐
//!               │   commit lane   │            │   n readers     │
//!               └─┬─────────────┬─┘            └─┬─────────────┬─┘
//!       write,    │             │ after the      │ where?      │ read, check
//!       fsync     ▼             ▼ fsync          ▼             ▼
//!            segments         index: newest in memory, older in files
//!                 ▲                        ▲
//!       ┌─────────┴─────────┐    ┌─────────┴─────────┐
//!       │ spare: makes the  │    │ indexer: sorts    │
//!       │ next segment      │    │ and merges        │
//!       └───────────────────┘    └───────────────────┘
//! ```
//!
//! | folder | what is there |
//! |---|---|
//! | `disk` | what the store asks of a disk |
//! | `segment` | the bytes of segments, frames and records, and their open files |
//! | `lane` | writing and deleting: the queue, the batch, its verdicts |
//! | `index` | where everything is: in memory, and in files that the indexer makes |
//! | `read`, `feed` | answering questions |
//! | `cleaning` | giving the disk back |
//! | `recovery` | opening a folder: what is there, what is missing, what is damaged |
//! | `backup` | copies, and putting them back |
//!
//! docs/storage-format.md describes the bytes, docs/decisions/0010-embedded-store.md why it is
//! made so.

mod backup;
mod cleaning;
pub mod config;
pub mod disk;
mod eraser;
mod feed;
mod hash;
mod identity;
mod index;
mod lane;
mod last_written;
mod moment;
mod read;
mod recovery;
mod segment;
mod statistics;
mod verify;
mod wake;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
// Under a name that `core/tests/hand_overs` can give to loom's: see `queue` and `wake`.
use parking_lot as locks;
use parking_lot::Mutex;

use crate::random::{Random, SystemSource};

use super::{ConsumerChange, Store, StoreDone, StoreError, StoreRequest, Write};
pub use backup::earlier::EarlierBackup;
pub use backup::own_folder::OwnFolder;
pub use backup::{BackupReport, DamagedSource, check_backup, restore, restore_to};
use cleaning::cleaner::Cleaner;
pub use config::{EmbeddedConfig, OpenError};
use disk::{Disk, Folder};
use feed::Consumers;
use identity::Identity;
use index::Index;
use index::indexer::Indexer;
use lane::Lane;
use lane::queue::{Job, Queue, Task};
pub use last_written::last_written_ms;
use read::ReadJob;
use recovery::Recovered;
pub use recovery::damage::{Damage, DamageKind};
use recovery::extent::Extent;
pub use recovery::new_epoch::begin_epoch;
pub use recovery::told::ToldDamage;
pub use recovery::{RecoveryReport, inspect};
use segment::Span;
use segment::files::Segments;
use segment::spare::SpareSlot;
use statistics::Counters;
pub use statistics::EmbeddedStatistics;
pub use verify::{Loss, LostEntries, VerifyProgress, VerifyReport, verify_folder};

/// How nice the threads are that work in the background: beside a busy thread they get a tenth of
/// a processor, which is enough to be ready in time.
const BACKGROUND_NICE: i32 = 10;

/// A store in a folder of this machine. See the [module](self).
///
/// Dropping it ends its threads after all that was submitted is answered. All files are read and
/// written by threads that `open` starts, so that the threads of the caller may have descriptor
/// tables of their own; it should be dropped on a thread that shares its table with the one that
/// opened it.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// Taken when the store is dropped, which ends the readers.
    reads: Option<Readers>,
    lane: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    recovery: RecoveryReport,
}

/// The ways to the threads that read.
#[derive(Debug)]
struct Readers {
    /// For what is little work.
    little: Sender<ReadJob>,
    /// For everything else.
    pages: Sender<ReadJob>,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    config: EmbeddedConfig,
    disk: Arc<dyn Disk>,
    identity: Identity,
    /// The life of this store: from when it was opened until it is closed. See [`Row::life`](recovery::extent::Row::life).
    life: u64,
    extent: Extent,
    /// Segments whose files are there and are not ours, or came back too late.
    passed_over: BTreeSet<u32>,
    /// Numbers above the newest that files have, whatever they are.
    taken: BTreeSet<u32>,
    /// Of these, the files that are not what their names say.
    refused: Vec<(Span, Damage)>,
    /// Damage that was told.
    told: Mutex<Vec<ToldDamage>>,
    segments: Segments,
    index: Index,
    spare: SpareSlot,
    indexer: Indexer,
    cleaner: Cleaner,
    consumers: Consumers,
    counters: Counters,
}

impl Shared {
    fn new(disk: Arc<dyn Disk>, config: EmbeddedConfig, recovered: Recovered) -> Shared {
        Shared {
            segments: Segments::new(
                Arc::clone(&disk),
                recovered.identity,
                recovered.rows,
                recovered.passed_over.clone(),
            ),
            disk,
            identity: recovered.identity,
            life: recovered.life,
            extent: recovered.extent,
            passed_over: recovered.passed_over,
            taken: recovered.taken,
            refused: recovered.refused,
            told: Mutex::new(recovered.told),
            index: Index::new(
                recovered.identity.hash_key,
                config.filter_bytes_max,
                recovered.runs,
                recovered.sealed,
            ),
            config,
            spare: SpareSlot::default(),
            indexer: Indexer::default(),
            cleaner: Cleaner::default(),
            consumers: Consumers::default(),
            counters: Counters::default(),
        }
    }

    /// Damage that was told and that nobody has acknowledged.
    fn unacknowledged(&self) -> Vec<ToldDamage> {
        recovery::told::unacknowledged(&self.told.lock())
    }

    /// The first segment that a consumer of the feed has not passed: from there on nothing is cleaned.
    fn feed_kept_from(&self) -> u32 {
        self.consumers.kept_from().unwrap_or(u32::MAX)
    }
}

impl EmbeddedStore {
    /// Opens the store in a folder; makes the folder and the store if there is none.
    pub fn open(path: &Path, config: EmbeddedConfig) -> Result<EmbeddedStore, OpenError> {
        config.check()?;
        let folder = Folder::open(path)?;
        EmbeddedStore::open_on(Arc::new(folder), config, &SystemSource::new())
    }

    /// Opens the store on any disk.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        config: EmbeddedConfig,
        random: &dyn Random,
    ) -> Result<EmbeddedStore, OpenError> {
        config.check()?;
        let mut recovered = recovery::recover(&*disk, &config, random)?;
        let recovery = std::mem::take(&mut recovered.report);
        let (next_segment, next_batch) = (recovered.next_segment, recovered.next_batch);
        let shared = Arc::new(Shared::new(disk, config, recovered));
        let consumers = shared.consumers.load(&shared);
        consumers.map_err(|error| {
            let error = std::io::Error::other(error);
            OpenError::io("can't read the consumers of the feed in", shared.disk.path())(error)
        })?;
        let queue = Arc::new(Queue::default());
        let lane = Lane::new(Arc::clone(&shared), Arc::clone(&queue), next_segment, next_batch);
        let mut store =
            EmbeddedStore { shared, queue, reads: None, lane: None, others: Vec::new(), recovery };
        store.start(lane)?;
        Ok(store)
    }

    fn start(&mut self, lane: Lane) -> Result<(), OpenError> {
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.map_err(OpenError::io("can't start a thread for", self.shared.disk.path()))
        };
        let (little, questions) = crossbeam_channel::unbounded();
        let (pages, jobs) = crossbeam_channel::unbounded();
        let all = std::iter::repeat_n(("store-read", jobs), self.shared.config.readers);
        for (name, jobs) in all.chain([("store-ask", questions)]) {
            let shared = Arc::clone(&self.shared);
            self.others.push(spawn(name, Box::new(move || read::run(&shared, &jobs)))?);
        }
        self.reads = Some(Readers { little, pages });
        let shared = Arc::clone(&self.shared);
        let bytes = u64::from(shared.config.segment_bytes);
        let work = Box::new(move || {
            step_back();
            shared.spare.keep_filled(&*shared.disk, bytes);
        });
        self.others.push(spawn("store-spare", work)?);
        let shared = Arc::clone(&self.shared);
        let work = Box::new(move || {
            step_back();
            shared.indexer.run(&shared);
        });
        self.others.push(spawn("store-index", work)?);
        let (shared, queue) = (Arc::clone(&self.shared), Arc::clone(&self.queue));
        let work = Box::new(move || {
            step_back();
            shared.cleaner.run(&shared, &queue);
        });
        self.others.push(spawn("store-clean", work)?);
        self.lane = Some(spawn("store-commit", Box::new(move || lane.run()))?);
        Ok(())
    }

    /// What opening it had to do.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// What it has done since it was opened.
    pub fn statistics(&self) -> EmbeddedStatistics {
        self.shared.counters.snapshot(self.queue.len(), &self.shared.index)
    }

    /// How long ago a batch could not be made durable, if none was since.
    pub fn failing_since(&self) -> Option<Duration> {
        self.shared.counters.failing_since()
    }

    /// Reads everything that is stored, and compares the index with it. Appends go on meanwhile;
    /// what comes after the call began is not looked at.
    pub fn verify(&self) -> Result<VerifyReport, OpenError> {
        self.verify_with(|_| {})
    }

    /// The same, telling after each segment how far it has come.
    pub fn verify_with(
        &self,
        mut told: impl FnMut(VerifyProgress),
    ) -> Result<VerifyReport, OpenError> {
        let (steps, progress) = crossbeam_channel::unbounded();
        let (sender, receiver) = crossbeam_channel::bounded(1);
        // The receivers wait below, so a failed send is impossible.
        let work = move |shared: &Shared| {
            let verified = verify::verify(shared, &mut |step| {
                let _told = steps.send(step);
            });
            drop(sender.send(verified));
        };
        self.send(ReadJob::Run(Box::new(work)));
        progress.iter().for_each(&mut told);
        receiver.recv().expect("the readers live as long as the store")
    }

    /// Copies the store into an empty folder while it is in use: all that was durable when the
    /// call began, with a manifest of checksums. See [`restore`].
    pub fn backup(&self, target: &Path) -> Result<BackupReport, OpenError> {
        self.backup_to(OwnFolder::open(target)?, None)
    }

    /// The same, into a folder that is open. Files that an earlier backup has with the same content
    /// are shared with it, where the file system can do so; either can be removed without the other.
    pub fn backup_to(
        &self,
        target: OwnFolder,
        earlier: Option<EarlierBackup>,
    ) -> Result<BackupReport, OpenError> {
        self.on_reader(move |shared| backup::backup(shared, &target, earlier.as_ref()))
    }

    /// An earlier backup of this store, for [`EmbeddedStore::backup_to`]. Fails if it was not
    /// finished, or is one of another store.
    pub fn earlier_backup(&self, folder: OwnFolder) -> Result<EarlierBackup, OpenError> {
        EarlierBackup::open(folder, &self.shared.identity)
    }

    /// Damage that was told when the store was opened, now or earlier, and was not acknowledged.
    pub fn told_damage(&self) -> Vec<ToldDamage> {
        self.shared.unacknowledged()
    }

    /// Somebody has seen the damage that was told, and goes on without what is lost.
    pub fn acknowledge_damage(&self) -> Result<(), OpenError> {
        self.on_reader(|shared| {
            let path = shared.disk.path().join(recovery::told::NAME);
            let mut told = shared.told.lock();
            let acknowledged = recovery::told::acknowledge(&*shared.disk, &mut told);
            acknowledged.map_err(OpenError::io("can't write", path))
        })
    }

    /// Cleans all that is worth it now, and waits for it: see [`EmbeddedConfig::gone_within`]. It is done
    /// in the background anyway.
    pub fn clean(&self) -> Result<(), OpenError> {
        let path = self.shared.disk.path();
        let queue = Arc::clone(&self.queue);
        let clean = move |shared: &Shared| {
            shared.cleaner.leave_old_segment(shared, &queue);
            shared.cleaner.wait_for_index(shared);
            shared.cleaner.clean(shared, &queue)
        };
        self.on_reader(clean).map_err(OpenError::io("can't clean", path))
    }

    /// Runs something that needs files on a thread of the store, and waits for it.
    fn on_reader<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> T + Send + 'static) -> T {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        // The receiver waits below, so a failed send is impossible.
        let work = move |shared: &Shared| drop(sender.send(work(shared)));
        self.send(ReadJob::Run(Box::new(work)));
        receiver.recv().expect("the readers live as long as the store")
    }

    fn send(&self, job: ReadJob) {
        let sent = self.reads.as_ref().map(|Readers { little, pages }| match &job {
            ReadJob::Request(request, _) if read::is_little(&self.shared, request) => {
                little.send(job)
            }
            ReadJob::Request(..) | ReadJob::Run(_) => pages.send(job),
        });
        debug_assert!(matches!(sent, Some(Ok(()))), "the readers live as long as the store");
    }

    fn change_consumer(&self, change: ConsumerChange, done: StoreDone) {
        let write = match Consumers::write(&self.shared, &change) {
            Ok(write) => write,
            Err(error) => return done(Err(error)),
        };
        let shared = Arc::clone(&self.shared);
        let done = Box::new(move |reply| shared.consumers.written(change, reply, done));
        self.change(Task::Write(vec![write]), done);
    }

    fn change(&self, task: Task, done: StoreDone) {
        self.queue.push(Job { task, done });
    }

    fn read(&self, request: StoreRequest, done: StoreDone) {
        // What is known in memory needs no other thread.
        match read::answer_in_memory(&self.shared, &request) {
            Some(reply) => done(Ok(reply)),
            None => self.send(ReadJob::Request(request, done)),
        }
    }
}

impl Store for EmbeddedStore {
    fn epoch(&self) -> u64 {
        self.shared.identity.epoch
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        match request {
            StoreRequest::Write(writes) => match writes.iter().try_for_each(Write::check) {
                Ok(()) => self.change(Task::Write(writes), done),
                Err(malformed) => done(Err(StoreError::Malformed(malformed))),
            },
            StoreRequest::Delete(deletions) => self.change(Task::Delete(deletions), done),
            StoreRequest::Consumer(change) => self.change_consumer(change, done),
            read => self.read(read, done),
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.queue.close();
        join(self.lane.take());
        self.shared.spare.close();
        self.shared.cleaner.stop();
        self.shared.indexer.stop(&self.shared);
        self.reads = None;
        for thread in self.others.drain(..) {
            join(Some(thread));
        }
    }
}

/// Lets other threads go first: what this one does can wait, and messages can't. It is no more
/// than a wish.
fn step_back() {
    if let Err(error) = rustix::process::setpriority_process(None, BACKGROUND_NICE) {
        tracing::debug!(%error, "the priority of a thread can't be lowered");
    }
}

/// Waits for a thread, unless it is this one: a completion may hold the last handle of the store.
fn join(thread: Option<JoinHandle<()>>) {
    let Some(thread) = thread else { return };
    if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}
