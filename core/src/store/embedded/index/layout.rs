//! The bytes of index files: their header, their sections, and the records in these.
//!
//! ```text
//! block 0    header
//! ...        keys        hash 8, segment 4, offset 4             by hash
//! ...        positions   segment 4, offset 4                     by log, then sequence
//! ...        logs        id 16, newest 8, count 4, start 4, meta 32,
//!                        version 8, floors 24                     by id
//! ...        cursors     conversation 16, user 8, seq 8          by conversation, then user
//! ...        filter      hashes of all keys, logs and cursors
//! the end    guide       checksum 4 of each block; the first record of each block of keys (8),
//!                        logs (16) and cursors (24)
//! ```

use dunlin_protocol::LogId;

use crate::store::EntryMeta;

use super::super::identity::FORMAT;
use super::super::record::{Floors, LogState, u32_at, u64_at};
use super::super::segments::Location;
use super::memory::LOST;

/// Everything but the guide is in blocks of this size, each with a checksum.
pub(super) const BLOCK_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"DUNLINIX";
const SUFFIX: &str = ".idx";

/// The name of the index file of these segments, both included.
pub(in super::super) fn run_name(first: u32, last: u32) -> String {
    format!("{first:08x}-{last:08x}{SUFFIX}")
}

/// The segments of the index file that has this name.
pub(in super::super) fn run_segments(name: &str) -> Option<(u32, u32)> {
    let (first, last) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && run_name(first, last) == name).then_some((first, last))
}

/// A part of an index file that is sorted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    pub first_block: u64,
    pub records: u64,
    pub record_bytes: usize,
}

impl Section {
    pub(super) fn per_block(&self) -> u64 {
        (BLOCK_BYTES / self.record_bytes) as u64
    }

    pub(super) fn blocks(&self) -> u64 {
        self.records.div_ceil(self.per_block())
    }
}

/// The header of an index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunHead {
    pub first_segment: u32,
    pub last_segment: u32,
    pub next_batch: u64,
    pub keys: u64,
    pub positions: u64,
    pub logs: u64,
    pub cursors: u64,
    pub filter_blocks: u64,
    pub guide_checksum: u32,
}

/// Where the sections are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sections {
    pub keys: Section,
    pub positions: Section,
    pub logs: Section,
    pub cursors: Section,
    pub filter: Section,
}

impl RunHead {
    pub(super) fn sections(&self) -> Sections {
        let mut first_block = 1;
        let mut section = |records, record_bytes| {
            let section = Section { first_block, records, record_bytes };
            first_block += section.blocks();
            section
        };
        Sections {
            keys: section(self.keys, Key::BYTES),
            positions: section(self.positions, Position::BYTES),
            logs: section(self.logs, LogSpan::BYTES),
            cursors: section(self.cursors, CursorAt::BYTES),
            filter: section(self.filter_blocks, BLOCK_BYTES),
        }
    }

    pub(super) fn encode(&self, store_id: [u8; 16]) -> [u8; BLOCK_BYTES] {
        let mut bytes = [0; BLOCK_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.first_segment.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.last_segment.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.guide_checksum.to_le_bytes());
        bytes[24..40].copy_from_slice(&store_id);
        let numbers = [
            self.next_batch,
            self.keys,
            self.positions,
            self.logs,
            self.cursors,
            self.filter_blocks,
        ];
        for (at, number) in numbers.iter().enumerate() {
            bytes[40 + 8 * at..48 + 8 * at].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[..BLOCK_BYTES - 4]);
        bytes[BLOCK_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads it; `None` if it is damaged, or of another store or version: then it is made again.
    pub(super) fn decode(bytes: &[u8], store_id: [u8; 16]) -> Option<RunHead> {
        let bytes = bytes.get(..BLOCK_BYTES)?;
        let checksum = crc32c::crc32c(&bytes[..BLOCK_BYTES - 4]);
        let valid = &bytes[..8] == MAGIC
            && u32_at(bytes, BLOCK_BYTES - 4) == checksum
            && u32_at(bytes, 8) == FORMAT
            && bytes[24..40] == store_id;
        valid.then(|| RunHead {
            first_segment: u32_at(bytes, 12),
            last_segment: u32_at(bytes, 16),
            guide_checksum: u32_at(bytes, 20),
            next_batch: u64_at(bytes, 40),
            keys: u64_at(bytes, 48),
            positions: u64_at(bytes, 56),
            logs: u64_at(bytes, 64),
            cursors: u64_at(bytes, 72),
            filter_blocks: u64_at(bytes, 80),
        })
    }
}

/// A record of a section.
pub(super) trait Record: Copy {
    /// Its size.
    const BYTES: usize;
    /// Adds its bytes.
    fn encode(&self, buffer: &mut Vec<u8>);
    /// Reads it from as many bytes.
    fn decode(bytes: &[u8]) -> Self;
}

/// The hash of an entry's key, and where the entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub hash: u64,
    pub place: Location,
}

impl Record for Key {
    const BYTES: usize = 16;

    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.hash.to_le_bytes());
        buffer.extend_from_slice(&self.place.segment.to_le_bytes());
        buffer.extend_from_slice(&self.place.offset.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Key {
        let place = Location { segment: u32_at(bytes, 8), offset: u32_at(bytes, 12) };
        Key { hash: u64_at(bytes, 0), place }
    }
}

/// Where an entry is; which one follows from the log and the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position(pub Option<Location>);

impl Record for Position {
    const BYTES: usize = 8;

