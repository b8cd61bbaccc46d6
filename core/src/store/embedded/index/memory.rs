//! The index of one segment in memory: of the active one, and of those that have no index file.

use std::ops::Bound;

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use smallvec::SmallVec;

use crate::dense_map::DenseMap;
use crate::store::{EntryMeta, RegisterKey};

use super::super::hash::HashKey;
use super::super::segment::erasure::Erasure;
use super::super::segment::files::Location;
use super::super::segment::record::{Floors, LogState, RecordHead, RecordKind};
use super::found::{Found, KeyRange, SmallValue};
use super::held::HeldRegisters;
use super::layout::RegisterAt;

/// In the place of an offset: the entry was here and can't be read any more.
pub(in super::super) const LOST: u32 = u32::MAX;

/// Where the entries and registers of one segment are, by log; which dedupe keys they carry.
#[derive(Debug)]
pub(in super::super) struct SegmentIndex {
    pub segment: u32,
    /// The life of the store in which the segment was begun.
    pub life: u64,
    /// Where its last whole frame ends.
    pub end: u64,
    /// What is behind that may be more than could be read: the file is not cut there.
    pub keeps_end: bool,
    /// The batch after its last one. Set when the segment is sealed.
    pub next_batch: u64,
    /// How many records were added, of whatever kind: without any, it is not needed.
    pub records: u64,
    /// How many of them are entries.
    pub entries: u64,
    pub logs: DenseMap<LogId, LogPart>,
    /// Hashes of keys, and the offset of the entry.
    pub keys: HashMap<u64, u32, RandomState>,
    /// The floors of the logs that have any, which are few.
    pub floors: HashMap<LogId, Floors, RandomState>,
    /// The offset of the newest record of a log that is neither an entry nor a register, of the logs that
    /// have any, which are few.
    deletions: HashMap<LogId, u32, RandomState>,
    /// Erasures that were begun in this segment: until it has an index file, they may have to be done
    /// again.
    pub erasures: Vec<Erasure>,
    /// Keys whose hash was there already, of another key: one in 10^9 segments has any.
    pub collisions: Vec<(u64, u32)>,
    /// The registers, each as it was set last.
    pub registers: HeldRegisters,
}

/// A register in a segment.
#[derive(Debug, Clone)]
pub(in super::super) struct RegisterSlot {
    pub version: u64,
    pub offset: u32,
    /// It was removed.
    pub gone: bool,
    pub value: Option<SmallValue>,
}

/// That a register was set: the low half of the version, and where. A segment has fewer versions of a
/// log than the half can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct ChangeSlot {
    version: u32,
    offset: u32,
}

impl ChangeSlot {
    /// The whole version, if the newest one of the log is `newest`.
    fn version(self, newest: u64) -> u64 {
        newest - u64::from((newest as u32).wrapping_sub(self.version))
    }
}

/// Changes of a log that are gone through to find one that was overwritten. In longer lists they stay
/// until the list is full.
const CHANGES_SEARCHED_MAX: usize = 8;

/// The part of a log that is in a segment.
#[derive(Debug, Clone)]
pub(in super::super) struct LogPart {
    /// The sequence of the first entry; the one after the newest of the log if there is none here.
    pub first: u64,
    /// The numbers of the log's newest entry.
    pub newest: EntryMeta,
    /// The version of its registers.
    pub version: u64,
    /// The offsets of the entries, by sequence; [`LOST`] where one is damaged.
    pub offsets: SmallVec<[u32; 4]>,
    /// What was set, in the order of versions, with some that was set again since.
    pub changes: SmallVec<[ChangeSlot; 2]>,
}

// A user who logs in for the first time begins three logs: 400 bytes until the segment is full,
// with the places in the table that finds them.
const _: () = assert!(size_of::<(LogId, LogPart)>() <= 128);

