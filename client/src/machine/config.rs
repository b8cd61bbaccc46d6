//! What a machine is told at its birth.

use dunlin_protocol::wire::DeviceKind;
use dunlin_protocol::{DeviceId, limits};

/// Who and where a client is, and how much it may keep in memory.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port` of the servers, tried in turn. At least one.
    pub addresses: Vec<String>,
    /// Name and version of the program, at most 64 bytes; for the server's logs.
    pub client: String,
    /// This installation.
    pub device: Device,
    /// Only look at what has happened, beside the client that is connected for the same session, as the
    /// extension of an app does that shows a notification: no pushes come, nothing can be sent, and nobody is
    /// replaced. Needs a resume or an access token.
    pub fetch_only: bool,
    /// What [`super::Event::Saved`] has told in an earlier run of this user; empty if there is none. What can't
    /// be read is told by [`super::Event::HistoryLost`], and everything is delivered from the beginning.
    pub saved: Vec<u8>,
    /// How much of what was missed is fetched.
    pub backlog: Backlog,
    /// Bytes of one answer that tells what was missed, about; 0 leaves it to the server.
    pub sync_bytes_max: u32,
    /// Whether the server may deflate large responses.
    pub deflate: bool,
    /// Messages of one conversation that may be under way at once. With 1, a message that the
    /// server could not store at first is never overtaken by a later one; with more, it is faster.
    pub sends_per_conversation: usize,
    /// Messages that may wait to be stored; more are refused with [`super::Failure::QueueFull`].
    pub outbox_messages_max: usize,
    /// Content of those messages in bytes.
    pub outbox_bytes_max: usize,
    /// Bytes of messages that the server has stored, the newest, that are kept: if the server is put back to an
    /// earlier state, they are sent again, and what it has lost is there once more. No
    /// [`super::Event::Completed`] comes for that. 0 keeps none: whoever has an archive of its own, or would rather
    /// decide by itself what is said again, leaves it so.
    pub resend_after_restore_bytes_max: usize,
    /// Other requests that may wait for their answer.
    pub requests_max: usize,
    /// Content in bytes, of all conversations, that is kept because something before it is
    /// missing. Beyond it, it is forgotten, and fetched again in its turn.
    pub aside_bytes_max: usize,
}

impl Config {
    /// The defaults of a chat on this device.
    pub fn new(address: impl Into<String>, device: Device) -> Config {
        Config {
            addresses: vec![address.into()],
            client: concat!("dunlin-client ", env!("CARGO_PKG_VERSION")).into(),
            device,
            fetch_only: false,
            saved: Vec::new(),
            backlog: Backlog::Newest(limits::SYNC_ENTRIES_DEFAULT),
            sync_bytes_max: 0,
            deflate: true,
            sends_per_conversation: 1,
            outbox_messages_max: 10_000,
            outbox_bytes_max: 16 * 1024 * 1024,
            resend_after_restore_bytes_max: 0,
            requests_max: 1000,
            aside_bytes_max: 4 * 1024 * 1024,
        }
    }
}

/// An installation of a client.
#[derive(Debug, Clone)]
pub struct Device {
    /// Chosen once, at random, and kept: tokens are bound to it.
    pub id: DeviceId,
    /// What it is; the server limits sessions by it.
    pub kind: DeviceKind,
    /// Shown to the user in the list of sessions, at most 64 bytes.
    pub name: String,
}

/// What to do about entries that were missed: while offline, or before this device existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// Everything is delivered, from the first entry on: for bots and archives.
    Everything,
    /// At most about so many (1 to 100) of the newest entries of each conversation; what is older
    /// is announced as [`super::Event::Skipped`], for the application to ask for when the user
    /// scrolls there.
    Newest(u32),
}

impl Backlog {
    /// For Sync.
    pub(super) fn entries_per_conversation(self) -> u32 {
        match self {
            Backlog::Everything => limits::SYNC_ENTRIES_MAX,
            Backlog::Newest(entries) => entries.clamp(1, limits::SYNC_ENTRIES_MAX),
        }
    }
}
