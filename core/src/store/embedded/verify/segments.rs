//! One segment after the other: whether each is whole, and goes on where the one before ended.

use super::super::Shared;
use super::super::cleaning::file::CleanedFile;
use super::super::cleaning::scan::scan_cleaned;
use super::super::config::OpenError;
use super::super::identity::Identity;
use super::super::recovery::damage::{Damage, DamageKind};
use super::super::recovery::extent::Row;
use super::super::recovery::scan::{DamagedRecord, DamagedWhat, End, Scan, scan};
use super::super::segment::files::SegmentFile;
use super::super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, Span, segment_name};
use super::dead::DeadRecords;
use super::parts::{DurablePart, read_part};
use super::{VerifyReport, lost_files};

/// Segments that are missing one behind the other and are named: what a stray number leaves out is no list
/// of billions.
const MISSING_MAX: usize = 1000;

/// Checks one segment after the other.
#[derive(Debug, Default)]
pub(in super::super) struct SegmentsCheck {
    pub report: VerifyReport,
    dead: DeadRecords,
    /// The batch that comes next.
    expected: Option<u64>,
    /// The last segment that was checked.
    last: u32,
    /// The segments that were checked, as `EXTENT` knows them.
    pub rows: Vec<(u32, Row)>,
    /// Segments that are known to be lost.
    pub(super) lost: Vec<(u32, Row)>,
    /// Segments that were not known to be lost, and are not there.
    pub missing: Vec<(u32, Row)>,
}

impl SegmentsCheck {
    /// For the files of an open store.
    pub(in super::super) fn of_open(shared: &Shared) -> SegmentsCheck {
        let mut check = SegmentsCheck::default();
        check.report.damage = lost_files(shared);
        check.lost = shared.extent.lost_files();
        check
    }

    /// For all files that a store ever had.
    pub(in super::super) fn of_all() -> SegmentsCheck {
        SegmentsCheck { expected: Some(1), ..SegmentsCheck::default() }
    }

    /// What was found.
    pub(in super::super) fn finish(mut self) -> VerifyReport {
        self.report.dead = self.dead.take_from(&mut self.report.damage);
        self.report
    }

    /// Checks the next file; returns what is in it, a segment at a time.
    pub(in super::super) fn part(
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
    pub(in super::super) fn segment(
        &mut self,
        identity: &Identity,
        number: u32,
        content: &[u8],
        end: End,
    ) -> Result<Scan, OpenError> {
        let head = SegmentHead::decode(identity, Span::one(number), content)?;
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
        let row = Row::of(first.unwrap_or(scan.index.next_batch), &scan, false);
        self.rows.push((number, Row { life: head.map_or(0, |head| head.life), ..row }));
        self.count(&scan);
        self.report.bytes += content.len() as u64;
        Ok(scan)
    }

    /// Takes over what was found in the next file, which was cleaned.
    pub(in super::super) fn cleaned(&mut self, cleaned: &CleanedFile, scans: &[Scan]) {
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
