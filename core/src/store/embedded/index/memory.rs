//! The index of one segment in memory: of the active one, and of those that have no index file.

use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use smallvec::SmallVec;

use crate::dense_map::DenseMap;
use crate::store::{EntryMeta, RegisterKey};

use super::super::hash::HashKey;
use super::super::record::{Floors, LogState, RecordHead, RecordKind};

/// In the place of an offset: the entry was here and can't be read any more.
pub(in super::super) const LOST: u32 = u32::MAX;

/// Where the entries of one segment are, by log; which keys and cursors they carry.
#[derive(Debug)]
pub(in super::super) struct SegmentIndex {
    pub segment: u32,
    /// Where its last whole frame ends.
    pub end: u64,
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
    /// Keys whose hash was there already, of another key: one in 10^9 segments has any.
    pub collisions: Vec<(u64, u32)>,
    pub cursors: HashMap<(LogId, UserId), u64, RandomState>,
}

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
}

// A user who logs in for the first time begins three logs: 300 bytes until the segment is full,
// with the places in the table that finds them.
const _: () = assert!(size_of::<(LogId, LogPart)>() <= 96);

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

    /// The sequence of the log's newest entry.
    pub(in super::super) fn last(&self) -> u64 {
        self.first + self.offsets.len() as u64 - 1
    }
}

impl SegmentIndex {
    pub(in super::super) fn new(segment: u32) -> SegmentIndex {
        SegmentIndex {
            segment,
            end: 0,
            next_batch: 0,
            records: 0,
            entries: 0,
            logs: DenseMap::default(),
            floors: HashMap::default(),
            keys: HashMap::default(),
            collisions: Vec::new(),
            cursors: HashMap::default(),
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
                self.add_state(head.log, &head.state);
                let cursor = head.register.as_ref().and_then(cursor_user);
                if let Some((user, seq)) = cursor.zip(body.and_then(cursor_seq)) {
                    self.move_cursor(head.log, user, seq);
                }
            }
            RecordKind::Floor | RecordKind::Erasure => self.add_state(head.log, &head.state),
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

    /// Takes the state of a log from a record that is no entry.
    pub(in super::super) fn add_state(&mut self, log: LogId, state: &LogState) {
        self.part(log, state).reach(state.seq);
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
        };
        let (part, is_new) = self.logs.get_or_insert_with(log, new);
        if !is_new {
            (part.newest, part.version) = (state.meta, state.version);
        }
        part
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

    /// Moves a cursor, forwards only.
    pub(in super::super) fn move_cursor(&mut self, conversation: LogId, user: UserId, seq: u64) {
        let cursor = self.cursors.entry((conversation, user)).or_default();
        *cursor = seq.max(*cursor);
    }

    /// The offsets of the entries whose key has this hash.
    pub(in super::super) fn offsets_of_key(&self, hash: u64) -> impl Iterator<Item = u32> {
        let collided = self.collisions.iter().filter(move |(other, _)| *other == hash);
        self.keys.get(&hash).copied().into_iter().chain(collided.map(|&(_, offset)| offset))
    }
}

/// The user whose read cursor a register of a conversation is.
fn cursor_user(key: &RegisterKey) -> Option<UserId> {
    let (b'r', user) = key.as_bytes().split_first()? else { return None };
    UserId::new(u64::from_be_bytes(user.try_into().ok()?)).ok()
}

fn cursor_seq(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|seq| u64::from_be_bytes(*seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_an_entry_says_how_far_the_log_had_come() {
        let log = LogId::account(UserId::new(1).unwrap());
        let state = |seq| LogState { seq, ..LogState::default() };
        let mut index = SegmentIndex::new(1);
        // Between these two there were entries, which have expired and were cleaned away.
        index.add_state(log, &state(5));
        index.add_state(log, &state(10));
        assert_eq!(index.state(&log).unwrap().seq, 10);
        index.add(log, &state(11), 4136);
        index.add_state(log, &state(13));
        index.add(log, &state(14), 5000);
        let part = index.logs.get(&log).unwrap();
        assert_eq!((part.first, part.last()), (11, 14));
        assert_eq!(part.offsets[..], [4136, LOST, LOST, 5000]);
    }
}
