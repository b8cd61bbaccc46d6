//! The credentials and sessions of a user who is logged in.

use dunlin_protocol::limits::PASSWORD_BYTES;
use dunlin_protocol::{SessionId, wire};

use super::Request;
use super::credential::checked_new_password;
use super::invalid::{InvalidRequest, at_most, invalid};

/// A request about the credentials or sessions of the user who asks. The worker of the user takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityRequest {
    /// New tokens for this session.
    Refresh {
        /// The token that is used up by it.
        refresh_token: String,
    },
    /// End sessions.
    Logout(Logout),
    /// Which sessions this user has.
    ListSessions,
    /// A new password.
    ChangePassword {
        /// The one that is good now.
        old: String,
        /// The one that shall be.
        new: String,
    },
}

impl From<IdentityRequest> for Request {
    fn from(request: IdentityRequest) -> Request {
        Request::Identity(request)
    }
}

/// Which sessions to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logout {
    /// The one that asks.
    This,
    /// Another one.
    Other(SessionId),
    /// All of this user.
    All,
}

impl From<wire::Refresh> for Request {
    fn from(refresh: wire::Refresh) -> Request {
        IdentityRequest::Refresh { refresh_token: refresh.refresh_token }.into()
    }
}

impl From<wire::ListSessions> for Request {
    fn from(_: wire::ListSessions) -> Request {
        IdentityRequest::ListSessions.into()
    }
}

impl TryFrom<wire::Logout> for Request {
    type Error = InvalidRequest;

    fn try_from(logout: wire::Logout) -> Result<Request, InvalidRequest> {
        let which = match (logout.all, logout.session_id) {
            (true, _) => Logout::All,
            (false, 0) => Logout::This,
            (false, session) => Logout::Other(
                SessionId::new(session).map_err(|e| invalid("session_id", e.to_string()))?,
            ),
        };
        Ok(IdentityRequest::Logout(which).into())
    }
}

impl TryFrom<wire::ChangePassword> for Request {
    type Error = InvalidRequest;

    fn try_from(change: wire::ChangePassword) -> Result<Request, InvalidRequest> {
        at_most("old_password", &change.old_password, *PASSWORD_BYTES.end())?;
        let new = checked_new_password("new_password", change.new_password)?;
        Ok(IdentityRequest::ChangePassword { old: change.old_password, new }.into())
    }
}
