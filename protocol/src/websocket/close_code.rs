//! Close codes: why a WebSocket ends, for whoever sees no more of it than its code.
//!
//! The Close frame of this protocol comes first and says more. Where the standard has a code for a reason it is
//! used; all others are in the range that is left to applications.

use crate::wire::CloseReason;

/// A code as it is on the wire.
pub type CloseCode = u16;

/// It has come to its end in good order.
pub const NORMAL: CloseCode = 1000;
/// The server goes down.
pub const GOING_AWAY: CloseCode = 1001;
/// What was said may not be said.
pub const PROTOCOL_ERROR: CloseCode = 1002;
/// A kind of message that the receiver has no use for: text.
pub const UNSUPPORTED: CloseCode = 1003;
/// The contents of a message are not what they should be.
pub const INVALID_CONTENTS: CloseCode = 1007;
/// A message is too large.
pub const TOO_LARGE: CloseCode = 1009;
/// The server failed.
pub const SERVER_ERROR: CloseCode = 1011;
/// There is no room now.
pub const TRY_AGAIN_LATER: CloseCode = 1013;

/// The reasons that have no code in the standard are at this one plus their number.
const FIRST_OF_OUR_OWN: CloseCode = 4000;

/// The code of a reason.
pub fn close_code(reason: CloseReason) -> CloseCode {
    match reason {
        CloseReason::Unspecified | CloseReason::PeerClosed => NORMAL,
        CloseReason::ServerDraining => GOING_AWAY,
        CloseReason::ProtocolViolation => PROTOCOL_ERROR,
        CloseReason::MalformedFrame => INVALID_CONTENTS,
        CloseReason::FrameTooLarge => TOO_LARGE,
        CloseReason::ServerError => SERVER_ERROR,
        CloseReason::Overloaded => TRY_AGAIN_LATER,
        CloseReason::PeerReset
        | CloseReason::IdleTimeout
        | CloseReason::HandshakeTimeout
        | CloseReason::LoginTimeout
        | CloseReason::WriteTimeout
        | CloseReason::SlowConsumer
        | CloseReason::TlsError
        | CloseReason::UnsupportedVersion
        | CloseReason::LoginFailed
        | CloseReason::Replaced
        | CloseReason::LoggedOut
        | CloseReason::AccountDisabled
        | CloseReason::RateLimited
        | CloseReason::Reconnected
        | CloseReason::FrameTimeout
        | CloseReason::UpgradeRefused => FIRST_OF_OUR_OWN + reason as i32 as CloseCode,
    }
}

/// The reason that a code of the server stands for; `None` if it is none that a server says.
pub fn close_reason(code: CloseCode) -> Option<CloseReason> {
    match code {
        NORMAL => Some(CloseReason::PeerClosed),
        GOING_AWAY => Some(CloseReason::ServerDraining),
        // A message of text is no less against the protocol for having a code of its own.
        PROTOCOL_ERROR | UNSUPPORTED => Some(CloseReason::ProtocolViolation),
        INVALID_CONTENTS => Some(CloseReason::MalformedFrame),
        TOO_LARGE => Some(CloseReason::FrameTooLarge),
        SERVER_ERROR => Some(CloseReason::ServerError),
        TRY_AGAIN_LATER => Some(CloseReason::Overloaded),
        own => {
            let number = own.checked_sub(FIRST_OF_OUR_OWN)?;
            let reason = CloseReason::try_from(i32::from(number)).ok()?;
            (close_code(reason) == own).then_some(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code_and_every_code_its_reason() {
        let mut codes = Vec::new();
        for number in 1..100 {
            let Ok(reason) = CloseReason::try_from(number) else { continue };
            let code = close_code(reason);
            assert_eq!(close_reason(code), Some(reason), "{code}");
            codes.push(code);
        }
        assert!(codes.len() >= 22);
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all, "two reasons have one code");
        for none in [0, 999, 1004, 1005, 1006, 1015, 3000, 4000, 4001, 4999] {
            assert_eq!(close_reason(none), None, "{none}");
        }
    }
}
