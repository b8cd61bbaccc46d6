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

use std::io;
use std::sync::Arc;
use std::time::Instant;

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::store::{
    Append, Appended, CursorMove, DedupeKey, RegisterKey, StoreDone, StoreError, StoreReply,
};

use super::Shared;
use super::disk::DiskFile;
use super::extent::Row;
use super::queue::{Job, Queue};
use super::read::read_head;
use super::record::{
    FRAME_HEAD_BYTES, FrameHead, LogState, Mark, NewRecord, RECORD_HEAD_BYTES_MAX,
};
use super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, segment_name};
use super::segments::Location;

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
    /// The jobs that have entries in the frame, or wait for it, the oldest first.
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
    /// Nothing was written to it yet, its header neither.
    fresh: bool,
    /// It may be written that this segment has begun, so that its file has to stay.
    is_known: bool,
}

/// The batch that is being made. Its parts keep their memory from batch to batch.
#[derive(Default)]
struct Frame {
    buffer: Vec<u8>,
    planned: Vec<Planned>,
    /// How many records there are.
    records: u32,
    /// The states of the logs with this batch, where they differ from the index.
    states: HashMap<LogId, LogState, RandomState>,
    /// The keys of this batch by hash: positions in `planned`.
    keys: HashMap<u64, usize, RandomState>,
}

/// An entry of the frame.
struct Planned {
    log: LogId,
    state: LogState,
    key: Option<(u64, DedupeKey)>,
    digest: u64,
    cursor: Option<(CursorMove, LogState)>,
    /// In the frame.
    offset: usize,
}

struct Unanswered {
    reply: Result<Vec<Appended>, StoreError>,
    done: StoreDone,
}

