//! The guide of a cleaned file: where each chunk came from, and where it is.
//!
//! It is in blocks with a checksum each, in the order of the places that the chunks came from. Only the
//! first place of each block is kept in memory (8 bytes for 255 chunks), so a record is found with one
//! read of a block.

use super::super::segment::bytes::u32_at;
use super::super::segment::files::Location;

/// Everything is in blocks of this size.
pub(in super::super) const GUIDE_BLOCK_BYTES: usize = 4096;
/// Chunks that a block tells of.
pub(super) const PER_BLOCK: usize = (GUIDE_BLOCK_BYTES - 4) / ENTRY_BYTES;
const ENTRY_BYTES: usize = 16;
/// Bytes of a fence: the place of the first chunk of a block.
pub(super) const FENCE_BYTES: usize = 8;

/// What is known of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Guided {
    /// Where its first record was written.
    pub place: Location,
    /// Where in the file that record is now.
    pub at: u32,
    /// Bytes of its records.
    pub bytes: u32,
}

impl Guided {
    /// Where in the file the record is now that was written at an offset of the same segment.
    pub(super) fn resolve(&self, place: Location) -> Option<u64> {
        let inside = place.offset.checked_sub(self.place.offset)?;
        let found = self.place.segment == place.segment && inside < self.bytes;
        found.then_some(u64::from(self.at) + u64::from(inside))
    }

    /// Where its records ended.
    pub(in super::super) fn end(&self) -> Location {
        Location { segment: self.place.segment, offset: self.place.offset + self.bytes }
    }
}

/// How many blocks so many chunks need.
pub(super) fn blocks(chunks: u64) -> u64 {
    chunks.div_ceil(PER_BLOCK as u64)
}

/// The bytes of a block.
pub(super) fn encode_block(entries: &[Guided]) -> [u8; GUIDE_BLOCK_BYTES] {
    let mut block = [0; GUIDE_BLOCK_BYTES];
    for (bytes, entry) in block.chunks_exact_mut(ENTRY_BYTES).zip(entries) {
        bytes[0..4].copy_from_slice(&entry.place.segment.to_le_bytes());
        bytes[4..8].copy_from_slice(&entry.place.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&entry.at.to_le_bytes());
        bytes[12..16].copy_from_slice(&entry.bytes.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&block[..GUIDE_BLOCK_BYTES - 4]);
    block[GUIDE_BLOCK_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    block
}

/// The chunks of a block, of which there are so many; `None` if it is damaged.
pub(super) fn decode_block(block: &[u8; GUIDE_BLOCK_BYTES], chunks: usize) -> Option<Vec<Guided>> {
    let checksum = crc32c::crc32c(&block[..GUIDE_BLOCK_BYTES - 4]);
    if u32_at(block, GUIDE_BLOCK_BYTES - 4) != checksum {
        return None;
    }
    let entries = block.chunks_exact(ENTRY_BYTES).take(chunks).map(|bytes| Guided {
        place: Location { segment: u32_at(bytes, 0), offset: u32_at(bytes, 4) },
        at: u32_at(bytes, 8),
        bytes: u32_at(bytes, 12),
    });
    Some(entries.collect())
}

/// The bytes of a fence.
pub(super) fn encode_fence(place: Location) -> [u8; FENCE_BYTES] {
    let mut bytes = [0; FENCE_BYTES];
    bytes[..4].copy_from_slice(&place.segment.to_le_bytes());
    bytes[4..].copy_from_slice(&place.offset.to_le_bytes());
    bytes
}

/// The fences, whose checksum was good.
pub(super) fn decode_fences(bytes: &[u8]) -> Vec<Location> {
    let fence = |bytes: &[u8]| Location { segment: u32_at(bytes, 0), offset: u32_at(bytes, 4) };
    bytes.chunks_exact(FENCE_BYTES).map(fence).collect()
}
