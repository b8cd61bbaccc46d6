//! One log: its entries, its registers, and what of both is gone.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::feed::Place;
use crate::store::{
    ChangeRange, DedupeKey, Fence, Head, KeyedEntry, NewEntry, Page, Range, Register, RegisterKey,
    RegisterRange, Registers, Set, StoredEntry, Write, Written,
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Log {
    head: Head,
    /// Where the feed has, or had, what was done to it last.
    changed_at: Place,
    /// Those that have not expired, without a hole up to the head.
    entries: BTreeMap<u64, Entry>,
    keys: HashMap<DedupeKey, (u64, u64), RandomState>,
    /// With the marks of those that were removed.
    registers: BTreeMap<RegisterKey, Slot>,
    /// Whoever knows the registers as they were at this version or later can be told what has changed
    /// since; what was removed before is forgotten.
    changes_known_from: u64,
}

#[derive(Debug)]
struct Entry {
    stored: StoredEntry,
    key: Option<DedupeKey>,
    /// Where the feed has it.
    place: Place,
}

#[derive(Debug)]
struct Slot {
    version: u64,
    /// `None` for the mark of a register that was removed.
    value: Option<Bytes>,
    place: Place,
}

/// Whether an entry is refused however well it fits: one before it in the batch was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Stored,
    Refused,
}

impl Log {
    pub(super) fn head(&self) -> Head {
        self.head
    }

    pub(super) fn changed_at(&self) -> Place {
        self.changed_at
    }

    /// Something was done to it, of which the feed tells at this place.
    pub(super) fn changed(&mut self, place: Place) {
        self.changed_at = place;
    }

    /// The entry with a key.
    pub(super) fn keyed(&self, key: &DedupeKey) -> Option<KeyedEntry> {
        self.keys.get(key).map(|&(seq, digest)| KeyedEntry { seq, digest })
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Why a write can't be done, if it can't.
    pub(super) fn refusal(&self, write: &Write, before: Before) -> Option<Written> {
        if let Some(entry) = &write.entry {
            if let Some((seq, digest)) = entry.key.and_then(|key| self.keys.get(&key).copied()) {
                return Some(Written::Duplicate { seq, digest });
            }
            let fits = self.head.seq.checked_add(1) == Some(entry.seq);
            if !fits || before == Before::Refused {
                return Some(Written::Conflict { head: self.head });
            }
        }
        if !self.keeps(write.fence) {
            return Some(Written::Conflict { head: self.head });
        }
        let unmet = write.sets.iter().position(|set| !self.allows(set))?;
        Some(Written::Unmet { set: unmet, found: self.register(&write.sets[unmet].key) })
    }

    fn keeps(&self, fence: Fence) -> bool {
        fence.head.is_none_or(|seq| seq == self.head.seq)
            && fence.version.is_none_or(|version| version == self.head.version)
    }

    fn allows(&self, set: &Set) -> bool {
        let slot = self.registers.get(&set.key);
        let held = slot.and_then(|slot| slot.value.as_deref());
        set.rule.holds(slot.map_or(0, |slot| slot.version), held, set.value.as_deref())
    }

    /// Appends an entry that fits.
    pub(super) fn append(&mut self, entry: NewEntry, place: Place) -> StoredEntry {
        let NewEntry { seq, meta, key, digest, body } = entry;
        if let Some(key) = key {
            self.keys.insert(key, (seq, digest));
        }
        self.head = Head { seq, meta, ..self.head };
        let stored = StoredEntry { seq, meta, erased: false, body };
        self.entries.insert(seq, Entry { stored: stored.clone(), key, place });
        stored
    }

    /// The version that the next write gives to the registers that it sets.
    pub(super) fn begin_version(&mut self) -> u64 {
        self.head.version += 1;
        self.head.version
    }

    /// Sets a register of which the rule holds. Where the feed has what it held before, if anything.
    pub(super) fn set(&mut self, register: &Register, place: Place) -> Option<Place> {
        let Register { key, version, value } = register.clone();
        self.registers.insert(key, Slot { version, value, place }).map(|slot| slot.place)
    }

    pub(super) fn register(&self, key: &RegisterKey) -> Register {
        let slot = self.registers.get(key);
        Register {
            key: key.clone(),
            version: slot.map_or(0, |slot| slot.version),
            value: slot.and_then(|slot| slot.value.clone()),
        }
    }

    /// Where the feed has the entries that this makes expire.
    pub(super) fn truncate(&mut self, below: u64) -> Vec<Place> {
        let below = below.min(self.head.seq + 1);
        if below <= self.head.expired_below.max(1) {
            return Vec::new();
        }
        self.head.expired_below = below;
        let kept = self.entries.split_off(&below);
        let expired = std::mem::replace(&mut self.entries, kept);
        if let Some(newest) = expired.values().next_back() {
            self.head.expired = newest.stored.meta.into();
        }
        let of_entry = |entry: Entry| {
            entry.key.map(|key| self.keys.remove(&key));
            entry.place
        };
        expired.into_values().map(of_entry).collect()
    }

    /// The entry without its body, and where the feed has it; `None` if there is none.
    pub(super) fn erase(&mut self, seq: u64) -> Option<Erased> {
        let entry = self.entries.get_mut(&seq)?;
        if entry.stored.erased {
            return Some(Erased::Before);
        }
        entry.stored = StoredEntry { erased: true, body: Bytes::new(), ..entry.stored };
        Some(Erased::Now(entry.stored.clone(), entry.place))
    }

    /// Whether there is anything to drop: a log that was dropped is dropped once.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.registers.is_empty()
    }

