//! Reading everything back: is it whole, and does the index agree with it?
//!
//! What is in some segments is in memory, as their indexes would have it, and a block of each index file:
//! not more, however many logs there are. (Of segments without an index file that can be read, it is remembered which entries of which
//! logs they have; of some of which something is lost, where their records are.)

mod compare;
mod dead;
mod logs;
pub(super) mod losses;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::random::SystemSource;

use super::cleaning::file::CleanedFile;
use super::cleaning::scan::scan_cleaned;
use super::config::{EmbeddedConfig, OpenError};
use super::disk::overlay::Overlay;
use super::disk::{ReadFolder, read_all};
use super::identity::Identity;
use super::index::memory::SegmentIndex;
use super::index::run::Run;
use super::index::run_name;
use super::index::spans::{SegmentSpans, find_missing};
use super::recovery::damage::{Damage, DamageKind};
use super::recovery::extent::Row;
use super::recovery::scan::{DamagedRecord, DamagedWhat, End, Scan, scan};
use super::recovery::told::{self, ToldDamage};
use super::segment::files::SegmentFile;
use super::segment::{
    SEGMENT_HEAD_BYTES, SegmentFiles, SegmentHead, Span, first_batches_behind, segment_name,
};
use super::{Shared, recovery};
use crate::store::StoreError;
use compare::compare;
use dead::DeadRecords;
pub(super) use logs::LogsCheck;
use losses::Losses;
pub use losses::{Loss, LostEntries};

/// What a full check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments that were read.
    pub segments: usize,
    /// Batches in them.
    pub batches: u64,
    /// Entries in them that are whole.
    pub entries: u64,
    /// Logs that they belong to.
    pub logs: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong; empty if all is well.
    pub damage: Vec<Damage>,
    /// What is damaged and is no loss: nothing refers to it any more, since it was set anew or has
    /// expired. It is gone when its file is cleaned.
    pub dead: Vec<Damage>,
    /// What is lost with it, as far as that is known.
    pub losses: Vec<Loss>,
    /// Files of which something is lost that are not among these.
    pub losses_left_out: usize,
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
    /// It was sealed when that was found out.
    pub is_sealed: bool,
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
    // What recovery would log is not so yet: no epoch begins here. What it finds is in the report.
    let nobody = tracing::subscriber::NoSubscriber::new();
    tracing::subscriber::with_default(nobody, || verify_closed(path, config, &mut progress))
}

