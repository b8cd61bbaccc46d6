//! Reading a segment back after a crash.
//!
//! Batches are written one at a time, each only after the fsync of the one before. So after a
//! crash only the last batch can be unfinished, and it was never acknowledged: it is cut off. A
//! batch that is damaged although a later one follows was durable once: that is corruption. It
//! is reported, what is whole in it stays readable, and if it can't be told which entries were
//! lost, history was lost and the store gets a new epoch.

use std::io;
use std::ops::Range;

use dunlin_protocol::LogId;

use super::super::disk::unreadable::holds_unread;
use super::super::disk::{Disk, read_all};
use super::super::identity::Identity;
use super::super::index::memory::SegmentIndex;
use super::super::segment::erasure::Erasure;
use super::super::segment::frame::{FRAME_HEAD_BYTES, FrameHead, Mark, used_bytes};
use super::super::segment::record::{RecordHead, RecordKind};
use super::super::segment::{SEGMENT_HEAD_BYTES, segment_name};
use super::damage::{Damage, DamageKind};
use super::torn;
use crate::store::RegisterKey;

/// What was found in a segment.
#[derive(Debug)]
pub(in super::super) struct Scan {
    /// What it holds, and where it ends.
    pub index: SegmentIndex,
    /// Whole batches.
    pub batches: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Of it, the records that are known in spite of it.
    pub damaged_records: Vec<DamagedRecord>,
    /// Batches of which something is lost, as far as it is known how many.
    pub lost_batches: u64,
    /// Where the last whole batch begins, if there is one.
    pub last_frame: Option<usize>,
    /// Where the last record begins of which the head is whole, if there is one.
    pub last_record: Option<usize>,
    /// Bytes of an unfinished batch after the end.
    pub unfinished_bytes: u64,
    /// Entries are missing, and it is not known which.
    pub history_lost: bool,
}

/// A record whose head is whole and whose body is not, so that it is known what it was.
#[derive(Debug, Clone)]
pub(in super::super) struct DamagedRecord {
    /// Which one it is of the damage of its scan.
    pub place: usize,
    pub log: LogId,
    pub what: DamagedWhat,
}

/// What such a record was.
#[derive(Debug, Clone)]
pub(in super::super) enum DamagedWhat {
    Entry { seq: u64 },
    Register { key: RegisterKey, version: u64 },
}

/// Where a segment ends, as others know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum End {
    /// Nobody knows.
    Open,
    /// Before this batch. All before it were durable.
    At(u64),
    /// Before this batch, if not earlier: what is missing may have been in a file between them.
    Before(u64),
}

impl End {
    /// Where a segment ends that reaches to this batch, if that is known.
    pub(in super::super) fn at(batch: Option<u64>) -> End {
        batch.map_or(End::Open, End::At)
    }
}

impl Scan {
    /// Of nothing yet.
    pub(in super::super) fn new(segment: u32) -> Scan {
        Scan {
            index: SegmentIndex::new(segment),
            batches: 0,
            damage: Vec::new(),
            damaged_records: Vec::new(),
            lost_batches: 0,
            last_frame: None,
            last_record: None,
            unfinished_bytes: 0,
            history_lost: false,
        }
    }

    /// Adds a record whose body is damaged, in a place of a file.
    pub(in super::super) fn add_damaged(&mut self, file: String, offset: u64, head: &RecordHead) {
        let (log, seq, version) = (head.log, head.state.seq, head.state.version);
        let (kind, what) = match (head.kind, head.register.clone()) {
            (RecordKind::Entry, _) => {
                (DamageKind::Entry { log, seq }, Some(DamagedWhat::Entry { seq }))
            }
            (RecordKind::Register, Some(key)) => {
                let what = DamagedWhat::Register { key, version };
                (DamageKind::Register { log, version }, Some(what))
            }
            (RecordKind::Register, None) => (DamageKind::Register { log, version }, None),
            (RecordKind::Floor | RecordKind::Erasure, _) => (DamageKind::Records, None),
        };
        let place = self.damage.len();
        let record = what.map(|what| DamagedRecord { place, log, what });
        self.damaged_records.extend(record);
        self.damage.push(Damage { file, offset, bytes: head.record_bytes() as u64, kind });
    }

    /// Whether anything is damaged from a place on.
    pub(in super::super) fn is_damaged_behind(&self, at: u64) -> bool {
        self.damage.iter().any(|damage| damage.offset + damage.bytes > at)
    }
}

