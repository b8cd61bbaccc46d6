//! Files that are not what their names say: somebody's hand has put them there, or the medium has changed
//! them.
//!
//! A file that holds several segments takes the place of theirs, which are removed once it has its name. So
//! before that is believed of a name it is looked whether the file is what cleaning has written, and of each
//! file under it whether it is what was copied. What is neither gets another name, under which it can be
//! looked at; what the disk can't read stays where it is.

use std::collections::BTreeSet;

use super::super::cleaning::file::{CleanedFile, open_if_cleaned};
use super::super::config::OpenError;
use super::super::disk::read_all;
use super::super::index::run_segments;
use super::super::segment::frame::used_bytes;
use super::super::segment::{Span, UNFINISHED_SUFFIX, segment_name};
use super::damage::{Damage, DamageKind};
use super::inventory::read_head;
use super::{Recovery, extent, life, told, torn};

/// What is added to the name of a file that is set aside; a number follows if there is such a name.
const STRAY_SUFFIX: &str = ".stray";

/// A file whose header can't be read may be a segment all the same, and later ones must have higher numbers.
/// So many numbers above what is known it may have: failed segments leave numbers out, each attempt one. (A
/// number costs 64 bytes in `EXTENT`.)
const NUMBERS_SKIPPED_MAX: u32 = 65_536;

