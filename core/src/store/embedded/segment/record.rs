//! The bytes of records: one per entry, register or deletion. [Frames](super::frame) hold them.
//!
//! docs/storage-format.md draws them. All numbers are little-endian. Every checksum is seeded
//! with the mark of its segment, which follows from a secret of the store: the body of a message
//! can't contain anything that looks like a record or a frame, whoever wrote it.

use bytes::Bytes;
use dunlin_protocol::{ClientMessageId, LogId, UserId};

use crate::store::register::REGISTER_KEY_BYTES_MAX;
use crate::store::{DedupeKey, EntryMeta, Head, RegisterKey, RunningCounts};

use super::bytes::{u32_at, u64_at};
use super::frame::Mark;

/// Bytes of a record before its floors, its keys and its body.
pub(in super::super) const RECORD_HEAD_BYTES: usize = 80;
/// The most bytes of a record before its body.
pub(in super::super) const RECORD_HEAD_BYTES_MAX: usize =
    RECORD_HEAD_BYTES + FLOORS_BYTES + EXPIRED_BYTES + KEY_BYTES + REGISTER_KEY_BYTES_MAX;

const FLOORS_BYTES: usize = 24;
const EXPIRED_BYTES: usize = 24;
const KEY_BYTES: usize = 32;
pub(super) const FLAGS_AT: usize = 13;
pub(super) const SEQ_AT: usize = 32;
const HAS_KEY: u8 = 1;
const HAS_FLOORS: u8 = 2;
pub(super) const GONE: u8 = 4;
const MORE: u8 = 8;
const HAS_EXPIRED: u8 = 16;
const FLAGS: u8 = HAS_KEY | HAS_FLOORS | GONE | MORE | HAS_EXPIRED;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum RecordKind {
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
pub(in super::super) struct Floors {
    /// Entries below this sequence have expired.
    pub entries_from: u64,
    /// Registers that were set by a lower version are gone.
    pub registers_from: u64,
    /// Which registers were removed by this version, or a lower one, is forgotten: what has changed is known
    /// since this version.
    pub marks_from: u64,
    /// The counts of the newest entry that has expired.
    pub expired: RunningCounts,
}

/// The state of a log after a record. Each record says all of it, so that the newest part of the
/// index that has the log knows its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in super::super) struct LogState {
    /// The newest sequence.
    pub seq: u64,
    /// The numbers of that entry.
    pub meta: EntryMeta,
    /// The version of the registers.
    pub version: u64,
    pub floors: Floors,
}

impl LogState {
    pub(in super::super) fn head(&self) -> Head {
        let LogState { seq, meta, version, floors } = *self;
        Head { seq, meta, version, expired_below: floors.entries_from, expired: floors.expired }
    }
}

