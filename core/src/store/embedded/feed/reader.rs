//! Reading the feed: the records of all segments in the order in which they were written.

use std::io;

use dunlin_protocol::LogKind;

use crate::store::feed::{FeedFrom, FeedItem, FeedWhat};
use crate::store::{FeedPage, FeedRange, Register, StoreError, StoredEntry};

use super::super::Shared;
use super::super::cleaning::pieces::{Bounds, Piece, Pieces, records_of};
use super::super::segment::SEGMENT_HEAD_BYTES;
use super::super::segment::erasure::Erasure;
use super::super::segment::files::{Location, SegmentFile};
use super::super::segment::record::{RecordHead, RecordKind, decode_body};
use super::position;

/// What is read for one page at most, whatever of it is for nobody.
const PAGE_BYTES_READ_MAX: u64 = 16 * 1024 * 1024;

/// Where the feed ends now: behind what is durable.
pub(super) fn end(shared: &Shared) -> Location {
    let in_memory = shared.index.ends_in_memory();
    let newest = in_memory.into_iter().rev().find(|(_, end)| *end > 0);
    // An offset is smaller than a segment.
    let known = newest.map(|(segment, end)| Location { segment, offset: end as u32 });
    known.unwrap_or_else(|| {
        let indexed = shared.index.runs().last().map_or(0, |run| run.segments().1);
        let end = shared.extent.end_of(indexed).map_or(u32::MAX, |end| end as u32);
        Location { segment: indexed, offset: if indexed == 0 { 0 } else { end } }
    })
}

/// Reads a page.
pub(in super::super) fn read_feed(
    shared: &Shared,
    range: &FeedRange,
) -> Result<FeedPage, StoreError> {
    let end = end(shared);
    let start = match &range.from {
        FeedFrom::Beginning => Location { segment: 0, offset: 0 },
        FeedFrom::End => end,
        FeedFrom::After(after) => position::decode(after, end)?,
    };
    let mut reader = FeedReader::new(shared, range, start, end);
    if range.items_max > 0 {
        let read = reader.read();
        read.map_err(|error| StoreError::Unavailable { reason: error.to_string() })?;
    } else {
        reader.more = start < end;
    }
    let FeedReader { items, reached, more, .. } = reader;
    Ok(FeedPage { items, position: position::encode(reached), more })
}

/// How many bytes of what is for somebody are behind a place, if that is found out soon.
pub(super) fn bytes_behind(shared: &Shared, place: Location) -> io::Result<Option<u64>> {
    let from = FeedFrom::Beginning;
    let range = FeedRange { from, items_max: usize::MAX, bytes_max: usize::MAX };
    let mut reader = FeedReader::new(shared, &range, place, end(shared));
    reader.read()?;
    let bytes = reader.items.iter().map(|item| item.bytes() as u64 + ITEM_BYTES).sum();
    Ok((!reader.more).then_some(bytes))
}

/// What something in the feed takes on the disk besides its bytes, about.
const ITEM_BYTES: u64 = 100;

/// A page that is being read.
struct FeedReader<'a> {
    shared: &'a Shared,
    range: &'a FeedRange,
    /// What is read ends here.
    end: Location,
    /// Up to here everything is in the page, or for nobody.
    reached: Location,
    items: Vec<FeedItem>,
    bytes: usize,
    bytes_left: u64,
    more: bool,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Goes {
    On,
    /// The page is full.
    No,
}