impl Recovery<'_> {
    /// Sets aside folders that are called like files of a store.
    pub(super) fn set_folders_aside(&mut self) -> Result<(), OpenError> {
        let folders = self.disk.folders();
        let folders = folders.map_err(OpenError::io("can't list", self.disk.path()))?;
        self.names.extend(folders.iter().cloned());
        for name in folders {
            // What is written there is written under the other name first.
            let file = name.strip_suffix(UNFINISHED_SUFFIX).unwrap_or(&name);
            let is_ours = Span::of_name(file).is_some()
                || run_segments(file).is_some()
                || [extent::NAME, told::NAME, life::NAME].contains(&file);
            if is_ours {
                self.set_aside(name);
            }
        }
        Ok(())
    }

    /// A file gets a name that no other has when all is in order.
    pub(super) fn set_aside(&mut self, name: String) {
        let numbered = (2..).map(|number: u64| format!("{name}{STRAY_SUFFIX}.{number}"));
        let mut free = std::iter::once(format!("{name}{STRAY_SUFFIX}")).chain(numbered);
        let free = free.find(|free| !self.names.contains(free));
        let aside = free.expect("there are more numbers than names");
        self.names.insert(aside.clone());
        self.report.damage.push(Damage::of_file(aside.clone(), DamageKind::Stray));
        self.asides.push((name, aside));
    }

    /// Whether what has a name is going to have another one.
    pub(super) fn is_set_aside(&self, name: &str) -> bool {
        self.asides.iter().any(|(aside, _)| aside == name)
    }

    /// A file of segments stays as it is, and is not read.
    pub(super) fn leave_unread(&mut self, span: Span) {
        self.left.push(span);
        self.refuse(span, DamageKind::Unread);
    }

    /// Finds the files of segments that count.
    pub(super) fn choose_files(&mut self, names: &[String]) -> Result<(), OpenError> {
        let mut spans: Vec<Span> = names.iter().filter_map(|name| Span::of_name(name)).collect();
        // The longest of those that begin together comes first.
        spans.sort_unstable_by_key(|span| (span.first, std::cmp::Reverse(span.last)));
        for span in spans.clone().into_iter().filter(|span| span.first < span.last) {
            if spans.contains(&span) {
                self.judge_row(span, &mut spans)?;
            }
        }
        self.files = spans;
        Ok(())
    }

    /// Decides about a file that is called like several segments, and about those under it.
    fn judge_row(&mut self, span: Span, spans: &mut Vec<Span>) -> Result<(), OpenError> {
        let under: Vec<Span> =
            spans.iter().copied().filter(|other| *other != span && span.covers(*other)).collect();
        let Some(cleaned) = self.open_row(span)? else {
            spans.retain(|other| *other != span);
            // Without files under it, it may be all that is left of its segments.
            let is_known = (span.first..=span.last).all(|number| self.extent.row(number).is_some());
            if under.is_empty() && is_known && self.watch.is_unread(&span.name()) {
                self.leave_unread(span);
            } else {
                self.set_aside(span.name());
            }
            return Ok(());
        };
        let is_unread = self.watch.is_unread(&span.name());
        // What was cleaned was sealed before, and had a row; a row of files that ends elsewhere is of another copy.
        let was_sealed = self.extent.row(span.last).is_some();
        let is_whole = cleaned.heads_are_whole()
            && cleaned.guide_is_whole()
            && !is_unread
            && was_sealed
            && self.fits_rows(&cleaned);
        if !under.is_empty() && !is_whole && self.hold_all_of(&cleaned, &under)? {
            spans.retain(|other| *other != span);
            self.set_aside(span.name());
            return Ok(());
        }
        for other in under {
            spans.retain(|kept| *kept != other);
            let name = other.name();
            if is_whole && self.was_copied(&cleaned, other)? {
                self.unneeded.push(name);
            } else if self.watch.is_unread(&name) {
                self.left.push(other);
                self.report.damage.push(Damage::of_file(name, DamageKind::Unread));
            } else {
                self.set_aside(name);
            }
        }
        Ok(())
    }

    /// Opens a file of several segments, if cleaning has written it.
    fn open_row(&self, span: Span) -> Result<Option<CleanedFile>, OpenError> {
        let io = |doing| OpenError::io(doing, self.disk.path().join(span.name()));
        let file = self.watch.open(&span.name()).map_err(io("can't open"))?;
        match open_if_cleaned(&self.identity, &file, span) {
            Ok(cleaned) => Ok(cleaned.filter(|cleaned| {
                let says_something = !cleaned.is_guessed() || cleaned.cleaned().chunks > 0;
                says_something && (cleaned.is_guessed() || self.knows_cleaner(&cleaned.head))
            })),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(io("can't read")(error)),
        }
    }

    /// Whether a cleaned file has the batches that `EXTENT` knows of its segments.
    fn fits_rows(&self, cleaned: &CleanedFile) -> bool {
        let span = cleaned.span();
        let begins = self.extent.row(span.first).map(|row| row.first_batch);
        let ends = self.extent.row(span.last).map(|row| row.next_batch);
        begins.is_none_or(|first| first == cleaned.head.first_batch)
            && ends.is_none_or(|next| next == cleaned.cleaned().next_batch)
    }

    /// Whether there is a file of each segment of which a cleaned file holds something, that is one of it.
    fn hold_all_of(&self, cleaned: &CleanedFile, under: &[Span]) -> Result<bool, OpenError> {
        let entries = cleaned.entries();
        let io = OpenError::io("can't read", self.disk.path().join(cleaned.span().name()));
        let held: BTreeSet<u32> = match entries.map_err(io)? {
            Some(entries) => entries.iter().map(|entry| entry.place.segment).collect(),
            None => (cleaned.span().first..=cleaned.span().last).collect(),
        };
        let mut good = Vec::new();
        for &span in under {
            if self.is_ours(span)? {
                good.push(span);
            }
        }
        Ok(held.into_iter().all(|number| good.iter().any(|span| span.holds(number))))
    }

    /// Whether a file is one of those that a cleaned file was copied from: it is what its name says, it was
    /// cleaned less often, and its batches are among those of the other.
    fn was_copied(&self, cleaned: &CleanedFile, span: Span) -> Result<bool, OpenError> {
        let io = OpenError::io("can't read", self.disk.path().join(span.name()));
        let file = self.watch.open(&span.name()).map_err(&io)?;
        let Ok(head) = read_head(&*file, &self.identity, span).map_err(&io)? else {
            return Ok(false);
        };
        let Some(head) = head else {
            // Opened for a batch that failed.
            let content = read_all(&*file).map_err(io)?;
            return Ok(used_bytes(&content) == 0 && span.first == span.last);
        };
        let whole = cleaned.cleaned();
        let batches = cleaned.head.first_batch..=whole.next_batch;
        let row = self.extent.row(span.first).map(|row| row.first_batch);
        let begins = row.or((span.first == cleaned.span().first).then_some(*batches.start()));
        Ok(head.generation() < whole.generation
            && batches.contains(&head.first_batch)
            && begins.is_none_or(|first| first == head.first_batch)
            && self.knows_life(head.life)
            && !self.watch.is_unread(&span.name()))
    }

    /// A file of one segment has nothing in it that counts. It is removed if it is known that nothing of it
    /// was ever acknowledged; otherwise it stays, under another name.
    pub(super) fn let_go(&mut self, number: u32, content: &[u8], was_begun: bool) {
        let name = segment_name(number);
        let used = used_bytes(content);
        if self.watch.is_unread(&name) {
            return self.leave_unread(Span::one(number));
        }
        let can_be_torn = was_begun || torn::can_be_begun(&self.identity, number, content);
        if used == 0 || (self.extent_is_whole && can_be_torn) {
            let count = content.iter().filter(|byte| **byte != 0).count();
            self.report.unfinished_bytes += if was_begun { 0 } else { count as u64 };
            self.unneeded.push(name);
        } else {
            self.pass_over(Span::one(number));
            self.set_aside(name);
        }
    }

    /// The newest segment of which there is a file. A number far beyond all that is known counts only if
    /// its file says so, or a stray name would use the numbers up.
    pub(super) fn newest_named(&self, known: u32) -> Result<u32, OpenError> {
        let mut newest = known;
        for span in self.files.iter().chain(&self.left) {
            if span.last <= newest.saturating_add(NUMBERS_SKIPPED_MAX) || self.is_ours(*span)? {
                newest = newest.max(span.last);
            }
        }
        Ok(newest)
    }

    fn is_ours(&self, span: Span) -> Result<bool, OpenError> {
        let io = |doing| OpenError::io(doing, self.disk.path().join(span.name()));
        let file = self.watch.open(&span.name()).map_err(io("can't open"))?;
        let head = read_head(&*file, &self.identity, span).map_err(io("can't read"))?;
        Ok(matches!(head, Ok(Some(_))))
    }

    /// The numbers above the newest of which there are files nevertheless: no segment takes their place.
    pub(super) fn taken_above(&self, newest: u32) -> BTreeSet<u32> {
        let above = self.files.iter().chain(&self.left).filter(|span| span.last > newest);
        above.flat_map(|span| span.first..=span.last).collect()
    }
}
