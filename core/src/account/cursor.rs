//! A read cursor: a register of the conversation, one for each member who has read something. It says how far
//! the member has read, and how far the others may know. The store lets it only move forwards, whoever moves it.

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
    /// Up to where the other member may know it; never beyond `seq`.
    pub(crate) receipt_seq: u64,
}

impl ReadCursor {
    /// One of which everybody may know.
    pub(crate) fn public(seq: u64, others_counted: u64) -> ReadCursor {
        ReadCursor { seq, others_counted, receipt_seq: seq }
    }

    /// The register of a user.
    pub(crate) fn key(user: UserId) -> RegisterKey {
        RegisterKey::numbered(b'r', user.get())
    }

    /// Sets the cursor of a user to this.
    pub(crate) fn write(self, conversation: LogId, user: UserId, rule: Rule) -> Write {
        let (key, value) = (ReadCursor::key(user), Some(self.encode()));
        Write::registers(conversation, [Set { key, value, rule }])
    }

    /// This one, or what is further of it, if somebody marks up to `mark`.
    pub(super) fn after(self, mark: ReadCursor) -> ReadCursor {
        let further = if mark.seq > self.seq { mark } else { self };
        ReadCursor { receipt_seq: self.receipt_seq.max(mark.receipt_seq), ..further }
    }

    /// Big-endian, the sequence first: so the greater one has read further. Where others may know all of it,
    /// which is nearly everywhere, that is not said again; what they may not know makes a value longer, so
    /// a public one at the same place is not greater, and whoever writes that has to look first.
    fn encode(self) -> Bytes {
        let mut value = BytesMut::with_capacity(24);
        value.put_u64(self.seq);
        value.put_u64(self.others_counted);
        if self.receipt_seq < self.seq {
            value.put_u64(self.receipt_seq);
        }
        value.freeze()
    }

    /// What a register holds; at the beginning if there is none.
    pub(crate) fn of(register: &Register) -> Result<ReadCursor, Refusal> {
        let Some(value) = &register.value else { return Ok(ReadCursor::default()) };
        let mut rest = &value[..];
        let mut number = || rest.try_get_u64().map_err(|_| DATA_CORRUPT);
        let cursor = ReadCursor::public(number()?, number()?);
        match value.len() {
            16 => Ok(cursor),
            24 => Ok(ReadCursor { receipt_seq: number()?, ..cursor }),
            _ => Err(DATA_CORRUPT),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What holds a cursor.
    pub(crate) fn held(cursor: ReadCursor) -> Register {
        let user = UserId::new(7).unwrap();
        let log = LogId::direct(user, user);
        let set = cursor.write(log, user, Rule::Always).sets.remove(0);
        Register { key: set.key, version: 3, value: set.value }
    }

    #[test]
    fn what_is_held_is_what_was_moved_to() {
        let cursor = ReadCursor::public(300, 7);
        for receipt_seq in [0, 1, 299, 300] {
            let cursor = ReadCursor { receipt_seq, ..cursor };
            assert_eq!(ReadCursor::of(&held(cursor)), Ok(cursor));
        }
        let register = held(cursor);
        assert_eq!(register.value.as_ref().unwrap().len(), 16, "most say no more");
        let of = |value: Option<&'static [u8]>| {
            ReadCursor::of(&Register { value: value.map(Bytes::from_static), ..register.clone() })
        };
        assert_eq!(of(None), Ok(ReadCursor::default()));
        for bytes in [&[0; 15][..], &[0; 17], &[0; 23], &[0; 25], &[]] {
            assert_eq!(of(Some(bytes)), Err(DATA_CORRUPT));
        }
    }

    #[test]
    fn further_is_greater_for_the_store_and_publishing_has_to_look() {
        let at = |seq, others_counted| ReadCursor::public(seq, others_counted);
        let greater = |before: ReadCursor, after: ReadCursor| {
            Rule::IfGreater.holds(1, Some(&before.encode()), Some(&after.encode()))
        };
        for (less, more) in [(at(255, 9), at(256, 0)), (at(1, 1), at(u64::MAX, 1))] {
            assert!(greater(less, more));
            assert!(!greater(more, less));
            assert!(!greater(less, less));
            for receipt_seq in [0, less.seq - 1] {
                let private = ReadCursor { receipt_seq, ..less };
                assert!(greater(private, more));
                assert!(!greater(private, less));
            }
        }
    }

    #[test]
    fn a_mark_moves_what_it_is_beyond_of() {
        let before = ReadCursor { seq: 10, others_counted: 6, receipt_seq: 5 };
        let private = |seq| ReadCursor { seq, others_counted: seq, receipt_seq: 0 };
        assert_eq!(before.after(private(9)), before);
        assert_eq!(before.after(private(12)), ReadCursor { receipt_seq: 5, ..private(12) });
        assert_eq!(before.after(ReadCursor::public(4, 3)), before);
        assert_eq!(before.after(ReadCursor::public(7, 4)), ReadCursor { receipt_seq: 7, ..before });
        assert_eq!(before.after(ReadCursor::public(10, 6)), ReadCursor::public(10, 6));
        assert_eq!(before.after(ReadCursor::public(11, 7)), ReadCursor::public(11, 7));
    }
}
