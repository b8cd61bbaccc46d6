//! The bytes of frames and records: one frame per batch, one record per entry, register or deletion.
//!
//! docs/storage-format.md draws them. All numbers are little-endian. Every checksum is seeded
//! with the mark of its segment, which follows from a secret of the store: the body of a message
//! can't contain anything that looks like a record or a frame, whoever wrote it.

use bytes::Bytes;
use dunlin_protocol::{ClientMessageId, LogId, UserId};

use crate::store::register::REGISTER_KEY_BYTES_MAX;
use crate::store::{DedupeKey, EntryMeta, Head, RegisterKey};

use super::segments::Location;

/// Bytes before the records of a frame.
pub(super) const FRAME_HEAD_BYTES: usize = 40;
/// Bytes of a record before its floors, its keys and its body.
pub(super) const RECORD_HEAD_BYTES: usize = 80;
/// The most bytes of a record before its body.
pub(super) const RECORD_HEAD_BYTES_MAX: usize =
    RECORD_HEAD_BYTES + FLOORS_BYTES + KEY_BYTES + REGISTER_KEY_BYTES_MAX;

const FLOORS_BYTES: usize = 24;
const KEY_BYTES: usize = 32;
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"DBAT");
const FLAGS_AT: usize = 13;
const SEQ_AT: usize = 32;
const HAS_KEY: u8 = 1;
const HAS_FLOORS: u8 = 2;
const GONE: u8 = 4;
const MORE: u8 = 8;
const FLAGS: u8 = HAS_KEY | HAS_FLOORS | GONE | MORE;

/// What the frames and records of one segment are marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(pub u64);

impl Mark {
    /// The checksum of bytes in this segment.
    pub(super) fn checksum(self, bytes: &[u8]) -> u32 {
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

    /// Finds the whole head of the frame that has just this batch, from the end on.
    pub(super) fn find_back(mark: Mark, bytes: &[u8], batch: u64) -> Option<usize> {
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
pub(super) fn used_bytes(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut used = bytes;
    while let Some((rest, &ZEROS)) = used.split_last_chunk() {
        used = rest;
    }
    used.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// An entry; the body is what the caller gave.
    Entry = 1,
    /// A register that was set; the body is its value.
    Register = 2,
    /// What of the log is gone from now on. It has no body.
    Floor = 3,
    /// An entry was erased; the body is what it takes to do it once more, an [`Erasure`].
    Erasure = 4,
}

impl RecordKind {
    fn decode(byte: u8) -> Option<RecordKind> {
        let all = [RecordKind::Entry, RecordKind::Register, RecordKind::Floor, RecordKind::Erasure];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What of a log is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Floors {
    /// Entries below this sequence have expired.
    pub entries_from: u64,
    /// Registers that were set by a lower version are gone.
    pub registers_from: u64,
    /// Which registers were removed by this version, or a lower one, is forgotten: what has changed is known
    /// since this version.
    pub marks_from: u64,
}

/// The state of a log after a record. Each record says all of it, so that the newest part of the
/// index that has the log knows its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LogState {
    /// The newest sequence.
    pub seq: u64,
    /// The numbers of that entry.
    pub meta: EntryMeta,
    /// The version of the registers.
    pub version: u64,
    pub floors: Floors,
}

impl LogState {
    pub(super) fn head(&self) -> Head {
        let LogState { seq, meta, version, floors } = *self;
        Head { seq, meta, version, expired_below: floors.entries_from }
    }
}

/// A record to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRecord<'a> {
    kind: RecordKind,
    log: LogId,
    state: LogState,
    /// With the digest of the content.
    key: Option<(DedupeKey, u64)>,
    register: &'a [u8],
    /// The register was removed, the entry erased, or removals forgotten.
    gone: bool,
    body: &'a [u8],
    /// More records of the same write follow.
    more: bool,
}

impl<'a> NewRecord<'a> {
    fn new(kind: RecordKind, log: LogId, state: LogState, body: &'a [u8]) -> NewRecord<'a> {
        let (key, register) = (None, &[][..]);
        NewRecord { kind, log, state, key, register, gone: false, body, more: false }
    }

    /// The entry that the state says to be the newest.
    pub(super) fn entry(
        log: LogId,
        state: LogState,
        key: Option<(DedupeKey, u64)>,
        body: &'a [u8],
    ) -> NewRecord<'a> {
        NewRecord { key, ..NewRecord::new(RecordKind::Entry, log, state, body) }
    }

    /// A register that the version of the state has set, or removed if there is no value.
    pub(super) fn register(
        log: LogId,
        state: LogState,
        register: &'a RegisterKey,
        value: Option<&'a [u8]>,
    ) -> NewRecord<'a> {
        let (register, gone) = (register.as_bytes(), value.is_none());
        let body = value.unwrap_or_default();
        NewRecord { register, gone, ..NewRecord::new(RecordKind::Register, log, state, body) }
    }

    /// The floors that the state has, of which the one of removals alone is new.
    pub(super) fn forgotten(log: LogId, state: LogState) -> NewRecord<'static> {
        NewRecord { gone: true, ..NewRecord::floor(log, state) }
    }

    /// The floors that the state has.
    pub(super) fn floor(log: LogId, state: LogState) -> NewRecord<'static> {
        NewRecord::new(RecordKind::Floor, log, state, &[])
    }

