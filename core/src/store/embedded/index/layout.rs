//! The bytes of index files: their header, their sections, and the records in these.
//!
//! ```text
//! block 0    header
//! ...        keys        hash 8, segment 4, offset 4             by hash
//! ...        positions   segment 4, offset 4                     by log, then sequence
//! ...        logs        id 16, newest 8, count 4, start 4, meta 32, version 8, floors 48,
//!                        place of the newest record 8            by id
//! ...        registers   bytes of the key 1, gone 1, log 16, version 8, segment 4, offset 4,
//!                        key                                     by log, then key
//! ...        changes     log 16, version 8, segment 4, offset 4  by log, then version
//! ...        filter      hashes of all keys, logs and registers
//! the end    guide       checksum 4 of each block; the first record of each block of keys (8),
//!                        logs (16), registers (1, 16, key) and changes (24)
//! ```

use std::marker::PhantomData;
use std::sync::Arc;

use dunlin_protocol::LogId;

use crate::store::{EntryMeta, RegisterKey, RunningCounts};

use super::super::segment::bytes::{u32_at, u64_at};
use super::super::segment::files::Location;
use super::super::segment::record::{Floors, LogState};
use super::memory::LOST;

/// Everything but the guide is in blocks of this size, each with a checksum.
pub(super) const BLOCK_BYTES: usize = 4096;

/// The bytes of a block.
pub(super) type BlockBytes = [u8; BLOCK_BYTES];

const MAGIC: &[u8; 8] = b"DUNLINIX";
/// The format of index files, which changes with less ado than that of the store: one of another format
/// is made again.
const INDEX_FORMAT: u32 = 3;
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
    pub blocks: u64,
    pub records: u64,
}

impl Section {
    /// Behind another one, of records of one size.
    fn behind<T: FixedRecord>(first_block: u64, records: u64) -> Section {
        Section { first_block, blocks: records.div_ceil(per_block::<T>()), records }
    }

    /// The first block behind it.
    pub(super) fn end(&self) -> u64 {
        self.first_block + self.blocks
    }
}

/// How many records of a size fit into a block.
pub(super) const fn per_block<T: FixedRecord>() -> u64 {
    (BLOCK_BYTES / T::BYTES) as u64
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
    pub registers: u64,
    /// They have no fixed size, so their blocks are counted.
    pub register_blocks: u64,
    pub changes: u64,
    pub filter_blocks: u64,
    pub guide_checksum: u32,
}

/// Where the sections are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sections {
    pub keys: Section,
    pub positions: Section,
    pub logs: Section,
    pub registers: Section,
    pub changes: Section,
    pub filter: Section,
}

impl RunHead {
    pub(super) fn sections(&self) -> Sections {
        let keys = Section::behind::<Key>(1, self.keys);
        let positions = Section::behind::<Position>(keys.end(), self.positions);
        let logs = Section::behind::<LogSpan>(positions.end(), self.logs);
        let (first_block, blocks) = (logs.end(), self.register_blocks);
        let registers = Section { first_block, blocks, records: self.registers };
        let changes = Section::behind::<Change>(registers.end(), self.changes);
        let (first_block, blocks) = (changes.end(), self.filter_blocks);
        let filter = Section { first_block, blocks, records: blocks };
        Sections { keys, positions, logs, registers, changes, filter }
    }

