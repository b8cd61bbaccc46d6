//! Where every entry is: the newest segments in memory, the rest in files that are sorted once
//! and never changed.
//!
//! Look-ups first ask the parts in memory, under a short lock, and then the files, under none:
//! a reader that waits for the disk never keeps the commit lane from adding its next batch.

pub(super) mod memory;

use std::sync::Arc;

use dunlin_protocol::{LogId, LogKind, UserId};
use parking_lot::RwLock;

use crate::store::{Head, StoreError};

use super::segment::Location;
use memory::{LogPart, SegmentIndex};

/// The whole index. Readers see only what is durable: the lane adds a batch after its fsync.
#[derive(Debug)]
pub(super) struct Index {
    live: RwLock<Live>,
}

#[derive(Debug)]
struct Live {
    /// Of the segment that is written.
    active: SegmentIndex,
    /// Of sealed segments that have no file yet, the oldest first.
    sealed: Vec<Arc<SegmentIndex>>,
}

impl Live {
    /// The parts in memory, the newest first.
    fn in_memory(&self) -> impl Iterator<Item = &SegmentIndex> {
        std::iter::once(&self.active).chain(self.sealed.iter().rev().map(|part| &**part))
    }
}

impl Index {
    pub(super) fn new(sealed: Vec<Arc<SegmentIndex>>) -> Index {
        Index { live: RwLock::new(Live { active: SegmentIndex::new(0), sealed }) }
    }

    /// Lets the lane add what has become durable.
    pub(super) fn add(&self, add: impl FnOnce(&mut SegmentIndex)) {
        add(&mut self.live.write().active);
    }

    /// Begins the index of a segment; the one before was sealed.
    pub(super) fn begin(&self, segment: u32) {
        self.live.write().active = SegmentIndex::new(segment);
    }

    /// Ends the index of the active segment, which ends at `end`, before `next_batch`. Returns
    /// false if it has no entry and is not needed any more.
    pub(super) fn seal(&self, end: u64, next_batch: u64) -> bool {
        let mut live = self.live.write();
        let mut sealed = std::mem::replace(&mut live.active, SegmentIndex::new(0));
        if sealed.entries == 0 {
            return false;
        }
        (sealed.end, sealed.next_batch) = (end, next_batch);
        live.sealed.push(Arc::new(sealed));
        true
    }

    /// The end of a log.
    pub(super) fn head(&self, log: LogId) -> Result<Head, StoreError> {
        let live = self.live.read();
        let newest = live.in_memory().find_map(|part| part.logs.get(&log));
        Ok(newest.map_or_else(Head::default, LogPart::head))
    }

    /// The ends of logs, if all of them are in memory.
    pub(super) fn heads_in_memory(&self, logs: &[LogId]) -> Option<Vec<Head>> {
        let live = self.live.read();
        let head = |log| live.in_memory().find_map(|part| part.logs.get(log)).map(LogPart::head);
        logs.iter().map(head).collect()
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
        Ok(())
    }

    /// A cursor.
    pub(super) fn cursor(&self, conversation: LogId, user: UserId) -> Result<u64, StoreError> {
        let live = self.live.read();
        let parts = live.in_memory().filter_map(|part| part.cursors.get(&(conversation, user)));
        Ok(parts.copied().max().unwrap_or(0))
    }

    /// Where the entries `from..=to` of a log are; `None` for one that is lost.
    pub(super) fn places(
        &self,
        log: LogId,
        from: u64,
        to: u64,
    ) -> Result<Vec<Option<Location>>, StoreError> {
        let live = self.live.read();
        let mut places = vec![None; usize::try_from(to - from + 1).unwrap_or(0)];
        for part in live.in_memory() {
            let Some(of_log) = part.logs.get(&log) else { continue };
            for seq in from.max(of_log.first)..=to.min(of_log.last()) {
                let offset = of_log.offsets[(seq - of_log.first) as usize];
                if offset != memory::LOST {
                    let place = Location { segment: part.segment, offset };
                    places[(seq - from) as usize] = Some(place);
                }
            }
            if of_log.first <= from {
                break;
            }
        }
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
            part.logs.keys().copied().filter(wanted).collect()
        };
        let mut logs: Vec<LogId> = live.in_memory().flat_map(in_part).collect();
        drop(live);
        logs.sort_unstable();
        logs.dedup();
        logs.truncate(limit);
        Ok(logs)
    }
}
