//! Writing an index file, section by section, each sorted.

use std::io;
use std::sync::Arc;

use super::super::disk::{Disk, DiskFile};
use super::super::hash::HashKey;
use super::super::identity::Identity;
use super::super::segment::UNFINISHED_SUFFIX;
use super::super::segment::files::Location;
use super::filter::Filter;
use super::layout::{
    BLOCK_BYTES, Change, Key, LogSpan, Position, Record, RegisterAt, RunHead, log_id, run_name,
};
use super::memory::{LOST, LogPart, SegmentIndex};
use super::run::damaged;

/// Blocks that are written at once.
const BUFFER_BYTES: usize = 64 * BLOCK_BYTES;

/// Bytes after which the file is synced: a commit that comes meanwhile waits behind so many, not
/// behind a whole file, which may be hundreds of megabytes.
const SYNC_BYTES: usize = 1024 * 1024;

/// An index file that is being written. The order of calls is the order of the sections.
pub(super) struct RunWriter {
    file: Arc<dyn DiskFile>,
    hash_key: HashKey,
    /// What is not yet written, and where it goes.
    buffer: Vec<u8>,
    offset: u64,
    /// Bytes that were written since the last sync.
    unsynced: usize,
    /// Where the block that is being filled begins in the buffer.
    block_start: usize,
    head: RunHead,
    filter: Filter,
    checksums: Vec<u8>,
    fences: Vec<u8>,
}

impl RunWriter {
    /// Begins a file for these segments. `elements` is at least the number of its keys, logs and
    /// registers.
    pub(super) fn create(
        disk: &dyn Disk,
        identity: &Identity,
        (first_segment, last_segment): (u32, u32),
        next_batch: u64,
        elements: u64,
    ) -> io::Result<RunWriter> {
        let name = run_name(first_segment, last_segment) + UNFINISHED_SUFFIX;
        Ok(RunWriter {
            file: disk.create(&name)?,
            hash_key: identity.hash_key,
            buffer: Vec::with_capacity(BUFFER_BYTES + BLOCK_BYTES),
            offset: BLOCK_BYTES as u64,
            unsynced: 0,
            block_start: 0,
            head: RunHead {
                first_segment,
                last_segment,
                next_batch,
                keys: 0,
                positions: 0,
                logs: 0,
                registers: 0,
                register_blocks: 0,
                changes: 0,
                filter_blocks: 0,
                guide_checksum: 0,
            },
            filter: Filter::new(elements),
            checksums: Vec::new(),
            fences: Vec::new(),
        })
    }

    pub(super) fn key(&mut self, key: Key) -> io::Result<()> {
        if self.block_is_empty() {
            self.fences.extend_from_slice(&key.hash.to_le_bytes());
        }
        self.head.keys += 1;
        self.filter.add(key.hash);
        self.record(&key)
    }

    pub(super) fn position(&mut self, position: Position) -> io::Result<()> {
        self.head.positions += 1;
        self.record(&position)
    }

    /// How many positions were written.
    pub(super) fn positions(&self) -> u64 {
        self.head.positions
    }

    pub(super) fn log(&mut self, span: &LogSpan) -> io::Result<()> {
        if self.block_is_empty() {
            self.fences.extend_from_slice(&span.log);
        }
        self.head.logs += 1;
        let log = log_id(&span.log).ok_or_else(damaged)?;
        self.filter.add(self.hash_key.of_log(log));
        self.record(span)
    }

    pub(super) fn register(&mut self, register: &RegisterAt) -> io::Result<()> {
        self.make_room(register.bytes())?;
        let (log, key) = &register.name;
        if self.block_is_empty() {
            self.head.register_blocks += 1;
            self.fences.push(key.as_bytes().len() as u8);
            self.fences.extend_from_slice(log);
            self.fences.extend_from_slice(key.as_bytes());
        }
        self.head.registers += 1;
        let log = log_id(log).ok_or_else(damaged)?;
        self.filter.add(self.hash_key.of_register(log, key));
        self.record(register)
    }

    pub(super) fn change(&mut self, change: &Change) -> io::Result<()> {
        if self.block_is_empty() {
            self.fences.extend_from_slice(&change.when.0);
            self.fences.extend_from_slice(&change.when.1.to_le_bytes());
        }
        self.head.changes += 1;
        self.record(change)
    }

    fn block_is_empty(&self) -> bool {
        self.buffer.len() == self.block_start
    }

    fn record<T: Record>(&mut self, record: &T) -> io::Result<()> {
        record.encode(&mut self.buffer);
        // Where not even one more of this size fits, the block ends: the next one may need a fence.
        self.make_room(record.bytes().min(BLOCK_BYTES))
    }