    pub(super) fn encode(&self, store_id: [u8; 16]) -> [u8; BLOCK_BYTES] {
        let mut bytes = [0; BLOCK_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&INDEX_FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.first_segment.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.last_segment.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.guide_checksum.to_le_bytes());
        bytes[24..40].copy_from_slice(&store_id);
        let numbers = [
            self.next_batch,
            self.keys,
            self.positions,
            self.logs,
            self.registers,
            self.register_blocks,
            self.changes,
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
            && u32_at(bytes, 8) == INDEX_FORMAT
            && bytes[24..40] == store_id;
        valid.then(|| RunHead {
            first_segment: u32_at(bytes, 12),
            last_segment: u32_at(bytes, 16),
            guide_checksum: u32_at(bytes, 20),
            next_batch: u64_at(bytes, 40),
            keys: u64_at(bytes, 48),
            positions: u64_at(bytes, 56),
            logs: u64_at(bytes, 64),
            registers: u64_at(bytes, 72),
            register_blocks: u64_at(bytes, 80),
            changes: u64_at(bytes, 88),
            filter_blocks: u64_at(bytes, 96),
        })
    }
}

/// A record of a section.
pub(super) trait Record: Clone {
    /// Adds its bytes.
    fn encode(&self, buffer: &mut Vec<u8>);
    /// How many bytes that are; at least as many.
    fn bytes(&self) -> usize;
    /// All records of a block of their section. The checksum of the block is good.
    fn of_block(section: &Section, block: u64, bytes: &Arc<BlockBytes>) -> Vec<Self>;
}

/// A record of which all have one size.
pub(super) trait FixedRecord: Copy {
    /// Their size.
    const BYTES: usize;
    /// Adds its bytes.
    fn encode(&self, buffer: &mut Vec<u8>);
    /// Reads it from as many bytes.
    fn decode(bytes: &[u8]) -> Self;
}

impl<T: FixedRecord> Record for T {
    fn encode(&self, buffer: &mut Vec<u8>) {
        FixedRecord::encode(self, buffer);
    }

    fn bytes(&self) -> usize {
        T::BYTES
    }

    fn of_block(section: &Section, block: u64, bytes: &Arc<BlockBytes>) -> Vec<T> {
        let block = Block::<T>::new(section, block, Arc::clone(bytes));
        (0..block.held).filter_map(|at| block.get(at)).collect()
    }
}

/// A block of a section, of which only those records are decoded that are looked at: most look-ups want
/// one of hundreds.
pub(super) struct Block<T> {
    bytes: Arc<BlockBytes>,
    /// How many records are in it.
    held: usize,
    record: PhantomData<T>,
}

impl<T: FixedRecord> Block<T> {
    /// The checksum of the block is good.
    pub(super) fn new(section: &Section, block: u64, bytes: Arc<BlockBytes>) -> Block<T> {
        let before = block * per_block::<T>();
        let held = section.records.saturating_sub(before).min(per_block::<T>()) as usize;
        Block { bytes, held, record: PhantomData }
    }

    /// A record; `None` behind the last one.
    pub(super) fn get(&self, at: usize) -> Option<T> {
        (at < self.held).then(|| T::decode(&self.bytes[at * T::BYTES..][..T::BYTES]))
    }

    /// The first record that is not before what is looked for; all that are come before all others.
    pub(super) fn partition_point(&self, is_before: impl Fn(&T) -> bool) -> usize {
        let (mut low, mut high) = (0, self.held);
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle) {
                Some(record) if is_before(&record) => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        low
    }
}

/// The hash of an entry's key, and where the entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub hash: u64,
    pub place: Location,
}

impl FixedRecord for Key {
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

impl FixedRecord for Position {
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
    /// Where the newest record of the log is, of whatever kind: so it is told whether the log has changed
    /// since a moment without a look at its parts.
    pub newest: Location,
}

impl LogSpan {
    /// The first sequence.
    pub(super) fn first(&self) -> u64 {
        self.state.seq + 1 - u64::from(self.count)
    }
}

impl FixedRecord for LogSpan {
    const BYTES: usize = 128;

