//! The bytes of frames and records: one frame per batch, one record per entry.
//!
//! docs/storage-format.md draws them. All numbers are little-endian. Every checksum is seeded
//! with the mark of its segment, which follows from a secret of the store: the body of a message
//! can't contain anything that looks like a record or a frame, whoever wrote it.

use bytes::Bytes;
use dunlin_protocol::{ClientMessageId, LogId, UserId};

use crate::store::{Append, CursorMove, DedupeKey, EntryMeta};

/// Bytes before the records of a frame.
pub(super) const FRAME_HEAD_BYTES: usize = 40;
/// Bytes of a record before its key, its cursor and its body.
pub(super) const RECORD_HEAD_BYTES: usize = 72;
/// The most bytes of a record before its body.
pub(super) const RECORD_HEAD_BYTES_MAX: usize = RECORD_HEAD_BYTES + KEY_BYTES + CURSOR_BYTES;

const KEY_BYTES: usize = 32;
const CURSOR_BYTES: usize = 32;
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"DBAT");
const HAS_KEY: u8 = 1;
const HAS_CURSOR: u8 = 2;

/// What the frames and records of one segment are marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(pub u64);

impl Mark {
    /// The checksum of bytes in this segment.
    fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0 as u32, bytes)
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// The number of the batch.
    pub batch: u64,
    /// Bytes of its records.
    pub payload_bytes: u32,
    /// How many records there are.
    pub records: u32,
}

