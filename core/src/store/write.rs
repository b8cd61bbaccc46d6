//! Writes: what is done to one log in one atomic, durable step.

use bytes::Bytes;
use dunlin_protocol::{ClientMessageId, LogId, UserId};
use smallvec::SmallVec;

use super::read::{EntryMeta, Head};
use super::register::{REGISTER_KEY_BYTES_MAX, REGISTER_VALUE_BYTES_MAX, Register, RegisterKey};

/// The most registers that one write sets.
pub const SETS_MAX: usize = 64;

/// What makes a retry known: unique in its log for as long as the entry is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DedupeKey {
    /// The user who sends.
    pub sender: UserId,
    /// The id that the sender gave.
    pub client_message_id: ClientMessageId,
}

/// One write: all of it is done, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// To which log.
    pub log: LogId,
    /// What it takes for granted.
    pub fence: Fence,
    /// An entry that is appended.
    pub entry: Option<NewEntry>,
    /// Registers that are set, each once.
    pub sets: SmallVec<[Set; 1]>,
}

/// What must hold of a log, or the write is refused with [`Written::Conflict`]. An entry brings its
/// own fence of the head, its sequence; both must hold if both are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fence {
    /// The head must have this sequence.
    pub head: Option<u64>,
    /// The registers must have this version: nobody has set any since they were read.
    pub version: Option<u64>,
}

/// An entry to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The sequence that it shall have: the head's plus 1.
    pub seq: u64,
    /// The numbers beside it.
    pub meta: EntryMeta,
    /// What makes a retry known, if the entry has such a thing.
    pub key: Option<DedupeKey>,
    /// Digest of the content, returned with `Duplicate` so that the caller can tell a retry from
    /// a conflict. 0 where there is no key.
    pub digest: u64,
    /// The entry, opaque to the store.
    pub body: Bytes,
}

/// A register to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Which.
    pub key: RegisterKey,
    /// What it shall hold; `None` removes it.
    pub value: Option<Bytes>,
    /// On what condition.
    pub rule: Rule,
}

/// The condition of a [`Set`]. If it does not hold, the whole write is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// There is none.
    Always,
    /// It was set by this version last: compare and set. 0 if it was never set.
    IfVersion(u64),
    /// It holds nothing: it was never set, or it was removed.
    IfAbsent,
    /// The new value is greater than what it holds, compared as bytes; nothing is less than every
    /// value. So numbers are big-endian. A removal is never greater.
    IfGreater,
}

/// What became of one write of a batch. The writes to one log are done in order. After an entry that
/// was refused every later entry for the same log within the batch that is no `Duplicate` is a
/// `Conflict` too, even if its seq should fit by chance: it was numbered and counted by somebody who
/// did not know the head, or who took it for granted that the one before it would be stored there.
/// For the same reason an entry behind one that is `Unknown` is stored only if that one was; so one
/// that is `Stored` tells that those before it are.
/// (Writes of registers alone are each judged for themselves.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// Durable.
    Stored {
        /// The version of the log's registers now: of the sets of this write, if it has any.
        version: u64,
    },
    /// The key was used before: by the entry at `seq`, whose content had this digest. Nothing was
    /// stored. (Checked before everything else.)
    Duplicate {
        /// Where the first one is.
        seq: u64,
        /// Its digest.
        digest: u64,
    },
    /// The fence does not hold. Nothing was stored.
    Conflict {
        /// The true head, which may be of another writer and not durable before this reply.
        head: Head,
    },
    /// The rule of a register does not hold. Nothing was stored. (Checked after the fence.)
    Unmet {
        /// Which of the sets, the first one.
        set: usize,
        /// The register as it is: version 0 and no value if it was never set.
        found: Register,
    },
    /// What has to be read to decide about it is damaged: the entry that may have its key, the state
    /// of the log, the register of a rule. Nothing was stored, and the same write fares no better
    /// again.
    Corrupt,
    /// Nobody knows whether it was stored: a lost answer, a failed fsync. Until the store says
    /// `Stored` it counts as not stored; a later write with the same fence, key or rule decides.
    Unknown,
}

/// A write that no store takes: a defect of whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// See [`REGISTER_KEY_BYTES_MAX`].
    #[error("a register's key has {bytes} bytes, not 1 to {REGISTER_KEY_BYTES_MAX}")]
    Key {
        /// How long it is.
        bytes: usize,
    },
    /// See [`REGISTER_VALUE_BYTES_MAX`].
    #[error("a register's value has {bytes} bytes, more than {REGISTER_VALUE_BYTES_MAX}")]
    Value {
        /// How long it is.
        bytes: usize,
    },
    /// See [`SETS_MAX`].
    #[error("a write sets {sets} registers, more than {SETS_MAX}")]
    Sets {
        /// How many there are.
        sets: usize,
    },
    /// A register is set twice by one write.
    #[error("a write sets a register twice")]
    Twice,
    /// It has neither an entry nor a register.
    #[error("a write does nothing")]
    Empty,
    /// See [`FeedPosition`](super::feed::FeedPosition).
    #[error("the position is none of this store's feed")]
    Position,
    /// See [`ConsumerName`](super::feed::ConsumerName).
    #[error("the name of a consumer is 1 to 32 of a-z, 0-9 and -")]
    Consumer,
}