/// A record to write.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct NewRecord<'a> {
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
    pub(in super::super) fn entry(
        log: LogId,
        state: LogState,
        key: Option<(DedupeKey, u64)>,
        body: &'a [u8],
    ) -> NewRecord<'a> {
        NewRecord { key, ..NewRecord::new(RecordKind::Entry, log, state, body) }
    }

    /// A register that the version of the state has set, or removed if there is no value.
    pub(in super::super) fn register(
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
    pub(in super::super) fn forgotten(log: LogId, state: LogState) -> NewRecord<'static> {
        NewRecord { gone: true, ..NewRecord::floor(log, state) }
    }

    /// The floors that the state has.
    pub(in super::super) fn floor(log: LogId, state: LogState) -> NewRecord<'static> {
        NewRecord::new(RecordKind::Floor, log, state, &[])
    }

    /// `body` is that of an [`Erasure`].
    pub(in super::super) fn erasure(log: LogId, state: LogState, body: &'a [u8]) -> NewRecord<'a> {
        NewRecord::new(RecordKind::Erasure, log, state, body)
    }

    /// The same; `more` if others of its write follow.
    pub(in super::super) fn followed(self, more: bool) -> NewRecord<'a> {
        NewRecord { more, ..self }
    }

    fn flags(&self) -> u8 {
        let set = |flag, is_set| u8::from(is_set) * flag;
        set(HAS_KEY, self.key.is_some())
            | set(HAS_FLOORS, self.has_floors())
            | set(HAS_EXPIRED, self.has_expired())
            | set(GONE, self.gone)
            | set(MORE, self.more)
    }

    fn has_floors(&self) -> bool {
        self.kind == RecordKind::Floor || self.state.floors != Floors::default()
    }

    fn has_expired(&self) -> bool {
        self.state.floors.expired != RunningCounts::default()
    }

    /// Bytes that it takes in a frame.
    pub(in super::super) fn bytes(&self) -> usize {
        head_bytes(self.flags(), self.register.len()) + self.body.len()
    }

    /// Adds it to the buffer. The caller has checked that the body is smaller than a segment.
    pub(in super::super) fn encode(&self, mark: Mark, buffer: &mut Vec<u8>) {
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
        if self.has_expired() {
            let RunningCounts { sender, counted, sender_counted } = floors.expired;
            for number in [sender, counted, sender_counted] {
                buffer.extend_from_slice(&number.to_le_bytes());
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
pub(in super::super) struct RecordHead {
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
    pub(in super::super) fn bytes(&self) -> usize {
        self.head_bytes as usize
    }

    /// Bytes of the whole record.
    pub(in super::super) fn record_bytes(&self) -> usize {
        self.bytes() + self.body_bytes as usize
    }

    /// Reads the head of a record from the beginning of the bytes, if it is there and whole.
    pub(in super::super) fn decode(mark: Mark, bytes: &[u8]) -> Option<RecordHead> {
        let &[kind, flags, register_bytes] = bytes.get(12..15)?.first_chunk()?;
        let head = bytes.get(..head_bytes(flags, register_bytes.into()))?;
        if u32_at(head, 0) != mark.checksum(&head[4..]) || flags > FLAGS {
            return None;
        }
        let kind = RecordKind::decode(kind)?;
        let (has_key, has_floors) = (flags & HAS_KEY != 0, flags & HAS_FLOORS != 0);
        let floors_at = RECORD_HEAD_BYTES;
        let expired_at = floors_at + if has_floors { FLOORS_BYTES } else { 0 };
        let has_expired = flags & HAS_EXPIRED != 0;
        let key_at = expired_at + if has_expired { EXPIRED_BYTES } else { 0 };
        let mut floors =
            if has_floors { decode_floors(&head[floors_at..]) } else { Floors::default() };
        if has_expired {
            floors.expired = decode_expired(&head[expired_at..]);
        }
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
                floors,
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
    pub(in super::super) fn owns(&self, mark: Mark, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize && mark.checksum(body) == self.body_checksum
    }

    /// It is an entry that was erased: of its body only the length is left.
    pub(in super::super) fn is_erased(&self) -> bool {
        self.kind == RecordKind::Entry && self.gone
    }
}

fn head_bytes(flags: u8, register_bytes: usize) -> usize {
    let floors = if flags & HAS_FLOORS != 0 { FLOORS_BYTES } else { 0 };
    let expired = if flags & HAS_EXPIRED != 0 { EXPIRED_BYTES } else { 0 };
    let key = if flags & HAS_KEY != 0 { KEY_BYTES } else { 0 };
    RECORD_HEAD_BYTES + floors + expired + key + register_bytes
}

fn decode_floors(bytes: &[u8]) -> Floors {
    Floors {
        entries_from: u64_at(bytes, 0),
        registers_from: u64_at(bytes, 8),
        marks_from: u64_at(bytes, 16),
        expired: RunningCounts::default(),
    }
}

fn decode_expired(bytes: &[u8]) -> RunningCounts {
    RunningCounts {
        sender: u64_at(bytes, 0),
        counted: u64_at(bytes, 8),
        sender_counted: u64_at(bytes, 16),
    }
}

fn decode_key(bytes: &[u8]) -> Option<DedupeKey> {
    let sender = UserId::new(u64_at(bytes, 0)).ok()?;
    let client_message_id = ClientMessageId::from_wire(&bytes[8..24]).ok()?;
    Some(DedupeKey { sender, client_message_id })
}

/// The body of a record that begins at `bytes`, if it is whole.
pub(in super::super) fn decode_body(mark: Mark, head: &RecordHead, bytes: &[u8]) -> Option<Bytes> {
    let body = bytes.get(head.bytes()..head.record_bytes())?;
    head.owns(mark, body).then(|| Bytes::copy_from_slice(body))
}

#[cfg(test)]
mod tests {
    use super::super::erasure::Erasure;
    use super::super::files::Location;
    use super::*;

    const MARK: Mark = Mark(0x0123_4567_89ab_cdef);

    fn log() -> LogId {
        LogId::direct(UserId::new(9).unwrap(), UserId::MAX)
    }

    fn state(floors: Floors) -> LogState {
        let meta = EntryMeta { time_ms: 1, sender: 9, counted: 3, sender_counted: 2 };
        LogState { seq: 3, meta, version: 5, floors }
    }

    const FLOORS: Floors = Floors {
        entries_from: 2,
        registers_from: 4,
        marks_from: 6,
        expired: RunningCounts { sender: 0, counted: 0, sender_counted: 0 },
    };
    const EXPIRED: Floors =
        Floors { expired: RunningCounts { sender: 8, counted: 2, sender_counted: 1 }, ..FLOORS };

    fn dedupe_key() -> (DedupeKey, u64) {
        let sender = UserId::new(9).unwrap();
        (DedupeKey { sender, client_message_id: ClientMessageId([7; 16]) }, 77)
    }

    /// A record of every kind, with and without all that it may have, each twice: alone, and followed
    /// by others of its write.
    fn with_records(mut check: impl FnMut(&NewRecord<'_>)) {
        let short = RegisterKey::letter(b'a');
        let long = RegisterKey::new(&[b'k'; REGISTER_KEY_BYTES_MAX]).unwrap();
        for floors in [Floors::default(), FLOORS, EXPIRED] {
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
        let keyed = Some(dedupe_key());
        for (floors, key) in [(Floors::default(), None), (FLOORS, keyed), (EXPIRED, keyed)] {
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
}
