//! Reading a cleaned file from its beginning to its end.
//!
//! The heads of the chunks and the guide say the same, so one of the two may be damaged and nothing is
//! lost. A record that is damaged is as damaged as it was, or became so here: it is told either way.

use std::io;
use std::sync::Arc;

use super::super::disk::DiskFile;
use super::super::identity::Identity;
use super::super::recovery::damage::{Damage, DamageKind};
use super::super::recovery::scan::Scan;
use super::super::segment::files::Location;
use super::super::segment::record::RecordHead;
use super::super::segment::{SEGMENT_HEAD_BYTES, Span};
use super::chunk::{CHUNK_HEAD_BYTES, ChunkHead};
use super::file::CleanedFile;
use super::guide::Guided;
use super::read_ahead::ReadAhead;

/// Something found between two chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct FoundChunk {
    /// Where in the file it begins.
    pub at: u64,
    /// How long it is, with its head.
    pub bytes: u64,
    /// Where its records were written; `None` if that can't be told.
    pub place: Option<Location>,
    /// Its head; `None` if that is damaged.
    pub head: Option<ChunkHead>,
}

/// Walks over the chunks of a file.
pub(in super::super) struct Chunks {
    identity: Identity,
    content: ReadAhead,
    at: u64,
}

impl Chunks {
    /// `end` is where the guide begins.
    pub(in super::super) fn new(
        identity: Identity,
        file: Arc<dyn DiskFile>,
        end: u64,
    ) -> io::Result<Chunks> {
        let content = ReadAhead::new(file, end)?;
        Ok(Chunks { identity, content, at: SEGMENT_HEAD_BYTES as u64 })
    }

    /// Begins at the chunk that the guide knows.
    pub(in super::super) fn from(mut self, guided: &Guided) -> Chunks {
        self.at = u64::from(guided.at) - CHUNK_HEAD_BYTES as u64;
        self
    }

    /// The next chunk, whose head may be damaged if the guide knows it; or what is nobody knows what.
    pub(in super::super) fn next(
        &mut self,
        guide: Option<&CleanedFile>,
    ) -> io::Result<Option<FoundChunk>> {
        if self.at >= self.content.end() {
            return Ok(None);
        }
        let found = match self.head_at(self.at)? {
            Some(head) => {
                let (at, bytes) = (self.at, head.bytes());
                FoundChunk { at, bytes, place: Some(head.place), head: Some(head) }
            }
            None => self.without_head(guide)?,
        };
        self.at += found.bytes;
        Ok(Some(found))
    }

    /// The records of a chunk.
    pub(in super::super) fn records(&mut self, found: &FoundChunk) -> io::Result<&[u8]> {
        let head = (CHUNK_HEAD_BYTES as u64).min(found.bytes);
        self.read(found.at + head, found.bytes - head)
    }

    /// The head at a place, if it is whole and its chunk ends before the guide.
    fn head_at(&mut self, at: u64) -> io::Result<Option<ChunkHead>> {
        if at + CHUNK_HEAD_BYTES as u64 > self.content.end() {
            return Ok(None);
        }
        let (identity, end) = (self.identity, self.content.end());
        let head = ChunkHead::decode(&identity, self.read(at, CHUNK_HEAD_BYTES as u64)?);
        Ok(head.filter(|head| at + head.bytes() <= end))
    }

    fn without_head(&mut self, guide: Option<&CleanedFile>) -> io::Result<FoundChunk> {
        let at = self.at;
        let known = match guide {
            Some(guide) => guide.chunk_at(at + CHUNK_HEAD_BYTES as u64)?,
            None => None,
        };
        if let Some(Guided { place, bytes, .. }) = known {
            let bytes = CHUNK_HEAD_BYTES as u64 + u64::from(bytes);
            return Ok(FoundChunk { at, bytes, place: Some(place), head: None });
        }
        let mut next = at + 1;
        while next < self.content.end() && self.head_at(next)?.is_none() {
            next += 1;
        }
        Ok(FoundChunk { at, bytes: next - at, place: None, head: None })
    }

    pub(super) fn read(&mut self, at: u64, bytes: u64) -> io::Result<&[u8]> {
        self.content.read(at, bytes)
    }
}

