//! Moments: a place in the order of writing, and in which life of the store its segment was begun.
//!
//! Places alone would not do. An older copy of a folder that is put back goes on writing at places that were
//! taken before, and a moment of the other history would look like one of this. So a segment is known by
//! its number and by the random number of the process that began it (its *life*), which stands in
//! `EXTENT`; a segment that was sealed never grows, so a place behind its end was never seen by this
//! copy.

use crate::store::{Moment, StoreError};

use super::Shared;
use super::index::changed::End;
use super::segment::bytes::u64_at;
use super::segment::files::Location;

/// Segment and offset, 4 bytes each, and what tells the segment from others of its number.
const MOMENT_BYTES: usize = 16;

/// Before the first segment nothing was written, and no copy is older than that.
const BEGINNING: End = End { place: Location { segment: 0, offset: 0 }, life: 0 };

/// The moment of now: all that was answered as stored is before it.
pub(super) fn now(shared: &Shared) -> Moment {
    encode(shared, shared.index.end_in_memory().unwrap_or_else(|| end_in_files(shared)))
}

/// The place of a moment: whatever was written after it is there or behind.
pub(super) fn place_of(shared: &Shared, moment: &Moment) -> Result<Location, StoreError> {
    let (place, tag) = decode(moment).ok_or(StoreError::MomentUnknown)?;
    let end = shared.index.end_of_segment(place.segment);
    let end = end.or_else(|| end_of_older(shared, place.segment));
    let is_known = |end: &End| place <= end.place && tag == tag_of(shared, end.life);
    end.filter(is_known).map(|_| place).ok_or(StoreError::MomentUnknown)
}

/// The same, if its segment is in memory; `None` if that has to be looked up elsewhere.
pub(super) fn place_in_memory(shared: &Shared, moment: &Moment) -> Option<Location> {
    let (place, tag) = decode(moment)?;
    let end = shared.index.end_of_segment(place.segment)?;
    (place <= end.place && tag == tag_of(shared, end.life)).then_some(place)
}

/// Where the index files end; if nothing is known of the last one, at the beginning of all.
fn end_in_files(shared: &Shared) -> End {
    let last = shared.index.runs().last().map(|run| run.segments().1);
    let known = last.and_then(|segment| end_of_older(shared, segment));
    known.unwrap_or(BEGINNING)
}

/// Where a segment ends that has an index file; `None` if there is none of this number.
fn end_of_older(shared: &Shared, segment: u32) -> Option<End> {
    if segment == BEGINNING.place.segment {
        return Some(BEGINNING);
    }
    let row = shared.extent.row(segment)?;
    Some(End { place: Location { segment, offset: row.end as u32 }, life: row.life })
}

/// A moment of another epoch is none of this store's either.
fn tag_of(shared: &Shared, life: u64) -> u64 {
    shared.identity.epoch ^ life
}

/// The moment at which the index ends there.
pub(super) fn encode(shared: &Shared, end: End) -> Moment {
    let mut bytes = [0; MOMENT_BYTES];
    bytes[..4].copy_from_slice(&end.place.segment.to_be_bytes());
    bytes[4..8].copy_from_slice(&end.place.offset.to_be_bytes());
    bytes[8..].copy_from_slice(&tag_of(shared, end.life).to_le_bytes());
    Moment::from_bytes(&bytes).expect("it is half as long as it may be")
}

fn decode(moment: &Moment) -> Option<(Location, u64)> {
    let bytes: &[u8; MOMENT_BYTES] = moment.as_bytes().try_into().ok()?;
    let number = |at: usize| bytes[at..at + 4].try_into().map(u32::from_be_bytes);
    let place = Location { segment: number(0).ok()?, offset: number(4).ok()? };
    Some((place, u64_at(bytes, 8)))
}
