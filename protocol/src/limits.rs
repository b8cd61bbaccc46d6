//! Numbers that both sides of a connection must agree on, each with its reason.

/// The version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Bytes of the length prefix of a frame.
pub const FRAME_PREFIX_BYTES: usize = 4;

/// Default of the largest frame body after login, in bytes. A page of history must fit, and one
/// connection must not make the server hold more than this while a frame is incomplete.
pub const FRAME_BYTES_MAX: u32 = 1024 * 1024;

/// The largest frame body before login, in bytes: tokens are small, and nobody is known yet.
pub const FRAME_BYTES_MAX_BEFORE_LOGIN: u32 = 64 * 1024;

/// Default of the largest frame body after login, in bytes, of all requests but two: a Send may be
/// longer by the content of its message, and a Sync as long as any frame. What such a request may
/// hold (a hundred names, a token) fits with room to spare, and thousands of connections that begin
/// large frames and never end them have little to begin.
pub const SMALL_FRAME_BYTES_MAX: u32 = 16 * 1024;

/// Default of how long a frame may take from its first byte to its last, in milliseconds: 64 KiB come
/// in that time over the slowest mobile network, and 1 MiB at 140 kbit/s.
pub const FRAME_TIMEOUT_MS: u32 = 60_000;

/// The largest content of a message, in bytes. Larger things are files.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// The largest payload of a signal, in bytes: it is dropped first, so it should cost little.
pub const SIGNAL_BYTES_MAX: usize = 1024;

/// Capabilities that a Hello may name; what is beyond is ignored.
pub const CAPABILITIES_MAX: usize = 32;
/// The longest name of a capability, in bytes of `a-z 0-9 . -`.
pub const CAPABILITY_BYTES_MAX: usize = 32;

/// A response of no more bytes than this is not deflated: what is saved is less than a packet.
pub const DEFLATE_BYTES_MIN: usize = 1024;

/// The longest content type or signal kind, in bytes of ASCII.
pub const TYPE_BYTES_MAX: usize = 64;

/// The longest display name, device name and client name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 64;

/// Length of a registered user name, in characters of `a-z 0-9 . _ -`.
pub const USERNAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=32;

/// The longest user name that an issuer may vouch for, in bytes of UTF-8: other systems use mail
/// addresses and UUIDs as names.
pub const ISSUED_USERNAME_BYTES_MAX: usize = 128;

/// The characters of a registered user name, for people and programs.
pub const USERNAME_CHARACTERS: &str = "a-z0-9._-";

/// Length of a password in bytes. The upper end bounds the work of hashing.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=128;

/// Entries of a page of history: when the client does not say, and at most.
pub const HISTORY_ENTRIES_DEFAULT: u32 = 100;
/// See [`HISTORY_ENTRIES_DEFAULT`].
pub const HISTORY_ENTRIES_MAX: u32 = 1000;

/// Positions that one Sync may name. They spare the telling of what the client knows by pushes, and whoever has
/// heard of more conversations since the last Sync names those that were used last.
pub const SYNC_POSITIONS_MAX: usize = 10_000;
/// Bytes of one position at most: 18 for the id, 11 for each number, 2 around it.
pub const SYNC_POSITION_BYTES_MAX: usize = 64;
/// Entries per conversation in one Sync: when the client does not say, and at most.
pub const SYNC_ENTRIES_DEFAULT: u32 = 20;
/// See [`SYNC_ENTRIES_DEFAULT`].
pub const SYNC_ENTRIES_MAX: u32 = 100;

/// The most bytes of a token of a Sync, which only the server looks into.
pub const SYNC_TOKEN_BYTES_MAX: usize = 128;
/// Bytes of a Synced: when the client does not say, and at least. A list of conversations that fills a screen
/// many times over, with the newest messages, in less than a second on a slow network.
pub const SYNC_BYTES_DEFAULT: u32 = 256 * 1024;
/// See [`SYNC_BYTES_DEFAULT`]. With less, an answer would be little but its frame.
pub const SYNC_BYTES_MIN: u32 = 4096;

/// Names and ids that one FindUsers may ask for.
pub const FIND_USERS_MAX: usize = 100;

/// The longest key of a setting, in bytes of visible ASCII: a few words with dots between them.
pub const SETTING_KEY_BYTES_MAX: usize = 48;
/// The largest value of a setting, in bytes: a draft of a page of text. What is larger is a file.
pub const SETTING_VALUE_BYTES_MAX: usize = 4096;
/// Settings of an account: some for the program, and some for each conversation that has a draft or is
/// muted.
pub const SETTINGS_MAX: u32 = 1000;
/// Bytes of the keys and values of all settings of an account. A new device gets all of them with its first
/// Sync, before anything else.
pub const SETTINGS_BYTES_MAX: u32 = 1024 * 1024;

/// Default of how many requests of one connection may wait for their response.
pub const REQUESTS_OUTSTANDING_MAX: u32 = 256;

/// Default of the heartbeat interval in milliseconds: mobile networks forget idle mappings after
/// one to five minutes.
pub const HEARTBEAT_INTERVAL_MS: u32 = 60_000;

const _: () =
    assert!(SETTING_KEY_BYTES_MAX + SETTING_VALUE_BYTES_MAX + 64 < SMALL_FRAME_BYTES_MAX as usize);
const _: () = assert!(CONTENT_BYTES_MAX < FRAME_BYTES_MAX as usize);
const _: () = assert!(FRAME_BYTES_MAX_BEFORE_LOGIN <= FRAME_BYTES_MAX);
const _: () =
    assert!(FIND_USERS_MAX * (ISSUED_USERNAME_BYTES_MAX + 2) < SMALL_FRAME_BYTES_MAX as usize);
const _: () = assert!(SYNC_POSITIONS_MAX * SYNC_POSITION_BYTES_MAX < FRAME_BYTES_MAX as usize);
