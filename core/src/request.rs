//! Requests in types that can't be wrong: validated once, on the thread that read them.

use bytes::Bytes;
use dunlin_protocol::limits::{
    CONTENT_BYTES_MAX, FIND_USERS_MAX, HISTORY_ENTRIES_DEFAULT, HISTORY_ENTRIES_MAX,
    NAME_BYTES_MAX, PASSWORD_BYTES, SIGNAL_BYTES_MAX, SYNC_ENTRIES_DEFAULT, SYNC_ENTRIES_MAX,
    SYNC_POSITIONS_MAX, TYPE_BYTES_MAX, USERNAME_LENGTH,
};
use dunlin_protocol::wire::{self, DeviceKind, login::Credential};
use dunlin_protocol::{ClientMessageId, DeviceId, LogId, SessionId, UserId};

use crate::attempt::Attempt;

/// A request, and where its response goes.
#[derive(Debug)]
pub struct Command {
    /// The connection that asked.
    pub conn: crate::transport::ConnId,
    /// Who speaks on it; `None` before login.
    pub session: Option<crate::transport::Session>,
    /// For the response. 0 only where no response is wanted.
    pub request_id: u64,
    /// What is asked.
    pub request: Request,
}

/// What a client can ask of the engine.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// Make an account.
    Register(Register),
    /// Become somebody on this connection.
    Login(Login),
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
    /// Look up users.
    FindUsers {
        /// By name.
        usernames: Vec<String>,
        /// By id.
        user_ids: Vec<UserId>,
    },
    /// Store a message.
    Send(Send),
    /// Tell something momentary.
    Signal(Signal),
    /// Move the read cursor.
    MarkRead {
        /// In which conversation.
        conversation: LogId,
        /// Up to where.
        seq: u64,
    },
    /// Read a log.
    History(History),
    /// Get what this device lacks.
    Sync(Sync),
}

/// See [`wire::Register`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Lower case; see [`USERNAME_LENGTH`].
    pub username: String,
    /// In clear; hashed and forgotten.
    pub password: String,
    /// The user name if none was given.
    pub display_name: String,
}

/// See [`wire::Login`].
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// What proves who it is.
    pub credential: Credential,
    /// On what device.
    pub device: Device,
    /// Whether somebody waits for it, and which are newer.
    pub attempt: Attempt,
}

/// A device that is complete and within limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub id: DeviceId,
    /// Of what kind.
    pub kind: DeviceKind,
    /// Its name for people.
    pub name: String,
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

/// See [`wire::Send`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// A direct conversation or a group.
    pub conversation: LogId,
    /// The same in every retry.
    pub client_message_id: ClientMessageId,
    /// What the content is; empty for "text/plain".
    pub content_type: String,
    /// The content.
    pub content: Bytes,
}

impl From<Send> for Request {
    fn from(send: Send) -> Request {
        Request::Send(send)
    }
}

/// See [`wire::Signal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// A direct conversation or a group.
    pub conversation: LogId,
    /// What it is.
    pub kind: String,
    /// What belongs to it.
    pub payload: Bytes,
}

/// See [`wire::History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Any log of this user.
    pub conversation: LogId,
    /// The lowest sequence, at least 1.
    pub from: u64,
    /// The highest.
    pub to: u64,
    /// At most so many entries.
    pub limit: usize,
    /// Newest first.
    pub backwards: bool,
}

/// See [`wire::Sync`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// The epoch that the client knows, or 0.
    pub epoch: u64,
    /// Up to where the client has its account log.
    pub account_seq: u64,
    /// Up to where it has its conversations.
    pub positions: Vec<Position>,
    /// Newest entries wanted of each changed conversation.
    pub entries_per_conversation: usize,
}

/// What a client has of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which.
    pub conversation: LogId,
    /// Up to where.
    pub seq: u64,
    /// The cursor of the other member that it shows.
    pub peer_read_seq: u64,
}

/// A request that can't be taken: `field` is at fault, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidRequest {
    /// The field, as the .proto file names it.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

