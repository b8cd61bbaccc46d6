//! Where every entry is: the newest segments in memory, the rest in files that are sorted once
//! and never changed.
//!
//! Look-ups first ask the parts in memory, under a short lock, and then the files, under none:
//! a reader that waits for the disk never keeps the commit lane from adding its next batch.

pub(super) mod changed;
mod filter;
pub(super) mod found;
mod held;
pub(super) mod indexer;
mod layout;
pub(super) mod memory;
mod merge;
mod recent;
mod registers;
pub(super) mod run;
pub(super) mod spans;
mod write;

use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

use dunlin_protocol::{LogId, LogKind};
use parking_lot::RwLock;

use crate::store::{Head, StoreError};

use super::disk::Disk;
use super::hash::HashKey;
use super::identity::Identity;
use super::segment::files::Location;
use super::segment::record::LogState;
use super::wake::Wake;
pub(super) use layout::{run_name, run_segments};
use memory::{LOST, SegmentIndex};
use merge::Between;
pub(super) use merge::{RemovedRegister, marks};
use run::Run;
pub(super) use write::write_segment;

/// The whole index. Readers see only what is durable: the lane adds a batch after its fsync.
#[derive(Debug)]
pub(super) struct Index {
    hash_key: HashKey,
    filter_bytes_max: usize,
    live: RwLock<Live>,
    /// Wakes the indexer when there is something to do for it.
    pub wake: Wake,
}

#[derive(Debug)]
struct Live {
    /// Of the segment that is written.
    active: SegmentIndex,
    /// Of sealed segments that have no file yet, the oldest first.
    sealed: Vec<Arc<SegmentIndex>>,
    /// The files, the oldest first. All are older than what is in memory.
    runs: Arc<Vec<Arc<Run>>>,
}

impl Live {
    /// The parts in memory, the newest first.
    fn in_memory(&self) -> impl Iterator<Item = &SegmentIndex> {
        std::iter::once(&self.active).chain(self.sealed.iter().rev().map(|part| &**part))
    }
}

impl Index {
    pub(super) fn new(
        hash_key: HashKey,
        filter_bytes_max: usize,
        runs: Vec<Arc<Run>>,
        sealed: Vec<Arc<SegmentIndex>>,
    ) -> Index {
        let live = Live { active: SegmentIndex::new(0), sealed, runs: Arc::new(runs) };
        Index { hash_key, filter_bytes_max, live: RwLock::new(live), wake: Wake::default() }
    }

    /// Lets the lane add what has become durable.
    pub(super) fn add(&self, add: impl FnOnce(&mut SegmentIndex)) {
        add(&mut self.live.write().active);
    }

    /// Begins the index of a segment; the one before was sealed. It will probably have as many keys:
    /// a table that has room for them from the beginning need not grow, key by key, a dozen times.
    pub(super) fn begin(&self, segment: u32, life: u64) {
        let mut live = self.live.write();
        let keys = live.sealed.last().map_or(0, |before| before.keys.len());
        live.active = SegmentIndex::new(segment);
        live.active.life = life;
        live.active.keys.reserve(keys);
    }

    /// Ends the index of the active segment, which ends at `end`, before `next_batch`. Returns
    /// false if it has no record and is not needed any more.
    pub(super) fn seal(&self, end: u64, next_batch: u64) -> bool {
        let mut live = self.live.write();
        let mut sealed = std::mem::replace(&mut live.active, SegmentIndex::new(0));
        if sealed.records == 0 {
            return false;
        }
        (sealed.end, sealed.next_batch) = (end, next_batch);
        live.sealed.push(Arc::new(sealed));
        drop(live);
        self.wake.wake();
        true
    }

    /// Memory of the sealed segments that have no index file, in bytes, about.
    pub(super) fn sealed_bytes(&self) -> usize {
        self.live.read().sealed.iter().map(|part| part.bytes()).sum()
    }

    /// Memory of the segment that is written, in bytes, about.
    pub(super) fn active_bytes(&self) -> u64 {
        self.live.read().active.bytes() as u64
    }

    /// Memory of all segments that have no index file, in bytes, about.
    pub(super) fn bytes_in_memory(&self) -> u64 {
        self.live.read().in_memory().map(|part| part.bytes() as u64).sum()
    }

    /// The oldest segment that has no index file.
    pub(super) fn oldest_sealed(&self) -> Option<Arc<SegmentIndex>> {
        self.live.read().sealed.first().map(Arc::clone)
    }

    /// The files, the oldest first.
    pub(super) fn runs(&self) -> Arc<Vec<Arc<Run>>> {
        Arc::clone(&self.live.read().runs)
    }

