//! What the program around the engine can ask: the accounts, from outside of any connection.

use dunlin_protocol::wire::{DeviceKind, ErrorCode};
use dunlin_protocol::{LogId, SessionId, UserId};

use crate::refusal::Refusal;
use crate::request::InvalidRequest;

/// The most users of one page of [`AdminRequest::ListUsers`].
pub const LIST_USERS_MAX: usize = 100;

/// A request of the program around the engine.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdminRequest {
    /// Make an account, also where registration is switched off. Answered by `UserAdded`.
    AddUser {
        /// The rules of registration hold.
        username: String,
        /// In clear; hashed and forgotten.
        password: String,
        /// Empty for the user name.
        display_name: String,
    },
    /// List accounts in no meaningful order. Answered by `Users`.
    ListUsers {
        /// The `next` of the page before this one.
        after: Option<LogId>,
        /// At most so many; see [`LIST_USERS_MAX`].
        limit: usize,
    },
    /// End all sessions of a user, and let nobody log in. Answered by `Done`.
    DisableUser {
        /// Exactly the name.
        username: String,
    },
    /// Undo that. Answered by `Done`.
    EnableUser {
        /// Exactly the name.
        username: String,
    },
    /// Give a user a new password, and end all sessions. Answered by `Done`.
    ResetPassword {
        /// Exactly the name.
        username: String,
        /// In clear; hashed and forgotten.
        password: String,
    },
    /// Give a user another display name. Answered by `Done`.
    SetDisplayName {
        /// Exactly the name.
        username: String,
        /// The rules of registration hold; empty for the user name.
        display_name: String,
    },
    /// What is known of a user, and the sessions. Answered by `User`.
    ShowUser {
        /// Exactly the name.
        username: String,
    },
    /// End sessions of a user, who may log in again. Answered by `Done`.
    KickUser {
        /// Exactly the name.
        username: String,
        /// Which session; `None` for all.
        session: Option<SessionId>,
    },
    /// How long messages are kept. Answered by `Done`.
    Retention(RetentionRequest),
    /// Who is invited to register.
    Invitations(InvitationRequest),
}

/// The most invitations of one page of [`InvitationRequest::List`].
pub const LIST_INVITATIONS_MAX: usize = 100;

/// What is asked about invitations. Only the operator makes them: a user could make accounts by the thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvitationRequest {
    /// Make one. Answered by `InvitationMade`.
    Make(NewInvitation),
    /// List them, by their numbers. Answered by `Invitations`.
    List {
        /// The `next` of the page before this one.
        after: Option<u64>,
    },
    /// Nobody registers by it any more. Answered by `Done`.
    Revoke {
        /// Which.
        number: u64,
    },
}

/// An invitation to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvitation {
    /// How many may register by it.
    pub uses_max: u32,
    /// For how long.
    pub lifetime_ms: u64,
    /// What the operator wants to remember.
    pub note: String,
    /// Who makes it.
    pub made_by: String,
}

/// An invitation in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationRecord {
    /// Which: the code can't be found out from it.
    pub number: u64,
    /// What the operator wanted to remember.
    pub note: String,
    /// Who has made it.
    pub made_by: String,
    /// Unix time in milliseconds.
    pub made_ms: u64,
    /// Unix time in milliseconds.
    pub expires_ms: u64,
    /// How many may register by it.
    pub uses_max: u32,
    /// How many have.
    pub uses: u32,
    /// Of how many it is not known yet.
    pub under_way: u32,
}

/// What is asked about how long the messages of a conversation are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionRequest {
    /// The conversation says so itself, from now on, within what the node
    /// [allows](crate::config::RetentionConfig).
    Set {
        /// Which.
        conversation: LogId,
        /// In milliseconds, 0 for ever; `None` to leave it to the node.
        kept_ms: Option<u64>,
    },
    /// What is too old expires now, and not when the node comes by.
    Apply {
        /// Where.
        conversation: LogId,
    },
}

