//! An index file: the sorted index of one segment or of several in a row. It never changes.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};

use dunlin_protocol::{LogId, LogKind};

use super::super::disk::{Disk, DiskFile, read_exact_at};
use super::super::identity::Identity;
use super::super::segment::bytes::{u32_at, u64_at};
use super::super::segment::files::Location;
use super::filter::{self, Filter, LINE_BYTES};
use super::found::KeyRange;
use super::layout::{
    BLOCK_BYTES, Block, BlockBytes, Change, FixedRecord, Key, LogSpan, Position, Record,
    RegisterAt, RegisterName, RunHead, Section, Sections, id_at, log_id, per_block, run_name,
};
use super::recent::Recent;
use crate::store::RegisterKey;

/// An open index file.
#[derive(Debug)]
pub(in super::super) struct Run {
    file: Arc<dyn DiskFile>,
    head: RunHead,
    sections: Sections,
    /// The checksum of each block after the header.
    checksums: Vec<u32>,
    key_fences: Vec<u64>,
    log_fences: Vec<[u8; 16]>,
    register_fences: Vec<RegisterName>,
    change_fences: Vec<([u8; 16], u64)>,
    /// `None`: it is read from the file.
    filter: Option<Filter>,
    recent: Recent,
    /// A block was found to be damaged; the file is being made again.
    damaged: AtomicBool,
    told: AtomicBool,
}

impl Run {
    /// Opens an index file. The filter is kept in memory if it has at most so many bytes.
    /// An error of the kind `InvalidData` means that it is damaged.
    pub(in super::super) fn open(
        disk: &dyn Disk,
        identity: &Identity,
        (first, last): (u32, u32),
        filter_bytes_max: usize,
    ) -> io::Result<Run> {
        let file = disk.open(&run_name(first, last))?;
        let mut block = [0; BLOCK_BYTES];
        read_exact_at(&*file, &mut block, 0).map_err(truncated)?;
        let head = RunHead::decode(&block, identity.store_id).ok_or_else(damaged)?;
        if (head.first_segment, head.last_segment) != (first, last) {
            return Err(damaged());
        }
        let sections = head.sections();
        let guide = read_guide(&*file, sections.filter.end() * BLOCK_BYTES as u64, &head)?;
        let mut run = Run::with_guide(file, head, sections, &guide)?;
        if run.filter_file_bytes() <= filter_bytes_max {
            let blocks = sections.filter.first_block..sections.filter.end();
            run.filter = Some(Filter::from_blocks(blocks.map(|at| run.block(at)))?);
        }
        Ok(run)
    }

    /// Whether the file of this name is an index file of other segments, by its header.
    pub(in super::super) fn is_misplaced(
        file: &dyn DiskFile,
        identity: &Identity,
        segments: (u32, u32),
    ) -> io::Result<bool> {
        let mut block = [0; BLOCK_BYTES];
        let read = file.read_at(&mut block, 0)?;
        let head = RunHead::decode(&block[..read], identity.store_id);
        Ok(head.is_some_and(|head| (head.first_segment, head.last_segment) != segments))
    }

    fn with_guide(
        file: Arc<dyn DiskFile>,
        head: RunHead,
        sections: Sections,
        mut guide: &[u8],
    ) -> io::Result<Run> {
        let mut take = |items: u64, bytes: usize| {
            let (part, rest) = guide.split_at_checked(items as usize * bytes)?;
            guide = rest;
            Some(part)
        };
        let run = (|| {
            let checksums = take(sections.filter.end() - 1, 4)?;
            let key_fences = take(sections.keys.blocks, 8)?;
            let log_fences = take(sections.logs.blocks, 16)?;
            let mut register_fences = Vec::new();
            for _ in 0..sections.registers.blocks {
                let key_bytes = take(1, 1)?[0];
                let log = id_at(take(1, 16)?, 0);
                register_fences.push((log, RegisterKey::new(take(1, key_bytes.into())?).ok()?));
            }
            let change_fences = take(sections.changes.blocks, 24)?;
            let version = |fence: &[u8]| (id_at(fence, 0), u64_at(fence, 16));
            Some(Run {
                file,
                head,
                sections,
                checksums: checksums.chunks_exact(4).map(|fence| u32_at(fence, 0)).collect(),
                key_fences: key_fences.chunks_exact(8).map(|fence| u64_at(fence, 0)).collect(),
                log_fences: log_fences.chunks_exact(16).map(|fence| id_at(fence, 0)).collect(),
                register_fences,
                change_fences: change_fences.chunks_exact(24).map(version).collect(),
                filter: None,
                recent: Recent::default(),
                damaged: AtomicBool::new(false),
                told: AtomicBool::new(false),
            })
        })();
        run.ok_or_else(damaged)
    }

