//! One segment after the other: those that no index file covers are scanned.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::cleaning::file::{CleanedFile, open_if_cleaned};
use super::super::cleaning::scan::scan_cleaned;
use super::super::config::OpenError;
use super::super::disk::read_all;
use super::super::disk::unreadable::FILLER;
use super::super::index::run::Run;
use super::super::index::{run_name, write_segment};
use super::super::segment::frame::{FrameHead, used_bytes};
use super::super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, Span, segment_name};
use super::damage::{Damage, DamageKind};
use super::inventory::SegmentBound;
use super::scan::{End, Scan, holds_whole_frame, scan};
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
        let opened = self.watch.open(&name);
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
        self.check_readable(&segment)?;
        if segment.first_batch.is_none() && self.was_durable(number) {
            // Nothing in it says which batches these were, but it is known that there were some.
            let row = self.extent.row(number).map(|row| row.first_batch);
            segment.first_batch = row.or(self.expected);
        }
        if segment.first_batch.is_none() {
            let content = read_all(&*segment.file);
            let name = segment_name(number);
            let io = OpenError::io("can't read", self.disk.path().join(name));
            self.let_go(number, &content.map_err(io)?, false);
            return Ok(());
        }
        self.scan_one(&segment, next_first)
    }

    /// Fails if nothing at all can be read of a segment that no index file knows, and that had something: then it is
    /// the disk that is away. One bad sector is not that, and keeps nobody from starting.
    fn check_readable(&self, segment: &Unindexed) -> Result<(), OpenError> {
        let name = segment_name(segment.number);
        if !self.watch.is_unread(&name) || !self.was_durable(segment.number) {
            return Ok(());
        }
        let content = read_all(&*segment.file);
        let content = content.map_err(OpenError::io("can't read", self.disk.path().join(&name)))?;
        if content.iter().any(|byte| *byte != FILLER) {
            return Ok(());
        }
        Err(OpenError::Unread { path: self.disk.path(), names: self.watch.unread(), way_out: name })
    }

    /// Opens a segment and finds out where it begins.
    pub(super) fn look_at(&self, span: Span) -> Result<Unindexed, OpenError> {
        let (number, name) = (span.first, span.name());
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let file = self.watch.open(&name).map_err(io("can't open"))?;
        let mut head = vec![0; SEGMENT_HEAD_BYTES];
        let read = file.read_at(&mut head, 0).map_err(io("can't read"))?;
        if let Some(head) = SegmentHead::decode(&self.identity, span, &head[..read])? {
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
        let content = read_all(&**file);
        let content = content.map_err(OpenError::io("can't read", self.disk.path().join(&name)))?;
        let SegmentBound { durable, ends_at } = self.bound_of_content(number, &content);
        // Where the next one is lost, its row says how far this one reached.
        let ends_at = next_first.into_iter().chain(ends_at).min();
        let mut scan =
            scan(&self.identity, number, &content, *first_batch, End::at(ends_at), durable);
        // If the header is all that a crash left unwritten of the first batch, nothing is damaged; but a crash
        // leaves no sectors that can't be read.
        let was_durable = self.was_durable(number)
            || self.watch.is_unread(&name)
            || scan.batches > 1
            || next_first.is_some_and(|next| *first_batch < Some(next));
        scan.history_lost |= self.check_begin(number, *first_batch, *head_damaged && was_durable);
        self.check_length(number, content.len() as u64);
        self.write_anew(segment, &content, &scan, next_first.is_none())?;
        self.expected = Some(scan.index.next_batch);
        self.report.segments_scanned += 1;
        self.report.batches += scan.batches;
        self.report.entries += scan.index.entries;
        self.check_unknown_segment(number, scan.batches);
        let history_lost = self.take_damage(number, &scan);
        let is_last = self.ends_within_a_batch(number, &content, &scan, ends_at);
        if scan.index.records == 0 && !history_lost {
            self.forget(number);
            let is_header = used_bytes(&content) <= SEGMENT_HEAD_BYTES;
            self.report.unfinished_bytes += scan.unfinished_bytes;
            self.let_go(number, if is_header { &[] } else { &content }, is_last);
            return Ok(());
        }
        self.report.unfinished_bytes += scan.unfinished_bytes;
        // A whole batch that is overruled stays: it was not acknowledged, if all is what it seems to be.
        let end = usize::try_from(scan.index.end).unwrap_or(usize::MAX);
        let is_whole = holds_whole_frame(&self.identity, number, &content, end);
        scan.index.keeps_end = !is_last || is_whole || self.watch.is_unread(&name);
        if content.len() as u64 > scan.index.end && !scan.index.keeps_end {
            self.uncut.push((Arc::clone(file), scan.index.end));
        }
        file.sync().map_err(OpenError::io("can't sync", self.disk.path().join(name)))?;
        self.remember(number, first_batch.unwrap_or(1), &scan);
        self.write_older()?;
        self.sealed = Some(scan.index);
        Ok(())
    }

    /// Where a segment that was read ends, as far as others know it; but if it has more than the one batch
    /// behind that of which nobody has heard, it is they that are not what they were.
    fn bound_of_content(&mut self, number: u32, content: &[u8]) -> SegmentBound {
        let mut bound = self.bound_of(number);
        let mark = self.identity.mark(number);
        let has_more = |end: u64| FrameHead::find(mark, content, end.saturating_add(1)).is_some();
        if bound.ends_at.is_some_and(has_more) {
            bound.ends_at = None;
            self.lose_extent();
        }
        bound
    }

    /// Whether there is no more than one batch behind what counts of a segment: what failed, or what a crash
    /// has interrupted.
    fn ends_within_a_batch(
        &self,
        number: u32,
        content: &[u8],
        scan: &Scan,
        ends_at: Option<u64>,
    ) -> bool {
        let end = usize::try_from(scan.index.end).unwrap_or(usize::MAX).min(content.len());
        let behind = ends_at.unwrap_or(scan.index.next_batch).max(scan.index.next_batch);
        FrameHead::find(self.identity.mark(number), &content[end..], behind.saturating_add(1))
            .is_none()
    }

    /// Whether a header may be written: if that can't be read, only where all of it is known elsewhere.
    pub(super) fn can_write_head(&self, number: u32) -> bool {
        let is_known = self.extent_is_whole && self.extent.life_of(number) != 0;
        is_known || !self.watch.is_unread(&segment_name(number))
    }

    /// Writes down anew what is going to be served and may not be on the disk.
    fn write_anew(
        &self,
        segment: &Unindexed,
        content: &[u8],
        scan: &Scan,
        is_newest: bool,
    ) -> Result<(), OpenError> {
        let Unindexed { number, file, first_batch, head_damaged } = segment;
        let io = OpenError::io("can't write", self.disk.path().join(segment_name(*number)));
        // Of a file that can't be read, the first batch that can be read may be a later one.
        let is_first = || {
            let frame = content.get(SEGMENT_HEAD_BYTES..);
            let frame =
                frame.and_then(|frame| FrameHead::decode(self.identity.mark(*number), frame));
            frame.map(|frame| frame.batch) == *first_batch
        };
        let begins = !self.watch.is_unread(&segment_name(*number)) || is_first();
        if (*head_damaged || is_newest) && begins && self.can_write_head(*number) {
            let head = || {
                let first_batch = first_batch.unwrap_or(scan.index.next_batch);
                let head = SegmentHead::plain(*number, first_batch, self.life_of(*number));
                head.encode(&self.identity)
            };
            // A whole one stays as it is, with the epoch of then: it is more than a sector, so a power cut could leave
            // a part of another one.
            let is = content.first_chunk().filter(|_| !head_damaged);
            file.write_at(&is.copied().unwrap_or_else(head), 0).map_err(&io)?;
        }
        // After the death of the process alone, the last batch may be in the page cache and not on
        // the disk; and if its fsync had failed, no later one would write it. What was read is
        // going to be served, so it is written anew.
        if is_newest
            && let Some(at) = scan.last_frame
            && !scan.is_damaged_behind(at as u64)
            && !self.watch.is_unread(&segment_name(*number))
        {
            let frame = &content[at..scan.index.end as usize];
            file.write_at(frame, at as u64).map_err(io)?;
        }
        Ok(())
    }

    /// Writes the index of a segment to its file when a newer one comes: what is in memory is
    /// newer than all files, and a store whose index files are all lost must not need memory for
    /// its whole history.
    fn write_older(&mut self) -> Result<(), OpenError> {
        let Some(older) = self.sealed.take() else { return Ok(()) };
        // It takes the place of one that may say more, if that can be read again.
        self.check_witnesses()?;
        let segment = older.segment;
        let name = run_name(segment, segment);
        let path = self.disk.path().join(&name);
        let io = |doing| OpenError::io(doing, path.clone());
        self.make_room(&name).map_err(io("can't rename"))?;
        write_segment(self.disk, &self.identity, &older).map_err(io("can't write"))?;
        // Without it, what is there would seem not to be.
        self.open_run((segment, segment))?.map_err(io("can't read back"))
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
