//! What a segment has made dead: told when it gets its index file, by the thread that writes that, so
//! that neither the commit lane looks for what it overwrites nor anybody reads all segments for it.

use std::collections::BTreeMap;

use dunlin_protocol::LogId;

use crate::store::StoreError;

use super::super::Shared;
use super::super::index::memory::SegmentIndex;
use super::super::segment::record::Floors;
use super::life::Died;

/// Registers of a dropped log that are looked for in each index file. The rest is found when the file
/// that they are in is looked through.
const REGISTERS_MAX: usize = 10_000;

/// Entries that are looked for at a time.
const ENTRIES_PART: u64 = 1024;

/// What has died by a segment that is sealed and has no index file yet, in itself and in older ones.
/// Sizes are estimates: those of the average of the segment.
pub(in super::super) fn of(
    shared: &Shared,
    sealed: &SegmentIndex,
) -> Result<Vec<Died>, StoreError> {
    let record_bytes = (sealed.end / sealed.records.max(1)).max(1);
    let mut deaths = Deaths::default();
    // What is no entry and no newest value of a register is one that was set again, or soon dead.
    let alive = sealed.entries + sealed.registers.len() as u64;
    deaths.add(sealed.segment, sealed.records.saturating_sub(alive));
    for (log, key, _) in sealed.registers.iter() {
        if let Some(place) = shared.index.register_in_files(log, key)? {
            deaths.add(place.segment, 1);
        }
    }
    for (log, floors) in &sealed.floors {
        deaths.below_floors(shared, *log, floors)?;
    }
    let died = deaths.records.into_iter();
    let by = Some(sealed.segment);
    let died = died.map(|(segment, records)| Died { segment, bytes: records * record_bytes, by });
    Ok(died.filter(|died| died.bytes > 0).collect())
}

#[derive(Default)]
struct Deaths {
    /// How many records have died, by segment.
    records: BTreeMap<u32, u64>,
}

impl Deaths {
    fn add(&mut self, segment: u32, records: u64) {
        *self.records.entry(segment).or_default() += records;
    }

    /// Counts what is below the floors that a log has now and was not before.
    fn below_floors(
        &mut self,
        shared: &Shared,
        log: LogId,
        floors: &Floors,
    ) -> Result<(), StoreError> {
        let (before, _) = shared.index.log_in_files(log, 0)?;
        let mut from = before.floors.entries_from.max(1);
        while from < floors.entries_from {
            let to = (floors.entries_from - 1).min(from + ENTRIES_PART - 1);
            let places = shared.index.places(log, from, to)?;
            places.into_iter().flatten().for_each(|place| self.add(place.segment, 1));
            from = to + 1;
        }
        if before.floors.registers_from < floors.registers_from {
            let (_, places) = shared.index.log_in_files(log, REGISTERS_MAX)?;
            places.into_iter().for_each(|place| self.add(place.segment, 1));
        }
        Ok(())
    }
}
