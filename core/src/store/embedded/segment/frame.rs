//! The bytes of frames: one per batch, with the records of the batch behind its head.
//!
//! docs/storage-format.md draws them.

use super::bytes::{u32_at, u64_at};

/// Bytes before the records of a frame.
pub(in super::super) const FRAME_HEAD_BYTES: usize = 40;
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"DBAT");

/// What the frames and records of one segment are marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Mark(pub u64);

impl Mark {
    /// The checksum of bytes in this segment.
    pub(in super::super) fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0 as u32, bytes)
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct FrameHead {
    /// The number of the batch.
    pub batch: u64,
    /// Bytes of its records.
    pub payload_bytes: u32,
    /// How many records there are.
    pub records: u32,
}

impl FrameHead {
    /// Bytes of the whole frame.
    pub(in super::super) fn bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.payload_bytes as usize
    }

    /// Writes it over the first bytes of the buffer.
    pub(in super::super) fn encode(&self, mark: Mark, buffer: &mut [u8]) {
        buffer[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        buffer[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        buffer[8..16].copy_from_slice(&self.batch.to_le_bytes());
        buffer[16..24].copy_from_slice(&mark.0.to_le_bytes());
        buffer[24..28].copy_from_slice(&self.records.to_le_bytes());
        buffer[28..36].fill(0);
        let checksum = mark.checksum(&buffer[..36]);
        buffer[36..40].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads it from the beginning of the bytes, if it is there and whole. That the records are
    /// there too is not checked.
    pub(in super::super) fn decode(mark: Mark, bytes: &[u8]) -> Option<FrameHead> {
        let head = bytes.get(..FRAME_HEAD_BYTES)?;
        let valid = u32_at(head, 0) == FRAME_MAGIC
            && u64_at(head, 16) == mark.0
            && u32_at(head, 36) == mark.checksum(&head[..36]);
        valid.then(|| FrameHead {
            batch: u64_at(head, 8),
            payload_bytes: u32_at(head, 4),
            records: u32_at(head, 24),
        })
    }

    /// Finds the next whole head of a frame whose batch is `batch` or later; returns where.
    pub(in super::super) fn find(mark: Mark, bytes: &[u8], batch: u64) -> Option<usize> {
        let magic = FRAME_MAGIC.to_le_bytes();
        // The magic number ends with a letter, so no frame begins in the zeros.
        let used = &bytes[..used_bytes(bytes)];
        let candidates = used.windows(4).enumerate().filter(|(_, window)| *window == magic);
        let mut places = candidates.map(|(place, _)| place);
        places.find(|&place| {
            FrameHead::decode(mark, &bytes[place..]).is_some_and(|head| head.batch >= batch)
        })
    }

    /// Finds the whole head of the frame that has just this batch, from the end on.
    pub(in super::super) fn find_back(mark: Mark, bytes: &[u8], batch: u64) -> Option<usize> {
        let magic = FRAME_MAGIC.to_le_bytes();
        let used = &bytes[..used_bytes(bytes)];
        let candidates = used.windows(4).enumerate().rev();
        let mut places = candidates.filter(|(_, window)| *window == magic).map(|(place, _)| place);
        places.find(|&place| {
            FrameHead::decode(mark, &bytes[place..]).is_some_and(|head| head.batch == batch)
        })
    }
}

/// Bytes up to the last that is not zero. A segment is preallocated, so most of it may be zeros,
/// which are passed block by block: a server that comes back should not look at each of them.
pub(in super::super) fn used_bytes(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut used = bytes;
    while let Some((rest, &ZEROS)) = used.split_last_chunk() {
        used = rest;
    }
    used.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark(0x0123_4567_89ab_cdef);

    #[test]
    fn what_is_used_ends_with_the_last_byte_that_is_not_zero() {
        for length in [0, 1, 4095, 4096, 4097, 9000] {
            let mut bytes = vec![0; length];
            assert_eq!(used_bytes(&bytes), 0);
            for at in [0, length / 2, length.saturating_sub(1)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = 1;
                    assert_eq!(used_bytes(&bytes), at + 1);
                }
            }
        }
    }

    #[test]
    fn frames_are_found_only_by_their_mark() {
        let head = FrameHead { batch: 12, payload_bytes: 100, records: 1 };
        let mut buffer = vec![b'D'; 500];
        head.encode(MARK, &mut buffer[123..]);
        assert_eq!(FrameHead::decode(MARK, &buffer[123..]), Some(head));
        assert_eq!(FrameHead::find(MARK, &buffer, 12), Some(123));
        assert_eq!(FrameHead::find(MARK, &buffer, 13), None);
        assert_eq!(FrameHead::find(Mark(5), &buffer, 12), None);
        for bit in 0..FRAME_HEAD_BYTES * 8 {
            buffer[123 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHead::decode(MARK, &buffer[123..]), None);
            buffer[123 + bit / 8] ^= 1 << (bit % 8);
        }
    }
}
