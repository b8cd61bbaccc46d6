//! Renewing the refresh token on a connection that may live for longer than it.
//!
//! ```text
//!  Nothing ──► Due ──► Asked ──answer──► Due
//!               ▲        └──broken──► (at once)
//!               └─────────────────────────┘
//! ```
//! A renewal whose answer got lost is asked for again, however late: the server takes the old token until
//! somebody has used the new one.

/// Refresh tokens of which nobody has told how long they are good are renewed after this time.
const RENEWAL_MS: u64 = 24 * 60 * 60 * 1000;
/// When a renewal was refused, the next one is tried after this time.
const RENEWAL_RETRY_MS: u64 = 60 * 60 * 1000;

/// Where the renewal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// There is no token.
    Nothing,
    Due {
        at_ms: u64,
    },
    Asked {
        at_ms: u64,
    },
}

impl Renewal {
    pub(super) fn new() -> Renewal {
        Renewal::Nothing
    }

    /// New tokens came, of a session that ends after this time if it is not used.
    pub(super) fn renewed(&mut self, now_ms: u64, expires_in_s: u32) {
        *self = Renewal::Due { at_ms: now_ms + halfway_ms(expires_in_s) };
    }

    /// A login left the token as it is; but the session was used, and lives for so long from now on.
    pub(super) fn kept(&mut self, now_ms: u64, session_expires_in_s: u32) {
        if !self.is_due(now_ms) {
            *self = Renewal::Due { at_ms: now_ms + halfway_ms(session_expires_in_s) };
        }
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        match self {
            Renewal::Due { at_ms } => Some(*at_ms),
            Renewal::Nothing | Renewal::Asked { .. } => None,
        }
    }

    /// Whether it is time to ask for new tokens.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.due_ms().is_some_and(|at_ms| now_ms >= at_ms)
    }

    /// It is asked for.
    pub(super) fn asked(&mut self, now_ms: u64) {
        *self = Renewal::Asked { at_ms: now_ms };
    }

    pub(super) fn refused(&mut self, now_ms: u64) {
        *self = Renewal::Due { at_ms: now_ms + RENEWAL_RETRY_MS };
    }

    pub(super) fn disconnected(&mut self) {
        if let Renewal::Asked { at_ms } = *self {
            *self = Renewal::Due { at_ms };
        }
    }
}

/// Halfway: there is time enough to try again.
fn halfway_ms(expires_in_s: u32) -> u64 {
    match u64::from(expires_in_s) * 1000 {
        0 => RENEWAL_MS,
        lifetime_ms => lifetime_ms / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_halfway() {
        let mut renewal = Renewal::new();
        assert!(!renewal.is_due(u64::MAX));
        renewal.renewed(5000, 2000);
        assert_eq!(renewal.due_ms(), Some(1_005_000));
        assert!(!renewal.is_due(1_004_999) && renewal.is_due(1_005_000));
        renewal.asked(1_005_000);
        assert!(!renewal.is_due(u64::MAX));
        renewal.refused(1_006_000);
        assert_eq!(renewal.due_ms(), Some(1_006_000 + RENEWAL_RETRY_MS));
    }

    #[test]
    fn use_of_the_session_puts_it_off_but_not_what_is_due() {
        let mut renewal = Renewal::new();
        renewal.kept(5000, 2000);
        assert_eq!(renewal.due_ms(), Some(1_005_000));
        renewal.kept(605_000, 2000);
        assert_eq!(renewal.due_ms(), Some(1_605_000));
        renewal.kept(1_605_000, 2000);
        assert_eq!(renewal.due_ms(), Some(1_605_000));
    }

    #[test]
    fn a_lost_answer_is_asked_for_again_however_late() {
        let mut renewal = Renewal::new();
        renewal.renewed(0, 2000);
        for now_ms in [1_000_000, 2_000_000, 90_000_000] {
            assert!(renewal.is_due(now_ms));
            renewal.asked(now_ms);
            renewal.disconnected();
            renewal.kept(now_ms, 2000);
        }
        assert!(renewal.is_due(90_000_000));
    }
}