fn verify_closed(
    path: &Path,
    config: EmbeddedConfig,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, OpenError> {
    let disk = Arc::new(Overlay::new(Arc::new(ReadFolder::open(path)?)));
    let told = told::load(&*disk).map_err(OpenError::io("can't read", path.join(told::NAME)))?;
    let mut recovered = recovery::recover(&*disk, &config, &SystemSource::new())?;
    let mut found = std::mem::take(&mut recovered.report).damage;
    let damaged = std::mem::take(&mut recovered.damaged_runs).into_iter();
    found.extend(damaged.map(|name| Damage::of_file(name, DamageKind::Index)));
    let shared = Shared::new(disk, config, recovered);
    let mut report = verify(&shared, progress)?;
    report.told = told::unacknowledged(&told);
    for damage in found {
        if !report.damage.contains(&damage) && !report.dead.contains(&damage) {
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
    let mut walk = Walk::begin(shared);
    let parts = durable_parts(shared)?;
    let mut check = SegmentsCheck::of_open(shared);
    check.report.damage.extend(walk.damage());
    let mut losses = Losses::default();
    for (segment, row) in &check.lost {
        let refused = shared.refused.iter().find(|(span, _)| span.holds(*segment));
        let file = refused.map_or(Span::one(*segment), |(span, _)| *span);
        losses.add_file(file, *segment, row);
    }
    let mut unindexed = Vec::new();
    let firsts = first_batches(shared, &parts)?;
    let mut step = VerifyProgress { files_total: parts.len(), ..VerifyProgress::default() };
    step.bytes_total = parts.iter().map(|part| part.bytes).sum();
    for (part, next_first) in parts.iter().zip(first_batches_behind(&firsts)) {
        for scan in check.part(shared, part, next_first)? {
            let (segment, index) = (scan.index.segment, &scan.index);
            losses.add_scan(part.span, &scan, shared.extent.row(segment).as_ref());
            if walk.run_of(segment).is_none() {
                unindexed.push(SegmentSpans::of(index));
            }
            walk.compare(shared, scan.index, &mut check.report.damage)?;
        }
        step.files += 1;
        step.bytes += part.bytes;
        progress(step);
    }
    walk.compare_rest(shared, &mut check.report.damage)?;
    for (segment, row) in std::mem::take(&mut check.missing) {
        losses.add_file(Span::one(segment), segment, &row);
    }
    let mut report = check.finish();
    walk.finish(shared, unindexed, losses, &mut report)?;
    report.told = shared.unacknowledged();
    Ok(report)
}

/// The index files while everything is looked up in them.
struct Walk {
    /// Those that are whole.
    runs: Vec<Arc<Run>>,
    broken: Vec<Arc<Run>>,
    /// What was found in segments and is to be looked up: of one index file, or of none.
    found: Vec<SegmentIndex>,
    found_bytes: usize,
}

/// So much of what was found in segments is looked up at a time, in bytes: the more, the less often each
/// index file is read.
const FOUND_BYTES_MAX: usize = 128 * 1024 * 1024;

impl Walk {
    /// Reads the index files themselves first: what can't be looked up for one that is damaged is no
    /// damage of anything else.
    fn begin(shared: &Shared) -> Walk {
        let runs = shared.index.runs();
        let (runs, broken): (Vec<_>, Vec<_>) =
            runs.iter().map(Arc::clone).partition(|run| run.check().is_ok());
        if !broken.is_empty() {
            shared.index.wake.wake();
        }
        runs.iter().for_each(|run| run.begin_walk());
        Walk { runs, broken, found: Vec::new(), found_bytes: 0 }
    }

    fn damage(&self) -> impl Iterator<Item = Damage> {
        let name = |run: &Arc<Run>| run_name(run.segments().0, run.segments().1);
        self.broken.iter().map(move |run| Damage::of_file(name(run), DamageKind::Index))
    }

    /// The index file of a segment.
    fn run_of(&self, segment: u32) -> Option<&Run> {
        let covers = |run: &&Arc<Run>| (run.segments().0..=run.segments().1).contains(&segment);
        self.runs.iter().find(covers).map(|run| &**run)
    }

    /// Compares a segment with the index, now or together with others. What is older than a file that
    /// is damaged is not compared: that it is not in the index any more may be for what only this file
    /// knows.
    fn compare(
        &mut self,
        shared: &Shared,
        found: SegmentIndex,
        damage: &mut Vec<Damage>,
    ) -> Result<(), OpenError> {
        if self.broken.iter().any(|run| found.segment <= run.segments().1) {
            return Ok(());
        }
        let run_of = |segment| self.run_of(segment).map(Run::segments);
        let is_another = |last: &SegmentIndex| run_of(last.segment) != run_of(found.segment);
        if self.found.last().is_some_and(is_another) {
            self.compare_rest(shared, damage)?;
        }
        self.found_bytes += found.bytes();
        self.found.push(found);
        if self.found_bytes >= FOUND_BYTES_MAX {
            self.compare_rest(shared, damage)?;
        }
        Ok(())
    }

    /// Compares what was not compared yet.
    fn compare_rest(&mut self, shared: &Shared, damage: &mut Vec<Damage>) -> Result<(), OpenError> {
        self.found_bytes = 0;
        let found = std::mem::take(&mut self.found);
        let own = found.first().and_then(|first| self.run_of(first.segment));
        match compare(shared, own, &found, damage) {
            Err(error) if self.broken.is_empty() => Err(unreadable(shared)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Looks whether the parts of each log follow each other, and what the index files know of what is
    /// lost.
    fn finish(
        &self,
        shared: &Shared,
        unindexed: Vec<SegmentSpans>,
        mut losses: Losses,
        report: &mut VerifyReport,
    ) -> Result<(), OpenError> {
        let io = OpenError::io("can't read the index files in", shared.disk.path());
        let logs = losses
            .count(&self.runs, |lossy, found| find_missing(&self.runs, unindexed, lossy, found));
        report.logs = usize::try_from(logs.map_err(&io)?).unwrap_or(usize::MAX);
        self.runs.iter().try_for_each(|run| losses.add_registers(shared, run)).map_err(&io)?;
        (report.losses, report.losses_left_out) = losses.finish(&mut report.damage);
        Ok(())
    }
}

fn unreadable(shared: &Shared) -> impl FnOnce(StoreError) -> OpenError {
    let path = shared.disk.path();
    move |error| OpenError::io("can't read the index files in", path)(io::Error::other(error))
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.runs.iter().for_each(|run| run.end_walk());
    }
}

/// Files that are known to be lost, or are not ours.
fn lost_files(shared: &Shared) -> Vec<Damage> {
    let is_refused = |number: u32| shared.refused.iter().any(|(span, _)| span.holds(number));
    let lost = shared.extent.lost_files().into_iter().filter(|(number, _)| !is_refused(*number));
    let missing =
        lost.map(|(number, _)| Damage::of_file(segment_name(number), DamageKind::Missing));
    let refused = shared.refused.iter().map(|(_, damage)| damage.clone());
    missing.chain(refused).collect()
}

/// The files that hold something durable at this moment. Whoever asks holds their names.
pub(super) fn durable_parts(shared: &Shared) -> Result<Vec<DurablePart>, OpenError> {
    // First: what is sealed then has come to its end.
    let newest_sealed = shared.extent.newest_sealed();
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
        let (bytes, is_sealed) =
            (end.map_or(bytes, |end| end.min(bytes)), span.last <= newest_sealed);
        Ok(DurablePart { span, end, bytes, is_sealed })
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

/// Segments that are missing one behind the other and are named: what a stray number leaves out is no list
/// of billions.
const MISSING_MAX: usize = 1000;

/// Checks one segment after the other.
#[derive(Debug, Default)]
pub(super) struct SegmentsCheck {
    pub report: VerifyReport,
    dead: DeadRecords,
    /// The batch that comes next.
    expected: Option<u64>,
    /// The last segment that was checked.
    last: u32,
    /// The segments that were checked, as `EXTENT` knows them.
    pub rows: Vec<(u32, Row)>,
    /// Segments that are known to be lost.
    lost: Vec<(u32, Row)>,
    /// Segments that were not known to be lost, and are not there.
    pub missing: Vec<(u32, Row)>,
}

impl SegmentsCheck {
    /// For the files of an open store.
    pub(super) fn of_open(shared: &Shared) -> SegmentsCheck {
        let mut check = SegmentsCheck::default();
        check.report.damage = lost_files(shared);
        check.lost = shared.extent.lost_files();
        check
    }

    /// For all files that a store ever had.
    pub(super) fn of_all() -> SegmentsCheck {
        SegmentsCheck { expected: Some(1), ..SegmentsCheck::default() }
    }

    /// What was found.
    pub(super) fn finish(mut self) -> VerifyReport {
        self.report.dead = self.dead.take_from(&mut self.report.damage);
        self.report
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
                // Where the next one is lost, its row says how far this one reached; not of one that was
                // written when the check began, and has gone on since.
                let row = shared.extent.row(number).filter(|_| part.is_sealed);
                let row = row.map(|row| row.next_batch);
                let end = End::at(next_first.into_iter().chain(row).min());
                Ok(vec![self.segment(&shared.identity, number, &content, end)?])
            }
            SegmentFile::Cleaned(cleaned) => {
                let scans = scan_cleaned(&shared.identity, &cleaned).map_err(&io)?;
                self.cleaned(&cleaned, &scans);
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
        end: End,
    ) -> Result<Scan, OpenError> {
        let head = SegmentHead::decode(identity, number, content)?;
        let first = head.map(|head| head.first_batch);
        let scan = scan(identity, number, content, first, end, 0);
        if scan.batches == 0 && scan.damage.is_empty() {
            // Opened for a batch that failed, and not removed. If it is more than that, the next
            // segment misses its batches.
            return Ok(scan);
        }
        if head.is_none() {
            self.report(number, 0, SEGMENT_HEAD_BYTES as u64, DamageKind::Header);
        }
        self.go_on(Span::one(number), first);
        self.expected = Some(scan.index.next_batch);
        self.rows.push((number, Row::of(first.unwrap_or(scan.index.next_batch), &scan, false)));
        self.count(&scan);
        self.report.bytes += content.len() as u64;
        Ok(scan)
    }

    /// Takes over what was found in the next file, which was cleaned.
    pub(super) fn cleaned(&mut self, cleaned: &CleanedFile, scans: &[Scan]) {
        let (span, row) = (cleaned.span(), Row::of_cleaned(cleaned));
        self.go_on(span, Some(row.first_batch));
        self.rows.extend((span.first..=span.last).map(|number| (number, row)));
        scans.iter().for_each(|scan| self.count(scan));
        self.expected = Some(row.next_batch);
    }

    /// Goes on behind the segments before this one that are lost.
    fn pass_lost(&mut self, number: u32) {
        let before = self.lost.iter().take_while(|(before, _)| *before < number).last();
        if let (Some(expected), Some((_, row))) = (self.expected, before) {
            self.expected = Some(expected.max(row.next_batch));
        }
    }

    /// Whether a file begins where the one before ended.
    fn go_on(&mut self, span: Span, first: Option<u64>) {
        self.pass_lost(span.first);
        let between = self.last + 1..span.first;
        self.last = span.last;
        let Some((first, next)) = first.zip(self.expected) else { return };
        let Some(missing) = first.checked_sub(next).filter(|missing| *missing > 0) else { return };
        if between.is_empty() {
            let kind = DamageKind::Batches { missing: Some(missing) };
            return self.report(span.first, SEGMENT_HEAD_BYTES as u64, 0, kind);
        }
        // What is missing was in them. (Of several, it is not known how much was in which; each had a batch.)
        let count = usize::try_from(missing).unwrap_or(usize::MAX).min(MISSING_MAX);
        for number in between.take(count) {
            let first_batch = self.missing.last().map_or(next, |(_, row)| row.next_batch.max(next));
            let row = Row { first_batch, next_batch: first, ..Row::default() };
            self.missing.push((number, row));
            self.report.damage.push(Damage::of_file(segment_name(number), DamageKind::Missing));
        }
    }

    fn count(&mut self, scan: &Scan) {
        self.report.segments += 1;
        self.report.batches += scan.batches;
        let is_entry = |record: &&DamagedRecord| matches!(record.what, DamagedWhat::Entry { .. });
        let damaged = scan.damaged_records.iter().filter(is_entry).count() as u64;
        self.report.entries += scan.index.entries.saturating_sub(damaged);
        self.dead.go_on(scan);
        self.report.damage.extend(scan.damage.iter().cloned());
    }

    fn report(&mut self, number: u32, offset: u64, bytes: u64, kind: DamageKind) {
        self.report.damage.push(Damage { file: segment_name(number), offset, bytes, kind });
    }
}