    fn encode(&self, buffer: &mut Vec<u8>) {
        let Location { segment, offset } = self.0.unwrap_or(Location { segment: 0, offset: LOST });
        buffer.extend_from_slice(&segment.to_le_bytes());
        buffer.extend_from_slice(&offset.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Position {
        let place = Location { segment: u32_at(bytes, 0), offset: u32_at(bytes, 4) };
        Position((place.offset != LOST).then_some(place))
    }
}

/// The part of a log that an index file knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogSpan {
    /// The bytes of the id.
    pub log: [u8; 16],
    /// The state of the log after these segments.
    pub state: LogState,
    /// How many entries, the newest of the log the last.
    pub count: u32,
    /// The first of their positions.
    pub start: u32,
}

impl LogSpan {
    /// The first sequence.
    pub(super) fn first(&self) -> u64 {
        self.state.seq + 1 - u64::from(self.count)
    }
}

impl Record for LogSpan {
    const BYTES: usize = 96;

    fn encode(&self, buffer: &mut Vec<u8>) {
        let LogState { seq, meta, version, floors } = self.state;
        buffer.extend_from_slice(&self.log);
        buffer.extend_from_slice(&seq.to_le_bytes());
        buffer.extend_from_slice(&self.count.to_le_bytes());
        buffer.extend_from_slice(&self.start.to_le_bytes());
        let EntryMeta { time_ms, sender, counted, sender_counted } = meta;
        let Floors { entries_from, registers_from, marks_from } = floors;
        for number in [
            time_ms,
            sender,
            counted,
            sender_counted,
            version,
            entries_from,
            registers_from,
            marks_from,
        ] {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> LogSpan {
        LogSpan {
            log: bytes[..16].try_into().expect("a slice of 16 bytes"),
            count: u32_at(bytes, 24),
            start: u32_at(bytes, 28),
            state: LogState {
                seq: u64_at(bytes, 16),
                meta: EntryMeta {
                    time_ms: u64_at(bytes, 32),
                    sender: u64_at(bytes, 40),
                    counted: u64_at(bytes, 48),
                    sender_counted: u64_at(bytes, 56),
                },
                version: u64_at(bytes, 64),
                floors: Floors {
                    entries_from: u64_at(bytes, 72),
                    registers_from: u64_at(bytes, 80),
                    marks_from: u64_at(bytes, 88),
                },
            },
        }
    }
}

/// A cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CursorAt {
    /// The bytes of the conversation's id, and the user: what cursors are sorted by.
    pub whose: ([u8; 16], u64),
    pub seq: u64,
}

impl Record for CursorAt {
    const BYTES: usize = 32;

    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.whose.0);
        buffer.extend_from_slice(&self.whose.1.to_le_bytes());
        buffer.extend_from_slice(&self.seq.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> CursorAt {
        let conversation = bytes[..16].try_into().expect("a slice of 16 bytes");
        CursorAt { whose: (conversation, u64_at(bytes, 16)), seq: u64_at(bytes, 24) }
    }
}

/// The id of a log whose bytes come from a block with a good checksum.
pub(super) fn log_id(bytes: &[u8; 16]) -> Option<LogId> {
    LogId::from_bytes(bytes).ok()
}
