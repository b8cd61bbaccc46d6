//! The batch that is being made.

use std::hash::BuildHasher;

use bytes::Bytes;
use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};

use crate::store::{DedupeKey, NewEntry, RegisterKey, Set, Write};

use super::super::index::memory::SegmentIndex;
use super::super::segment::erasure::Erasure;
use super::super::segment::frame::{FRAME_HEAD_BYTES, Mark};
use super::super::segment::record::{LogState, NewRecord};

/// The batch that is being made. Its parts keep their memory from batch to batch.
#[derive(Default)]
pub(super) struct Frame {
    pub(super) buffer: Vec<u8>,
    planned: Vec<Planned>,
    /// The states of the logs with this batch, where they differ from the index.
    states: HashMap<LogId, LogState, RandomState>,
    /// The keys of this batch by hash: positions in `planned`.
    keys: HashMap<u64, usize, RandomState>,
    /// The registers that this batch has set: positions in `planned`.
    registers: HashTable<usize>,
    hasher: RandomState,
}

/// A record of the frame.
struct Planned {
    log: LogId,
    state: LogState,
    /// In the frame.
    offset: usize,
    what: What,
}

enum What {
    /// With the hash of the key, and the digest.
    Entry {
        key: Option<(u64, DedupeKey)>,
        digest: u64,
    },
    Register {
        key: RegisterKey,
        value: Option<Bytes>,
    },
    Floor,
    Erasure(Erasure),
}

impl Planned {
    fn sets(&self, log: LogId, register: &RegisterKey) -> bool {
        match &self.what {
            What::Register { key, .. } => self.log == log && key == register,
            What::Entry { .. } | What::Floor | What::Erasure(_) => false,
        }
    }
}

/// An entry of the batch that has a key.
pub(super) struct Used {
    pub log: LogId,
    pub key: DedupeKey,
    pub seq: u64,
    pub digest: u64,
}