    /// Where the feed has what is gone by this. It takes a version, so that whoever asks for changes
    /// hears of it.
    pub(super) fn drop_all(&mut self) -> Vec<Place> {
        let mut places = self.truncate(u64::MAX);
        self.keys.clear();
        places.extend(std::mem::take(&mut self.registers).into_values().map(|slot| slot.place));
        self.changes_known_from = self.begin_version();
        places
    }

    /// Forgets which registers were removed. Where the feed has the marks.
    pub(super) fn forget_marks(&mut self) -> Vec<Place> {
        let is_mark = |slot: &Slot| slot.value.is_none();
        let marks = self.registers.extract_if(.., |_, slot| is_mark(slot));
        let mut places = Vec::new();
        for (_, slot) in marks {
            self.changes_known_from = self.changes_known_from.max(slot.version);
            places.push(slot.place);
        }
        places
    }

    /// Whether what the feed has at this place is still the truth.
    pub(super) fn has_entry(&self, seq: u64) -> bool {
        self.entries.contains_key(&seq)
    }

    /// The same of a register.
    pub(super) fn has_register(&self, key: &RegisterKey, version: u64) -> bool {
        self.registers.get(key).is_some_and(|slot| slot.version == version)
    }
}

/// What became of an entry that is erased.
#[derive(Debug)]
pub(super) enum Erased {
    Now(StoredEntry, Place),
    /// It had been erased already.
    Before,
}

/// Reading.
impl Log {
    /// `after` is where the feed has what was the newest when the range begins to count.
    pub(super) fn range(&self, range: &Range, after: Place) -> Page {
        let head = self.head;
        let (from, to) = (range.from.max(1).max(head.expired_below), range.to.min(head.seq));
        if from > to {
            return Page { head, ..Page::default() };
        }
        let asked = self.entries.range(from..=to).map(|(_, entry)| entry);
        let asked = asked.filter(|entry| entry.place > after).map(|entry| &entry.stored);
        let bytes = |entry: &&StoredEntry| entry.body.len();
        let limits = (range.entries_max, range.bytes_max);
        let (entries, more) = if range.backwards {
            take(asked.rev(), limits, bytes)
        } else {
            take(asked, limits, bytes)
        };
        Page { entries: entries.into_iter().cloned().collect(), head, more }
    }

    pub(super) fn registers(&self, range: &RegisterRange) -> Registers {
        let prefix = &range.prefix[..];
        let start = match &range.after {
            Some(after) if after.as_bytes() >= prefix => Bound::Excluded(after.as_bytes()),
            Some(_) | None => Bound::Included(prefix),
        };
        let slots = self.registers.range::<[u8], _>((start, Bound::Unbounded));
        let slots = slots.take_while(|(key, _)| key.as_bytes().starts_with(prefix));
        let present = slots.filter(|(_, slot)| slot.value.is_some()).map(read);
        let (registers, more) =
            take(present, (range.registers_max, range.bytes_max), Register::bytes);
        Registers { registers, version: self.head.version, more, afresh: false }
    }

    pub(super) fn changes(&self, range: &ChangeRange) -> Registers {
        let version = self.head.version;
        let is_known = range.since == 0 || range.since >= self.changes_known_from;
        if !is_known || range.since > version {
            return Registers { version, afresh: true, ..Registers::default() };
        }
        let changed = self.registers.iter().filter(|(_, slot)| slot.version > range.since);
        let mut changed: Vec<Register> = changed.map(read).collect();
        // By keys already, and this keeps the order of what is equal.
        changed.sort_by_key(|register| register.version);
        let of_one_version = changed.chunk_by(|one, other| one.version == other.version);
        let (mut taken, mut bytes) = (0, 0);
        for together in of_one_version {
            bytes += together.iter().map(Register::bytes).sum::<usize>();
            let fits = taken + together.len() <= range.registers_max && bytes <= range.bytes_max;
            if !fits && taken > 0 {
                break;
            }
            taken += together.len();
        }
        let more = taken < changed.len();
        changed.truncate(taken);
        Registers { registers: changed, version, more, afresh: false }
    }
}

fn read((key, slot): (&RegisterKey, &Slot)) -> Register {
    Register { key: key.clone(), version: slot.version, value: slot.value.clone() }
}

/// Takes what a limit of items and one of bytes allow; true if something is left.
pub(super) fn take<T>(
    asked: impl Iterator<Item = T>,
    (items_max, bytes_max): (usize, usize),
    bytes_of: impl Fn(&T) -> usize,
) -> (Vec<T>, bool) {
    let mut taken = Vec::new();
    let mut bytes = 0_usize;
    for item in asked {
        bytes += bytes_of(&item);
        if taken.len() == items_max || (bytes > bytes_max && !taken.is_empty()) {
            return (taken, true);
        }
        taken.push(item);
    }
    (taken, false)
}
