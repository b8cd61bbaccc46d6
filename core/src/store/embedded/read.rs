//! The threads that read: they wait for the disk, so that neither workers nor the commit lane do.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use dunlin_protocol::LogId;

use crate::store::{Page, Range, StoreDone, StoreError, StoreReply, StoreRequest, StoredEntry};

use super::Shared;
use super::disk::DiskFile;
use super::record::{Mark, RECORD_HEAD_BYTES_MAX, RecordHead, RecordKind, decode_body};
use super::segments::Location;

/// What is read at once where an entry begins: most entries are smaller, and the neighbours of
/// a small one often belong to the same log.
const WINDOW_BYTES: usize = 2048;

/// Places that are looked up at a time: pages are mostly smaller.
const PLACES_MAX: u64 = 128;

/// What a reader does.
pub(super) enum ReadJob {
    /// Answer a request.
    Request(StoreRequest, StoreDone),
    /// Anything else that needs the files.
    Run(Box<dyn FnOnce(&Shared) + Send>),
}

/// Works until the channel is closed.
pub(super) fn run(shared: &Shared, jobs: &Receiver<ReadJob>) {
    for job in jobs {
        match job {
            ReadJob::Request(request, done) => done(answer(shared, request)),
            ReadJob::Run(work) => work(shared),
        }
    }
}

fn answer(shared: &Shared, request: StoreRequest) -> Result<StoreReply, StoreError> {
    let index = &shared.index;
    Ok(match request {
        StoreRequest::Range(range) => StoreReply::Page(read_page(shared, &range)?),
        StoreRequest::Heads(logs) => {
            let heads = logs.iter().map(|&log| index.head(log));
            StoreReply::Heads(heads.collect::<Result<_, _>>()?)
        }
        StoreRequest::Cursors(questions) => {
            let cursors = questions.iter().map(|&(log, user)| index.cursor(log, user));
            StoreReply::Cursors(cursors.collect::<Result<_, _>>()?)
        }
        StoreRequest::Logs { kind, after, limit } => {
            StoreReply::Logs(index.logs(kind, after, limit)?)
        }
        StoreRequest::Write(_)
        | StoreRequest::Ranges(_)
        | StoreRequest::Register(_)
        | StoreRequest::Registers(_)
        | StoreRequest::Changes(_)
        | StoreRequest::Delete(_)
        | StoreRequest::Feed(_)
        | StoreRequest::Consumer(_)
        | StoreRequest::Consumers => {
            return Err(StoreError::Unavailable { reason: "not by this store".into() });
        }
        StoreRequest::Append(_) => unreachable!("appends go to the commit lane"),
    })
}

fn read_page(shared: &Shared, range: &Range) -> Result<Page, StoreError> {
    let head = shared.index.head(range.log)?;
    let (mut from, mut to) = (range.from.max(1), range.to.min(head.seq));
    let mut page = Page { head, ..Page::default() };
    let mut window = Window::default();
    let mut bytes_left = range.bytes_max;
    while from <= to {
        let wanted = (range.entries_max - page.entries.len()) as u64;
        let chunk = (to - from + 1).min(PLACES_MAX).min(wanted);
        if chunk == 0 {
            page.more = true;
            return Ok(page);
        }
        let low = if range.backwards { to + 1 - chunk } else { from };
        let places = shared.index.places(range.log, low, low + chunk - 1)?;
        for step in 0..chunk {
            let seq = if range.backwards { to - step } else { from + step };
            let place = places[(seq - low) as usize];
            let entry = match read_entry(shared, range.log, seq, place, &mut window) {
                // Entries before a damaged one are good: they are a page of their own.
                Err(StoreError::Corrupt { .. }) if !page.entries.is_empty() => {
                    page.more = true;
                    return Ok(page);
                }
                entry => entry?,
            };
            if entry.body.len() > bytes_left && !page.entries.is_empty() {
                page.more = true;
                return Ok(page);
            }
            bytes_left = bytes_left.saturating_sub(entry.body.len());
            page.entries.push(entry);
        }
        if range.backwards { to -= chunk } else { from += chunk }
    }
    Ok(page)
}