impl Write {
    /// An entry alone.
    pub fn entry(log: LogId, entry: NewEntry) -> Write {
        Write { log, fence: Fence::default(), entry: Some(entry), sets: SmallVec::new() }
    }

    /// Registers alone.
    pub fn registers(log: LogId, sets: impl IntoIterator<Item = Set>) -> Write {
        let sets = sets.into_iter().collect();
        Write { log, fence: Fence::default(), entry: None, sets }
    }

    /// Whether a store has to take it. One that it has not to take is answered
    /// [`StoreError::Malformed`](super::StoreError::Malformed) with the whole batch.
    pub fn check(&self) -> Result<(), Malformed> {
        if self.entry.is_none() && self.sets.is_empty() {
            return Err(Malformed::Empty);
        }
        if self.sets.len() > SETS_MAX {
            return Err(Malformed::Sets { sets: self.sets.len() });
        }
        for (place, set) in self.sets.iter().enumerate() {
            let bytes = set.value.as_ref().map_or(0, Bytes::len);
            if bytes > REGISTER_VALUE_BYTES_MAX {
                return Err(Malformed::Value { bytes });
            }
            if self.sets[..place].iter().any(|other| other.key == set.key) {
                return Err(Malformed::Twice);
            }
        }
        Ok(())
    }
}

impl Set {
    /// Sets a register, whatever it holds.
    pub fn always(key: RegisterKey, value: Bytes) -> Set {
        Set { key, value: Some(value), rule: Rule::Always }
    }

    /// Removes a register, whatever it holds.
    pub fn removal(key: RegisterKey) -> Set {
        Set { key, value: None, rule: Rule::Always }
    }
}

impl Rule {
    /// Whether a register may be set to a value, as it is: its version (0 if it was never set) and
    /// what it holds.
    pub fn holds(self, version: u64, held: Option<&[u8]>, value: Option<&[u8]>) -> bool {
        match self {
            Rule::Always => true,
            Rule::IfVersion(expected) => expected == version,
            Rule::IfAbsent => held.is_none(),
            Rule::IfGreater => match (held, value) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(held), Some(value)) => value > held,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_compares_with_what_is_held() {
        let held = Some(&b"\x01\x02"[..]);
        assert!(Rule::Always.holds(7, held, None));
        assert!(
            Rule::IfVersion(7).holds(7, held, None) && !Rule::IfVersion(6).holds(7, held, None)
        );
        assert!(Rule::IfVersion(0).holds(0, None, held));
        assert!(Rule::IfAbsent.holds(7, None, held) && !Rule::IfAbsent.holds(7, held, None));
        for (value, greater) in
            [(&b"\x01\x03"[..], true), (b"\x01\x02", false), (b"\x01", false), (b"\x02", true)]
        {
            assert_eq!(Rule::IfGreater.holds(7, held, Some(value)), greater, "{value:?}");
        }
        assert!(Rule::IfGreater.holds(0, None, Some(b"")));
        assert!(!Rule::IfGreater.holds(7, held, None) && !Rule::IfGreater.holds(0, None, None));
    }

    #[test]
    fn what_no_store_takes_is_named() {
        use dunlin_protocol::UserId;

        let log = LogId::account(UserId::new(1).expect("a user id"));
        let key = |number| RegisterKey::numbered(b'x', number);
        let set = |number| Set::always(key(number), Bytes::new());
        assert_eq!(Write::registers(log, [set(1), set(2)]).check(), Ok(()));
        assert_eq!(Write::registers(log, []).check(), Err(Malformed::Empty));
        assert_eq!(Write::registers(log, [set(1), set(1)]).check(), Err(Malformed::Twice));
        let many = (0..=SETS_MAX as u64).map(set);
        assert_eq!(Write::registers(log, many).check(), Err(Malformed::Sets { sets: 65 }));
        let large = Set::always(key(1), Bytes::from(vec![0; REGISTER_VALUE_BYTES_MAX + 1]));
        let bytes = REGISTER_VALUE_BYTES_MAX + 1;
        assert_eq!(Write::registers(log, [large]).check(), Err(Malformed::Value { bytes }));
        for bytes in [0, REGISTER_KEY_BYTES_MAX + 1] {
            assert_eq!(RegisterKey::new(&vec![1; bytes]), Err(Malformed::Key { bytes }));
        }
        assert_eq!(key(5).as_bytes(), b"x\0\0\0\0\0\0\0\x05");
    }
}