impl Frame {
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.resize(FRAME_HEAD_BYTES, 0);
        self.planned.clear();
        self.states.clear();
        self.keys.clear();
        self.registers.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        self.planned.len()
    }

    /// How many of them are entries.
    pub(super) fn entries(&self) -> usize {
        self.planned.iter().filter(|planned| matches!(planned.what, What::Entry { .. })).count()
    }

    /// How many of them are registers.
    pub(super) fn registers(&self) -> usize {
        self.planned.iter().filter(|planned| matches!(planned.what, What::Register { .. })).count()
    }

    /// The state of a log, if this batch has changed it.
    pub(super) fn state(&self, log: &LogId) -> Option<LogState> {
        self.states.get(log).copied()
    }

    /// The entry of this batch whose key has such a hash.
    pub(super) fn used(&self, hash: u64) -> Option<Used> {
        let Planned { log, state, what, .. } = &self.planned[*self.keys.get(&hash)?];
        match *what {
            What::Entry { key: Some((_, key)), digest } => {
                Some(Used { log: *log, key, seq: state.seq, digest })
            }
            What::Entry { key: None, .. }
            | What::Register { .. }
            | What::Floor
            | What::Erasure(_) => None,
        }
    }

    /// The version and the value of a register, if this batch has set it.
    pub(super) fn register(&self, log: LogId, key: &RegisterKey) -> Option<(u64, Option<Bytes>)> {
        if !self.states.contains_key(&log) {
            return None;
        }
        let hash = self.hasher.hash_one((log, key));
        let found = self.registers.find(hash, |&at| self.planned[at].sets(log, key))?;
        let Planned { state, what, .. } = &self.planned[*found];
        match what {
            What::Register { value, .. } => Some((state.version, value.clone())),
            What::Entry { .. } | What::Floor | What::Erasure(_) => None,
        }
    }

    /// Adds a write of which nothing is refused, and says which version the log has then. `before` is
    /// the state of the log, `hash` that of the entry's key.
    pub(super) fn add(&mut self, mark: Mark, write: Write, hash: u64, before: LogState) -> u64 {
        let Write { log, entry, sets, .. } = write;
        let mut state = before;
        state.version += u64::from(!sets.is_empty());
        if let Some(entry) = entry {
            (state.seq, state.meta) = (entry.seq, entry.meta);
            self.add_entry(mark, log, state, &entry, hash, !sets.is_empty());
        }
        let last = sets.len().saturating_sub(1);
        for (place, set) in sets.into_iter().enumerate() {
            self.add_register(mark, log, state, set, place < last);
        }
        self.states.insert(log, state);
        state.version
    }

    fn add_entry(
        &mut self,
        mark: Mark,
        log: LogId,
        state: LogState,
        entry: &NewEntry,
        hash: u64,
        more: bool,
    ) {
        let digest = entry.digest;
        let record = NewRecord::entry(log, state, entry.key.map(|key| (key, digest)), &entry.body);
        if entry.key.is_some() {
            self.keys.insert(hash, self.planned.len());
        }
        let key = entry.key.map(|key| (hash, key));
        self.push(mark, &record.followed(more), log, state, What::Entry { key, digest });
    }

    fn add_register(&mut self, mark: Mark, log: LogId, state: LogState, set: Set, more: bool) {
        let Set { key, value, .. } = set;
        self.keep_register(log, &key);
        let offset = self.buffer.len();
        let record = NewRecord::register(log, state, &key, value.as_deref());
        record.followed(more).encode(mark, &mut self.buffer);
        self.planned.push(Planned { log, state, offset, what: What::Register { key, value } });
    }

    /// The register is the one that is planned next.
    fn keep_register(&mut self, log: LogId, key: &RegisterKey) {
        let Frame { planned, registers, hasher, .. } = self;
        let hash = hasher.hash_one((log, key));
        let is_same = |&at: &usize| planned[at].sets(log, key);
        let hash_of = |&at: &usize| match &planned[at].what {
            What::Register { key, .. } => hasher.hash_one((planned[at].log, key)),
            What::Entry { .. } | What::Floor | What::Erasure(_) => 0,
        };
        match registers.entry(hash, is_same, hash_of) {
            Entry::Occupied(mut place) => *place.get_mut() = planned.len(),
            Entry::Vacant(place) => drop(place.insert(planned.len())),
        }
    }

    /// Adds new floors, which are those of the state.
    pub(super) fn add_floor(
        &mut self,
        mark: Mark,
        record: &NewRecord<'_>,
        log: LogId,
        state: LogState,
    ) {
        self.push(mark, record, log, state, What::Floor);
        self.states.insert(log, state);
    }

    /// Adds what it takes to erase an entry.
    pub(super) fn add_erasure(
        &mut self,
        mark: Mark,
        log: LogId,
        state: LogState,
        erasure: Erasure,
        body: &[u8],
    ) {
        let record = NewRecord::erasure(log, state, body);
        self.push(mark, &record, log, state, What::Erasure(erasure));
    }

    fn push(
        &mut self,
        mark: Mark,
        record: &NewRecord<'_>,
        log: LogId,
        state: LogState,
        what: What,
    ) {
        let offset = self.buffer.len();
        record.encode(mark, &mut self.buffer);
        self.planned.push(Planned { log, state, offset, what });
    }

    /// Adds all to the index of the segment, in which the frame begins at `base`. What is to be erased
    /// goes to `erasures`.
    pub(super) fn publish(
        &mut self,
        base: u64,
        index: &mut SegmentIndex,
        erasures: &mut Vec<Erasure>,
    ) {
        for Planned { log, state, offset, what } in self.planned.drain(..) {
            // Segments are smaller than 2^32 bytes.
            let offset = (base + offset as u64) as u32;
            match what {
                What::Entry { key, .. } => {
                    index.add(log, &state, offset);
                    if let Some((hash, _)) = key {
                        index.add_key(hash, offset);
                    }
                }
                What::Register { key, value } => {
                    let gone = value.is_none();
                    index.set_register(log, &state, key, gone, value.as_deref(), offset);
                }
                What::Floor => index.add_state(log, &state, offset),
                What::Erasure(erasure) => {
                    index.add_state(log, &state, offset);
                    index.erasures.push(erasure.clone());
                    erasures.push(erasure);
                }
            }
        }
    }
}

/// Bytes that a write takes in a frame at most.
pub(super) fn bytes_of(write: &Write, state: LogState) -> usize {
    let entry = write.entry.as_ref().map_or(0, |entry| {
        let key = entry.key.map(|key| (key, entry.digest));
        NewRecord::entry(write.log, state, key, &entry.body).bytes()
    });
    let register =
        |set: &Set| NewRecord::register(write.log, state, &set.key, set.value.as_deref()).bytes();
    entry + write.sets.iter().map(register).sum::<usize>()
}
