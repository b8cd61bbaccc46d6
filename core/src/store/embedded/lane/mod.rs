//! The commit lane: one thread that turns all appends that wait into one batch, one write and
//! one fsync.
//!
//! ```text
//!   take all jobs ──► decide and encode ──► write, fsync ──► index ──► answer
//!        ▲            dedupe, fence,        one frame        readers      │
//!        │            against the index     in the segment   see it       │
//!        │            and this batch                                      │
//!        └────────────────────── what arrived meanwhile ◄─────────────────┘
//! ```
//!
//! Nothing of a batch is in the index before it is durable, so a batch that fails is forgotten by
//! dropping it. After a failed write or fsync nothing is known about the end of the segment: the
//! lane leaves it for ever, and the next batch opens a new segment whose header says that it
//! begins with the same batch number, which overrules whatever the failed one left on the disk.

mod delete;
mod frame;
mod pause;
mod plan;
pub(super) mod queue;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::store::{Deleted, StoreDone, StoreError, StoreReply, Written};

use super::Shared;
use super::disk::{BLOCK_BYTES, DiskFile};
use super::eraser::overwrite;
use super::recovery::extent::Row;
use super::segment::erasure::Erasure;
use super::segment::files::Location;
use super::segment::frame::{FRAME_HEAD_BYTES, FrameHead, Mark};
use super::segment::record::LogState;
use super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, segment_name};
use frame::Frame;
use pause::Pause;
use queue::{Job, Queue, Task};

// Under a name that `core/tests/hand_overs` can give to loom's: see `queue`.
use super::locks;

/// The state of the thread.
pub(super) struct Lane {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// The segment that is written; `None` at the beginning and after a failure.
    segment: Option<OpenSegment>,
    next_segment: u32,
    next_batch: u64,
    /// After a failure, when to try again.
    retry_at: Option<Instant>,
    frame: Frame,
    /// What has to be overwritten.
    erasures: Vec<Erasure>,
    /// The jobs that have something in the frame, or wait for it, the oldest first.
    unanswered: Vec<Unanswered>,
    /// Scratch.
    places: Vec<Location>,
    /// The hashes of the keys of the current job, 0 where there is no key, and whether the index
    /// may hold them as it was before the batch `looked_up`.
    hashes: Vec<u64>,
    may_be_known: Vec<bool>,
    looked_up: u64,
    /// Logs of which something was refused in the current job: nothing that the same caller has
    /// numbered behind it may be stored.
    stale: HashSet<LogId, RandomState>,
}

struct OpenSegment {
    number: u32,
    file: Arc<dyn DiskFile>,
    mark: Mark,
    /// The batch that it begins with.
    first_batch: u64,
    /// Where the last frame begins that is durable; 0 if there is none.
    last_frame: u64,
    /// Where the next frame begins.
    end: u64,
    /// How long the file was made.
    file_bytes: u64,
    /// Memory of its index.
    index_bytes: usize,
    /// Nothing was written to it yet, its header neither.
    fresh: bool,
    /// It may be written that this segment has begun, so that its file has to stay.
    is_known: bool,
}

/// A job of which something may not be durable yet.
struct Unanswered {
    answers: Answers,
    /// So many of them stand, whatever becomes of the frame.
    settled: usize,
    /// Why something of it is unknown.
    error: Option<StoreError>,
    done: StoreDone,
}

/// What became of the items of a job.
enum Answers {
    Written(Vec<Written>),
    Deleted(Vec<Deleted>),
}

impl Answers {
    fn len(&self) -> usize {
        match self {
            Answers::Written(verdicts) => verdicts.len(),
            Answers::Deleted(verdicts) => verdicts.len(),
        }
    }

    /// Nobody knows what became of those that are not settled.
    fn forget(&mut self, settled: usize) {
        match self {
            Answers::Written(verdicts) => {
                verdicts[settled..].fill(Written::Unknown);
            }
            Answers::Deleted(verdicts) => verdicts[settled..].fill(Deleted::Unknown),
        }
    }

