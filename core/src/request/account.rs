//! What belongs to one user, and who others are.

use bytes::Bytes;
use dunlin_protocol::limits::{FIND_USERS_MAX, SETTING_KEY_BYTES_MAX, SETTING_VALUE_BYTES_MAX};
use dunlin_protocol::wire::RequestState;
use dunlin_protocol::wire::update_conversation::Change;
use dunlin_protocol::{LogId, UserId, wire};

use super::Request;
use super::invalid::{InvalidRequest, checked_ascii, checked_conversation, invalid};
pub use crate::account::membership::MembershipChange;

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
        /// The other member does not learn of it.
        private: bool,
    },
    /// Set a setting, or remove it.
    SetSetting {
        /// Its name.
        key: String,
        /// What it shall be; empty to remove it.
        value: Bytes,
        /// Only if it has this version now; 0: only if there is none.
        if_version: Option<u64>,
    },
    /// Change what a conversation is to the user.
    UpdateConversation {
        /// Which.
        conversation: LogId,
        /// What of it.
        change: MembershipChange,
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
        let wire::MarkRead { seq, private, .. } = mark;
        Ok(AccountRequest::MarkRead { conversation, seq, private }.into())
    }
}

impl TryFrom<wire::SetSetting> for Request {
    type Error = InvalidRequest;

    fn try_from(set: wire::SetSetting) -> Result<Request, InvalidRequest> {
        let wire::SetSetting { key, value, if_version } = set;
        if key.is_empty() {
            return Err(invalid("key", "is empty"));
        }
        checked_ascii("key", &key, SETTING_KEY_BYTES_MAX)?;
        if value.len() > SETTING_VALUE_BYTES_MAX {
            let reason = format!("{} bytes of at most {SETTING_VALUE_BYTES_MAX}", value.len());
            return Err(invalid("value", reason));
        }
        Ok(AccountRequest::SetSetting { key, value, if_version }.into())
    }
}

impl TryFrom<wire::UpdateConversation> for Request {
    type Error = InvalidRequest;

    fn try_from(update: wire::UpdateConversation) -> Result<Request, InvalidRequest> {
        let conversation = checked_conversation(&update.conversation_id)?;
        let change = match update.change.ok_or_else(|| invalid("change", "is missing"))? {
            Change::HideUpTo(seq) => MembershipChange::HideUpTo(seq),
            Change::MarkedUnread(marked) => MembershipChange::MarkedUnread(marked),
            Change::Request(number) => {
                let request = RequestState::try_from(number);
                let request =
                    request.map_err(|_| invalid("request", format!("{number} is no state")))?;
                MembershipChange::Request(request)
            }
            Change::ClearUpTo(0) => return Err(invalid("clear_up_to", "is 0")),
            Change::ClearUpTo(seq) => MembershipChange::ClearUpTo(seq),
        };
        Ok(AccountRequest::UpdateConversation { conversation, change }.into())
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
