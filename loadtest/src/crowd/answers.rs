//! What a server says, as far as it means the same to all crowds.

use dunlin_protocol::wire::{Entry, Error, entry};
use dunlin_protocol::{ErrorClass, class};

use crate::audit::{Fault, Item};
use crate::wire::MessageEntry;

/// How long to wait with a retry if the server does not say.
const RETRY_AFTER_MS: u32 = 50;

/// After how long to ask again; `None` if the answer would be the same.
pub(crate) fn retry_after_ms(error: &Error) -> Option<u32> {
    let is_for_now = class(error.code) == ErrorClass::NotNow;
    let told = Some(error.retry_after_ms).filter(|&told| told > 0);
    is_for_now.then(|| told.unwrap_or(RETRY_AFTER_MS))
}

/// An answer that is not only for now, as the report names it.
pub(crate) fn refusal(user: u32, error: &Error) -> Fault {
    let message = match error.field.as_str() {
        "" => error.message.clone(),
        field => format!("{}, field {field}", error.message),
    };
    Fault::Refused { user, code: error.code, message }
}

/// What stands in a log.
pub(crate) enum Logged<'a> {
    Message(MessageEntry<'a>),
    Other(Item),
}

impl<'a> From<&'a Entry> for Logged<'a> {
    /// From an entry as prost decodes it.
    fn from(entry: &'a Entry) -> Logged<'a> {
        match &entry.body {
            Some(entry::Body::Message(message)) => Logged::Message(MessageEntry {
                seq: entry.seq,
                sender: entry.sender,
                message_id: &message.client_message_id,
                content: &message.content,
            }),
            Some(entry::Body::Void(_)) => Logged::Other(Item::Void),
            // Of a later version.
            None => Logged::Other(Item::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::wire::ErrorCode;

    use super::*;

    fn error(code: ErrorCode, retry_after_ms: u32) -> Error {
        Error { code: code.into(), retry_after_ms, ..Error::default() }
    }

    #[test]
    fn what_is_only_for_now_is_asked_again_after_a_while() {
        assert_eq!(retry_after_ms(&error(ErrorCode::Overloaded, 0)), Some(RETRY_AFTER_MS));
        assert_eq!(retry_after_ms(&error(ErrorCode::RateLimited, 700)), Some(700));
        assert_eq!(retry_after_ms(&error(ErrorCode::WrongCredentials, 700)), None);
    }
}
