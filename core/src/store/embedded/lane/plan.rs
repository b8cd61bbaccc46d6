//! Deciding about writes: is it a retry, do the fences and the rules hold?

use bytes::Bytes;
use dunlin_protocol::LogId;

use crate::store::{
    DedupeKey, Fence, Register, RegisterKey, Rule, Set, StoreError, Write, Written,
};

use super::super::index::found::{Found, SmallValue};
use super::super::read::{HeadRead, read_head, read_value};
use super::super::segment::record::LogState;
use super::frame::{Used, bytes_of};
use super::{Answers, Lane};

/// A register as a rule meets it.
struct Held {
    version: u64,
    value: Value,
}

enum Value {
    /// It holds nothing.
    Nothing,
    Small(SmallValue),
    Bytes(Bytes),
    /// It has to be read.
    At(Found),
}

impl Lane {
    /// Decides about the writes of a job and puts those to be stored into the frame.
    pub(super) fn plan_writes(&mut self, writes: Vec<Write>) {
        self.look_up(&writes);
        for (place, write) in writes.into_iter().enumerate() {
            let verdict = self.plan_write(place, write);
            self.answer(verdict);
        }
    }

    fn answer(&mut self, verdict: Written) {
        let current = self.unanswered.last_mut().expect("the job was just pushed");
        match &mut current.answers {
            Answers::Written(verdicts) => verdicts.push(verdict),
            Answers::Deleted(_) => unreachable!("a job that writes has answers to writes"),
        }
    }

    /// Hashes the keys of a job and asks the index for all of them at once.
    fn look_up(&mut self, writes: &[Write]) {
        let hash_key = self.shared.identity.hash_key;
        let has_key = |write: &Write| write.entry.as_ref().is_some_and(|entry| entry.key.is_some());
        if !writes.iter().any(has_key) {
            // Nobody asks for what was found.
            return;
        }
        let hash = |write: &Write| {
            let key = write.entry.as_ref().and_then(|entry| entry.key);
            key.map_or(0, |key| hash_key.of_message(write.log, &key))
        };
        self.hashes.clear();
        self.hashes.extend(writes.iter().map(hash));
        self.shared.index.may_hold_keys(&self.hashes, &mut self.may_be_known);
        self.looked_up = self.next_batch;
    }

    fn plan_write(&mut self, place: usize, write: Write) -> Written {
        let entry_of = write.entry.is_some().then_some(write.log);
        let verdict = self.decide(place, write).unwrap_or_else(|error| {
            let verdict = match error {
                StoreError::Corrupt { .. }
                | StoreError::CorruptRegister { .. }
                | StoreError::CorruptKey { .. } => Written::Corrupt,
                StoreError::Unavailable { .. }
                | StoreError::MomentUnknown
                | StoreError::Mismatched
                | StoreError::Malformed(_) => Written::Unknown,
            };
            self.note(error);
            verdict
        });
        if let Some(log) = entry_of
            && !matches!(verdict, Written::Stored { .. })
        {
            self.stale.insert(log);
        }
        verdict
    }

    fn decide(&mut self, place: usize, write: Write) -> Result<Written, StoreError> {
        let key = write.entry.as_ref().and_then(|entry| entry.key);
        if let Some(key) = &key
            && let Some(duplicate) = self.find_duplicate(place, write.log, key)?
        {
            return Ok(duplicate);
        }
        let state = self.state(write.log)?;
        if !self.fits(&write, &state) {
            return Ok(Written::Conflict { head: state.head() });
        }
        for (at, set) in write.sets.iter().enumerate() {
            if let Some(found) = self.find_unmet(write.log, &state, set)? {
                return Ok(Written::Unmet { set: at, found });
            }
        }
        let mark = self.make_room(bytes_of(&write, state))?;
        let hash = key.map_or(0, |_| self.hashes[place]);
        Ok(Written::Stored { version: self.frame.add(mark, write, hash, state) })
    }

