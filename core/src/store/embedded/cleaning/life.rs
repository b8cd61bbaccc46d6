//! How much of each segment is dead, as far as it is known without reading everything.
//!
//! When a segment gets its index file it is told what it has made dead; a survey reads a segment and finds
//! out exactly.
//! Both are estimates for the choice of what to clean: before anything is written, a survey decides. But
//! where nothing is known to be dead nothing is, and what is has been for no longer than is known here:
//! the removal of a register may only be forgotten where no older value of it is left.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::super::segment::files::Location;

/// What is known of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct SegmentLife {
    /// Bytes of its dead records, about.
    pub dead_bytes: u64,
    /// Since when something in it has been dead, in Unix milliseconds; `None` if nothing is.
    pub dead_since_ms: Option<u64>,
    /// The first segment that may have made something in it dead that still lies in it; `None` if nothing
    /// does.
    pub dead_from: Option<u32>,
    /// It has been looked through since the store was opened, or was written since then.
    pub is_known: bool,
}

/// A record that has died, or many of which only the number is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Died {
    pub segment: u32,
    pub bytes: u64,
    /// The segment that has made it dead, 0 if it is not known which; `None` of what shows nobody an old
    /// value, whenever the index is made anew.
    pub by: Option<u32>,
}

impl Died {
    /// A record at a place of which the size is known.
    pub(in super::super) fn record(place: Location, bytes: u64) -> Died {
        Died { segment: place.segment, bytes, by: Some(0) }
    }
}

/// What is known of all segments.
#[derive(Debug, Default)]
pub(in super::super) struct Life {
    segments: Mutex<BTreeMap<u32, SegmentLife>>,
}

impl Life {
    /// Records have died.
    pub(in super::super) fn died(&self, died: &[Died], now_ms: u64) {
        if died.is_empty() {
            return;
        }
        let mut segments = self.segments.lock();
        for died in died {
            let life = segments.entry(died.segment).or_default();
            life.dead_bytes += died.bytes;
            life.dead_since_ms.get_or_insert(now_ms);
            life.dead_from = lower(life.dead_from, died.by);
        }
    }

    /// A segment was written from its beginning to its end since the store was opened.
    pub(in super::super) fn written(&self, segment: u32) {
        self.segments.lock().entry(segment).or_default().is_known = true;
    }

    /// Since when the oldest has been dead of what is known to be.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.segments.lock().values().filter_map(|life| life.dead_since_ms).min()
    }

    /// What is known of the segments from one to another.
    pub(super) fn of(&self, first: u32, last: u32) -> SegmentLife {
        let segments = self.segments.lock();
        let mut all = SegmentLife { is_known: true, ..SegmentLife::default() };
        for segment in first..=last {
            let life = segments.get(&segment).copied().unwrap_or_default();
            all.dead_bytes += life.dead_bytes;
            all.dead_since_ms = lower(all.dead_since_ms, life.dead_since_ms);
            all.dead_from = lower(all.dead_from, life.dead_from);
            all.is_known &= life.is_known;
        }
        all
    }

    /// Takes back what is known of the segments, since they are going to be looked through: what dies
    /// from now on is added to what that finds.
    pub(super) fn begin_survey(&self, first: u32, last: u32) -> Vec<(u32, SegmentLife)> {
        let mut segments = self.segments.lock();
        let before =
            segments.range(first..=last).map(|(&segment, &life)| (segment, life)).collect();
        for segment in first..=last {
            segments.insert(segment, SegmentLife { is_known: true, ..SegmentLife::default() });
        }
        before
    }

    /// A survey was broken off: what was known is true again.
    pub(super) fn give_back(&self, before: Vec<(u32, SegmentLife)>) {
        let mut segments = self.segments.lock();
        for (segment, was) in before {
            let life = segments.entry(segment).or_default();
            life.dead_bytes += was.dead_bytes;
            life.dead_since_ms = was.dead_since_ms.or(life.dead_since_ms);
            life.dead_from = lower(was.dead_from, life.dead_from);
            life.is_known = was.is_known;
        }
    }

    /// What has died could not be found out: everything has to be looked through again.
    pub(in super::super) fn forget(&self) {
        self.segments.lock().values_mut().for_each(|life| life.is_known = false);
    }

    /// A survey has found so much dead in a segment and left it there.
    pub(super) fn found(&self, died: &[Died], since_ms: Option<u64>, now_ms: u64) {
        self.died(died, since_ms.unwrap_or(now_ms));
    }
}

/// The lower of two, if there are.
pub(super) fn lower<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