fn invalid(field: &'static str, reason: impl Into<String>) -> InvalidRequest {
    InvalidRequest { field, reason: reason.into() }
}

impl TryFrom<wire::Register> for Request {
    type Error = InvalidRequest;

    fn try_from(register: wire::Register) -> Result<Request, InvalidRequest> {
        let username = checked_username(register.username)?;
        let password = checked_new_password("password", register.password)?;
        at_most("display_name", &register.display_name, NAME_BYTES_MAX)?;
        let display_name = match register.display_name.trim() {
            "" => username.clone(),
            name => name.to_owned(),
        };
        Ok(Request::Register(Register { username, password, display_name }))
    }
}

impl TryFrom<wire::Login> for Request {
    type Error = InvalidRequest;

    fn try_from(login: wire::Login) -> Result<Request, InvalidRequest> {
        let credential = login.credential.ok_or_else(|| invalid("credential", "is missing"))?;
        let device = login.device.ok_or_else(|| invalid("device", "is missing"))?;
        Ok(Request::Login(Login {
            credential,
            device: device.try_into()?,
            attempt: Attempt::default(),
        }))
    }
}

impl TryFrom<wire::Device> for Device {
    type Error = InvalidRequest;

    fn try_from(device: wire::Device) -> Result<Device, InvalidRequest> {
        let id = DeviceId::from_wire(&device.device_id)
            .map_err(|error| invalid("device.device_id", error.to_string()))?;
        at_most("device.name", &device.name, NAME_BYTES_MAX)?;
        Ok(Device { id, kind: device.kind(), name: device.name })
    }
}

impl TryFrom<wire::Logout> for Request {
    type Error = InvalidRequest;

    fn try_from(logout: wire::Logout) -> Result<Request, InvalidRequest> {
        Ok(Request::Logout(match (logout.all, logout.session_id) {
            (true, _) => Logout::All,
            (false, 0) => Logout::This,
            (false, session) => Logout::Other(
                SessionId::new(session).map_err(|e| invalid("session_id", e.to_string()))?,
            ),
        }))
    }
}

impl TryFrom<wire::ChangePassword> for Request {
    type Error = InvalidRequest;

    fn try_from(change: wire::ChangePassword) -> Result<Request, InvalidRequest> {
        at_most("old_password", &change.old_password, *PASSWORD_BYTES.end())?;
        let new = checked_new_password("new_password", change.new_password)?;
        Ok(Request::ChangePassword { old: change.old_password, new })
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
        Ok(Request::FindUsers { usernames: find.usernames, user_ids })
    }
}

impl TryFrom<wire::Send> for Request {
    type Error = InvalidRequest;

    fn try_from(send: wire::Send) -> Result<Request, InvalidRequest> {
        let conversation = checked_conversation(&send.conversation_id)?;
        let client_message_id = ClientMessageId::from_wire(&send.client_message_id)
            .map_err(|error| invalid("client_message_id", error.to_string()))?;
        checked_type("content_type", &send.content_type)?;
        if send.content.len() > CONTENT_BYTES_MAX {
            let reason = format!("{} bytes of at most {CONTENT_BYTES_MAX}", send.content.len());
            return Err(invalid("content", reason));
        }
        let (content_type, content) = (send.content_type, send.content);
        Ok(Request::Send(Send { conversation, client_message_id, content_type, content }))
    }
}

impl TryFrom<wire::Signal> for Request {
    type Error = InvalidRequest;

    fn try_from(signal: wire::Signal) -> Result<Request, InvalidRequest> {
        let conversation = checked_conversation(&signal.conversation_id)?;
        checked_type("kind", &signal.kind)?;
        if signal.payload.len() > SIGNAL_BYTES_MAX {
            let reason = format!("{} bytes of at most {SIGNAL_BYTES_MAX}", signal.payload.len());
            return Err(invalid("payload", reason));
        }
        Ok(Request::Signal(Signal { conversation, kind: signal.kind, payload: signal.payload }))
    }
}

impl TryFrom<wire::MarkRead> for Request {
    type Error = InvalidRequest;

