//! Whether a crash can have left a batch as it is, or the medium must have changed it.
//!
//! A disk writes sectors of 512 bytes whole or not at all, in any order, and segments were zeros
//! before. So a batch that was being written when the power failed lacks whole sectors: what lies in
//! them is zeros, and what was to be there is not. If every sector has something of the batch, all of
//! them were written, and what is wrong was changed afterwards: that is damage, however little of it
//! there is.
//!
//! A record whose own content has a sector of zeros can't be told apart: if the last batch before a
//! crash holds one, and a bit of that very record is changed, it is taken for unfinished.

use std::ops::Range;

use super::super::identity::Identity;
use super::super::segment::frame::{FRAME_HEAD_BYTES, FrameHead, Mark};
use super::super::segment::record::RecordHead;
use super::super::segment::{SEGMENT_HEAD_BYTES, SegmentHead};

/// Bytes of the checksum that a header ends with.
const CHECKSUM_BYTES: usize = 4;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Whether a crash can have left the batch at `at`, which is not whole and the last one of a segment.
/// `used` is where the zeros begin that go on to the end of the segment.
pub(in super::super) fn can_be_torn(mark: Mark, content: &[u8], at: usize, used: usize) -> bool {
    let head = FrameHead::decode(mark, &content[at..]);
    let fits = head.filter(|head| at + head.bytes() <= content.len());
    let end = match fits {
        Some(head) => at + head.bytes(),
        None => used.max(at + FRAME_HEAD_BYTES).min(content.len()),
    };
    let frame = Frame { mark, content, at, end };
    if fits.is_none() && frame.lacks_sector_of(at..(at + FRAME_HEAD_BYTES).min(end)) {
        return true;
    }
    frame.lacks_records(fits.map(|head| head.records))
}

/// Whether a crash can have left a segment as it is that got its first batch, of which neither the header nor
/// the head of the batch is whole: there is nothing but what belongs into the header, and the sector in which
/// the head of the batch was to be was not written.
pub(in super::super) fn can_be_begun(identity: &Identity, number: u32, content: &[u8]) -> bool {
    let (head, frames) = content.split_at(content.len().min(SEGMENT_HEAD_BYTES));
    let known = SegmentHead::plain(number, 0, 0).encode(identity);
    let are_zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let mut sectors = head.chunks(SECTOR_BYTES);
    let begins = sectors.next().is_none_or(|sector| {
        let says = sector.len().min(SegmentHead::NAMED_BYTES);
        are_zeros(sector) || sector[..says] == known[..says]
    });
    let checksum_at = SEGMENT_HEAD_BYTES - CHECKSUM_BYTES;
    let is_head = are_zeros(&head[head.len().min(SECTOR_BYTES)..head.len().min(checksum_at)]);
    begins && is_head && are_zeros(&frames[..frames.len().min(SECTOR_BYTES)])
}

struct Frame<'a> {
    mark: Mark,
    content: &'a [u8],
    at: usize,
    end: usize,
}

impl Frame<'_> {
    /// Whether of something that is not whole there is a sector without anything of the frame.
    fn lacks_sector_of(&self, wrong: Range<usize>) -> bool {
        let first = wrong.start / SECTOR_BYTES;
        let last = wrong.end.saturating_sub(1) / SECTOR_BYTES;
        let end = self.end.max(wrong.end).min(self.content.len());
        (first..=last).any(|sector| {
            let from = (sector * SECTOR_BYTES).max(self.at);
            let to = ((sector + 1) * SECTOR_BYTES).min(end);
            from < to && self.content[from..to].iter().all(|byte| *byte == 0)
        })
    }

    /// Whether a record that is not whole lacks a sector. With a whole head of the frame, so many
    /// records must be there; without one, they go on to the zeros. (The last one may end in zeros.)
    fn lacks_records(&self, records: Option<u32>) -> bool {
        let mut at = self.at + FRAME_HEAD_BYTES;
        let mut left = records;
        while at < self.end && left != Some(0) {
            let bytes = &self.content[at..];
            let Some(head) = RecordHead::decode(self.mark, bytes) else {
                // Nothing tells where the next record begins.
                return self.lacks_sector_of(at..self.end);
            };
            let body = bytes.get(head.bytes()..head.record_bytes());
            let whole = body.is_some_and(|body| head.owns(self.mark, body));
            let (begins, end) = (at + head.bytes(), at + head.record_bytes());
            if !whole && self.lacks_sector_of(begins..end) {
                return true;
            }
            at = end;
            left = left.map(|left| left - 1);
        }
        false
    }
}
