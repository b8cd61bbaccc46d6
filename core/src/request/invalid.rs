//! What is wrong with a request, and the checks that several requests share.

use dunlin_protocol::LogId;
use dunlin_protocol::limits::TYPE_BYTES_MAX;
use dunlin_protocol::wire::ErrorCode;

/// A request that can't be taken: `field` is at fault, and why. A client is told `code`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidRequest {
    /// The field, as the .proto files name it.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
    /// `INVALID_ARGUMENT`, or a code that says more.
    pub code: ErrorCode,
}

pub(super) fn invalid(field: &'static str, reason: impl Into<String>) -> InvalidRequest {
    InvalidRequest { field, reason: reason.into(), code: ErrorCode::InvalidArgument }
}

/// A content that is not what its type says.
pub(super) fn invalid_content(reason: impl Into<String>) -> InvalidRequest {
    InvalidRequest { code: ErrorCode::ContentInvalid, ..invalid("content", reason) }
}

/// What may be the id of a conversation.
pub(super) fn checked_conversation(bytes: &[u8]) -> Result<LogId, InvalidRequest> {
    LogId::from_wire(bytes).map_err(|error| invalid("conversation_id", error.to_string()))
}

pub(super) fn checked_type(field: &'static str, value: &str) -> Result<(), InvalidRequest> {
    checked_ascii(field, value, TYPE_BYTES_MAX)
}

pub(super) fn checked_ascii(
    field: &'static str,
    value: &str,
    bytes_max: usize,
) -> Result<(), InvalidRequest> {
    at_most(field, value, bytes_max)?;
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid(field, "visible ASCII is allowed"));
    }
    Ok(())
}

pub(super) fn at_most(
    field: &'static str,
    value: &str,
    bytes_max: usize,
) -> Result<(), InvalidRequest> {
    if value.len() > bytes_max {
        return Err(invalid(field, format!("{} bytes of at most {bytes_max}", value.len())));
    }
    Ok(())
}

pub(super) fn or_default(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}