    fn try_from(mark: wire::MarkRead) -> Result<Request, InvalidRequest> {
        let conversation = checked_conversation(&mark.conversation_id)?;
        if mark.seq == 0 {
            return Err(invalid("seq", "is 0"));
        }
        Ok(Request::MarkRead { conversation, seq: mark.seq })
    }
}

impl TryFrom<wire::History> for Request {
    type Error = InvalidRequest;

    fn try_from(history: wire::History) -> Result<Request, InvalidRequest> {
        let conversation = checked_log(&history.conversation_id)?;
        let limit = or_default(history.limit, HISTORY_ENTRIES_DEFAULT).min(HISTORY_ENTRIES_MAX);
        let end = |seq: u64, open: u64| if seq == 0 { open } else { seq };
        let (from, to) = if history.backwards {
            (end(history.to_seq, 1), end(history.from_seq, u64::MAX))
        } else {
            (end(history.from_seq, 1), end(history.to_seq, u64::MAX))
        };
        if from > to {
            return Err(invalid("to_seq", "is on the wrong side of from_seq"));
        }
        let (limit, backwards) = (limit as usize, history.backwards);
        Ok(Request::History(History { conversation, from, to, limit, backwards }))
    }
}

impl TryFrom<wire::Sync> for Request {
    type Error = InvalidRequest;

    fn try_from(sync: wire::Sync) -> Result<Request, InvalidRequest> {
        if sync.positions.len() > SYNC_POSITIONS_MAX {
            let reason = format!("{} of at most {SYNC_POSITIONS_MAX}", sync.positions.len());
            return Err(invalid("positions", reason));
        }
        let position = |position: wire::LogPosition| {
            Ok(Position {
                conversation: checked_conversation(&position.conversation_id)?,
                seq: position.seq,
                peer_read_seq: position.peer_read_seq,
            })
        };
        let entries = or_default(sync.entries_per_conversation, SYNC_ENTRIES_DEFAULT);
        Ok(Request::Sync(Sync {
            epoch: sync.epoch,
            account_seq: sync.account_seq,
            positions: sync.positions.into_iter().map(position).collect::<Result<_, _>>()?,
            entries_per_conversation: entries.min(SYNC_ENTRIES_MAX) as usize,
        }))
    }
}

/// A log that the user may read: the account log or a conversation.
fn checked_log(bytes: &[u8]) -> Result<LogId, InvalidRequest> {
    LogId::from_wire(bytes).map_err(|error| invalid("conversation_id", error.to_string()))
}

/// A log that one can send to: no account log.
fn checked_conversation(bytes: &[u8]) -> Result<LogId, InvalidRequest> {
    let log = checked_log(bytes)?;
    if log.owner().is_some() {
        return Err(invalid("conversation_id", "is an account log"));
    }
    Ok(log)
}

fn checked_username(name: String) -> Result<String, InvalidRequest> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    if !USERNAME_LENGTH.contains(&name.len()) {
        let reason = format!("{} characters, not {USERNAME_LENGTH:?}", name.len());
        return Err(invalid("username", reason));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(allowed) {
        return Err(invalid("username", "a-z, then a-z 0-9 . _ - are allowed"));
    }
    Ok(name)
}

/// A password that may be set.
pub(crate) fn checked_new_password(
    field: &'static str,
    password: String,
) -> Result<String, InvalidRequest> {
    if !PASSWORD_BYTES.contains(&password.len()) {
        return Err(invalid(field, format!("{} bytes, not {PASSWORD_BYTES:?}", password.len())));
    }
    Ok(password)
}

fn checked_type(field: &'static str, value: &str) -> Result<(), InvalidRequest> {
    at_most(field, value, TYPE_BYTES_MAX)?;
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid(field, "visible ASCII is allowed"));
    }
    Ok(())
}

fn at_most(field: &'static str, value: &str, bytes_max: usize) -> Result<(), InvalidRequest> {
    if value.len() > bytes_max {
        return Err(invalid(field, format!("{} bytes of at most {bytes_max}", value.len())));
    }
    Ok(())
}

fn or_default(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}
