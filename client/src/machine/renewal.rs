//! Renewing the refresh token on a connection that may live for longer than it.
//!
//! ```text
//!  Nothing ──► Due ──► Asked ──answer──► Due
//!                        └──broken──► Interrupted ──soon, once──► Asked
//!                                          └──late, or again──► Nothing: it may be spent
//! ```

/// Refresh tokens that came with an earlier start are renewed after this time; nobody has told
/// how long they are good.
const RENEWAL_MS: u64 = 24 * 60 * 60 * 1000;
/// When a renewal was refused, the next one is tried after this time.
const RENEWAL_RETRY_MS: u64 = 60 * 60 * 1000;
/// A spent refresh token may be used once more if its answer got lost, but not for long: the server
/// takes it for stolen after a minute, or the second time.
const RENEWAL_REPEAT_MS: u64 = 45_000;

/// Where the renewal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// There is no token, or it lives for ever.
    Nothing,
    Due {
        at_ms: u64,
    },
    Asked {
        at_ms: u64,
        is_repeat: bool,
    },
    /// The connection broke before the answer came.
    Interrupted {
        asked_ms: u64,
        is_repeat: bool,
    },
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// Ask for new tokens; it counts as done.
    Ask,
    /// Forget the token.
    GiveUp,
}

impl Renewal {
    pub(super) fn new() -> Renewal {
        Renewal::Nothing
    }

    /// New tokens came, good for so long.
    pub(super) fn renewed(&mut self, now_ms: u64, expires_in_s: u32) {
        // Halfway: there is time enough to try again.
        *self = match u64::from(expires_in_s) * 1000 {
            0 => Renewal::Nothing,
            lifetime_ms => Renewal::Due { at_ms: now_ms + lifetime_ms / 2 },
        };
    }

    /// A login left the token as it is.
    pub(super) fn kept(&mut self, now_ms: u64) {
        if *self == Renewal::Nothing {
            *self = Renewal::Due { at_ms: now_ms + RENEWAL_MS };
        }
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        match self {
            Renewal::Due { at_ms } => Some(*at_ms),
            Renewal::Interrupted { asked_ms, .. } => Some(*asked_ms),
            Renewal::Nothing | Renewal::Asked { .. } => None,
        }
    }

    pub(super) fn step(&mut self, now_ms: u64) -> Step {
        match *self {
            Renewal::Nothing | Renewal::Asked { .. } => Step::Wait,
            Renewal::Due { at_ms } if now_ms < at_ms => Step::Wait,
            Renewal::Interrupted { asked_ms, is_repeat } => {
                if is_repeat || now_ms >= asked_ms + RENEWAL_REPEAT_MS {
                    return Step::GiveUp;
                }
                *self = Renewal::Asked { at_ms: now_ms, is_repeat: true };
                Step::Ask
            }
            Renewal::Due { .. } => {
                *self = Renewal::Asked { at_ms: now_ms, is_repeat: false };
                Step::Ask
            }
        }
    }

    pub(super) fn refused(&mut self, now_ms: u64) {
        *self = Renewal::Due { at_ms: now_ms + RENEWAL_RETRY_MS };
    }

    pub(super) fn disconnected(&mut self) {
        if let Renewal::Asked { at_ms, is_repeat } = *self {
            *self = Renewal::Interrupted { asked_ms: at_ms, is_repeat };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_halfway() {
        let mut renewal = Renewal::new();
        assert_eq!(renewal.step(u64::MAX), Step::Wait);
        renewal.renewed(5000, 2000);
        assert_eq!(renewal.due_ms(), Some(1_005_000));
        assert_eq!(renewal.step(1_004_999), Step::Wait);
        assert_eq!(renewal.step(1_005_000), Step::Ask);
        assert_eq!((renewal.step(1_005_001), renewal.due_ms()), (Step::Wait, None));
        renewal.refused(1_006_000);
        assert_eq!(renewal.due_ms(), Some(1_006_000 + RENEWAL_RETRY_MS));
        renewal.kept(0);
        assert_eq!(renewal.due_ms(), Some(1_006_000 + RENEWAL_RETRY_MS), "it is known already");
    }

    #[test]
    fn a_lost_answer_is_asked_for_once_more_and_soon() {
        let mut renewal = Renewal::Due { at_ms: 0 };
        assert_eq!(renewal.step(0), Step::Ask);
        renewal.disconnected();
        assert_eq!(renewal.step(RENEWAL_REPEAT_MS), Step::GiveUp, "it is too late");
        assert_eq!(renewal.step(RENEWAL_REPEAT_MS - 1), Step::Ask);
        renewal.disconnected();
        assert_eq!(renewal.step(RENEWAL_REPEAT_MS - 1), Step::GiveUp, "it was the second time");
    }
}
