//! Reading everything back: is it whole, and does the index agree with it?
//!
//! A segment at a time is in memory, and a block of each index file: not more, however many logs there
//! are. (Only where index files are missing, their segments are remembered.)

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::random::SystemSource;

use super::cleaning::scan::scan_cleaned;
use super::config::{EmbeddedConfig, OpenError};
use super::disk::overlay::Overlay;
use super::disk::{ReadFolder, read_all};
use super::identity::Identity;
use super::index::memory::{LOST, LogPart, SegmentIndex};
use super::index::run::Run;
use super::index::run_name;
use super::index::spans::find_gaps;
use super::recovery::damage::{Damage, DamageKind};
use super::recovery::extent::Row;
use super::recovery::scan::{Scan, scan};
use super::recovery::told::{self, ToldDamage};
use super::segment::files::{Location, SegmentFile};
use super::segment::{
    SEGMENT_HEAD_BYTES, SegmentFiles, SegmentHead, Span, first_batches_behind, segment_name,
};
use super::{Shared, recovery};

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

/// How far a full check has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Files of segments that were read.
    pub files: usize,
    /// Of so many.
    pub files_total: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Of so many.
    pub bytes_total: u64,
}

/// The durable part of a file of segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct DurablePart {
    pub span: Span,
    /// Where it ends; `None` if that is the end of the file.
    pub end: Option<u64>,
    pub bytes: u64,
}

/// Checks all of the store in a folder that no server has open, and changes nothing there: what opening
/// it would bring into order is done in memory.
pub fn verify_folder(
    path: &Path,
    config: EmbeddedConfig,
    mut progress: impl FnMut(VerifyProgress),
) -> Result<VerifyReport, OpenError> {
    config.check()?;
    recovery::inspect(path)?;
    let disk = Arc::new(Overlay::new(Arc::new(ReadFolder::open(path)?)));
    let told = told::load(&*disk).map_err(OpenError::io("can't read", path.join(told::NAME)))?;
    // What it says is not so yet: no epoch begins here. What it has found is in the report.
    let nobody = tracing::subscriber::NoSubscriber::new();
    let mut recovered = tracing::subscriber::with_default(nobody, || {
        recovery::recover(&*disk, &config, &SystemSource::new())
    })?;
    let found = std::mem::take(&mut recovered.report).damage;
    let shared = Shared::new(disk, config, recovered);
    let mut report = verify(&shared, &mut progress)?;
    report.told = told::unacknowledged(&told);
    for damage in found {
        if !report.damage.contains(&damage) {
            report.damage.push(damage);
        }
    }
    Ok(report)
}

