//! What a machine tells the application.

use bytes::Bytes;
use dunlin_protocol::wire::{self, CloseReason, ErrorCode, RequestState};
use dunlin_protocol::{LogId, SessionId, UserId};

use super::request::{Failure, Response, Ticket};
use super::terms::Terms;
use super::tokens::SavedTokens;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The connection is in another state.
    Status(Status),
    /// The server has said what it holds this client to. Comes with each connection.
    Welcomed(Box<Terms>),
    /// A login succeeded. If the user is another one than before, forget what you have.
    LoggedIn {
        /// Who this is.
        user: UserId,
        /// Its name.
        username: String,
        /// The session; 0 in requests names it too.
        session: SessionId,
    },
    /// The tokens that bring this device back later. Store them, readable by the user alone, in
    /// the place of the last ones; empty ones are to be forgotten.
    Tokens(SavedTokens),
    /// The next entry of a conversation: each sequence comes once, in order, here or in
    /// [`Event::Skipped`]. Entries without a message have nothing to show. The running counts of
    /// this user's own message are 0 if it follows skipped entries.
    Entry {
        /// Where.
        conversation: LogId,
        /// What.
        entry: wire::Entry,
    },
    /// These entries will not be delivered. Those that are only too many can be asked for by History.
    Skipped {
        /// Where.
        conversation: LogId,
        /// The first of them.
        from_seq: u64,
        /// The last of them.
        to_seq: u64,
        /// Why not.
        why: SkipReason,
    },
    /// Counts and cursors of a conversation have changed.
    Conversation(ConversationView),
    /// The server lost or restored history, or another user logged in: forget all entries.
    /// Everything is delivered from the beginning. Messages that were not stored are kept.
    HistoryLost,
    /// The same of one conversation: the server has less of it than this client had, since an earlier
    /// state was put back. It is delivered from the beginning, if there is anything left of it.
    ConversationLost {
        /// Which one.
        conversation: LogId,
    },
    /// What the devices of the user share: one setting that is new or has changed; with an empty value, one that
    /// was removed.
    Setting(wire::Setting),
    /// What the client knows, because [`super::Machine::save`] has asked for it: no secret, and of no
    /// meaning to others. Store it together with what all events before this one have told, in one transaction,
    /// and give it to the next run as [`super::Config::saved`]; then that is told only what has
    /// changed since. Messages that were not stored yet are not in it: send them again, with their ids.
    Saved(Vec<u8>),
    /// Who the other member of a conversation is: of each that the server tells anew.
    Peer {
        /// Which one.
        conversation: LogId,
        /// Who.
        user: wire::User,
    },
    /// Somebody does something right now ("typing").
    Signal {
        /// Where.
        conversation: LogId,
        /// Who.
        sender: UserId,
        /// What.
        kind: String,
        /// Its data.
        payload: Bytes,
    },
    /// The one answer to a request.
    Completed {
        /// The request, as its caller named it.
        ticket: Ticket,
        /// What became of it.
        result: Result<Response, Failure>,
    },
}

/// Why entries are not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// There are more than the application wants: see [`Backlog`](super::Backlog).
    Backlog,
    /// They have expired, and nobody has them any more, or this user has cleared them.
    Expired,
    /// They are damaged, and the server can't read them.
    Damaged,
}

/// A conversation in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversationView {
    /// Which one.
    pub conversation: LogId,
    /// Its newest sequence that is known.
    pub head: u64,
    /// Up to here everything was delivered or skipped.
    pub position: u64,
    /// Up to here this user has read, on any device.
    pub read_seq: u64,
    /// Up to here the other member has read.
    pub peer_read_seq: u64,
    /// Messages of others behind `read_seq`; 0 if they are ignored.
    pub unread: u64,
    /// Entries below this have expired, or were cleared by this user: there is nothing to be fetched, and what is
    /// shown of them is to be forgotten. 0 or 1 if none have.
    pub expired_below: u64,
    /// Whether it is the request of a stranger, which is shown and counted apart.
    pub request: RequestState,
    /// Not to be shown in a list as long as `head` is not higher.
    pub hidden_up_to: u64,
    /// The user wants to come back to it.
    pub marked_unread: bool,
}

/// The state of the connection, as a user may want to see it.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// On the way to this address.
    Connecting {
        /// `host:port`
        address: String,
    },
    /// Connected; the login is under way.
    LoggingIn,
    /// Logged in; what was missed is being read.
    Syncing,
    /// Everything is up to date and stays so.
    Online,
    /// Not connected; the next attempt comes by itself.
    Waiting {
        /// When, by the caller's clock, in milliseconds.
        until_ms: u64,
        /// Why.
        lost: Lost,
    },
    /// Not connected, and nothing happens until somebody logs in again.
    Stopped(Stop),
}

/// Why a connection ended that will be made again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The server closed it.
    #[error("the server closed the connection: {0:?}")]
    Closed(CloseReason),
    /// The server asked us to go.
    #[error("the server asked us to come back later")]
    GoAway,
    /// A login was not possible now.
    #[error("the login is not possible now: {0:?}")]
    NotNow(ErrorCode),
    /// The server has been silent for too long.
    #[error("the server does not answer")]
    Silent,
    /// The server sent something that is no part of the protocol.
    #[error("the server does not speak the protocol")]
    Nonsense,
    /// The network says so.
    #[error("{0}")]
    Network(String),
}

/// Why only the user can go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// There is no credential left to try.
    #[error("the login has expired: log in again")]
    NoCredentials,
    /// The issuer's token is too old, or not good yet. The account is well: log in with a new one.
    #[error("a new token of the issuer is needed")]
    NewTokenNeeded,
    /// Name or password is wrong.
    #[error("the name or the password is wrong")]
    WrongCredentials,
    /// The name belongs to somebody else.
    #[error("this name is taken")]
    NameTaken,
    /// The session was logged out, here or elsewhere, or revoked.
    #[error("the session was logged out")]
    LoggedOut,
    /// Another login took the place of this session.
    #[error("another login took the place of this one")]
    Replaced,
    /// The account is disabled.
    #[error("the account is disabled")]
    AccountDisabled,
    /// Too many logins failed.
    #[error("too many logins failed; wait a while")]
    TooManyFailures {
        /// How long, in milliseconds; 0 if the server did not say.
        retry_after_ms: u32,
    },
    /// The server refuses the login or the registration for good.
    #[error("the server refuses: {:?} {}", .0.code(), .0.field)]
    Refused(wire::Error),
    /// The server speaks another version of the protocol.
    #[error("the server speaks another version of the protocol")]
    UnsupportedVersion,
    /// The server says that this client breaks the protocol.
    #[error("the server says that this client is at fault: {0:?}")]
    ClientFault(CloseReason),
    /// The server could not prove who it is.
    #[error("the server is not the one that it should be: {0}")]
    Untrusted(String),
}