/// What a cleaned file holds, segment by segment: those of which something is left.
pub(in super::super) fn scan_cleaned(
    identity: &Identity,
    cleaned: &CleanedFile,
) -> io::Result<Vec<Scan>> {
    let span = cleaned.span();
    let mut scanner = Scanner { identity, span, scans: Vec::new() };
    if !cleaned.heads_are_whole() {
        scanner.report(0, SEGMENT_HEAD_BYTES as u64, DamageKind::Header);
        scanner.current().history_lost = cleaned.is_guessed();
    }
    if !cleaned.guide_is_whole() {
        scanner.report(cleaned.cleaned().guide_at, 0, DamageKind::Guide);
    }
    let end = cleaned.cleaned().guide_at;
    let mut chunks = Chunks::new(*identity, Arc::clone(&cleaned.file), end)?;
    let mut found_chunks = 0;
    while let Some(found) = chunks.next(Some(cleaned))? {
        found_chunks += u64::from(found.place.is_some());
        scanner.chunk(&found, chunks.records(&found)?);
    }
    if found_chunks < cleaned.cleaned().chunks {
        let missing = Some(cleaned.cleaned().chunks - found_chunks);
        scanner.report(end, 0, DamageKind::Batches { missing });
        scanner.current().history_lost = true;
    }
    for scan in &mut scanner.scans {
        let is_last = scan.index.segment == span.last;
        let batches = scan.index.next_batch;
        scan.index.next_batch = if is_last { cleaned.cleaned().next_batch } else { batches };
    }
    Ok(scanner.scans)
}

struct Scanner<'a> {
    identity: &'a Identity,
    span: Span,
    scans: Vec<Scan>,
}

impl Scanner<'_> {
    /// The last scan, which is of this segment from now on.
    fn scan_of(&mut self, segment: u32) -> &mut Scan {
        if self.scans.last().is_none_or(|scan| scan.index.segment < segment) {
            self.scans.push(Scan::new(segment));
        }
        self.scans.last_mut().expect("one was just put there")
    }

    fn chunk(&mut self, found: &FoundChunk, records: &[u8]) {
        let Some(place) = found.place else {
            // Which segment it was of can't be told any more.
            self.current().history_lost = true;
            return self.report(found.at, found.bytes, DamageKind::Records);
        };
        self.scan_of(place.segment);
        if found.head.is_none() {
            self.report(found.at, CHUNK_HEAD_BYTES as u64, DamageKind::Frame);
        }
        let at = found.at + CHUNK_HEAD_BYTES as u64;
        let taken = self.records(place, at, records);
        let scan = self.scan_of(place.segment);
        scan.batches += 1;
        if let Some(head) = &found.head {
            scan.index.next_batch = scan.index.next_batch.max(head.batch + 1);
        }
        let all_known = found.head.map_or(taken.is_covered, |head| taken.records == head.records);
        if !all_known {
            scan.history_lost = true;
            self.report(at, records.len() as u64, DamageKind::Records);
        }
    }

    /// Adds all records whose heads are whole to the index.
    fn records(&mut self, place: Location, at: u64, records: &[u8]) -> Taken {
        let mark = self.identity.mark(place.segment);
        let mut taken = Taken { records: 0, is_covered: true };
        let mut inside = 0;
        while inside < records.len() {
            let rest = &records[inside..];
            let Some(head) = RecordHead::decode(mark, rest) else {
                taken.is_covered = false;
                inside += 1;
                continue;
            };
            let body = rest.get(head.bytes()..head.record_bytes());
            let body = body.filter(|body| head.owns(mark, body));
            if body.is_none() {
                let file = self.span.name();
                self.scan_of(place.segment).add_damaged(file, at + inside as u64, &head);
            }
            let offset = place.offset + inside as u32;
            let hash_key = self.identity.hash_key;
            self.scan_of(place.segment).index.add_record(hash_key, &head, body, offset);
            taken.records += 1;
            inside += head.record_bytes();
        }
        taken
    }

    fn report(&mut self, at: u64, bytes: u64, kind: DamageKind) {
        let damage = Damage { file: self.span.name(), offset: at, bytes, kind };
        self.current().damage.push(damage);
    }

    /// The scan of what was looked at last.
    fn current(&mut self) -> &mut Scan {
        let segment = self.scans.last().map_or(self.span.first, |scan| scan.index.segment);
        self.scan_of(segment)
    }
}

/// What was found of the records of a chunk.
struct Taken {
    records: u32,
    /// They follow each other without a gap.
    is_covered: bool,
}
