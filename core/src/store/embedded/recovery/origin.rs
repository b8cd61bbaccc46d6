//! Whether a file is of this store: of a life that it had, and cleaned as often as it should be.

use super::super::config::OpenError;
use super::super::disk::read_all;
use super::super::recovery::Recovery;
use super::super::segment::frame::FrameHead;
use super::super::segment::{SegmentHead, Span};
use super::damage::{Damage, DamageKind};
use super::extent::Row;
use super::life::{self, FoundLives, Lives};

impl Recovery<'_> {
    /// Reads whose life it was last.
    pub(in super::super) fn load_lives(&mut self) -> Result<(), OpenError> {
        if self.is_set_aside(life::NAME) {
            return Ok(());
        }
        let found = Lives::load(self.watch.open(life::NAME), &self.identity);
        self.lives =
            found.map_err(OpenError::io("can't read", self.disk.path().join(life::NAME)))?;
        if self.lives == FoundLives::Damaged {
            self.report.damage.push(Damage::of_file(life::NAME, DamageKind::Unreadable));
        }
        Ok(())
    }

    /// Whether `EXTENT` was written in the last life of this store, or before it: if not, it is an earlier
    /// state, or of another copy.
    pub(super) fn check_writer(&mut self) {
        let written_by = self.extent.bound.written_by;
        match self.lives {
            FoundLives::Known(lives) if !lives.allows(written_by) => self.lose_extent(),
            FoundLives::Known(_) | FoundLives::Missing | FoundLives::Damaged => {}
        }
    }

    /// Whether this store had such a life, as far as that is known.
    pub(in super::super) fn knows_life(&self, life: u64) -> bool {
        let is_bound = [0, self.extent.bound.life].contains(&life);
        let is_row = || self.extent.sealed().any(|(_, row)| row.life == life);
        !self.extent_is_whole || self.is_last_life(life) || is_bound || is_row()
    }

    /// Whether it is the last life of this store, in which things may have been done that `EXTENT` does not know:
    /// that is written before any of them. If a start was interrupted, it may have left them.
    fn is_last_life(&self, life: u64) -> bool {
        let is_last = match self.lives {
            FoundLives::Known(lives) => [lives.life, lives.served].contains(&life),
            FoundLives::Missing | FoundLives::Damaged => false,
        };
        is_last || life == self.extent.bound.written_by
    }

    /// Whether a cleaned file was cleaned by this store. (Of one that was cleaned less often than it is known
    /// that says enough.)
    pub(in super::super) fn knows_cleaner(&self, head: &SegmentHead) -> bool {
        let (span, generation, life) = (head.span(), head.generation(), head.life);
        if !self.extent_is_whole || life == 0 {
            return true;
        }
        let rows = (span.first..=span.last).filter_map(|number| self.extent.row(number));
        let known: Vec<&Row> = rows.filter(|row| row.generation >= generation).collect();
        let is_of = |row: &&Row| {
            row.generation > generation || row.cleaned_by == life || row.cleaned_by == 0
        };
        if known.is_empty() { self.is_last_life(life) } else { known.iter().all(is_of) }
    }

    /// Passes over a file that is what it was before it was cleaned last, or of another copy of this store.
    pub(super) fn check_origin(
        &mut self,
        span: Span,
        head: Option<SegmentHead>,
    ) -> Result<(), OpenError> {
        let generation = self.generation_of(span, head)?;
        let rows = |recovery: &Self| -> Vec<(u32, Row)> {
            let numbers = span.first..=span.last;
            numbers.filter_map(|number| Some((number, *recovery.extent.row(number)?))).collect()
        };
        let known = rows(self).iter().map(|(_, row)| row.generation).max().unwrap_or(0);
        // Something in it may have been erased since, by an erasure that was cleaned away as well.
        if generation.is_some_and(|generation| generation < known) {
            self.refuse(span, DamageKind::Outdated);
            return Ok(());
        }
        let is_own = match head.filter(|head| head.life != 0) {
            Some(head) if head.cleaned.is_none() => {
                self.head_lives.insert(head.number, head.life);
                self.began_here(&head)?
            }
            Some(head) => self.knows_cleaner(&head),
            None => true,
        };
        if !is_own {
            self.refuse(span, DamageKind::OtherCopy);
            return Ok(());
        }
        let Some(generation) = generation else { return Ok(()) };
        let cleaned_by = head.map_or(0, |head| head.life);
        for (number, row) in rows(self).into_iter().filter(|(_, row)| row.generation < generation) {
            self.extent.set_row(number, Row { generation, cleaned_by, ..row });
        }
        Ok(())
    }

    /// Whether a segment was begun by this store, and not by another copy of it.
    pub(super) fn began_here(&mut self, head: &SegmentHead) -> Result<bool, OpenError> {
        let (number, bound) = (head.number, self.extent.bound);
        if !self.extent_is_whole {
            return Ok(!self.overrules_durable(head)?);
        }
        if let Some(row) = self.extent.row(number).copied() {
            return Ok(row.life == 0 || row.life == head.life);
        }
        if number == bound.segment {
            return Ok(bound.life == 0 || bound.life == head.life);
        }
        if number > bound.segment {
            return Ok(self.is_last_life(head.life));
        }
        Ok(self.knows_life(head.life))
    }

    /// Whether the segments before one have more batches than the one that it may overrule.
    fn overrules_durable(&self, head: &SegmentHead) -> Result<bool, OpenError> {
        if self.extent_is_whole && head.first_batch < self.extent.bound.next_batch {
            return Ok(true);
        }
        let before = self.files.iter().rfind(|span| span.last < head.number);
        let Some(&span) = before else { return Ok(false) };
        if let Some(run) = self.run_of(span.last) {
            let is_end = run.segments().1 == span.last;
            return Ok(is_end && head.first_batch.saturating_add(1) < run.next_batch());
        }
        if span.first != span.last {
            return Ok(false);
        }
        let io = OpenError::io("can't read", self.disk.path().join(span.name()));
        let content =
            self.watch.open(&span.name()).and_then(|file| read_all(&*file)).map_err(io)?;
        let mark = self.identity.mark(span.first);
        Ok(FrameHead::find(mark, &content, head.first_batch.saturating_add(1)).is_some())
    }

    /// How often a file was cleaned; `None` if both its headers are lost, which is told.
    pub(super) fn generation_of(
        &self,
        span: Span,
        head: Option<SegmentHead>,
    ) -> Result<Option<u32>, OpenError> {
        if let Some(head) = head {
            return Ok(Some(head.generation()));
        }
        let rows = (span.first..=span.last).filter_map(|number| self.extent.row(number));
        if rows.map(|row| row.generation).max().unwrap_or(0) == 0 {
            return Ok(Some(0));
        }
        Ok(match self.open_cleaned(span)? {
            Some(cleaned) if cleaned.is_guessed() => None,
            Some(cleaned) => Some(cleaned.cleaned().generation),
            None => Some(0),
        })
    }

    /// The life in which a segment was begun, by `EXTENT` or by its header; 0 if neither says so.
    pub(in super::super) fn life_of(&self, number: u32) -> u64 {
        let of_header = self.head_lives.get(&number).copied();
        match self.extent.life_of(number) {
            life if life != 0 && self.extent_is_whole => life,
            life => of_header.unwrap_or(life),
        }
    }
}
