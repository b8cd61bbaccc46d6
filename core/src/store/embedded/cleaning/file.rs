//! A cleaned file that is open: which of its bytes are a record that was written elsewhere.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::config::OpenError;
use super::super::disk::{DiskFile, read_exact_at};
use super::super::identity::Identity;
use super::super::segment::files::Location;
use super::super::segment::{CleanedHead, SEGMENT_HEAD_BYTES, SegmentHead, Span};
use super::guide::{self, FENCE_BYTES, GUIDE_BLOCK_BYTES, Guided, PER_BLOCK};
use super::scan::Chunks;

/// An open cleaned file.
#[derive(Debug)]
pub(in super::super) struct CleanedFile {
    pub file: Arc<dyn DiskFile>,
    pub head: SegmentHead,
    cleaned: CleanedHead,
    guide: Guide,
    heads_are_whole: bool,
    /// Both headers are lost: what it held at its end can't be told.
    is_guessed: bool,
}

/// What leads to the chunks.
#[derive(Debug)]
enum Guide {
    /// In the file; the first place of each of its blocks is here.
    InFile { fences: Vec<Location>, last_block: Mutex<Option<(usize, Arc<[Guided]>)>> },
    /// It is damaged, and was made again from the heads of the chunks, which say the same.
    MadeAgain(Vec<Guided>),
}

impl CleanedFile {
    /// Opens it, given its header.
    pub(in super::super) fn open(
        identity: &Identity,
        file: Arc<dyn DiskFile>,
        head: SegmentHead,
        cleaned: CleanedHead,
    ) -> io::Result<CleanedFile> {
        let guide = match read_fences(&*file, &cleaned)? {
            Some(fences) => Guide::InFile { fences, last_block: Mutex::new(None) },
            None => Guide::MadeAgain(make_again(identity, &file, &cleaned)?),
        };
        let opened =
            CleanedFile { file, head, cleaned, guide, heads_are_whole: true, is_guessed: false };
        if opened.entries()?.is_some() {
            return Ok(opened);
        }
        let guide = Guide::MadeAgain(make_again(identity, &opened.file, &cleaned)?);
        Ok(CleanedFile { guide, ..opened })
    }

    /// What its header says.
    pub(in super::super) fn cleaned(&self) -> &CleanedHead {
        &self.cleaned
    }

    /// The segments that it holds.
    pub(in super::super) fn span(&self) -> Span {
        self.head.span()
    }

    /// Whether its header is as it was written, at both ends.
    pub(in super::super) fn heads_are_whole(&self) -> bool {
        self.heads_are_whole
    }

    /// Whether no header is left, so that chunks at its end may be missing unnoticed.
    pub(in super::super) fn is_guessed(&self) -> bool {
        self.is_guessed
    }

    /// Whether its guide is as it was written.
    pub(in super::super) fn guide_is_whole(&self) -> bool {
        matches!(self.guide, Guide::InFile { .. })
    }

    /// Where in the file a record is; `None` if it was left out.
    pub(in super::super) fn resolve(&self, place: Location) -> io::Result<Option<u64>> {
        let found = self.at_or_before(place)?;
        Ok(found.and_then(|entry| entry.resolve(place)))
    }

    /// How many bytes of the chunk of a record there are from its beginning on: more than the record has.
    pub(in super::super) fn bytes_from(&self, place: Location) -> io::Result<usize> {
        let found = self.at_or_before(place)?.filter(|entry| entry.end() > place);
        Ok(found.map_or(0, |entry| (entry.end().offset - place.offset) as usize))
    }

    /// The first chunk of which something was written at this place or behind it.
    pub(in super::super) fn chunk_from(&self, place: Location) -> io::Result<Option<Guided>> {
        let is_before = |entry: &Guided| entry.end() <= place;
        match &self.guide {
            Guide::MadeAgain(entries) => {
                Ok(entries.get(entries.partition_point(is_before)).copied())
            }
            Guide::InFile { fences, .. } => {
                let after = fences.partition_point(|fence| *fence <= place);
                for block in after.saturating_sub(1)..fences.len() {
                    let entries = self.block(block)?;
                    if let Some(entry) = entries.get(entries.partition_point(is_before)) {
                        return Ok(Some(*entry));
                    }
                }
                Ok(None)
            }
        }
    }