impl std::fmt::Debug for AdminRequest {
    /// Without the passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AdminRequest::AddUser { username, .. } => write!(f, "AddUser({username:?})"),
            AdminRequest::ListUsers { after, limit } => write!(f, "ListUsers({after:?}, {limit})"),
            AdminRequest::DisableUser { username } => write!(f, "DisableUser({username:?})"),
            AdminRequest::EnableUser { username } => write!(f, "EnableUser({username:?})"),
            AdminRequest::ResetPassword { username, .. } => {
                write!(f, "ResetPassword({username:?})")
            }
            AdminRequest::SetDisplayName { username, display_name } => {
                write!(f, "SetDisplayName({username:?}, {display_name:?})")
            }
            AdminRequest::ShowUser { username } => write!(f, "ShowUser({username:?})"),
            AdminRequest::KickUser { username, session } => {
                write!(f, "KickUser({username:?}, {session:?})")
            }
            AdminRequest::Retention(request) => write!(f, "Retention({request:?})"),
            AdminRequest::Invitations(request) => write!(f, "Invitations({request:?})"),
        }
    }
}

/// The answer to an [`AdminRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdminReply {
    /// The account is there.
    UserAdded {
        /// Its id.
        user: UserId,
    },
    /// A page of accounts.
    Users {
        /// Some of them.
        users: Vec<UserRecord>,
        /// Logs of names that can't be read, nor whose they are.
        damaged: Vec<LogId>,
        /// For the next page; `None` if this was the last one.
        next: Option<LogId>,
    },
    /// What is known of a user.
    User(Box<UserDetails>),
    /// The invitation is there.
    InvitationMade {
        /// Which.
        number: u64,
        /// What whoever is invited must say: it can't be found out again.
        code: String,
    },
    /// A page of invitations.
    Invitations {
        /// Some of them.
        invitations: Vec<InvitationRecord>,
        /// For the next page; `None` if this was the last one.
        next: Option<u64>,
    },
    /// It is durable.
    Done,
}

/// An account in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Its id.
    pub user: UserId,
    /// Its name.
    pub username: String,
    /// Who vouches for it; empty if it was registered here.
    pub issuer: String,
    /// Nobody can log in.
    pub disabled: bool,
    /// Recorded sessions; those of issuer logins are not.
    pub sessions: usize,
    /// What else is known of the user can't be read: whether it is disabled, and its sessions.
    pub damaged: bool,
}

/// What is known of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDetails {
    /// The id.
    pub user: UserId,
    /// The name that is logged in with.
    pub username: String,
    /// The name that others are shown.
    pub display_name: String,
    /// Who vouches for the user; empty for an account with a password.
    pub issuer: String,
    /// When the account was made. Unix time in milliseconds.
    pub created_ms: u64,
    /// Nobody can log in.
    pub disabled: bool,
    /// The recorded ones, oldest first, then those of issuer logins that are connected to this node: of others
    /// nobody knows.
    pub sessions: Vec<SessionRecord>,
}

/// A session of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Which.
    pub session: SessionId,
    /// On what.
    pub device_kind: DeviceKind,
    /// As the device calls itself; empty if that is not recorded.
    pub device_name: String,
    /// Since when. Unix time in milliseconds.
    pub opened_ms: u64,
    /// If it is not used before, it ends, each use putting that off. Unix time in milliseconds; `None` if it is not
    /// recorded.
    pub expires_ms: Option<u64>,
    /// To this node.
    pub connected: bool,
}

/// Why an [`AdminRequest`] was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// A field is wrong.
    #[error(transparent)]
    Invalid(InvalidRequest),
    /// What a client would get as an `Error`.
    #[error("{message}")]
    Refused {
        /// What it is.
        code: ErrorCode,
        /// What it is, for people.
        message: &'static str,
    },
    /// The engine is stopping, or has stopped.
    #[error("the engine is stopping")]
    Stopped,
}

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> AdminError {
        let Refusal { code, message, .. } = refusal;
        AdminError::Refused { code, message }
    }
}
