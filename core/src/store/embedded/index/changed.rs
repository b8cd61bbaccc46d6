//! Which logs have changed since a place in the order of writing.
//!
//! Parts of the index that are older than the place are not looked at; so whoever asks soon again asks
//! the memory alone. Of the others, that part decides which has the log last, since it knows where the
//! newest record of the log is.

use std::sync::Arc;

use dunlin_protocol::LogId;

use crate::store::{Head, StoreError};

use super::super::segment::files::Location;
use super::memory::SegmentIndex;
use super::run::Run;
use super::{Index, Live};

/// Logs that are looked for at a time: so long the lane may have to wait for its turn to add a batch, some
/// tens of microseconds.
const LOGS_AT_A_TIME: usize = 512;

/// Where the index ends: of the newest part that has anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct End {
    pub place: Location,
    /// The life in which that segment was begun.
    pub life: u64,
}

/// Which of some logs have changed: their numbers among these, and their heads.
pub(in super::super) type Changed = Vec<(u32, Result<Head, StoreError>)>;

/// Some logs, of which those are looked for that have changed.
struct Search<'a> {
    logs: &'a [LogId],
    since: Location,
    /// The logs, by their numbers, that no part has had yet.
    open: Vec<u32>,
    /// By the numbers of the logs: those that have changed.
    verdicts: Vec<Option<Result<Head, StoreError>>>,
}

impl Search<'_> {
    fn new(logs: &[LogId], since: Location) -> Search<'_> {
        let open = (0..logs.len() as u32).collect();
        Search { logs, since, open, verdicts: vec![None; logs.len()] }
    }

    /// The newest part first: what it says of a log is what holds.
    fn look_in_memory(&mut self, live: &Live) {
        let Search { logs, since, open, verdicts } = self;
        for part in live.in_memory().filter(|part| part.reaches(*since)) {
            open.retain(|&at| {
                let log = &logs[at as usize];
                let Some(of_log) = part.logs.get(log) else { return true };
                if part.newest_place(log, of_log) >= *since {
                    verdicts[at as usize] = part.state(log).map(|state| Ok(state.head()));
                }
                false
            });
        }
    }

    /// What has changed; the first of the logs has this number.
    fn changed(self, first: u32) -> impl Iterator<Item = (u32, Result<Head, StoreError>)> {
        (first..).zip(self.verdicts).filter_map(|(place, verdict)| Some((place, verdict?)))
    }
}

impl Live {
    fn is_in_memory(&self, since: Location) -> bool {
        self.runs.last().is_none_or(|run| run.segments().1 < since.segment)
    }
}

impl Index {
    /// Where it ends, if the newest part that has anything is in memory.
    pub(in super::super) fn end_in_memory(&self) -> Option<End> {
        let live = self.live.read();
        let newest = live.in_memory().find(|part| part.end > 0)?;
        Some(End { place: end_of(newest), life: newest.life })
    }

    /// Where a segment that is in memory ends.
    pub(in super::super) fn end_of_segment(&self, segment: u32) -> Option<End> {
        let live = self.live.read();
        let part = live.in_memory().find(|part| part.segment == segment && part.end > 0)?;
        Some(End { place: end_of(part), life: part.life })
    }

    /// Whether whatever was written at a place or behind it is in memory.
    pub(in super::super) fn is_in_memory(&self, since: Location) -> bool {
        self.live.read().is_in_memory(since)
    }

    /// Which of some logs, which are few, have a record at a place or behind it, and where the index ends;
    /// `None` if a file would have to be asked. (To find that out first would not do: the place may
    /// get into a file meanwhile, and whoever asks here can't read any.)
    pub(in super::super) fn changed_in_memory(
        &self,
        logs: &[LogId],
        since: Location,
    ) -> Option<(Changed, End)> {
        let live = self.live.read();
        let newest = live.in_memory().find(|part| part.end > 0)?;
        let end = End { place: end_of(newest), life: newest.life };
        if !live.is_in_memory(since) {
            return None;
        }
        let mut search = Search::new(logs, since);
        search.look_in_memory(&live);
        drop(live);
        Some((search.changed(0).collect(), end))
    }