    /// The segments that it covers, both included.
    pub(in super::super) fn segments(&self) -> (u32, u32) {
        (self.head.first_segment, self.head.last_segment)
    }

    /// The batch after the last one of its segments.
    pub(in super::super) fn next_batch(&self) -> u64 {
        self.head.next_batch
    }

    pub(super) fn head(&self) -> &RunHead {
        &self.head
    }

    /// Bytes of the filter in memory.
    pub(in super::super) fn filter_bytes(&self) -> usize {
        if self.filter.is_some() { self.filter_file_bytes() } else { 0 }
    }

    /// Bytes of the filter, wherever it is.
    pub(in super::super) fn filter_file_bytes(&self) -> usize {
        self.head.filter_blocks as usize * BLOCK_BYTES
    }

    /// A damaged block was found.
    pub(in super::super) fn is_damaged(&self) -> bool {
        self.damaged.load(atomic::Ordering::Relaxed)
    }

    /// It has to be made again.
    pub(super) fn found_damaged(&self) {
        self.damaged.store(true, atomic::Ordering::Relaxed);
    }

    /// Whether nobody has said yet that it is damaged: that is said once, however many look something
    /// up in it until it is made again.
    pub(super) fn begins_to_tell(&self) -> bool {
        !self.told.swap(true, atomic::Ordering::Relaxed)
    }

    /// The filter, if it is in memory.
    pub(super) fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// False if nothing with this hash is here.
    pub(super) fn may_hold(&self, hash: u64) -> io::Result<bool> {
        if let Some(filter) = &self.filter {
            return Ok(filter.may_hold(hash));
        }
        let lines_per_block = (BLOCK_BYTES / LINE_BYTES) as u64;
        let line = filter::line_of(hash, self.head.filter_blocks * lines_per_block);
        let block = self.block(self.sections.filter.first_block + line / lines_per_block)?;
        let at = (line % lines_per_block) as usize * LINE_BYTES;
        Ok(filter::line_may_hold(&block[at..at + LINE_BYTES], hash))
    }

    /// Adds the places of entries whose key has this hash.
    pub(in super::super) fn places_of_key(
        &self,
        hash: u64,
        places: &mut Vec<Location>,
    ) -> io::Result<()> {
        // The first one may be in the block before the first fence that is not lower.
        let from = self.key_fences.partition_point(|fence| *fence < hash).saturating_sub(1);
        for at in from..self.key_fences.len() {
            if self.key_fences[at] > hash {
                break;
            }
            let block = self.records_in_place::<Key>(&self.sections.keys, at as u64)?;
            let first = block.partition_point(|key| key.hash < hash);
            let keys = (first..).map_while(|at| block.get(at).filter(|key| key.hash == hash));
            places.extend(keys.map(|key| key.place));
        }
        Ok(())
    }

    /// What it knows of a log.
    pub(super) fn log(&self, log: LogId) -> io::Result<Option<LogSpan>> {
        let id = log.as_bytes();
        let after = self.log_fences.partition_point(|fence| fence <= id);
        let Some(at) = after.checked_sub(1) else { return Ok(None) };
        let block = self.records_in_place::<LogSpan>(&self.sections.logs, at as u64)?;
        let found = block.get(block.partition_point(|span| span.log < *id));
        Ok(found.filter(|span| span.log == *id))
    }

    /// Where the entries `from..=to` of the log are; both must be in the span.
    pub(super) fn places(
        &self,
        span: &LogSpan,
        from: u64,
        to: u64,
    ) -> io::Result<Vec<Option<Location>>> {
        let section = &self.sections.positions;
        let start = u64::from(span.start) + (from - span.first());
        let end = u64::from(span.start) + (to - span.first());
        let mut places = Vec::with_capacity((to - from + 1) as usize);
        let per_block = per_block::<Position>();
        for block in start / per_block..=end / per_block {
            let base = block * per_block;
            let records = self.records_in_place::<Position>(section, block)?;
            let low = start.saturating_sub(base) as usize;
            let high = (end - base).min(per_block - 1) as usize;
            for at in low..=high {
                places.push(records.get(at).ok_or_else(damaged)?.0);
            }
        }
        Ok(places)
    }

