//! Reading records, where they are.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::store::StoreError;

use super::super::Shared;
use super::super::disk::DiskFile;
use super::super::segment::files::Location;
use super::super::segment::frame::Mark;
use super::super::segment::record::{RECORD_HEAD_BYTES_MAX, RecordHead, decode_body};
use super::unreadable;

/// What is read at once where a record begins: most are smaller, and the neighbours of a small one
/// often belong to the same log.
const WINDOW_BYTES: usize = 2048;

/// What is found where the index says that a record is.
#[allow(
    clippy::large_enum_variant,
    reason = "it is looked at where it is returned: its size costs less than a box would"
)]
pub(super) enum Look {
    Record(RecordHead, Bytes),
    Damaged,
    /// It was cleaned away: since the index was asked, it has expired or was overwritten.
    Cleaned,
}

/// The part of a file that was read last.
#[derive(Debug, Default)]
pub(super) struct Window {
    file: Option<Arc<dyn DiskFile>>,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    pub(super) fn read(&mut self, shared: &Shared, place: Location) -> io::Result<Look> {
        let (file, start) = match shared.segments.resolve(place) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Look::Cleaned),
            Err(error) if is_gone(&error) => return Ok(Look::Damaged),
            Err(error) => return Err(error),
        };
        let mark = shared.identity.mark(place.segment);
        self.enter(file);
        if let Some(found) = self.held(start).and_then(|bytes| decode(mark, bytes)) {
            return Ok(found);
        }
        if let Some(found) = self.read_anew(mark, start)? {
            return Ok(found);
        }
        // It may be about to be overwritten by its erased form.
        drop(shared.segments.rewrites());
        Ok(self.read_anew(mark, start)?.unwrap_or(Look::Damaged))
    }

    fn enter(&mut self, file: Arc<dyn DiskFile>) {
        if self.file.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &file)) {
            self.bytes.clear();
            self.file = Some(file);
        }
    }

    fn held(&self, start: u64) -> Option<&[u8]> {
        let skip = usize::try_from(start.checked_sub(self.start)?).ok()?;
        self.bytes.get(skip..)
    }

    fn read_anew(&mut self, mark: Mark, start: u64) -> io::Result<Option<Look>> {
        self.fill(start, WINDOW_BYTES)?;
        let Some(head) = RecordHead::decode(mark, &self.bytes) else { return Ok(None) };
        if head.record_bytes() > self.bytes.len() {
            self.fill(start, head.record_bytes())?;
        }
        Ok(decode(mark, &self.bytes))
    }

    fn fill(&mut self, start: u64, bytes: usize) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        self.start = start;
        self.bytes.resize(bytes, 0);
        let read = file.read_at(&mut self.bytes, start)?;
        self.bytes.truncate(read);
        Ok(())
    }
}

fn decode(mark: Mark, bytes: &[u8]) -> Option<Look> {
    let head = RecordHead::decode(mark, bytes)?;
    let body = decode_body(mark, &head, bytes)?;
    Some(Look::Record(head, body))
}

/// What is at the place of a record.
#[allow(
    clippy::large_enum_variant,
    reason = "it is looked at where it is returned: its size costs less than a box would"
)]
pub(in super::super) enum HeadRead {
    /// Its head, which is whole; whatever its body is.
    Whole(RecordHead),
    /// Its head is damaged.
    Damaged,
    /// It was cleaned away, or was lost with its file.
    Gone,
}

/// Reads the head of an entry.
pub(in super::super) fn read_head(
    shared: &Shared,
    place: Location,
) -> Result<HeadRead, StoreError> {
    let mark = shared.identity.mark(place.segment);
    let Some(bytes) = read_head_bytes(shared, place)? else { return Ok(HeadRead::Gone) };
    Ok(RecordHead::decode(mark, &bytes).map_or_else(
        || {
            tracing::error!(segment = place.segment, offset = place.offset, "a record is damaged");
            HeadRead::Damaged
        },
        HeadRead::Whole,
    ))
}

/// Reads at least all bytes of a record before its body; `None` if it is gone.
pub(in super::super) fn read_head_bytes(
    shared: &Shared,
    place: Location,
) -> Result<Option<Vec<u8>>, StoreError> {
    let (file, offset) = match shared.segments.resolve(place) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let mut bytes = vec![0; RECORD_HEAD_BYTES_MAX];
    let read = file.read_at(&mut bytes, offset).map_err(|error| unreadable(&error))?;
    bytes.truncate(read);
    Ok((read > 0).then_some(bytes))
}

/// Whether a file is not there, is not ours, or ends before what is read: that was told when the
/// store was opened, and will not change.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | UnexpectedEof | InvalidData)
}