/// Reads one entry, and makes sure that it is the one that was asked for.
pub(super) fn read_entry(
    shared: &Shared,
    log: LogId,
    seq: u64,
    place: Option<Location>,
    window: &mut Window,
) -> Result<StoredEntry, StoreError> {
    let corrupt = StoreError::Corrupt { log, seq };
    let Some(place) = place else { return Err(corrupt) };
    let read = match window.read(shared, place) {
        Err(error) if is_gone(&error) => None,
        read => read.map_err(|error| unreadable(&error))?,
    };
    match read {
        Some((head, body))
            if head.kind == RecordKind::Entry && head.log == log && head.state.seq == seq =>
        {
            let erased = head.is_erased();
            let body = if erased { Bytes::new() } else { body };
            Ok(StoredEntry { seq, meta: head.state.meta, erased, body })
        }
        _ => {
            shared.counters.damaged_reads.add(1);
            tracing::error!(%log, seq, segment = place.segment, offset = place.offset, "an entry is damaged");
            Err(corrupt)
        }
    }
}

/// Reads the head of an entry; `None` if it was cleaned away, or was lost with its file.
pub(super) fn read_head(
    shared: &Shared,
    place: Location,
) -> Result<Option<RecordHead>, StoreError> {
    let mut bytes = [0; RECORD_HEAD_BYTES_MAX];
    let found = match shared.segments.resolve(place) {
        Err(error) if is_gone(&error) => None,
        found => found.map_err(|error| unreadable(&error))?,
    };
    let read = found.map_or(Ok(0), |(file, offset)| file.read_at(&mut bytes, offset));
    let read = read.map_err(|error| unreadable(&error))?;
    if read == 0 {
        return Ok(None);
    }
    let mark = shared.identity.mark(place.segment);
    RecordHead::decode(mark, &bytes[..read]).map(Some).ok_or_else(|| {
        tracing::error!(segment = place.segment, offset = place.offset, "a record is damaged");
        StoreError::Unavailable { reason: "the entry that may have this key is damaged".into() }
    })
}

/// Whether a file is not there, is not ours, or ends before what is read: that was told when the
/// store was opened, and will not change.
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | UnexpectedEof | InvalidData)
}

fn unreadable(error: &std::io::Error) -> StoreError {
    StoreError::Unavailable { reason: error.to_string() }
}

/// The part of a segment that was read last.
#[derive(Debug, Default)]
pub(super) struct Window {
    segment: Option<(u32, Arc<dyn DiskFile>, Mark)>,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Reads a record; `None` if it is damaged.
    fn read(
        &mut self,
        shared: &Shared,
        place: Location,
    ) -> std::io::Result<Option<(RecordHead, Bytes)>> {
        let mark = self.enter(shared, place.segment)?;
        let start = u64::from(place.offset);
        if let Some(found) = self.held(start).and_then(|bytes| decode(mark, bytes)) {
            return Ok(Some(found));
        }
        self.fill(start, WINDOW_BYTES)?;
        let Some(head) = RecordHead::decode(mark, &self.bytes) else { return Ok(None) };
        if head.record_bytes() > self.bytes.len() {
            self.fill(start, head.record_bytes())?;
        }
        Ok(decode(mark, &self.bytes))
    }

    fn enter(&mut self, shared: &Shared, segment: u32) -> std::io::Result<Mark> {
        match &self.segment {
            Some((number, _, mark)) if *number == segment => Ok(*mark),
            _ => {
                let (file, mark) = (shared.segments.file(segment)?, shared.identity.mark(segment));
                self.bytes.clear();
                self.segment = Some((segment, file, mark));
                Ok(mark)
            }
        }
    }

    fn held(&self, start: u64) -> Option<&[u8]> {
        let skip = usize::try_from(start.checked_sub(self.start)?).ok()?;
        self.bytes.get(skip..)
    }

    fn fill(&mut self, start: u64, bytes: usize) -> std::io::Result<()> {
        let Some((_, file, _)) = &self.segment else { return Ok(()) };
        self.start = start;
        self.bytes.resize(bytes, 0);
        let read = file.read_at(&mut self.bytes, start)?;
        self.bytes.truncate(read);
        Ok(())
    }
}

fn decode(mark: Mark, bytes: &[u8]) -> Option<(RecordHead, Bytes)> {
    let head = RecordHead::decode(mark, bytes)?;
    let body = decode_body(mark, &head, bytes)?;
    Some((head, body))
}