    /// The segments in memory and where each ends, the oldest first. The last one is active.
    pub(super) fn ends_in_memory(&self) -> Vec<(u32, u64)> {
        let live = self.live.read();
        let mut ends: Vec<_> = live.in_memory().map(|part| (part.segment, part.end)).collect();
        ends.reverse();
        ends
    }

    /// Neighbours that should be merged.
    pub(super) fn choose_merge(&self, at_a_time: usize) -> Option<Vec<Arc<Run>>> {
        let runs = self.runs();
        Some(runs[merge::choose(&runs, at_a_time)?].to_vec())
    }

    /// Puts files in the place of what covered their segments until now, in memory or in files.
    pub(super) fn install(&self, new: &[Arc<Run>]) {
        let (Some(first), Some(last)) = (new.first(), new.last()) else { return };
        let (low, high) = (first.segments().0, last.segments().1);
        let covers = |segment: u32| (low..=high).contains(&segment);
        let mut live = self.live.write();
        live.sealed.retain(|part| !covers(part.segment));
        let others = live.runs.iter().filter(|run| !covers(run.segments().0));
        let mut runs: Vec<Arc<Run>> = others.chain(new).map(Arc::clone).collect();
        runs.sort_unstable_by_key(|run| run.segments());
        live.runs = Arc::new(runs);
    }

    /// How much memory the filter of a new file for segments up to this one may take: those of newer files
    /// come first, since they are asked most often, and older ones make room for it.
    pub(super) fn filter_bytes_left(&self, last_segment: u32) -> usize {
        let runs = self.runs();
        let newer = runs.iter().filter(|run| run.segments().0 > last_segment);
        self.filter_bytes_max.saturating_sub(newer.map(|run| run.filter_bytes()).sum())
    }

    /// A file whose filter has to leave the memory, or should come into it, and how much it may take there.
    /// When there is none, what is in memory is what would be after a start: the newest that fit.
    pub(super) fn misplaced_filter(&self) -> Option<(Arc<Run>, usize)> {
        let mut left = self.filter_bytes_max;
        let runs = self.runs();
        let misplaced = runs.iter().rev().find_map(|run| {
            let bytes = run.filter_file_bytes();
            let fits = bytes <= left;
            left -= if fits { bytes } else { 0 };
            (fits != run.filter().is_some()).then_some((run, if fits { bytes } else { 0 }))
        });
        misplaced.map(|(run, bytes)| (Arc::clone(run), bytes))
    }

    /// Bytes of the filters in memory, and of all filters.
    pub(super) fn filters_bytes(&self) -> (u64, u64) {
        let runs = self.runs();
        let sum = |bytes: fn(&Run) -> usize| runs.iter().map(|run| bytes(run) as u64).sum();
        (sum(Run::filter_bytes), sum(Run::filter_file_bytes))
    }