impl Frame {
    fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.resize(FRAME_HEAD_BYTES, 0);
        self.planned.clear();
        self.records = 0;
        self.states.clear();
        self.keys.clear();
    }

    /// `before` is the state of the log, `conversation` that of the one whose cursor moves with it.
    fn add(
        &mut self,
        mark: Mark,
        item: &Append,
        hash: Option<u64>,
        before: LogState,
        conversation: Option<LogState>,
    ) {
        let offset = self.buffer.len();
        let Append { log, seq, meta, digest, .. } = *item;
        let state = LogState { seq, meta, ..before };
        let key = item.key.map(|key| (key, digest));
        self.encode(mark, &NewRecord::entry(log, state, key, &item.body));
        self.states.insert(log, state);
        let cursor = item.cursor.zip(conversation);
        let cursor = cursor.map(|(cursor, before)| self.add_cursor(mark, cursor, before));
        if let Some(hash) = hash {
            self.keys.insert(hash, self.planned.len());
        }
        let key = hash.zip(item.key);
        self.planned.push(Planned { log, state, key, digest, cursor, offset });
    }

    fn add_cursor(
        &mut self,
        mark: Mark,
        cursor: CursorMove,
        before: LogState,
    ) -> (CursorMove, LogState) {
        let before = self.states.get(&cursor.conversation).copied().unwrap_or(before);
        let state = LogState { version: before.version + 1, ..before };
        let key = RegisterKey::numbered(b'r', cursor.user.get());
        let value = [cursor.seq.to_be_bytes(), [0; 8]].concat();
        self.encode(mark, &NewRecord::register(cursor.conversation, state, &key, Some(&value)));
        self.states.insert(cursor.conversation, state);
        (cursor, state)
    }

    fn encode(&mut self, mark: Mark, record: &NewRecord<'_>) {
        record.encode(mark, &mut self.buffer);
        self.records += 1;
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
        while self.queue.take(&mut jobs) {
            for job in jobs.drain(..) {
                self.plan(job);
                if self.frame.buffer.len() >= self.shared.config.batch_bytes_max as usize {
                    self.commit_and_answer(0);
                }
            }
            self.commit_and_answer(0);
        }
        let end = self.segment.as_ref().filter(|segment| !segment.fresh).map(|segment| segment.end);
        if let Err(error) = self.shared.extent.stop(end, self.next_batch) {
            tracing::error!(%error, "can't write where the store ends");
        }
    }

    /// Decides about all items of a job and puts those to be stored into the frame.
    fn plan(&mut self, job: Job) {
        self.stale.clear();
        let reply = Ok(Vec::with_capacity(job.items.len()));
        self.unanswered.push(Unanswered { reply, done: job.done });
        self.look_up(&job.items);
        for (place, item) in job.items.iter().enumerate() {
            let decided = self.plan_item(place, item);
            let current = self.unanswered.last_mut().expect("the job was just pushed");
            match (&mut current.reply, decided) {
                (Ok(answers), Ok(answer)) => answers.push(answer),
                (reply, Err(error)) => return *reply = Err(error),
                (Err(_), Ok(_)) => return,
            }
        }
    }

    /// Hashes the keys of a job and asks the index for all of them at once.
    fn look_up(&mut self, items: &[Append]) {
        let hash_key = self.shared.identity.hash_key;
        let hash =
            |item: &Append| item.key.as_ref().map_or(0, |key| hash_key.of_message(item.log, key));
        self.hashes.clear();
        self.hashes.extend(items.iter().map(hash));
        self.shared.index.may_hold_keys(&self.hashes, &mut self.may_be_known);
        self.looked_up = self.next_batch;
    }

    fn plan_item(&mut self, place: usize, item: &Append) -> Result<Appended, StoreError> {
        let mut hash = None;
        if let Some(key) = &item.key {
            let hashed = self.hashes[place];
            if let Some(duplicate) = self.find_duplicate(place, item, key)? {
                self.stale.insert(item.log);
                return Ok(duplicate);
            }
            hash = Some(hashed);
        }
        let state = self.state(item.log)?;
        if state.seq.checked_add(1) != Some(item.seq) || self.stale.contains(&item.log) {
            self.stale.insert(item.log);
            return Ok(Appended::Conflict { head: state.head() });
        }
        let conversation = item.cursor.map(|cursor| self.state(cursor.conversation)).transpose()?;
        let bytes = RECORD_HEAD_BYTES_MAX + item.body.len();
        let cursor_bytes = item.cursor.map_or(0, |_| RECORD_HEAD_BYTES_MAX);
        let mark = self.make_room(bytes + cursor_bytes)?;
        self.frame.add(mark, item, hash, state, conversation);
        Ok(Appended::Stored)
    }

    /// The state of a log with this batch.
    fn state(&self, log: LogId) -> Result<LogState, StoreError> {
        match self.frame.states.get(&log) {
            Some(state) => Ok(*state),
            None => self.shared.index.state(log),
        }
    }

    /// Looks for the key in this batch and in the index.
    fn find_duplicate(
        &mut self,
        place: usize,
        item: &Append,
        key: &DedupeKey,
    ) -> Result<Option<Appended>, StoreError> {
        let hash = self.hashes[place];
        if let Some(&at) = self.frame.keys.get(&hash) {
            let Planned { log, state, digest, key: used, .. } = self.frame.planned[at];
            let seq = state.seq;
            if log == item.log && used.is_some_and(|(_, used)| used == *key) {
                return Ok(Some(Appended::Duplicate { seq, digest }));
            }
            // Another key with the same hash. The index can hold both, this batch can't.
            self.commit_for_room()?;
        }
        // A commit in the middle of the job has added to the index.
        if !self.may_be_known[place] && self.looked_up == self.next_batch {
            return Ok(None);
        }
        self.places.clear();
        self.shared.index.places_of_key(hash, &mut self.places)?;
        for &place in &self.places {
            // A retry of what was lost is stored again.
            let Some(head) = read_head(&self.shared, place)? else { continue };
            if head.log == item.log && head.key == Some(*key) {
                return Ok(Some(Appended::Duplicate { seq: head.state.seq, digest: head.digest }));
            }
        }
        Ok(None)
    }

    /// Makes sure that a record fits into the frame and the frame into the segment.
    fn make_room(&mut self, bytes: usize) -> Result<Mark, StoreError> {
        let segment_bytes = u64::from(self.shared.config.segment_bytes);
        if (SEGMENT_HEAD_BYTES + FRAME_HEAD_BYTES + bytes) as u64 > segment_bytes {
            return Err(unavailable("the entry is larger than a segment"));
        }
        let frame_bytes = self.frame.buffer.len() + bytes;
        match &self.segment {
            Some(segment) if segment.end + frame_bytes as u64 <= segment_bytes => {
                return Ok(segment.mark);
            }
            _ => self.commit_for_room()?,
        }
        self.open_segment()
    }

    /// Commits before the current job is complete: the current one is not answered yet.
    fn commit_for_room(&mut self) -> Result<(), StoreError> {
        self.commit_and_answer(1);
        match self.unanswered.last() {
            Some(Unanswered { reply: Err(error), .. }) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Commits the frame and answers all jobs but the last `incomplete`.
    fn commit_and_answer(&mut self, incomplete: usize) {
        if !self.frame.planned.is_empty() {
            match self.commit() {
                Ok(()) => self.publish(),
                Err(error) => self.fail(&error),
            }
            self.frame.clear();
        }
        let complete = self.unanswered.len().saturating_sub(incomplete);
        for Unanswered { reply, done } in self.unanswered.drain(..complete) {
            if let Ok(answers) = &reply {
                let refused = answers.iter().filter(|answer| **answer != Appended::Stored);
                self.shared.counters.refused.add(refused.count() as u64);
            }
            done(reply.map(StoreReply::Appended));
        }
    }

    /// Writes the frame and makes it durable.
    fn commit(&mut self) -> io::Result<()> {
        let segment = self.segment.as_mut().expect("a frame has entries only for a segment");
        let head = FrameHead {
            batch: self.next_batch,
            payload_bytes: (self.frame.buffer.len() - FRAME_HEAD_BYTES) as u32,
            records: self.frame.records,
        };
        head.encode(segment.mark, &mut self.frame.buffer);
        if segment.fresh {
            let head = SegmentHead::plain(segment.number, self.next_batch);
            segment.file.write_at(&head.encode(&self.shared.identity), 0)?;
        }
        segment.file.write_at(&self.frame.buffer, segment.end)?;
        let began = Instant::now();
        segment.file.sync()?;
        self.shared.counters.synced(began.elapsed());
        if segment.fresh {
            self.shared.disk.sync_names()?;
            segment.is_known = true;
            let end = segment.end + self.frame.buffer.len() as u64;
            let file_bytes = segment.file.bytes()?;
            self.shared.extent.begin(segment.number, end, self.next_batch + 1, file_bytes)?;
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
        let (end, planned) = (segment.end, &self.frame.planned);
        self.shared.index.add(|index| {
            index.end = end;
            for entry in planned {
                // Segments are smaller than 2^32 bytes.
                let offset = (base + entry.offset as u64) as u32;
                index.add(entry.log, &entry.state, offset);
                if let Some((hash, _)) = entry.key {
                    index.add_key(hash, offset);
                }
                if let Some((cursor, state)) = entry.cursor {
                    index.add_state(cursor.conversation, &state);
                    index.move_cursor(cursor.conversation, cursor.user, cursor.seq);
                }
            }
        });
        self.next_batch += 1;
        let counters = &self.shared.counters;
        counters.batches.add(1);
        counters.appends.add(planned.len() as u64);
        counters.bytes.add(self.frame.buffer.len() as u64);
    }

    /// Gives the batch up, and the segment: it is not known what of it is on the disk.
    fn fail(&mut self, error: &io::Error) {
        tracing::error!(%error, batch = self.next_batch, "a batch can't be made durable");
        self.shared.counters.failures.add(1);
        self.retry_at = Some(Instant::now() + self.shared.config.retry_interval);
        let reason = unavailable(&error.to_string());
        for unanswered in &mut self.unanswered {
            unanswered.reply = Err(reason.clone());
        }
        self.seal();
    }

    /// Leaves the segment, if there is one.
    fn seal(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        let OpenSegment { number, first_batch, last_frame, end, .. } = segment;
        if last_frame > 0 {
            let (next_batch, loss_told, file_lost) = (self.next_batch, false, false);
            let row = Row { first_batch, next_batch, last_frame, end, loss_told, file_lost };
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
        let opened = self.take_spare();
        opened.map_err(|error| {
            tracing::error!(%error, "can't make a segment");
            self.shared.counters.failures.add(1);
            self.retry_at = Some(Instant::now() + self.shared.config.retry_interval);
            unavailable(&error.to_string())
        })
    }

    fn take_spare(&mut self) -> io::Result<Mark> {
        if self.retry_at.take().is_some() {
            self.shared.spare.retry();
        }
        let spare = self.shared.spare.take()?;
        let number = self.next_segment;
        self.shared.disk.rename(&spare.name, &segment_name(number))?;
        self.next_segment += 1;
        self.shared.segments.keep(number, Arc::clone(&spare.file));
        self.shared.index.begin(number);
        let mark = self.shared.identity.mark(number);
        let end = SEGMENT_HEAD_BYTES as u64;
        self.segment = Some(OpenSegment {
            number,
            file: spare.file,
            mark,
            first_batch: self.next_batch,
            last_frame: 0,
            end,
            fresh: true,
            is_known: false,
        });
        Ok(mark)
    }
}

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable { reason: reason.to_owned() }
}
