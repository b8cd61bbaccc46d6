//! What is asked of the index about registers, and what it finds.

use std::cmp::Ordering;
use std::ops::Bound;

use bytes::Bytes;
use dunlin_protocol::LogId;

use crate::store::{RegisterKey, RegisterRange};

use super::super::segment::files::Location;
use super::super::segment::record::{Floors, LogState};

/// Which keys of a log.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct KeyRange<'a> {
    pub log: LogId,
    pub prefix: &'a [u8],
    pub after: Option<&'a RegisterKey>,
}

impl<'a> KeyRange<'a> {
    pub(in super::super) fn of(range: &'a RegisterRange) -> KeyRange<'a> {
        KeyRange { log: range.log, prefix: &range.prefix, after: range.after.as_ref() }
    }

    /// No key of the range is less than this.
    pub(super) fn low(&self) -> &'a [u8] {
        self.after.map_or(self.prefix, |after| self.prefix.max(after.as_bytes()))
    }

    /// Where the range begins, by the bytes of keys.
    pub(super) fn begin(&self) -> Bound<&'a [u8]> {
        match self.after {
            Some(after) if after.as_bytes() >= self.prefix => Bound::Excluded(after.as_bytes()),
            Some(_) | None => Bound::Included(self.prefix),
        }
    }

    /// Whether a key is before, in or behind the range.
    pub(super) fn place_of(&self, log: &[u8; 16], key: &RegisterKey) -> Ordering {
        let key = key.as_bytes();
        log.cmp(self.log.as_bytes()).then_with(|| match self.begin() {
            Bound::Excluded(after) if key <= after => Ordering::Less,
            Bound::Excluded(_) | Bound::Included(_) | Bound::Unbounded => {
                if key.starts_with(self.prefix) { Ordering::Equal } else { key.cmp(self.prefix) }
            }
        })
    }
}

/// A register as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Found {
    pub version: u64,
    pub place: Location,
    /// It was removed.
    pub gone: bool,
    /// What it holds, if that is small and in memory.
    pub value: Option<SmallValue>,
}

/// The most bytes of a value that is kept in memory: three numbers.
const SMALL_VALUE_BYTES: usize = 24;

/// A small value: cursors and the like, which are compared when they are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct SmallValue {
    length: u8,
    bytes: [u8; SMALL_VALUE_BYTES],
}

impl SmallValue {
    /// `None` if there is no value, or a larger one.
    pub(super) fn of(value: Option<&[u8]>) -> Option<SmallValue> {
        let value = value?;
        let mut bytes = [0; SMALL_VALUE_BYTES];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(SmallValue { length: value.len() as u8, bytes })
    }

    pub(in super::super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// For an answer.
    pub(in super::super) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }
}

impl Found {
    /// Whether it counts where the log has these floors.
    pub(in super::super) fn is_known(&self, floors: &Floors) -> bool {
        is_known(self.version, self.gone, floors)
    }
}

/// Whether a register that was set by this version, or removed, counts where the log has these floors.
pub(super) fn is_known(version: u64, gone: bool, floors: &Floors) -> bool {
    version >= floors.registers_from && !(gone && version <= floors.marks_from)
}

/// Registers of a log, all at one moment.
#[derive(Debug)]
pub(in super::super) struct FoundRegisters {
    /// The state of the log.
    pub state: LogState,
    /// In the order of their keys, without those that were removed.
    pub registers: Vec<(RegisterKey, Found)>,
    /// There are others behind them.
    pub more: bool,
}

/// Changes of a log, all at one moment.
#[derive(Debug)]
pub(in super::super) struct FoundChanges {
    /// The state of the log.
    pub state: LogState,
    /// Versions, and where what they wrote is: in order, with some that was overwritten since.
    pub changes: Vec<(u64, Location)>,
    /// There are others behind them.
    pub more: bool,
}
