//! Why a request is not done: what goes into its `Error`, and the refusals that more than one
//! machine has to tell.

use dunlin_protocol::wire::{Error, ErrorCode};

use crate::limits::UNAVAILABLE_RETRY_MS;
use crate::store::StoreError;

/// Why a request is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The code, which says what the client should do.
    pub code: ErrorCode,
    /// For the developer who reads it.
    pub message: &'static str,
    /// When to try again; 0 leaves it to the client.
    pub retry_after_ms: u32,
}

impl Refusal {
    /// A refusal that trying again does not help.
    pub const fn new(code: ErrorCode, message: &'static str) -> Refusal {
        Refusal { code, message, retry_after_ms: 0 }
    }

    /// A refusal for now.
    pub const fn retry(code: ErrorCode, message: &'static str, retry_after_ms: u32) -> Refusal {
        Refusal { code, message, retry_after_ms }
    }
}

/// The store has answered another question than was asked, or an entry is none.
pub(crate) const INTERNAL: Refusal = Refusal::new(ErrorCode::Internal, "a defect of the server");

pub(crate) const DATA_CORRUPT: Refusal =
    Refusal::new(ErrorCode::DataCorrupt, "a stored entry is damaged");

/// The store can't do it now, or nobody knows whether it did.
pub(crate) const STORE_UNAVAILABLE: Refusal = Refusal::retry(
    ErrorCode::StoreUnavailable,
    "the store does not work now",
    UNAVAILABLE_RETRY_MS,
);

pub(crate) const NOT_LOGGED_IN: Refusal = Refusal::new(ErrorCode::NotLoggedIn, "log in first");

pub(crate) const NEEDS_CONNECTION: Refusal =
    Refusal::new(ErrorCode::NotLoggedIn, "only who logs in on a connection may ask this");

pub(crate) const NO_SUCH_CONVERSATION: Refusal =
    Refusal::new(ErrorCode::NoSuchConversation, "no conversation of yours has this id");

pub(crate) const NO_SUCH_ENTRY: Refusal =
    Refusal::new(ErrorCode::NoSuchEntry, "the conversation has no such entry");

/// No client is told this: whoever asks since a moment answers as after a change of the epoch.
pub(crate) const MOMENT_UNKNOWN: Refusal =
    Refusal::new(ErrorCode::Internal, "the store does not know this moment");

/// What to tell a client when the store can't do it.
pub(crate) fn store_refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::Unavailable { .. } => STORE_UNAVAILABLE,
        StoreError::Corrupt { .. }
        | StoreError::CorruptRegister { .. }
        | StoreError::CorruptKey { .. } => DATA_CORRUPT,
        StoreError::MomentUnknown => MOMENT_UNKNOWN,
        StoreError::Malformed(_) | StoreError::Mismatched => INTERNAL,
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error {
            code: refusal.code.into(),
            message: refusal.message.into(),
            retry_after_ms: refusal.retry_after_ms,
            field: String::new(),
            setting: None,
        }
    }
}
