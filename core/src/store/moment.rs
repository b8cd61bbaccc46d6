//! Moments: what has changed since then, asked of many logs at once.
//!
//! Whoever comes back after a while wants to know which of ten thousand logs have changed, and nearly none
//! have. A version answers that for one log; a moment does for all of them.

use std::fmt;

use bytes::Bytes;

use super::StoreError;
use super::read::Head;

/// The most bytes of a [`Moment`].
pub const MOMENT_BYTES_MAX: usize = 32;

/// A moment in the order in which a store has written: made by a store, and understood by that store
/// alone. It stays good over restarts and while deleted things are cleaned away. If an older copy of
/// the store is put in its place, moments that the copy has not seen are
/// [unknown](StoreError::MomentUnknown), whatever is written to it afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Moment {
    length: u8,
    /// Zeros behind its length.
    bytes: [u8; MOMENT_BYTES_MAX],
}

impl Moment {
    /// A moment of these bytes; `None` if they are too many to be one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Moment> {
        let mut held = [0; MOMENT_BYTES_MAX];
        held.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Moment { length: bytes.len() as u8, bytes: held })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// For a token.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Moment({})", self.as_bytes().escape_ascii())
    }
}

/// Which of the logs that were asked for may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedLogs {
    /// Their places in what was asked, ascending, with their heads; or why it can't be told whether one
    /// has changed.
    pub heads: Vec<(u32, Result<Head, StoreError>)>,
    /// To ask from the next time: nothing that is not in this answer was written before it.
    pub now: Moment,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_few_bytes() {
        for length in [0, 1, MOMENT_BYTES_MAX] {
            let bytes = vec![7; length];
            let moment = Moment::from_bytes(&bytes).expect("it fits");
            assert_eq!((moment.as_bytes(), &moment.to_bytes()[..]), (&bytes[..], &bytes[..]));
        }
        assert_eq!(Moment::from_bytes(&[7; MOMENT_BYTES_MAX + 1]), None);
        assert_ne!(Moment::from_bytes(&[0]), Moment::from_bytes(&[0, 0]));
    }
}