/// A segment that is being read back.
struct Scanner<'a> {
    identity: &'a Identity,
    mark: Mark,
    content: &'a [u8],
    /// The first batch of the next segment: it and later ones do not count here.
    next_first: Option<u64>,
    /// Batches below this one were durable for certain.
    bound: u64,
    /// The batch that should come next, if that is known.
    expected: Option<u64>,
    scan: Scan,
}

/// Reads a segment. `first` is the batch that it should begin with. All batches below `durable` were
/// durable, if nobody knows where it ended: others know better, since what they overrule was never
/// acknowledged.
pub(in super::super) fn scan(
    identity: &Identity,
    segment: u32,
    content: &[u8],
    first: Option<u64>,
    end: End,
    durable: u64,
) -> Scan {
    let mut scan = Scan::new(segment);
    scan.index.end = SEGMENT_HEAD_BYTES as u64;
    let mark = identity.mark(segment);
    let (next_first, bound) = match end {
        End::Open => (None, durable),
        End::At(batch) => (Some(batch), batch),
        End::Before(batch) => (Some(batch), 0),
    };
    let scanner = Scanner { identity, mark, content, next_first, bound, expected: first, scan };
    scanner.run()
}

/// Reads the file of a sealed segment; see [`scan`].
pub(in super::super) fn scan_file(
    disk: &dyn Disk,
    identity: &Identity,
    segment: u32,
    first: Option<u64>,
    next_first: Option<u64>,
) -> io::Result<Scan> {
    let content = read_all(&*disk.open(&segment_name(segment))?)?;
    Ok(scan(identity, segment, &content, first, End::at(next_first), 0))
}

/// Whether behind a place of a segment there is a whole batch.
pub(in super::super) fn holds_whole_frame(
    identity: &Identity,
    segment: u32,
    content: &[u8],
    from: usize,
) -> bool {
    let (mark, scan) = (identity.mark(segment), Scan::new(segment));
    let scanner =
        Scanner { identity, mark, content, next_first: None, bound: 0, expected: None, scan };
    let behind = content.get(from..).unwrap_or(&[]);
    let found = FrameHead::find(mark, behind, 0).map(|found| from + found);
    let frame = found.and_then(|at| Some((at, scanner.frame(at)?)));
    frame.is_some_and(|(at, frame)| {
        scanner.is_whole(at + FRAME_HEAD_BYTES, at + frame.bytes(), frame.records)
    })
}

/// A frame with erasures, which may have to be done again.
#[derive(Debug)]
pub(in super::super) struct ErasingFrame {
    /// Where it is.
    pub range: Range<usize>,
    pub erasures: Vec<Erasure>,
}

/// Finds the whole frames of a segment that erase something. `next_first` is as for [`scan`]: what a
/// later segment overrules was never acknowledged, and is not done.
pub(in super::super) fn erasing_frames(
    mark: Mark,
    content: &[u8],
    next_first: Option<u64>,
) -> Vec<ErasingFrame> {
    let mut frames = Vec::new();
    let mut at = SEGMENT_HEAD_BYTES.min(content.len());
    loop {
        let Some(frame) = FrameHead::decode(mark, &content[at..]) else {
            // To look for the next one takes long where there is none, so only behind damage.
            let from = (at + 1).min(content.len());
            let Some(found) = FrameHead::find(mark, &content[from..], 0) else { return frames };
            at = from + found;
            continue;
        };
        if next_first.is_some_and(|first| frame.batch >= first) {
            return frames;
        }
        let range = at..at + frame.bytes();
        let records = content.get(at + FRAME_HEAD_BYTES..range.end);
        let erasures = records.and_then(|records| erasures_of(mark, records));
        // What is not whole may be no frame of this length.
        at = if erasures.is_some() { range.end } else { at + FRAME_HEAD_BYTES };
        let erasures = erasures.unwrap_or_default();
        if !erasures.is_empty() {
            frames.push(ErasingFrame { range, erasures });
        }
    }
}

