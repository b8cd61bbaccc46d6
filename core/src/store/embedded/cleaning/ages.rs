//! How old what is in a segment is at least: kept in a register of a log of the store itself, since
//! registers are written without a time.

use std::time::Duration;

use dunlin_protocol::LogId;

use crate::store::{RegisterKey, Set, StoreError, Write};

use super::super::Shared;
use super::super::read::read_register;

/// Times that are kept in mind: twice as many as are needed.
const TIMES_MAX: usize = 16;

/// In the time that matters there are so many of them.
const STEPS: u64 = 8;

/// A time and a segment: Unix milliseconds (8), number (4).
const TIME_BYTES: usize = 12;

/// When which segments were there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ages {
    /// Times, and the newest segment that there was then: all lower ones are older. In order.
    times: Vec<(u64, u32)>,
    kept_ms: u64,
}

fn log() -> LogId {
    LogId::service(b"ages")
}

fn key() -> RegisterKey {
    RegisterKey::letter(b'a')
}

impl Ages {
    pub(super) fn read(shared: &Shared, kept: Duration) -> Result<Ages, StoreError> {
        let value = if kept.is_zero() { None } else { read_register(shared, log(), &key())?.value };
        Ok(Ages::decode(value.as_deref().unwrap_or_default(), kept))
    }

    fn decode(value: &[u8], kept: Duration) -> Ages {
        let (times, _) = value.as_chunks::<TIME_BYTES>();
        let time = |bytes: &[u8; TIME_BYTES]| {
            let [a, b, c, d, e, f, g, h, segment @ ..] = *bytes;
            (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u32::from_le_bytes(segment))
        };
        let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        Ages { times: times.iter().map(time).collect(), kept_ms }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.times.len() * TIME_BYTES);
        for (time_ms, segment) in &self.times {
            bytes.extend_from_slice(&time_ms.to_le_bytes());
            bytes.extend_from_slice(&segment.to_le_bytes());
        }
        bytes
    }

    /// What is in lower segments is older than is to be kept.
    pub(super) fn old_below(&self, now_ms: u64) -> u32 {
        if self.kept_ms == 0 {
            return u32::MAX;
        }
        let old = |&&(time_ms, _): &&(u64, u32)| time_ms.saturating_add(self.kept_ms) <= now_ms;
        self.times.iter().filter(old).map(|(_, segment)| *segment).max().unwrap_or(0)
    }

    /// Keeps in mind which segment is the newest now; the write for it, unless it is too early.
    pub(super) fn note(&mut self, now_ms: u64, newest: u32) -> Option<Write> {
        // A clock that was set back must not make anything look older.
        self.times.retain(|(time_ms, _)| *time_ms <= now_ms);
        let step_ms = self.kept_ms / STEPS;
        let is_early = |&(time_ms, segment): &(u64, u32)| {
            time_ms.saturating_add(step_ms) > now_ms || segment >= newest
        };
        if self.kept_ms == 0 || self.times.last().is_some_and(is_early) {
            return None;
        }
        self.times.push((now_ms, newest));
        let first = self.times.len().saturating_sub(TIMES_MAX);
        self.times.drain(..first);
        Some(Write::registers(log(), [Set::always(key(), self.encode().into())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_as_old_as_the_first_look_at_a_later_one() {
        let kept = Duration::from_millis(800);
        let mut ages = Ages::decode(&[], kept);
        assert_eq!(ages.old_below(5000), 0);
        assert!(ages.note(1000, 7).is_some());
        assert!(ages.note(1099, 9).is_none(), "too early");
        assert!(ages.note(1100, 7).is_none(), "nothing new");
        assert!(ages.note(1100, 9).is_some());
        let ages = Ages::decode(&ages.encode(), kept);
        assert_eq!([1799, 1800, 1899, 1900].map(|now| ages.old_below(now)), [0, 7, 7, 9]);
        // A clock that was set back.
        let mut back = ages.clone();
        assert!(back.note(1050, 12).is_none());
        assert_eq!((back.old_below(1850), back.old_below(9999)), (7, 7));
        let mut many = ages;
        (20..90).for_each(|number| drop(many.note(1100 + number * 100, number as u32)));
        assert_eq!(many.times.len(), TIMES_MAX);
        assert_eq!(many.old_below(10_000), 81);
    }

    #[test]
    fn nothing_is_kept_for_no_time() {
        let mut ages = Ages::decode(&[], Duration::ZERO);
        assert_eq!(ages.old_below(1), u32::MAX);
        assert_eq!(ages.note(1, 1), None);
    }
}
