//! Overwriting what was erased, where it is.
//!
//! Everything else in a segment stays as it was written. So a reader that meets a record which is not
//! whole may have read it while it was overwritten: it waits for whoever changes records in their
//! places, and reads once more before it calls it damage.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::cleaning::file::open_if_cleaned;
use super::config::OpenError;
use super::disk::{Disk, DiskFile, read_all};
use super::identity::Identity;
use super::recovery::Recovery;
use super::recovery::scan::{ErasingFrame, erasing_frames};
use super::segment::Span;
use super::segment::erasure::Erasure;
use super::segment::files::{Location, Segments};

/// Overwrites entries, durably. What was cleaned away is gone anyway. It can be done again.
pub(super) fn overwrite(
    disk: &dyn Disk,
    segments: &Segments,
    identity: &Identity,
    erasures: &[Erasure],
) -> io::Result<()> {
    if erasures.is_empty() {
        return Ok(());
    }
    let mut rewrites = segments.rewrites();
    rewrites.settle(disk)?;
    let mut written: Vec<Arc<dyn DiskFile>> = Vec::new();
    for erasure in erasures {
        let Some((file, offset)) = segments.resolve(erasure.target)? else { continue };
        let mark = identity.mark(erasure.target.segment);
        // Also if the rest fails: a copy may have been made of a part of it.
        rewrites.rewritten(erasure.target);
        file.write_at(&erasure.erased_record(mark), offset)?;
        if !written.iter().any(|other| Arc::ptr_eq(other, &file)) {
            written.push(file);
        }
    }
    written.iter().try_for_each(|file| file.sync())
}

impl Recovery<'_> {
    /// Does again what was erased in segments that have no index file: before these are read, since a
    /// crash may have left half of it.
    pub(super) fn erase_again(&self, first_batches: &BTreeMap<u32, u64>) -> Result<(), OpenError> {
        for &span in &self.files {
            if span.first != span.last || self.run_of(span.first).is_some() {
                continue;
            }
            let next_first = first_batches.range(span.first + 1..).map(|(_, first)| *first).min();
            let erased = self.erase_again_in(span, next_first);
            erased.map_err(OpenError::io(
                "can't erase again in",
                self.disk.path().join(span.name()),
            ))?;
        }
        Ok(())
    }

    fn erase_again_in(&self, span: Span, next_first: Option<u64>) -> io::Result<()> {
        let file = self.watch.open(&span.name())?;
        let content = read_all(&*file)?;
        let frames = erasing_frames(self.identity.mark(span.first), &content, next_first);
        // What is overwritten must be known from the disk, and not only from the page cache.
        for ErasingFrame { range, .. } in &frames {
            file.write_at(&content[range.clone()], range.start as u64)?;
        }
        if !frames.is_empty() {
            file.sync()?;
        }
        for erasure in frames.iter().flat_map(|frame| &frame.erasures) {
            let mark = self.identity.mark(erasure.target.segment);
            if let Some((file, offset)) = self.resolve(erasure.target)? {
                file.write_at(&erasure.erased_record(mark), offset)?;
                file.sync()?;
            }
        }
        Ok(())
    }

    /// The file that holds a record; `None` if it is lost or was cleaned away.
    fn resolve(&self, target: Location) -> io::Result<Option<(Arc<dyn DiskFile>, u64)>> {
        let Some(span) = self.files.iter().find(|span| span.holds(target.segment)) else {
            return Ok(None);
        };
        let file = self.watch.open(&span.name())?;
        match open_if_cleaned(&self.identity, &file, *span)? {
            Some(cleaned) => Ok(cleaned.resolve(target)?.map(|offset| (cleaned.file, offset))),
            // Beyond its end, a file that was cut short has lost it.
            None if u64::from(target.offset) >= file.bytes()? => Ok(None),
            None => Ok(Some((file, u64::from(target.offset)))),
        }
    }
}
