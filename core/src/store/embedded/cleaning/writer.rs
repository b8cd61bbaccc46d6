//! Writing a cleaned file.

use std::io;
use std::sync::Arc;

use super::super::disk::{Disk, DiskFile};
use super::super::identity::Identity;
use super::super::segment::{
    CleanedHead, SEGMENT_HEAD_BYTES, SegmentHead, Span, UNFINISHED_SUFFIX,
};
use super::chunk::{CHUNK_HEAD_BYTES, ChunkHead};
use super::file::CleanedFile;
use super::guide::{self, Guided, PER_BLOCK};

/// What is written at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes after which the file is synced: a commit that comes meanwhile waits behind so many, not behind
/// a whole file.
const SYNC_BYTES: usize = 1024 * 1024;

/// What a cleaned file is going to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Row {
    pub span: Span,
    /// The first batch of the first segment, and the one after the last of the last segment.
    pub first_batch: u64,
    pub next_batch: u64,
    /// The newest batch that was durable when it was first asked what is dead.
    pub cleaned_through: u64,
    /// How often the oldest of it was cleaned, with this time.
    pub generation: u32,
    /// The life of the store that cleans it.
    pub life: u64,
}

/// A cleaned file that is being written.
pub(in super::super) struct CleanedWriter {
    row: Row,
    file: Arc<dyn DiskFile>,
    /// What is not yet written, and where it goes.
    buffer: Vec<u8>,
    offset: u64,
    unsynced: usize,
    chunks: u64,
    /// The chunks of the block of the guide that is not full yet.
    block: Vec<Guided>,
    guide: Vec<u8>,
    fences: Vec<u8>,
}

/// A cleaned file that is durable under the name of an unfinished one.
pub(in super::super) struct Written {
    pub file: CleanedFile,
    pub name: String,
    pub bytes: u64,
}

impl Written {
    /// The name of a cleaned file until it is whole.
    pub(in super::super) fn unfinished_name(span: Span) -> String {
        span.name() + UNFINISHED_SUFFIX
    }
}

impl CleanedWriter {
    pub(in super::super) fn create(disk: &dyn Disk, row: Row) -> io::Result<CleanedWriter> {
        Ok(CleanedWriter {
            file: disk.create(&Written::unfinished_name(row.span))?,
            row,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            offset: SEGMENT_HEAD_BYTES as u64,
            unsynced: 0,
            chunks: 0,
            block: Vec::with_capacity(PER_BLOCK),
            guide: Vec::new(),
            fences: Vec::new(),
        })
    }

    /// Adds a chunk. They come in the order of their places.
    pub(in super::super) fn chunk(
        &mut self,
        identity: &Identity,
        head: &ChunkHead,
        records: &[u8],
    ) -> io::Result<()> {
        let at = self.offset + (self.buffer.len() + CHUNK_HEAD_BYTES) as u64;
        let at = u32::try_from(at + records.len() as u64).map(|end| end - head.payload_bytes);
        let at = at.map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.block.push(Guided { place: head.place, at, bytes: head.payload_bytes });
        if self.block.len() == PER_BLOCK {
            self.end_block();
        }
        self.chunks += 1;
        self.buffer.extend_from_slice(&head.encode(identity));
        self.buffer.extend_from_slice(records);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn end_block(&mut self) {
        let Some(first) = self.block.first() else { return };
        self.fences.extend_from_slice(&guide::encode_fence(first.place));
        self.guide.extend_from_slice(&guide::encode_block(&self.block));
        self.block.clear();
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.unsynced += self.buffer.len();
        if self.unsynced >= SYNC_BYTES {
            self.file.sync()?;
            self.unsynced = 0;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Writes the guide and the header, the latter at both ends, and makes the file durable.
    pub(in super::super) fn finish(mut self, identity: &Identity) -> io::Result<Written> {
        self.end_block();
        let cleaned = CleanedHead {
            last: self.row.span.last,
            next_batch: self.row.next_batch,
            cleaned_through: self.row.cleaned_through,
            guide_at: self.offset + self.buffer.len() as u64,
            chunks: self.chunks,
            fences_checksum: crc32c::crc32c(&self.fences),
            generation: self.row.generation,
        };
        let Row { span, first_batch, life, .. } = self.row;
        let head = SegmentHead { number: span.first, first_batch, life, cleaned: Some(cleaned) };
        let header = head.encode(identity);
        let (guide, fences) = (std::mem::take(&mut self.guide), std::mem::take(&mut self.fences));
        for part in [&guide[..], &fences, &header] {
            self.buffer.extend_from_slice(part);
            self.flush()?;
        }
        self.file.write_at(&header, 0)?;
        self.file.sync()?;
        let (name, bytes) = (Written::unfinished_name(span), self.offset);
        let file = CleanedFile::open(identity, self.file, head, cleaned)?;
        Ok(Written { file, name, bytes })
    }
}
