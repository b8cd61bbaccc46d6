//! Reasons and codes as docs/protocol.md writes them: what an operator finds in the log, a developer
//! finds in the document.

use dunlin_protocol::wire::{CloseReason, ErrorCode};

/// `SLOW_CONSUMER`, say.
pub(crate) fn reason_name(reason: CloseReason) -> &'static str {
    without_kind(reason.as_str_name(), "CLOSE_REASON_")
}

/// `WRONG_CREDENTIALS`, say.
pub(crate) fn code_name(code: ErrorCode) -> &'static str {
    without_kind(code.as_str_name(), "ERROR_CODE_")
}

/// In the .proto files a name begins with what it is a name of.
fn without_kind(name: &'static str, kind: &str) -> &'static str {
    name.strip_prefix(kind).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

    #[test]
    fn names_are_those_of_the_document() {
        let reasons = (1..1000).filter_map(|value| CloseReason::try_from(value).ok());
        let codes = (1..1000).filter_map(|value| ErrorCode::try_from(value).ok());
        let names: Vec<_> = reasons.map(reason_name).chain(codes.map(code_name)).collect();
        assert!(names.contains(&"SLOW_CONSUMER") && names.contains(&"WRONG_CREDENTIALS"));
        for name in names {
            assert!(DOCUMENT.contains(&format!("`{name}`")), "{name}");
        }
    }
}
