//! What an application asks for, and what it gets.

use bytes::Bytes;
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::update_conversation::Change;
use dunlin_protocol::wire::{self, Notice};
use dunlin_protocol::{ClientMessageId, LogId, SessionId, UserId, limits};

/// Names a request; chosen by the caller, and returned with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something to do, answered by exactly one [`super::Event::Completed`].
///
/// Requests wait while there is no connection, and are repeated if it breaks, all but
/// [`Request::ChangePassword`].
#[derive(Clone)]
pub enum Request {
    /// Stores a message.
    Send {
        /// Where; [`LogId::direct`] of the two users.
        conversation: LogId,
        /// Random, for this message alone. With the same id and content it is stored once.
        message_id: ClientMessageId,
        /// Empty for text.
        content_type: String,
        /// At most 64 KiB.
        content: Bytes,
        /// What it does to the others.
        notice: Notice,
    },
    /// Everything up to `seq` was read.
    MarkRead {
        /// Where.
        conversation: LogId,
        /// Up to where.
        seq: u64,
        /// The other member does not learn of it.
        private: bool,
    },
    /// A page of a conversation, in either direction.
    History(wire::History),
    /// Where a message of this user is, by the id that it was sent with.
    FindMessage {
        /// Where.
        conversation: LogId,
        /// As in [`Request::Send`].
        message_id: ClientMessageId,
    },
    /// Looks up users, at most 100.
    FindUsers {
        /// By their names ...
        usernames: Vec<String>,
        /// ... or ids.
        users: Vec<UserId>,
    },
    /// Sets, or removes, what the devices of this user share.
    SetSetting(wire::SetSetting),
    /// Changes what a conversation is to this user.
    UpdateConversation {
        /// Which.
        conversation: LogId,
        /// What of it.
        change: Change,
    },
    /// The sessions of this user.
    ListSessions,
    /// Sets another password, and ends all other sessions.
    ChangePassword {
        /// What it is now.
        old: String,
        /// What it shall be.
        new: String,
    },
    /// Ends sessions.
    Logout(LogoutScope),
}

/// Which sessions to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoutScope {
    /// This one.
    This,
    /// Another one of the same user.
    Other(SessionId),
    /// All of the user.
    All,
}

impl LogoutScope {
    pub(super) fn ends_this(self) -> bool {
        match self {
            LogoutScope::This | LogoutScope::All => true,
            LogoutScope::Other(_) => false,
        }
    }
}

/// By hand, so that no log shows a password or what somebody wrote.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Request::Send { .. } => "Send",
            Request::MarkRead { .. } => "MarkRead",
            Request::History(_) => "History",
            Request::FindMessage { .. } => "FindMessage",
            Request::FindUsers { .. } => "FindUsers",
            Request::SetSetting(_) => "SetSetting",
            Request::UpdateConversation { .. } => "UpdateConversation",
            Request::ListSessions => "ListSessions",
            Request::ChangePassword { .. } => "ChangePassword",
            Request::Logout(_) => "Logout",
        })
    }
}

impl Request {
    /// Whether it does nothing the second time, so that it may be repeated when it is not known
    /// whether it was carried out.
    pub(super) fn may_repeat(&self) -> bool {
        !matches!(self, Request::ChangePassword { .. })
    }

    pub(super) fn body(&self) -> Body {
        match self {
            Request::Send { conversation, message_id, content_type, content, notice } => {
                Body::Send(wire::Send {
                    conversation_id: conversation.to_wire(),
                    client_message_id: message_id.to_wire(),
                    content_type: content_type.clone(),
                    content: content.clone(),
                    notice: (*notice).into(),
                })
            }
            Request::MarkRead { conversation, seq, private } => Body::MarkRead(wire::MarkRead {
                conversation_id: conversation.to_wire(),
                seq: *seq,
                private: *private,
            }),
            Request::History(history) => Body::History(history.clone()),
            Request::FindMessage { conversation, message_id } => {
                Body::FindMessage(wire::FindMessage {
                    conversation_id: conversation.to_wire(),
                    client_message_id: message_id.to_wire(),
                })
            }
            Request::FindUsers { usernames, users } => Body::FindUsers(wire::FindUsers {
                usernames: usernames.clone(),
                user_ids: users.iter().map(|user| user.get()).collect(),
            }),
            Request::SetSetting(set) => Body::SetSetting(set.clone()),
            Request::UpdateConversation { conversation, change } => {
                Body::UpdateConversation(wire::UpdateConversation {
                    conversation_id: conversation.to_wire(),
                    change: Some(*change),
                })
            }
            Request::ListSessions => Body::ListSessions(wire::ListSessions {}),
            Request::ChangePassword { old, new } => Body::ChangePassword(wire::ChangePassword {
                old_password: old.clone(),
                new_password: new.clone(),
            }),
            Request::Logout(scope) => Body::Logout(match scope {
                LogoutScope::This => wire::Logout::default(),
                LogoutScope::Other(session) => {
                    wire::Logout { session_id: session.get(), all: false }
                }
                LogoutScope::All => wire::Logout { session_id: 0, all: true },
            }),
        }
    }

