//! What is said on the admin socket.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::status::Status;

/// The version of the messages. Both ends are the same program; only an upgrade under a running
/// server makes them differ, and then a clear word is better than a guess.
const VERSION: u32 = 1;

/// Bytes of a request: names, a password, a path.
pub(super) const REQUEST_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of an answer: a page of users is less than 100 KiB; a list of damage is cut to fit.
pub(super) const ANSWER_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    AddUser { username: String, password: Secret, display_name: String },
    ListUsers { after: Option<[u8; 16]>, limit: usize },
    DisableUser { username: String },
    EnableUser { username: String },
    ResetPassword { username: String, password: Secret },
    SetDisplayName { username: String, display_name: String },
    ShowUser { username: String },
    KickUser { username: String, session: Option<u64> },
    Backup { folder: PathBuf, since: Option<PathBuf> },
    Verify,
    AcknowledgeDamage,
    Status,
    SetLogLevel { level: String },
    ListConsumers,
    RemoveConsumer { name: String },
    CreateInvitation { uses_max: u32, lifetime_ms: u64, note: String, made_by: String },
    ListInvitations { after: Option<u64> },
    RevokeInvitation { number: u64 },
}

impl Request {
    /// What it is called, as on the wire.
    pub(super) fn command(&self) -> &'static str {
        match self {
            Request::AddUser { .. } => "add_user",
            Request::ListUsers { .. } => "list_users",
            Request::DisableUser { .. } => "disable_user",
            Request::EnableUser { .. } => "enable_user",
            Request::ResetPassword { .. } => "reset_password",
            Request::SetDisplayName { .. } => "set_display_name",
            Request::ShowUser { .. } => "show_user",
            Request::KickUser { .. } => "kick_user",
            Request::Backup { .. } => "backup",
            Request::Verify => "verify",
            Request::AcknowledgeDamage => "acknowledge_damage",
            Request::Status => "status",
            Request::SetLogLevel { .. } => "set_log_level",
            Request::ListConsumers => "list_consumers",
            Request::RemoveConsumer { .. } => "remove_consumer",
            Request::CreateInvitation { .. } => "create_invitation",
            Request::ListInvitations { .. } => "list_invitations",
            Request::RevokeInvitation { .. } => "revoke_invitation",
        }
    }

    /// Says who has asked: a user of this machine.
    pub(super) fn asked_by(&mut self, uid: u32) {
        if let Request::CreateInvitation { made_by, .. } = self {
            *made_by = format!("uid {uid}");
        }
    }

    /// The user whom it is about.
    pub(super) fn username(&self) -> Option<&str> {
        match self {
            Request::AddUser { username, .. }
            | Request::DisableUser { username }
            | Request::EnableUser { username }
            | Request::ResetPassword { username, .. }
            | Request::SetDisplayName { username, .. }
            | Request::ShowUser { username }
            | Request::KickUser { username, .. } => Some(username),
            Request::ListUsers { .. }
            | Request::Backup { .. }
            | Request::Verify
            | Request::AcknowledgeDamage
            | Request::Status
            | Request::SetLogLevel { .. }
            | Request::ListConsumers
            | Request::RemoveConsumer { .. }
            | Request::CreateInvitation { .. }
            | Request::ListInvitations { .. }
            | Request::RevokeInvitation { .. } => None,
        }
    }

    /// The folder that it writes to.
    pub(super) fn folder(&self) -> Option<String> {
        match self {
            Request::Backup { folder, .. } => Some(folder.display().to_string()),
            Request::AddUser { .. }
            | Request::ListUsers { .. }
            | Request::DisableUser { .. }
            | Request::EnableUser { .. }
            | Request::ResetPassword { .. }
            | Request::SetDisplayName { .. }
            | Request::ShowUser { .. }
            | Request::KickUser { .. }
            | Request::Verify
            | Request::AcknowledgeDamage
            | Request::Status
            | Request::SetLogLevel { .. }
            | Request::ListConsumers
            | Request::RemoveConsumer { .. }
            | Request::CreateInvitation { .. }
            | Request::ListInvitations { .. }
            | Request::RevokeInvitation { .. } => None,
        }
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    UserAdded {
        user_id: u64,
    },
    Users {
        users: Vec<UserLine>,
        damaged: Vec<String>,
        next: Option<[u8; 16]>,
    },
    User {
        user: UserDetailsLine,
    },
    Done,
    BackedUp {
        segments: usize,
        bytes: u64,
        linked_bytes: u64,
        /// Files of the earlier backup that are damaged.
        damaged: usize,
        /// What of the store is damaged, and so in the backup.
        damage: Vec<String>,
        /// What is damaged and is no loss.
        dead: Vec<String>,
    },
    /// How far a verification has come; others, and its answer, follow on the same connection.
    Verifying {
        files: usize,
        files_total: usize,
        bytes: u64,
        bytes_total: u64,
    },
    Verified {
        segments: usize,
        entries: u64,
        logs: usize,
        bytes: u64,
        /// Places of damage.
        places: usize,
        /// The first of them.
        damage: Vec<String>,
        /// What is damaged and is no loss.
        dead: Vec<String>,
        /// What is lost with them, as far as it is known.
        losses: Vec<String>,
        told: Vec<String>,
    },
    Status {
        status: Box<Status>,
    },
    Consumers {
        consumers: Vec<ConsumerLine>,
    },
    InvitationMade {
        number: u64,
        code: Secret,
    },
    Invitations {
        invitations: Vec<InvitationLine>,
        next: Option<u64>,
    },
}

/// Why it was not done, in one line for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(String);

