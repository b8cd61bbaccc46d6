//! Places in the feed: an address of a record, which is the same for ever.

use bytes::Bytes;

use crate::store::feed::FeedPosition;
use crate::store::{Malformed, StoreError};

use super::super::segment::files::Location;

/// The bytes of a position: segment and offset, big-endian, so that what is further is greater.
pub(super) const POSITION_BYTES: usize = 8;

/// A position for whoever reads the feed.
pub(super) fn encode(place: Location) -> FeedPosition {
    FeedPosition(Bytes::copy_from_slice(&to_bytes(place)))
}

/// Its bytes.
pub(super) fn to_bytes(place: Location) -> [u8; POSITION_BYTES] {
    (u64::from(place.segment) << 32 | u64::from(place.offset)).to_be_bytes()
}

/// From its bytes.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Location> {
    let number = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(Location { segment: (number >> 32) as u32, offset: number as u32 })
}

/// The place of a position, which is not behind `end`.
pub(super) fn decode(position: &FeedPosition, end: Location) -> Result<Location, StoreError> {
    let place = from_bytes(&position.0).filter(|place| *place <= end);
    place.ok_or(StoreError::Malformed(Malformed::Position))
}