    /// Whether it is larger than the server would take: it must not reach it, which would close
    /// the connection of the messages behind it, too.
    pub(super) fn is_too_large(&self, told: &wire::Limits) -> bool {
        match self {
            Request::Send { content_type, content, .. } => {
                content.len() > told.content_bytes_max as usize
                    || content_type.len() > told.type_bytes_max as usize
            }
            Request::FindUsers { usernames, users } => {
                usernames.len() + users.len() > told.find_users_max as usize
                    || usernames.iter().any(|name| name.len() > limits::ISSUED_USERNAME_BYTES_MAX)
            }
            Request::ChangePassword { old, new } => {
                old.len().max(new.len()) > *limits::PASSWORD_BYTES.end()
            }
            Request::SetSetting(set) => {
                set.key.len() > told.setting_key_bytes_max as usize
                    || set.value.len() > told.setting_value_bytes_max as usize
            }
            Request::MarkRead { .. }
            | Request::History(_)
            | Request::FindMessage { .. }
            | Request::UpdateConversation { .. }
            | Request::ListSessions
            | Request::Logout(_) => false,
        }
    }
}

/// The answer to a request that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// To MarkRead, ChangePassword and Logout.
    Done,
    /// To Send: it is durable.
    Sent {
        /// Where it stands in the conversation.
        seq: u64,
        /// When the server took it.
        time_ms: u64,
    },
    /// To History.
    Page(wire::HistoryPage),
    /// To FindMessage.
    Found(wire::Entry),
    /// To FindUsers: those that exist, in no order.
    Users(Vec<wire::User>),
    /// To SetSetting: as it is now.
    Setting(wire::Setting),
    /// To UpdateConversation: as it is now.
    Membership(wire::Membership),
    /// To ListSessions.
    Sessions(Vec<wire::SessionInfo>),
}

impl Response {
    /// The answer in a frame, if it is one to an application's request.
    pub(super) fn of_body(body: Body) -> Option<Response> {
        match body {
            // The response to MarkRead, of which the machine has taken note.
            Body::Done(_) | Body::ReadReceipt(_) => Some(Response::Done),
            Body::Sent(sent) => Some(Response::Sent { seq: sent.seq, time_ms: sent.time_ms }),
            Body::HistoryPage(page) => Some(Response::Page(page)),
            Body::FoundMessage(found) => found.entry.map(Response::Found),
            Body::Users(users) => Some(Response::Users(users.users)),
            Body::Setting(setting) => Some(Response::Setting(setting)),
            Body::Membership(membership) => Some(Response::Membership(membership)),
            Body::Sessions(sessions) => Some(Response::Sessions(sessions.sessions)),
            // Responses to the client's own requests, requests, and what only a server says.
            Body::Error(_)
            | Body::Welcome(_)
            | Body::Registered(_)
            | Body::LoggedIn(_)
            | Body::Tokens(_)
            | Body::Synced(_)
            | Body::Hello(_)
            | Body::Register(_)
            | Body::Login(_)
            | Body::Refresh(_)
            | Body::Logout(_)
            | Body::Sync(_)
            | Body::History(_)
            | Body::FindUsers(_)
            | Body::FindMessage(_)
            | Body::ListSessions(_)
            | Body::ChangePassword(_)
            | Body::SetSetting(_)
            | Body::UpdateConversation(_)
            | Body::Send(_)
            | Body::Signal(_)
            | Body::MarkRead(_)
            | Body::Push(_)
            | Body::Behind(_)
            | Body::GoAway(_)
            | Body::Close(_)
            | Body::Compressed(_) => None,
        }
    }
}

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The server refused it.
    #[error("the server refused it: {:?} {}", .0.code(), .0.field)]
    Refused(wire::Error),
    /// The connection broke; whether it was carried out is not known.
    #[error("the connection broke before the answer came")]
    Interrupted,
    /// It is larger than the protocol allows.
    #[error("it is too large")]
    TooLarge,
    /// Too many requests wait already.
    #[error("too many requests are waiting")]
    QueueFull,
    /// Nobody is logged in, and only the user can change that.
    #[error("nobody is logged in")]
    NotLoggedIn,
    /// Another user logged in before it could be carried out.
    #[error("another user has logged in")]
    OtherUser,
    /// The client was closed before the answer came.
    #[error("the client was closed")]
    Closed,
    /// The server answered something else.
    #[error("the answer makes no sense")]
    Nonsense,
}