impl Fault {
    #[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
    pub(crate) fn new(message: impl ToString) -> Fault {
        Fault(message.to_string())
    }
}

/// The answer to a request.
pub(crate) type Answer = Result<Reply, Fault>;

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserLine {
    pub(crate) user_id: u64,
    pub(crate) username: String,
    pub(crate) issuer: String,
    pub(crate) disabled: bool,
    pub(crate) sessions: usize,
    /// What else is known of the user can't be read.
    pub(crate) damaged: bool,
}

/// What is known of a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserDetailsLine {
    pub(crate) user_id: u64,
    pub(crate) username: String,
    pub(crate) display_name: String,
    pub(crate) issuer: String,
    pub(crate) created_ms: u64,
    pub(crate) disabled: bool,
    pub(crate) sessions: Vec<SessionLine>,
}

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionLine {
    pub(crate) session_id: u64,
    /// Phone, tablet, desktop, web, bot or unspecified, in lower case.
    pub(crate) device_kind: String,
    pub(crate) device_name: String,
    pub(crate) opened_ms: u64,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) connected: bool,
}

/// A consumer of the feed in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConsumerLine {
    pub(crate) name: String,
    pub(crate) behind_bytes: u64,
}

/// An invitation in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InvitationLine {
    pub(crate) number: u64,
    pub(crate) note: String,
    pub(crate) made_by: String,
    pub(crate) made_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) uses_max: u32,
    pub(crate) uses: u32,
    pub(crate) under_way: u32,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

/// What is wrong with a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a message of {bytes} bytes, where {bytes_max} are allowed")]
    TooLarge { bytes: u64, bytes_max: u32 },
    #[error("version {found} of the messages, where {VERSION} is spoken; use the same dunlin")]
    Version { found: u32 },
    #[error("no message: {0}")]
    Malformed(String),
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    message: T,
}

/// What stays the same in all versions.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

/// Writes a message.
pub(super) fn write<T: Serialize>(
    stream: &mut impl Write,
    message: &T,
    bytes_max: u32,
) -> Result<(), MessageError> {
    let json = serde_json::to_vec(&Envelope { version: VERSION, message })
        .map_err(|error| MessageError::Malformed(error.to_string()))?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= bytes_max);
    let bytes = json.len() as u64;
    let length = length.ok_or(MessageError::TooLarge { bytes, bytes_max })?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&json)?;
    Ok(stream.flush()?)
}

/// Reads a message. The length is believed only within its limit.
pub(super) fn read<T: DeserializeOwned>(
    stream: &mut impl Read,
    bytes_max: u32,
) -> Result<T, MessageError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bytes = u32::from_be_bytes(length);
    if bytes > bytes_max {
        return Err(MessageError::TooLarge { bytes: bytes.into(), bytes_max });
    }
    let mut json = vec![0; bytes as usize];
    stream.read_exact(&mut json)?;
    let malformed = |error: serde_json::Error| MessageError::Malformed(error.to_string());
    let AnyVersion { version } = serde_json::from_slice(&json).map_err(malformed)?;
    if version != VERSION {
        return Err(MessageError::Version { found: version });
    }
    let Envelope { message, .. } = serde_json::from_slice(&json).map_err(malformed)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(json: &str) -> Vec<u8> {
        let length = (json.len() as u32).to_be_bytes();
        [&length[..], json.as_bytes()].concat()
    }

    fn read_request(bytes: &[u8]) -> Result<Request, MessageError> {
        read(&mut &bytes[..], 100)
    }

    #[test]
    fn messages_come_back() {
        let password = Secret("pass word".into());
        let request = Request::ResetPassword { username: "ada".into(), password };
        let mut bytes = Vec::new();
        write(&mut bytes, &request, REQUEST_BYTES_MAX).unwrap();
        assert_eq!(read::<Request>(&mut &bytes[..], REQUEST_BYTES_MAX).unwrap(), request);
        let refused: Answer = Err(Fault::new("no"));
        bytes.clear();
        write(&mut bytes, &refused, ANSWER_BYTES_MAX).unwrap();
        assert_eq!(read::<Answer>(&mut &bytes[..], ANSWER_BYTES_MAX).unwrap(), refused);
    }

    #[test]
    fn no_log_shows_a_password() {
        let request = Request::AddUser {
            username: "ada".into(),
            password: Secret("geheim".into()),
            display_name: String::new(),
        };
        assert!(!format!("{request:?}").contains("geheim"));
    }

    #[test]
    fn garbage_has_a_name() {
        use MessageError::{Io, Malformed, TooLarge, Version};
        assert!(matches!(read_request(b""), Err(Io(_))));
        assert!(matches!(read_request(b"\0\0\0\x05{}"), Err(Io(_))));
        let large = TooLarge { bytes: 0x4745_5420, bytes_max: 100 }.to_string();
        assert_eq!(read_request(b"GET / HTTP/1.1").unwrap_err().to_string(), large);
        assert!(matches!(read_request(&framed("nonsense")), Err(Malformed(_))));
        let newer = framed(r#"{"version":2,"message":{"fly":{}},"more":1}"#);
        assert!(matches!(read_request(&newer), Err(Version { found: 2 })));
        let unknown = framed(r#"{"version":1,"message":{"fly":{}}}"#);
        assert!(matches!(read_request(&unknown), Err(Malformed(_))));
        let good = framed(r#"{"version":1,"message":"verify"}"#);
        assert_eq!(read_request(&good).unwrap(), Request::Verify);
        let mut small = Vec::new();
        assert!(matches!(write(&mut small, &"x".repeat(100), 100), Err(TooLarge { .. })));
    }
}