    /// `body` is that of an [`Erasure`].
    pub(super) fn erasure(log: LogId, state: LogState, body: &'a [u8]) -> NewRecord<'a> {
        NewRecord::new(RecordKind::Erasure, log, state, body)
    }

    /// The same; `more` if others of its write follow.
    pub(super) fn followed(self, more: bool) -> NewRecord<'a> {
        NewRecord { more, ..self }
    }

    fn flags(&self) -> u8 {
        let set = |flag, is_set| u8::from(is_set) * flag;
        set(HAS_KEY, self.key.is_some())
            | set(HAS_FLOORS, self.has_floors())
            | set(GONE, self.gone)
            | set(MORE, self.more)
    }

    fn has_floors(&self) -> bool {
        self.kind == RecordKind::Floor || self.state.floors != Floors::default()
    }

    /// Bytes that it takes in a frame.
    pub(super) fn bytes(&self) -> usize {
        head_bytes(self.flags(), self.register.len()) + self.body.len()
    }

    /// Adds it to the buffer. The caller has checked that the body is smaller than a segment.
    pub(super) fn encode(&self, mark: Mark, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        let LogState { seq, meta, version, floors } = self.state;
        let EntryMeta { time_ms, sender, counted, sender_counted } = meta;
        let mut head = [0; RECORD_HEAD_BYTES];
        head[4..8].copy_from_slice(&mark.checksum(self.body).to_le_bytes());
        head[8..12].copy_from_slice(&(self.body.len() as u32).to_le_bytes());
        // A key of a register has at most 64 bytes.
        head[12..15].copy_from_slice(&[self.kind as u8, self.flags(), self.register.len() as u8]);
        head[16..32].copy_from_slice(self.log.as_bytes());
        let numbers = [seq, time_ms, sender, counted, sender_counted, version];
        for (place, number) in head[32..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        buffer.extend_from_slice(&head);
        if self.has_floors() {
            for floor in [floors.entries_from, floors.registers_from, floors.marks_from] {
                buffer.extend_from_slice(&floor.to_le_bytes());
            }
        }
        if let Some((key, digest)) = &self.key {
            buffer.extend_from_slice(&key.sender.get().to_le_bytes());
            buffer.extend_from_slice(&key.client_message_id.0);
            buffer.extend_from_slice(&digest.to_le_bytes());
        }
        buffer.extend_from_slice(self.register);
        let checksum = mark.checksum(&buffer[start + 4..]);
        buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        buffer.extend_from_slice(self.body);
    }
}

/// A record but for its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub kind: RecordKind,
    pub log: LogId,
    /// Of the log after it. The sequence and the numbers are those of the entry, if it is one.
    pub state: LogState,
    pub key: Option<DedupeKey>,
    pub digest: u64,
    pub register: Option<RegisterKey>,
    /// The register was removed, the entry erased.
    pub gone: bool,
    /// More records of the same write follow.
    pub more: bool,
    pub body_bytes: u32,
    body_checksum: u32,
    head_bytes: u32,
}

impl RecordHead {
    /// Bytes before the body.
    pub(super) fn bytes(&self) -> usize {
        self.head_bytes as usize
    }

    /// Bytes of the whole record.
    pub(super) fn record_bytes(&self) -> usize {
        self.bytes() + self.body_bytes as usize
    }

    /// Reads the head of a record from the beginning of the bytes, if it is there and whole.
    pub(super) fn decode(mark: Mark, bytes: &[u8]) -> Option<RecordHead> {
        let &[kind, flags, register_bytes] = bytes.get(12..15)?.first_chunk()?;
        let head = bytes.get(..head_bytes(flags, register_bytes.into()))?;
        if u32_at(head, 0) != mark.checksum(&head[4..]) || flags > FLAGS {
            return None;
        }
        let kind = RecordKind::decode(kind)?;
        let (has_key, has_floors) = (flags & HAS_KEY != 0, flags & HAS_FLOORS != 0);
        let floors_at = RECORD_HEAD_BYTES;
        let key_at = floors_at + if has_floors { FLOORS_BYTES } else { 0 };
        let register = &head[head.len() - usize::from(register_bytes)..];
        let is_register = kind == RecordKind::Register;
        Some(RecordHead {
            kind,
            log: LogId::from_bytes(&head[16..32]).ok()?,
            state: LogState {
                seq: u64_at(head, 32),
                meta: EntryMeta {
                    time_ms: u64_at(head, 40),
                    sender: u64_at(head, 48),
                    counted: u64_at(head, 56),
                    sender_counted: u64_at(head, 64),
                },
                version: u64_at(head, 72),
                floors: if has_floors {
                    decode_floors(&head[floors_at..])
                } else {
                    Floors::default()
                },
            },
            key: if has_key { Some(decode_key(&head[key_at..])?) } else { None },
            digest: if has_key { u64_at(head, key_at + 24) } else { 0 },
            register: if is_register { Some(RegisterKey::new(register).ok()?) } else { None },
            gone: flags & GONE != 0,
            more: flags & MORE != 0,
            body_bytes: u32_at(head, 8),
            body_checksum: u32_at(head, 4),
            head_bytes: head.len() as u32,
        })
    }