impl LogPart {
    fn push(&mut self, seq: u64, offset: u32) {
        if self.offsets.is_empty() {
            self.first = seq;
        }
        // Only damage leaves a hole, and only what is found in damage can come twice.
        let Some(holes) = seq.checked_sub(self.last() + 1) else { return };
        self.offsets.extend(std::iter::repeat_n(LOST, usize::try_from(holes).unwrap_or(0)));
        self.offsets.push(offset);
    }

    /// Whatever became of the entries up to here, the log has had them: cleaning leaves out those
    /// that have expired, and the record that says so must not give their sequences again.
    fn reach(&mut self, seq: u64) {
        if self.offsets.is_empty() {
            self.first = seq + 1;
        }
        let missing = usize::try_from(seq.saturating_sub(self.last())).unwrap_or(0);
        self.offsets.extend(std::iter::repeat_n(LOST, missing));
    }

    /// Takes the change at an offset out of a short list; false if it is not there. (Most lists are
    /// short: two read a conversation.)
    fn forget_change(&mut self, offset: u32) -> bool {
        if self.changes.len() > CHANGES_SEARCHED_MAX {
            return false;
        }
        let place = self.changes.iter().position(|change| change.offset == offset);
        place.map(|place| self.changes.remove(place)).is_some()
    }

    /// The sequence of the log's newest entry.
    pub(in super::super) fn last(&self) -> u64 {
        self.first + self.offsets.len() as u64 - 1
    }
}

impl SegmentIndex {
    pub(in super::super) fn new(segment: u32) -> SegmentIndex {
        SegmentIndex {
            segment,
            life: 0,
            end: 0,
            keeps_end: false,
            next_batch: 0,
            records: 0,
            entries: 0,
            logs: DenseMap::default(),
            floors: HashMap::default(),
            deletions: HashMap::default(),
            erasures: Vec::new(),
            keys: HashMap::default(),
            collisions: Vec::new(),
            registers: HeldRegisters::default(),
        }
    }

    /// Adds a record that was read back; of a damaged one there is no body.
    pub(in super::super) fn add_record(
        &mut self,
        hash_key: HashKey,
        head: &RecordHead,
        body: Option<&[u8]>,
        offset: u32,
    ) {
        match head.kind {
            RecordKind::Entry => self.add(head.log, &head.state, offset),
            RecordKind::Register => {
                if let Some(key) = head.register.clone() {
                    self.set_register(head.log, &head.state, key, head.gone, body, offset);
                }
            }
            RecordKind::Floor => self.add_state(head.log, &head.state, offset),
            RecordKind::Erasure => {
                self.add_state(head.log, &head.state, offset);
                self.erasures.extend(body.and_then(Erasure::from_body));
            }
        }
        if let Some(key) = &head.key {
            self.add_key(hash_key.of_message(head.log, key), offset);
        }
    }

    /// Adds an entry, which is the newest of its log.
    pub(in super::super) fn add(&mut self, log: LogId, state: &LogState, offset: u32) {
        let part = self.part(log, state);
        part.push(state.seq, offset);
        self.entries += 1;
    }

    /// Sets or removes a register. The value is that of the record, or `None` if it is not known.
    pub(in super::super) fn set_register(
        &mut self,
        log: LogId,
        state: &LogState,
        key: RegisterKey,
        gone: bool,
        value: Option<&[u8]>,
        offset: u32,
    ) {
        let version = state.version;
        let slot = RegisterSlot { version, offset, gone, value: SmallValue::of(value) };
        let before = self.registers.set(log, key, slot);
        let change = ChangeSlot { version: version as u32, offset };
        let part = self.part(log, state);
        // An entry before it may have been cleaned away.
        part.reach(state.seq);
        let is_forgotten = before.is_some_and(|before| part.forget_change(before.offset));
        if is_forgotten || part.changes.len() < part.changes.capacity() {
            part.changes.push(change);
        } else if let Some(part) = self.tidy_changes(&log) {
            part.changes.push(change);
        }
    }