    /// Which of some logs have a record at a place or behind it.
    pub(in super::super) fn changed(&self, logs: &[LogId], since: Location) -> Changed {
        let mut changed = Changed::new();
        for (part, logs) in logs.chunks(LOGS_AT_A_TIME).enumerate() {
            let mut search = Search::new(logs, since);
            let live = self.live.read();
            search.look_in_memory(&live);
            let runs = Arc::clone(&live.runs);
            drop(live);
            self.look_in_files(&runs, &mut search);
            changed.extend(search.changed((part * LOGS_AT_A_TIME) as u32));
        }
        changed
    }

    /// The newest file first, as far as they are newer than the place.
    fn look_in_files(&self, runs: &[Arc<Run>], search: &mut Search<'_>) {
        let oldest = search.since.segment;
        let newer = runs.iter().rev();
        let mut newer = newer.take_while(|run| run.segments().1 >= oldest).peekable();
        if newer.peek().is_none() {
            return;
        }
        let hashes: Vec<u64> = search.logs.iter().map(|log| self.hash_key.of_log(*log)).collect();
        for run in newer {
            self.look_in_file(run, &hashes, search);
        }
    }

    fn look_in_file(&self, run: &Run, hashes: &[u64], search: &mut Search<'_>) {
        let Search { logs, since, open, verdicts } = search;
        let decided = |at: &usize| {
            let found = run.log(logs[*at]);
            match found {
                Ok(None) => return false,
                Ok(Some(span)) if span.newest >= *since => {
                    verdicts[*at] = Some(Ok(span.state.head()));
                }
                Ok(Some(_)) => {}
                // It may have changed, and nobody can tell.
                Err(error) => verdicts[*at] = Some(Err(self.unreadable(run, &error))),
            }
            true
        };
        let decided: Vec<usize> =
            candidates(run, hashes, open).into_iter().filter(decided).collect();
        if !decided.is_empty() {
            // Both in the order of their numbers.
            let mut decided = decided.into_iter().peekable();
            open.retain(|&at| decided.next_if_eq(&(at as usize)).is_none());
        }
    }

    /// The first entry of a log at a place or behind it; the one after the newest if there is none.
    pub(in super::super) fn first_since(
        &self,
        log: LogId,
        since: Location,
    ) -> Result<u64, StoreError> {
        let mut first = None;
        let live = self.live.read();
        for part in live.in_memory().filter(|part| part.reaches(since)) {
            let Some(of_log) = part.logs.get(&log) else { continue };
            let is_before =
                |offset: &u32| Location { segment: part.segment, offset: *offset } < since;
            // One that is damaged has the highest offset: rather one too many.
            let before = of_log.offsets.partition_point(is_before);
            first = Some(of_log.first + before as u64);
        }
        let runs = Arc::clone(&live.runs);
        drop(live);
        let newer = runs.iter().position(|run| run.segments().1 >= since.segment);
        self.ask_runs(&runs[newer.unwrap_or(runs.len())..], self.hash_key.of_log(log), |run| {
            let Some(span) = run.log(log)? else { return Ok(false) };
            let from = if run.segments().0 > since.segment {
                span.first()
            } else {
                run.first_since(&span, since)?
            };
            first = Some(from);
            Ok(span.first() < from)
        })?;
        match first {
            Some(first) => Ok(first),
            None => Ok(self.state(log)?.seq + 1),
        }
    }
}

/// Which of the logs a file may have. Most have none of them, and a loop with nothing but look-ups lets the
/// processor wait for many cache misses at once. What can't be told is found out with the log.
fn candidates(run: &Run, hashes: &[u64], open: &[u32]) -> Vec<usize> {
    let open = open.iter().map(|at| *at as usize);
    match run.filter() {
        Some(filter) => open.filter(|at| filter.may_hold(hashes[*at])).collect(),
        None => open.filter(|at| run.may_hold(hashes[*at]).unwrap_or(true)).collect(),
    }
}

fn end_of(part: &SegmentIndex) -> Location {
    // Segments are smaller than 2^32 bytes.
    Location { segment: part.segment, offset: part.end as u32 }
}