    /// Asks the files, the newest first, for what has this hash, until `ask` says that it is
    /// content.
    fn ask_runs(
        &self,
        runs: &[Arc<Run>],
        hash: u64,
        mut ask: impl FnMut(&Run) -> io::Result<bool>,
    ) -> Result<(), StoreError> {
        for run in runs.iter().rev() {
            match run.may_hold(hash).and_then(|may| Ok(may && ask(run)?)) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => return Err(self.unreadable(run, &error)),
            }
        }
        Ok(())
    }

    fn unreadable(&self, run: &Run, error: &io::Error) -> StoreError {
        if run.is_damaged() {
            // The indexer says so, once.
            self.wake.wake();
        } else {
            let (first, last) = run.segments();
            tracing::error!(%error, file = run_name(first, last), "can't read an index file");
        }
        StoreError::Unavailable { reason: error.to_string() }
    }

    /// The state of a log.
    pub(super) fn state(&self, log: LogId) -> Result<LogState, StoreError> {
        let live = self.live.read();
        if let Some(newest) = live.in_memory().find_map(|part| part.state(&log)) {
            return Ok(newest);
        }
        if live.runs.is_empty() {
            return Ok(LogState::default());
        }
        let runs = Arc::clone(&live.runs);
        drop(live);
        let mut state = LogState::default();
        self.ask_runs(&runs, self.hash_key.of_log(log), |run| {
            let Some(span) = run.log(log)? else { return Ok(false) };
            state = span.state;
            Ok(true)
        })?;
        Ok(state)
    }

    /// The end of a log.
    pub(super) fn head(&self, log: LogId) -> Result<Head, StoreError> {
        self.state(log).map(|state| state.head())
    }

    /// The ends of logs, if all of them are in memory.
    pub(super) fn heads_in_memory(&self, logs: &[LogId]) -> Option<Vec<Head>> {
        let live = self.live.read();
        let state = |log| live.in_memory().find_map(|part| part.state(log));
        logs.iter().map(|log| state(log).map(|state| state.head())).collect()
    }

    /// Whether an entry may have a key with such a hash, for many of them at a time: nearly all
    /// are new, and going through part by part, with nothing but look-ups in the loop, lets the
    /// processor wait for many cache misses at once. What can't be told without a file may be.
    pub(super) fn may_hold_keys(&self, hashes: &[u64], may: &mut Vec<bool>) {
        may.clear();
        may.resize(hashes.len(), false);
        let live = self.live.read();
        for part in live.in_memory() {
            let of_part = |hash: u64| part.keys.contains_key(&hash);
            may.iter_mut().zip(hashes).for_each(|(may, &hash)| *may |= of_part(hash));
        }
        let runs = Arc::clone(&live.runs);
        drop(live);
        for run in runs.iter() {
            match run.filter() {
                Some(filter) => {
                    let of_run = |hash: u64| filter.may_hold(hash);
                    may.iter_mut().zip(hashes).for_each(|(may, &hash)| *may |= of_run(hash));
                }
                None => may.fill(true),
            }
        }
    }

    /// The places of the entries whose key has this hash.
    pub(super) fn places_of_key(
        &self,
        hash: u64,
        places: &mut Vec<Location>,
    ) -> Result<(), StoreError> {
        let live = self.live.read();
        for part in live.in_memory() {
            let of_part = part.offsets_of_key(hash);
            places.extend(of_part.map(|offset| Location { segment: part.segment, offset }));
        }
        if live.runs.is_empty() {
            return Ok(());
        }
        let runs = Arc::clone(&live.runs);
        drop(live);
        self.ask_runs(&runs, hash, |run| run.places_of_key(hash, places).map(|()| false))
    }

    /// Where the entries `from..=to` of a log are; `None` for one that is lost.
    pub(super) fn places(
        &self,
        log: LogId,
        from: u64,
        to: u64,
    ) -> Result<Vec<Option<Location>>, StoreError> {
        let mut places = vec![None; usize::try_from(to + 1 - from).unwrap_or(0)];
        let live = self.live.read();
        for part in live.in_memory() {
            let Some(of_log) = part.logs.get(&log) else { continue };
            for seq in from.max(of_log.first)..=to.min(of_log.last()) {
                let offset = of_log.offsets[(seq - of_log.first) as usize];
                let place = Location { segment: part.segment, offset };
                places[(seq - from) as usize] = (offset != LOST).then_some(place);
            }
            if of_log.first <= from {
                return Ok(places);
            }
        }
        let runs = Arc::clone(&live.runs);
        drop(live);
        self.ask_runs(&runs, self.hash_key.of_log(log), |run| {
            let Some(span) = run.log(log)? else { return Ok(false) };
            let (low, high) = (from.max(span.first()), to.min(span.state.seq));
            if low <= high {
                let at = (low - from) as usize;
                let found = run.places(&span, low, high)?;
                places[at..at + found.len()].copy_from_slice(&found);
            }
            Ok(span.first() <= from)
        })?;
        Ok(places)
    }

    /// The logs of a kind after one, by id.
    pub(super) fn logs(
        &self,
        kind: LogKind,
        after: Option<LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, StoreError> {
        let live = self.live.read();
        let wanted = |log: &LogId| log.kind() == kind && after.is_none_or(|after| *log > after);
        let in_part = |part: &SegmentIndex| -> Vec<LogId> {
            lowest(part.logs.keys().copied().filter(wanted), limit)
        };
        let mut logs: Vec<LogId> = live.in_memory().flat_map(in_part).collect();
        let runs = Arc::clone(&live.runs);
        drop(live);
        for run in runs.iter() {
            logs.extend(run.logs(kind, after, limit).map_err(|e| self.unreadable(run, &e))?);
        }
        logs.sort_unstable();
        logs.dedup();
        logs.truncate(limit);
        Ok(logs)
    }
}

/// The lowest of some logs, in no order: who lists all of them page by page should not sort all of them
/// for each page.
fn lowest(logs: impl Iterator<Item = LogId>, limit: usize) -> Vec<LogId> {
    let mut kept = BinaryHeap::new();
    for log in logs {
        if kept.len() < limit {
            kept.push(log);
        } else if kept.peek().is_some_and(|highest| log < *highest) {
            kept.pop();
            kept.push(log);
        }
    }
    kept.into_vec()
}

/// Whether all these can be one file.
pub(super) fn can_merge(runs: &[Arc<Run>]) -> bool {
    merge::fits(runs)
}

/// Merges files; see [`Index::choose_merge`]. Returns the bytes written.
pub(super) fn merge_runs(
    disk: &dyn Disk,
    identity: &Identity,
    runs: &[Arc<Run>],
    forget_through: u32,
    between: &mut Between<'_>,
) -> io::Result<u64> {
    merge::merge(disk, identity, runs, forget_through, between)
}
