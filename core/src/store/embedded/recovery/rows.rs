//! Whether the files of segments hold what the rows of `EXTENT` say.

use super::super::cleaning::file::CleanedFile;
use super::super::cleaning::scan::scan_cleaned;
use super::super::config::OpenError;
use super::super::disk::{DiskFile, read_all};
use super::super::recovery::Recovery;
use super::super::segment::frame::{FrameHead, Mark};
use super::super::segment::record::{RECORD_HEAD_BYTES_MAX, RecordHead};
use super::super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, Span, segment_name};
use super::damage::{Damage, DamageKind};
use super::extent::Row;
use super::inventory::read_head;
use super::scan::{End, Scan, scan};

/// What is read of the end of a segment to find its last batch: more than most batches have.
const END_BYTES: u64 = 1 << 20;

impl Recovery<'_> {
    /// Looks whether a sealed segment is there and reaches as far as it did.
    pub(super) fn check_row(&mut self, number: u32, row: Row) -> Result<(), OpenError> {
        if row.file_lost {
            return self.check_return(number, row);
        }
        let Some(span) = self.file_of(number) else {
            self.lose_segment(number, DamageKind::Missing);
            // An index file knows more than is there now, also if it was made of what an earlier loss had left.
            let forgotten = row.forgotten && self.run_of(number).is_none();
            self.extent.set_row(number, Row { file_lost: true, forgotten, ..row });
            return Ok(());
        };
        // The others are read anyway.
        if self.run_of_all(span).is_none() {
            return Ok(());
        }
        self.check_ends(span, number, row)
    }

    /// Looks at both ends of the file of a segment that has an index file.
    pub(super) fn check_ends(
        &mut self,
        span: Span,
        number: u32,
        row: Row,
    ) -> Result<(), OpenError> {
        match self.open_cleaned(span)? {
            Some(cleaned) if number == span.first => self.check_cleaned(&cleaned),
            None if span == Span::one(number) => self.check_sealed(number, row),
            Some(_) | None => Ok(()),
        }
    }

    /// Looks at both ends of a cleaned file, as at those of a segment.
    pub(super) fn check_cleaned(&mut self, cleaned: &CleanedFile) -> Result<(), OpenError> {
        if cleaned.heads_are_whole() && cleaned.guide_is_whole() {
            return Ok(());
        }
        let io = OpenError::io("can't read", self.disk.path().join(cleaned.span().name()));
        for scan in scan_cleaned(&self.identity, cleaned).map_err(io)? {
            self.report.segments_scanned += 1;
            self.take_cleaned(&scan);
        }
        Ok(())
    }

    /// Takes over what a scan of a cleaned file has found of one of its segments.
    pub(in super::super) fn take_cleaned(&mut self, scan: &Scan) {
        let number = scan.index.segment;
        if !self.take_damage(number, scan) {
            return;
        }
        let next_batch = scan.index.next_batch;
        let row = Row { first_batch: next_batch, next_batch, ..Row::default() };
        let row = self.extent.row(number).copied().unwrap_or(row);
        let forgotten = self.run_of(number).is_none();
        // Where its last frame was says nothing of a cleaned file.
        self.extent.set_row(number, Row { loss_told: true, forgotten, last_frame: 0, ..row });
    }

    /// A file that was lost is there again: it is taken if the index still leads to it. Otherwise
    /// others may have taken its place meanwhile.
    pub(super) fn check_return(&mut self, number: u32, row: Row) -> Result<(), OpenError> {
        let Some(span) = self.file_of(number) else { return Ok(()) };
        let file = span.name();
        if self.run_of_all(span).is_some() {
            tracing::info!(file, "a segment that was missing is there again");
            let row = Row { file_lost: false, ..row };
            self.extent.set_row(number, row);
            return self.check_ends(span, number, row);
        }
        tracing::warn!(file, "a segment that was missing is there again, too late to be read");
        self.pass_over(span);
        Ok(())
    }

    /// A segment that was begun must be there; if it is not, it is written down as lost.
    pub(super) fn expect(&mut self, number: u32, first_batch: u64, next_batch: u64) {
        if self.file_of(number).is_some() {
            return;
        }
        self.lose_segment(number, DamageKind::Missing);
        let (last_frame, end) = (0, SEGMENT_HEAD_BYTES as u64);
        let (loss_told, file_lost) = (true, true);
        let row = Row {
            first_batch,
            next_batch,
            last_frame,
            end,
            loss_told,
            file_lost,
            ..Row::default()
        };
        self.extent.set_row(number, row);
    }

    /// Compares an index file with what is there: it is evidence, too.
    pub(super) fn check_indexed(
        &mut self,
        first: u32,
        last: u32,
        next_batch: u64,
    ) -> Result<(), OpenError> {
        for number in [first, last] {
            if self.extent.row(number).is_none() {
                self.expect(number, next_batch, next_batch);
            }
        }
        if last > self.extent.bound.segment {
            if self.extent_before.is_some() {
                self.lose_extent();
            }
            // Also where nothing is known any more: what is written down now must not look older than it is.
            self.extent.bound.segment = last;
        }
        let cleaned = match self.file_of(last) {
            Some(span) => self.open_cleaned(span)?,
            None => None,
        };
        if self.extent.row(last).is_some() || cleaned.is_some() {
            return Ok(());
        }
        // It had at least the last batch of these.
        let first_batch = self.look_at(Span::one(last))?.first_batch;
        self.scan_again(last, first_batch.or(Some(next_batch.saturating_sub(1))), next_batch)
    }

    /// Looks at the two ends of a sealed segment: what was put back or cut can't have both.
    pub(super) fn check_sealed(&mut self, number: u32, row: Row) -> Result<(), OpenError> {
        let name = segment_name(number);
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let file = self.watch.open(&name).map_err(io("can't open"))?;
        if file.bytes().map_err(io("can't read"))? < row.end {
            self.lose(&*name, DamageKind::Shortened);
            return self.scan_again(number, Some(row.first_batch), row.next_batch);
        }
        let segment_head =
            read_head(&*file, &self.identity, Span::one(number)).map_err(io("can't read"))??;
        if segment_head.is_none() && !row.loss_told && self.can_write_head(number) {
            let (bytes, kind) = (SEGMENT_HEAD_BYTES as u64, DamageKind::Header);
            self.report.damage.push(Damage { file: name.clone(), offset: 0, bytes, kind });
            let head = SegmentHead::plain(number, row.first_batch, row.life).encode(&self.identity);
            let healed = file.write_at(&head, 0).and_then(|()| file.sync());
            healed.map_err(io("can't write"))?;
        }
        if row.loss_told && self.is_there_again(&*file, number, row).map_err(io("can't read"))? {
            // What is known of it is from when it was lost: a second loss would not be seen.
            return self.scan_again(number, Some(row.first_batch), row.next_batch);
        }
        if row.last_frame == 0
            || has_last(&*file, self.identity.mark(number), row).map_err(io("can't read"))?
        {
            return Ok(());
        }
        if row.loss_told {
            // What is lost now can't be told from what was lost before.
            self.lose(&*name, DamageKind::Outdated);
        }
        self.scan_again(number, Some(row.first_batch), row.next_batch)
    }

    /// Whether behind the end that a loss has left there is a batch of the segment: somebody has put back what it was.
    fn is_there_again(&self, file: &dyn DiskFile, number: u32, row: Row) -> std::io::Result<bool> {
        let mut rest = vec![0; file.bytes()?.saturating_sub(row.end) as usize];
        let read = file.read_at(&mut rest, row.end)?;
        let mark = self.identity.mark(number);
        let found = FrameHead::find(mark, &rest[..read], row.first_batch);
        let found = found.and_then(|at| FrameHead::decode(mark, &rest[at..]));
        Ok(found.is_some_and(|frame| frame.batch < row.next_batch))
    }

    /// Reads an indexed segment that may not be what it was. The index stays: it knows what should
    /// be there.
    pub(super) fn scan_again(
        &mut self,
        number: u32,
        first: Option<u64>,
        next_batch: u64,
    ) -> Result<(), OpenError> {
        let name = segment_name(number);
        let content = self.watch.open(&name).and_then(|file| read_all(&*file));
        let content = content.map_err(OpenError::io("can't read", self.disk.path().join(&name)))?;
        let scan = scan(&self.identity, number, &content, first, End::At(next_batch), 0);
        self.report.segments_scanned += 1;
        self.take_damage(number, &scan);
        self.remember(number, first.unwrap_or(next_batch), &scan);
        Ok(())
    }
}

/// Whether a sealed segment has what was its last frame; or the last record of it that could be told,
/// if something of it is lost.
fn has_last(file: &dyn DiskFile, mark: Mark, row: Row) -> std::io::Result<bool> {
    let mut head = [0; RECORD_HEAD_BYTES_MAX];
    let read = file.read_at(&mut head, row.last_frame)?;
    let head = &head[..read];
    Ok(if row.loss_told {
        RecordHead::decode(mark, head).is_some()
    } else {
        FrameHead::decode(mark, head).is_some_and(|frame| frame.batch + 1 == row.next_batch)
    })
}

/// Where the frame of this batch begins, which is the last one of a segment: it is looked for at the
/// end, and if it is not there, everywhere.
pub(super) fn find_frame(
    file: &dyn DiskFile,
    mark: Mark,
    batch: u64,
) -> std::io::Result<Option<u64>> {
    let bytes = file.bytes()?;
    for from in [bytes.saturating_sub(END_BYTES), 0] {
        let mut content = vec![0; (bytes - from) as usize];
        let read = file.read_at(&mut content, from)?;
        if let Some(at) = FrameHead::find_back(mark, &content[..read], batch) {
            return Ok(Some(from + at as u64));
        }
    }
    Ok(None)
}
