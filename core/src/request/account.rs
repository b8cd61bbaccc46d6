//! What belongs to one user, and who others are.

use dunlin_protocol::limits::FIND_USERS_MAX;
use dunlin_protocol::{LogId, UserId, wire};

use super::Request;
use super::invalid::{InvalidRequest, checked_conversation, invalid};

/// A request about the account of the user who asks. The worker of the user takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccountRequest {
    /// Move the read cursor.
    MarkRead {
        /// In which conversation.
        conversation: LogId,
        /// Up to where.
        seq: u64,
    },
    /// Look up users.
    FindUsers {
        /// By name.
        usernames: Vec<String>,
        /// By id.
        user_ids: Vec<UserId>,
    },
}

impl From<AccountRequest> for Request {
    fn from(request: AccountRequest) -> Request {
        Request::Account(request)
    }
}

impl TryFrom<wire::MarkRead> for Request {
    type Error = InvalidRequest;

    fn try_from(mark: wire::MarkRead) -> Result<Request, InvalidRequest> {
        let conversation = checked_conversation(&mark.conversation_id)?;
        if mark.seq == 0 {
            return Err(invalid("seq", "is 0"));
        }
        Ok(AccountRequest::MarkRead { conversation, seq: mark.seq }.into())
    }
}

impl TryFrom<wire::FindUsers> for Request {
    type Error = InvalidRequest;

    fn try_from(find: wire::FindUsers) -> Result<Request, InvalidRequest> {
        let asked = find.usernames.len() + find.user_ids.len();
        if asked > FIND_USERS_MAX {
            return Err(invalid("usernames", format!("{asked} of at most {FIND_USERS_MAX}")));
        }
        let user_ids = find.user_ids.into_iter().map(UserId::new).collect::<Result<_, _>>();
        let user_ids = user_ids.map_err(|e| invalid("user_ids", e.to_string()))?;
        Ok(AccountRequest::FindUsers { usernames: find.usernames, user_ids }.into())
    }
}