impl FrameHead {
    /// Bytes of the whole frame.
    pub(super) fn bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.payload_bytes as usize
    }

    /// Writes it over the first bytes of the buffer.
    pub(super) fn encode(&self, mark: Mark, buffer: &mut [u8]) {
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
    pub(super) fn decode(mark: Mark, bytes: &[u8]) -> Option<FrameHead> {
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
    pub(super) fn find(mark: Mark, bytes: &[u8], batch: u64) -> Option<usize> {
        let magic = FRAME_MAGIC.to_le_bytes();
        // The magic number ends with a letter, so no frame begins in the zeros.
        let used = &bytes[..used_bytes(bytes)];
        let candidates = used.windows(4).enumerate().filter(|(_, window)| *window == magic);
        let mut places = candidates.map(|(place, _)| place);
        places.find(|&place| {
            FrameHead::decode(mark, &bytes[place..]).is_some_and(|head| head.batch >= batch)
        })
    }
}

/// Bytes up to the last that is not zero. A segment is preallocated, so most of it may be zeros,
/// which are passed block by block: a server that comes back should not look at each of them.
pub(super) fn used_bytes(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut used = bytes;
    while let Some((rest, &ZEROS)) = used.split_last_chunk() {
        used = rest;
    }
    used.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// A record but for its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub log: LogId,
    pub seq: u64,
    pub meta: EntryMeta,
    pub key: Option<DedupeKey>,
    pub digest: u64,
    pub cursor: Option<CursorMove>,
    pub body_bytes: u32,
    body_checksum: u32,
}

impl RecordHead {
    /// Bytes before the body.
    pub(super) fn bytes(&self) -> usize {
        head_bytes(self.key.is_some(), self.cursor.is_some())
    }

    /// Bytes of the whole record.
    pub(super) fn record_bytes(&self) -> usize {
        self.bytes() + self.body_bytes as usize
    }

    /// Reads the head of a record from the beginning of the bytes, if it is there and whole.
    pub(super) fn decode(mark: Mark, bytes: &[u8]) -> Option<RecordHead> {
        let flags = *bytes.get(12)?;
        let (has_key, has_cursor) = (flags & HAS_KEY != 0, flags & HAS_CURSOR != 0);
        let head = bytes.get(..head_bytes(has_key, has_cursor))?;
        if u32_at(head, 0) != mark.checksum(&head[4..]) || flags > HAS_KEY | HAS_CURSOR {
            return None;
        }
        let key_at = RECORD_HEAD_BYTES;
        let cursor_at = key_at + if has_key { KEY_BYTES } else { 0 };
        Some(RecordHead {
            log: LogId::from_bytes(&head[16..32]).ok()?,
            seq: u64_at(head, 32),
            meta: EntryMeta {
                time_ms: u64_at(head, 40),
                sender: u64_at(head, 48),
                counted: u64_at(head, 56),
                sender_counted: u64_at(head, 64),
            },
            key: if has_key { Some(decode_key(&head[key_at..])?) } else { None },
            digest: if has_key { u64_at(head, key_at + 24) } else { 0 },
            cursor: if has_cursor { Some(decode_cursor(&head[cursor_at..])?) } else { None },
            body_bytes: u32_at(head, 8),
            body_checksum: u32_at(head, 4),
        })
    }

    /// Whether this is the body that was stored.
    pub(super) fn owns(&self, mark: Mark, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize && mark.checksum(body) == self.body_checksum
    }
}

/// Bytes that an entry takes in a frame.
pub(super) fn record_bytes(entry: &Append) -> usize {
    head_bytes(entry.key.is_some(), entry.cursor.is_some()) + entry.body.len()
}

fn head_bytes(has_key: bool, has_cursor: bool) -> usize {
    let key = if has_key { KEY_BYTES } else { 0 };
    let cursor = if has_cursor { CURSOR_BYTES } else { 0 };
    RECORD_HEAD_BYTES + key + cursor
}

/// Adds the record of an entry to the buffer. The caller has checked that the body is smaller
/// than a segment.
pub(super) fn encode_record(mark: Mark, entry: &Append, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    let has_key = u8::from(entry.key.is_some()) * HAS_KEY;
    let has_cursor = u8::from(entry.cursor.is_some()) * HAS_CURSOR;
    let mut head = [0; RECORD_HEAD_BYTES];
    head[4..8].copy_from_slice(&mark.checksum(&entry.body).to_le_bytes());
    head[8..12].copy_from_slice(&(entry.body.len() as u32).to_le_bytes());
    head[12] = has_key | has_cursor;
    head[16..32].copy_from_slice(entry.log.as_bytes());
    head[32..40].copy_from_slice(&entry.seq.to_le_bytes());
    head[40..48].copy_from_slice(&entry.meta.time_ms.to_le_bytes());
    head[48..56].copy_from_slice(&entry.meta.sender.to_le_bytes());
    head[56..64].copy_from_slice(&entry.meta.counted.to_le_bytes());
    head[64..72].copy_from_slice(&entry.meta.sender_counted.to_le_bytes());
    buffer.extend_from_slice(&head);
    if let Some(key) = &entry.key {
        buffer.extend_from_slice(&key.sender.get().to_le_bytes());
        buffer.extend_from_slice(&key.client_message_id.0);
        buffer.extend_from_slice(&entry.digest.to_le_bytes());
    }
    if let Some(cursor) = &entry.cursor {
        buffer.extend_from_slice(cursor.conversation.as_bytes());
        buffer.extend_from_slice(&cursor.user.get().to_le_bytes());
        buffer.extend_from_slice(&cursor.seq.to_le_bytes());
    }
    let checksum = mark.checksum(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    buffer.extend_from_slice(&entry.body);
}

fn decode_key(bytes: &[u8]) -> Option<DedupeKey> {
    let sender = UserId::new(u64_at(bytes, 0)).ok()?;
    let client_message_id = ClientMessageId::from_wire(&bytes[8..24]).ok()?;
    Some(DedupeKey { sender, client_message_id })
}

fn decode_cursor(bytes: &[u8]) -> Option<CursorMove> {
    let conversation = LogId::from_bytes(&bytes[..16]).ok()?;
    let user = UserId::new(u64_at(bytes, 16)).ok()?;
    Some(CursorMove { conversation, user, seq: u64_at(bytes, 24) })
}

/// The body of a record that begins at `bytes`, if it is whole.
pub(super) fn decode_body(mark: Mark, head: &RecordHead, bytes: &[u8]) -> Option<Bytes> {
    let body = bytes.get(head.bytes()..head.record_bytes())?;
    head.owns(mark, body).then(|| Bytes::copy_from_slice(body))
}

/// # Panics
/// If the bytes end before it: callers have taken a slice of a fixed size.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of 8 bytes"))
}

/// # Panics
/// As [`u64_at`].
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4 bytes"))
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

    fn entry(with_key: bool, with_cursor: bool) -> Append {
        let user = UserId::new(9).unwrap();
        let log = LogId::direct(user, UserId::MAX);
        let key = DedupeKey { sender: user, client_message_id: ClientMessageId([7; 16]) };
        Append {
            log,
            seq: 3,
            meta: EntryMeta { time_ms: 1, sender: 9, counted: 3, sender_counted: 2 },
            key: with_key.then_some(key),
            digest: if with_key { 77 } else { 0 },
            cursor: with_cursor.then_some(CursorMove { conversation: log, user, seq: 2 }),
            body: Bytes::from_static(b"hello"),
        }
    }

    #[test]
    fn records_of_every_shape_come_back() {
        for (with_key, with_cursor) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let entry = entry(with_key, with_cursor);
            let mut buffer = b"before".to_vec();
            encode_record(MARK, &entry, &mut buffer);
            assert_eq!(buffer.len(), 6 + record_bytes(&entry));
            let head = RecordHead::decode(MARK, &buffer[6..]).unwrap();
            assert_eq!((head.log, head.seq, head.meta), (entry.log, entry.seq, entry.meta));
            assert_eq!(
                (head.key, head.digest, head.cursor),
                (entry.key, entry.digest, entry.cursor)
            );
            assert_eq!(decode_body(MARK, &head, &buffer[6..]).unwrap(), entry.body);
        }
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let mut buffer = Vec::new();
        encode_record(MARK, &entry(true, true), &mut buffer);
        let good = RecordHead::decode(MARK, &buffer).unwrap();
        for bit in 0..buffer.len() * 8 {
            buffer[bit / 8] ^= 1 << (bit % 8);
            let head = RecordHead::decode(MARK, &buffer);
            let in_body = bit / 8 >= good.bytes();
            assert_eq!(head, in_body.then_some(good), "bit {bit}");
            assert_eq!(head.and_then(|head| decode_body(MARK, &head, &buffer)), None);
            buffer[bit / 8] ^= 1 << (bit % 8);
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
