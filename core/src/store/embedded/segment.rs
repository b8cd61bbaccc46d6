//! Segment files: their names and their headers.

use super::config::OpenError;
use super::identity::{FORMAT, Identity};
use super::record::{u32_at, u64_at};

/// Bytes before the first frame of a segment: one block, so that the first batch doesn't share
/// a block with the header.
pub(super) const SEGMENT_HEAD_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"DUNLINSG";
const SUFFIX: &str = ".log";
/// Files that are being made; they are removed when the store opens.
pub(super) const UNFINISHED_SUFFIX: &str = ".tmp";

/// The name of a segment's file.
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:08x}{SUFFIX}")
}

/// The number of the segment whose file has this name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub number: u32,
    /// The batch that its first frame has. Frames of this number and later ones in earlier
    /// segments were never acknowledged and do not count.
    pub first_batch: u64,
}

impl SegmentHead {
    pub(super) fn encode(&self, identity: &Identity) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut bytes = [0; SEGMENT_HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..32].copy_from_slice(&identity.store_id);
        bytes[32..40].copy_from_slice(&identity.epoch.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_batch.to_le_bytes());
        let at = SEGMENT_HEAD_BYTES - 4;
        let checksum = crc32c::crc32c(&bytes[..at]);
        bytes[at..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads it; `None` if it is damaged or was never written.
    pub(super) fn decode(
        identity: &Identity,
        number: u32,
        bytes: &[u8],
    ) -> Result<Option<SegmentHead>, OpenError> {
        let Some(head) = bytes.get(..SEGMENT_HEAD_BYTES) else { return Ok(None) };
        let at = SEGMENT_HEAD_BYTES - 4;
        if &head[..8] != MAGIC || u32_at(head, at) != crc32c::crc32c(&head[..at]) {
            return Ok(None);
        }
        let name = segment_name(number);
        let found = u32_at(head, 8);
        if found != FORMAT {
            return Err(OpenError::Version { name, found, known: FORMAT });
        }
        if head[16..32] != identity.store_id || u32_at(head, 12) != number {
            return Err(OpenError::Foreign { name });
        }
        Ok(Some(SegmentHead { number, first_batch: u64_at(head, 40) }))
    }
}

/// By the batches that segments begin with, in their order: the batch at which each ends at the
/// latest, since it counts where it came later. A segment without a whole header says nothing: it was
/// opened for a batch that failed, and so may have been the one before it.
pub(super) fn first_batches_behind(firsts: &[Option<u64>]) -> Vec<Option<u64>> {
    let mut behind = vec![None; firsts.len()];
    let mut lowest: Option<u64> = None;
    for (behind, first) in behind.iter_mut().zip(firsts).rev() {
        *behind = lowest;
        lowest = lowest.into_iter().chain(*first).min();
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemSource;

    #[test]
    fn names_are_numbers() {
        assert_eq!(segment_name(0x1f), "0000001f.log");
        assert_eq!(segment_number("0000001f.log"), Some(0x1f));
        for other in ["1f.log", "0000001F.log", "+000001f.log", "0000001f.idx", "STORE"] {
            assert_eq!(segment_number(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_is_of_one_store_and_one_number() {
        let identity = Identity::random(&SystemSource::new());
        let head = SegmentHead { number: 3, first_batch: 9 };
        let bytes = head.encode(&identity);
        assert_eq!(SegmentHead::decode(&identity, 3, &bytes).unwrap(), Some(head));
        assert!(matches!(
            SegmentHead::decode(&identity, 4, &bytes),
            Err(OpenError::Foreign { name }) if name == "00000004.log"
        ));
        let other = Identity::random(&SystemSource::new());
        assert!(matches!(SegmentHead::decode(&other, 3, &bytes), Err(OpenError::Foreign { .. })));
        assert_eq!(SegmentHead::decode(&identity, 3, &bytes[1..]).unwrap(), None);
    }

    /// Two segments in a row were opened for a batch that failed, and could not be removed.
    #[test]
    fn what_failed_is_overruled_by_whatever_comes_later() {
        let firsts = [Some(1), Some(4), None, Some(4), Some(9), None];
        let behind = [Some(4), Some(4), Some(4), Some(9), None, None];
        assert_eq!(first_batches_behind(&firsts), behind);
        assert_eq!(first_batches_behind(&[]), []);
    }
}