    /// Whether this is the body that was stored.
    pub(super) fn owns(&self, mark: Mark, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize && mark.checksum(body) == self.body_checksum
    }

    /// It is an entry that was erased: of its body only the length is left.
    pub(super) fn is_erased(&self) -> bool {
        self.kind == RecordKind::Entry && self.gone
    }
}

fn head_bytes(flags: u8, register_bytes: usize) -> usize {
    let floors = if flags & HAS_FLOORS != 0 { FLOORS_BYTES } else { 0 };
    let key = if flags & HAS_KEY != 0 { KEY_BYTES } else { 0 };
    RECORD_HEAD_BYTES + floors + key + register_bytes
}

fn decode_floors(bytes: &[u8]) -> Floors {
    Floors {
        entries_from: u64_at(bytes, 0),
        registers_from: u64_at(bytes, 8),
        marks_from: u64_at(bytes, 16),
    }
}

fn decode_key(bytes: &[u8]) -> Option<DedupeKey> {
    let sender = UserId::new(u64_at(bytes, 0)).ok()?;
    let client_message_id = ClientMessageId::from_wire(&bytes[8..24]).ok()?;
    Some(DedupeKey { sender, client_message_id })
}

/// The body of a record that begins at `bytes`, if it is whole.
pub(super) fn decode_body(mark: Mark, head: &RecordHead, bytes: &[u8]) -> Option<Bytes> {
    let body = bytes.get(head.bytes()..head.record_bytes())?;
    head.owns(mark, body).then(|| Bytes::copy_from_slice(body))
}