    /// Forgets the changes of a log that were overwritten, and makes room for as many as are left: so
    /// the list is never more than four times as long as it must be, and a change costs little.
    fn tidy_changes(&mut self, log: &LogId) -> Option<&mut LogPart> {
        let of_log = self.registers.of_log(*log, Bound::Unbounded);
        let mut current: Vec<u32> = of_log.map(|(_, slot)| slot.offset).collect();
        current.sort_unstable();
        let part = self.logs.get_mut(log)?;
        part.changes.retain(|change| current.binary_search(&change.offset).is_ok());
        if part.changes.len() > part.changes.capacity() / 4 {
            part.changes.reserve_exact(part.changes.capacity());
        }
        Some(part)
    }

    /// The register as this segment has it.
    pub(in super::super) fn register(&self, name: &(LogId, RegisterKey)) -> Option<Found> {
        self.registers.get(&name.0, &name.1).map(|slot| self.found(slot))
    }

    fn found(&self, slot: &RegisterSlot) -> Found {
        let &RegisterSlot { version, offset, gone, value } = slot;
        let place = Location { segment: self.segment, offset };
        Found { version, place, gone, value }
    }

    /// The first registers of a log that are within a range, at most so many. True if there are no
    /// others.
    pub(in super::super) fn registers(
        &self,
        range: &KeyRange<'_>,
        registers_max: usize,
    ) -> (Vec<(RegisterKey, Found)>, bool) {
        let of_log = self.registers.of_log(range.log, range.begin());
        let mut within = of_log.take_while(|(key, _)| key.as_bytes().starts_with(range.prefix));
        let taken = within.by_ref().take(registers_max);
        let registers = taken.map(|(key, slot)| (key.clone(), self.found(slot))).collect();
        (registers, within.next().is_none())
    }

    /// The first changes of a log after a version, at most so many, if there are any. True if there
    /// are no others.
    pub(in super::super) fn changes(
        &self,
        log: &LogId,
        since: u64,
        changes_max: usize,
    ) -> (Vec<(u64, Location)>, bool) {
        let Some(part) = self.logs.get(log) else { return (Vec::new(), true) };
        let version = |change: &ChangeSlot| change.version(part.version);
        let from = part.changes.partition_point(|change| version(change) <= since);
        let later = &part.changes[from..];
        let taken = later.iter().take(changes_max).map(|change| {
            let place = Location { segment: self.segment, offset: change.offset };
            (version(change), place)
        });
        (taken.collect(), later.len() <= changes_max)
    }

    /// All registers, by log and key.
    pub(super) fn registers_at(&self) -> impl Iterator<Item = RegisterAt> {
        self.registers.sorted().map(|(log, key, slot)| RegisterAt {
            name: (*log.as_bytes(), key.clone()),
            version: slot.version,
            place: Location { segment: self.segment, offset: slot.offset },
            gone: slot.gone,
        })
    }

    /// Takes the state of a log from a record that is no entry.
    pub(in super::super) fn add_state(&mut self, log: LogId, state: &LogState, offset: u32) {
        self.part(log, state).reach(state.seq);
        self.deletions.insert(log, offset);
    }

    /// Where the newest record of a log is, if it is in this segment. (If that is not known since an
    /// entry is damaged, behind all of them.)
    pub(super) fn newest_place(&self, log: &LogId, part: &LogPart) -> Location {
        let deletion = if self.deletions.is_empty() { None } else { self.deletions.get(log) };
        let entry = part.offsets.last();
        let change = part.changes.last().map(|change| &change.offset);
        let offset = deletion.into_iter().chain(entry).chain(change).max().copied();
        Location { segment: self.segment, offset: offset.unwrap_or(LOST) }
    }

    /// Whether anything was written to this segment at this place or behind it.
    pub(super) fn reaches(&self, place: Location) -> bool {
        let end = Location { segment: self.segment, offset: self.end as u32 };
        end > place
    }

    /// The part of a log, with its newest state but for the sequence.
    fn part(&mut self, log: LogId, state: &LogState) -> &mut LogPart {
        self.records += 1;
        if state.floors != Floors::default() {
            self.floors.insert(log, state.floors);
        }
        let new = || LogPart {
            first: state.seq + 1,
            newest: state.meta,
            version: state.version,
            offsets: SmallVec::new(),
            changes: SmallVec::new(),
        };
        let (part, is_new) = self.logs.get_or_insert_with(log, new);
        if !is_new {
            (part.newest, part.version) = (state.meta, state.version);
        }
        part
    }