    /// Ends the block if it has no room for so many bytes. What is left of it stays zero.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let room = self.block_start + BLOCK_BYTES - self.buffer.len();
        if room < bytes { self.end_section() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        let checksum = crc32c::crc32c(&self.buffer[self.block_start..]);
        self.checksums.extend_from_slice(&checksum.to_le_bytes());
        self.block_start = self.buffer.len();
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.unsynced += self.buffer.len();
        if self.unsynced >= SYNC_BYTES {
            self.file.sync()?;
            self.unsynced = 0;
        }
        self.buffer.clear();
        self.block_start = 0;
        Ok(())
    }

    /// Ends a section: the next one begins with a block of its own.
    pub(super) fn end_section(&mut self) -> io::Result<()> {
        if self.block_is_empty() {
            return Ok(());
        }
        self.buffer.resize(self.block_start + BLOCK_BYTES, 0);
        self.end_block()
    }

    /// Writes the filter, the guide and the header, makes the file durable and gives it its name.
    /// Returns its size.
    pub(super) fn finish(mut self, disk: &dyn Disk, identity: &Identity) -> io::Result<u64> {
        let filter = std::mem::replace(&mut self.filter, Filter::new(0));
        for block in filter.blocks() {
            self.head.filter_blocks += 1;
            self.buffer.extend_from_slice(&block);
            self.end_block()?;
        }
        // The file may be opened with it in memory, next.
        drop(filter);
        let guide = [&self.checksums[..], &self.fences[..]].concat();
        self.head.guide_checksum = crc32c::crc32c(&guide);
        self.buffer.extend_from_slice(&guide);
        self.flush()?;
        self.file.write_at(&self.head.encode(identity.store_id), 0)?;
        self.file.sync()?;
        let name = run_name(self.head.first_segment, self.head.last_segment);
        disk.rename(&format!("{name}{UNFINISHED_SUFFIX}"), &name)?;
        disk.sync_names()?;
        Ok(self.offset)
    }
}

/// Writes the index of one segment. Returns the size of the file.
pub(in super::super) fn write_segment(
    disk: &dyn Disk,
    identity: &Identity,
    index: &SegmentIndex,
) -> io::Result<u64> {
    let segment = index.segment;
    let elements =
        index.keys.len() + index.collisions.len() + index.logs.len() + index.registers.len();
    let segments = (segment, segment);
    let mut writer =
        RunWriter::create(disk, identity, segments, index.next_batch, elements as u64)?;

    let place = |offset| Location { segment, offset };
    let keys = index.keys.iter().map(|(&hash, &offset)| (hash, offset));
    let keys = keys.chain(index.collisions.iter().copied());
    let mut keys: Vec<Key> =
        keys.map(|(hash, offset)| Key { hash, place: place(offset) }).collect();
    keys.sort_unstable();
    keys.into_iter().try_for_each(|key| writer.key(key))?;
    writer.end_section()?;

    let mut logs: Vec<([u8; 16], &LogPart)> =
        index.logs.iter().map(|(log, part)| (*log.as_bytes(), part)).collect();
    logs.sort_unstable_by_key(|(log, _)| *log);
    for offset in logs.iter().flat_map(|(_, part)| part.offsets.iter()) {
        writer.position(Position((*offset != LOST).then_some(place(*offset))))?;
    }
    writer.end_section()?;
    let mut start = 0;
    for (log, part) in logs {
        let count = part.offsets.len() as u32;
        let id = log_id(&log).ok_or_else(damaged)?;
        let (state, newest) = (index.state(&id), index.newest_place(&id, part));
        let state = state.ok_or_else(damaged)?;
        writer.log(&LogSpan { log, state, count, start, newest })?;
        start += count;
    }
    writer.end_section()?;
    write_registers(&mut writer, index)?;
    writer.finish(disk, identity)
}

fn write_registers(writer: &mut RunWriter, index: &SegmentIndex) -> io::Result<()> {
    // The ids of logs are ordered as their bytes are.
    for register in index.registers_at() {
        writer.register(&register)?;
    }
    writer.end_section()?;
    let mut changes = Changes::default();
    for register in index.registers_at() {
        changes.add(writer, &register)?;
    }
    changes.end_log(writer)?;
    writer.end_section()
}

/// Writes the changes of registers that come by log and key: those of one log at a time, sorted by
/// their versions.
#[derive(Default)]
pub(super) struct Changes {
    of_log: Vec<Change>,
}

impl Changes {
    pub(super) fn add(&mut self, writer: &mut RunWriter, register: &RegisterAt) -> io::Result<()> {
        let RegisterAt { name: (log, _), version, place, .. } = *register;
        if self.of_log.first().is_some_and(|first| first.when.0 != log) {
            self.end_log(writer)?;
        }
        self.of_log.push(Change { when: (log, version), place });
        Ok(())
    }

    pub(super) fn end_log(&mut self, writer: &mut RunWriter) -> io::Result<()> {
        self.of_log.sort_unstable_by_key(|change| (change.when.1, change.place));
        self.of_log.drain(..).try_for_each(|change| writer.change(&change))
    }
}
