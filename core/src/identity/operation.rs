//! What is done to the credentials and sessions of one user, and what it comes to.

use dunlin_protocol::wire::{CloseReason, ErrorCode};
use dunlin_protocol::{SessionId, UserId};

use super::asker::{Asker, Reply};
use super::enter::{Enter, Entered};
use crate::admin::UserDetails;
use crate::audience::session::{Closed, Ended};
use crate::auth::identity::Inadmissible;
use crate::auth::token::Claims;
use crate::refusal::Refusal;
use crate::request::Logout;
use crate::transport::ConnId;

/// Something that is done to a user's credentials or sessions.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Whose.
    pub(crate) user: UserId,
    /// Who wants it.
    pub(crate) asker: Asker,
    /// What.
    pub(crate) action: Action,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Let somebody in.
    Enter(Enter),
    /// New tokens.
    Refresh { speaker: Speaker, claims: Claims },
    /// End sessions.
    Logout { speaker: Speaker, which: Logout },
    /// Tell which sessions there are.
    ListSessions { speaker: Speaker },
    /// Set a new password, if the one that was checked is still the one.
    SetPassword { speaker: Speaker, checked_hash: String, new_hash: String },
    /// Set a new password, whatever it was.
    ResetPassword { hash: String },
    /// Let nobody in.
    Disable,
    /// Undo that.
    Enable,
    /// End a session of somebody else, or all.
    Kick { session: Option<SessionId> },
    /// Tell the operator what is known, which the decision completes.
    Inspect(Box<UserDetails>),
    /// Close the sessions that were ended on another node.
    Recheck(Recheck),
}

/// Why the sessions of a user are looked at again.
#[derive(Debug, Clone)]
pub(crate) struct Recheck {
    /// What another node has told of it.
    pub(crate) ended: Option<Box<Ended>>,
    /// It is one of those of which only so many are done at a time.
    pub(crate) is_counted: bool,
}

/// The connection and the session that ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker {
    pub(crate) conn: ConnId,
    pub(crate) session: SessionId,
}

/// What an operation comes to, once it is durable.
#[derive(Debug)]
pub(crate) struct Decision {
    /// Connections that end by it.
    pub(crate) closing: Option<Closing>,
    /// What the asker is told.
    pub(crate) outcome: Result<Outcome, Refusal>,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Entered(Box<Entered>),
    /// A newer login has come before this one.
    Overtaken,
    Reply(Reply),
}

impl Outcome {
    /// Whether somebody is let in who takes nobody's place.
    pub(crate) fn only_fetches(&self) -> bool {
        match self {
            Outcome::Entered(entered) => entered.only_fetches,
            Outcome::Overtaken | Outcome::Reply(_) => false,
        }
    }
}

/// Which connections of the user to close, and what to tell them.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) of: Closed,
    pub(crate) reason: CloseReason,
}

impl Operation {
    /// Whether it is a login that nobody waits for any more.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(&self.action, Action::Enter(enter) if enter.attempt.is_abandoned())
    }
}

impl Operation {
    /// Whether it can be done to an identity of which nothing can be read.
    pub(super) fn needs_nothing_of_before(&self) -> bool {
        match &self.action {
            Action::ResetPassword { .. } => true,
            Action::Enter(_)
            | Action::Refresh { .. }
            | Action::Logout { .. }
            | Action::ListSessions { .. }
            | Action::SetPassword { .. }
            | Action::Disable
            | Action::Enable
            | Action::Kick { .. }
            | Action::Inspect(_)
            | Action::Recheck(_) => false,
        }
    }

    /// Whether it may be carried out although what follows from it could not be stored: a disk that is full
    /// keeps nobody out whose session is recorded already. That it was used is written the next time.
    pub(super) fn needs_no_write(&self) -> bool {
        match &self.action {
            Action::Enter(enter) => enter.continues_recorded(),
            Action::Refresh { .. }
            | Action::Logout { .. }
            | Action::ListSessions { .. }
            | Action::SetPassword { .. }
            | Action::ResetPassword { .. }
            | Action::Disable
            | Action::Enable
            | Action::Kick { .. }
            | Action::Inspect(_)
            | Action::Recheck(_) => false,
        }
    }

    /// Why the sessions are looked at, if that is all that is done.
    pub(crate) fn recheck(&self) -> Option<&Recheck> {
        match &self.action {
            Action::Recheck(recheck) => Some(recheck),
            Action::Enter(_)
            | Action::Refresh { .. }
            | Action::Logout { .. }
            | Action::ListSessions { .. }
            | Action::SetPassword { .. }
            | Action::ResetPassword { .. }
            | Action::Disable
            | Action::Enable
            | Action::Kick { .. }
            | Action::Inspect(_) => None,
        }
    }
}

impl Decision {
    pub(crate) fn refuse(refusal: impl Into<Refusal>) -> Decision {
        Decision { closing: None, outcome: Err(refusal.into()) }
    }

    pub(crate) fn tell(reply: Reply) -> Decision {
        Decision { closing: None, outcome: Ok(Outcome::Reply(reply)) }
    }

    pub(crate) fn overtaken() -> Decision {
        Decision { closing: None, outcome: Ok(Outcome::Overtaken) }
    }

    pub(crate) fn close(outcome: Outcome, closed: Closed, reason: CloseReason) -> Decision {
        let closing = Some(Closing { of: closed, reason });
        Decision { closing, outcome: Ok(outcome) }
    }
}

impl From<Inadmissible> for Refusal {
    fn from(why: Inadmissible) -> Refusal {
        match why {
            Inadmissible::Disabled => ACCOUNT_DISABLED,
            Inadmissible::Expired => {
                Refusal::new(ErrorCode::TokenExpired, "the session has expired")
            }
            Inadmissible::Revoked => SESSION_ENDED,
            Inadmissible::Reused => Refusal::new(
                ErrorCode::SessionRevoked,
                "the refresh token was used before; its session is ended",
            ),
        }
    }
}

pub(crate) const ACCOUNT_DISABLED: Refusal =
    Refusal::new(ErrorCode::AccountDisabled, "the account is disabled");

/// The session is not lost by it: only this token is.
pub(crate) const NEW_TOKEN_NEEDED: Refusal = Refusal::new(
    ErrorCode::NewTokenNeeded,
    "the issuer's token was made before all tokens of its user were revoked",
);

pub(crate) const SESSION_ENDED: Refusal =
    Refusal::new(ErrorCode::SessionRevoked, "the session was ended");
