//! Requests in types that can't be wrong: validated once, on the thread that read them.
//!
//! They are nested by who answers them, so that two questions are answered by the type alone: which
//! worker takes a request ([`placement`](crate::placement)), and whether it may come before login.
//!
//! - `credential`: becoming somebody; `identity`: credentials and sessions of who is somebody
//! - `conversation`: one log; `account`: what belongs to a user; `sync`: catching up
//! - `invalid`: what is wrong with a request; `kind`: what it is counted as

mod account;
mod conversation;
mod credential;
mod identity;
mod invalid;
mod kind;
mod sync;

use dunlin_protocol::{LogId, UserId};

pub use account::{AccountRequest, MembershipChange};
pub use conversation::{ConversationRequest, History, Message, Signal};
pub use credential::{CredentialRequest, Device, Login, Purpose, Register, Source};
pub(crate) use credential::{checked_display_name, checked_new_password};
pub use identity::{IdentityRequest, Logout};
pub use invalid::InvalidRequest;
pub use kind::RequestKind;
pub use sync::{Position, SyncFrom};

use crate::arrival::Arrival;
use crate::transport::{ConnId, Session};

/// A request, and where its response goes.
#[derive(Debug)]
pub struct Command {
    /// The connection that asked.
    pub conn: ConnId,
    /// Who speaks on it; `None` before login.
    pub session: Option<Session>,
    /// For the response. 0 only where no response is wanted.
    pub request_id: u64,
    /// Whether the client can read a response that is deflated.
    pub may_deflate: bool,
    /// When it was read, if anybody wants to know.
    pub arrived: Arrival,
    /// What is asked.
    pub request: Request,
}

/// Who asks on this node, and what the response needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) conn: ConnId,
    pub(crate) user: UserId,
    pub(crate) request_id: u64,
    /// Whether the response may be deflated.
    pub(crate) may_deflate: bool,
    pub(crate) arrived: Arrival,
}

/// What a client can ask of the engine, by who answers it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// Become somebody: the one thing that may be asked before login.
    Credential(CredentialRequest),
    /// About the credentials and sessions of the user who asks.
    Identity(IdentityRequest),
    /// About this log.
    Conversation(LogId, ConversationRequest),
    /// About the account of the user who asks.
    Account(AccountRequest),
    /// Get what this device lacks.
    Sync(SyncFrom),
}

impl Request {
    /// Says where it comes from, if that matters: guesses of passwords are counted by it.
    pub fn comes_from(&mut self, source: Source) {
        if let Request::Credential(CredentialRequest::Login(login)) = self {
            login.source = source;
        }
    }

    /// Whether a password has to be hashed for it: that is what a guesser costs, and what he may find out.
    pub fn needs_password(&self) -> bool {
        match self {
            Request::Credential(request) => request.needs_password(),
            Request::Identity(IdentityRequest::ChangePassword { .. }) => true,
            Request::Identity(
                IdentityRequest::Refresh { .. }
                | IdentityRequest::Logout(_)
                | IdentityRequest::ListSessions,
            )
            | Request::Conversation(..)
            | Request::Account(_)
            | Request::Sync(_) => false,
        }
    }

    /// Whether it is a message to store: see [`MessageRoom`](crate::engine::submitter::MessageRoom).
    pub fn is_message(&self) -> bool {
        matches!(self, Request::Conversation(_, ConversationRequest::Send(_)))
    }

    /// The memory that it takes beside its own size, about: of what may be large.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Request::Conversation(_, ConversationRequest::Send(message)) => {
                message.content.len() + message.content_type.len()
            }
            Request::Conversation(_, ConversationRequest::Signal(signal)) => {
                signal.payload.len() + signal.kind.len()
            }
            Request::Account(AccountRequest::FindUsers { usernames, user_ids }) => {
                let names = usernames.iter().map(|name| size_of::<String>() + name.len());
                names.sum::<usize>() + size_of_val(&user_ids[..])
            }
            Request::Account(AccountRequest::SetSetting { key, value, .. }) => {
                key.len() + value.len()
            }
            Request::Sync(from) => size_of_val(&from.positions[..]) + from.token.len(),
            Request::Credential(CredentialRequest::Login(login)) => login.credential.encoded_len(),
            Request::Conversation(
                _,
                ConversationRequest::History(_) | ConversationRequest::Find(_),
            )
            | Request::Account(
                AccountRequest::MarkRead { .. } | AccountRequest::UpdateConversation { .. },
            )
            | Request::Credential(CredentialRequest::Register(_))
            | Request::Identity(_) => 0,
        }
    }
}
