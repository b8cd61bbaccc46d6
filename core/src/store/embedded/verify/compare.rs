//! Whether the index leads to all that is in the segments.

use dunlin_protocol::LogId;

use super::super::Shared;
use super::super::index::found::Found;
use super::super::index::memory::{LOST, LogPart, SegmentIndex};
use super::super::recovery::damage::{Damage, DamageKind};
use super::super::segment::files::Location;
use super::super::segment::segment_name;
use crate::store::StoreError;

/// Whether the index leads to all that a segment holds. Everything is looked up in the order in which
/// the index has it, so that each of its blocks is read once. What can't be looked up is no damage of
/// the segment.
pub(super) fn compare(
    shared: &Shared,
    found: &SegmentIndex,
    damage: &mut Vec<Damage>,
) -> Result<(), StoreError> {
    let segment = found.segment;
    let file = segment_name(segment);
    let mut logs: Vec<_> = found.logs.iter().collect();
    logs.sort_unstable_by_key(|(log, _)| *log);
    for &(log, ref part) in logs {
        // What has expired may be left out of the index.
        for seq in unindexed(shared, segment, log, part)? {
            let kind = DamageKind::Unindexed { log, seq };
            damage.push(Damage { file: file.clone(), offset: 0, bytes: 0, kind });
        }
    }
    compare_registers(shared, found, damage)?;
    compare_keys(shared, found, damage)
}

fn compare_keys(
    shared: &Shared,
    found: &SegmentIndex,
    damage: &mut Vec<Damage>,
) -> Result<(), StoreError> {
    let segment = found.segment;
    let keys = found.keys.iter().map(|(&hash, &offset)| (hash, offset));
    let mut keys: Vec<_> = keys.chain(found.collisions.iter().copied()).collect();
    keys.sort_unstable();
    let (mut places, mut failed) = (Vec::new(), Ok(()));
    for (hash, offset) in keys {
        places.clear();
        let asked = shared.index.places_of_key(hash, &mut places);
        if places.contains(&Location { segment, offset }) {
            // The newest files are asked first: one that is older may be damaged.
        } else if asked.is_err() {
            failed = asked;
        } else {
            let (file, kind) = (segment_name(segment), DamageKind::UnindexedKey);
            damage.push(Damage { file, offset: u64::from(offset), bytes: 0, kind });
        }
    }
    failed
}

fn compare_registers(
    shared: &Shared,
    found: &SegmentIndex,
    damage: &mut Vec<Damage>,
) -> Result<(), StoreError> {
    for (log, key, slot) in found.registers.sorted() {
        let floors = shared.index.state(log)?.floors;
        let is_gone = slot.version < floors.registers_from
            || (slot.gone && slot.version <= floors.marks_from);
        let is_newer = |known: Found| known.version >= slot.version;
        if is_gone || shared.index.register(log, key)?.is_some_and(is_newer) {
            continue;
        }
        let (file, offset) = (segment_name(found.segment), u64::from(slot.offset));
        let kind = DamageKind::UnindexedRegister { log, version: slot.version };
        damage.push(Damage { file, offset, bytes: 0, kind });
    }
    Ok(())
}

/// The entries of a part that the index does not know, or knows elsewhere.
fn unindexed(
    shared: &Shared,
    segment: u32,
    log: LogId,
    part: &LogPart,
) -> Result<Vec<u64>, StoreError> {
    let places = shared.index.places(log, part.first, part.last())?;
    let head = shared.index.head(log)?;
    let expected = part.offsets.iter().map(|&offset| {
        let place = Location { segment, offset };
        (offset != LOST).then_some(place)
    });
    let known = places.into_iter().map(Some).chain(std::iter::repeat(None));
    let pairs = (part.first..).zip(expected.zip(known));
    let wrong = pairs.filter(|(seq, (expected, known))| {
        expected.is_some()
            && *seq >= head.expired_below
            && (Some(*expected) != *known || *seq > head.seq)
    });
    Ok(wrong.map(|(seq, _)| seq).collect())
}
