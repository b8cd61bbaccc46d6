//! One segment after the other: those that no index file covers are scanned.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::cleaning::file::{CleanedFile, open_if_cleaned};
use super::super::cleaning::scan::scan_cleaned;
use super::super::config::OpenError;
use super::super::disk::read_all;
use super::super::index::run::Run;
use super::super::index::{run_name, write_segment};
use super::super::segment::frame::FrameHead;
use super::super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, Span, segment_name};
use super::damage::{Damage, DamageKind};
use super::inventory::SegmentBound;
use super::scan::{End, scan};
use super::{Recovery, Unindexed};

impl Recovery<'_> {
    /// Scans all segments that no run covers.
    pub(super) fn scan_all(&mut self) -> Result<(), OpenError> {
        let mut later_first = self.first_batches()?;
        self.erase_again(&later_first)?;
        for span in self.files.clone() {
            let number = span.first;
            self.pass_lost(number);
            if let Some(run) = self.run_of_all(span) {
                self.expected = Some(run.next_batch());
                self.write_older()?;
            } else if let Some(cleaned) = self.open_cleaned(span)? {
                self.scan_cleaned(&cleaned)?;
            } else {
                later_first = later_first.split_off(&(number + 1));
                let next_first = later_first.values().copied().min();
                self.scan_unindexed(number, next_first)?;
            }
        }
        self.pass_lost(u32::MAX);
        Ok(())
    }

    /// The run of the last segment of a file, if there are runs of all of them.
    pub(super) fn run_of_all(&self, span: Span) -> Option<&Arc<Run>> {
        let all = (span.first..=span.last).all(|number| self.run_of(number).is_some());
        if all { self.run_of(span.last) } else { None }
    }

    /// Opens a file if it was cleaned.
    pub(super) fn open_cleaned(&self, span: Span) -> Result<Option<CleanedFile>, OpenError> {
        let name = span.name();
        let opened = self.disk.open(&name);
        let opened = opened.and_then(|file| open_if_cleaned(&self.identity, &file, span));
        opened.map_err(OpenError::io("can't open", self.disk.path().join(name)))
    }

    /// Gives those segments of a cleaned file an index file that have none.
    fn scan_cleaned(&mut self, cleaned: &CleanedFile) -> Result<(), OpenError> {
        self.write_older()?;
        let first = cleaned.span().first;
        self.report.history_lost |=
            self.check_begin(first, Some(cleaned.head.first_batch), false) && !self.was_told(first);
        let io = OpenError::io("can't read", self.disk.path().join(cleaned.span().name()));
        for scan in scan_cleaned(&self.identity, cleaned).map_err(io)? {
            self.take_cleaned(&scan);
            if scan.index.records == 0 || self.run_of(scan.index.segment).is_some() {
                continue;
            }
            self.report.segments_scanned += 1;
            self.report.batches += scan.batches;
            self.report.entries += scan.index.entries;
            self.sealed = Some(scan.index);
            self.write_older()?;
        }
        self.expected = Some(cleaned.cleaned().next_batch);
        Ok(())
    }

    /// The first batches of the segments that are not indexed, and of those right behind them.
    fn first_batches(&self) -> Result<BTreeMap<u32, u64>, OpenError> {
        let mut first_batches = BTreeMap::new();
        let mut before_indexed = true;
        for &span in &self.files {
            let number = span.first;
            let indexed = self.run_of_all(span).is_some();
            if (!indexed || !before_indexed)
                && let Some(first) = self.look_at(span)?.first_batch
            {
                first_batches.insert(number, first);
            }
            before_indexed = indexed;
        }
        Ok(first_batches)
    }

    fn scan_unindexed(&mut self, number: u32, next_first: Option<u64>) -> Result<(), OpenError> {
        let mut segment = self.look_at(Span::one(number))?;
        if segment.first_batch.is_none() && self.was_durable(number) {
            // Nothing in it says which batches these were, but it is known that there were some.
            let row = self.extent.row(number).map(|row| row.first_batch);
            segment.first_batch = row.or(self.expected);
        }
        if segment.first_batch.is_none() {
            return self.remove_unused(number);
        }
        self.scan_one(&segment, next_first)
    }

    /// Removes a segment that was opened for a batch that never became durable: neither its header
    /// nor any frame is whole. If it is garbage instead, the next segment misses its batches.
    fn remove_unused(&mut self, number: u32) -> Result<(), OpenError> {
        let name = segment_name(number);
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let content = self.disk.open(&name).and_then(|file| read_all(&*file));
        let used = content.map_err(io("can't read"))?.iter().filter(|byte| **byte != 0).count();
        self.report.unfinished_bytes += used as u64;
        self.unneeded.push(name);
        Ok(())
    }

    /// Opens a segment and finds out where it begins.
    pub(super) fn look_at(&self, span: Span) -> Result<Unindexed, OpenError> {
        let (number, name) = (span.first, span.name());
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let file = self.disk.open(&name).map_err(io("can't open"))?;
        let mut head = vec![0; SEGMENT_HEAD_BYTES];
        let read = file.read_at(&mut head, 0).map_err(io("can't read"))?;
        if let Some(head) = SegmentHead::decode(&self.identity, number, &head[..read])? {
            let first_batch = Some(head.first_batch);
            return Ok(Unindexed { number, file, first_batch, head_damaged: false });
        }
        let content = read_all(&*file).map_err(io("can't read"))?;
        let mark = self.identity.mark(number);
        let first_frame = FrameHead::find(mark, &content, 0);
        let first_frame = first_frame.and_then(|at| FrameHead::decode(mark, &content[at..]));
        let first_batch = first_frame.map(|frame| frame.batch);
        Ok(Unindexed { number, file, first_batch, head_damaged: true })
    }

    fn scan_one(&mut self, segment: &Unindexed, next_first: Option<u64>) -> Result<(), OpenError> {
        let Unindexed { number, file, first_batch, head_damaged } = segment;
        let (number, name) = (*number, segment_name(*number));
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let content = read_all(&**file).map_err(io("can't read"))?;
        let SegmentBound { durable, ends_at } = self.bound_of(number);
        // Where the next one is lost, its row says how far this one reached.
        let end = End::at(next_first.into_iter().chain(ends_at).min());
        let mut scan = scan(&self.identity, number, &content, *first_batch, end, durable);
        // If the header is all that a crash left unwritten of the first batch, nothing is damaged.
        let was_durable = self.was_durable(number)
            || scan.batches > 1
            || next_first.is_some_and(|next| *first_batch < Some(next));
        scan.history_lost |= self.check_begin(number, *first_batch, *head_damaged && was_durable);
        self.check_length(number, content.len() as u64);
        let is_newest = next_first.is_none();
        if *head_damaged || is_newest {
            let first_batch = first_batch.unwrap_or(scan.index.next_batch);
            let head = SegmentHead::plain(number, first_batch);
            let written = file.write_at(&head.encode(&self.identity), 0);
            written.map_err(io("can't write"))?;
        }
        // After the death of the process alone, the last batch may be in the page cache and not on
        // the disk; and if its fsync had failed, no later one would write it. What was read is
        // going to be served, so it is written anew; but not what could not be read of it, which the disk
        // may be able to read another time.
        if is_newest
            && let Some(at) = scan.last_frame
            && !scan.is_damaged_behind(at as u64)
        {
            let frame = &content[at..scan.index.end as usize];
            file.write_at(frame, at as u64).map_err(io("can't write"))?;
        }
        self.expected = Some(scan.index.next_batch);
        self.report.segments_scanned += 1;
        self.report.batches += scan.batches;
        self.report.entries += scan.index.entries;
        self.report.unfinished_bytes += scan.unfinished_bytes;
        self.check_unknown_segment(number, scan.batches);
        let history_lost = self.take_damage(number, &scan);
        if scan.index.records == 0 && !history_lost {
            self.forget(number);
            self.unneeded.push(name);
            return Ok(());
        }
        if content.len() as u64 > scan.index.end {
            self.uncut.push((Arc::clone(file), scan.index.end));
        }
        file.sync().map_err(io("can't sync"))?;
        self.remember(number, first_batch.unwrap_or(1), &scan);
        self.write_older()?;
        self.sealed = Some(scan.index);
        Ok(())
    }

    /// Writes the index of a segment to its file when a newer one comes: what is in memory is
    /// newer than all files, and a store whose index files are all lost must not need memory for
    /// its whole history.
    fn write_older(&mut self) -> Result<(), OpenError> {
        let Some(older) = self.sealed.take() else { return Ok(()) };
        let segment = older.segment;
        let io = |doing| OpenError::io(doing, self.disk.path().join(run_name(segment, segment)));
        write_segment(self.disk, &self.identity, &older).map_err(io("can't write"))?;
        self.open_run((segment, segment))
    }

    /// Whether a segment goes on where the one before ended. Returns whether batches are missing.
    fn check_begin(&mut self, number: u32, first: Option<u64>, head_damaged: bool) -> bool {
        let file = segment_name(number);
        let bytes = SEGMENT_HEAD_BYTES as u64;
        if head_damaged {
            let kind = DamageKind::Header;
            self.report.damage.push(Damage { file: file.clone(), offset: 0, bytes, kind });
        }
        // If it goes back, it overrules the end of the one before.
        let missing = first.zip(self.expected).and_then(|(first, next)| first.checked_sub(next));
        let missing = missing.filter(|missing| *missing > 0);
        if missing.is_some() {
            let kind = DamageKind::Batches { missing };
            self.report.damage.push(Damage { file, offset: bytes, bytes: 0, kind });
        }
        missing.is_some()
    }
}
