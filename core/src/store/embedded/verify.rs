//! Reading everything back: is it whole, and does the index agree with it?

use std::collections::BTreeMap;
use std::io;

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Shared;
use super::config::OpenError;
use super::damage::{Damage, DamageKind};
use super::disk::read_all;
use super::extent::Row;
use super::index::memory::{LOST, LogPart, SegmentIndex};
use super::index::run_name;
use super::recovery::{Scan, scan};
use super::segment::{
    SEGMENT_HEAD_BYTES, SegmentHead, first_batches_behind, segment_name, segment_number,
};
use super::segments::Location;
use super::told::ToldDamage;

/// What a full check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments that were read.
    pub segments: usize,
    /// Batches in them.
    pub batches: u64,
    /// Entries in them.
    pub entries: u64,
    /// Logs that they belong to.
    pub logs: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong; empty if all is well.
    pub damage: Vec<Damage>,
    /// What was found wrong when the store was opened, now or earlier, and was not acknowledged: it
    /// may be found no more.
    pub told: Vec<ToldDamage>,
}

/// Checks all of an open store.
pub(super) fn verify(shared: &Shared) -> Result<VerifyReport, OpenError> {
    let segments = durable_segments(shared)?;
    let mut check = SegmentsCheck::default();
    let io = |number| OpenError::io("can't read", shared.disk.path().join(segment_name(number)));
    let first = |&number: &u32| first_batch(shared, number).map_err(io(number));
    let firsts = segments.keys().map(first).collect::<Result<Vec<_>, _>>()?;
    for ((number, end), next_first) in segments.into_iter().zip(first_batches_behind(&firsts)) {
        let content = read_segment(shared, number, end).map_err(io(number))?;
        let scan = check.segment(shared, number, &content, next_first)?;
        compare(shared, &scan.index, &mut check.report.damage);
    }
    for run in shared.index.runs().iter() {
        if run.check().is_err() {
            let (first, last) = run.segments();
            let (file, kind) = (run_name(first, last), DamageKind::Index);
            check.report.damage.push(Damage { file, offset: 0, bytes: 0, kind });
            shared.index.wake.wake();
        }
    }
    check.report.logs = check.newest.len();
    check.report.told = shared.unacknowledged();
    Ok(check.report)
}

/// The segments that hold something durable at this moment, and where it ends; `None` for those
/// that end with their file.
pub(super) fn durable_segments(shared: &Shared) -> Result<BTreeMap<u32, Option<u64>>, OpenError> {
    let in_memory = shared.index.ends_in_memory();
    let active = in_memory.last().copied();
    let names = shared.disk.names().map_err(OpenError::io("can't list", shared.disk.path()))?;
    let numbers = names.iter().filter_map(|name| segment_number(name));
    let numbers = numbers.filter(|number| !shared.passed_over.contains(number));
    let indexed = shared.index.runs().last().map_or(0, |run| run.segments().1);
    let mut segments: BTreeMap<u32, Option<u64>> =
        numbers.filter(|number| *number <= indexed).map(|number| (number, None)).collect();
    let ends = in_memory.into_iter().filter(|(_, end)| *end > 0);
    segments.extend(ends.map(|(number, end)| (number, Some(end))));
    // What was begun after the list of those in memory was made is left out.
    if let Some((active, _)) = active.filter(|(active, _)| *active > 0) {
        segments.retain(|number, _| *number <= active);
    }
    Ok(segments)
}

/// The durable part of a segment.
pub(super) fn read_segment(shared: &Shared, number: u32, end: Option<u64>) -> io::Result<Vec<u8>> {
    let mut content = read_all(&*shared.segments.file(number)?)?;
    if let Some(end) = end.and_then(|end| usize::try_from(end).ok()) {
        content.truncate(end);
    }
    Ok(content)
}

fn first_batch(shared: &Shared, number: u32) -> io::Result<Option<u64>> {
    let mut head = vec![0; SEGMENT_HEAD_BYTES];
    let read = shared.segments.file(number)?.read_at(&mut head, 0)?;
    let head = SegmentHead::decode(&shared.identity, number, &head[..read]).ok().flatten();
    Ok(head.map(|head| head.first_batch))
}

/// Checks one segment after the other.
#[derive(Debug, Default)]
pub(super) struct SegmentsCheck {
    pub report: VerifyReport,
    /// The newest sequence of each log so far.
    newest: HashMap<LogId, u64, RandomState>,
    /// The batch that comes next.
    expected: Option<u64>,
    /// The segments that were checked, as `EXTENT` knows them.
    pub rows: Vec<(u32, Row)>,
}

