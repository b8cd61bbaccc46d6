//! Registers: what holds now.
//!
//! A log has entries, which say what happened, and registers, each of which holds one value at a
//! time. A write that sets registers gets the log's next *version*; so "what has changed since
//! version v" is one question for all of them, whatever they are used for.

use std::borrow::Borrow;
use std::fmt;

use bytes::Bytes;
use dunlin_protocol::LogId;
use smallvec::SmallVec;

use super::write::Malformed;

/// The most bytes of a register's key: room for a word and two ids.
pub const REGISTER_KEY_BYTES_MAX: usize = 64;

/// The most bytes of a register's value. What is larger is a file.
pub const REGISTER_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Names a register within its log: 1 to [`REGISTER_KEY_BYTES_MAX`] bytes, ordered as bytes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterKey(SmallVec<[u8; 24]>);

/// At once, and not byte by byte as the vector would do it.
impl Clone for RegisterKey {
    fn clone(&self) -> RegisterKey {
        RegisterKey(SmallVec::from_slice(&self.0))
    }
}

impl RegisterKey {
    /// A key of these bytes. Fails if there are none, or too many.
    pub fn new(bytes: &[u8]) -> Result<RegisterKey, Malformed> {
        if bytes.is_empty() || bytes.len() > REGISTER_KEY_BYTES_MAX {
            return Err(Malformed::Key { bytes: bytes.len() });
        }
        Ok(RegisterKey(SmallVec::from_slice(bytes)))
    }

    /// The key of what a letter and an id name.
    pub fn of(letter: u8, id: &[u8; 16]) -> RegisterKey {
        let mut bytes = SmallVec::with_capacity(17);
        bytes.push(letter);
        bytes.extend_from_slice(id);
        RegisterKey(bytes)
    }

    /// The key of what a letter and a number name. Keys of one letter are ordered by number.
    pub fn numbered(letter: u8, number: u64) -> RegisterKey {
        let mut bytes = SmallVec::with_capacity(9);
        bytes.push(letter);
        bytes.extend_from_slice(&number.to_be_bytes());
        RegisterKey(bytes)
    }

    /// The key that is one letter.
    pub fn letter(letter: u8) -> RegisterKey {
        RegisterKey(SmallVec::from_slice(&[letter]))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Keys are ordered and compared as their bytes are.
impl Borrow<[u8]> for RegisterKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RegisterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisterKey({})", self.0.escape_ascii())
    }
}

/// A register as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Which of its log.
    pub key: RegisterKey,
    /// The version of the log that set it.
    pub version: u64,
    /// What it holds; `None` if it was removed.
    pub value: Option<Bytes>,
}

impl Register {
    /// What it counts for in a limit of bytes: its key and its value.
    pub fn bytes(&self) -> usize {
        self.key.as_bytes().len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Which registers of a log to read, in the order of their keys. Those that were removed are left
/// out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterRange {
    /// The log.
    pub log: LogId,
    /// How their keys begin; empty for all of them.
    pub prefix: SmallVec<[u8; 24]>,
    /// Where to go on: after this key.
    pub after: Option<RegisterKey>,
    /// At most so many, at least 1.
    pub registers_max: usize,
    /// At most so many bytes of keys and values, but always one register if there is one.
    pub bytes_max: usize,
}

/// Which changes of a log's registers to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRange {
    /// The log.
    pub log: LogId,
    /// Those that were set, or removed, by a later version than this. Whoever knows nothing asks since
    /// 0, which is never answered `afresh`.
    pub since: u64,
    /// At most so many, at least 1; but the registers that one version has set are never parted.
    pub registers_max: usize,
    /// At most so many bytes of keys and values, with the same exception.
    pub bytes_max: usize,
}

/// What was read of a log's registers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registers {
    /// In the order of keys, or for changes in the order of versions, and of keys within one.
    pub registers: Vec<Register>,
    /// The version of the log at that time.
    pub version: u64,
    /// Registers were left out because of a limit.
    pub more: bool,
    /// Of changes: that registers were removed since then is not known any more, or the log never had
    /// that version. Whoever asks has to forget all that it knows, and to read them by
    /// [`RegisterRange`]; here are none.
    pub afresh: bool,
}
