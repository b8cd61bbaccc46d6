//! Request ids of what is not in anybody's queue. Those of messages and requests are below 2^60.

pub(crate) const HELLO: u64 = 1 << 60;
pub(crate) const LOGIN: u64 = HELLO + 1;
pub(crate) const SYNC: u64 = HELLO + 2;
pub(crate) const READ: u64 = HELLO + 3;

/// And beside it the number of a conversation, among those of its user.
pub(crate) const REPAIR: u64 = 1 << 61;

/// Which conversation is repaired by a request with this id.
pub(crate) fn repaired(request_id: u64) -> Option<u32> {
    request_id.checked_sub(REPAIR).and_then(|lane| u32::try_from(lane).ok())
}
