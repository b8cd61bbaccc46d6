//! How often a kind of line may be logged: whoever can provoke a line must not fill the disk with it,
//! nor keep other lines out.
//!
//! A kind is a place in the code; where a line has a `reason` or a `code`, as a close or a failed
//! login has, each of these is a kind of its own. What is left out is counted, and the next line of the
//! kind says how many; if none comes, the writer reports it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// Kinds that are told apart by a reason or a code. There are some dozens of them; if ever a value of
/// a stranger gets there, it costs no more memory than this.
const KINDS_MAX: usize = 1024;

/// Fields whose value tells kinds of one place apart.
const TELLING_FIELDS: [&str; 2] = ["reason", "code"];

/// How many lines of a kind there may be.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// At once.
    burst: u32,
    /// From then on.
    per_second: u32,
}

/// What everybody logs. At 300 bytes a line, a kind that never pauses takes 130 MB a day; with a name of 128
/// characters that must be escaped, a line has 1,050.
const NORMAL: Rate = Rate { burst: 50, per_second: 5 };

/// What is logged for somebody who looks for something: it should miss little, and still not fill
/// a disk within the hour.
const DETAILED: Rate = Rate { burst: 1000, per_second: 200 };

impl Rate {
    fn of(level: Level) -> Rate {
        if level <= Level::INFO { NORMAL } else { DETAILED }
    }
}

/// Names a kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    place: Identifier,
    /// Of reason and code; 0 if there are none.
    told_apart: u64,
}

/// Whether a line is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is, and so many of its kind before it were not.
    Log {
        left_out: u64,
        /// It is the first of its kind: [name](Limits::name) it.
        is_new: bool,
    },
    /// It is not.
    LeaveOut {
        /// None was waiting to be reported.
        is_first: bool,
    },
}

/// Lines of a kind that were left out and that no later line has told of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) metadata: &'static Metadata<'static>,
    /// The message that they have in common.
    pub(super) of: String,
    pub(super) count: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Limits {
    hasher: RandomState,
    buckets: Mutex<HashMap<Kind, Bucket>>,
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    metadata: &'static Metadata<'static>,
    name: String,
    /// In thousandths of a line.
    tokens: u64,
    filled: Instant,
    left_out: u64,
}

impl Bucket {
    fn new(metadata: &'static Metadata<'static>, now: Instant) -> Bucket {
        let tokens = u64::from(Rate::of(*metadata.level()).burst) * 1000;
        Bucket { metadata, name: String::new(), tokens, filled: now, left_out: 0 }
    }

    fn take(&mut self, now: Instant) -> bool {
        let Rate { burst, per_second } = Rate::of(*self.metadata.level());
        let passed = now.saturating_duration_since(self.filled);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let gained = passed_ms.saturating_mul(per_second.into());
        self.tokens = self.tokens.saturating_add(gained).min(u64::from(burst) * 1000);
        // What is less than a millisecond counts the next time.
        self.filled += Duration::from_millis(passed_ms);
        let left = self.tokens.checked_sub(1000);
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }
}

impl Limits {
    /// Of which kind an event is.
    pub(super) fn kind(&self, event: &Event<'_>) -> Kind {
        let metadata = event.metadata();
        let place = metadata.callsite();
        let has = |name: &&str| metadata.fields().field(*name).is_some();
        if !TELLING_FIELDS.iter().any(has) {
            return Kind { place, told_apart: 0 };
        }
        let mut telling = Telling(self.hasher.build_hasher());
        event.record(&mut telling);
        Kind { place, told_apart: telling.0.finish() }
    }