    /// The chunk whose records begin here in the file.
    pub(super) fn chunk_at(&self, at: u64) -> io::Result<Option<Guided>> {
        let Some(entries) = self.entries()? else { return Ok(None) };
        let found = entries.binary_search_by_key(&at, |entry| u64::from(entry.at));
        Ok(found.ok().map(|place| entries[place]))
    }

    /// All chunks by their places; `None` if a block of the guide is damaged.
    pub(in super::super) fn entries(&self) -> io::Result<Option<Vec<Guided>>> {
        let fences = match &self.guide {
            Guide::MadeAgain(entries) => return Ok(Some(entries.clone())),
            Guide::InFile { fences, .. } => fences,
        };
        let mut all = Vec::new();
        for block in 0..fences.len() {
            match self.block(block) {
                Ok(entries) => all.extend_from_slice(&entries),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(all))
    }

    /// The last chunk that begins at this place or before it.
    fn at_or_before(&self, place: Location) -> io::Result<Option<Guided>> {
        let in_order = |entries: &[Guided]| {
            let after = entries.partition_point(|entry| entry.place <= place);
            after.checked_sub(1).map(|at| entries[at])
        };
        match &self.guide {
            Guide::MadeAgain(entries) => Ok(in_order(entries)),
            Guide::InFile { fences, .. } => {
                let after = fences.partition_point(|fence| *fence <= place);
                let Some(block) = after.checked_sub(1) else { return Ok(None) };
                Ok(in_order(&self.block(block)?))
            }
        }
    }

    fn block(&self, number: usize) -> io::Result<Arc<[Guided]>> {
        let Guide::InFile { last_block, .. } = &self.guide else { return Err(damaged()) };
        if let Some((held, entries)) = &*last_block.lock()
            && *held == number
        {
            return Ok(Arc::clone(entries));
        }
        let mut block = [0; GUIDE_BLOCK_BYTES];
        let at = self.cleaned.guide_at + (number * GUIDE_BLOCK_BYTES) as u64;
        read_exact_at(&*self.file, &mut block, at).map_err(truncated)?;
        let chunks = self.cleaned.chunks - (number * PER_BLOCK) as u64;
        let chunks = chunks.min(PER_BLOCK as u64) as usize;
        let entries = guide::decode_block(&block, chunks).ok_or_else(damaged)?;
        let entries: Arc<[Guided]> = entries.into();
        *last_block.lock() = Some((number, Arc::clone(&entries)));
        Ok(entries)
    }
}

/// Reads the fences; `None` if they are damaged.
fn read_fences(file: &dyn DiskFile, cleaned: &CleanedHead) -> io::Result<Option<Vec<Location>>> {
    let blocks = guide::blocks(cleaned.chunks);
    let at = cleaned.guide_at + blocks * GUIDE_BLOCK_BYTES as u64;
    let end = at + blocks * FENCE_BYTES as u64;
    if file.bytes()? < end {
        return Ok(None);
    }
    let mut bytes = vec![0; (end - at) as usize];
    read_exact_at(file, &mut bytes, at)?;
    let whole = crc32c::crc32c(&bytes) == cleaned.fences_checksum;
    Ok(whole.then(|| guide::decode_fences(&bytes)))
}

/// Makes the guide again from the heads of the chunks.
fn make_again(
    identity: &Identity,
    file: &Arc<dyn DiskFile>,
    cleaned: &CleanedHead,
) -> io::Result<Vec<Guided>> {
    tracing::error!(last = cleaned.last, "the guide of a cleaned file is damaged");
    let mut chunks = Chunks::new(*identity, Arc::clone(file), cleaned.guide_at)?;
    let mut entries = Vec::new();
    while let Some(found) = chunks.next(None)? {
        if let Some(head) = found.head {
            let at = found.at as u32 + super::chunk::CHUNK_HEAD_BYTES as u32;
            entries.push(Guided { place: head.place, at, bytes: head.payload_bytes });
        }
    }
    Ok(entries)
}

/// Opens a file of segments if it was cleaned. Its header is there twice, at both ends, since a damaged
/// one must not make it look like a segment without a batch; and if both are, its chunks tell.
pub(in super::super) fn open_if_cleaned(
    identity: &Identity,
    file: &Arc<dyn DiskFile>,
    span: Span,
) -> io::Result<Option<CleanedFile>> {
    let whole = read_head(identity, &**file, span, 0)?.map_err(invalid)?;
    if whole.is_some_and(|head| head.cleaned.is_none()) {
        return Ok(None);
    }
    let at_end = read_head_at_end(identity, &**file, span)?;
    let other = if whole.is_some() { at_end.unwrap_or(None) } else { at_end.map_err(invalid)? };
    let head = whole.or(other).and_then(|head| Some((head, head.cleaned?)));
    let Some((head, cleaned)) = head else { return from_chunks(identity, file, span) };
    let opened = CleanedFile::open(identity, Arc::clone(file), head, cleaned)?;
    Ok(Some(CleanedFile { heads_are_whole: whole == other, ..opened }))
}

/// What is known of the header of a file of segments; or the file is not what its name says.
type HeadRead = Result<Option<SegmentHead>, OpenError>;

/// The header of a file of segments: the one that it begins with, or if that is damaged, the one that a cleaned
/// file has at its end.
pub(in super::super) fn find_head(
    identity: &Identity,
    file: &dyn DiskFile,
    span: Span,
) -> io::Result<HeadRead> {
    match read_head(identity, file, span, 0)? {
        Ok(None) => read_head_at_end(identity, file, span),
        known => Ok(known),
    }
}

/// What seems to be of another store or of another format there, is what somebody has written to a segment.
fn read_head_at_end(identity: &Identity, file: &dyn DiskFile, span: Span) -> io::Result<HeadRead> {
    let at_end = file.bytes()?.saturating_sub(SEGMENT_HEAD_BYTES as u64);
    Ok(match read_head(identity, file, span, at_end)? {
        Ok(head) => Ok(head.filter(|head| head.cleaned.is_some())),
        Err(OpenError::Misplaced { name, first, last }) => {
            Err(OpenError::Misplaced { name, first, last })
        }
        Err(_) => Ok(None),
    })
}

fn read_head(
    identity: &Identity,
    file: &dyn DiskFile,
    span: Span,
    at: u64,
) -> io::Result<HeadRead> {
    let mut bytes = vec![0; SEGMENT_HEAD_BYTES];
    let read = file.read_at(&mut bytes, at)?;
    Ok(SegmentHead::decode(identity, span, &bytes[..read]))
}

fn invalid(error: OpenError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Opens a file of which both headers are damaged, if it begins with a chunk or holds a row.
fn from_chunks(
    identity: &Identity,
    file: &Arc<dyn DiskFile>,
    span: Span,
) -> io::Result<Option<CleanedFile>> {
    let mut chunks = Chunks::new(*identity, Arc::clone(file), u64::MAX)?;
    let mut batches = 0..0;
    let (mut guide_at, mut count) = (SEGMENT_HEAD_BYTES as u64, 0);
    while let Some(found) = chunks.next(None)? {
        let Some(head) = found.head else { continue };
        let first = if count == 0 { head.batch } else { batches.start };
        batches = first..batches.end.max(head.batch + 1);
        (guide_at, count) = (found.at + found.bytes, count + 1);
    }
    if count == 0 && span.first == span.last {
        return Ok(None);
    }
    let cleaned = CleanedHead {
        last: span.last,
        next_batch: batches.end,
        cleaned_through: 0,
        guide_at,
        chunks: count,
        fences_checksum: 0,
        generation: 0,
    };
    let (number, first_batch, life) = (span.first, batches.start, 0);
    let head = SegmentHead { number, first_batch, life, cleaned: Some(cleaned) };
    let guide = Guide::MadeAgain(make_again(identity, file, &cleaned)?);
    let file = Arc::clone(file);
    Ok(Some(CleanedFile { file, head, cleaned, guide, heads_are_whole: false, is_guessed: true }))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a cleaned file is damaged")
}

fn truncated(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { damaged() } else { error }
}
