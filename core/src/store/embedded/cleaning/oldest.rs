//! Since when the oldest of what is dead has been dead: kept in a register of the store itself, so that
//! who is started again and again still cleans in time.

use bytes::Bytes;
use dunlin_protocol::LogId;

use crate::store::{RegisterKey, Set, StoreError, Write};

use super::super::Shared;
use super::super::read::read_register;

/// It is written so many times, at most, in the time for which something dead may stay.
const STEPS: u64 = 16;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oldest {
    /// As the register says it, in Unix milliseconds; `None` if nothing is dead.
    written_ms: Option<u64>,
    /// What the register said when the store was opened: what was dead then has been no longer than that.
    before_start_ms: Option<u64>,
}

fn log() -> LogId {
    LogId::service(b"ages")
}

fn key() -> RegisterKey {
    RegisterKey::letter(b'd')
}

impl Oldest {
    pub(super) fn read(shared: &Shared) -> Result<Oldest, StoreError> {
        let value = read_register(shared, log(), &key())?.value;
        Ok(Oldest::decode(value.as_deref().unwrap_or_default()))
    }

    /// Nothing, or a time.
    fn decode(value: &[u8]) -> Oldest {
        let written_ms = value.try_into().ok().map(u64::from_le_bytes);
        Oldest { written_ms, before_start_ms: written_ms }
    }

    /// Since when something may have been dead that was not looked at since the store was opened.
    pub(super) fn before_start_ms(&self) -> Option<u64> {
        self.before_start_ms
    }

    /// Keeps in mind since when the oldest has been dead now; the write for it, if it is another time.
    /// `dead_ms_max` is for how long something dead may stay.
    pub(super) fn note(&mut self, since_ms: Option<u64>, dead_ms_max: u64) -> Option<Write> {
        let step_ms = (dead_ms_max / STEPS).max(1);
        let since_ms = since_ms.map(|since_ms| since_ms - since_ms % step_ms);
        if since_ms == self.written_ms {
            return None;
        }
        self.written_ms = since_ms;
        let value = since_ms.map(|since_ms| Bytes::copy_from_slice(&since_ms.to_le_bytes()));
        Some(Write::registers(log(), [Set::always(key(), value.unwrap_or_default())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(write: &Write) -> &[u8] {
        write.sets[0].value.as_deref().unwrap()
    }

    #[test]
    fn it_is_written_when_it_changes_and_comes_back() {
        let mut oldest = Oldest::decode(&[]);
        assert_eq!((oldest.note(None, 1600), oldest.before_start_ms()), (None, None));
        let write = oldest.note(Some(12_345), 1600).unwrap();
        assert_eq!(oldest.note(Some(12_399), 1600), None, "the same step");
        assert_eq!(oldest.before_start_ms(), None, "that was after the start");
        let mut again = Oldest::decode(value(&write));
        assert_eq!(again.before_start_ms(), Some(12_300), "never later than it was");
        assert_eq!(again.note(Some(12_345), 1600), None);
        let write = again.note(None, 1600).unwrap();
        assert_eq!(Oldest::decode(value(&write)), Oldest::decode(&[]));
    }
}
