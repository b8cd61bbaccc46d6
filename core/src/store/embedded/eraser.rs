//! Overwriting what was erased, where it is.
//!
//! Everything else in a segment stays as it was written. So a reader that meets a record which is not
//! whole may have read it while it was overwritten: it waits for whoever changes records in their
//! places, and reads once more before it calls it damage.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::identity::Identity;
use super::record::Erasure;
use super::segments::Segments;

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
