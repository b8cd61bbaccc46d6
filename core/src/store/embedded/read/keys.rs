//! Entries by their dedupe keys.

use dunlin_protocol::LogId;

use crate::store::{DedupeKey, KeyedEntry, StoreError};

use super::super::Shared;
use super::super::segment::files::Location;
use super::super::segment::record::RecordHead;
use super::window::{HeadRead, read_head};

/// Finds the entry of a log that has a key.
pub(super) fn find_key(
    shared: &Shared,
    log: LogId,
    key: &DedupeKey,
) -> Result<Option<KeyedEntry>, StoreError> {
    let mut places = Vec::new();
    let hash = shared.identity.hash_key.of_message(log, key);
    shared.index.places_of_key(hash, &mut places)?;
    for place in places {
        match read_whole_head(shared, place)? {
            HeadRead::Whole(head) if head.log == log && head.key == Some(*key) => {
                return known(shared, log, &head);
            }
            HeadRead::Whole(_) | HeadRead::Gone => {}
            HeadRead::Damaged => return Err(StoreError::CorruptKey { log }),
        }
    }
    Ok(None)
}

/// An entry that has expired is not cleaned away at once.
fn known(shared: &Shared, log: LogId, head: &RecordHead) -> Result<Option<KeyedEntry>, StoreError> {
    let (seq, digest) = (head.state.seq, head.digest);
    let is_there = seq >= shared.index.state(log)?.floors.entries_from;
    Ok(is_there.then_some(KeyedEntry { seq, digest }))
}

/// A head that looks damaged may be about to be overwritten by its erased form.
fn read_whole_head(shared: &Shared, place: Location) -> Result<HeadRead, StoreError> {
    match read_head(shared, place)? {
        HeadRead::Damaged => {
            drop(shared.segments.rewrites());
            read_head(shared, place)
        }
        whole @ (HeadRead::Whole(_) | HeadRead::Gone) => Ok(whole),
    }
}
