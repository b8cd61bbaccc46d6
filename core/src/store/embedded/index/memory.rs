//! The index of one segment in memory: of the active one, and of those that have no index file.

use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use smallvec::SmallVec;

use crate::dense_map::DenseMap;
use crate::store::{EntryMeta, Head};

use super::super::hash::HashKey;
use super::super::record::RecordHead;

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
    pub entries: u64,
    pub logs: DenseMap<LogId, LogPart>,
    /// Hashes of keys, and the offset of the entry.
    pub keys: HashMap<u64, u32, RandomState>,
    /// Keys whose hash was there already, of another key: one in 10^9 segments has any.
    pub collisions: Vec<(u64, u32)>,
    pub cursors: HashMap<(LogId, UserId), u64, RandomState>,
}

/// The part of a log that is in a segment.
#[derive(Debug, Clone)]
pub(in super::super) struct LogPart {
    /// The sequence of the first entry.
    pub first: u64,
    /// The numbers of the last one.
    pub newest: EntryMeta,
    /// The offsets of the entries, by sequence; [`LOST`] where one is damaged.
    pub offsets: SmallVec<[u32; 4]>,
}

// A user who logs in for the first time begins three logs: 300 bytes until the segment is full,
// with the places in the table that finds them.
const _: () = assert!(size_of::<(LogId, LogPart)>() <= 88);

impl LogPart {
    fn push(&mut self, seq: u64, meta: EntryMeta, offset: u32) {
        // Only damage leaves a hole, and only what is found in damage can come twice.
        let Some(holes) = seq.checked_sub(self.last() + 1) else { return };
        self.offsets.extend(std::iter::repeat_n(LOST, usize::try_from(holes).unwrap_or(0)));
        self.offsets.push(offset);
        self.newest = meta;
    }

    /// The sequence of the last entry.
    pub(in super::super) fn last(&self) -> u64 {
        self.first + self.offsets.len() as u64 - 1
    }

    /// The end of the log, if this is its newest part.
    pub(in super::super) fn head(&self) -> Head {
        Head { seq: self.last(), meta: self.newest, ..Head::default() }
    }
}

impl SegmentIndex {
    pub(in super::super) fn new(segment: u32) -> SegmentIndex {
        SegmentIndex {
            segment,
            end: 0,
            next_batch: 0,
            entries: 0,
            logs: DenseMap::default(),
            keys: HashMap::default(),
            collisions: Vec::new(),
            cursors: HashMap::default(),
        }
    }

    /// Adds the entry of a record that was read back.
    pub(in super::super) fn add_record(
        &mut self,
        hash_key: HashKey,
        head: &RecordHead,
        offset: u32,
    ) {
        self.add(head.log, head.seq, head.meta, offset);
        if let Some(key) = &head.key {
            self.add_key(hash_key.of_message(head.log, key), offset);
        }
        if let Some(cursor) = head.cursor {
            self.move_cursor(cursor.conversation, cursor.user, cursor.seq);
        }
    }

    /// Adds an entry.
    pub(in super::super) fn add(&mut self, log: LogId, seq: u64, meta: EntryMeta, offset: u32) {
        let first =
            || LogPart { first: seq, newest: meta, offsets: SmallVec::from_slice(&[offset]) };
        let (part, is_new) = self.logs.get_or_insert_with(log, first);
        if !is_new {
            part.push(seq, meta, offset);
        }
        self.entries += 1;
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
