//! The head of a chunk: neighbouring records of a batch that were kept, and where they came from.

use super::super::identity::Identity;
use super::super::segment::bytes::{u32_at, u64_at};
use super::super::segment::files::Location;

/// Bytes before the records of a chunk: as many as before those of a frame.
pub(in super::super) const CHUNK_HEAD_BYTES: usize = 40;

const CHUNK_MAGIC: u32 = u32::from_le_bytes(*b"DKPT");

/// The head of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct ChunkHead {
    /// Where its first record was written, and still is as far as anybody else knows.
    pub place: Location,
    /// The batch of its records.
    pub batch: u64,
    /// Bytes of its records.
    pub payload_bytes: u32,
    /// How many records there are.
    pub records: u32,
}

impl ChunkHead {
    /// Bytes of the whole chunk.
    pub(in super::super) fn bytes(&self) -> u64 {
        CHUNK_HEAD_BYTES as u64 + u64::from(self.payload_bytes)
    }

    pub(in super::super) fn encode(&self, identity: &Identity) -> [u8; CHUNK_HEAD_BYTES] {
        let mark = identity.mark(self.place.segment);
        let mut bytes = [0; CHUNK_HEAD_BYTES];
        bytes[0..4].copy_from_slice(&CHUNK_MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.batch.to_le_bytes());
        bytes[16..24].copy_from_slice(&mark.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.records.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.place.offset.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.place.segment.to_le_bytes());
        let checksum = mark.checksum(&bytes[..36]);
        bytes[36..40].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads it from the beginning of the bytes, if it is there and whole. That the records are there
    /// too is not checked.
    pub(in super::super) fn decode(identity: &Identity, bytes: &[u8]) -> Option<ChunkHead> {
        let head = bytes.get(..CHUNK_HEAD_BYTES)?;
        if u32_at(head, 0) != CHUNK_MAGIC {
            return None;
        }
        let place = Location { segment: u32_at(head, 32), offset: u32_at(head, 28) };
        let mark = identity.mark(place.segment);
        let valid = u64_at(head, 16) == mark.0 && u32_at(head, 36) == mark.checksum(&head[..36]);
        valid.then(|| ChunkHead {
            place,
            batch: u64_at(head, 8),
            payload_bytes: u32_at(head, 4),
            records: u32_at(head, 24),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemSource;

    #[test]
    fn no_flipped_bit_of_a_head_goes_unseen() {
        let identity = Identity::random(&SystemSource::new());
        let place = Location { segment: 7, offset: 4136 };
        let head = ChunkHead { place, batch: 12, payload_bytes: 100, records: 1 };
        let mut bytes = head.encode(&identity);
        assert_eq!(ChunkHead::decode(&identity, &bytes), Some(head));
        assert_eq!(ChunkHead::decode(&identity, &bytes[..39]), None);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ChunkHead::decode(&identity, &bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let other = Identity::random(&SystemSource::new());
        assert_eq!(ChunkHead::decode(&other, &bytes), None);
    }
}