    /// How much memory it takes, about.
    pub(in super::super) fn bytes(&self) -> usize {
        // A hash table is at least half full, but for what it was given for the keys to come. A log
        // with registers has room for two at least; nodes of a tree are to two thirds, and a key of a
        // register may lie outside.
        let log = size_of::<(LogId, LogPart)>() + 2 * size_of::<u32>();
        let key = 2 * size_of::<(u64, u32)>();
        let register = size_of::<(RegisterKey, RegisterSlot)>();
        let registers = (self.registers.len() * register * 3 / 2)
            .max(self.registers.logs() * (size_of::<LogId>() + 2 * register) * 3 / 2);
        self.logs.len() * log
            + self.keys.len() * key
            + registers
            + self.records as usize * size_of::<u32>()
    }

    /// The state of a log after this segment, if it is in it.
    pub(in super::super) fn state(&self, log: &LogId) -> Option<LogState> {
        let part = self.logs.get(log)?;
        let floors = if self.floors.is_empty() { None } else { self.floors.get(log) };
        Some(LogState {
            seq: part.last(),
            meta: part.newest,
            version: part.version,
            floors: floors.copied().unwrap_or_default(),
        })
    }

    /// Adds the hash of an entry's key.
    pub(in super::super) fn add_key(&mut self, hash: u64, offset: u32) {
        match self.keys.entry(hash) {
            Entry::Vacant(place) => drop(place.insert(offset)),
            Entry::Occupied(_) => self.collisions.push((hash, offset)),
        }
    }

    /// The offsets of the entries whose key has this hash.
    pub(in super::super) fn offsets_of_key(&self, hash: u64) -> impl Iterator<Item = u32> {
        let collided = self.collisions.iter().filter(move |(other, _)| *other == hash);
        self.keys.get(&hash).copied().into_iter().chain(collided.map(|&(_, offset)| offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_protocol::UserId;

    #[test]
    fn a_record_without_an_entry_says_how_far_the_log_had_come() {
        let log = LogId::account(UserId::new(1).unwrap());
        let state = |seq| LogState { seq, ..LogState::default() };
        let mut index = SegmentIndex::new(1);
        // Between these two there were entries, which have expired and were cleaned away.
        index.add_state(log, &state(5), 4096);
        index.add_state(log, &state(10), 4116);
        assert_eq!(index.state(&log).unwrap().seq, 10);
        index.add(log, &state(11), 4136);
        index.add_state(log, &state(13), 4900);
        index.add(log, &state(14), 5000);
        let part = index.logs.get(&log).unwrap();
        assert_eq!((part.first, part.last()), (11, 14));
        assert_eq!(part.offsets[..], [4136, LOST, LOST, 5000]);
        assert_eq!(index.newest_place(&log, part), Location { segment: 1, offset: 5000 });
    }

    /// Also where the record that said that they have expired is somewhere else.
    #[test]
    fn a_register_says_how_far_the_log_had_come() {
        let log = LogId::account(UserId::new(1).unwrap());
        let state = |seq, version| LogState { seq, version, ..LogState::default() };
        let mut index = SegmentIndex::new(1);
        let set = |index: &mut SegmentIndex, seq, version, offset| {
            let key = RegisterKey::letter(b'a');
            index.set_register(log, &state(seq, version), key, false, None, offset);
            index.state(&log).unwrap().seq
        };
        assert_eq!(set(&mut index, 7, 1, 4096), 7);
        index.add(log, &state(9, 1), 4136);
        assert_eq!(set(&mut index, 10, 2, 4200), 10);
        index.add(log, &state(11, 2), 4300);
        let part = index.logs.get(&log).unwrap();
        assert_eq!(part.offsets[..], [4136, LOST, 4300]);
    }
}