    /// The same by their log; `None` if it does not know all of them.
    pub(in super::super) fn entries(
        &self,
        log: LogId,
        from: u64,
        to: u64,
    ) -> io::Result<Option<Vec<Option<Location>>>> {
        let span = self.log(log)?.filter(|span| span.first() <= from && to <= span.state.seq);
        span.map(|span| self.places(&span, from, to)).transpose()
    }

    /// The version at which a register was set last.
    pub(in super::super) fn register_version(
        &self,
        log: LogId,
        key: &RegisterKey,
    ) -> io::Result<Option<u64>> {
        Ok(self.register(log, key)?.map(|known| known.version))
    }

    /// The first entry of the log that is at a place or behind it; the one after its last if there is none.
    pub(super) fn first_since(&self, span: &LogSpan, since: Location) -> io::Result<u64> {
        let (mut low, mut high) = (span.first(), span.state.seq + 1);
        while low < high {
            let middle = low.midpoint(high);
            // One that is damaged may be behind it.
            match self.places(span, middle, middle)?.first() {
                Some(Some(place)) if *place < since => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }

    /// A register.
    pub(super) fn register(&self, log: LogId, key: &RegisterKey) -> io::Result<Option<RegisterAt>> {
        let name = (*log.as_bytes(), key.clone());
        let after = self.register_fences.partition_point(|fence| *fence <= name);
        let Some(at) = after.checked_sub(1) else { return Ok(None) };
        let mut records = self.records::<RegisterAt>(&self.sections.registers, at as u64)?;
        let found = records.binary_search_by(|record| record.name.cmp(&name));
        Ok(found.ok().map(|place| records.swap_remove(place)))
    }

    /// The first registers of a log that are within a range, at most so many. True if there are no
    /// others.
    pub(super) fn registers(
        &self,
        range: &KeyRange<'_>,
        registers_max: usize,
    ) -> io::Result<(Vec<RegisterAt>, bool)> {
        let low = (*range.log.as_bytes(), range.low());
        let begins_after = |fence: &RegisterName| (&fence.0, fence.1.as_bytes()) > (&low.0, low.1);
        let after = self.register_fences.partition_point(|fence| !begins_after(fence));
        let mut registers = Vec::new();
        for at in after.saturating_sub(1)..self.register_fences.len() {
            for record in self.records::<RegisterAt>(&self.sections.registers, at as u64)? {
                let (log, key) = &record.name;
                match range.place_of(log, key) {
                    Ordering::Less => {}
                    Ordering::Equal if registers.len() == registers_max => {
                        return Ok((registers, false));
                    }
                    Ordering::Equal => registers.push(record),
                    Ordering::Greater => return Ok((registers, true)),
                }
            }
        }
        Ok((registers, true))
    }

    /// The first changes of a log after a version, at most so many. True if there are no others.
    pub(super) fn changes(
        &self,
        log: LogId,
        since: u64,
        changes_max: usize,
    ) -> io::Result<(Vec<Change>, bool)> {
        let since = (*log.as_bytes(), since);
        // Of one version there may be several, so the first later one may be where the fence is.
        let from = self.change_fences.partition_point(|fence| *fence <= since).saturating_sub(1);
        let mut changes = Vec::new();
        for at in from..self.change_fences.len() {
            for change in self.records::<Change>(&self.sections.changes, at as u64)? {
                if change.when.0 > since.0 {
                    return Ok((changes, true));
                }
                if change.when <= since {
                    continue;
                }
                if changes.len() == changes_max {
                    return Ok((changes, false));
                }
                changes.push(change);
            }
        }
        Ok((changes, true))
    }

    /// The first logs of a kind after one.
    pub(super) fn logs(
        &self,
        kind: LogKind,
        after: Option<LogId>,
        limit: usize,
    ) -> io::Result<Vec<LogId>> {
        let mut lowest = [0; 16];
        lowest[0] = kind as u8;
        let start = after.map_or(lowest, |after| lowest.max(*after.as_bytes()));
        let from = self.log_fences.partition_point(|fence| *fence <= start).saturating_sub(1);
        let mut logs = Vec::new();
        for at in from..self.log_fences.len() {
            for span in self.records::<LogSpan>(&self.sections.logs, at as u64)? {
                let Some(log) = log_id(&span.log) else { return Err(damaged()) };
                if log.kind() as u8 > kind as u8 || logs.len() == limit {
                    return Ok(logs);
                }
                if log.kind() == kind && after.is_none_or(|after| log > after) {
                    logs.push(log);
                }
            }
        }
        Ok(logs)
    }

    /// All records of a block of a section.
    fn records<T: Record>(&self, section: &Section, block: u64) -> io::Result<Vec<T>> {
        Ok(T::of_block(section, block, &self.block(section.first_block + block)?))
    }

    /// The same for records of one size, of which few are wanted.
    fn records_in_place<T: FixedRecord>(
        &self,
        section: &Section,
        block: u64,
    ) -> io::Result<Block<T>> {
        Ok(Block::new(section, block, self.block(section.first_block + block)?))
    }

    /// A block whose checksum is good.
    fn block(&self, number: u64) -> io::Result<Arc<BlockBytes>> {
        if let Some(block) = self.recent.get(number) {
            return Ok(block);
        }
        let mut block = Arc::new([0; BLOCK_BYTES]);
        let bytes = Arc::get_mut(&mut block).expect("nobody else has it yet");
        let read = read_exact_at(&*self.file, bytes, number * BLOCK_BYTES as u64);
        read.map_err(truncated).inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                self.found_damaged();
            }
        })?;
        let checksum = self.checksums.get(number as usize - 1).copied();
        if checksum == Some(crc32c::crc32c(&*block)) {
            self.recent.keep(number, &block);
            return Ok(block);
        }
        self.found_damaged();
        Err(damaged())
    }

    /// Somebody begins to look up one thing after the other, in their order.
    pub(in super::super) fn begin_walk(&self) {
        self.recent.begin();
    }

    /// The end of that.
    pub(in super::super) fn end_walk(&self) {
        self.recent.end();
    }

    /// Reads every block.
    pub(in super::super) fn check(&self) -> io::Result<()> {
        (1..=self.checksums.len() as u64).try_for_each(|number| self.block(number).map(drop))
    }

    /// All keys, in order.
    pub(super) fn keys(self: &Arc<Run>) -> Stream<Key> {
        Stream::new(self, self.sections.keys)
    }

    /// All positions, in order.
    pub(super) fn positions(self: &Arc<Run>) -> Stream<Position> {
        Stream::new(self, self.sections.positions)
    }

    /// All logs, in order.
    pub(super) fn spans(self: &Arc<Run>) -> Stream<LogSpan> {
        Stream::new(self, self.sections.logs)
    }

    /// All registers, in order.
    pub(super) fn all_registers(self: &Arc<Run>) -> Stream<RegisterAt> {
        Stream::new(self, self.sections.registers)
    }
}

