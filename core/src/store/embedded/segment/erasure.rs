//! What is left of an entry that is erased, and how it comes to that.

use super::bytes::{u32_at, u64_at};
use super::files::Location;
use super::frame::Mark;
use super::record::{FLAGS_AT, GONE, RECORD_HEAD_BYTES, RecordHead, RecordKind, SEQ_AT};

/// What is done to an entry that is erased: its record is overwritten by a form of the same size
/// that has the head, with the dedupe key, and nothing of the body. All of that form follows from
/// the old head, which the record of the erasure keeps; so it can be done again whatever a crash has
/// left of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Erasure {
    /// Which record.
    pub target: Location,
    /// Its erased head without the two checksums: they follow from the rest, and nothing within the
    /// body of a record may look like a record.
    head: Vec<u8>,
}

/// Bytes of the two checksums that a record begins with.
const CHECKSUMS_BYTES: usize = 8;
/// Bytes of the target's location.
const TARGET_BYTES: usize = 8;

impl Erasure {
    /// The erasure of a record, of which at least the head is given, if it is the head of an entry.
    pub(in super::super) fn of(target: Location, mark: Mark, bytes: &[u8]) -> Option<Erasure> {
        let head = RecordHead::decode(mark, bytes)?;
        let mut bytes = bytes[CHECKSUMS_BYTES..head.bytes()].to_vec();
        bytes[FLAGS_AT - CHECKSUMS_BYTES] |= GONE;
        (head.kind == RecordKind::Entry).then_some(Erasure { target, head: bytes })
    }

    /// Which entry of its log was erased.
    pub(in super::super) fn seq(&self) -> u64 {
        u64_at(&self.head, SEQ_AT - CHECKSUMS_BYTES)
    }

    /// For a record.
    pub(in super::super) fn to_body(&self) -> Vec<u8> {
        let Location { segment, offset } = self.target;
        [&segment.to_le_bytes()[..], &offset.to_le_bytes(), &self.head].concat()
    }

    /// From the body of a record.
    pub(in super::super) fn from_body(body: &[u8]) -> Option<Erasure> {
        let (target, head) = body.split_at_checked(TARGET_BYTES)?;
        let target = Location { segment: u32_at(target, 0), offset: u32_at(target, 4) };
        let whole = head.len() >= RECORD_HEAD_BYTES - CHECKSUMS_BYTES;
        whole.then(|| Erasure { target, head: head.to_vec() })
    }

    /// What the target's record is to be, all of it. `mark` is that of its segment.
    pub(in super::super) fn erased_record(&self, mark: Mark) -> Vec<u8> {
        let body = vec![0; u32_at(&self.head, 0) as usize];
        let mut record = vec![0; 4];
        record.extend_from_slice(&mark.checksum(&body).to_le_bytes());
        record.extend_from_slice(&self.head);
        let checksum = mark.checksum(&record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        record.extend_from_slice(&body);
        record
    }
}
