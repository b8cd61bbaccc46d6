//! The entries of segments without an index: whether those of each log follow each other.

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::super::index::memory::SegmentIndex;
use super::super::index::spans::{Course, Missing};

/// What was seen of each log, the oldest segment first.
#[derive(Debug, Default)]
pub(in super::super) struct LogsCheck {
    seen: HashMap<LogId, SeenLog, RandomState>,
}

#[derive(Debug)]
struct SeenLog {
    course: Course,
    entries_from: u64,
    /// What is missing, some of which may have expired: no more than there are holes between parts of
    /// the log and within them.
    missing: Vec<Missing>,
}

impl LogsCheck {
    /// Adds the next segment.
    pub(in super::super) fn add(&mut self, index: &SegmentIndex) {
        let segment = index.segment;
        for &(log, ref part) in index.logs.iter() {
            let new = || SeenLog { course: Course::new(log, 0), entries_from: 0, missing: vec![] };
            let seen = self.seen.entry(log).or_insert_with(new);
            let mut from = part.first;
            for lost in part.lost() {
                seen.pass(from, lost - 1, segment);
                from = lost + 1;
            }
            seen.pass(from, part.last(), segment);
            seen.missing.extend(seen.course.reach(part.last(), segment));
            if let Some(floors) = index.floors.get(&log) {
                seen.entries_from = floors.entries_from;
            }
        }
    }

    /// What is missing and has not expired, log by log.
    pub(in super::super) fn missing(self, mut found: impl FnMut(Missing)) {
        let seen = self.seen.into_iter().filter(|(_, seen)| !seen.missing.is_empty());
        let mut seen: Vec<(LogId, SeenLog)> = seen.collect();
        seen.sort_unstable_by_key(|(log, _)| *log);
        for missing in seen.iter().flat_map(|(_, seen)| seen.alive()) {
            found(missing);
        }
    }
}

impl SeenLog {
    fn pass(&mut self, from: u64, to: u64, segment: u32) {
        if from <= to {
            self.missing.extend(self.course.pass(from, to, (segment, segment)));
        }
    }

    fn alive(&self) -> impl Iterator<Item = Missing> {
        let later = self.missing.iter().filter(|missing| missing.to >= self.entries_from);
        later.map(|missing| Missing { from: missing.from.max(self.entries_from), ..*missing })
    }
}