impl FeedReader<'_> {
    fn new<'a>(
        shared: &'a Shared,
        range: &'a FeedRange,
        start: Location,
        end: Location,
    ) -> FeedReader<'a> {
        FeedReader {
            shared,
            range,
            end,
            reached: start,
            items: Vec::new(),
            bytes: 0,
            bytes_left: PAGE_BYTES_READ_MAX,
            more: false,
        }
    }

    /// Reads segment by segment.
    fn read(&mut self) -> io::Result<()> {
        let mut segment = self.reached.segment.max(1);
        while segment <= self.end.segment {
            let span = self.shared.segments.span_of(segment);
            if self.file(segment)? == Goes::No {
                self.more = true;
                return Ok(());
            }
            segment = span.last.max(segment) + 1;
        }
        self.reached = self.reached.max(self.end);
        Ok(())
    }

    /// Reads the rest of a file.
    fn file(&mut self, segment: u32) -> io::Result<Goes> {
        let file = match self.shared.segments.open(segment) {
            // Numbers may be missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Goes::On),
            file => file?,
        };
        let bounds = self.bounds(segment);
        let least = match file {
            SegmentFile::Plain(_) => SEGMENT_HEAD_BYTES as u32,
            SegmentFile::Cleaned(_) => 0,
        };
        let mut from = self.reached.max(Location { segment, offset: least });
        if from.segment == segment {
            from.offset = from.offset.max(least);
        }
        let identity = &self.shared.identity;
        loop {
            let Some(mut pieces) = Pieces::from(identity, file.clone(), from, bounds)? else {
                return Ok(Goes::On);
            };
            match self.pieces(&mut pieces) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let Some(next) = pieces.behind_damage()? else { return Ok(Goes::On) };
                    tracing::error!(segment, offset = next.offset, "the feed passes over damage");
                    (from, self.reached) = (next, next);
                }
                goes => return goes,
            }
        }
    }

    /// Which part of a segment is durable and counts.
    fn bounds(&self, segment: u32) -> Bounds {
        let is_last = segment == self.end.segment;
        let known = self.shared.index.ends_in_memory().into_iter().find(|(of, _)| *of == segment);
        let known = known.map(|(_, end)| end).or_else(|| self.shared.extent.end_of(segment));
        let end = if is_last { Some(u64::from(self.end.offset)) } else { known };
        Bounds { end, next_first: None }
    }

    fn pieces(&mut self, pieces: &mut Pieces) -> io::Result<Goes> {
        while let Some(piece) = pieces.next()? {
            if self.bytes_left == 0 {
                return Ok(Goes::No);
            }
            self.bytes_left = self.bytes_left.saturating_sub(piece.bytes);
            let records = pieces.records(&piece)?;
            if self.piece(&piece, records)? == Goes::No {
                return Ok(Goes::No);
            }
        }
        Ok(Goes::On)
    }

    fn piece(&mut self, piece: &Piece, records: &[u8]) -> io::Result<Goes> {
        let identity = &self.shared.identity;
        for record in records_of(identity, piece.place, records) {
            let (place, head, body) = record?;
            let behind = Location { offset: place.offset + head.record_bytes() as u32, ..place };
            if place < self.reached || head.log.kind() == LogKind::Service {
                self.reached = self.reached.max(behind);
                continue;
            }
            let Some(what) = self.what(place, &head, body)? else {
                self.reached = behind;
                continue;
            };
            let item = FeedItem { log: head.log, what };
            let bytes = self.bytes.saturating_add(item.bytes());
            let is_full = self.items.len() == self.range.items_max || bytes > self.range.bytes_max;
            if is_full && !self.items.is_empty() {
                return Ok(Goes::No);
            }
            self.bytes = bytes;
            self.items.push(item);
            self.reached = behind;
        }
        Ok(Goes::On)
    }

    /// What a record says; `None` if its body is damaged.
    fn what(
        &self,
        place: Location,
        head: &RecordHead,
        body: &[u8],
    ) -> io::Result<Option<FeedWhat>> {
        let mark = self.shared.identity.mark(place.segment);
        if !head.owns(mark, body) {
            return self.what_is_there_now(place);
        }
        Ok(what(head, body))
    }

    /// A record that may have been overwritten while it was read.
    fn what_is_there_now(&self, place: Location) -> io::Result<Option<FeedWhat>> {
        let _nobody_else = self.shared.segments.rewrites();
        let Some((file, at)) = self.shared.segments.resolve(place)? else { return Ok(None) };
        let mark = self.shared.identity.mark(place.segment);
        let mut bytes = vec![0; super::super::segment::record::RECORD_HEAD_BYTES_MAX];
        let read = file.read_at(&mut bytes, at)?;
        let Some(head) = RecordHead::decode(mark, &bytes[..read]) else { return Ok(None) };
        bytes.resize(head.record_bytes(), 0);
        let read = file.read_at(&mut bytes, at)?;
        let body = decode_body(mark, &head, &bytes[..read]);
        if body.is_none() {
            tracing::error!(log = %head.log, segment = place.segment, offset = place.offset, "the feed passes over a damaged record");
        }
        Ok(body.and_then(|body| what(&head, &body)))
    }
}

fn what(head: &RecordHead, body: &[u8]) -> Option<FeedWhat> {
    Some(match head.kind {
        RecordKind::Entry => FeedWhat::Entry(StoredEntry {
            seq: head.state.seq,
            meta: head.state.meta,
            erased: head.is_erased(),
            body: if head.is_erased() { Default::default() } else { body.to_vec().into() },
        }),
        RecordKind::Register => FeedWhat::Register(Register {
            key: head.register.clone()?,
            version: head.state.version,
            value: (!head.gone).then(|| body.to_vec().into()),
        }),
        // That removals are forgotten changes nothing.
        RecordKind::Floor if head.gone => return None,
        // With the version that sets nothing a log was dropped; without any entry and any register it is
        // as if it had been.
        RecordKind::Floor => {
            let floors = &head.state.floors;
            let no_entries = floors.entries_from == head.state.seq + 1 || head.state.seq == 0;
            if floors.registers_from == head.state.version && head.state.version > 0 && no_entries {
                FeedWhat::Dropped
            } else {
                FeedWhat::Truncated { below: floors.entries_from }
            }
        }
        RecordKind::Erasure => FeedWhat::Erased { seq: Erasure::from_body(body)?.seq() },
    })
}
