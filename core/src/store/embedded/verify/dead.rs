//! Damaged records that nothing refers to any more: what is damaged and was set anew, or has expired, is
//! no loss. It leaves the disk when its file is cleaned.

use std::collections::BTreeSet;

use super::super::index::memory::SegmentIndex;
use super::super::recovery::damage::Damage;
use super::super::recovery::scan::{DamagedRecord, DamagedWhat, Scan};

/// Damaged records that are looked for in what comes behind them. Where more are damaged, it makes no
/// difference that a few of the others are dead.
const WAITING_MAX: usize = 1000;

/// Finds those that are dead while segments are read, the oldest first.
#[derive(Debug, Default)]
pub(super) struct DeadRecords {
    /// Nothing newer was found yet.
    waiting: Vec<(DamagedRecord, Place)>,
    dead: BTreeSet<Place>,
}

/// A file, and where in it.
type Place = (String, u64);

impl DeadRecords {
    /// Goes on to the next segment.
    pub(super) fn go_on(&mut self, scan: &Scan) {
        for record in &scan.damaged_records {
            if self.waiting.len() < WAITING_MAX {
                let Damage { file, offset, .. } = &scan.damage[record.place];
                self.waiting.push((record.clone(), (file.clone(), *offset)));
            }
        }
        let dead = self.waiting.extract_if(.., |(record, _)| is_dead(record, &scan.index));
        self.dead.extend(dead.map(|(_, place)| place));
    }

    /// Takes those that are dead out of all damage.
    pub(super) fn take_from(&self, damage: &mut Vec<Damage>) -> Vec<Damage> {
        if self.dead.is_empty() {
            return Vec::new();
        }
        let is_dead = |damage: &mut Damage| {
            let is_record = damage.kind.is_record();
            is_record && self.dead.contains(&(damage.file.clone(), damage.offset))
        };
        damage.extract_if(.., is_dead).collect()
    }
}

/// Whether a segment, the same or a later one, has something newer in the place of a record.
fn is_dead(record: &DamagedRecord, index: &SegmentIndex) -> bool {
    let floors = index.floors.get(&record.log).copied().unwrap_or_default();
    match &record.what {
        DamagedWhat::Entry { seq } => *seq < floors.entries_from,
        DamagedWhat::Register { key, version } => {
            let newest = index.registers.get(&record.log, key);
            *version < floors.registers_from || newest.is_some_and(|it| it.version > *version)
        }
    }
}