impl SegmentsCheck {
    /// Checks the next segment. Fails if it is of another store.
    pub(super) fn segment(
        &mut self,
        shared: &Shared,
        number: u32,
        content: &[u8],
        next_first: Option<u64>,
    ) -> Result<Scan, OpenError> {
        self.segment_of(&shared.identity, number, content, next_first)
    }

    /// The same without an open store.
    pub(super) fn segment_of(
        &mut self,
        identity: &super::identity::Identity,
        number: u32,
        content: &[u8],
        next_first: Option<u64>,
    ) -> Result<Scan, OpenError> {
        let head = SegmentHead::decode(identity, number, content)?;
        let first = head.map(|head| head.first_batch);
        let scan = scan(identity, number, content, first, next_first, 0);
        if scan.batches == 0 && scan.damage.is_empty() {
            // Opened for a batch that failed, and not removed. If it is more than that, the next
            // segment misses its batches.
            return Ok(scan);
        }
        if head.is_none() {
            self.report(number, 0, SEGMENT_HEAD_BYTES as u64, DamageKind::Header);
        }
        if let (Some(expected), Some(first)) = (self.expected, first)
            && first > expected
        {
            self.report(number, SEGMENT_HEAD_BYTES as u64, 0, DamageKind::Batches);
        }
        self.expected = Some(scan.index.next_batch);
        self.rows.push((number, Row::of(first.unwrap_or(scan.index.next_batch), &scan)));
        self.report.segments += 1;
        self.report.batches += scan.batches;
        self.report.entries += scan.index.entries;
        self.report.bytes += content.len() as u64;
        self.report.logs = self.newest.len();
        self.report.damage.extend(scan.damage.iter().cloned());
        for &(log, ref part) in scan.index.logs.iter() {
            let before = self.newest.insert(log, part.last()).unwrap_or(0);
            if before + 1 != part.first {
                let kind = DamageKind::Hole { log, seq: part.first };
                let offset = part.offsets.first().copied().unwrap_or_default();
                self.report(number, u64::from(offset), 0, kind);
            }
        }
        Ok(scan)
    }

    fn report(&mut self, number: u32, offset: u64, bytes: u64, kind: DamageKind) {
        self.report.damage.push(Damage { file: segment_name(number), offset, bytes, kind });
    }
}

/// Whether the index leads to all that a segment holds.
fn compare(shared: &Shared, found: &SegmentIndex, damage: &mut Vec<Damage>) {
    let segment = found.segment;
    let file = segment_name(segment);
    for &(log, ref part) in found.logs.iter() {
        // What has expired may be left out of the index.
        for seq in unindexed(shared, segment, log, part) {
            let kind = DamageKind::Unindexed { log, seq };
            damage.push(Damage { file: file.clone(), offset: 0, bytes: 0, kind });
        }
    }
    let keys = found.keys.iter().map(|(&hash, &offset)| (hash, offset));
    for (hash, offset) in keys.chain(found.collisions.iter().copied()) {
        let mut places = Vec::new();
        let place = Location { segment, offset };
        let asked = shared.index.places_of_key(hash, &mut places);
        if asked.is_err() || !places.contains(&place) {
            let (file, kind) = (file.clone(), DamageKind::Index);
            damage.push(Damage { file, offset: u64::from(offset), bytes: 0, kind });
        }
    }
    for ((log, key), slot) in &found.registers {
        let floors = shared.index.state(*log).map(|state| state.floors).unwrap_or_default();
        let is_gone =
            slot.version < floors.registers_from || (slot.gone && slot.version < floors.marks_from);
        let known = shared.index.register(*log, key);
        if is_gone
            || known.is_ok_and(|known| known.is_some_and(|known| known.version >= slot.version))
        {
            continue;
        }
        let (file, offset) = (file.clone(), u64::from(slot.offset));
        damage.push(Damage { file, offset, bytes: 0, kind: DamageKind::Index });
    }
}

/// The entries of a part that the index does not know, or knows elsewhere.
fn unindexed(shared: &Shared, segment: u32, log: LogId, part: &LogPart) -> Vec<u64> {
    let places = shared.index.places(log, part.first, part.last()).unwrap_or_default();
    let head = shared.index.head(log).unwrap_or_default();
    let expected = part.offsets.iter().map(|&offset| {
        let place = Location { segment, offset };
        (offset != LOST).then_some(place)
    });
    let known = places.into_iter().map(Some).chain(std::iter::repeat(None));
    let pairs = (part.first..).zip(expected.zip(known));
    let wrong = pairs.filter(|(seq, (expected, known))| {
        expected.is_some()
            && *seq >= head.expired_below
            && (Some(*expected) != *known || *seq > head.seq)
    });
    wrong.map(|(seq, _)| seq).collect()
}
