//! Why a call at the door was not done: for the door, and for the calls that wait behind it.

use dunlin_protocol::wire::{self, ErrorCode};

use crate::limits::OVERLOADED_RETRY_MS;
use crate::refusal::Refusal;

pub(super) const OVERLOADED: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too much is under way, at the door or behind it",
    OVERLOADED_RETRY_MS,
);

/// Why a request at the door was not done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// What a client would be told; the code says what helps.
    #[error("{}", .0.message)]
    Refused(wire::Error),
    /// The engine is stopping, or has stopped. What was asked may have been done all the same.
    #[error("the engine is stopping")]
    Stopped,
}

impl DoorError {
    pub(super) fn of(refusal: Refusal) -> DoorError {
        DoorError::Refused(refusal.into())
    }
}