/// Reads a section from its beginning to its end.
pub(super) struct Stream<T> {
    run: Arc<Run>,
    section: Section,
    next_block: u64,
    records: std::vec::IntoIter<T>,
}

impl<T: Record> Stream<T> {
    fn new(run: &Arc<Run>, section: Section) -> Stream<T> {
        let (run, records) = (Arc::clone(run), Vec::new().into_iter());
        Stream { run, section, next_block: 0, records }
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(record) = self.records.next() {
                return Ok(Some(record));
            }
            if self.next_block == self.section.blocks {
                return Ok(None);
            }
            self.records = self.run.records(&self.section, self.next_block)?.into_iter();
            self.next_block += 1;
        }
    }
}

fn read_guide(file: &dyn DiskFile, at: u64, head: &RunHead) -> io::Result<Vec<u8>> {
    let bytes = file.bytes()?.checked_sub(at).ok_or_else(damaged)?;
    let mut guide = vec![0; usize::try_from(bytes).map_err(|_| damaged())?];
    read_exact_at(file, &mut guide, at)?;
    if crc32c::crc32c(&guide) == head.guide_checksum { Ok(guide) } else { Err(damaged()) }
}

/// The file is not what was written.
pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an index file is damaged")
}

fn truncated(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { damaged() } else { error }
}
