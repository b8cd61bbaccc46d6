//! Whether the index leads to all that is in the segments.
//!
//! Everything is looked up in the order in which the index has it, so that each of its blocks is read
//! once for all that is looked up together. Nearly all of it is where it belongs, in the index file of its
//! own segment; only for the rest the whole index is asked.

use dunlin_protocol::LogId;

use super::super::Shared;
use super::super::index::memory::{LOST, LogPart, RegisterSlot, SegmentIndex};
use super::super::index::run::Run;
use super::super::recovery::damage::{Damage, DamageKind};
use super::super::segment::files::Location;
use super::super::segment::segment_name;
use crate::store::{RegisterKey, StoreError};

/// Whether the index leads to all that some segments hold, which have this index file, if any. What
/// can't be looked up is no damage of the segments.
pub(super) fn compare(
    shared: &Shared,
    own: Option<&Run>,
    found: &[SegmentIndex],
    damage: &mut Vec<Damage>,
) -> Result<(), StoreError> {
    let comparison = Comparison { shared, own };
    comparison.entries(found, damage)?;
    comparison.registers(found, damage)?;
    comparison.keys(found, damage)
}

struct Comparison<'a> {
    shared: &'a Shared,
    own: Option<&'a Run>,
}

impl Comparison<'_> {
    fn entries(&self, found: &[SegmentIndex], damage: &mut Vec<Damage>) -> Result<(), StoreError> {
        let parts = found.iter().flat_map(|index| {
            index.logs.iter().map(move |(log, part)| (*log, index.segment, part))
        });
        let mut parts: Vec<_> = parts.collect();
        parts.sort_unstable_by_key(|(log, segment, _)| (*log, *segment));
        for (log, segment, part) in parts {
            if self.has_entries(log, segment, part) {
                continue;
            }
            // What has expired may be left out of the index.
            for seq in unindexed(self.shared, segment, log, part)? {
                let (file, kind) = (segment_name(segment), DamageKind::Unindexed { log, seq });
                damage.push(Damage { file, offset: 0, bytes: 0, kind });
            }
        }
        Ok(())
    }

    /// Whether the index file of the segment leads to all of a part.
    fn has_entries(&self, log: LogId, segment: u32, part: &LogPart) -> bool {
        if part.offsets.is_empty() {
            return true;
        }
        let known = self.own.and_then(|run| run.entries(log, part.first, part.last()).ok()?);
        let leads_to = |(&offset, place): (&u32, &Option<Location>)| {
            offset == LOST || *place == Some(Location { segment, offset })
        };
        known.is_some_and(|known| part.offsets.iter().zip(&known).all(leads_to))
    }

    fn keys(&self, found: &[SegmentIndex], damage: &mut Vec<Damage>) -> Result<(), StoreError> {
        let keys = found.iter().flat_map(|index| {
            let keys = index.keys.iter().map(|(&hash, &offset)| (hash, offset));
            let keys = keys.chain(index.collisions.iter().copied());
            keys.map(move |(hash, offset)| (hash, Location { segment: index.segment, offset }))
        });
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        let (mut places, mut failed) = (Vec::new(), Ok(()));
        for (hash, place) in keys {
            places.clear();
            let own = self.own.map_or(Ok(()), |run| run.places_of_key(hash, &mut places));
            if own.is_ok() && places.contains(&place) {
                continue;
            }
            places.clear();
            let asked = self.shared.index.places_of_key(hash, &mut places);
            if places.contains(&place) {
                // The newest files are asked first: one that is older may be damaged.
            } else if asked.is_err() {
                failed = asked;
            } else {
                let (file, kind) = (segment_name(place.segment), DamageKind::UnindexedKey);
                damage.push(Damage { file, offset: u64::from(place.offset), bytes: 0, kind });
            }
        }
        failed
    }

    fn registers(
        &self,
        found: &[SegmentIndex],
        damage: &mut Vec<Damage>,
    ) -> Result<(), StoreError> {
        let registers = found.iter().flat_map(|index| {
            let registers = index.registers.iter();
            registers.map(move |(log, key, slot)| (log, key, index.segment, slot))
        });
        let mut registers: Vec<_> = registers.collect();
        registers
            .sort_unstable_by(|one, other| (one.0, one.1, one.2).cmp(&(other.0, other.1, other.2)));
        for (log, key, segment, slot) in registers {
            if self.has_register(log, key, slot) || self.leads_to_register(log, key, slot)? {
                continue;
            }
            let (file, offset) = (segment_name(segment), u64::from(slot.offset));
            let kind = DamageKind::UnindexedRegister { log, version: slot.version };
            damage.push(Damage { file, offset, bytes: 0, kind });
        }
        Ok(())
    }

    /// Whether the index file of the segment leads to a register, or to what it was set to later.
    fn has_register(&self, log: LogId, key: &RegisterKey, slot: &RegisterSlot) -> bool {
        let known = self.own.and_then(|run| run.register_version(log, key).ok()?);
        known.is_some_and(|version| version >= slot.version)
    }

    /// The same of the whole index; what is gone need not be there.
    fn leads_to_register(
        &self,
        log: LogId,
        key: &RegisterKey,
        slot: &RegisterSlot,
    ) -> Result<bool, StoreError> {
        let index = &self.shared.index;
        let floors = index.state(log)?.floors;
        let is_gone = slot.version < floors.registers_from
            || (slot.gone && slot.version <= floors.marks_from);
        let is_newer = || {
            let known = index.register(log, key)?;
            Ok(known.is_some_and(|known| known.version >= slot.version))
        };
        if is_gone { Ok(true) } else { is_newer() }
    }
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
