//! A read cursor: a register of the conversation, one for each member who has read something. The
//! store lets it only move forwards, whoever moves it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dunlin_protocol::{LogId, UserId};

use crate::refusal::{DATA_CORRUPT, Refusal};
use crate::store::{Register, RegisterKey, Rule, Set, Write};

/// How far a member has read a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ReadCursor {
    /// Up to this sequence.
    pub(crate) seq: u64,
    /// How many entries of others count up to there.
    pub(crate) others_counted: u64,
}

impl ReadCursor {
    /// The register of a user.
    pub(crate) fn key(user: UserId) -> RegisterKey {
        RegisterKey::numbered(b'r', user.get())
    }

    /// Moves the cursor of a user here; unmet if it is there already, or further.
    pub(crate) fn moving(self, conversation: LogId, user: UserId) -> Write {
        let (key, value) = (ReadCursor::key(user), Some(self.encode()));
        Write::registers(conversation, [Set { key, value, rule: Rule::IfGreater }])
    }

    /// Big-endian, the sequence first: so the greater one has read further.
    fn encode(self) -> Bytes {
        let mut value = BytesMut::with_capacity(16);
        value.put_u64(self.seq);
        value.put_u64(self.others_counted);
        value.freeze()
    }

    /// What a register holds; at the beginning if there is none.
    pub(crate) fn of(register: &Register) -> Result<ReadCursor, Refusal> {
        let Some(value) = &register.value else { return Ok(ReadCursor::default()) };
        if value.len() != 16 {
            return Err(DATA_CORRUPT);
        }
        let mut value = &value[..];
        let (seq, others_counted) = (value.get_u64(), value.get_u64());
        Ok(ReadCursor { seq, others_counted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(cursor: ReadCursor) -> Register {
        let user = UserId::new(7).unwrap();
        let log = LogId::direct(user, user);
        let set = cursor.moving(log, user).sets.remove(0);
        Register { key: set.key, version: 1, value: set.value }
    }

    #[test]
    fn what_is_held_is_what_was_moved_to() {
        let cursor = ReadCursor { seq: 300, others_counted: 7 };
        assert_eq!(ReadCursor::of(&held(cursor)), Ok(cursor));
        let register = held(cursor);
        assert_eq!(
            ReadCursor::of(&Register { value: None, ..register.clone() }),
            Ok(ReadCursor::default())
        );
        let value = Some(Bytes::from_static(b"short"));
        assert_eq!(ReadCursor::of(&Register { value, ..register }), Err(DATA_CORRUPT));
    }

    #[test]
    fn further_is_greater_for_the_store() {
        let at = |seq, others_counted| ReadCursor { seq, others_counted }.encode();
        for (less, greater) in [(at(255, 9), at(256, 0)), (at(1, 1), at(u64::MAX, 1))] {
            assert!(Rule::IfGreater.holds(1, Some(&less), Some(&greater)));
            assert!(!Rule::IfGreater.holds(1, Some(&greater), Some(&less)));
            assert!(!Rule::IfGreater.holds(1, Some(&less), Some(&less)));
        }
    }
}