    fn encode(&self, buffer: &mut Vec<u8>) {
        let LogState { seq, meta, version, floors } = self.state;
        buffer.extend_from_slice(&self.log);
        buffer.extend_from_slice(&seq.to_le_bytes());
        buffer.extend_from_slice(&self.count.to_le_bytes());
        buffer.extend_from_slice(&self.start.to_le_bytes());
        let EntryMeta { time_ms, sender, counted, sender_counted } = meta;
        let Floors { entries_from, registers_from, marks_from, expired } = floors;
        for number in [
            time_ms,
            sender,
            counted,
            sender_counted,
            version,
            entries_from,
            registers_from,
            marks_from,
            expired.sender,
            expired.counted,
            expired.sender_counted,
        ] {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        buffer.extend_from_slice(&self.newest.segment.to_le_bytes());
        buffer.extend_from_slice(&self.newest.offset.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> LogSpan {
        LogSpan {
            log: id_at(bytes, 0),
            count: u32_at(bytes, 24),
            start: u32_at(bytes, 28),
            newest: Location { segment: u32_at(bytes, 120), offset: u32_at(bytes, 124) },
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
                    expired: RunningCounts {
                        sender: u64_at(bytes, 96),
                        counted: u64_at(bytes, 104),
                        sender_counted: u64_at(bytes, 112),
                    },
                },
            },
        }
    }
}

/// A register, and where the record is that set or removed it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegisterAt {
    /// What registers are sorted by.
    pub name: RegisterName,
    pub version: u64,
    pub place: Location,
    /// It was removed.
    pub gone: bool,
}

/// The bytes of a log's id, and the key of one of its registers.
pub(super) type RegisterName = ([u8; 16], RegisterKey);

impl RegisterAt {
    /// Bytes before the key.
    const HEAD_BYTES: usize = 34;

    /// Reads one; `None` where there is no more in the block.
    fn decode(bytes: &[u8]) -> Option<RegisterAt> {
        let head = bytes.first_chunk::<{ RegisterAt::HEAD_BYTES }>()?;
        let key = bytes[RegisterAt::HEAD_BYTES..].get(..usize::from(head[0]))?;
        Some(RegisterAt {
            name: (id_at(head, 2), RegisterKey::new(key).ok()?),
            version: u64_at(head, 18),
            place: Location { segment: u32_at(head, 26), offset: u32_at(head, 30) },
            gone: head[1] != 0,
        })
    }
}

impl Record for RegisterAt {
    fn encode(&self, buffer: &mut Vec<u8>) {
        let (log, key) = &self.name;
        // A key has 1 to 64 bytes; a zero is behind the last record of a block.
        buffer.push(key.as_bytes().len() as u8);
        buffer.push(u8::from(self.gone));
        buffer.extend_from_slice(log);
        buffer.extend_from_slice(&self.version.to_le_bytes());
        buffer.extend_from_slice(&self.place.segment.to_le_bytes());
        buffer.extend_from_slice(&self.place.offset.to_le_bytes());
        buffer.extend_from_slice(key.as_bytes());
    }

    fn bytes(&self) -> usize {
        RegisterAt::HEAD_BYTES + self.name.1.as_bytes().len()
    }

    fn of_block(_: &Section, _: u64, bytes: &Arc<BlockBytes>) -> Vec<RegisterAt> {
        let mut rest = &bytes[..];
        let next = || {
            let register = RegisterAt::decode(rest)?;
            rest = &rest[register.bytes()..];
            Some(register)
        };
        std::iter::from_fn(next).collect()
    }
}

/// A version of a log, and where a record is that it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// The bytes of the log's id, and the version: what changes are sorted by.
    pub when: ([u8; 16], u64),
    pub place: Location,
}

impl FixedRecord for Change {
    const BYTES: usize = 32;

    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.when.0);
        buffer.extend_from_slice(&self.when.1.to_le_bytes());
        buffer.extend_from_slice(&self.place.segment.to_le_bytes());
        buffer.extend_from_slice(&self.place.offset.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Change {
        let place = Location { segment: u32_at(bytes, 24), offset: u32_at(bytes, 28) };
        Change { when: (id_at(bytes, 0), u64_at(bytes, 16)), place }
    }
}

/// # Panics
/// As [`u64_at`].
pub(super) fn id_at(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes[at..at + 16].try_into().expect("a slice of 16 bytes")
}

/// The id of a log whose bytes come from a block with a good checksum.
pub(super) fn log_id(bytes: &[u8; 16]) -> Option<LogId> {
    LogId::from_bytes(bytes).ok()
}
