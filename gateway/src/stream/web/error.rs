//! Bytes that are no WebSocket, or none of this protocol.

use dunlin_protocol::websocket::HeaderError;
use dunlin_protocol::websocket::close_code::{
    CloseCode, INVALID_CONTENTS, PROTOCOL_ERROR, TOO_LARGE, UNSUPPORTED,
};
use dunlin_protocol::wire::CloseReason;

use super::upgrade::Refusal;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error("no upgrade: {0}")]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("a client has to mask what it says")]
    NotMasked,
    #[error("a message of text, where all are bytes")]
    Text,
    #[error("a piece that continues nothing, or a message within another")]
    Pieces,
    #[error("a message of {bytes} bytes or more, where {bytes_max} are allowed")]
    TooLarge { bytes: u64, bytes_max: u32 },
    #[error("a close with a code that nobody may send")]
    Close,
    #[error("a close with a text that is no UTF-8")]
    CloseText,
}

impl WebError {
    pub(crate) fn close_reason(&self) -> CloseReason {
        match self {
            WebError::Refused(_) => CloseReason::UpgradeRefused,
            WebError::TooLarge { .. } => CloseReason::FrameTooLarge,
            WebError::Header(_)
            | WebError::NotMasked
            | WebError::Text
            | WebError::Pieces
            | WebError::Close
            | WebError::CloseText => CloseReason::ProtocolViolation,
        }
    }

    /// The code of the last word. (A request that was refused has a response instead.)
    pub(super) fn close_code(&self) -> CloseCode {
        match self {
            WebError::TooLarge { .. } => TOO_LARGE,
            WebError::Text => UNSUPPORTED,
            WebError::CloseText => INVALID_CONTENTS,
            WebError::Refused(_)
            | WebError::Header(_)
            | WebError::NotMasked
            | WebError::Pieces
            | WebError::Close => PROTOCOL_ERROR,
        }
    }

    /// Whether frames can be said still, and so why it ends.
    pub(crate) fn leaves_words(&self) -> bool {
        match self {
            WebError::Refused(_) => false,
            WebError::Header(_)
            | WebError::NotMasked
            | WebError::Text
            | WebError::Pieces
            | WebError::TooLarge { .. }
            | WebError::Close
            | WebError::CloseText => true,
        }
    }
}
