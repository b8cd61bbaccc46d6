//! Kinds of requests, to count them by.

use super::{AccountRequest, ConversationRequest, CredentialRequest, IdentityRequest, Request};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // They are called as in docs/protocol.md, which says what they are.
pub enum RequestKind {
    Register,
    Login,
    Refresh,
    Logout,
    ListSessions,
    ChangePassword,
    Send,
    Signal,
    History,
    FindMessage,
    MarkRead,
    SetSetting,
    UpdateConversation,
    FindUsers,
    Sync,
}

impl RequestKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [RequestKind; 15] = [
        RequestKind::Register,
        RequestKind::Login,
        RequestKind::Refresh,
        RequestKind::Logout,
        RequestKind::ListSessions,
        RequestKind::ChangePassword,
        RequestKind::Send,
        RequestKind::Signal,
        RequestKind::History,
        RequestKind::FindMessage,
        RequestKind::MarkRead,
        RequestKind::SetSetting,
        RequestKind::UpdateConversation,
        RequestKind::FindUsers,
        RequestKind::Sync,
    ];

    /// For programs and labels: the name of the protocol in lower case.
    pub fn name(self) -> &'static str {
        match self {
            RequestKind::Register => "register",
            RequestKind::Login => "login",
            RequestKind::Refresh => "refresh",
            RequestKind::Logout => "logout",
            RequestKind::ListSessions => "list_sessions",
            RequestKind::ChangePassword => "change_password",
            RequestKind::Send => "send",
            RequestKind::Signal => "signal",
            RequestKind::History => "history",
            RequestKind::FindMessage => "find_message",
            RequestKind::MarkRead => "mark_read",
            RequestKind::SetSetting => "set_setting",
            RequestKind::UpdateConversation => "update_conversation",
            RequestKind::FindUsers => "find_users",
            RequestKind::Sync => "sync",
        }
    }
}

impl Request {
    /// What it asks for.
    #[inline]
    pub fn kind(&self) -> RequestKind {
        match self {
            Request::Credential(CredentialRequest::Register(_)) => RequestKind::Register,
            Request::Credential(CredentialRequest::Login(_)) => RequestKind::Login,
            Request::Identity(IdentityRequest::Refresh { .. }) => RequestKind::Refresh,
            Request::Identity(IdentityRequest::Logout(_)) => RequestKind::Logout,
            Request::Identity(IdentityRequest::ListSessions) => RequestKind::ListSessions,
            Request::Identity(IdentityRequest::ChangePassword { .. }) => {
                RequestKind::ChangePassword
            }
            Request::Conversation(_, ConversationRequest::Send(_)) => RequestKind::Send,
            Request::Conversation(_, ConversationRequest::Signal(_)) => RequestKind::Signal,
            Request::Conversation(_, ConversationRequest::History(_)) => RequestKind::History,
            Request::Conversation(_, ConversationRequest::Find(_)) => RequestKind::FindMessage,
            Request::Account(AccountRequest::MarkRead { .. }) => RequestKind::MarkRead,
            Request::Account(AccountRequest::SetSetting { .. }) => RequestKind::SetSetting,
            Request::Account(AccountRequest::UpdateConversation { .. }) => {
                RequestKind::UpdateConversation
            }
            Request::Account(AccountRequest::FindUsers { .. }) => RequestKind::FindUsers,
            Request::Sync(_) => RequestKind::Sync,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_place_of_its_number() {
        for (number, kind) in RequestKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "{}", kind.name());
        }
    }
}