    /// Whether the fences of a write hold.
    fn fits(&self, write: &Write, state: &LogState) -> bool {
        let Fence { head, version } = write.fence;
        let entry = write.entry.as_ref().is_none_or(|entry| {
            state.seq.checked_add(1) == Some(entry.seq) && !self.stale.contains(&write.log)
        });
        entry
            && head.is_none_or(|head| head == state.seq)
            && version.is_none_or(|version| version == state.version)
    }

    /// Looks for the key in this batch and in the index.
    fn find_duplicate(
        &mut self,
        place: usize,
        log: LogId,
        key: &DedupeKey,
    ) -> Result<Option<Written>, StoreError> {
        let hash = self.hashes[place];
        if let Some(Used { log: of, key: used, seq, digest }) = self.frame.used(hash) {
            if of == log && used == *key {
                return Ok(Some(Written::Duplicate { seq, digest }));
            }
            // Another key with the same hash. The index can hold both, this batch can't.
            self.commit_for_room()?;
        }
        // A commit in the middle of the job has added to the index.
        if !self.may_be_known[place] && self.looked_up == self.next_batch {
            return Ok(None);
        }
        self.places.clear();
        self.shared.index.places_of_key(hash, &mut self.places)?;
        for &place in &self.places {
            match read_head(&self.shared, place)? {
                HeadRead::Whole(head) if head.log == log && head.key == Some(*key) => {
                    let (seq, digest) = (head.state.seq, head.digest);
                    return Ok(Some(Written::Duplicate { seq, digest }));
                }
                // A retry of what was lost is stored again.
                HeadRead::Whole(_) | HeadRead::Gone => {}
                // Most likely it is a retry of what is damaged: stored again, it would be there
                // twice.
                HeadRead::Damaged => return Ok(Some(Written::Corrupt)),
            }
        }
        Ok(None)
    }

    /// The register as it is, if the rule of a set does not hold.
    fn find_unmet(
        &self,
        log: LogId,
        state: &LogState,
        set: &Set,
    ) -> Result<Option<Register>, StoreError> {
        if set.rule == Rule::Always {
            return Ok(None);
        }
        let Held { version, value } = self.held(log, state, &set.key)?;
        let value = match (set.rule, value) {
            // Whether there is a value is all that these ask.
            (Rule::IfVersion(_) | Rule::IfAbsent, Value::At(found)) => {
                if set.rule.holds(version, Some(&[]), set.value.as_deref()) {
                    return Ok(None);
                }
                Some(read_value(&self.shared, log, &set.key, found.place)?)
            }
            (Rule::Always | Rule::IfGreater, Value::At(found)) => {
                Some(read_value(&self.shared, log, &set.key, found.place)?)
            }
            (_, Value::Small(small)) => {
                if set.rule.holds(version, Some(small.as_bytes()), set.value.as_deref()) {
                    return Ok(None);
                }
                Some(small.to_bytes())
            }
            (_, Value::Bytes(bytes)) => Some(bytes),
            (_, Value::Nothing) => None,
        };
        let holds = set.rule.holds(version, value.as_deref(), set.value.as_deref());
        let key = set.key.clone();
        Ok((!holds).then_some(Register { key, version, value }))
    }

    /// A register with this batch.
    fn held(&self, log: LogId, state: &LogState, key: &RegisterKey) -> Result<Held, StoreError> {
        let nothing = Held { version: 0, value: Value::Nothing };
        if state.version == 0 {
            return Ok(nothing);
        }
        let planned = self.frame.register(log, key);
        if let Some((version, value)) = planned {
            // Set before the log was dropped in the same batch.
            let known = version >= state.floors.registers_from;
            let value = value.map_or(Value::Nothing, Value::Bytes);
            return Ok(if known { Held { version, value } } else { nothing });
        }
        match self.shared.index.register(log, key)? {
            Some(found) if found.is_known(&state.floors) => {
                let version = found.version;
                let value = match (&found.value, found.gone) {
                    (_, true) => Value::Nothing,
                    (Some(small), false) => Value::Small(*small),
                    (None, false) => Value::At(found),
                };
                Ok(Held { version, value })
            }
            Some(_) | None => Ok(nothing),
        }
    }
}
