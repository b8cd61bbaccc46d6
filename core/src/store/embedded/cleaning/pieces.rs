//! What was written to a file of segments, piece by piece: frames of one that is as the lane wrote it,
//! chunks of one that was cleaned.

use std::io;
use std::sync::Arc;

use super::super::identity::Identity;
use super::super::segment::files::{Location, SegmentFile};
use super::super::segment::frame::{FRAME_HEAD_BYTES, FrameHead, Mark};
use super::super::segment::record::{RECORD_HEAD_BYTES_MAX, RecordHead};
use super::chunk::CHUNK_HEAD_BYTES;
use super::file::CleanedFile;
use super::read_ahead::ReadAhead;
use super::scan::Chunks;

/// Records that lie side by side, and were written in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Piece {
    /// Where the first record was written.
    pub place: Location,
    /// Their batch; `None` of records that were begun with in the middle of a frame.
    pub batch: Option<u64>,
    /// Where the first record is in the file.
    at: u64,
    pub bytes: u64,
}

/// Which part of a segment counts.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Bounds {
    /// Where its last durable frame ends, if that is known.
    pub end: Option<u64>,
    /// The batch that the next segment begins with: it and later ones do not count.
    pub next_first: Option<u64>,
}

/// Walks over the pieces of a file.
pub(in super::super) enum Pieces {
    /// Of a file as the lane wrote it.
    Plain(Frames),
    /// Of a cleaned one.
    Cleaned { chunks: Chunks, file: Arc<CleanedFile> },
}

/// Walks over the frames of a segment.
pub(in super::super) struct Frames {
    segment: u32,
    mark: Mark,
    content: ReadAhead,
    at: u64,
    next_first: Option<u64>,
}

impl Pieces {
    /// From a place on, which is where a frame or a record begins, or anything before that in a cleaned
    /// file; `None` if there is nothing any more.
    pub(in super::super) fn from(
        identity: &Identity,
        file: SegmentFile,
        from: Location,
        bounds: Bounds,
    ) -> io::Result<Option<Pieces>> {
        Ok(match file {
            SegmentFile::Plain(file) => Some(Pieces::Plain(Frames {
                segment: from.segment,
                mark: identity.mark(from.segment),
                content: ReadAhead::new(file, bounds.end.unwrap_or(u64::MAX))?,
                at: u64::from(from.offset),
                next_first: bounds.next_first,
            })),
            SegmentFile::Cleaned(file) => match file.chunk_from(from)? {
                None => None,
                Some(guided) => {
                    let end = file.cleaned().guide_at;
                    let chunks = Chunks::new(*identity, Arc::clone(&file.file), end)?;
                    Some(Pieces::Cleaned { chunks: chunks.from(&guided), file })
                }
            },
        })
    }

    /// The next piece; an error of the kind `InvalidData` if it is damaged, so that the next one can't
    /// be found.
    pub(in super::super) fn next(&mut self) -> io::Result<Option<Piece>> {
        match self {
            Pieces::Plain(frames) => frames.next(),
            Pieces::Cleaned { chunks, file } => {
                let Some(found) = chunks.next(Some(file))? else { return Ok(None) };
                let place = found.place.ok_or_else(damaged)?;
                let batch = found.head.map(|head| head.batch);
                let head = CHUNK_HEAD_BYTES as u64;
                let (at, bytes) = (found.at + head, found.bytes - head);
                Ok(Some(Piece { place, batch, at, bytes }))
            }
        }
    }

    /// After an error of the kind `InvalidData`: where the next piece was written.
    pub(in super::super) fn behind_damage(&mut self) -> io::Result<Option<Location>> {
        match self {
            Pieces::Plain(frames) => frames.behind_damage(),
            Pieces::Cleaned { chunks, file } => {
                while let Some(found) = chunks.next(Some(file))? {
                    if found.place.is_some() {
                        return Ok(found.place);
                    }
                }
                Ok(None)
            }
        }
    }

    /// The records of a piece.
    pub(in super::super) fn records(&mut self, piece: &Piece) -> io::Result<&[u8]> {
        match self {
            Pieces::Plain(frames) => frames.content.read(piece.at, piece.bytes),
            Pieces::Cleaned { chunks, .. } => chunks.read(piece.at, piece.bytes),
        }
    }
}

impl Frames {
    fn next(&mut self) -> io::Result<Option<Piece>> {
        let left = self.content.end().saturating_sub(self.at);
        if left < FRAME_HEAD_BYTES as u64 {
            return if left == 0 { Ok(None) } else { Err(damaged()) };
        }
        let head = self.content.read(self.at, FRAME_HEAD_BYTES as u64)?;
        let is_end = head.iter().all(|byte| *byte == 0);
        let Some(frame) = FrameHead::decode(self.mark, head) else {
            return if is_end { Ok(None) } else { self.loose_record().map(Some) };
        };
        if self.next_first.is_some_and(|first| frame.batch >= first) {
            return Ok(None);
        }
        let at = self.at + FRAME_HEAD_BYTES as u64;
        self.piece(at, frame.bytes() as u64 - FRAME_HEAD_BYTES as u64, Some(frame.batch)).map(Some)
    }

    fn behind_damage(&mut self) -> io::Result<Option<Location>> {
        let left = self.content.end().saturating_sub(self.at);
        let rest = self.content.read(self.at, left)?;
        let next = FrameHead::find(self.mark, rest, 0);
        let offset = next.map(|next| self.at + next as u64);
        Ok(offset.map(|at| Location { segment: self.segment, offset: at as u32 }))
    }

    /// A record that is not the first of its frame, which one has begun with.
    fn loose_record(&mut self) -> io::Result<Piece> {
        let bytes = (self.content.end() - self.at).min(RECORD_HEAD_BYTES_MAX as u64);
        let head = RecordHead::decode(self.mark, self.content.read(self.at, bytes)?);
        let bytes = head.ok_or_else(damaged)?.record_bytes() as u64;
        self.piece(self.at, bytes, None)
    }

    fn piece(&mut self, at: u64, bytes: u64, batch: Option<u64>) -> io::Result<Piece> {
        if at + bytes > self.content.end() {
            return Err(damaged());
        }
        self.at = at + bytes;
        // Segments are smaller than 2^32 bytes.
        let place = Location { segment: self.segment, offset: at as u32 };
        Ok(Piece { place, batch, at, bytes })
    }
}

/// The records of a piece that begins at a place, each with its own; an error of the kind `InvalidData`
/// where one is damaged.
pub(in super::super) fn records_of<'a>(
    identity: &Identity,
    place: Location,
    bytes: &'a [u8],
) -> impl Iterator<Item = io::Result<(Location, RecordHead, &'a [u8])>> {
    let mark = identity.mark(place.segment);
    let mut inside = 0;
    std::iter::from_fn(move || {
        if inside >= bytes.len() {
            return None;
        }
        let rest = &bytes[inside..];
        let offset = place.offset + inside as u32;
        let found = RecordHead::decode(mark, rest).and_then(|head| {
            let body = rest.get(head.bytes()..head.record_bytes())?;
            let place = Location { segment: place.segment, offset };
            Some((place, head, body))
        });
        inside = match &found {
            Some((_, head, _)) => inside + head.record_bytes(),
            None => bytes.len(),
        };
        Some(found.ok_or_else(damaged))
    })
}

pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a file of segments is damaged")
}
