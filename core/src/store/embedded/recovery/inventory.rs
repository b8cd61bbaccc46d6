//! What should be in the folder, by `EXTENT` and the index files, and what is.

use super::super::cleaning::file::{CleanedFile, find_head};
use super::super::config::OpenError;
use super::super::disk::{DiskFile, read_all};
use super::super::identity::Identity;
use super::super::index::run::Run;
use super::super::index::run_name;
use super::super::recovery::Recovery;
use super::super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, Span, segment_name};
use super::damage::{Damage, DamageKind};
use super::extent::{self, Content, Found, Row};
use super::rows::find_frame;
use super::scan::{End, Scan, scan};

/// Where the log of a segment ends, as far as that is known without looking at it.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct SegmentBound {
    /// All batches below this one were durable.
    pub durable: u64,
    /// It ends before this one: what is behind was never acknowledged.
    pub ends_at: Option<u64>,
}

impl Recovery<'_> {
    /// Reads `EXTENT`. Without it, or without all of it, nobody can say that nothing is missing.
    pub(in super::super) fn load_extent(&mut self, names: &[String]) -> Result<(), OpenError> {
        let io = OpenError::io("can't read", self.disk.path().join(extent::NAME));
        let found = if names.iter().any(|name| name == extent::NAME) {
            Content::load(self.watch.open(extent::NAME), &self.identity).map_err(io)?
        } else {
            Found::Missing
        };
        if self.watch.is_unread(extent::NAME) {
            // It may say another time what it does not say now.
            self.set_aside(extent::NAME.to_owned());
        }
        let has_segments = names.iter().any(|name| Span::of_name(name).is_some());
        match found {
            Found::Missing if !has_segments && self.runs.is_empty() => {}
            Found::Missing => self.lose(extent::NAME, DamageKind::Missing),
            Found::Unreadable => self.lose(extent::NAME, DamageKind::Unreadable),
            Found::Read(content) => {
                if content.damaged {
                    self.lose(extent::NAME, DamageKind::Unreadable);
                } else {
                    self.extent_before = Some(content.clone());
                }
                self.extent = content;
                self.check_epoch()?;
                self.check_writer();
            }
        }
        Ok(())
    }

    /// `EXTENT` is not what it was.
    pub(in super::super) fn lose_extent(&mut self) {
        self.lose(extent::NAME, DamageKind::Outdated);
    }

    /// Whether `STORE` and `EXTENT` have the same epoch: if not, one of them is older than it was.
    fn check_epoch(&mut self) -> Result<(), OpenError> {
        let bound = &mut self.extent.bound;
        if bound.epoch == self.identity.epoch {
            bound.epoch_is_new = false;
            return Ok(());
        }
        if std::mem::take(&mut bound.epoch_is_new) {
            self.identity.epoch = bound.epoch;
            return self.identity.save(self.disk);
        }
        self.lose(super::super::identity::NAME, DamageKind::Outdated);
        Ok(())
    }

    /// Something is not what it was, and entries may be gone with it.
    pub(super) fn lose(&mut self, file: impl Into<String>, kind: DamageKind) {
        let damage = Damage::of_file(file, kind);
        self.extent_is_whole &= damage.file != extent::NAME;
        if !self.report.damage.contains(&damage) {
            self.report.damage.push(damage);
        }
        self.report.history_lost = true;
    }

    /// The same of a segment; if something else is told of its file, that says it already.
    pub(super) fn lose_segment(&mut self, number: u32, kind: DamageKind) {
        let is_of =
            |damage: &Damage| Span::of_name(&damage.file).is_some_and(|span| span.holds(number));
        if !self.report.damage.iter().any(is_of) {
            self.report.damage.push(Damage::of_file(segment_name(number), kind));
        }
        self.report.history_lost = true;
    }

    /// Looks which files are there and are what they were.
    pub(in super::super) fn check_presence(&mut self) -> Result<(), OpenError> {
        self.check_heads()?;
        let sealed: Vec<(u32, Row)> =
            self.extent.sealed().map(|(number, row)| (number, *row)).collect();
        for &(number, row) in &sealed {
            self.check_row(number, row)?;
        }
        let bound = self.extent.bound;
        if bound.segment > 0 && self.extent.row(bound.segment).is_none() {
            let first_batch = sealed.last().map_or(1, |(_, row)| row.next_batch);
            self.expect(bound.segment, first_batch, bound.next_batch);
        }
        let runs: Vec<_> = self.runs.values().cloned().collect();
        for run in &runs {
            let ((first, last), next_batch) = (run.segments(), run.next_batch());
            self.check_indexed(first, last, next_batch)?;
        }
        self.assume_rows()?;
        for run in &runs {
            self.check_witness(run)?;
        }
        self.check_forgotten();
        Ok(())
    }

    /// Where `EXTENT` is lost in part, or older than it was, what is there now is written down of the
    /// segments that are not read, from the last to the first: each must reach to the one behind it.
    fn assume_rows(&mut self) -> Result<(), OpenError> {
        if !self.report.damage.iter().any(|damage| damage.file == extent::NAME) {
            // What has no row then never had a batch that was durable.
            return Ok(());
        }
        let mut behind: Option<(u32, u64)> = None;
        for span in self.files.clone().into_iter().rev() {
            let number = span.first;
            let first_batch = self.look_at(span)?.first_batch;
            let row = self.extent.row(number).copied();
            let run = self.run_of(number).map(|run| run.next_batch());
            match self.open_cleaned(span)? {
                Some(cleaned) => self.assume_cleaned(&cleaned),
                None => {
                    if let (None, Some(run)) = (row, run) {
                        let behind = behind.unwrap_or((number + 1, run));
                        self.assume_row(number, first_batch, behind)?;
                    }
                }
            }
            let begins = first_batch.or(row.map(|row| row.first_batch));
            behind = begins.map(|begins| (number, begins)).or(behind);
        }
        Ok(())
    }

    /// Writes down that a cleaned file is there, if it says itself what it holds.
    fn assume_cleaned(&mut self, cleaned: &CleanedFile) {
        let span = cleaned.span();
        for number in (span.first..=span.last).filter(|_| !cleaned.is_guessed()) {
            if self.extent.row(number).is_none() {
                self.extent.set_row(number, Row::of_cleaned(cleaned));
            }
        }
    }

    /// Writes down what is there of one of them. `behind` is the next one that is there, with the batch
    /// that it begins with.
    fn assume_row(
        &mut self,
        number: u32,
        first_batch: Option<u64>,
        behind: (u32, u64),
    ) -> Result<(), OpenError> {
        let next_batch = behind.1;
        if first_batch.is_some_and(|first| first >= next_batch) {
            // Opened for a batch that failed, and not removed.
            return Ok(());
        }
        let name = segment_name(number);
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let file = self.watch.open(&name).map_err(io("can't open"))?;
        let before = next_batch.saturating_sub(1);
        let first_batch = first_batch.unwrap_or(before);
        let mark = self.identity.mark(number);
        if let Some(last_frame) = find_frame(&*file, mark, before).map_err(io("can't read"))? {
            let end = file.bytes().map_err(io("can't read"))?;
            let row = Row { first_batch, next_batch, last_frame, end, ..Row::default() };
            self.extent.set_row(number, row);
            return Ok(());
        }
        if behind.0 == number + 1 {
            return self.scan_again(number, Some(first_batch), next_batch);
        }
        // What is missing may have been in the segments between them.
        (number + 1..behind.0).for_each(|missing| self.expect(missing, next_batch, next_batch));
        let content = read_all(&*file).map_err(io("can't read"))?;
        let scan = scan(&self.identity, number, &content, Some(first_batch), End::Open, 0);
        self.report.segments_scanned += 1;
        self.take_damage(number, &scan);
        self.remember(number, first_batch, &scan);
        Ok(())
    }

    /// An index file is all that knows which entries are lost with a segment, or were in one that is not read: so it
    /// has to be whole.
    fn check_witness(&mut self, run: &Run) -> Result<(), OpenError> {
        let (first, last) = run.segments();
        let is_witness = (first..=last)
            .any(|number| self.was_lost(number) || self.passed_over.contains(&number));
        if !is_witness || run.check().is_ok() {
            return Ok(());
        }
        self.runs.remove(&first);
        self.make_again(run_name(first, last));
        Ok(())
    }

    /// What is lost, and is not in an index file either, is forgotten: its sequences may be given
    /// again, in another epoch.
    fn check_forgotten(&mut self) {
        let sealed: Vec<(u32, Row)> =
            self.extent.sealed().map(|(number, row)| (number, *row)).collect();
        for (number, row) in sealed {
            if row.has_loss() && !row.forgotten && self.run_of(number).is_none() {
                self.lose_segment(number, DamageKind::Forgotten);
                self.extent.set_row(number, Row { forgotten: true, ..row });
            }
        }
    }

    pub(super) fn was_lost(&self, number: u32) -> bool {
        self.extent.row(number).is_some_and(Row::has_loss)
    }

    /// Passes over files that are not of this store, or are not what their names say.
    fn check_heads(&mut self) -> Result<(), OpenError> {
        for span in self.files.clone() {
            let name = span.name();
            let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
            let file = self.watch.open(&name).map_err(io("can't open"))?;
            match find_head(&self.identity, &*file, span).map_err(io("can't read"))? {
                Ok(head) => self.check_origin(span, head)?,
                Err(OpenError::Foreign { .. }) => self.refuse(span, DamageKind::Foreign),
                Err(OpenError::Misplaced { first, last, .. }) => {
                    self.refuse(span, DamageKind::Misplaced { first, last });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A file is not the one that its name says: it is left as it is.
    pub(super) fn refuse(&mut self, span: Span, kind: DamageKind) {
        self.pass_over(span);
        let damage = Damage::of_file(span.name(), kind);
        self.report.damage.push(damage.clone());
        self.refused.push((span, damage));
    }

    pub(super) fn pass_over(&mut self, span: Span) {
        self.files.retain(|file| *file != span);
        self.passed_over.extend(span.first..=span.last);
    }

    /// What holds a segment.
    pub(super) fn file_of(&self, number: u32) -> Option<Span> {
        let after = self.files.partition_point(|span| span.first <= number);
        self.files[..after].last().copied().filter(|span| span.holds(number))
    }

    /// Goes on behind the segments before this one that are lost.
    pub(in super::super) fn pass_lost(&mut self, number: u32) {
        let before = self.extent.sealed().filter(|(before, _)| *before < number).last();
        if let Some((_, row)) = before
            && row.file_lost
        {
            self.expected = Some(row.next_batch);
        }
    }

    /// Takes over what a scan has found. Returns whether entries may be lost.
    pub(in super::super) fn take_damage(&mut self, number: u32, scan: &Scan) -> bool {
        self.report.damage.extend(scan.damage.iter().cloned());
        self.report.history_lost |= scan.history_lost && !self.was_told(number);
        scan.history_lost
    }

    /// Whether it was told that something of a segment is lost.
    pub(in super::super) fn was_told(&self, number: u32) -> bool {
        self.extent.row(number).is_some_and(|row| row.loss_told)
    }

    /// Whether a segment had a batch that was durable for certain.
    pub(in super::super) fn was_durable(&self, number: u32) -> bool {
        self.extent.row(number).is_some() || (number > 0 && number == self.extent.bound.segment)
    }

    pub(in super::super) fn bound_of(&self, number: u32) -> SegmentBound {
        let bound = &self.extent.bound;
        if let Some(row) = self.extent.row(number) {
            let ends_at = self.extent_is_whole.then_some(row.next_batch);
            return SegmentBound { durable: row.next_batch, ends_at };
        }
        if number != bound.segment {
            return SegmentBound::default();
        }
        let ends_at = (bound.is_exact && self.extent_is_whole).then_some(bound.next_batch);
        SegmentBound { durable: bound.next_batch, ends_at }
    }

    /// Whether the file of a segment that is scanned has lost its end.
    pub(in super::super) fn check_length(&mut self, number: u32, bytes: u64) {
        let bound = &self.extent.bound;
        let had = match self.extent.row(number) {
            Some(row) => row.end,
            None if number == bound.segment => bound.file_bytes,
            None => 0,
        };
        if bytes >= had {
            return;
        }
        // What was there is lost; or of the newest one, batches may have been of which nobody knows.
        let is_unused = bound.segment == number && bound.is_exact && bytes >= bound.end;
        self.report.history_lost |= !is_unused && !self.was_told(number);
        self.report.damage.push(Damage::of_file(segment_name(number), DamageKind::Shortened));
    }

    /// Whether a segment can be one that `EXTENT` does not know of: it has at most one batch, which
    /// was not acknowledged.
    pub(in super::super) fn check_unknown_segment(&mut self, number: u32, batches: u64) {
        let is_unknown = self.extent_before.is_some() && number > self.extent.bound.segment;
        if is_unknown && batches > 1 {
            self.lose(extent::NAME, DamageKind::Outdated);
        }
    }

    /// Writes down how far a segment reaches that is not written to any more.
    pub(in super::super) fn remember(&mut self, number: u32, first_batch: u64, scan: &Scan) {
        let (end, next_batch) = (scan.index.end, scan.index.next_batch);
        let loss_told = scan.history_lost || self.was_told(number);
        // If an index file is made of it, that knows no more than is there.
        let forgotten = loss_told && self.run_of(number).is_none();
        let life = self.life_of(number);
        let row = Row { forgotten, life, ..Row::of(first_batch, scan, loss_told) };
        self.extent.set_row(number, row);
        let life = self.extent.life_of(number);
        let bound = &mut self.extent.bound;
        if number >= bound.segment {
            bound.life = life;
            (bound.segment, bound.end, bound.is_exact) = (number, end, true);
            bound.next_batch = next_batch;
        }
    }

    /// A segment has nothing that counts, though it may have begun: its batch was not acknowledged,
    /// and a later segment has overruled it.
    pub(in super::super) fn forget(&mut self, number: u32) {
        if number != self.extent.bound.segment {
            return;
        }
        let before = self.extent.sealed().filter(|(before, _)| *before < number).last();
        let before = before.map(|(before, row)| (before, row.end, row.next_batch, row.life));
        let bound = &mut self.extent.bound;
        (bound.segment, bound.end, bound.next_batch, bound.life) = before.unwrap_or((0, 0, 1, 0));
        bound.is_exact = true;
    }
}

/// The header of a segment, as far as it can be read.
pub(super) fn read_head(
    file: &dyn DiskFile,
    identity: &Identity,
    span: Span,
) -> std::io::Result<Result<Option<SegmentHead>, OpenError>> {
    let mut head = vec![0; SEGMENT_HEAD_BYTES];
    let read = file.read_at(&mut head, 0)?;
    Ok(SegmentHead::decode(identity, span, &head[..read]))
}