    /// Counts a line, and says whether it is logged. With too many kinds of one place, it becomes one
    /// of those that are not told apart.
    pub(super) fn take(
        &self,
        kind: &mut Kind,
        metadata: &'static Metadata<'static>,
        now: Instant,
    ) -> Verdict {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= KINDS_MAX && !buckets.contains_key(kind) {
            kind.told_apart = 0;
        }
        let mut is_new = false;
        let bucket = buckets.entry(kind.clone()).or_insert_with(|| {
            is_new = true;
            Bucket::new(metadata, now)
        });
        if bucket.take(now) {
            return Verdict::Log { left_out: std::mem::take(&mut bucket.left_out), is_new };
        }
        bucket.left_out += 1;
        Verdict::LeaveOut { is_first: bucket.left_out == 1 }
    }

    /// Says what message the lines of a kind have.
    pub(super) fn name(&self, kind: &Kind, message: &str) {
        if let Some(bucket) = self.buckets.lock().get_mut(kind) {
            bucket.name = message.to_owned();
        }
    }

    /// What was left out and not told of; from here on it counts as told.
    pub(super) fn take_left_out(&self) -> Vec<LeftOut> {
        let mut buckets = self.buckets.lock();
        let silent = buckets.values_mut().filter(|bucket| bucket.left_out > 0);
        let report = silent.map(|bucket| LeftOut {
            metadata: bucket.metadata,
            of: bucket.name.clone(),
            count: std::mem::take(&mut bucket.left_out),
        });
        report.collect()
    }
}

/// Hashes the fields that tell kinds apart.
struct Telling<H>(H);

impl<H: Hasher> Visit for Telling<H> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if TELLING_FIELDS.contains(&field.name()) {
            value.hash(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if TELLING_FIELDS.contains(&field.name()) {
            format!("{value:?}").hash(&mut self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::layer::tests::capture;

    fn closed(reason: &'static str) {
        tracing::info!(reason, "closed");
    }

    #[test]
    fn a_flood_is_logged_in_part_and_counted() {
        let lines = capture(|log| {
            let start = Instant::now();
            log.at(start);
            (0..5000).for_each(|_| closed("MALFORMED_FRAME"));
            log.at(start + Duration::from_millis(200));
            (0..2).for_each(|_| closed("MALFORMED_FRAME"));
            log.at(start + Duration::from_millis(400));
            closed("MALFORMED_FRAME");
        });
        let burst = NORMAL.burst as usize;
        assert_eq!(lines.len(), burst + 2);
        assert!(lines[..burst].iter().all(|line| !line.contains("left_out")), "{lines:?}");
        let left_out = format!("\"left_out\":{}", 5000 - burst);
        assert!(lines[burst].contains(&left_out), "{lines:?}");
        assert!(lines[burst + 1].contains("\"left_out\":1}"), "{lines:?}");
    }

    #[test]
    fn a_kind_keeps_no_other_kind_out() {
        let lines = capture(|_| {
            (0..5000).for_each(|_| closed("MALFORMED_FRAME"));
            closed("SERVER_ERROR");
            tracing::info!("another place");
            tracing::info!(code = %"A", "by code");
        });
        for needle in ["SERVER_ERROR", "another place", "by code"] {
            assert_eq!(lines.iter().filter(|line| line.contains(needle)).count(), 1, "{needle}");
        }
    }

    #[test]
    fn values_of_strangers_cost_no_memory() {
        let mut kinds = 0;
        capture(|log| {
            for number in 0..10 * KINDS_MAX {
                let reason = number.to_string();
                tracing::info!(reason, "who knows");
            }
            kinds = log.limits.buckets.lock().len();
        });
        assert_eq!(kinds, KINDS_MAX + 1);
    }

    #[test]
    fn what_no_later_line_tells_of_is_reported_once() {
        capture(|log| {
            (0..NORMAL.burst + 7).for_each(|_| closed("RATE_LIMITED"));
            let left_out = log.limits.take_left_out();
            assert_eq!(left_out.len(), 1);
            assert_eq!((left_out[0].of.as_str(), left_out[0].count), ("closed", 7));
            assert_eq!(log.limits.take_left_out(), []);
        });
    }
}