/// The erasures among the records of a frame; `None` if these are not all there, or there is an
/// erasure and not all of them are whole.
fn erasures_of(mark: Mark, records: &[u8]) -> Option<Vec<Erasure>> {
    let mut erasures = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let head = RecordHead::decode(mark, rest)?;
        let body = rest.get(head.bytes()..head.record_bytes())?;
        rest = &rest[head.record_bytes()..];
        if head.kind == RecordKind::Erasure {
            erasures.push(Erasure::from_body(body)?);
        }
    }
    let is_good = |head: &RecordHead, at: usize| {
        head.owns(mark, &records[at + head.bytes()..at + head.record_bytes()])
    };
    let mut at = 0;
    while !erasures.is_empty() && at < records.len() {
        let head = RecordHead::decode(mark, &records[at..])?;
        if !is_good(&head, at) {
            return None;
        }
        at += head.record_bytes();
    }
    Some(erasures)
}

impl Scanner<'_> {
    fn run(mut self) -> Scan {
        let mut at = SEGMENT_HEAD_BYTES;
        while at < self.content.len() {
            at = match self.frame(at) {
                Some(frame) if self.is_overruled(frame.batch) => break,
                Some(frame) => match self.take_frame(at, &frame) {
                    Some(next) => next,
                    None => break,
                },
                None => match self.skip_to_next_frame(at) {
                    Some(next) => next,
                    None => break,
                },
            };
        }
        self.finish(at)
    }

    /// The frame at a place, if its head is whole and it ends within the segment.
    fn frame(&self, at: usize) -> Option<FrameHead> {
        let frame = FrameHead::decode(self.mark, &self.content[at..])?;
        (at + frame.bytes() <= self.content.len()).then_some(frame)
    }

    fn is_overruled(&self, batch: u64) -> bool {
        self.next_first.is_some_and(|first| batch >= first)
    }

    /// Takes the records of a frame; `None` if it is unfinished. Returns where it ends.
    fn take_frame(&mut self, at: usize, frame: &FrameHead) -> Option<usize> {
        let (records, end) = (at + FRAME_HEAD_BYTES, at + frame.bytes());
        let whole = self.is_whole(records, end, frame.records);
        if !whole && !self.is_followed(end, frame.batch) && self.can_be_torn(at) {
            return None;
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != frame.batch) {
            let missing = frame.batch.checked_sub(expected);
            self.scan.lost_batches += missing.unwrap_or(0);
            self.report(at, 0, DamageKind::Batches { missing });
            self.scan.history_lost = true;
        }
        let salvaged = self.take_records(records, end);
        if salvaged < u64::from(frame.records) {
            self.scan.history_lost = true;
            self.scan.lost_batches += 1;
            self.report(records, end - records, DamageKind::Records);
        }
        self.scan.batches += 1;
        self.scan.last_frame = Some(at);
        self.advance(end, frame.batch + 1);
        Some(end)
    }

    /// Goes to the next whole frame, saving what is readable on the way; `None` if there is none.
    fn skip_to_next_frame(&mut self, at: usize) -> Option<usize> {
        let from = at + 1;
        let next = from + FrameHead::find(self.mark, &self.content[from..], 0)?;
        let batch = self.frame(next)?.batch;
        if self.is_overruled(batch) {
            return None;
        }
        self.take_headless(at, next, batch);
        self.advance(next, batch);
        Some(next)
    }

    /// Saves what is readable where the heads of frames are damaged. If just one head is, and all
    /// records behind it are whole, nothing is lost.
    fn take_headless(&mut self, at: usize, end: usize, next_batch: u64) {
        self.report(at, end - at, DamageKind::Frame);
        let records = (at + FRAME_HEAD_BYTES).min(end);
        let one_frame = self.expected.is_some_and(|expected| expected + 1 == next_batch);
        // A whole head says how many records there were, which do not fit in here.
        let is_cut = FrameHead::decode(self.mark, &self.content[at..]).is_some();
        let covered = !is_cut && records < end && self.is_covered(records, end);
        self.take_records(if covered { records } else { at }, end);
        if !one_frame || !covered {
            self.scan.history_lost = true;
            let lost = self.expected.and_then(|expected| next_batch.checked_sub(expected));
            self.scan.lost_batches += lost.unwrap_or(0);
        }
    }

    fn advance(&mut self, end: usize, expected: u64) {
        self.scan.index.end = end as u64;
        self.expected = Some(expected);
    }

    /// Looks at what is behind the last frame.
    fn finish(mut self, at: usize) -> Scan {
        let rest = used_bytes(&self.content[at.min(self.content.len())..]);
        let expected = self.expected.unwrap_or(u64::MAX);
        if expected < self.bound {
            // Batches that were durable are gone.
            self.take_lost_end(at, rest, self.bound);
            if self.next_first.is_none() {
                self.leave_numbers(at, rest);
            }
        } else if rest > 0 && self.next_first.is_none() && !self.can_be_torn(at) {
            self.take_lost_end(at, rest, expected.saturating_add(1));
            self.leave_numbers(at, rest);
        } else {
            self.scan.unfinished_bytes = rest as u64;
        }
        self.scan.index.next_batch = self.expected.or(self.next_first).unwrap_or(0);
        // A file can end before the place where its first frame was.
        self.scan.index.end = self.scan.index.end.min(self.content.len() as u64);
        self.scan
    }

    /// What the disk can't read at the end may be more than one batch, and is read another time: what comes behind it
    /// must not have their numbers.
    fn leave_numbers(&mut self, at: usize, bytes: usize) {
        let rest = self.content.get(at..at + bytes).unwrap_or(&[]);
        if self.scan.history_lost && holds_unread(rest, at as u64) {
            let batches_max = (bytes / FRAME_HEAD_BYTES) as u64;
            self.expected = self.expected.map(|expected| expected.saturating_add(batches_max));
        }
    }

    /// Saves what is readable at the end, where batches up to `next_batch` were.
    fn take_lost_end(&mut self, at: usize, bytes: usize, next_batch: u64) {
        if bytes == 0 {
            let missing = self.expected.and_then(|expected| next_batch.checked_sub(expected));
            self.report(at, 0, DamageKind::Batches { missing });
            self.scan.history_lost = true;
            self.scan.lost_batches += missing.unwrap_or(0);
        } else {
            self.take_headless(at, at + bytes, next_batch);
        }
        self.advance(at + bytes, next_batch);
    }

    /// Whether the records fill the frame and all are good.
    fn is_whole(&self, from: usize, end: usize, records: u32) -> bool {
        let mut at = from;
        for _ in 0..records {
            match self.record(at, end) {
                Some((head, true)) => at += head.record_bytes(),
                _ => return false,
            }
        }
        at == end
    }

    /// Whether whole heads of records follow each other to the end, or to zeros.
    fn is_covered(&self, from: usize, end: usize) -> bool {
        let mut at = from;
        while at < end {
            match self.record(at, end) {
                Some((head, _)) => at += head.record_bytes(),
                None => return self.content[at..end].iter().all(|byte| *byte == 0),
            }
        }
        true
    }

    /// Whether a batch was durable: a later one is here or in the next segment.
    fn is_followed(&self, end: usize, batch: u64) -> bool {
        batch < self.bound || FrameHead::find(self.mark, &self.content[end..], batch + 1).is_some()
    }

    fn can_be_torn(&self, at: usize) -> bool {
        let used = at + used_bytes(&self.content[at..]);
        torn::can_be_torn(self.mark, self.content, at, used)
    }

    /// The head of the record at a place, and whether its body is good.
    fn record(&self, at: usize, end: usize) -> Option<(RecordHead, bool)> {
        let bytes = &self.content[at..end];
        let head = RecordHead::decode(self.mark, bytes)?;
        let body = bytes.get(head.bytes()..head.record_bytes())?;
        let good = head.owns(self.mark, body);
        Some((head, good))
    }

    /// Adds all records whose heads are whole to the index; returns how many. One with a damaged
    /// body is known, so that reading it fails and its sequence is not given again.
    fn take_records(&mut self, from: usize, end: usize) -> u64 {
        let mut at = from;
        let before = self.scan.index.records;
        while at < end {
            let Some((head, good)) = self.record(at, end) else {
                at += 1;
                continue;
            };
            if !good {
                let file = segment_name(self.scan.index.segment);
                self.scan.add_damaged(file, at as u64, &head);
            }
            let body = &self.content[at..end];
            let body = body.get(head.bytes()..head.record_bytes()).filter(|_| good);
            self.scan.index.add_record(self.identity.hash_key, &head, body, at as u32);
            self.scan.last_record = Some(at);
            at += head.record_bytes();
        }
        self.scan.index.records - before
    }

    fn report(&mut self, at: usize, bytes: usize, kind: DamageKind) {
        let file = segment_name(self.scan.index.segment);
        self.scan.damage.push(Damage { file, offset: at as u64, bytes: bytes as u64, kind });
    }
}