    /// How many writes were refused.
    fn refused(&self) -> usize {
        match self {
            Answers::Written(verdicts) => {
                let refused = |verdict: &&Written| !matches!(verdict, Written::Stored { .. });
                verdicts.iter().filter(refused).count()
            }
            Answers::Deleted(_) => 0,
        }
    }

    /// The answer to the whole job. If nothing is known of any item, why is more than that.
    fn reply(self, error: Option<StoreError>) -> Result<StoreReply, StoreError> {
        let unknown = match &self {
            Answers::Written(verdicts) => verdicts.iter().all(|one| *one == Written::Unknown),
            Answers::Deleted(verdicts) => verdicts.iter().all(|one| *one == Deleted::Unknown),
        };
        match (error, unknown) {
            (Some(error), true) => Err(error),
            (Some(_) | None, _) => Ok(match self {
                Answers::Written(verdicts) => StoreReply::Written(verdicts),
                Answers::Deleted(verdicts) => StoreReply::Deleted(verdicts),
            }),
        }
    }
}

impl Lane {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: Arc<Queue>,
        next_segment: u32,
        next_batch: u64,
    ) -> Lane {
        let mut frame = Frame::default();
        frame.clear();
        Lane {
            shared,
            queue,
            segment: None,
            next_segment,
            next_batch,
            retry_at: None,
            frame,
            erasures: Vec::new(),
            unanswered: Vec::new(),
            places: Vec::new(),
            hashes: Vec::new(),
            may_be_known: Vec::new(),
            looked_up: 0,
            stale: HashSet::default(),
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut jobs = Vec::new();
        let mut pause = Pause::new(self.shared.config.commit_pause);
        loop {
            pause.wait();
            if !self.queue.take(&mut jobs) {
                break;
            }
            pause.begin(jobs.iter().map(|job| job.task.items()).sum());
            for job in jobs.drain(..) {
                self.plan(job);
                if self.frame.buffer.len() >= self.shared.config.batch_bytes_max as usize {
                    self.end_batch();
                }
            }
            self.end_batch();
        }
        let end = self.segment.as_ref().filter(|segment| !segment.fresh).map(|segment| segment.end);
        if let Err(error) = self.shared.extent.stop(end, self.next_batch, self.shared.life) {
            tracing::error!(%error, "can't write where the store ends");
        }
    }

    fn end_batch(&mut self) {
        // Whoever has asked is told if it fails.
        let _committed = self.commit_and_answer(0);
    }

    /// Decides about all items of a job and puts those to be done into the frame.
    fn plan(&mut self, job: Job) {
        self.stale.clear();
        let Job { task, done } = job;
        let answers = match &task {
            Task::Write(writes) => Answers::Written(Vec::with_capacity(writes.len())),
            Task::Delete(deletions) => Answers::Deleted(Vec::with_capacity(deletions.len())),
            Task::Forget(logs) => Answers::Deleted(Vec::with_capacity(logs.len())),
            Task::Seal => {
                self.end_batch();
                self.seal();
                return done(Ok(StoreReply::Done));
            }
        };
        self.unanswered.push(Unanswered { answers, settled: 0, error: None, done });
        match task {
            Task::Write(writes) => self.plan_writes(writes),
            Task::Delete(deletions) => self.plan_deletions(&deletions),
            Task::Forget(logs) => self.plan_forgetting(&logs),
            Task::Seal => unreachable!("it was done above"),
        }
    }

    /// Keeps why something of the current job is unknown.
    fn note(&mut self, error: StoreError) {
        if let Some(current) = self.unanswered.last_mut() {
            current.error = Some(error);
        }
    }

    /// The state of a log with this batch.
    fn state(&self, log: LogId) -> Result<LogState, StoreError> {
        match self.frame.state(&log) {
            Some(state) => Ok(state),
            None => self.shared.index.state(log),
        }
    }

    /// Makes sure that a record fits into the frame and the frame into the segment.
    fn make_room(&mut self, bytes: usize) -> Result<Mark, StoreError> {
        let segment_bytes = u64::from(self.shared.config.segment_bytes);
        if (SEGMENT_HEAD_BYTES + FRAME_HEAD_BYTES + bytes) as u64 > segment_bytes {
            return Err(unavailable("the write is larger than a segment"));
        }
        let frame_bytes = self.frame.buffer.len() + bytes;
        match &self.segment {
            Some(segment)
                if segment.end + frame_bytes as u64 <= segment_bytes
                    && segment.index_bytes <= self.shared.config.index_bytes_max =>
            {
                return Ok(segment.mark);
            }
            _ => self.commit_for_room()?,
        }
        self.open_segment()
    }

    /// Commits before the current job is complete: the current one is not answered yet.
    fn commit_for_room(&mut self) -> Result<(), StoreError> {
        self.commit_and_answer(1)
    }

    /// Commits the frame and answers all jobs but the last `incomplete`.
    fn commit_and_answer(&mut self, incomplete: usize) -> Result<(), StoreError> {
        let committed = if self.frame.is_empty() { Ok(()) } else { self.commit_frame() };
        if let Err(error) = &committed {
            for Unanswered { answers, settled, error: reason, .. } in &mut self.unanswered {
                answers.forget(*settled);
                *reason = Some(error.clone());
            }
        }
        for unanswered in &mut self.unanswered {
            unanswered.settled = unanswered.answers.len();
        }
        let complete = self.unanswered.len().saturating_sub(incomplete);
        for Unanswered { answers, error, done, .. } in self.unanswered.drain(..complete) {
            self.shared.counters.refused.add(answers.refused() as u64);
            done(answers.reply(error));
        }
        committed
    }

    /// Makes the frame durable, shows it to readers, and does what has to follow.
    fn commit_frame(&mut self) -> Result<(), StoreError> {
        let committed = match self.commit() {
            Ok(()) => {
                self.publish();
                self.overwrite();
                Ok(())
            }
            Err(error) => Err(self.fail(&error)),
        };
        self.frame.clear();
        committed
    }

    /// Writes the frame and makes it durable.
    fn commit(&mut self) -> io::Result<()> {
        let segment = self.segment.as_mut().expect("a frame has entries only for a segment");
        let head = FrameHead {
            batch: self.next_batch,
            payload_bytes: (self.frame.buffer.len() - FRAME_HEAD_BYTES) as u32,
            records: self.frame.records() as u32,
        };
        head.encode(segment.mark, &mut self.frame.buffer);
        if segment.fresh {
            let head = SegmentHead::plain(segment.number, self.next_batch, self.shared.life);
            segment.file.write_at(&head.encode(&self.shared.identity), 0)?;
        }
        let frame_bytes = self.frame.buffer.len();
        let end = segment.end + frame_bytes as u64;
        // The zeros after the frame, which are there, to the end of their block: see `BLOCK_BYTES`.
        let written = end.next_multiple_of(BLOCK_BYTES as u64).min(segment.file_bytes);
        self.frame.buffer.resize(frame_bytes + (written - end) as usize, 0);
        segment.file.write_at(&self.frame.buffer, segment.end)?;
        self.frame.buffer.truncate(frame_bytes);
        let began = Instant::now();
        segment.file.sync()?;
        self.shared.counters.synced(began.elapsed());
        if segment.fresh {
            self.shared.disk.sync_names()?;
            segment.is_known = true;
            let next_batch = self.next_batch + 1;
            let (number, file_bytes) = (segment.number, segment.file_bytes);
            self.shared.extent.begin(number, end, next_batch, file_bytes, self.shared.life)?;
            segment.fresh = false;
        }
        Ok(())
    }

    /// Shows the batch to readers.
    fn publish(&mut self) {
        let segment = self.segment.as_mut().expect("the batch was written to it");
        let base = segment.end;
        segment.last_frame = base;
        segment.end += self.frame.buffer.len() as u64;
        let counters = &self.shared.counters;
        let frame = &self.frame;
        counters.committed(frame.entries(), frame.registers(), frame.buffer.len());
        let (end, frame, erasures) = (segment.end, &mut self.frame, &mut self.erasures);
        let index_bytes = &mut segment.index_bytes;
        self.shared.index.add(|index| {
            index.end = end;
            frame.publish(base, index, erasures);
            *index_bytes = index.bytes();
        });
        self.next_batch += 1;
    }

    /// Overwrites what the batch has erased. What fails is tried again when the segment gets its index
    /// file, or at the next start if that comes before.
    fn overwrite(&mut self) {
        if self.erasures.is_empty() {
            return;
        }
        let Shared { disk, segments, identity, .. } = &*self.shared;
        let overwritten = overwrite(&**disk, segments, identity, &self.erasures);
        self.erasures.clear();
        let Err(error) = overwritten else { return };
        tracing::error!(%error, "an entry that was erased can't be overwritten");
        for Unanswered { answers, settled, error: reason, .. } in &mut self.unanswered {
            if let Answers::Deleted(_) = answers {
                answers.forget(*settled);
                *reason = Some(unavailable(&error.to_string()));
            }
        }
    }

    /// Gives the batch up, and the segment: it is not known what of it is on the disk.
    fn fail(&mut self, error: &io::Error) -> StoreError {
        tracing::error!(%error, batch = self.next_batch, "a batch can't be made durable");
        self.shared.counters.failed();
        self.retry_at = Some(Instant::now() + self.shared.config.retry_interval);
        self.seal();
        unavailable(&error.to_string())
    }

    /// Leaves the segment, if there is one.
    fn seal(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        let OpenSegment { number, first_batch, last_frame, end, .. } = segment;
        if last_frame > 0 {
            let next_batch = self.next_batch;
            let life = self.shared.life;
            let row = Row { first_batch, next_batch, last_frame, end, life, ..Row::default() };
            self.shared.extent.seal(number, row);
        }
        if self.shared.index.seal(segment.end, self.next_batch) || segment.is_known {
            self.shared.cleaner.life.written(segment.number);
            return;
        }
        self.shared.segments.forget(segment.number);
        if let Err(error) = self.shared.disk.remove(&segment_name(segment.number)) {
            // Harmless: the next segment overrules whatever is in it.
            tracing::warn!(%error, segment = segment.number, "can't remove an empty segment");
        }
    }

    /// Begins the next segment. Its header is written with its first frame.
    fn open_segment(&mut self) -> Result<Mark, StoreError> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Err(unavailable("the last batch failed a moment ago"));
        }
        self.seal();
        self.shared.indexer.wait_for_room(&self.shared);
        let opened = self.take_spare();
        opened.map_err(|error| {
            tracing::error!(%error, "can't make a segment");
            self.shared.counters.failed();
            self.retry_at = Some(Instant::now() + self.shared.config.retry_interval);
            unavailable(&error.to_string())
        })
    }

    /// The number of the next segment: none that a file has, and none twice.
    fn next_number(&self) -> io::Result<u32> {
        let mut numbers = self.next_segment..u32::MAX;
        let number = numbers.find(|number| !self.shared.taken.contains(number));
        number.ok_or_else(|| io::Error::other("all numbers of segments are used up"))
    }

    fn take_spare(&mut self) -> io::Result<Mark> {
        if self.retry_at.take().is_some() {
            self.shared.spare.retry();
        }
        let spare = self.shared.spare.take()?;
        let file_bytes = spare.file.bytes()?;
        let number = self.next_number()?;
        self.shared.disk.rename(&spare.name, &segment_name(number))?;
        self.next_segment = number.saturating_add(1);
        self.shared.segments.keep(number, Arc::clone(&spare.file));
        self.shared.index.begin(number, self.shared.life);
        let mark = self.shared.identity.mark(number);
        let end = SEGMENT_HEAD_BYTES as u64;
        self.segment = Some(OpenSegment {
            number,
            file: spare.file,
            mark,
            first_batch: self.next_batch,
            last_frame: 0,
            end,
            file_bytes,
            index_bytes: 0,
            fresh: true,
            is_known: false,
        });
        Ok(mark)
    }
}

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable { reason: reason.to_owned() }
}
