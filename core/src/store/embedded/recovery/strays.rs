//! Files that are called like segments and are none: somebody's hand has put them there.
//!
//! A file that holds several segments takes the place of theirs, which are removed once it has its name.
//! So before that is believed of a name it is looked whether the file is what cleaning has written, and
//! whole. If it is not, it gets another name, under which it can be looked at, and the files that it
//! seemed to take the place of stay.

use std::collections::BTreeSet;

use super::super::cleaning::file::open_if_cleaned;
use super::super::config::OpenError;
use super::super::segment::Span;
use super::Recovery;
use super::damage::{Damage, DamageKind};
use super::inventory::read_head;

/// What is added to the name of a file that is set aside.
const STRAY_SUFFIX: &str = ".stray";

/// A file whose header can't be read may be a segment all the same, and later ones must have higher numbers.
/// So many numbers above what is known it may have: failed segments leave numbers out, each attempt one. (A
/// number costs 64 bytes in `EXTENT`.)
const NUMBERS_SKIPPED_MAX: u32 = 65_536;

impl Recovery<'_> {
    /// Sets aside the files that seem to hold several segments and do not. Gives back the names that
    /// stay.
    pub(super) fn set_strays_aside(&mut self, names: &[String]) -> Result<Vec<String>, OpenError> {
        let mut kept = names.to_vec();
        let spans: Vec<Span> = names.iter().filter_map(|name| Span::of_name(name)).collect();
        for &span in spans.iter().filter(|span| span.first < span.last) {
            let covers = spans.iter().any(|other| *other != span && span.covers(*other));
            if self.holds_segments(span, covers)? {
                continue;
            }
            let name = span.name();
            let aside = format!("{name}{STRAY_SUFFIX}");
            let renamed = self.disk.rename(&name, &aside);
            renamed.map_err(OpenError::io("can't rename", self.disk.path().join(&name)))?;
            kept.retain(|kept| *kept != name);
            self.report.damage.push(Damage::of_file(aside, DamageKind::Stray));
        }
        Ok(kept)
    }

    /// Whether a file was written by cleaning, for these segments. If their files are there as well,
    /// nothing of it is needed that is not whole.
    fn holds_segments(&self, span: Span, covers_others: bool) -> Result<bool, OpenError> {
        let io = |doing| OpenError::io(doing, self.disk.path().join(span.name()));
        let file = self.disk.open(&span.name()).map_err(io("can't open"))?;
        match open_if_cleaned(&self.identity, &file, span) {
            Ok(Some(cleaned)) if covers_others => {
                Ok(cleaned.heads_are_whole() && cleaned.guide_is_whole())
            }
            Ok(Some(cleaned)) => Ok(cleaned.heads_are_whole() || cleaned.cleaned().chunks > 0),
            Ok(None) => Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(false),
            Err(error) => Err(io("can't read")(error)),
        }
    }

    /// The newest segment of which there is a file. A number far beyond all that is known counts only if
    /// its file says so, or a stray name would use the numbers up.
    pub(super) fn newest_named(&self, known: u32) -> Result<u32, OpenError> {
        let mut newest = known;
        for span in &self.files {
            if span.last <= newest.saturating_add(NUMBERS_SKIPPED_MAX) || self.is_ours(*span)? {
                newest = newest.max(span.last);
            }
        }
        Ok(newest)
    }

    fn is_ours(&self, span: Span) -> Result<bool, OpenError> {
        let io = |doing| OpenError::io(doing, self.disk.path().join(span.name()));
        let file = self.disk.open(&span.name()).map_err(io("can't open"))?;
        let head = read_head(&*file, &self.identity, span.first).map_err(io("can't read"))?;
        Ok(matches!(head, Ok(Some(_))))
    }

    /// The numbers above the newest of which there are files nevertheless: no segment takes their place.
    pub(super) fn taken_above(&self, newest: u32) -> BTreeSet<u32> {
        let above = self.files.iter().filter(|span| span.last > newest);
        above.flat_map(|span| span.first..=span.last).collect()
    }
}