/// Checks all of an open store.
pub(super) fn verify(
    shared: &Shared,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, OpenError> {
    let _names = shared.segments.hold_names();
    let walk = Walk::begin(shared);
    let parts = durable_parts(shared)?;
    let mut check = SegmentsCheck::of_open(shared);
    let mut unindexed = Vec::new();
    let firsts = first_batches(shared, &parts)?;
    let mut step = VerifyProgress { files_total: parts.len(), ..VerifyProgress::default() };
    step.bytes_total = parts.iter().map(|part| part.bytes).sum();
    for (part, next_first) in parts.iter().zip(first_batches_behind(&firsts)) {
        for scan in check.part(shared, part, next_first)? {
            compare(shared, &scan.index, &mut check.report.damage);
            if !walk.covers(scan.index.segment) {
                unindexed.push(scan.index);
            }
        }
        step.files += 1;
        step.bytes += part.bytes;
        progress(step);
    }
    walk.check(shared, &unindexed, &mut check.report);
    check.report.told = shared.unacknowledged();
    Ok(check.report)
}

/// The index files while everything is looked up in them.
struct Walk {
    runs: Arc<Vec<Arc<Run>>>,
}

impl Walk {
    fn begin(shared: &Shared) -> Walk {
        let runs = shared.index.runs();
        runs.iter().for_each(|run| run.begin_walk());
        Walk { runs }
    }

    fn covers(&self, segment: u32) -> bool {
        let covers = |run: &Arc<Run>| (run.segments().0..=run.segments().1).contains(&segment);
        self.runs.iter().any(covers)
    }

    /// Reads the index files themselves, and looks whether the parts of each log follow each other.
    fn check(&self, shared: &Shared, unindexed: &[SegmentIndex], report: &mut VerifyReport) {
        let damaged = |run: &Arc<Run>| {
            let (file, kind) = (run_name(run.segments().0, run.segments().1), DamageKind::Index);
            Damage { file, offset: 0, bytes: 0, kind }
        };
        let broken: Vec<_> = self.runs.iter().filter(|run| run.check().is_err()).collect();
        report.damage.extend(broken.iter().map(|run| damaged(run)));
        if !broken.is_empty() {
            shared.index.wake.wake();
            return;
        }
        let gaps = find_gaps(&self.runs, unindexed, |gap| {
            let (file, kind) = (gap.file, DamageKind::Hole { log: gap.log, seq: gap.seq });
            report.damage.push(Damage { file, offset: 0, bytes: 0, kind });
        });
        // All blocks were just read, so this is a disk that has gone meanwhile.
        match gaps {
            Ok(logs) => report.logs = usize::try_from(logs).unwrap_or(usize::MAX),
            Err(error) => tracing::error!(%error, "can't read an index file"),
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.runs.iter().for_each(|run| run.end_walk());
    }
}

/// Files that are known to be lost, or are not ours.
fn lost_files(shared: &Shared) -> Vec<Damage> {
    let lost = shared.extent.lost_files();
    let passed = shared.passed_over.iter().filter(|number| !lost.contains(number));
    let foreign = passed.map(|&number| Damage::of_file(segment_name(number), DamageKind::Foreign));
    let missing = |&number: &u32| Damage::of_file(segment_name(number), DamageKind::Missing);
    lost.iter().map(missing).chain(foreign).collect()
}

/// The files that hold something durable at this moment. Whoever asks holds their names.
pub(super) fn durable_parts(shared: &Shared) -> Result<Vec<DurablePart>, OpenError> {
    let in_memory = shared.index.ends_in_memory();
    let active = in_memory.last().copied().filter(|(active, _)| *active > 0);
    let names = shared.disk.names().map_err(OpenError::io("can't list", shared.disk.path()))?;
    let files = SegmentFiles::of_names(names.iter().map(String::as_str)).kept;
    let indexed = shared.index.runs().last().map_or(0, |run| run.segments().1);
    // Of files that are not indexed yet, some may have nothing in them any more that would be in memory.
    let in_memory = in_memory.into_iter().filter(|(_, end)| *end > 0);
    let known = in_memory.clone().map(|(segment, _)| segment).fold(indexed, u32::max);
    let files = files.into_iter().filter(|span| span.last <= known);
    let files = files.filter(|span| !shared.passed_over.contains(&span.first));
    let mut ends: BTreeMap<u32, (Span, Option<u64>)> =
        files.map(|span| (span.first, (span, None))).collect();
    ends.extend(in_memory.map(|(number, end)| {
        let span = shared.segments.span_of(number);
        // A cleaned file has another end, and is whole.
        let is_cleaned = matches!(shared.segments.open(number), Ok(SegmentFile::Cleaned(_)));
        (span.first, (span, (!is_cleaned).then_some(end)))
    }));
    // What was begun after the list of those in memory was made is left out.
    if let Some((active, _)) = active {
        ends.retain(|number, _| *number <= active);
    }
    let part = |(span, end): (Span, Option<u64>)| {
        let io = OpenError::io("can't read", shared.disk.path().join(span.name()));
        let file = shared.segments.file(span.first).map_err(&io)?;
        let bytes = file.bytes().map_err(&io)?;
        Ok(DurablePart { span, end, bytes: end.map_or(bytes, |end| end.min(bytes)) })
    };
    ends.into_values().map(part).collect()
}

/// The durable part of a file.
pub(super) fn read_part(shared: &Shared, part: &DurablePart) -> io::Result<Vec<u8>> {
    let mut content = read_all(&*shared.segments.file(part.span.first)?)?;
    if let Some(end) = part.end.and_then(|end| usize::try_from(end).ok()) {
        content.truncate(end);
    }
    Ok(content)
}

/// The batch that each file begins with, where its header says so.
pub(super) fn first_batches(
    shared: &Shared,
    parts: &[DurablePart],
) -> Result<Vec<Option<u64>>, OpenError> {
    let io = |span: Span| OpenError::io("can't read", shared.disk.path().join(span.name()));
    let first = |part: &DurablePart| first_batch(shared, part.span).map_err(io(part.span));
    parts.iter().map(first).collect()
}

fn first_batch(shared: &Shared, span: Span) -> io::Result<Option<u64>> {
    let mut head = vec![0; SEGMENT_HEAD_BYTES];
    let read = shared.segments.file(span.first)?.read_at(&mut head, 0)?;
    let head = SegmentHead::decode(&shared.identity, span.first, &head[..read]).ok().flatten();
    Ok(head.map(|head| head.first_batch))
}

/// Checks one segment after the other.
#[derive(Debug, Default)]
pub(super) struct SegmentsCheck {
    pub report: VerifyReport,
    /// The batch that comes next.
    expected: Option<u64>,
    /// The segments that were checked, as `EXTENT` knows them.
    pub rows: Vec<(u32, Row)>,
}

impl SegmentsCheck {
    /// For the files of an open store.
    pub(super) fn of_open(shared: &Shared) -> SegmentsCheck {
        let mut check = SegmentsCheck::default();
        check.report.damage = lost_files(shared);
        check
    }

    /// Checks the next file; returns what is in it, a segment at a time.
    pub(super) fn part(
        &mut self,
        shared: &Shared,
        part: &DurablePart,
        next_first: Option<u64>,
    ) -> Result<Vec<Scan>, OpenError> {
        let number = part.span.first;
        let io = OpenError::io("can't read", shared.disk.path().join(part.span.name()));
        match shared.segments.open(number).map_err(&io)? {
            SegmentFile::Plain(_) => {
                let content = read_part(shared, part).map_err(&io)?;
                Ok(vec![self.segment(&shared.identity, number, &content, next_first)?])
            }
            SegmentFile::Cleaned(cleaned) => {
                let scans = scan_cleaned(&shared.identity, &cleaned).map_err(&io)?;
                self.cleaned(
                    part.span,
                    &scans,
                    cleaned.head.first_batch,
                    cleaned.cleaned().next_batch,
                );
                self.report.bytes += part.bytes;
                Ok(scans)
            }
        }
    }

    /// Checks the next segment. Fails if it is of another store.
    pub(super) fn segment(
        &mut self,
        identity: &Identity,
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
        self.go_on(number, first);
        self.expected = Some(scan.index.next_batch);
        self.rows.push((number, Row::of(first.unwrap_or(scan.index.next_batch), &scan, false)));
        self.count(&scan);
        self.report.bytes += content.len() as u64;
        Ok(scan)
    }

    /// Takes over what was found in the next file, which was cleaned.
    pub(super) fn cleaned(
        &mut self,
        span: Span,
        scans: &[Scan],
        first_batch: u64,
        next_batch: u64,
    ) {
        self.go_on(span.first, Some(first_batch));
        for number in span.first..=span.last {
            self.rows.push((number, Row { first_batch, next_batch, ..Row::default() }));
        }
        scans.iter().for_each(|scan| self.count(scan));
        self.expected = Some(next_batch);
    }

    /// Whether a segment begins where the one before ended.
    fn go_on(&mut self, number: u32, first: Option<u64>) {
        if self.expected.is_some_and(|expected| first > Some(expected)) {
            self.report(number, SEGMENT_HEAD_BYTES as u64, 0, DamageKind::Batches);
        }
    }

    fn count(&mut self, scan: &Scan) {
        self.report.segments += 1;
        self.report.batches += scan.batches;
        self.report.entries += scan.index.entries;
        self.report.damage.extend(scan.damage.iter().cloned());
    }

    fn report(&mut self, number: u32, offset: u64, bytes: u64, kind: DamageKind) {
        self.report.damage.push(Damage { file: segment_name(number), offset, bytes, kind });
    }
}

/// The entries of segments without an index: whether those of each log follow each other.
#[derive(Debug, Default)]
pub(super) struct LogsCheck {
    seen: HashMap<LogId, SeenLog, RandomState>,
}

#[derive(Debug, Default)]
struct SeenLog {
    last: u64,
    /// The newest gap: where, and what comes behind it.
    gap: Option<(u32, u64)>,
    entries_from: u64,
}

impl LogsCheck {
    /// Adds the next segment.
    pub(super) fn add(&mut self, index: &SegmentIndex) {
        for &(log, ref part) in index.logs.iter() {
            let seen = self.seen.entry(log).or_default();
            if part.first <= part.last() && part.first > seen.last + 1 {
                seen.gap = Some((index.segment, part.first));
            }
            seen.last = seen.last.max(part.last());
            if let Some(floors) = index.floors.get(&log) {
                seen.entries_from = floors.entries_from;
            }
        }
    }

    /// What is missing: gaps below which not everything has expired.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Damage> {
        self.seen.iter().filter_map(|(&log, seen)| {
            let (segment, seq) = seen.gap.filter(|(_, seq)| *seq > seen.entries_from)?;
            let (file, kind) = (segment_name(segment), DamageKind::Hole { log, seq });
            Some(Damage { file, offset: 0, bytes: 0, kind })
        })
    }
}

/// Whether the index leads to all that a segment holds. Everything is looked up in the order in which
/// the index has it, so that each of its blocks is read once.
fn compare(shared: &Shared, found: &SegmentIndex, damage: &mut Vec<Damage>) {
    let segment = found.segment;
    let file = segment_name(segment);
    let mut logs: Vec<_> = found.logs.iter().collect();
    logs.sort_unstable_by_key(|(log, _)| *log);
    for &(log, ref part) in logs {
        // What has expired may be left out of the index.
        for seq in unindexed(shared, segment, log, part) {
            let kind = DamageKind::Unindexed { log, seq };
            damage.push(Damage { file: file.clone(), offset: 0, bytes: 0, kind });
        }
    }
    compare_keys(shared, found, damage);
    compare_registers(shared, found, damage);
}

fn compare_keys(shared: &Shared, found: &SegmentIndex, damage: &mut Vec<Damage>) {
    let segment = found.segment;
    let keys = found.keys.iter().map(|(&hash, &offset)| (hash, offset));
    let mut keys: Vec<_> = keys.chain(found.collisions.iter().copied()).collect();
    keys.sort_unstable();
    let mut places = Vec::new();
    for (hash, offset) in keys {
        places.clear();
        let place = Location { segment, offset };
        let asked = shared.index.places_of_key(hash, &mut places);
        if asked.is_err() || !places.contains(&place) {
            let (file, kind) = (segment_name(segment), DamageKind::Index);
            damage.push(Damage { file, offset: u64::from(offset), bytes: 0, kind });
        }
    }
}

fn compare_registers(shared: &Shared, found: &SegmentIndex, damage: &mut Vec<Damage>) {
    for (log, key, slot) in found.registers.sorted() {
        let floors = shared.index.state(log).map(|state| state.floors).unwrap_or_default();
        let is_gone = slot.version < floors.registers_from
            || (slot.gone && slot.version <= floors.marks_from);
        let known = shared.index.register(log, key);
        if is_gone
            || known.is_ok_and(|known| known.is_some_and(|known| known.version >= slot.version))
        {
            continue;
        }
        let (file, offset) = (segment_name(found.segment), u64::from(slot.offset));
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