/// What is done to an entry that is erased: its record is overwritten by a form of the same size
/// that has the head, with the dedupe key, and nothing of the body. All of that form follows from
/// the old head, which the record of the erasure keeps; so it can be done again whatever a crash has
/// left of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Erasure {
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
    pub(super) fn of(target: Location, mark: Mark, bytes: &[u8]) -> Option<Erasure> {
        let head = RecordHead::decode(mark, bytes)?;
        let mut bytes = bytes[CHECKSUMS_BYTES..head.bytes()].to_vec();
        bytes[FLAGS_AT - CHECKSUMS_BYTES] |= GONE;
        (head.kind == RecordKind::Entry).then_some(Erasure { target, head: bytes })
    }

    /// Which entry of its log was erased.
    pub(super) fn seq(&self) -> u64 {
        u64_at(&self.head, SEQ_AT - CHECKSUMS_BYTES)
    }

    /// For a record.
    pub(super) fn to_body(&self) -> Vec<u8> {
        let Location { segment, offset } = self.target;
        [&segment.to_le_bytes()[..], &offset.to_le_bytes(), &self.head].concat()
    }

    /// From the body of a record.
    pub(super) fn from_body(body: &[u8]) -> Option<Erasure> {
        let (target, head) = body.split_at_checked(TARGET_BYTES)?;
        let target = Location { segment: u32_at(target, 0), offset: u32_at(target, 4) };
        let whole = head.len() >= RECORD_HEAD_BYTES - CHECKSUMS_BYTES;
        whole.then(|| Erasure { target, head: head.to_vec() })
    }

    /// What the target's record is to be, all of it. `mark` is that of its segment.
    pub(super) fn erased_record(&self, mark: Mark) -> Vec<u8> {
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

    fn log() -> LogId {
        LogId::direct(UserId::new(9).unwrap(), UserId::MAX)
    }

    fn state(floors: Floors) -> LogState {
        let meta = EntryMeta { time_ms: 1, sender: 9, counted: 3, sender_counted: 2 };
        LogState { seq: 3, meta, version: 5, floors }
    }

    const FLOORS: Floors = Floors { entries_from: 2, registers_from: 4, marks_from: 6 };

    fn dedupe_key() -> (DedupeKey, u64) {
        let sender = UserId::new(9).unwrap();
        (DedupeKey { sender, client_message_id: ClientMessageId([7; 16]) }, 77)
    }

    /// A record of every kind, with and without all that it may have, each twice: alone, and followed
    /// by others of its write.
    fn with_records(mut check: impl FnMut(&NewRecord<'_>)) {
        let short = RegisterKey::letter(b'a');
        let long = RegisterKey::new(&[b'k'; REGISTER_KEY_BYTES_MAX]).unwrap();
        for floors in [Floors::default(), FLOORS] {
            let state = state(floors);
            let records = [
                NewRecord::entry(log(), state, None, b"hello"),
                NewRecord::entry(log(), state, Some(dedupe_key()), b"hello"),
                NewRecord::entry(log(), state, None, b""),
                NewRecord::register(log(), state, &short, Some(b"value")),
                NewRecord::register(log(), state, &long, Some(b"")),
                NewRecord::register(log(), state, &long, None),
                NewRecord::floor(log(), state),
                NewRecord::erasure(log(), state, b"what it takes"),
            ];
            for record in records {
                check(&record);
                check(&record.followed(true));
            }
        }
    }

    #[test]
    fn records_of_every_shape_come_back() {
        with_records(|record| {
            let mut buffer = b"before".to_vec();
            record.encode(MARK, &mut buffer);
            assert_eq!(buffer.len(), 6 + record.bytes());
            let head = RecordHead::decode(MARK, &buffer[6..]).unwrap();
            assert_eq!((head.kind, head.log, head.state), (record.kind, record.log, record.state));
            let key = record.key;
            assert_eq!((head.key, head.digest), (key.map(|k| k.0), key.map_or(0, |k| k.1)));
            let register = head.register.as_ref().map_or(&[][..], RegisterKey::as_bytes);
            assert_eq!(
                (register, head.gone, head.more),
                (record.register, record.gone, record.more)
            );
            assert_eq!(head.record_bytes(), record.bytes());
            assert!(head.bytes() <= RECORD_HEAD_BYTES_MAX);
            assert_eq!(&decode_body(MARK, &head, &buffer[6..]).unwrap()[..], record.body);
        });
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        with_records(|record| {
            let mut buffer = Vec::new();
            record.encode(MARK, &mut buffer);
            let good = RecordHead::decode(MARK, &buffer).unwrap();
            for bit in 0..buffer.len() * 8 {
                buffer[bit / 8] ^= 1 << (bit % 8);
                let head = RecordHead::decode(MARK, &buffer);
                let in_body = bit / 8 >= good.bytes();
                assert_eq!(head, in_body.then_some(good.clone()), "bit {bit}");
                assert_eq!(head.and_then(|head| decode_body(MARK, &head, &buffer)), None);
                buffer[bit / 8] ^= 1 << (bit % 8);
            }
        });
    }

    #[test]
    fn a_record_that_is_cut_short_is_none() {
        with_records(|record| {
            let mut buffer = Vec::new();
            record.encode(MARK, &mut buffer);
            for length in 0..buffer.len() {
                let head = RecordHead::decode(MARK, &buffer[..length]);
                let body = head.and_then(|head| decode_body(MARK, &head, &buffer[..length]));
                assert_eq!(body, None, "{length} bytes");
            }
        });
    }

    /// All but the body stays, whatever is left of the target; and done twice it is the same.
    #[test]
    fn an_erased_entry_keeps_its_head_and_its_length() {
        for (floors, key) in [(Floors::default(), None), (FLOORS, Some(dedupe_key()))] {
            let mut record = Vec::new();
            NewRecord::entry(log(), state(floors), key, b"a secret").encode(MARK, &mut record);
            let before = RecordHead::decode(MARK, &record).unwrap();
            let target = Location { segment: 7, offset: 4096 };
            let erasure = Erasure::of(target, MARK, &record).unwrap();
            let body = erasure.to_body();
            assert_eq!(Erasure::from_body(&body), Some(erasure.clone()));
            for place in 0..body.len() {
                assert_eq!(RecordHead::decode(MARK, &body[place..]), None, "{place}");
            }
            let erased = erasure.erased_record(MARK);
            assert_eq!(erased.len(), record.len());
            assert!(!erased.windows(8).any(|bytes| bytes == b"a secret"));
            let head = RecordHead::decode(MARK, &erased).unwrap();
            assert!(head.is_erased() && head.owns(MARK, &[0; 8]));
            let RecordHead { gone, body_checksum, .. } = before;
            assert_eq!(RecordHead { gone, body_checksum, ..head }, before);
            assert_eq!(Erasure::of(target, MARK, &erased), Some(erasure));
        }
        let mut other = Vec::new();
        NewRecord::floor(log(), state(FLOORS)).encode(MARK, &mut other);
        assert_eq!(Erasure::of(Location { segment: 1, offset: 0 }, MARK, &other), None);
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
